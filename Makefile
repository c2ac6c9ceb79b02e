# The developer's manual: what there is to do, and how.
.PHONY: build lint format type test deep tables bench clean

build:            ## build the extensions in place, warnings as errors
	NZIP_WARNINGS_AS_ERRORS=1 pip install -e '.[test,bench]'

lint:             ## style
	ruff check . && ruff format --check .

format:           ## rewrite to the style
	ruff format . && ruff check --fix .

type:             ## static types
	mypy

test:             ## the quick suite
	pytest -q

deep:             ## property tests with 1,000 examples each
	NZIP_TEST_PROFILE=deep pytest -q

tables:           ## rewrite nzip/kernel/tables.h from nzip/reference.py
	python tools/make_tables.py

bench:            ## coder and command line, beside their peers
	python benchmarks/coder.py && nzip bench examples/corpus

clean:            ## remove what a build leaves
	rm -rf build dist *.egg-info nzip/*.so

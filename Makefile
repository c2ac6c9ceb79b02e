# The developer's manual: what there is to do, and how.
.PHONY: build cross docs lint format type test slow mutants deep tables man bench exact fuzz fuzz-replay fuzz-merge clean

KERNEL = $(wildcard nzip/kernel/*.c)
C_FILES = $(foreach folder,nzip/* benchmarks contrib/* tests/*,$(wildcard $(folder)/*.c $(folder)/*.h $(folder)/*.inc))
FUZZ = build/fuzz
RUNS = 1000000
LIMITS = -timeout=10 -rss_limit_mb=1024
QUICK = parse decompress model model_header dictionary dictionary_file tokenizer settings index tokens
SLOW = hostile recovery
FLAGS = -g -O2 -std=c11 -fno-sanitize-recover=all -DNZ_MEMO_NODES=16 -Inzip/kernel

build:            ## build the extensions in place, warnings as errors
	NZIP_WARNINGS_AS_ERRORS=1 pip install -e '.[test,bench]'

lint:             ## style
	ruff check . && ruff format --check . && clang-format --dry-run --Werror $(C_FILES)

format:           ## rewrite to the style
	ruff format . && ruff check --fix . && clang-format -i $(C_FILES)

type:             ## static types
	mypy

test:             ## the quick suite
	pytest -q -n auto -m 'not slow'

slow:             ## all tests
	pytest -q

mutants:          ## small faults put into a copy of the tree, one at a time: does a test notice?
	python tests/mutants.py

deep:             ## property tests with 1,000 examples each
	NZIP_TEST_PROFILE=deep pytest -q

tables:           ## rewrite nzip/kernel/tables.h from nzip/reference.py
	python tools/make_tables.py

man:              ## rewrite man/ from the texts of --help
	python tools/make_man.py

bench:            ## coder and command line, beside their peers
	python benchmarks/coder.py && nzip bench examples/corpus

exact:            ## is everything byte-identical: compilers, sanitizers, other machines, threads
	python tests/exactness/run.py --all

$(FUZZ)/kernel: tests/fuzz/kernel.c $(wildcard nzip/kernel/*)
	mkdir -p $(FUZZ)
	clang $(FLAGS) -fsanitize=fuzzer,address,undefined tests/fuzz/kernel.c $(KERNEL) -o $@
	clang $(FLAGS) -DNZ_FUZZ_ADAPTIVE -fsanitize=fuzzer,address,undefined tests/fuzz/kernel.c $(KERNEL) -o $@-adaptive

fuzz: $(FUZZ)/kernel  ## RUNS executions of each fuzz target; needs clang, and atheris from pip
	mkdir -p $(addprefix $(FUZZ)/corpus/,kernel $(QUICK) $(SLOW))
	$(FUZZ)/kernel $(LIMITS) -runs=$(RUNS) $(FUZZ)/corpus/kernel tests/fuzz/seeds/kernel
	$(FUZZ)/kernel-adaptive $(LIMITS) -runs=$$(($(RUNS) / 100)) tests/fuzz/seeds/kernel
	for target in $(QUICK); do FUZZ_TARGET=$$target tests/fuzz/python.py $(LIMITS) \
	  -runs=$(RUNS) $(FUZZ)/corpus/$$target tests/fuzz/seeds/python/$$target || exit 1; done
	for target in $(SLOW); do FUZZ_TARGET=$$target tests/fuzz/python.py $(LIMITS) \
	  -runs=$$(($(RUNS) / 20)) $(FUZZ)/corpus/$$target tests/fuzz/seeds/python/$$target || exit 1; done

REPLAY = $(patsubst nzip/kernel/%.c,$(FUZZ)/%.o,$(KERNEL)) $(FUZZ)/replay.o
# Without optimization: compiling it takes four times as long with it as the run saves.
REPLAY_FLAGS = $(FLAGS) -O0 -g1 -DNZ_FUZZ_REPLAY -fsanitize=address,undefined
$(FUZZ)/%.o: nzip/kernel/%.c $(wildcard nzip/kernel/*)
	@mkdir -p $(FUZZ)
	gcc $(REPLAY_FLAGS) -c $< -o $@
$(FUZZ)/replay.o: tests/fuzz/kernel.c $(wildcard nzip/kernel/*)
	@mkdir -p $(FUZZ)
	gcc $(REPLAY_FLAGS) -c $< -o $@

fuzz-replay: $(REPLAY)  ## the seeds alone, with gcc's sanitizers
	gcc $(REPLAY_FLAGS) $(REPLAY) -o $(FUZZ)/replay
	$(FUZZ)/replay tests/fuzz/seeds/kernel/*

TARGETS = x86_64-macos aarch64-macos x86_64-windows-gnu aarch64-windows-gnu x86_64-linux-musl aarch64-linux-musl
ZIG = python -m ziglang cc
cross: $(TARGETS:%=cross-%)  ## all C for other systems, warnings as errors; needs ziglang from pip
cross-%:
	@mkdir -p build/cross/$*
	for file in nzip/tokens/count.c $(wildcard nzip/train/*.c); do \
	  $(ZIG) -target $* -O1 -std=c11 -Wall -Wextra -Werror -Wno-psabi -fno-strict-aliasing -Inzip -Inzip/kernel \
	    -c $$file -o build/cross/$*/object.o || exit 1; done
	$(MAKE) -s -C contrib/unnzip -B CC='$(ZIG) -target $*' CFLAGS=-O2 OUT=$(CURDIR)/build/cross/$*/unnzip.exe

docs:             ## the site, in site/; needs pip install -e '.[docs]'
	mkdocs build --strict

fuzz-merge: $(FUZZ)/kernel  ## add to the seeds what reaches code that they do not
	$(FUZZ)/kernel -merge=1 -use_counters=0 tests/fuzz/seeds/kernel $(FUZZ)/corpus/kernel
	for target in $(QUICK) $(SLOW); do FUZZ_TARGET=$$target tests/fuzz/python.py -merge=1 -max_len=600 \
	  tests/fuzz/seeds/python/$$target $(FUZZ)/corpus/$$target || exit 1; done

clean:            ## remove what a build leaves
	rm -rf build dist site *.egg-info nzip/*.so nzip/train/*.so

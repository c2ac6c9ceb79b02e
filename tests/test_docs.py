"""The examples that people read first work exactly as printed."""

import doctest
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENGLISH

import nzip

ROOT = Path(__file__).parents[1]
# Modules whose docstrings have examples.
EXAMPLES = ("", ".stream", ".nzipfile", ".prior", ".tokens", ".tokens.tokenizer")


def test_readme_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})
    assert nzip.open("notes.txt.nz", "rt", encoding="utf-8").read() == "a line\n"


@pytest.mark.parametrize("name", EXAMPLES)
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module("nzip" + name))
    assert result.attempted
    assert not result.failed


def test_streaming_example_runs(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"one line\nand another\n" * 50)
    result = subprocess.run(
        [sys.executable, ROOT / "examples" / "streaming.py", path], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "first line: one line" in result.stdout


def test_example_corpus_is_what_its_script_writes(tmp_path):
    script = (ROOT / "examples" / "make_corpus.py").read_text()
    names = ("access.log", "stations.json")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "make_corpus.py").write_text(script)
    subprocess.run([sys.executable, tmp_path / "make_corpus.py"], check=True)
    for name in names:
        committed = (ROOT / "examples" / "corpus" / name).read_bytes()
        assert (tmp_path / "corpus" / name).read_bytes() == committed


def test_manual_pages_are_what_their_script_writes():
    spec = importlib.util.spec_from_file_location("make_man", ROOT / "tools" / "make_man.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    committed = {path.name: path.read_text() for path in (ROOT / "man").iterdir()}
    assert committed == script.pages(), "run: make man"
    for words in (".SS nzip decompress", ".SS nzip m2 compare", "output\\-dir\\-mirror"):
        assert words in committed["nzip.1"]


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff")
def test_the_manual_page_is_sound():
    page = ROOT / "man" / "nzip.1"
    done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", page], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"NZIP(1)" in done.stdout


def test_readme_commands_for_one_file_work_one_after_another(nzip_cli, tmp_path):
    (tmp_path / "report.txt").write_bytes(ENGLISH)
    shell = re.findall(r"^    nzip (.*report\.txt.*)$", (ROOT / "README.md").read_text(), re.M)
    assert len(shell) >= 2
    for line in shell:
        done = nzip_cli(*line.partition("#")[0].split())
        assert (done.returncode, done.stderr) == (0, b""), line
    assert (tmp_path / "copy.txt").read_bytes() == ENGLISH

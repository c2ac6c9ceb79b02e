"""The examples that people read first work exactly as printed."""

import doctest
import importlib
import importlib.util
import os
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


def test_first_python_example_of_the_site_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/index.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})


def test_the_site_has_every_page_and_no_other():
    pages = re.findall(r"^ +- .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert sorted(pages) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def test_the_version_is_the_same_everywhere():
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert cited
    assert cited[1] == nzip.__version__


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


# What the README's commands are about.
SAMPLES = {
    "report.txt": ENGLISH * 20,
    "first.log": b"12:00:01 INFO ready\n12:00:09 error: no route\n" * 20,
    "second.log": b"12:00:04 INFO done\n" * 20,
    "new.log": b"12:00:05 INFO done\n" * 20,
    "big.txt": ENGLISH * 5000,
    "events.jsonl": b"".join(b'{"id": %d, "event": "view"}\n' % i for i in range(3000)),
    "new.jsonl": b'{"id": 9, "event": "login"}\n',
    "corpus/a.txt": ENGLISH * 9,
    "corpus/b.txt": ENGLISH * 2,
    "folder/notes.txt": ENGLISH,
}
PROGRAMS = {
    name: f"-c 'import nzip.cli.program; raise SystemExit(nzip.cli.program.{function}())'"
    for name, function in (("nzip", "main"), ("nzcat", "cat"), ("nzgrep", "grep"))
}
PROGRAMS["pg_dump"] = "-c 'print(\"INSERT INTO t VALUES (1);\\n\" * 99)'"
TRAINS = re.compile(r"nzip (train|m2|eval|models) |nzip compress --model own ")  # for minutes
SETS_UP = ("python3 -m venv ", "pip install ")


def readme_commands():
    lines = re.findall(r"^    (\S.*)$", (ROOT / "README.md").read_text(), re.M)
    lines = [re.sub(r"\s+# .*", "", line) for line in lines]
    blocks = "".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S))
    return [line for line in lines if f"    {line}\n" not in blocks]


@pytest.fixture
def shell(tmp_path):
    """Runs a command line in a folder with the samples, with nzip's programs in the PATH."""
    (tmp_path / "bin").mkdir()
    for name, code in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {code} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    for name, data in SAMPLES.items():
        path = tmp_path / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)

    def run(line):
        command = ["bash", "-o", "pipefail", "-c", line]
        return subprocess.run(
            command, cwd=tmp_path / "work", env=env, capture_output=True, timeout=300
        )

    return run


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_readme_commands_work_one_after_another(shell, tmp_path):
    ran = 0
    for line in readme_commands():
        if TRAINS.match(line) or line.startswith(SETS_UP):
            continue
        if line.startswith("nzgrep"):  # which another command has removed the inputs of
            assert shell("ls *.log.nz").returncode == 0
        done = shell(line)
        assert (done.returncode, b"nzip: " in done.stderr) == (0, False), line
        ran += 1
    assert ran >= 20
    work = tmp_path / "work"
    assert (work / "report.txt").read_bytes() == SAMPLES["report.txt"]
    assert (work / "rescued.txt").read_bytes() == SAMPLES["report.txt"]
    assert (work / "part.txt").read_bytes() == SAMPLES["big.txt"][1 << 20 :][:4096]
    assert (work / "back.txt").read_bytes() == ENGLISH * 11
    assert not list(work.glob("first.log"))


def test_readme_commands_that_train_have_options_that_exist(nzip_cli):
    lines = [line for line in readme_commands() if TRAINS.match(line)]
    assert len(lines) >= 6
    for line in lines:
        words = line.split()[1:]
        names = words[: 2 if words[0] in ("m2", "models") else 1]
        text = nzip_cli(*names, "--help", env={"COLUMNS": "300"}).stdout.decode()
        for option in (word for word in words if word.startswith("-")):
            assert re.search(rf"{option}\b", text), line

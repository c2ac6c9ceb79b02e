"""The examples that people read first work as they stand."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import nzip

ROOT = Path(__file__).parents[1]


def test_readme_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})
    assert nzip.open("notes.txt.nz", "rt", encoding="utf-8").read() == "a line\n"


def test_package_docstring_example():
    result = doctest.testmod(nzip)
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

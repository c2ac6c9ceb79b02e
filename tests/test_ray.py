"""The example that tokenizes a corpus on a Ray cluster, here of two workers on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray")
pq = pytest.importorskip("pyarrow.parquet")
import pyarrow as pa  # noqa: E402

from nzip.tokens import Tokenizer  # noqa: E402

EXAMPLE = Path(__file__).parent.parent / "examples" / "tokenize_on_ray.py"
TEXTS = [f"Document {k}: the quick brown fox jumps over the lazy dog. " * (k + 1) for k in range(6)]


def start(corpus: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, EXAMPLE, corpus, out, "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
    )


def end(process: subprocess.Popen[str]) -> str:
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    return stdout


def workers() -> list[int]:
    """The Ray processes that tokenize."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            title = path.read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::") and b"Tokenize" in title:
            found.append(int(path.parent.name))
    return found


def tokens_of(path: Path) -> list[list[int]]:
    return pq.read_table(path).column("tokens").to_pylist()


@pytest.mark.slow
def test_each_file_gets_one_whole_file_and_what_is_there_stays(tmp_path):
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    (corpus / "more").mkdir(parents=True)
    out.mkdir()
    pq.write_table(pa.table({"text": TEXTS[:3]}), corpus / "a.parquet")
    (corpus / "more" / "b.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in TEXTS))
    (corpus / "c.txt").write_bytes(b"\xff\xfe not UTF-8, \x00 one document")
    # What a killed worker leaves: partial output under another name, which does not count.
    (out / ".c.txt.tokens.parquet.0").write_bytes(b"a part")
    first = end(start(corpus, out))
    assert "3 files, 0 of them done" in first
    names = {"a.parquet.tokens.parquet", "more__b.jsonl.tokens.parquet", "c.txt.tokens.parquet"}
    assert {p.name for p in out.iterdir() if not p.name.startswith(".")} == names
    tokenizer = Tokenizer()
    expected = tokenizer.encode_batch(TEXTS, add_eos=True)
    assert tokens_of(out / "a.parquet.tokens.parquet") == expected[:3]
    assert tokens_of(out / "more__b.jsonl.tokens.parquet") == expected
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    (out / "more__b.jsonl.tokens.parquet").unlink()
    assert "3 files, 2 of them done" in end(start(corpus, out))
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds workers in /proc")
def test_a_killed_worker_loses_and_doubles_nothing(tmp_path):
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    corpus.mkdir()
    for k in range(150):
        (corpus / f"{k}.txt").write_text(TEXTS[k % 6])
    process = start(corpus, out)
    while process.poll() is None and len(list(out.glob("[!.]*"))) < 5:
        time.sleep(0.01)
    killed = workers()[:1]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert killed
    end(process)
    tokenizer = Tokenizer()
    for k in range(150):
        expected = [tokenizer.encode(TEXTS[k % 6], add_eos=True)]
        assert tokens_of(out / f"{k}.txt.tokens.parquet") == expected
    assert len(list(out.glob("[!.]*"))) == 150

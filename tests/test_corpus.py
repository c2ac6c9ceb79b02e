"""Files of text: opened by their content, cut into documents, counted."""

import bz2
import gzip
import io
import itertools
import json
import lzma
import sys
from pathlib import Path

import pytest
import zstandard
from conftest import ENGLISH
from test_cli import failed, ok

import nzip
from nzip import corpus
from nzip.corpus import Documents
from nzip.tokens import command, tokenfile
from nzip.train import data

TEXT = ENGLISH * 40
PACKERS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "two gzip members": lambda data: gzip.compress(data[:999]) + gzip.compress(data[999:]),
    "zstd": zstandard.compress,
    "two zstd frames": lambda data: zstandard.compress(data[:9]) + zstandard.compress(data[9:]),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "nzip": lambda data: nzip.compress(data, "static"),
}


class Stdin:
    """A standard input that cannot seek."""

    class Raw(io.RawIOBase):
        def __init__(self, data):
            self.data = io.BytesIO(data)

        def readable(self):
            return True

        def readinto(self, buffer):
            return self.data.readinto(memoryview(buffer)[:3])  # as from a slow writer

    def __init__(self, data):
        self.buffer = io.BufferedReader(self.Raw(data))


@pytest.mark.parametrize("how", PACKERS)
def test_files_are_opened_by_what_they_hold(tmp_path, monkeypatch, how):
    path = tmp_path / "a.bin"  # the name tells nothing
    path.write_bytes(PACKERS[how](TEXT))
    with corpus.open_text(path) as stream:
        assert stream.read() == TEXT
    monkeypatch.setattr(sys, "stdin", Stdin(path.read_bytes()))
    with corpus.open_text(Path("-")) as stream:
        assert stream.read() == TEXT
    if "plain" not in how:
        path.write_bytes(PACKERS[how](TEXT)[:-9])
        with pytest.raises(nzip.FormatError, match=r"a\.bin: .*end"), corpus.open_text(path) as s:
            s.read()


@pytest.mark.parametrize("how", ["gzip", "zstd", "nzip"])
def test_sizes_of_content_are_read_from_headers(tmp_path, how):
    (tmp_path / "x").write_bytes(PACKERS[how](TEXT))
    assert corpus.file_size(tmp_path / "x") == len(TEXT)


def test_damage_is_named(tmp_path):
    checked = zstandard.ZstdCompressor(write_checksum=True).compress
    for how in ("gzip", "zstd", "xz", "bzip2", "nzip"):
        data = bytearray((checked if how == "zstd" else PACKERS[how])(TEXT))
        data[len(data) // 2] ^= 0xFF
        path = tmp_path / how
        path.write_bytes(data)
        with pytest.raises(nzip.FormatError, match=path.name), corpus.open_text(path) as stream:
            stream.read()


def test_errors_of_the_reader_of_a_text_are_left_alone(tmp_path):
    (tmp_path / "x").write_bytes(TEXT)
    with pytest.raises(OSError, match="mine"), corpus.open_text(tmp_path / "x"):
        raise OSError("mine")


def test_documents_are_split_at_nul(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"one\0two\0three")
    assert list(corpus.documents(path)) == [b"one", b"two", b"three"]
    assert b"\0".join(corpus.documents(path, limit=5)) == b"one\0t"
    assert b"\0".join(corpus.documents(path, skip=5)) == b"wo\0three"


def numbered(path, letter, count):
    """A file of documents of 100 bytes, with no line in common."""
    texts = (b"%s%04d\n" % (letter, n) for n in range(count * 15))
    path.write_bytes(b"\0".join(b"".join(itertools.islice(texts, 15)) for _ in range(count)))


def test_what_is_held_out_is_never_trained_on(tmp_path):
    numbered(tmp_path / "a-0.txt", b"a", 300)
    numbered(tmp_path / "a-1.txt", b"A", 100)
    numbered(tmp_path / "b-0.txt", b"b", 200)
    source = data.Corpus([tmp_path], {"a": 1, "b": 1})
    held = {name: set(text.split()) for name, text in source.held_out().items()}
    assert len(held["a"]) >= 100
    assert len(held["b"]) >= 60
    seen = set()
    for batch, _ in itertools.islice(source.batches(4, 30, 1, 0.0), 1000):
        seen |= {line for row in batch for line in row.tobytes().split() if len(line) == 5}
    assert not seen & (held["a"] | held["b"])
    every = {b"%s%04d" % (c, n) for c, k in ((b"a", 300), (b"b", 200)) for n in range(k * 15)}
    assert len(every - seen - held["a"] - held["b"]) < 0.01 * len(every)  # everything else is read


def test_batches_are_mixed_by_weight_and_the_same_again(tmp_path):
    for name in (b"a", b"b", b"c"):
        numbered(tmp_path / f"{name.decode()}-0.txt", name, 200)
    source = data.Corpus([tmp_path], {"a": 6, "b": 3, "c": 1})

    def read(seed, count=200):
        return [*itertools.islice(source.batches(8, 30, seed, 0.1), count)]

    first, again, other = read(1), read(1), read(2)
    for (one, fresh), (two, same) in zip(first, again, strict=True):
        assert (one == two).all()
        assert (fresh == same).all()
    assert first[0][1].all()  # every lane starts without a state
    assert any((one[1] != two[1]).any() for one, two in zip(first[1:], other[1:], strict=True))
    letters = b"".join(batch.tobytes() for batch, _ in first)
    counts = [letters.count(letter) for letter in (b"a", b"b", b"c")]
    assert [round(10 * count / sum(counts)) for count in counts] == [6, 3, 1]
    assert set(source.held_out()) == {"a", "b", "c"}


def test_wrong_sources_are_refused(tmp_path):
    numbered(tmp_path / "a.txt", b"a", 10)
    with pytest.raises(ValueError, match="no such source: nothing"):
        data.Corpus([tmp_path], {"nothing": 1})
    with pytest.raises(FileNotFoundError, match="no files found"):
        data.Corpus([])
    with pytest.raises(FileNotFoundError, match="missing"):
        data.Corpus([tmp_path / "a.txt", tmp_path / "missing"])


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_the_last_line_needs_no_newline(tmp_path, end):
    (tmp_path / "x").write_bytes(b'{"text": "one"}\n{"text": "two"}' + end)
    assert [*Documents([tmp_path / "x"], "jsonl")] == [b"one", b"two"]
    (tmp_path / "x").write_bytes(b"one\ntwo" + end)
    assert [*Documents([tmp_path / "x"], "lines")] == [b"one", b"two"]


SETTINGS = {
    "model": None,
    "window": None,
    "token_bits": None,
    "reset_every": 1,
    "align": None,
    "progress": False,
}
TEXTS_OF = {
    "file": (TEXT, [TEXT]),
    "nul": (b"one\0\0two \xc3\xa9", [b"one", b"", b"two \xc3\xa9"]),
    "jsonl": (b'{"text": "one"}\n{"text": ""}\n{"text": "a\\u0000b"}', [b"one", b"", b"a\0b"]),
}


# A .npy file holds one document.
PLACES = [(s, t) for s in tokenfile.SUFFIXES for t in TEXTS_OF if s != ".npy" or t == "file"]


@pytest.mark.parametrize(("suffix", "split"), PLACES)
@pytest.mark.parametrize("name", ["eqinfo", "ac", "static", "gzip", "bytes"])
def test_texts_come_back_from_files_of_tokens(tmp_path, suffix, split, name):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    packed, texts = TEXTS_OF[split]
    source, tokens, back = tmp_path / "x", tmp_path / f"t{suffix}", tmp_path / "back"
    source.write_bytes(packed)
    row = command.tokenize([source], tokens, name, split=split, **SETTINGS)
    assert (row["documents"], row["bytes"]) == (len(texts), sum(map(len, texts)))
    assert [*tokenfile.read_tokens(tokens).documents()] == texts
    assert command.detokenize(tokens, back) == len(texts)
    assert back.read_bytes() == b"".join(texts)
    assert command.detokenize(tokens, back, "nul", force=True) == len(texts)
    assert back.read_bytes() == b"\0".join(texts)


@pytest.mark.parametrize(
    ("suffix", "eos", "ended"),
    [
        (".bin", None, True),
        (".bin", False, False),
        (".parquet", None, False),
        (".parquet", True, True),
    ],
)
def test_documents_end_with_a_token_but_not_in_parquet(tmp_path, suffix, eos, ended):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / "x").write_bytes(TEXT)
    tokens = tmp_path / f"t{suffix}"
    row = command.tokenize([tmp_path / "x"], tokens, "eqinfo", eos=eos, **SETTINGS)
    other = command.tokenize([tmp_path / "x"], tmp_path / "o.bin", "eqinfo", eos=False, **SETTINGS)
    assert row["tokens"] - other["tokens"] == ended


@pytest.mark.parametrize("head", [b"PK\3\4rest", b"\x04\x22\x4d\x18rest", b"PAR1rest"])
def test_what_is_not_opened_is_said(tmp_path, head):
    (tmp_path / "x").write_bytes(head)
    with pytest.raises(nzip.FormatError, match=r"x: a .* file"), corpus.open_text(tmp_path / "x"):
        pass


def test_a_text_that_begins_with_three_letters_of_bzip2s_is_a_text(tmp_path):
    (tmp_path / "x").write_bytes(b"BZh, he said.")
    assert [*Documents([tmp_path / "x"])] == [b"BZh, he said."]


@pytest.mark.parametrize("split", ["file", "nul", "lines", "jsonl"])
def test_documents_are_counted_when_they_are_dealt_with(tmp_path, split):
    lines = [json.dumps({"text": f"document {k}", "body": str(k)}).encode() for k in range(5)]
    data = (b"\0" if split == "nul" else b"\n").join(lines)
    data += b"\0" if split == "nul" else b"\n"
    (tmp_path / "plain").write_bytes(data)
    (tmp_path / "packed").write_bytes(zstandard.compress(data))
    documents = Documents([tmp_path / "plain", tmp_path / "packed"], split)
    assert documents.total == 2 * len(data)
    seen = []
    for document in documents:
        seen.append(documents.done)
        assert document
    assert seen[0] == 0
    assert seen == sorted(set(seen))
    assert documents.done == documents.total
    assert len(seen) == (2 if split == "file" else 10)


def test_a_field_of_json_lines_is_named(nzip_cli, tmp_path):
    (tmp_path / "x.jsonl").write_text('{"body": "one"}\n\n{"body": "two", "text": 5}\n')
    args = ["-o", "x.bin", "--split", "jsonl", "--tokenization", "bytes"]
    ok(nzip_cli("tokenize", "x.jsonl", *args, "--field", "body"))
    assert list(tokenfile.read_tokens(tmp_path / "x.bin").documents()) == [b"one", b"two"]
    failed(nzip_cli("tokenize", "x.jsonl", "-f", *args), "line 1", "'text'")
    failed(nzip_cli("tokenize", "x.jsonl", "-f", "-o", "x.bin", "--field", "body"), "jsonl")


def test_tokenize_reads_stdin(nzip_cli, tmp_path):
    data = gzip.compress(b'{"text": "one"}\n{"text": "two"}\n')
    args = ["tokenize", "-", "-o", "x.bin", "--split", "jsonl"]
    ok(nzip_cli(*args, "--tokenization", "bytes", stdin=data))
    assert list(tokenfile.read_tokens(tmp_path / "x.bin").documents()) == [b"one", b"two"]
    failed(nzip_cli(*args, "-f", "--tokenization", "static", stdin=data), "twice", "stdin")


@pytest.mark.slow
def test_parquet_files_have_a_column_of_texts(nzip_cli, tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    texts = ["one", None, "zwei ä", "", *map(str, range(3000))]
    for kind in (pa.string(), pa.large_string(), pa.binary()):
        rows = {"id": pa.array(range(len(texts))), "body": pa.array(texts, kind)}
        pq.write_table(pa.table(rows), tmp_path / "x.parquet")
        documents = Documents([tmp_path / "x.parquet"], column="body")
        assert [*documents] == [text.encode() for text in texts if text is not None]
        assert documents.done == documents.total == (tmp_path / "x.parquet").stat().st_size
    args = ["x.parquet", "-o", "x.bin", "--tokenization", "bytes"]
    failed(nzip_cli("tokenize", *args), "x.parquet", "Parquet", "--column")
    failed(nzip_cli("tokenize", *args, "--column", "text"), "no column 'text'", "id, body")
    failed(nzip_cli("tokenize", *args, "--column", "id"), "'id' holds int64")
    ok(nzip_cli("tokenize", *args, "--column", "body"))
    assert next(iter(tokenfile.read_tokens(tmp_path / "x.bin").documents())) == b"one"
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and nothing else")
    failed(nzip_cli("tokenize", *args, "-f", "--column", "body"), "x.parquet")


def test_parquet_without_pyarrow_says_what_is_missing(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="pip install pyarrow"):
        next(iter(Documents([tmp_path / "x"], column="text")))


def test_samples_of_a_prior_come_from_compressed_files(nzip_cli, tmp_path):
    lines = [f'{{"id": {k}, "event": "login"}}'.encode() for k in range(50)]
    (tmp_path / "a.zst").write_bytes(zstandard.compress(b"\r\n".join(lines)))
    ok(nzip_cli("prior", "a.zst", "-o", "a.prior"))
    prior = nzip.Prior(tmp_path / "a.prior")
    assert sorted(prior.samples.splitlines()) == sorted(lines)
    ok(nzip_cli("prior", "-", "-o", "b.prior", stdin=b"\n".join(lines)))
    assert nzip.Prior(tmp_path / "b.prior").digest == prior.digest

"""Untrusted bytes raise NzipError, quickly, within bounds. Includes what fuzzing found."""

import importlib.util
import json
import struct
from pathlib import Path

import numpy as np
import pytest

import nzip
from nzip import _trie, frame, models
from nzip.tokens import Tokenizer, tokenfile, tokenizations

FUZZ = Path(__file__).parent / "fuzz"


@pytest.fixture(scope="module")
def fuzz():
    """tests/fuzz/python.py as a module; this needs no atheris."""
    spec = importlib.util.spec_from_file_location("fuzz_python", FUZZ / "python.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_fuzz_seed_is_read_or_refused(fuzz):
    folders = sorted((FUZZ / "seeds" / "python").iterdir())
    assert {folder.name for folder in folders} == set(fuzz.TARGETS)
    for folder in folders:
        for path in sorted(folder.iterdir()):
            fuzz.run(folder.name, path.read_bytes())


def model_file(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(100)


META = {"format": models.FORMAT, "contexts": "1", "embed": "16", "ways": "1", "buckets": "1"}


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 60_000,
        b'{"__metadata__":' + b"[" * 50_000,
        json.dumps({"__metadata__": META | {"contexts": 7}}).encode(),
        json.dumps({"__metadata__": META | {"contexts": None}}).encode(),
        json.dumps({"__metadata__": META | {"tables": [1]}}).encode(),
        json.dumps({"__metadata__": META, "enter": {"shape": [16, float("inf")]}}).encode(),
        json.dumps({"__metadata__": META, "enter": {"shape": [10**30, 16]}}).encode(),
        json.dumps(
            {
                "__metadata__": META,
                "enter": {"shape": [16, 16], "dtype": "I8", "data_offsets": [0, float("inf")]},
                "gates": {"shape": [1, 48, 16]},
            }
        ).encode(),
        json.dumps([META]).encode(),
        b"\xff\xfe",
    ],
)
def test_malformed_model_headers(tmp_path, header):
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_file(header))
    with pytest.raises(nzip.ModelFileError):
        models.load(path)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b"\xff",
        b'{"format": "nzip-tokenizer-1", "window": Infinity, "digest": ""}',
        b'{"format": "nzip-tokenizer-1", "window": 16, "digest": 5}',
        b'{"format": "nzip-tokenizer-1", "window": 8, "digest": "", "dictionary": "AAAA"}',
        b"[]",
    ],
)
def test_malformed_tokenizer_files(tmp_path, text):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(text)
    with pytest.raises(nzip.FormatError):
        Tokenizer.load(path)


@pytest.mark.parametrize(
    "about",
    [
        b"[" * 100_000,
        b'{"format":"nzip-tokens-1","eos":false,"sizes":[Infinity]}',
        b'{"format":"nzip-tokens-1","eos":false,"sizes":5}',
        b'{"format":"nzip-tokens-1","eos":false,"sizes":[5],"tokenization":[],"token_bits":8}',
        b'{"format":"nzip-tokens-1","eos":false,"sizes":[-5],"tokenization":"gzip","token_bits":8}',
        b'{"format":"nzip-tokens-1","eos":false,"sizes":[5],"tokenization":"gzip","token_bits":16}',
        b'{"format":"nzip-tokens-1","eos":false,"sizes":[9],"tokenization":"bytes","token_bits":8}',
    ],
)
def test_malformed_files_of_tokens(tmp_path, about):
    (tmp_path / "t.bin").write_bytes(b"12345")
    (tmp_path / "t.json").write_bytes(about)
    (tmp_path / "t.idx").write_bytes(b"")
    with pytest.raises(nzip.FormatError):
        list(tokenfile.read_tokens(tmp_path / "t.bin").documents())


def test_windows_of_no_whole_token_are_refused():
    with pytest.raises(ValueError, match="not whole tokens of 0"):
        tokenizations.EqInfo(models.load(models.WINDOWS), 16, 0)


def comb(depth: int, leaves: int) -> tuple[bytes, bytes]:
    """A dictionary with one string of each length up to ``depth``, and a row of longer ones for
    each of the deepest. These share no bytes, so the table of strings grows as depth times leaves.
    """
    lengths, last = [1], [0]
    for own in range(2, depth + 1):
        lengths.append(own)
        last.append(0)
    for own in range(depth, depth - leaves // 255, -1):
        for byte in range(1, 256):
            lengths.append(own)
            last.append(byte)
    for byte in range(1, 256):
        lengths.append(1)
        last.append(byte)
    return np.array(lengths, np.uint16).tobytes(), bytes(last)


def test_the_table_of_strings_is_bounded():
    assert len(_trie.Trie(*comb(300, 2550))) > 2000
    with pytest.raises(ValueError, match="not a complete dictionary"):
        _trie.Trie(*comb(30_000, 30_600))


def test_a_short_file_cannot_ask_for_more_than_the_limit():
    """Fifteen bytes that declare sixteen megabytes are refused before any decoding."""
    header = frame.Header(frame.STATIC).pack()
    seed = frame.block_seed(header, b"", 0)
    data = header + frame.pack_block(frame.CODED, True, frame.MAX_BLOCK, b"\0", seed)
    assert len(data) < 20
    with pytest.raises(nzip.LimitError):
        nzip.decompress(data, max_output=frame.MAX_BLOCK - 1)


def test_all_output_comes_before_eof():
    text = b"some text, " * 9000
    data = nzip.compress(text, "static")
    decompressor = nzip.Decompressor()
    out = decompressor.decompress(data, 10)
    while not decompressor.eof:
        out += decompressor.decompress(b"", 1000)
    assert out == text

#!/usr/bin/env python3
"""atheris target for the code that reads untrusted bytes in Python: frames, model files, tokenizer
files, files of tokens. Bad input must raise NzipError, quickly, and within bounds.

FUZZ_TARGET=NAME tests/fuzz/python.py [libFuzzer's options] CORPUS

`make fuzz` runs all targets, from the inputs in tests/fuzz/seeds/python/NAME.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from zlib import compress

try:
    import atheris

    instrumented = atheris.instrument_imports(include=["nzip"])
except ImportError:  # a test tries the seeds without it
    instrumented = contextlib.nullcontext()
with instrumented:
    import nzip
    from nzip import _predict, frame, info, models, modes, recover, stream
    from nzip.modes import dictionary as dictionaries
    from nzip.tokens import Tokenizer, tokenfile, tokenizations

LIMIT = 2000  # the caller's limit, in bytes of content, kept small for speed
FOLDER = Path(
    tempfile.mkdtemp(prefix="nzip-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
)
SMALL = models.load(models.SMALL)
PRIOR = nzip.Prior(b"samples to start from, " * 3)
HEADS = [
    frame.Header(frame.STATIC),
    *(frame.Header(c, SMALL.digest[:2]) for c in (*frame.MIXED, frame.AC_PLAIN)),
    *(frame.Header(c, SMALL.digest[:2], prior=PRIOR.digest[:2]) for c in frame.MIXED),
    *(frame.Header(frame.EQINFO, SMALL.digest[:2], w, every) for w in (24, 64) for every in (1, 0)),
]


def written(name: str, data: bytes) -> Path:
    path = FOLDER / name
    path.write_bytes(data)
    return path


def parse(data: bytes) -> None:
    """Headers only: what `nzip info` reads."""
    info.read_file(written("frame.nz", data))


def decompress(data: bytes) -> None:
    """An arbitrary file; if it decodes, it must decode to the same in pieces."""
    content = nzip.decompress(data, max_output=LIMIT, threads=1)
    decompressor = stream.Decompressor(threads=1, max_output=LIMIT)
    if not frame.is_skippable(data):
        out = b"".join(
            decompressor.decompress(data[i : i + 1])
            for i in range(len(data))
            if not decompressor.eof
        )
        assert decompressor.eof
        assert content.startswith(out)


def hostile(data: bytes) -> None:
    """Arbitrary codes in blocks with correct checksums: what a hostile encoder can write."""
    if len(data) < 2:
        return
    header = HEADS[data[0] % len(HEADS)]
    if header.coding in frame.MIXED and data[1] % 16:
        header = HEADS[0]  # mixing takes long to set up
    packed = header.pack()
    out, rest, index = bytearray(packed), data[2:], 0
    digest = (SMALL.digest if header.model else b"") + (PRIOR.digest if header.prior else b"")
    while len(rest) > 3:
        kind, size, length = rest[0] & 3, 1 + rest[0] * 3 + rest[1] % 7, rest[2]
        code, rest = rest[3 : 3 + length], rest[3 + length :]
        out += frame.pack_block(kind, not rest, size, code, frame.block_seed(packed, digest, index))
        index += 1
    nzip.decompress(bytes(out), max_output=LIMIT, threads=1)


def recovery(data: bytes) -> None:
    """Arbitrary damage: only blocks with correct checksums may be written."""
    sound = recover.Recovery(data, threads=1)
    size = sum(map(len, sound.content(LIMIT)))
    assert size <= LIMIT


def model(data: bytes) -> None:
    """A model file: refused, or it yields a model that runs."""
    m1 = models.Model(written("model.safetensors", data))
    modes.Ac(m1, frame.AC_PLAIN).encode(b"text", _predict.Watch())


def model_header(data: bytes) -> None:
    """A model file whose header is the input."""
    model(struct.pack("<Q", len(data)) + data + bytes(40_000))


def dictionary(data: bytes) -> None:
    """A dictionary file with correct checksums."""
    width = 8 + data[0] % 13 if data else 8
    digest = bytes(32)
    body = dictionaries.MAGIC + bytes([width]) + digest + compress(data, 1)
    with contextlib.suppress(ValueError):  # as documented
        trie = dictionaries.unpack(body + hashlib.sha256(body).digest(), digest, width)
        assert trie.decode(trie.encode(data)) == data


def dictionary_file(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        dictionaries.unpack(data, bytes(32), 8)


def tokenizer(data: bytes) -> None:
    """A saved tokenizer."""
    Tokenizer.load(written("tokenizer.json", data))


def settings(data: bytes) -> None:
    """The settings beside a file of tokens."""
    written("tokens.bin", data)
    written("tokens.idx", data[:200])
    written("tokens.json", data)
    for document in tokenfile.read_tokens(FOLDER / "tokens.bin").documents():
        assert len(document) <= 1 << 24


def index(data: bytes) -> None:
    """An index of documents, with tokens."""
    at = int.from_bytes(data[:1], "little")
    about = b'{"format":"nzip-tokens-1","tokenization":"bytes","eos":false,"sizes":[3,%d]}' % (at,)
    written("t.json", about)
    written("t.idx", data[1:])
    for document in tokenfile.read_tokens(written("t.bin", data)).documents():
        assert document is not None


def tokens(data: bytes) -> None:
    """Tokens of each kind, decoded to a claimed size."""
    if len(data) < 3:
        return
    kind = STREAMS[data[0] % len(STREAMS)]
    kind.decode(data[2:], data[1] * 8)


STREAMS = [
    tokenizations.from_settings({"tokenization": "bytes", "token_bits": 8}),
    tokenizations.from_settings({"tokenization": "gzip", "token_bits": 8}),
]
TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        *(parse, decompress, hostile, recovery, model, model_header),
        *(dictionary, dictionary_file, tokenizer, settings, index, tokens),
    )
}


def run(target: str, data: bytes) -> None:
    """One execution: bad input raises NzipError; any other exception is a finding."""
    with contextlib.suppress(nzip.NzipError):
        TARGETS[target](data)


if __name__ == "__main__":
    # An environment variable, not an argument: to merge, libFuzzer starts this program again.
    atheris.Setup(sys.argv, functools.partial(run, os.environ["FUZZ_TARGET"]))
    atheris.Fuzz()

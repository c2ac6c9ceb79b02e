"""Damages frames systematically; all damage must be detected.

python tests/loss/flips.py [--sample 100000] [--seed N] [FILE ...]

Small frames of every mode and level: every single-bit flip, every truncation, every deleted byte,
and a byte inserted at every position. Larger ones (examples/corpus, or the files given): a sample
of bit flips, truncations, inserted bytes, bursts of up to 32 bits and swapped blocks. A damaged
frame that decodes counts as silent, whether the content is correct or not.

Not tested: a file of several frames cut between two of them, which is valid, as with gzip, and the
content of skippable frames, which nzip does not check.
"""

from __future__ import annotations

import argparse
import collections
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nzip
from nzip import frame

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "examples" / "corpus" / "compression.txt").read_bytes()


def small_frames() -> Iterator[tuple[str, bytes]]:
    for level in range(1, 10):
        yield f"level {level}", nzip.compress(TEXT[:150], level=level)
    for window in (8, 16, 24, 33, 64):
        yield f"eqinfo {window}", nzip.compress(TEXT[:100], "eqinfo", window=window)
    yield "eqinfo, context carried", nzip.compress(TEXT[:100], "eqinfo", window=24, reset_every=0)
    yield "static", nzip.compress(TEXT[:700], "static")
    yield "M1 alone", nzip.compress(TEXT[:150], adapt=False)
    yield "stored", nzip.compress(bytes(range(64)), "static")
    yield "run", nzip.compress(bytes(70_000))
    yield "empty", nzip.compress(b"")


def every_damage(data: bytes) -> Iterator[tuple[str, bytes]]:
    for bit in range(8 * len(data)):
        out = bytearray(data)
        out[bit >> 3] ^= 1 << (bit & 7)
        yield "bit flips", bytes(out)
    for size in range(len(data)):
        yield "truncations", data[:size]
    for at in range(len(data)):
        if data[at : at + 1] != data[at + 1 : at + 2]:
            yield "bytes deleted", data[:at] + data[at + 1 :]
    for at in range(len(data)):
        if data[at] != 0x5A:  # otherwise the file may be unchanged
            yield "bytes inserted", data[:at] + b"\x5a" + data[at:]


def blocks_of(data: bytes) -> list[tuple[int, int]]:
    """Start and end of each block."""
    _, at = frame.parse_header(data)
    found = []
    while True:
        block = frame.parse_block(data, at)
        found.append((at, block.end))
        at = block.end
        if block.last:
            return found


def some_damage(data: bytes, count: int, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    blocks = blocks_of(data)
    for number in range(count):
        out = bytearray(data)
        kind = number % 20
        at = rng.randrange(len(data))
        if kind == 0:
            yield "truncations", data[:at]
        elif kind == 1:
            yield "bytes inserted", data[:at] + bytes([data[at] ^ 255]) + data[at:]
        elif kind == 2:
            for bit in range(rng.randrange(2, 33)):
                place = min(8 * at + bit, 8 * len(data) - 1)
                if bit == 0 or rng.random() < 0.5:
                    out[place >> 3] ^= 1 << (place & 7)
            yield "bursts", bytes(out)
        elif kind == 3 and len(blocks) > 2:
            a, b = sorted(rng.sample(range(len(blocks) - 1), 2))
            (a0, a1), (b0, b1) = blocks[a], blocks[b]
            swapped = data[:a0] + data[b0:b1] + data[a1:b0] + data[a0:a1] + data[b1:]
            yield "blocks swapped", swapped
        else:
            out[at] ^= 1 << rng.randrange(8)
            yield "bit flips", bytes(out)


def is_found(data: bytes) -> bool:
    try:
        for _ in nzip.stream.decompress_chunks(Reader(data), threads=1):
            pass
    except nzip.NzipError:
        return True
    return False


class Reader:
    """Decode in small pieces, so that no work is done on what follows the damage."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    def __call__(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + min(size, 1 << 14)]
        self._at += len(piece)
        return piece


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sample", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("files", type=Path, nargs="*")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    tried: collections.Counter[str] = collections.Counter()
    silent: list[str] = []
    began = time.monotonic()
    for name, data in small_frames():
        for kind, damaged in every_damage(data):
            tried[f"small frames, {kind}"] += 1
            if not is_found(damaged):
                silent.append(f"{name}: {kind}")
    files = args.files or sorted((ROOT / "examples" / "corpus").iterdir())
    contents = [path.read_bytes() for path in files]
    large = [nzip.compress(text, level=1) for text in contents]
    large.append(
        nzip.compress(b"".join(contents) * (1 + 4_000_000 // sum(map(len, contents))), "static")
    )
    for data in large:
        for kind, damaged in some_damage(data, args.sample // len(large) + 1, rng):
            tried[f"larger frames, {kind}"] += 1
            if not is_found(damaged):
                silent.append(f"a larger frame: {kind}")
    for kind, count in sorted(tried.items()):
        print(f"{kind}: {count:,}")
    for line in silent:
        print(f"SILENT: {line}")
    seconds = time.monotonic() - began
    print(f"{sum(tried.values()):,} damaged files, {len(silent)} silent, {seconds:.0f} s")
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())

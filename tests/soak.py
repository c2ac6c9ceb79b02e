"""Round trips of random slices with random options, for an hour: all must match, with flat memory.

python tests/soak.py [--minutes 60] [--seed N] FOLDER ...

A third each goes through nzip.compress/decompress, through Compressor and Decompressor in pieces of
random sizes, and through NzipFile; one in fifty goes through the command line. Every fifth frame is
also damaged, and the damage must be detected. Memory is read from /proc every hundredth round.
"""

from __future__ import annotations

import argparse
import collections
import io
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import nzip

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def random_options(rng: random.Random) -> dict[str, object]:
    mode = rng.choice(("ac", "ac", "ac", "static", "eqinfo"))
    options: dict[str, object] = {"mode": mode, "threads": rng.choice((1, 2, 3))}
    if mode == "ac":
        options["level"] = rng.randint(1, 9)
        options["adapt"] = rng.random() < 0.8
    if mode == "eqinfo":
        options["window"] = rng.randint(8, 64)
        options["reset_every"] = rng.choice((0, 1, 1, 1, 2, 7))
        if options["reset_every"] == 1 and options["window"] in (17, 18, 19, 20):
            options["window"] = rng.choice((8, 16, 24))  # their dictionaries take minutes to build
    return options


def in_pieces(text: bytes, options: dict[str, object], rng: random.Random) -> bytes:
    compressor = nzip.Compressor(**options)
    out, at = [], 0
    while at < len(text):
        size = rng.choice((1, 50, 4096, 70_000))
        out.append(compressor.compress(text[at : at + size]))
        at += size
    return b"".join([*out, compressor.flush()])


def from_pieces(data: bytes, rng: random.Random) -> bytes:
    decompressor = nzip.Decompressor(threads=rng.choice((1, 2)))
    out, at = [], 0
    while not decompressor.eof:
        size = rng.choice((1, 100, 10_000)) if decompressor.needs_input else 0
        out.append(decompressor.decompress(data[at : at + size], rng.choice((-1, 1000))))
        at += size
    return b"".join(out)


def by_command(text: bytes, options: dict[str, object]) -> bytes:
    args = ["-m", str(options["mode"])]
    for name in ("level", "window"):
        if name in options:
            args += [f"--{name}", str(options[name])]
    program = [sys.executable, "-m", "nzip"]
    packed = subprocess.run(
        [*program, "compress", *args], input=text, capture_output=True, check=True
    )
    done = subprocess.run([*program, "-d"], input=packed.stdout, capture_output=True, check=True)
    assert done.stdout == text, f"the command line, {options}"
    return packed.stdout


def one_round(text: bytes, rng: random.Random) -> str:
    """Do one round trip; returns which way it went."""
    options = random_options(rng)
    way = rng.choice(("functions", "pieces", "files")) if rng.random() < 0.98 else "command line"
    if way == "functions":
        packed = nzip.compress(text, **options)
        back = nzip.decompress(packed, threads=2, max_output=len(text))
    elif way == "pieces":
        packed = in_pieces(text, options, rng)
        back = from_pieces(packed, rng)
    elif way == "files":
        stream = io.BytesIO()
        method = {"method": options["mode"]}
        others = {name: value for name, value in options.items() if name != "mode"}
        with nzip.open(stream, "wb", **method, **others) as file:
            file.write(text)
        packed = stream.getvalue()
        with nzip.open(io.BytesIO(packed)) as file:
            back = file.read()
    else:
        packed, back = by_command(text, options), text
    assert back == text, f"{way}, {options}, {len(text)} bytes"
    if rng.random() < 0.2:
        damaged = bytearray(packed)
        damaged[rng.randrange(len(packed))] ^= 1 << rng.randrange(8)
        try:
            nzip.decompress(bytes(damaged), threads=1)
        except nzip.NzipError:
            return f"{way}, damaged"
        raise AssertionError(f"damage was not detected: {way}, {options}")
    return way


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("folders", type=Path, nargs="+")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    files = [p for folder in args.folders for p in sorted(folder.rglob("*")) if p.is_file()]
    seen: collections.Counter[str] = collections.Counter()
    memory: list[int] = []
    total = 0
    began = time.monotonic()
    while time.monotonic() - began < 60 * args.minutes:
        path = rng.choice(files)
        size = min(int(rng.expovariate(1 / 20_000)), 2_000_000)
        with path.open("rb") as stream:
            stream.seek(rng.randrange(max(1, path.stat().st_size - size)))
            text = stream.read(size)
        seen[one_round(text, rng)] += 1
        total += len(text)
        if sum(seen.values()) % 100 == 0:
            memory.append(resident())
    rounds = sum(seen.values())
    print(f"{rounds:,} round trips of {total:,} bytes in {args.minutes:g} minutes: no mismatch")
    print(", ".join(f"{way} {count:,}" for way, count in sorted(seen.items())))
    if len(memory) >= 4:
        quarter = len(memory) // 4
        first = max(memory[quarter : 2 * quarter])  # after models and dictionaries are loaded
        last = max(memory[-quarter:])
        print(f"memory, second quarter {first / 1e6:.0f} MB at most, last quarter {last / 1e6:.0f}")
        if last > 1.1 * first + 10e6:
            print("memory grows")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

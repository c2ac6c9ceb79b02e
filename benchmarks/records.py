"""Small records with a prior, compared with zstd and a dictionary of the same samples.

    python benchmarks/records.py [EVAL]

Three kinds: JSON events and log lines from the generators below (with fixed seeds), and, given a
folder of evaluation texts, paragraphs of its web texts. 1,000 records of each are held out.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import zstandard

import nzip
from nzip.prior import choose

SIZE = 1 << 16  # bytes of the prior, and of the dictionary
HELD_OUT = 1000


def event(rng: random.Random) -> bytes:
    names = ["anna", "ben", "carla", "dmitri", "eve", "farid", "greta", "hugo"]
    row = {
        "id": f"{rng.getrandbits(64):016x}",
        "at": f"2026-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}T{rng.randrange(24):02}:"
        f"{rng.randrange(60):02}:{rng.randrange(60):02}Z",
        "user": {
            "name": rng.choice(names),
            "email": f"{rng.choice(names)}{rng.randrange(1000)}@example.com",
            "active": rng.random() < 0.8,
        },
        "event": rng.choice(["login", "logout", "purchase", "view", "click", "search"]),
        "amount": {
            "value": rng.randrange(50000) / 100,
            "currency": rng.choice(["EUR", "USD", "GBP"]),
        },
        "tags": rng.sample(["new", "vip", "trial", "mobile", "web", "beta"], rng.randrange(1, 4)),
        "agent": rng.choice(["Mozilla/5.0 (X11; Linux x86_64)", "curl/8.5.0", "okhttp/4.12.0"]),
    }
    return json.dumps(row).encode()


def lines(rng: random.Random) -> bytes:
    """Ten lines of a web server's log."""
    out = []
    second = rng.randrange(86000)
    for _ in range(10):
        second += rng.randrange(3)
        clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
        path = rng.choice(["/", "/index.html", "/api/v1/items", "/api/v1/users", "/static/app.js"])
        status = rng.choice([200, 200, 200, 200, 304, 404, 500])
        out.append(
            f"10.{rng.randrange(4)}.{rng.randrange(256)}.{rng.randrange(256)} - -"
            f' [14/Nov/2026:{clock} +0000] "GET {path} HTTP/1.1" {status} {rng.randrange(9000)}'
        )
    return "\n".join(out).encode()


def messages(folder: Path) -> list[bytes]:
    """Paragraphs of 100 to 500 bytes."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            text = path.read_bytes()
            found += [part for part in text.split(b"\n") if 100 <= len(part) <= 500]
    random.Random(3).shuffle(found)
    return found


def per_second(work: Callable[[bytes], bytes], items: list[bytes]) -> float:
    best = 0.0
    for _ in range(3):
        began = time.perf_counter()
        for item in items:
            work(item)
        best = max(best, len(items) / (time.perf_counter() - began))
    return best


def show(kind: str, records: list[bytes]) -> None:
    held, samples = records[:HELD_OUT], records[HELD_OUT:]
    dictionary = zstandard.train_dictionary(SIZE, samples)
    packer = zstandard.ZstdCompressor(level=19, dict_data=dictionary)
    opener = zstandard.ZstdDecompressor(dict_data=dictionary)
    chosen = choose(samples, SIZE)
    mean = sum(map(len, held)) / len(held)
    theirs = [packer.compress(r) for r in held]
    size = sum(map(len, theirs)) / len(held)
    alone = sum(len(nzip.compress(r)) for r in held[:200]) / len(held[:200])
    print(
        f"| {kind}, {len(held)} of {mean:.0f} bytes | zstd -19 -D | {size:.1f} | 100 % |", end=" "
    )
    print(
        f"{per_second(packer.compress, held):,.0f} | {per_second(opener.decompress, theirs):,.0f} |"
    )
    print(f"| | nzip without a prior | {alone:.1f} | {alone / size:.0%} | | |")
    for name, contents, level in (
        ("nzip.Prior, level 1", chosen, 1),
        ("nzip.Prior, level 4", chosen, 4),
        ("nzip.Prior, level 6", chosen, 6),
        ("nzip.Prior of what zstd's trainer chose, level 4", dictionary.as_bytes(), 4),
    ):
        prior = nzip.Prior(contents, level=level)
        packed = [prior.compress(r) for r in held]
        assert [prior.decompress(p) for p in packed] == held
        mine = sum(map(len, packed)) / len(held)
        speeds = per_second(prior.compress, held), per_second(prior.decompress, packed)
        print(f"| | {name} | {mine:.1f} | {mine / size:.0%} |", end=" ")
        print(f"{speeds[0]:,.0f} | {speeds[1]:,.0f} |", flush=True)


def main() -> None:
    print("| records | | bytes each | | in, per second | out, per second |")
    print("|---|---|---:|---:|---:|---:|")
    rng = random.Random(1)
    show("JSON events", [event(rng) for _ in range(6000)])
    rng = random.Random(2)
    show("ten log lines", [lines(rng) for _ in range(4000)])
    if len(sys.argv) > 1:
        show("paragraphs", messages(Path(sys.argv[1])))


if __name__ == "__main__":
    main()

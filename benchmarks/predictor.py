"""Size and speed of `ac` on files: levels, M1 alone, several block sizes, and every kernel.

    python benchmarks/predictor.py FILE...

Each row runs in its own process, so that NZIP_KERNEL and NZIP_AHEAD take effect; it shows the best
of `--runs` runs with `-T` threads.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nzip
from nzip import levels, models

BLOCKS = [1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 21, 1 << 22]
ROWS = [
    *((f"level {level}", {"level": level}, {}) for level in range(1, 10)),
    *(
        (f"level {level}, no step ahead", {"level": level}, {"NZIP_AHEAD": "0"})
        for level in (1, 6, 7, 9)
    ),
    *((f"level 6, blocks of {size >> 10} KiB", {"block": size}, {}) for size in BLOCKS),
    ("small alone", {"adapt": False, "model": models.SMALL}, {}),
    ("base alone", {"adapt": False, "model": models.BASE}, {}),
    *((f"level 6, {name}", {}, {"NZIP_KERNEL": name}) for name in ("portable", "avx2", "avx512")),
    ("static", {"mode": "static"}, {}),
    ("eqinfo 16", {"mode": "eqinfo", "window": 16}, {}),
    ("eqinfo 64", {"mode": "eqinfo", "window": 64}, {}),
]


def measure(options: dict[str, object], paths: list[str], runs: int) -> list[float]:
    """[bytes in, bytes out, seconds in, seconds out], summed over the files."""
    total = [0.0] * 4
    block = options.pop("block", None)
    if block:
        levels.LEVELS[6] = levels.LEVELS[6]._replace(block_size=block)
    for path in paths:
        data = Path(path).read_bytes()
        best = [float("inf")] * 2
        for _ in range(runs):
            start = time.perf_counter()
            packed = nzip.compress(data, **options)
            middle = time.perf_counter()
            assert nzip.decompress(packed, threads=options.get("threads")) == data
            best = [
                min(best[0], middle - start),
                min(best[1], time.perf_counter() - middle),
            ]
        total = [a + b for a, b in zip(total, [len(data), len(packed), *best], strict=True)]
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("-T", "--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        options = {**json.loads(arguments.row), "threads": arguments.threads}
        print(json.dumps(measure(options, arguments.files, arguments.runs)))
        sys.exit()
    print(f"| setting ({arguments.threads} threads) | bpb | kB/s in | kB/s out |")
    print("|---|---:|---:|---:|")
    for name, row, variables in (row for row in ROWS if arguments.only in row[0]):
        env = {**os.environ, **variables}
        command = [sys.executable, __file__, "-T", str(arguments.threads), "--row", json.dumps(row)]
        command += ["--runs", str(arguments.runs)]
        result = subprocess.run(
            [*command, *arguments.files], env=env, capture_output=True, text=True, check=False
        )
        if "this CPU cannot run it" in result.stderr:
            print(f"| {name} | not on this CPU | | |")
            continue
        size, packed, seconds_in, seconds_out = json.loads(result.stdout)
        print(
            f"| {name} | {8 * packed / size:.3f} | {size / seconds_in / 1e3:,.0f}"
            f" | {size / seconds_out / 1e3:,.0f} |"
        )

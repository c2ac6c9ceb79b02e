"""Short texts: nzip compared with zstd -19 and a dictionary trained on the same shards.

    python benchmarks/small.py SHARDS FILE... [--dictionary 112K] [--sample 64M]

The dictionary is trained on pieces of 4 KiB, in proportion to the size of each source's shards.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import zstandard

import nzip
from nzip.train.data import Corpus

PIECE = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--dictionary", type=int, default=112 * 1024, help="bytes")
    parser.add_argument("--sample", type=int, default=64_000_000, help="bytes of training text")
    arguments = parser.parse_args()
    pieces: list[bytes] = []
    for batch, _ in Corpus([arguments.shards]).batches(64, PIECE, 1, 0.0):
        pieces += [row.tobytes() for row in batch]
        if len(pieces) * PIECE >= arguments.sample:
            break
    dictionary = zstandard.train_dictionary(arguments.dictionary, pieces)
    zstd = zstandard.ZstdCompressor(19, dict_data=dictionary, write_content_size=False)
    total = [0, 0, 0]
    print("| file | bytes | nzip | zstd -19 with a dictionary | nzip smaller by |")
    print("|---|---:|---:|---:|---:|")
    for path in arguments.files:
        data = path.read_bytes()
        sizes = [len(data), len(nzip.compress(data)), len(zstd.compress(data))]
        total = [a + b for a, b in zip(total, sizes, strict=True)]
        print_row(path.name, sizes)
    print_row("all", total)


def print_row(name: str, sizes: list[int]) -> None:
    size, ours, theirs = sizes
    print(f"| {name} | {size:,} | {ours:,} | {theirs:,} | {100 * (1 - ours / theirs):.1f} % |")


if __name__ == "__main__":
    main()

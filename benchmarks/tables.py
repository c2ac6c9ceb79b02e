"""Tables trained on equal text: what a small network reaches, by contexts, row size and bytes.

python benchmarks/tables.py SHARDS [VARIANT ...] --bytes 80M --mix 'wiki=20,code=12'

A variant is "name: contexts=2,3,4 embed=48 ways=2 size=32M units=64 blocks=1 rate=3e-3"; all parts,
and table_rate, are optional. Without variants it runs those of docs/experiments.md. Prints bits per
byte on the held-out documents of the shards, and the speed of training.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from nzip.cli.options import parse_size
from nzip.train import loop
from nzip.train.command import parse_weights
from nzip.train.data import Corpus
from nzip.train.machine import keep_freed_memory
from nzip.train.model import Config, Tables

ENGLISH = ("wiki", "prose", "web", "news")
VARIANTS = (
    "released: contexts=2,3,4,6,9,10,11,13",
    "without two words before: contexts=2,3,4,6,9,10,13",
    "and with the last byte: contexts=1,2,3,4,6,9,10,13",
    "ten contexts: contexts=1,2,3,4,5,6,9,10,11,13",
    "rows of 32 values, three a bucket: contexts=2,3,4,6,9,10,13 embed=32 ways=3",
    "rows of 16 values, five a bucket: contexts=2,3,4,6,9,10,13 embed=16 ways=5",
    "8 MB: size=8M",
    "128 MB: size=128M",
)


def run(corpus: Corpus, variant: str, total: int, sample: int, seed: int) -> None:
    """Train one variant and print its row."""
    name, _, text = variant.partition(":")
    parts = dict(part.split("=") for part in text.split())
    tables = Tables(
        embed=int(parts.get("embed", 48)),
        ways=int(parts.get("ways", 2)),
        buckets=parse_size(parts.get("size", "32M")) // 64,
    )
    if "contexts" in parts:
        tables.contexts = [int(x) for x in parts["contexts"].split(",")]
    config = Config(int(parts.get("units", 64)), int(parts.get("blocks", 1)), tables)
    options = loop.Options(total=total, sample=sample, seed=seed, every=1 << 30)
    options.rate = float(parts.get("rate", options.rate))
    options.table_rate = float(parts.get("table_rate", options.table_rate))
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        loop.train(corpus, Path(folder) / "run.ckpt", config, options, rows.append)
    held = rows[-1]["held"]
    english = [held[source] for source in ENGLISH if source in held]
    mean = sum(held.values()) / len(held)
    cells = [f"{held[source]:.3f}" for source in held]
    if english:
        cells.append(f"{sum(english) / len(english):.4f}")
    print("| " + " | ".join([name, *cells, f"{mean:.4f}", f"{rows[-1]['rate'] / 1000:.0f}"]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("variants", nargs="*", default=VARIANTS)
    parser.add_argument("--bytes", default="80M", help="text to train on")
    parser.add_argument("--sample", default="100M", help="text that decides who owns rows")
    parser.add_argument("--mix", default=None)
    parser.add_argument("--relay", default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    mix, relay = parse_weights("--mix", args.mix), parse_weights("--relay", args.relay)
    corpus = Corpus([args.shards], mix, relay)
    sources = list(corpus.held_out())
    head = [*sources, *(["English"] if set(ENGLISH) & set(sources) else []), "mean", "kB/s"]
    print("| variant | " + " | ".join(head) + " |")
    print("|---" + "|---:" * len(head) + "|")
    for variant in args.variants:
        run(corpus, variant, parse_size(args.bytes), parse_size(args.sample), args.seed)


if __name__ == "__main__":
    main()

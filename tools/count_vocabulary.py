"""Counts the released vocabularies on the training shards.

    python tools/count_vocabulary.py SHARDS nzip/models [--align word]

takes the megabytes of each kind that ``MIX`` states, an equal part from the beginning of each
shard, counts the vocabulary (about four minutes on one core and 1 GB of memory), and writes it to
the folder under the name by which nzip looks it up. Set ``COUNTED`` of
nzip/modes/dictionary.py to the printed digest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from nzip import corpus
from nzip.modes import dictionary
from nzip.tokens import Tokenizer

# Megabytes of each kind; mostly English prose of all sorts.
MIX = {
    **{"news": 18, "web": 40, "prose": 30, "wiki": 40, "docs": 10, "code": 10},
    **{"lang": 8, "misc": 3, "data": 1, "logs": 1},
}


def documents(shards: Path) -> Iterator[bytes]:
    for kind, size in MIX.items():
        paths = sorted(shards.glob(f"{kind}-*"))
        for path in paths:
            yield from corpus.documents(path, limit=size * 1_000_000 // len(paths))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--align", choices=["word"])
    options = parser.parse_args()
    tokenizer = Tokenizer.train(
        documents(options.shards),
        align=options.align,
        limit=sum(MIX.values()) * 1_000_000,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    dictionary.keep(options.folder, tokenizer.digest, 16, tokenizer.packed())
    print(tokenizer.digest.hex())


if __name__ == "__main__":
    main()

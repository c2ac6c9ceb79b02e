"""Learns what mixing begins with under models, and writes it into their files.

    python tools/learn_mixing.py MODEL.safetensors... --corpus SHARDS [--mix WEIGHTS] [--size BYTES]

``nzip train`` does the same for a new model. This is for files that were trained before: their
tensors stay as they are.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from nzip.train.command import parse_weights
from nzip.train.data import Corpus
from nzip.train.mixing import LEARNED, add_starts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--corpus", nargs="+", type=Path, required=True)
    parser.add_argument("--mix", help="weights of sources, as for nzip train")
    parser.add_argument("--size", type=int, default=LEARNED, help="bytes of text")
    args = parser.parse_args()
    corpus = Corpus(args.corpus, parse_weights("--mix", args.mix))
    for path in args.models:
        began = time.monotonic()
        add_starts(path, corpus, args.size)
        print(f"{path}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()

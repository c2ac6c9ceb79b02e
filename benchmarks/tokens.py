"""Windows as tokens compared with byte-pair encodings: bytes per token and speed, in one run.

    python benchmarks/tokens.py EVAL --shards SHARDS [--bpe-bytes 40000000] [--keep FOLDER]

EVAL holds the folders news, web, prose and wiki with texts. The byte-pair encodings are trained on
the shards of the same four kinds with Hugging Face `tokenizers` (and kept in FOLDER); `tiktoken`
runs the merges of the larger one. Speeds are for one process and one thread, the best of several
runs, in MB/s.
Needs `pip install tokenizers tiktoken`.
"""

from __future__ import annotations

import argparse
import bisect
import collections
import itertools
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import tiktoken
import tokenizers
from timing import best

from nzip import _predict, corpus, models, reference
from nzip._trie import Trie
from nzip.m2 import padded
from nzip.tokens import Tokenizer, export
from nzip.tokens.tokenizations import EqInfo

KINDS = ("news", "web", "prose", "wiki")
SPLIT = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def texts(folder: Path) -> dict[str, bytes]:
    """The text of each kind, without HTML pages."""
    return {
        kind: b"\n".join(p.read_bytes() for p in sorted((folder / kind).glob("*.txt")))
        for kind in KINDS
    }


def sample(shards: Path, size: int) -> Iterator[str]:
    """Documents of the four kinds by turns, `size` bytes in all."""
    paths = {kind: sorted(shards.glob(f"{kind}-*")) for kind in KINDS}
    for kind in KINDS:
        left = size // len(KINDS)
        for document in itertools.chain.from_iterable(map(corpus.documents, paths[kind])):
            if left <= 0:
                break
            left -= len(document)
            yield document.decode("utf-8", "replace")


def train_bpe(shards: Path, size: int, vocabulary: int, keep: Path) -> tokenizers.Tokenizer:
    """A byte-level BPE, trained once and cached."""
    path = keep / f"bpe-{vocabulary}-{size}.json"
    if not path.exists():
        bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
        bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocabulary,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        bpe.train_from_iterator(sample(shards, size), trainer)
        keep.mkdir(parents=True, exist_ok=True)
        bpe.save(str(path))
    return tokenizers.Tokenizer.from_file(str(path))


def as_tiktoken(bpe: tokenizers.Tokenizer) -> tiktoken.Encoding:
    """The same merges in tiktoken."""
    back = {c: b for b, c in enumerate(export.byte_characters())}
    content = json.loads(bpe.to_str())["model"]
    ranks = {bytes([b]): b for b in range(256)}
    for pair in content["merges"]:
        left, right = pair if isinstance(pair, list) else pair.split(" ")
        ranks.setdefault(bytes(back[c] for c in left + right), len(ranks))
    return tiktoken.Encoding("bpe", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens={})


def padded_windows(predictor: _predict.Predictor, text: bytes, width: int) -> int:
    """Windows by the paper's rule, taken literally: as many bytes as have an arithmetic code of
    `width` bits, with coder and M1 reset. Not lossless: a string and its extensions share codes."""
    squash = np.array(reference.squash_table())
    at = count = 0
    while at < len(text):
        part = text[at : at + 64]
        rows = np.frombuffer(_predict.logits(predictor, part), np.int16).reshape(-1, 256)
        low, size, taken = Fraction(0), Fraction(1), 0
        for row, byte in zip(rows, part, strict=True):
            node = 1
            for depth in range(8):
                bit = byte >> (7 - depth) & 1
                p1 = Fraction(int(squash[int(row[node]) + 3072]), 65536)
                low, size = (low, size * p1) if bit else (low + size * p1, size * (1 - p1))
                node = node << 1 | bit
            if taken and math.ceil(low * 2**width) >= (low + size) * 2**width:
                break
            taken += 1
        at += taken
        count += 1
    return count


def word_sequences(
    tokens: Callable[[bytes], tuple[Sequence[int], Sequence[int]]], text: bytes
) -> tuple[float, float]:
    """Averaged over the 1,000 most frequent words: how many different token sequences cover a
    word's occurrences, and the share of occurrences that the commonest one covers.

    tokens: a function from a text to its tokens and where they begin.
    """
    words = collections.defaultdict(list)
    for found in re.finditer(rb"[A-Za-z]+", text):
        words[found.group()].append(found.span())
    frequent = sorted(words, key=lambda word: len(words[word]), reverse=True)[:1000]
    ids, starts = tokens(text)
    different, share = [], []
    for word in frequent:
        seen = collections.Counter(
            tuple(ids[bisect.bisect_right(starts, a) - 1 : bisect.bisect_left(starts, b)])
            for a, b in words[word]
        )
        different.append(len(seen))
        share.append(seen.most_common(1)[0][1] / len(words[word]))
    return float(np.mean(different)), float(np.mean(share))


def bytes_a_window(folder: Path, model: models.Model) -> None:
    """Print a table of all kinds: 200 kB of each folder, from its files by turns."""
    counted = {align: Tokenizer(align=align) for align in (None, "word")}
    print("bytes per window on 200 kB    counted, words  W = 16      24      32      64")
    for kind in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(path for path in kind.rglob("*") if path.is_file())
        text = b"".join(path.read_bytes()[: 200_000 // len(files)] for path in files)
        cells = "".join(f"{len(text) / len(own.encode(text)):8.3f}" for own in counted.values())
        cells += "".join(
            f"{len(text) * width / 8 / len(EqInfo(model, width, 8).encode(text)):8.3f}"
            for width in (16, 24, 32, 64)
        )
        print(f"{kind.name:<28}{cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("eval", type=Path)
    parser.add_argument("--shards", type=Path, default=Path())
    parser.add_argument("--bpe-bytes", type=int, default=40_000_000)
    parser.add_argument("--keep", type=Path, default=Path("bpe"))
    parser.add_argument("--model", default=models.WINDOWS)
    parser.add_argument("--kinds", action="store_true", help="only a table of all folders of EVAL")
    options = parser.parse_args()
    model = models.load(options.model)
    if options.kinds:
        bytes_a_window(options.eval, model)
        return
    kinds = texts(options.eval)
    bpe = {
        size: train_bpe(options.shards, options.bpe_bytes, size, options.keep)
        for size in (65536, 32768)
    }

    def of_bpe(size: int) -> Callable[[bytes], int]:
        return lambda text: len(bpe[size].encode(text.decode("utf-8", "replace")).ids)

    def of_windows(width: int, **settings: object) -> Callable[[bytes], int]:
        tokens = EqInfo(model, width, 8, **settings)  # type: ignore[arg-type]
        return lambda text: len(tokens.encode(text)) * 8 // width

    plain, counted = Tokenizer(options.model), Tokenizer()
    ahead, counted_words = Tokenizer(lookahead=True), Tokenizer(align="word")
    rows: dict[str, Callable[[bytes], int]] = {
        "counted": lambda text: len(counted.encode(text)),
        "counted, lookahead": lambda text: len(ahead.encode(text)),
        "counted, aligned to words": lambda text: len(counted_words.encode(text)),
        "EqualInfoAC[b=16,v=65k]": lambda text: len(plain.encode(text)),
        "the same, lookahead": of_windows(16, lookahead=True),
        "the same, aligned to words": of_windows(16, align="word"),
        "BPE, 65,536": of_bpe(65536),
        "BPE, 32,768": of_bpe(32768),
        "W = 24": of_windows(24),
        "W = 32": of_windows(32),
        "W = 64": of_windows(64),
        "W = 16, reset every 2": of_windows(16, reset_every=2),
        "W = 16, context carried": of_windows(16, reset_every=0),
    }
    print("bytes per token (or window) " + "".join(f"{kind:>8}" for kind in KINDS) + "    mean")
    for name, count in rows.items():
        values = [len(text) / count(text) for text in kinds.values()]
        cells = "".join(f"{value:8.3f}" for value in values)
        print(f"{name:<28}{cells}{np.mean(values):8.3f}", flush=True)
    short = {kind: text[:20_000] for kind, text in kinds.items()}
    values = [len(t) / padded_windows(model.predictor, t, 16) for t in short.values()]
    ours = [len(t) / len(plain.encode(t)) for t in short.values()]
    shared = [
        len(t) / (len(_predict.eqinfo_encode(model.predictor, 16, t) or b"") // 2)
        for t in short.values()
    ]
    found = padded.strings(model.predictor, 16)
    rows_of_short = {
        "20 kB of each: zero-padded": [
            len(t) / len(padded.windows_of(t, *found)) for t in short.values()
        ],
        "the paper's, not lossless": values,
        "shared down the tree": shared,
        "the most probable strings": ours,
    }
    for name, row in rows_of_short.items():
        cells = "".join(f"{value:8.3f}" for value in row)
        print(f"{name:<28}{cells}{np.mean(row):8.3f}")

    def with_offsets(size: int) -> Callable[[bytes], tuple[Sequence[int], Sequence[int]]]:
        def tokens(text: bytes) -> tuple[Sequence[int], Sequence[int]]:
            pieces = bpe[size].encode(text.decode("ascii"))
            return pieces.ids, [a for a, _ in pieces.offsets]

        return tokens

    ascii_text = b"\n".join(kinds.values()).decode("utf-8", "replace").encode("ascii", "replace")
    print("\nthe 1,000 most frequent words: token sequences of a word, share of the commonest")
    for name, tokens in {
        "counted": counted.encode_with_offsets,
        "counted, aligned to words": counted_words.encode_with_offsets,
        "EqualInfoAC[b=16,v=65k]": plain.encode_with_offsets,
        "the same, aligned to words": Tokenizer(options.model, align="word").encode_with_offsets,
        "BPE, 65,536": with_offsets(65536),
    }.items():
        different, share = word_sequences(tokens, ascii_text)
        print(f"{name:<28}{different:8.1f}{share:8.1%}", flush=True)

    start = time.perf_counter()
    lengths, last = _predict.eqinfo_tree(model.predictor, 16)
    middle = time.perf_counter()
    Trie(lengths, last)
    end = time.perf_counter()
    print(f"\nW = 16: dictionary from M1 {middle - start:.2f} s, its trie {end - middle:.3f} s")

    text = b"\n".join(kinds.values())
    text = text * max(1, 8_000_000 // len(text))
    small = text.decode("utf-8", "replace")[: 1 << 20]
    tik = as_tiktoken(bpe[65536])
    ids, tik_ids = counted.encode_to_numpy(text), tik.encode_ordinary(small)
    hf_ids, lists = bpe[65536].encode(small).ids, ids.tolist()
    large_size, small_size = len(text), len(small.encode())
    works: list[tuple[str, int, Callable[[], object]]] = [
        ("nzip encode, to an array", large_size, lambda: counted.encode_to_numpy(text)),
        ("nzip encode, to a list", large_size, lambda: counted.encode(text)),
        ("the same with lookahead", large_size, lambda: ahead.encode_to_numpy(text)),
        ("the same, aligned to words", large_size, lambda: counted_words.encode_to_numpy(text)),
        ("tiktoken encode, to a list", small_size, lambda: tik.encode_ordinary(small)),
        ("tokenizers encode", small_size, lambda: bpe[65536].encode(small)),
        ("nzip decode, from an array", large_size, lambda: counted.decode_bytes(ids)),
        ("nzip decode, from a list", large_size, lambda: counted.decode_bytes(lists)),
        ("tiktoken decode, from a list", small_size, lambda: tik.decode_bytes(tik_ids)),
        ("tokenizers decode", small_size, lambda: bpe[65536].decode(hf_ids)),
    ]
    times = best(*(work for _, _, work in works))
    speeds = {
        name: size / seconds / 1e6 for (name, size, _), seconds in zip(works, times, strict=True)
    }
    for name, speed in speeds.items():
        print(f"{name:<30}{speed:9.1f} MB/s")
    for way in ("to an array", "to a list"):
        ours_speed = speeds[f"nzip encode, {way}"]
        print(
            f"{way}: {ours_speed / speeds['tiktoken encode, to a list']:.1f} times tiktoken,"
            f" {ours_speed / speeds['tokenizers encode']:.1f} times tokenizers"
        )


if __name__ == "__main__":
    main()

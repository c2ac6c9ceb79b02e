"""Writes the inputs from which fuzzing starts: python tests/fuzz/seeds.py FOLDER

FOLDER/kernel and FOLDER/python/TARGET get valid inputs and golden frames. Fuzzing from these and
`make fuzz-merge` gave the files in tests/fuzz/seeds.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import nzip
from nzip import models
from nzip.modes import dictionary
from nzip.tokens import Tokenizer, command

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import SmallModel

GOLDEN = Path(__file__).parents[1] / "golden"


def python_seeds() -> list[tuple[str, bytes]]:
    """(target, input)."""
    rng = np.random.default_rng(1)
    frames = [path.read_bytes() for path in sorted(GOLDEN.glob("*.nz"))]
    frames = [frame for frame in frames if len(frame) < 400]
    seeds = [(name, frame) for name in ("parse", "decompress", "recovery") for frame in frames]
    seeds += [
        ("recovery", nzip.compress(b"a" * 900 + b"b" * 300, mode)) for mode in ("ac", "static")
    ]
    for k in range(8):
        blocks = b"".join(bytes([k, 20, 9]) + rng.bytes(9) for _ in range(2))
        seeds.append(("hostile", bytes([k, 0]) + blocks))
    model = SmallModel(1, buckets=20).file()
    size = int.from_bytes(model[:8], "little")
    seeds += [("model", model), ("model_header", model[8 : 8 + size])]
    lengths, last = [], []
    for byte in range(256):  # 240 numbers belong to 8-bit windows; each byte, no longer strings
        lengths.append(1)
        last.append(byte)
    raw = np.array(lengths, "<u2").tobytes() + bytes(last)
    seeds.append(("dictionary", raw))
    seeds.append(
        ("dictionary_file", dictionary.pack(bytes(32), 8, bytearray(raw[:512]), bytearray(last)))
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Tokenizer(models.SMALL, window=8).save(folder / "tokenizer.json")
        seeds.append(("tokenizer", (folder / "tokenizer.json").read_bytes()))
        (folder / "text").write_bytes(b"some text, some more text")
        for tokenization in ("eqinfo", "ac", "static", "gzip", "bytes"):
            settings = {
                "model": None,
                "window": None,
                "token_bits": 8,
                "reset_every": 1,
                "align": None,
            }
            command.tokenize(
                [folder / "text"],
                folder / "t.bin",
                tokenization,
                split="file",
                eos=False,
                force=True,
                **settings,
            )
            seeds.append(("settings", (folder / "t.json").read_bytes()))
            seeds.append(("index", b"\x16" + (folder / "t.idx").read_bytes()))
            seeds.append(("tokens", b"\x00\x03" + (folder / "t.bin").read_bytes()))
            seeds.append(("tokens", b"\x01\x03" + (folder / "t.bin").read_bytes()))
    return seeds


def kernel_seeds() -> list[bytes]:
    """For each target: what to test, an option, a size, then bytes of several kinds."""
    rng = np.random.default_rng(2)
    bodies = [b"", b"the cat, the dog; the bird" * 3, bytes(60), b"\xff" * 40, rng.bytes(200)]
    return [
        bytes([what, option, 50, 0]) + body
        for what in range(8)
        for option in (0, 1, 8, 16, 56)
        for body in bodies
    ]


def write(folder: Path, seeds: list[bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / f"{number:03}").write_bytes(seed)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    seeds = python_seeds()
    for name in {name for name, _ in seeds}:
        write(target / "python" / name, [data for own, data in seeds if own == name])
    write(target / "kernel", kernel_seeds())

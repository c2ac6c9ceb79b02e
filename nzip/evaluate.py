"""How many bits a model needs for a text, measured without encoding it: in all and by position."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import _predict, plots
from .levels import DEFAULT_LEVEL, LEVELS, PLAIN_BLOCK
from .models import Model

if TYPE_CHECKING:
    import numpy as np


def code_lengths(p1: np.ndarray, text: bytes) -> np.ndarray:
    """The bits that each byte of a text costs, float64 [len(text)].

    p1: uint16 [len(text), 8], the probability of a one at each bit, in 1/65536.
    """
    import numpy as np

    bits = np.unpackbits(np.frombuffer(text, np.uint8)).reshape(-1, 8)
    lengths: np.ndarray = -np.log2(np.where(bits, p1, 65536.0 - p1) / 65536).sum(axis=1)
    return lengths


def costs(
    model: Model, text: bytes, profile: int = 0, watch: _predict.Watch | None = None
) -> np.ndarray:
    """The code length of each byte of a block, in bits, float64 [len(text)].

    profile: of the mixing, one of frame.MIXED; 0 for M1 alone. The text is read in as many lanes as
    a block of its length, so the first bytes of each lane are predicted from little context. The
    sum is what ``ac`` writes, except for the few bits that end the code (arXiv 2309.10668,
    section 2).
    """
    import numpy as np

    raw = _predict.ac_probabilities(model.predictor, profile, text, watch=watch)
    return code_lengths(np.frombuffer(raw, np.uint16).reshape(-1, 8), text)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Consecutive parts of at most ``size`` bytes."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def bits_per_byte(
    model: Model,
    data: bytes,
    adapt: bool = False,
    threads: int | None = None,
    watches: list[_predict.Watch] | None = None,
) -> float:
    """Mean code length of a text in bits per byte; NaN for an empty text.

    adapt: with the mixing and the blocks of the default level, else M1 alone in blocks of
    PLAIN_BLOCK. threads: None or 0 for all cores. watches: a list to which a watch for each block
    is added, to follow the progress.
    """
    level = LEVELS[DEFAULT_LEVEL]
    blocks = list(pieces(data, level.block_size if adapt else PLAIN_BLOCK))
    profile = level.coding if adapt else 0
    own = [_predict.Watch() for _ in blocks]
    if watches is not None:
        watches += own

    def cost(block: bytes, watch: _predict.Watch) -> float:
        return float(costs(model, block, profile, watch).sum())

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        total = sum(pool.map(cost, blocks, own))
    return total / len(data) if data else float("nan")


@dataclass
class Point:
    """Mean bits per byte of the ``bytes`` bytes at positions ``first`` to ``last``, from 1."""

    first: int
    last: int
    bpb: float
    bytes: int


def curve(
    model: Model,
    texts: Iterable[bytes],
    adapt: bool = False,
    length: int = 16384,
    threads: int | None = None,
) -> list[Point]:
    """The in-context curve (arXiv 2309.10668, section 3.4): bits per byte by position.

    length: bytes, 1 to 32,767, of the pieces that each text is cut into. The model is reset at each
    piece, which is coded in one lane. Positions are grouped in ranges that double. Raises
    ValueError for another length.
    """
    import numpy as np

    if not 1 <= length < 32768:
        raise ValueError("the length of a curve must be 1 to 32767 bytes")
    cut = [piece for text in texts for piece in pieces(text, length)]
    total, count = np.zeros(length), np.zeros(length, np.int64)
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for row in pool.map(lambda piece: costs(model, piece, adapt), cut):
            total[: len(row)] += row
            count[: len(row)] += 1
    points, first = [], 0
    while first < length and count[first]:
        last = min(max(2 * first, 1), length)
        seen = int(count[first:last].sum())
        points.append(Point(first + 1, last, float(total[first:last].sum()) / seen, seen))
        first = last
    return points


def plot(points: list[Point], path: Path, title: str) -> None:
    """Draw a curve to an image file and an SVG. Raises ImportError without matplotlib."""
    pyplot = plots.pyplot()
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    axes.step([p.first for p in points], [p.bpb for p in points], where="post")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("position in the text (bytes)")
    axes.set_ylabel("bits per byte")
    axes.set_title(title)
    plots.save(figure, path)
    pyplot.close(figure)


def sample(model: Model, size: int, seed: int | None = None, prompt: bytes = b"") -> bytes:
    """Generate text from the model by decoding random bits (arXiv 2309.10668, section 3.3).

    size: bytes to generate, which continue the prompt; together at most 32,767, one lane. seed: the
    same seed gives the same text; None for a different one each time. Raises ValueError for other
    sizes.
    """
    import random

    if size < 1 or len(prompt) + size > 32767:
        raise ValueError("a sample has 1 to 32767 bytes, the prompt included")
    source = random.Random(seed) if seed is not None else random.SystemRandom()
    # The coder's probabilities are at least 2^-16 per bit: a byte takes at most 16 bytes of code.
    noise = source.randbytes(16 * size + 16)
    text = _predict.ac_decode(model.predictor, False, noise, len(prompt) + size, prompt)
    return text[len(prompt) :]

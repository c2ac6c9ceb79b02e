"""Learns what mixing begins with under a model: its weights and maps, from texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import _predict, models
from ..corpus import documents
from ..frame import AC_DEEP, AC_FULL, AC_LIGHT, PROFILES
from .data import Corpus
from .modelfile import replace_tensors

LEARNED = 1 << 20  # bytes of text
LEAST, MOST = 1 << 11, 60_000  # bytes of a document that are read
COUNT = 20  # a map's count is at most so much, so that it soon learns from the block
COUNTS = 1023  # the bits of the count
# How far the weights are moved from the defaults towards the learned ones: those help at once, but
# where a block needs others it is slower to leave them (docs/experiments.md).
SHARES = {AC_LIGHT: 0.75, AC_FULL: 0.75, AC_DEEP: 0.5}


def sample(corpus: Corpus, size: int, seed: int) -> list[bytes]:
    """Documents of all sources by their weights, not held out, of ``size`` bytes in all at most."""
    texts = []
    for name, files in corpus.groups.items():
        left = int(size * corpus.weights[name])
        found = (
            text[:MOST].replace(b"\r\n", b"\n")  # as blocks are coded
            for number, path in enumerate(files)
            for text in documents(path, skip=0 if number else corpus.held(name))
            if len(text) >= LEAST
        )
        while left >= LEAST and (text := next(found, b"")):
            texts.append(text[:left])
            left -= len(texts[-1])
    return [texts[i] for i in np.random.default_rng(seed).permutation(len(texts))]


def learn(
    predictor: _predict.Predictor, profile: int, texts: list[bytes]
) -> tuple[np.ndarray, np.ndarray]:
    """What mixing in a profile has learned from texts, one block each, one after another.

    Returns weights, int16 [rows, width], between the defaults and the mean over the ends of all
    texts but the first third, and maps, uint32 [maps], as they are after the last text.
    """
    rows, width, count = _predict.start_shape(profile)
    weights, maps = np.zeros(rows * width, np.int16), np.zeros(count, np.uint32)
    _predict.ac_learn(predictor, profile, b"", weights, maps, True)
    default = weights.astype(float)
    total, taken = np.zeros(rows * width), 0
    for number, text in enumerate(texts):
        _predict.ac_learn(predictor, profile, text, weights, maps, False)
        if 3 * number >= len(texts):
            total += weights
            taken += 1
        if profile != AC_LIGHT:  # whose maps have no counts
            maps = (maps & ~np.uint32(COUNTS)) | np.minimum(maps & COUNTS, COUNT)
    learned = default + SHARES[profile] * (total / taken - default)
    return learned.round().astype(np.int16).reshape(rows, width), maps


def add_starts(path: Path, corpus: Corpus, size: int = LEARNED, seed: int = 1) -> None:
    """Learn the starts of all profiles and write them to the model's file.

    size: bytes of text to learn from, at most.
    """
    texts = sample(corpus, size, seed)
    if not texts:
        return
    predictor = models.Model(path).new_predictor({})
    tensors: dict[str, np.ndarray] = {}
    for profile, name in PROFILES.items():
        weights, maps = learn(predictor, profile, texts)
        tensors |= {f"{name}_weights": weights, f"{name}_maps": maps}
    del predictor  # Windows does not replace a file that is mapped into memory
    replace_tensors(path, tensors)

"""The options of a training run, by what it starts from and what the model is for."""

from __future__ import annotations

from dataclasses import replace

from .loop import Options

NEW = Options()
# One pass over the text in smaller steps; the tables move about as before.
FINE_TUNE = Options(lanes=64, rate=1e-3, table_rate=180.0, warmup=20)
# For eqinfo and tokens M1 is reset at every segment, and segments are short.
WINDOWS = Options(lanes=320, reset=1.0)
WINDOWS_FINE_TUNE = replace(FINE_TUNE, lanes=320, reset=1.0, rate=1.5e-3, table_rate=60.0)
CHANGES = 4_000_000  # bytes of buckets, with their numbers, that fine-tuning may change


def options(
    *,
    fine_tune: bool,
    windows: bool,
    part: int,
    text: int,
    total: int | None = None,
    lanes: int | None = None,
    rate: float | None = None,
    seed: int = 1,
    begin: float = 0.0,
    patience: int = 0,
) -> Options:
    """The options of a run; None means the recipe's value.

    part: with ``windows``, bytes of a segment. text: bytes of text available, which fine-tuning
    reads once by default. total, lanes, rate, seed, begin, patience: as in Options. Raises
    ValueError if there are no bytes to train on.
    """
    recipe = (NEW, FINE_TUNE, WINDOWS, WINDOWS_FINE_TUNE)[2 * windows + fine_tune]
    chosen = replace(recipe, seed=seed, begin=begin, patience=patience)
    if windows:
        chosen.segment = part
    if fine_tune:
        chosen.total = text
    if total is not None:
        chosen.total = total
    if chosen.total < 1:
        raise ValueError("there are no bytes to train on")
    chosen.lanes = lanes or chosen.lanes
    chosen.rate = rate or chosen.rate
    steps = chosen.total // (chosen.lanes * chosen.segment)
    chosen.warmup = min(chosen.warmup, steps // 10)
    chosen.every = max(20, min(chosen.every, steps // 10))
    return chosen

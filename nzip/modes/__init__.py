"""The modes: how a block becomes code. One file a mode, each with the same two functions."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from .. import frame, models
from .._predict import Watch
from ..models import Model
from .ac import Ac
from .eqinfo import EqInfo
from .static import Static

MODES = ("ac", "static", "eqinfo")
DEFAULT_LEVEL = 6
PLAIN_BLOCK = 1 << 19  # bytes of a block where nothing is learned from it
SHORT = 1 << 19  # content up to this many bytes waits for a stronger model
# Level -> (M1, M1 of short content, bytes of a block). Larger blocks learn longer from the file and
# leave less to do in parallel.
LEVELS: dict[int, tuple[str, str, int]] = {
    1: (models.NANO, models.NANO, 1 << 19),
    2: (models.NANO, models.NANO, 1 << 21),
    3: (models.NANO, models.NANO, 1 << 23),
    4: (models.SMALL, models.SMALL, 1 << 20),
    5: (models.SMALL, models.SMALL, 1 << 22),
    6: (models.SMALL, models.BASE, 1 << 22),
    7: (models.BASE, models.BASE, 1 << 22),
    8: (models.BASE, models.BASE, 1 << 23),
    9: (models.BASE, models.BASE, 1 << 24),
}


class Mode(Protocol):
    """Codes blocks. ``coding`` is its number in the frame header."""

    coding: int

    def encode(self, block: bytes, watch: Watch) -> tuple[int, bytes] | None:
        """(type of block, its code), or None if that would not be shorter."""

    def decode(self, code: bytes, size: int, watch: Watch) -> bytes:
        """The ``size`` bytes of a block. Raises FormatError for a code that nothing encodes to."""


def choose(
    mode: str,
    level: int,
    window: int,
    reset_every: int,
    model: str | None,
    adapt: bool,
    short: bool = False,
) -> tuple[Mode, int, Model | None]:
    """(mode, block size, model) for what a caller asked for. ``short``: the content has at most
    SHORT bytes. Raises ValueError."""
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r} (known: {', '.join(MODES)})")
    if level not in LEVELS:
        raise ValueError(f"level {level} is not in 1..9")
    if not frame.MIN_WINDOW <= window <= frame.MAX_WINDOW:
        raise ValueError(
            f"a window has {frame.MIN_WINDOW} to {frame.MAX_WINDOW} bits, not {window}"
        )
    frame.check_reset_every(reset_every)
    long_name, short_name, block_size = LEVELS[level]
    if mode == "static":
        return Static(), PLAIN_BLOCK, None
    if mode == "eqinfo":
        m1 = models.load(model or models.WINDOWS)
        return EqInfo(m1, window, reset_every), PLAIN_BLOCK, m1
    if not adapt:  # M1 is all that there is
        m1 = models.load(model)
        return Ac(m1.predictor, False), PLAIN_BLOCK, m1
    m1 = models.load(model or (short_name if short else long_name))
    return Ac(m1.predictor, True), block_size, m1


def model_files(mode: str, level: int, model: str | None = None) -> set[Path]:
    """The files of models without which nothing that a mode and level writes can be decoded."""
    if mode == "static":
        return set()
    names = {model or models.WINDOWS} if mode == "eqinfo" or model else set(LEVELS[level][:2])
    return {path for name in names for path in models.load(name).files}


def from_header(header: frame.Header, model: Model | None) -> Mode:
    """The mode that decodes a frame's blocks."""
    if header.coding == frame.STATIC:
        return Static()
    if header.coding == frame.EQINFO:
        assert model is not None  # WITH_MODEL holds EQINFO
        return EqInfo(model, header.window, header.reset_every)
    return Ac(model.predictor if model else None, header.coding != frame.AC_PLAIN)

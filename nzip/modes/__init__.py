"""The modes: how a block becomes code. One file a mode, each with the same two functions."""

from __future__ import annotations

from typing import Protocol

from .. import frame, models
from ..models import Model
from .ac import Ac
from .eqinfo import EqInfo
from .static import Static

MODES = ("ac", "static", "eqinfo")
DEFAULT_LEVEL = 6
# Level -> (M1 takes part, bytes of a block). Larger blocks learn longer from the file and leave
# less to do in parallel.
LEVELS = {
    1: (False, 1 << 19),
    2: (False, 1 << 21),
    3: (False, 1 << 23),
    4: (True, 1 << 17),
    5: (True, 1 << 18),
    6: (True, 1 << 19),
    7: (True, 1 << 20),
    8: (True, 1 << 22),
    9: (True, 1 << 24),
}


class Mode(Protocol):
    """Codes blocks. ``coding`` is its number in the frame header."""

    coding: int

    def encode(self, block: bytes) -> tuple[int, bytes] | None:
        """(type of block, its code), or None if that would not be shorter."""

    def decode(self, code: bytes, size: int) -> bytes:
        """The ``size`` bytes of a block. Raises FormatError for a code that nothing encodes to."""


def choose(
    mode: str, level: int, window: int, reset_every: int, model: str | None, adapt: bool
) -> tuple[Mode, int, Model | None]:
    """(mode, block size, model) for what a caller asked for. Raises ValueError."""
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r} (known: {', '.join(MODES)})")
    if level not in LEVELS:
        raise ValueError(f"level {level} is not in 1..9")
    if not frame.MIN_WINDOW <= window <= frame.MAX_WINDOW:
        raise ValueError(
            f"a window has {frame.MIN_WINDOW} to {frame.MAX_WINDOW} bits, not {window}"
        )
    if not 0 <= reset_every <= frame.MAX_RESET_EVERY:
        raise ValueError(f"M1 is reset every 1 to 255 windows, or never (0), not {reset_every}")
    with_model, block_size = LEVELS[level]
    if mode == "static":
        return Static(), LEVELS[DEFAULT_LEVEL][1], None
    if mode == "eqinfo":
        m1 = models.load(model)
        return EqInfo(m1, window, reset_every), LEVELS[DEFAULT_LEVEL][1], m1
    if with_model or model is not None or not adapt:
        m1 = models.load(model)
        return Ac(m1.predictor, adapt), block_size, m1
    return Ac(None, True), block_size, None


def from_header(header: frame.Header, model: Model | None) -> Mode:
    """The mode that decodes a frame's blocks."""
    if header.coding == frame.STATIC:
        return Static()
    if header.coding == frame.EQINFO:
        assert model is not None  # WITH_MODEL holds EQINFO
        return EqInfo(model, header.window, header.reset_every)
    return Ac(model.predictor if model else None, header.coding != frame.AC_PLAIN)

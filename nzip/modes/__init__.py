"""The modes: how a block becomes code. One file a mode, each with the same two functions."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from .. import frame, models
from .._predict import Watch
from ..errors import ChecksumError
from ..models import Model
from ..prior import Prior
from ..prior import find as find_prior
from .ac import Ac
from .eqinfo import EqInfo
from .static import Static

MODES = ("ac", "static", "eqinfo")
DEFAULT_LEVEL = 6
MEMORY = " Memory of a thread: up to 140 MB; level 3 takes 200 MB, level 9 350 MB."
PLAIN_BLOCK = 1 << 19  # bytes of a block where nothing is learned from it
PROGRAM_MEMORY = 60 << 20  # bytes of the interpreter and the models, which threads share


class Level(NamedTuple):
    """What a level stands for."""

    model: str
    coding: int  # how much is mixed with M1: one of frame.MIXED
    block_size: int  # larger blocks learn longer from the file and leave less to do in parallel


LEVELS = {
    1: Level(models.NANO, frame.AC_LIGHT, 1 << 19),
    2: Level(models.NANO, frame.AC_LIGHT, 1 << 21),
    3: Level(models.NANO, frame.AC_LIGHT, 1 << 23),
    4: Level(models.NANO, frame.AC_FULL, 1 << 21),
    5: Level(models.SMALL, frame.AC_FULL, 1 << 20),
    6: Level(models.SMALL, frame.AC_FULL, 1 << 22),
    7: Level(models.BASE, frame.AC_FULL, 1 << 22),
    8: Level(models.BASE, frame.AC_DEEP, 1 << 22),
    9: Level(models.LARGE, frame.AC_DEEP, 1 << 24),
}


_MIXING = {frame.AC_LIGHT: "light", frame.AC_FULL: "full", frame.AC_DEEP: "deep"}


def describe_levels() -> str:
    """The table of levels as a sentence for help."""
    groups: dict[str, list[tuple[int, int]]] = {}
    for number, level in LEVELS.items():
        network = level.model.split("-")[0]
        kind = f"the {network} network, {_MIXING[level.coding]} mixing"
        groups.setdefault(kind, []).append((number, level.block_size))
    parts = []
    for kind, members in groups.items():
        numbers = ", ".join(f"-{number}" for number, _ in members)
        sizes = ", ".join(f"{size / (1 << 20):g}" for _, size in members)
        parts.append(f"{numbers}: {kind}, blocks of {sizes} MiB")
    return "; ".join(parts) + ". Larger blocks: smaller output, less to do in parallel." + MEMORY


def thread_memory(coding: int, size: int) -> int:
    """Bytes that a thread takes, at most, for a block of ``size`` bytes and any prior together."""
    slots = 0
    if coding in frame.MIXED:  # what the models that learn from the block are kept in
        bits = (size - 1).bit_length()
        slots = 16 << min(bits + coding, max(bits, 22))
    return slots + (12 << 20) + 4 * size


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
    prior: Prior | None = None,
) -> tuple[Mode, int, Model | None]:
    """(mode, block size, model) for what a caller asked for. Raises ValueError."""
    if prior and (mode != "ac" or not adapt):
        raise ValueError("a prior is for the mode ac, with what learns from the file")
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r} (known: {', '.join(MODES)})")
    if level not in LEVELS:
        raise ValueError(f"level {level} is not in 1..9")
    if not frame.MIN_WINDOW <= window <= frame.MAX_WINDOW:
        raise ValueError(
            f"a window has {frame.MIN_WINDOW} to {frame.MAX_WINDOW} bits, not {window}"
        )
    frame.check_reset_every(reset_every)
    if mode == "static":
        return Static(), PLAIN_BLOCK, None
    if mode == "eqinfo":
        m1 = models.load(model or models.WINDOWS)
        return EqInfo(m1, window, reset_every), PLAIN_BLOCK, m1
    if not adapt:  # M1 is all that there is
        m1 = models.load(model)
        return Ac(m1, frame.AC_PLAIN), PLAIN_BLOCK, m1
    name, coding, block_size = LEVELS[level]
    m1 = models.load(model or name)
    return Ac(m1, coding, prior), block_size, m1


def model_files(mode: str, level: int, model: str | None = None) -> set[Path]:
    """The files of models without which nothing that a mode and level writes can be decoded."""
    if mode == "static":
        return set()
    default = models.WINDOWS if mode == "eqinfo" else LEVELS[level].model
    return set(models.load(model or default).files)


@dataclass(frozen=True)
class Context:
    """What decodes a frame's blocks, and what their CRCs begin with."""

    header: frame.Header
    packed: bytes  # the header's bytes
    model: Model | None
    prior: Prior | None = None

    def seed(self, index: int) -> int:
        """What the CRC of block ``index`` begins with."""
        digest = self.model.digest if self.model else b""
        if self.prior:
            digest += self.prior.digest
        return frame.block_seed(self.packed, digest, index)

    def memory(self, size: int) -> int:
        """Bytes that a thread takes, at most, for a block of that size."""
        samples = len(self.prior.samples) if self.prior else 0
        return thread_memory(self.header.coding, size + samples)

    def mode(self) -> Mode:
        """The mode that decodes the frame's blocks."""
        if self.header.coding == frame.STATIC:
            return Static()
        assert self.model is not None  # WITH_MODEL holds all others
        if self.header.coding == frame.EQINFO:
            return EqInfo(self.model, self.header.window, self.header.reset_every)
        return Ac(self.model, self.header.coding, self.prior)


def contexts_at(data: frame.Data, at: int = 0) -> Iterator[Context]:
    """What the header there may mean. Raises FormatError, ModelNotFoundError and
    PriorNotFoundError."""
    header, end = frame.parse_header(data, at)
    packed = bytes(data[at:end])
    known: list[Model | None] = [*models.by_prefix(header.model)] if header.model else [None]
    priors: list[Prior | None] = [*find_prior(header.prior)] if header.prior else [None]
    for model, prior in itertools.product(known, priors):
        yield Context(header, packed, model, prior)


def agreeing(
    contexts: Iterable[Context], block: frame.Block, payload: bytes, index: int
) -> Context:
    """The one whose whole digests the CRC of block ``index`` agrees with. Raises ChecksumError."""
    for context in contexts:
        with suppress(ChecksumError):
            frame.check_block(block, payload, context.seed(index))
            return context
    raise ChecksumError("a block is damaged (its CRC does not match)")

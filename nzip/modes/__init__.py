"""The modes: how a block is coded. One file per mode, with a class that has encode() and decode().

What a block decodes to is part of the format (docs/format.md); what an encoder chooses is not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .. import frame, models
from .._predict import Watch
from ..errors import ChecksumError, FormatError
from ..levels import PLAIN_BLOCK, check_level, default_model, thread_memory
from ..models import Model
from ..prior import Prior
from ..prior import find as find_prior
from .ac import Ac
from .eqinfo import EqInfo
from .static import Static

MODES = ("ac", "static", "eqinfo")


class Mode(Protocol):
    """Codes blocks. ``coding`` is its number in the frame header."""

    coding: int

    def encode(self, block: bytes, watch: Watch) -> tuple[int, bytes] | None:
        """Encode a block: (type of block, code), or None if the code would not be shorter."""

    def decode(self, code: bytes, size: int, watch: Watch) -> bytes:
        """Decode a block of ``size`` bytes. Raises FormatError for a code no encoder writes."""


def choose(
    mode: str,
    level: int,
    window: int,
    reset_every: int,
    model: str | None,
    adapt: bool,
    prior: Prior | None = None,
) -> tuple[Mode, int, Model | None]:
    """Choose (mode, block size in bytes, model) from the settings of Compressor.

    Raises ValueError, ModelNotFoundError and ModelFileError.
    """
    if prior and (mode != "ac" or not adapt):
        raise ValueError("a prior is for the mode ac, with the models that learn from the file")
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r} (known: {', '.join(MODES)})")
    chosen = check_level(level)
    if not frame.MIN_WINDOW <= window <= frame.MAX_WINDOW:
        raise ValueError(
            f"a window has {frame.MIN_WINDOW} to {frame.MAX_WINDOW} bits, not {window}"
        )
    frame.check_reset_every(reset_every)
    name = model or default_model(mode, level, adapt)
    if mode == "static" or name is None:
        return Static(), PLAIN_BLOCK, None
    m1 = models.load(name)
    if mode == "eqinfo":
        return EqInfo(m1, window, reset_every), PLAIN_BLOCK, m1
    if not adapt:  # M1 alone
        return Ac(m1, frame.AC_PLAIN), PLAIN_BLOCK, m1
    return Ac(m1, chosen.coding, prior), chosen.block_size, m1


def model_files(mode: str, level: int, model: str | None = None) -> set[Path]:
    """The model files needed to decode what this mode and level write."""
    name = None if mode == "static" else model or default_model(mode, level)
    return set() if name is None else set(models.load(name).files)


@dataclass(frozen=True)
class Context:
    """What is needed to decode a frame's blocks and to check their CRCs."""

    header: frame.Header
    packed: bytes  # the header's bytes
    model: Model | None
    prior: Prior | None = None

    def seed(self, index: int) -> int:
        """The seed of the CRC of block ``index``."""
        digest = self.model.digest if self.model else b""
        if self.prior:
            digest += self.prior.digest
        return frame.block_seed(self.packed, digest, index)

    def memory(self, size: int) -> int:
        """The most bytes that a thread takes for a block of ``size`` bytes."""
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
    """Yield what the frame header at ``at`` may mean: its hash prefixes can match several models.

    Raises FormatError, ModelNotFoundError and PriorNotFoundError.
    """
    header, end = frame.parse_header(data, at)
    packed = bytes(data[at:end])
    known: list[Model | None] = [*models.by_prefix(header.model)] if header.model else [None]
    priors: list[Prior | None] = [*find_prior(header.prior)] if header.prior else [None]
    for model, prior in itertools.product(known, priors):
        yield Context(header, packed, model, prior)


def agreeing(
    contexts: Iterable[Context], block: frame.Block, payload: bytes, index: int
) -> Context:
    """Find the context with which the CRC of block ``index`` matches. Raises ChecksumError."""
    for context in contexts:
        with suppress(ChecksumError):
            frame.check_block(block, payload, context.seed(index))
            return context
    raise ChecksumError("a block is damaged (its CRC does not match)")


def decode_block(
    header: frame.Header, mode: Mode, block: frame.Block, payload: bytes, watch: Watch
) -> bytes:
    """Decode a block whose CRC has been checked. Raises FormatError."""
    if block.kind == frame.STORED:
        return payload
    if block.kind == frame.RUN:
        return payload * block.size
    if block.kind == frame.WITHOUT_M1:
        if header.coding not in frame.MIXED:
            raise FormatError(f"a block of type {block.kind} in a frame without mixing")
        return Ac(None, header.coding).decode(payload, block.size, watch)
    return mode.decode(payload, block.size, watch)

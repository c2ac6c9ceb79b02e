"""What a compressed file contains, read from its headers alone."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from . import frame, models
from .errors import FormatError, ModelNotFoundError, TruncatedError
from .inputs import whole


def _describe(header: frame.Header) -> str:
    mode = frame.CODINGS[header.coding]
    if header.coding == frame.EQINFO:
        reset = {0: " context carried", 1: ""}.get(
            header.reset_every, f" reset every {header.reset_every}"
        )
        return f"{mode} w={header.window}{reset}"
    if mode != "ac":
        return mode
    return f"ac ({frame.PROFILES.get(header.coding, 'M1 alone')})"


def _model_name(prefix: bytes) -> str:
    try:
        return "/".join(model.name for model in models.by_prefix(prefix))
    except ModelNotFoundError:
        return f"{prefix.hex()} (not installed)"


def read_file(path: Path) -> dict[str, Any]:
    """The result of ``read`` for a file. Raises FormatError and its subclasses, and OSError."""
    with path.open("rb") as stream:
        data = whole(stream)
        try:
            return read(data, str(path))
        finally:
            if isinstance(data, mmap.mmap):
                data.close()


def read(data: frame.Data, name: str) -> dict[str, Any]:
    """Sizes, modes and models of the frames in a file; checksums are not verified.

    Keys: file (``name``); compressed and content, in bytes; frames, blocks and skippable (frames),
    numbers of them; modes, models and priors (the first two bytes of their hashes, in hexadecimal),
    lists of str. Raises FormatError and its subclasses.
    """
    row: dict[str, Any] = {
        "file": name,
        "compressed": len(data),
        "content": 0,
        "frames": 0,
        "blocks": 0,
        "modes": [],
        "models": [],
        "priors": [],
        "skippable": 0,
    }
    if not len(data):
        raise TruncatedError("the input is empty")
    at = 0
    while at < len(data):
        if frame.is_skippable(data, at):
            at = frame.skippable_end(data, at)
            row["skippable"] += 1
            continue
        if row["frames"] and data[at : at + 3] != frame.MAGIC:
            if data[at:].strip(b"\0"):
                raise FormatError("garbage after the last frame")
            break
        at = _frame(data, at, row)
    if at > len(data):
        raise TruncatedError("the input ends inside a skippable frame")
    return row


def _frame(data: frame.Data, at: int, row: dict[str, Any]) -> int:
    header, at = frame.parse_header(data, at)
    total = 0
    while True:
        block = frame.parse_block(data, at)
        total += block.size
        row["blocks"] += 1
        at = block.end
        if block.last:
            break
    at += frame.check_width(total)
    if at > len(data):
        raise TruncatedError("the input ends inside a frame")
    row["frames"] += 1
    row["content"] += total
    for key, value in (
        ("modes", _describe(header)),
        ("models", _model_name(header.model) if header.model else ""),
        ("priors", header.prior.hex()),
    ):
        if value and value not in row[key]:
            row[key].append(value)
    return at

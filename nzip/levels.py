"""The levels, and what follows from them: models, block sizes, memory and the help text.

Levels are the encoder's choice and not part of the format: frames say what decodes them.
"""

from __future__ import annotations

from typing import NamedTuple

from . import frame, models

DEFAULT_LEVEL = 6
PROGRAM_MEMORY = 60 << 20  # bytes of the interpreter and the models, shared by all threads


class Level(NamedTuple):
    """The settings of a level."""

    model: str
    coding: int  # how much is mixed with M1: one of frame.MIXED
    block_size: int  # bytes; larger blocks learn more from the file, with less parallelism


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
PLAIN_BLOCK = 1 << 19  # bytes of a block in the modes that do not learn from it
BLOCK_SIZES = {PLAIN_BLOCK, *(level.block_size for level in LEVELS.values())}


def check_level(level: int) -> Level:
    """The settings of a level. Raises ValueError if there is no such level."""
    if level not in LEVELS:
        raise ValueError(f"level {level} is not in {min(LEVELS)}..{max(LEVELS)}")
    return LEVELS[level]


def default_model(mode: str, level: int = DEFAULT_LEVEL, adapt: bool = True) -> str | None:
    """The name of the model that a mode and level use by default; None for ``static``.

    Raises ValueError if there is no such level.
    """
    if mode == "static":
        return None
    if mode == "eqinfo":
        return models.WINDOWS
    return check_level(level).model if adapt else models.DEFAULT


def thread_memory(coding: int, size: int) -> int:
    """The most bytes that a thread takes for ``size`` bytes of block and prior together."""
    tables = 0
    if coding in frame.MIXED:  # the tables of the models that learn from the block
        bits = (size - 1).bit_length()
        matches = 3 if coding == frame.AC_DEEP else 1
        profile = coding + (coding == frame.AC_DEEP)  # data, a binary, has the most slots
        tables = 16 << min(bits + profile, max(bits, 22), 24)
        tables += matches * (4 << min(bits, max(bits - 3, 20)))
    return tables + (16 << 20) + 4 * size


def describe_levels() -> str:
    """The table of levels as a text for the help."""
    groups: dict[str, list[tuple[int, int]]] = {}
    for number, level in LEVELS.items():
        network = level.model.split("-")[0]
        kind = f"the {network} network, {frame.PROFILES[level.coding]} mixing"
        groups.setdefault(kind, []).append((number, level.block_size))
    parts = []
    for kind, members in groups.items():
        numbers = ", ".join(f"-{number}" for number, _ in members)
        sizes = ", ".join(f"{size / (1 << 20):g}" for _, size in members)
        parts.append(f"{numbers}: {kind}, blocks of {sizes} MiB")
    levels = "; ".join(parts)
    return f"{levels}. Larger blocks: smaller output, less parallelism. {describe_memory()}"


def describe_memory() -> str:
    """The memory per thread in a sentence, rounded up to 10 MB.

    Levels that take far more than the default are named one by one.
    """
    megabytes = {
        number: -(-thread_memory(level.coding, level.block_size) // 10**7) * 10
        for number, level in LEVELS.items()
    }
    large = {n: size for n, size in megabytes.items() if size > 1.5 * megabytes[DEFAULT_LEVEL]}
    usual = max(size for n, size in megabytes.items() if n not in large)
    exceptions = ", ".join(f"level {n} {size} MB" for n, size in large.items())
    return f"Memory per thread: up to {usual} MB; {exceptions}."

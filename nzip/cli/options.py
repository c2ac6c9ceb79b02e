"""Types of options that several commands have, and what their texts mean."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..frame import DEFAULT_WINDOW, MAX_RESET_EVERY, MAX_WINDOW, MIN_WINDOW
from ..levels import LEVELS, describe_levels
from .job import SUFFIX

if TYPE_CHECKING:
    from ..prior import Prior


class ModeName(StrEnum):
    """What --mode takes."""

    ac = "ac"
    static = "static"
    eqinfo = "eqinfo"


Files = Annotated[list[Path] | None, typer.Argument(help="Files; none or - for stdin.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file.")]
Stdout = Annotated[bool, typer.Option("-c", "--stdout", help="Write to stdout.")]
Force = Annotated[
    bool, typer.Option("-f", "--force", help="Overwrite, follow links, write to a terminal.")
]
Keep = Annotated[bool, typer.Option("-k", "--keep", help="Keep the input (the default).")]
Remove = Annotated[
    bool, typer.Option("--rm", help="Remove the input once the output is synced and verified.")
]
Threads = Annotated[
    int | None,
    typer.Option("-T", "--threads", min=0, envvar="NZIP_THREADS", help="Threads; 0: all cores."),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no summary.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say what was done.")]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Go into folders.")]
FileLists = Annotated[
    list[Path] | None,
    typer.Option(
        "--filelist",
        "--files",
        metavar="FILE",
        help="Also the files whose names are in FILE, one a line; - for stdin.",
    ),
]
Suffix = Annotated[
    str,
    typer.Option(
        "-S", "--suffix", metavar=".SUF", help=f"Of compressed files, instead of {SUFFIX}."
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "-M",
        "--memory",
        metavar="SIZE",
        help="Take no more memory than this, e.g. 500M: with fewer threads, and with an error if"
        " one is too many.",
    ),
]
Flat = Annotated[
    Path | None,
    typer.Option("--output-dir-flat", metavar="DIR", help="Write all outputs into this folder."),
]
Mirror = Annotated[
    Path | None,
    typer.Option(
        "--output-dir-mirror",
        metavar="DIR",
        help="Write outputs into this folder, with the folders of the inputs' names.",
    ),
]
ShowProgress = Annotated[
    bool | None, typer.Option("--progress/--no-progress", help="Progress bar on stderr.")
]
Level = Annotated[
    int,
    typer.Option(
        "--level",
        min=min(LEVELS),
        max=max(LEVELS),
        envvar="NZIP_LEVEL",
        help=describe_levels(),
    ),
]
PriorFile = Annotated[
    Path | None,
    typer.Option(
        "-D",
        "--prior",
        metavar="FILE",
        help="A prior (see 'nzip prior'), or samples, to read before each block.",
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        "-w",
        "--window",
        min=MIN_WINDOW,
        max=MAX_WINDOW,
        help=f"Bits of a window, for eqinfo. Default: {DEFAULT_WINDOW}.",
    ),
]

ResetEvery = Annotated[
    int | None,
    typer.Option(
        "--reset-every",
        min=1,
        max=MAX_RESET_EVERY,
        metavar="K",
        help="eqinfo: M1 starts afresh at every K-th window, not at each.",
    ),
]


class SampleSplit(StrEnum):
    """What ``prior`` takes as one sample."""

    lines = "lines"
    file = "file"
    nul = "nul"


class ContextName(StrEnum):
    """What M1 keeps from window to window."""

    reset = "reset"
    carry = "carry"


Context = Annotated[
    ContextName,
    typer.Option("--context", help="eqinfo: M1 starts afresh at windows, or carries on."),
]


def resets_of(context: ContextName, reset_every: int | None) -> int:
    """Windows after which M1 starts afresh, 0 for never."""
    if context is ContextName.carry and reset_every is not None:
        raise typer.BadParameter("--context carry and --reset-every exclude each other")
    return 0 if context is ContextName.carry else reset_every or 1


def complete_model(incomplete: str) -> list[str]:
    """Names of installed models, for the shell."""
    from .. import models

    return [path.stem for path in models.networks() if path.stem.startswith(incomplete)]


ModelName = Annotated[
    str | None,
    typer.Option("--model", help="Name or file of a model.", autocompletion=complete_model),
]


class TokenizationName(StrEnum):
    """What tokens are."""

    counted = "counted"
    eqinfo = "eqinfo"
    ac = "ac"
    static = "static"
    gzip = "gzip"
    bytes = "bytes"


class SplitName(StrEnum):
    """Where documents end."""

    file = "file"
    nul = "nul"
    jsonl = "jsonl"


def parse_size(text: str) -> int:
    """``64KiB``, ``1M``, ``2GiB``: binary multiples, as xz reads them."""
    digits = text.rstrip("KMGTiB")
    unit = text[len(digits) :].removesuffix("B").removesuffix("i")
    powers = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
    if not (digits.isascii() and digits.isdigit()) or unit not in powers:
        raise typer.BadParameter(f"{text!r} is not a size such as 64KiB, 1M or 2GiB")
    return int(digits) << (10 * powers[unit])


def load_prior(path: Path | None) -> Prior | None:
    """The prior of ``-D``. Raises as Prior does."""
    if path is None:
        return None
    from ..prior import Prior

    return Prior(path)

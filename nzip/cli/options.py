"""Options that several commands share, and how their values are read."""

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
    """Values of --mode."""

    ac = "ac"
    static = "static"
    eqinfo = "eqinfo"


Files = Annotated[list[Path] | None, typer.Argument(help="Files; - or none for stdin.")]
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
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Report what was done.")]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Go into folders.")]
FileLists = Annotated[
    list[Path] | None,
    typer.Option(
        "--filelist",
        "--files",
        metavar="FILE",
        help="Also the files named in FILE, one per line; - for stdin.",
    ),
]
Suffix = Annotated[
    str,
    typer.Option(
        "-S", "--suffix", metavar=".SUF", help=f"Suffix of compressed files, instead of {SUFFIX}."
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "-M",
        "--memory",
        metavar="SIZE",
        help="Use no more memory than this, e.g. 500M: fewer threads run, and it is an error if"
        " even one needs more.",
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
        help="Write outputs into this folder, in the same subfolders as the inputs.",
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
        help="A prior (see 'nzip prior') or a file of samples, to read before each block.",
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        "-w",
        "--window",
        min=MIN_WINDOW,
        max=MAX_WINDOW,
        help=f"eqinfo: bits of a window. Default: {DEFAULT_WINDOW}.",
    ),
]

ResetEvery = Annotated[
    int | None,
    typer.Option(
        "--reset-every",
        min=1,
        max=MAX_RESET_EVERY,
        metavar="K",
        help="eqinfo: reset M1 at every K-th window instead of each.",
    ),
]


class SampleSplit(StrEnum):
    """What ``nzip prior`` takes as one sample."""

    lines = "lines"
    file = "file"
    nul = "nul"


class ContextName(StrEnum):
    """Whether M1 is reset at windows or carries on."""

    reset = "reset"
    carry = "carry"


Context = Annotated[
    ContextName,
    typer.Option("--context", help="eqinfo: reset M1 at windows, or carry on."),
]


def resets_of(context: ContextName, reset_every: int | None) -> int:
    """The number of windows after which M1 is reset, 0 for never. Raises BadParameter."""
    if context is ContextName.carry and reset_every is not None:
        raise typer.BadParameter("--context carry and --reset-every exclude each other")
    return 0 if context is ContextName.carry else reset_every or 1


def complete_model(incomplete: str) -> list[str]:
    """Names of installed models, for the shell's completion."""
    from .. import models

    return [path.stem for path in models.networks() if path.stem.startswith(incomplete)]


ModelName = Annotated[
    str | None,
    typer.Option("--model", help="Name or file of a model.", autocompletion=complete_model),
]


class TokenizationName(StrEnum):
    """Names of the tokenizations."""

    counted = "counted"
    eqinfo = "eqinfo"
    ac = "ac"
    static = "static"
    gzip = "gzip"
    bytes = "bytes"


class SplitName(StrEnum):
    """How documents are separated."""

    file = "file"
    nul = "nul"
    jsonl = "jsonl"


def parse_size(text: str) -> int:
    """Read a size such as ``64KiB``, ``1M`` or ``2GiB``: binary multiples, as in xz.

    Raises BadParameter.
    """
    digits = text.rstrip("KMGTiB")
    unit = text[len(digits) :].removesuffix("B").removesuffix("i")
    powers = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
    if not (digits.isascii() and digits.isdigit()) or unit not in powers:
        raise typer.BadParameter(f"{text!r} is not a size such as 64KiB, 1M or 2GiB")
    return int(digits) << (10 * powers[unit])


def load_prior(path: Path | None) -> Prior | None:
    """The prior of ``-D``, or None without it. Raises the errors of Prior."""
    if path is None:
        return None
    from ..prior import Prior

    return Prior(path)

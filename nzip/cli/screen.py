"""What the commands print: tables, a line per file, questions, errors."""

from __future__ import annotations

import errno
import functools
import mmap
import os
import signal
import stat
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import NzipError, describe
from ..inputs import STDIO, stdin_bytes
from ..progress import Bar, View, human
from .job import Sizes

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 1000  # columns of a table that is not shown on a terminal


def fail(path: Path, error: BaseException) -> None:
    text = describe(error)
    name = "(stdin)" if path == STDIO else str(path)
    print(f"nzip: {text}" if text.startswith(name) else f"nzip: {name}: {text}", file=sys.stderr)


def stdout_bytes() -> IO[bytes]:
    """Standard output as a binary stream. Raises OSError if it is closed."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "(stdout)")
    return sys.stdout.buffer


def end_with_the_reader() -> None:
    """Let a closed pipe end the program, as it does gzip. For commands that write to stdout."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def bar(path: Path, sizes: Sizes, packed: bool, wanted: bool | None, quiet: bool) -> Bar:
    """The progress bar for work on a file (or "-" for stdin).

    packed: whether the input is compressed. wanted: True, False, or None to follow ``quiet`` and
    the terminal.
    """

    start = 0
    if path == STDIO:
        with suppress(OSError, ValueError):
            start = os.lseek(stdin_bytes().fileno(), 0, os.SEEK_CUR)  # before any of it is read

    @functools.cache  # called by the bar's thread: files that are done at once do not need it
    def totals() -> tuple[int | None, int | None]:
        """Bytes of content, and compressed bytes; None where unknown."""
        with suppress(OSError, ValueError, NzipError), ExitStack() as stack:
            source = stdin_bytes() if path == STDIO else stack.enter_context(path.open("rb"))
            status = os.fstat(source.fileno())
            if not stat.S_ISREG(status.st_mode):
                return None, None
            if not packed:
                return status.st_size - start, None
            if start == 0:
                from .. import info

                data = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
                return int(info.read(stack.enter_context(data), "")["content"]), status.st_size
        return None, None

    def look() -> View:
        total, small = totals()
        view = sizes.view(total, small)
        # The total of a file that grew while it was read is not known.
        return view if total is None or view.done <= total else view._replace(total=None)

    name = "(stdin)" if path == STDIO else path.name
    return Bar(name, look, False if quiet and wanted is None else wanted)


class Baselines:
    """The sizes that gzip -9 and zstd -19 reach on the same bytes."""

    def __init__(self) -> None:
        import zlib

        import zstandard

        self._gzip = zlib.compressobj(9, zlib.DEFLATED, 31)
        self._zstd = zstandard.ZstdCompressor(19).compressobj()
        self.sizes = {"gzip -9": 0, "zstd -19": 0}

    def feed(self, data: bytes) -> None:
        self.sizes["gzip -9"] += len(self._gzip.compress(data))
        self.sizes["zstd -19"] += len(self._zstd.compress(data))

    def close(self) -> str:
        self.sizes["gzip -9"] += len(self._gzip.flush())
        self.sizes["zstd -19"] += len(self._zstd.flush())
        return ", ".join(f"{name} {size:,}" for name, size in self.sizes.items())


def summary(name: str, sizes: Sizes, compressing: bool, seconds: float, more: str = "") -> None:
    large, small = sizes.read, sizes.written
    if not compressing:
        large, small = small, large
    ratio = large / small if small else 0.0
    bits = f", {8 * small / large:.3f} bpb" if large else ""
    speed = human(large / max(seconds, 1e-9))
    line = f"{name}: {sizes.read:,} -> {sizes.written:,} bytes, ratio {ratio:.3f}{bits}, {speed}/s"
    print(f"{line} ({more})" if more else line, file=sys.stderr)


def confirm(target: Path) -> bool:
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"nzip: {target} already exists; overwrite (y/n)? ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(columns: list[str], rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print rows in full as JSON, or the columns named as a table."""
    if as_json:
        import json

        print(json.dumps(rows, indent=2))
        return
    from rich.table import Table

    table = Table()
    for column in columns:
        table.add_column(column, justify="left" if column in ("file", "name", "hash") else "right")
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    print_table(table)


def print_table(table: Table) -> None:
    """Print a table, folded to the width of a terminal, else as wide as needed; nothing is cut."""
    from rich.console import Console

    for column in table.columns:
        column.overflow = "fold"
    console = Console()
    (console if console.is_terminal else Console(width=WIDE)).print(table)

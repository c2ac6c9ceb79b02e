"""Where input comes from: files, the files in folders, standard input."""

from __future__ import annotations

import errno
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .frame import Data

STDIO = Path("-")


def stdin_bytes() -> IO[bytes]:
    """Standard input as a binary stream. Raises OSError if it is closed."""
    if sys.stdin is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "(stdin)")
    return sys.stdin.buffer


def whole(source: IO[bytes]) -> Data:
    """The whole content of a stream; a regular file is mapped into memory."""
    try:
        if source.tell() == 0:
            return mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # a pipe, an empty file
        pass
    return source.read()


def files_under(folder: Path, links: bool = False) -> Iterator[Path]:
    """The regular files in a folder and the folders in it, sorted by name within each.

    links: also symbolic links to regular files. Raises OSError for a folder that cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=fail):
        folders.sort()
        for name in sorted(names):
            file = Path(place, name)
            if file.is_file() and (links or not file.is_symlink()):
                yield file


def find_files(paths: list[Path]) -> list[Path]:
    """The files among ``paths``, and those in the folders among them, sorted by path.

    Raises FileNotFoundError if there are none, or if a path does not exist.
    """
    files: list[Path] = []
    for path in paths:
        if path != STDIO:
            path.stat()
        files += sorted(files_under(path, links=True)) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError("no files found")
    return files

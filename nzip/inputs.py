"""Where data come from: files, the files under folders, standard input."""

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
    """Standard input, in bytes. Raises OSError if it is closed."""
    if sys.stdin is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "(stdin)")
    return sys.stdin.buffer


def whole(source: IO[bytes]) -> Data:
    """All of a stream; a file in the file system is mapped."""
    try:
        if source.tell() == 0:
            return mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # a pipe, an empty file
        pass
    return source.read()


def files_under(folder: Path, links: bool = False) -> Iterator[Path]:
    """Regular files in order of name, with ``links`` those that symbolic links lead to as well.
    Raises OSError for a folder that cannot be read."""

    def fail(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=fail):
        folders.sort()
        for name in sorted(names):
            file = Path(place, name)
            if file.is_file() and (links or not file.is_symlink()):
                yield file


def find_files(paths: list[Path]) -> list[Path]:
    """Files among ``paths`` and, in order of their paths, under the folders among them. Raises
    FileNotFoundError if there are none, or for one that is not there."""
    files: list[Path] = []
    for path in paths:
        if path != STDIO:
            path.stat()
        files += sorted(files_under(path, links=True)) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError("no files found")
    return files

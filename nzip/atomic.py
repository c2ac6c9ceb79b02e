"""Writing files so that they appear complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import select
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


def write_all(stream: Any, data: bytes | bytearray | memoryview) -> None:
    """Write all of ``data``, however little each call of ``stream.write`` accepts.

    Unbuffered streams (``python -u``, PYTHONUNBUFFERED) write what fits and return how much that
    was. Raises OSError.
    """
    view = memoryview(data).cast("B")
    while len(view):
        try:
            written = stream.write(view)
        except BlockingIOError as error:
            written = error.characters_written
            select.select([], [stream], [])
        if written is None:  # a raw stream that accepts nothing now; other streams accept all
            if not isinstance(stream, io.RawIOBase):
                return
            select.select([], [stream], [])
            written = 0
        view = view[written:]


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, "already exists (-f overwrites)", str(path))


def check_output(path: Path, replace: bool) -> None:
    """Raise FileExistsError or IsADirectoryError now if ``atomic_output`` would."""
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if stat.S_ISREG(mode) and not replace:
            raise _exists(path)
        return
    if path.is_symlink() and not replace:  # one that leads nowhere
        raise _exists(path)


@contextlib.contextmanager
def atomic_output(
    target: Path, like: os.stat_result | None = None, replace: bool = True
) -> Iterator[IO[bytes]]:
    """A binary file that appears as ``target`` only if the block ends without an exception.

    like: status of the input, whose mode, times and, where allowed, owner the file gets. replace:
    if False, raise FileExistsError for a target that exists or appears meanwhile. Symbolic links
    are followed; devices and FIFOs are written to directly.
    """
    check_output(target, replace)
    given, target = target, Path(os.path.realpath(target))
    if target.exists() and not target.is_file():
        with open(target, "wb") as stream:
            yield stream
        return
    # The name is known before the file exists, so that a signal at any moment can remove it.
    name = target.parent / f".nzip-{os.urandom(6).hex()}.tmp"
    try:
        try:
            opener = functools.partial(os.open, mode=0o600)
            stream = open(name, "xb", opener=opener)
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno or 0), str(given)) from None
        with stream:
            yield stream
            stream.flush()
            _copy_status(stream.fileno(), name, like)
            os.fsync(stream.fileno())
        if replace:
            os.replace(name, target)
        else:
            _move(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    _sync_folder(target.parent)


def _move(name: Path, target: Path) -> None:
    """Rename a file. Raises FileExistsError if there is one with the new name."""
    try:
        os.link(name, target)
    except FileExistsError:
        raise _exists(target) from None
    except (OSError, NotImplementedError):  # no hard links here: reserve the name, then take it
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            raise _exists(target) from None
        os.replace(name, target)
        return
    os.unlink(name)


def _change_mode(descriptor: int, mode: int) -> None:
    if hasattr(os, "fchmod"):  # Windows has none before Python 3.13, nor needs it
        os.fchmod(descriptor, mode)


def _copy_status(descriptor: int, name: Path, like: os.stat_result | None) -> None:
    if like is None:
        umask = os.umask(0)
        os.umask(umask)
        _change_mode(descriptor, 0o666 & ~umask)
        return
    mode = like.st_mode & 0o777
    own = os.fstat(descriptor)
    if hasattr(os, "fchown") and (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
        try:
            os.fchown(descriptor, like.st_uid, like.st_gid)
        except OSError:
            try:
                os.fchown(descriptor, -1, like.st_gid)
            except OSError:
                # The new group and others get only what both the old group and others had.
                both = mode >> 3 & mode & 7
                mode = mode & 0o700 | both << 3 | both
    _change_mode(descriptor, mode)
    os.utime(name, ns=(like.st_atime_ns, like.st_mtime_ns))


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot do it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""Compressing and decompressing files in the file system without ever losing one.

Output goes to a temporary file beside its target, is synced, then renamed over it. The input is
removed only on request, and only after the output was read back and found right.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from zlib import crc32

from .errors import NzipError
from .stream import READ_SIZE, Compressor, compress_chunks, decompress_chunks

SUFFIX = ".nz"
SHORT_SUFFIXES = {".tnz": ".tar"}
STDIO = Path("-")


class SkippedError(NzipError):
    """A file that is left alone, with the reason."""


@dataclass
class Sizes:
    """Bytes read and written for one file."""

    read: int = 0
    written: int = 0


Progress = Callable[[Sizes], None]


def compressed_name(path: Path, force: bool) -> Path:
    """``FILE`` -> ``FILE.nz``. Raises SkippedError for a file that has the suffix."""
    if path.suffix in (SUFFIX, *SHORT_SUFFIXES) and not force:
        raise SkippedError(f"already has the suffix {path.suffix}; skipped")
    return path.with_name(path.name + SUFFIX)


def decompressed_name(path: Path) -> Path:
    """``FILE.nz`` -> ``FILE``, ``FILE.tnz`` -> ``FILE.tar``. Raises SkippedError for others."""
    if path.suffix == SUFFIX and path.stem:
        return path.with_suffix("")
    if path.suffix in SHORT_SUFFIXES:
        return path.with_suffix(SHORT_SUFFIXES[path.suffix])
    what = f"unknown suffix {path.suffix}" if path.suffix else "no suffix"
    raise SkippedError(f"{what} (expected {SUFFIX}); name the output with -o or use -c")


def expand_folders(paths: list[Path], recursive: bool, compressed: bool) -> Iterator[Path]:
    """The files to work on; under folders only those that (do not) have the suffix."""
    for path in paths:
        if recursive and path != STDIO and path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_file() and not file.is_symlink():
                    if (file.suffix in (SUFFIX, *SHORT_SUFFIXES)) == compressed:
                        yield file
        else:
            yield path


def check_input(path: Path, force: bool) -> os.stat_result:
    """The status of a file that may be worked on. Raises SkippedError for other things."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        if not force:
            raise SkippedError("a symbolic link; skipped (-f follows it)")
        status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise SkippedError("a folder; skipped (-r goes into it)")
    if not stat.S_ISREG(status.st_mode) and not force:
        raise SkippedError("not a regular file; skipped")
    return status


@contextlib.contextmanager
def atomic_output(target: Path, like: os.stat_result | None) -> Iterator[IO[bytes]]:
    """A file that appears as ``target`` only when the block ends without an exception.

    ``like`` gives it the mode, times and, where allowed, the owner of the input.
    """
    # The name is known before the file is there: a signal at any moment finds what to remove.
    name = target.parent / f".{target.name}.{os.urandom(5).hex()}.tmp"
    try:
        with open(name, "xb", opener=functools.partial(os.open, mode=0o600)) as stream:
            yield stream
            stream.flush()
            _copy_status(stream.fileno(), name, like)
            os.fsync(stream.fileno())
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    _sync_folder(target.parent)


def _copy_status(descriptor: int, name: Path, like: os.stat_result | None) -> None:
    if like is None:
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(descriptor, 0o666 & ~umask)
        return
    mode = like.st_mode & 0o777
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
        try:
            os.fchown(descriptor, like.st_uid, like.st_gid)
        except OSError:
            if own.st_gid != like.st_gid:  # another group must not gain what the first one had
                mode &= 0o707
    os.fchmod(descriptor, mode)
    os.utime(name, ns=(like.st_atime_ns, like.st_mtime_ns))


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@dataclass
class Job:
    """How files are turned into others: the settings that all files of one call share."""

    make_compressor: Callable[[], Compressor] | None  # None: decompress
    threads: int | None = None
    max_output: int | None = None
    force: bool = False
    remove: bool = False
    observe: Callable[[bytes], None] | None = None  # gets what was read
    lost: list[str] | None = None  # if given: go on behind damage, and note here what is missing

    def target(self, path: Path) -> Path:
        """Where the output of ``path`` goes by default."""
        if self.make_compressor is not None:
            return compressed_name(path, self.force)
        return decompressed_name(path)

    def transform(self, source: IO[bytes], sizes: Sizes, progress: Progress) -> Iterator[bytes]:
        """The output for a stream, in chunks; keeps count."""

        def read(size: int) -> bytes:
            data = source.read(size)
            sizes.read += len(data)
            if self.observe is not None:
                self.observe(data)
            return data

        recovery = None
        if self.make_compressor is not None:
            chunks = compress_chunks(read, self.make_compressor())
        elif self.lost is not None:
            from .recover import Recovery, whole

            data = whole(source)
            sizes.read = len(data)
            recovery = Recovery(data)
            chunks = recovery.content(self.threads, self.max_output)
        else:
            chunks = decompress_chunks(read, threads=self.threads, max_output=self.max_output)
        for chunk in chunks:
            sizes.written += len(chunk)
            yield chunk
            progress(sizes)
        if recovery is not None and self.lost is not None:
            self.lost += recovery.lost

    def to_stream(self, source: IO[bytes], output: IO[bytes] | None, progress: Progress) -> Sizes:
        """From one stream to another; to nowhere for None."""
        sizes = Sizes()
        for chunk in self.transform(source, sizes, progress):
            if output is not None:
                output.write(chunk)
        if output is not None:
            output.flush()
        return sizes

    def to_file(self, path: Path, target: Path, progress: Progress) -> Sizes:
        """From a file (or "-", stdin) to a file. Raises OSError, NzipError, FileExistsError."""
        status = None if path == STDIO else check_input(path, self.force)
        if target.is_dir():
            raise IsADirectoryError(21, os.strerror(21), str(target))
        if target.exists():
            if status is not None and os.path.samestat(status, target.stat()):
                raise SkippedError("input and output are the same file")
            if not self.force:
                raise FileExistsError(17, "exists already (-f overwrites)", str(target))
        with contextlib.ExitStack() as stack:
            source = sys.stdin.buffer if path == STDIO else stack.enter_context(path.open("rb"))
            output = stack.enter_context(atomic_output(target, status))
            sizes = self.to_stream(source, output, progress)
        if self.remove and path != STDIO and not self.lost:
            self._verify(path, target)
            path.unlink()
        return sizes

    def _verify(self, path: Path, target: Path) -> None:
        """Raise NzipError unless the compressed one of the two files holds the other."""
        packed, plain = (target, path) if self.make_compressor is not None else (path, target)
        with packed.open("rb") as stream:
            unpacked = _fingerprint(decompress_chunks(stream.read, threads=self.threads))
        with plain.open("rb") as stream:
            original = _fingerprint(iter(lambda: stream.read(READ_SIZE), b""))
        if unpacked != original:
            raise NzipError("read back, the output differs from the input; the input is kept")


def _fingerprint(chunks: Iterator[bytes]) -> tuple[int, int]:
    """(CRC-32, length) of data in chunks."""
    crc, size = 0, 0
    for chunk in chunks:
        crc, size = crc32(chunk, crc), size + len(chunk)
    return crc, size

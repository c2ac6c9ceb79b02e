"""Compressing and decompressing files in the file system without ever losing one.

Output goes to a temporary file beside its target, is synced, then renamed over it. The input is
removed only on request, and only after the output was read back and found right.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from zlib import crc32

from .errors import NzipError
from .frame import Data
from .output import atomic_output, check_output, write_all
from .progress import View
from .stream import READ_SIZE, Compressor, Decompressor, compress_chunks, decompress_chunks

if TYPE_CHECKING:
    from .recover import Recovery

SUFFIX = ".nz"
SHORT_SUFFIXES = {".tnz": ".tar"}
STDIO = Path("-")


class SkippedError(NzipError):
    """A file that is left alone, with the reason."""


@dataclass
class Sizes:
    """Bytes read and written for one file, and what works on it."""

    read: int = 0
    written: int = 0
    worker: Compressor | Decompressor | Recovery | None = None
    base: int = 0  # bytes of content in frames that are over
    stage: str = ""  # of the work, each of which counts from 0

    @property
    def done(self) -> int:
        """Bytes of content that are coded or decoded so far."""
        return self.base + (self.worker.workers.done if self.worker else 0)

    def follow(self, decompressor: Decompressor) -> None:
        """Count on in the next frame."""
        self.base, self.worker = self.done, decompressor

    def begin(self, stage: str) -> None:
        """Count anew."""
        self.base, self.worker, self.stage = 0, None, stage

    def view(self, total: int | None, packed: int | None = None) -> View:
        """For a progress bar. total: bytes of content, packed: what they are compressed, None for
        what is not known."""
        worker = self.worker
        if worker is None:
            return View(self.done, total, stage=self.stage)
        workers, ratio = worker.workers, None
        if isinstance(worker, Compressor) and worker.packed:
            ratio = workers.finished / worker.packed
        elif total is not None and packed:
            ratio = total / packed
        if not isinstance(worker, Compressor | Decompressor):
            total = worker.size
        return View(
            self.done,
            total,
            workers.pending,
            workers.block_size,
            workers.threads,
            ratio,
            self.stage,
        )


def compressed_name(path: Path, force: bool) -> Path:
    """``FILE`` -> ``FILE.nz``. Raises SkippedError for a file that has the suffix."""
    if not path.name or path.name == "..":
        raise SkippedError("a folder; skipped (-r goes into it)")
    if has_suffix(path) and not force:
        raise SkippedError(f"already has the suffix {path.suffix}; skipped")
    return path.with_name(path.name + SUFFIX)


def decompressed_name(path: Path) -> Path:
    """``FILE.nz`` -> ``FILE``, ``FILE.tnz`` -> ``FILE.tar``. Raises SkippedError for others."""
    suffix = path.suffix.lower()
    if suffix == SUFFIX and path.stem:
        return path.with_suffix("")
    if suffix in SHORT_SUFFIXES:
        return path.with_suffix(SHORT_SUFFIXES[suffix])
    what = f"unknown suffix {path.suffix}" if path.suffix else "no suffix"
    raise SkippedError(f"{what} (expected {SUFFIX}); name the output with -o or use -c")


def has_suffix(path: Path) -> bool:
    """True if the name is that of a compressed file."""
    return path.suffix.lower() in (SUFFIX, *SHORT_SUFFIXES)


def _files_under(folder: Path) -> Iterator[Path]:
    """Regular files in order of name. Raises OSError for a folder that cannot be read."""

    def fail(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=fail):
        folders.sort()
        for name in sorted(names):
            file = Path(place, name)
            if file.is_file() and not file.is_symlink():
                yield file


def expand_folders(paths: list[Path], recursive: bool, compressed: bool) -> Iterator[Path]:
    """The files to work on; under folders only those that (do not) have the suffix."""
    for path in paths:
        if recursive and path != STDIO and path.is_dir():
            for file in _files_under(path):
                if has_suffix(file) == compressed:
                    yield file
        else:
            yield path


def whole(source: IO[bytes]) -> Data:
    """All of a stream; a file in the file system is mapped."""
    try:
        if source.tell() == 0:
            return mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # a pipe, an empty file
        pass
    return source.read()


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

    def transform(self, source: IO[bytes], sizes: Sizes) -> Generator[bytes]:
        """The output for a stream, in chunks; keeps count."""

        def read(size: int) -> bytes:
            data = source.read(size)
            sizes.read += len(data)
            if self.observe is not None:
                self.observe(data)
            return data

        recovery = None
        if self.make_compressor is not None:
            sizes.worker = self.make_compressor()
            chunks = compress_chunks(read, sizes.worker)
        elif self.lost is not None:
            from .recover import Recovery

            data = whole(source)
            sizes.read = len(data)
            sizes.worker = recovery = Recovery(data, self.threads)
            chunks = recovery.content(self.max_output)
        else:
            chunks = decompress_chunks(
                read, threads=self.threads, max_output=self.max_output, follow=sizes.follow
            )
        with contextlib.closing(chunks):  # an error in writing stops the threads
            for chunk in chunks:
                sizes.written += len(chunk)
                yield chunk
        if recovery is not None and self.lost is not None:
            self.lost += recovery.lost

    def to_stream(self, source: IO[bytes], output: IO[bytes] | None, sizes: Sizes) -> None:
        """From one stream to another; to nowhere for None."""
        with contextlib.closing(self.transform(source, sizes)) as chunks:
            for chunk in chunks:
                if output is not None:
                    write_all(output, chunk)
        if output is not None:
            output.flush()

    def to_file(self, path: Path, stdin: IO[bytes] | None, target: Path, sizes: Sizes) -> None:
        """From a file (or "-", then from ``stdin``) to a file. Raises OSError, NzipError,
        FileExistsError."""
        status = None if path == STDIO else check_input(path, self.force)
        with contextlib.suppress(FileNotFoundError):
            if status is not None and os.path.samestat(status, target.stat()):
                raise SkippedError("input and output are the same file")
        check_output(target, self.force)
        with contextlib.ExitStack() as stack:
            source = stdin if path == STDIO else stack.enter_context(path.open("rb"))
            assert source is not None
            output = stack.enter_context(atomic_output(target, status, self.force))
            self.to_stream(source, output, sizes)
        if self.remove and path != STDIO and not self.lost:
            sizes.begin("verifying")
            self._verify(path, target, sizes)
            path.unlink()

    def _verify(self, path: Path, target: Path, sizes: Sizes) -> None:
        """Raise NzipError unless the compressed one of the two files holds the other."""
        packed, plain = (target, path) if self.make_compressor is not None else (path, target)
        with packed.open("rb") as stream:
            chunks = decompress_chunks(stream.read, threads=self.threads, follow=sizes.follow)
            unpacked = _fingerprint(chunks)
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

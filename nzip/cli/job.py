"""Compressing and decompressing files in the file system without ever losing one.

Output goes to a temporary file next to its target, is synced, then renamed over it. The input is
removed only on request, and only after the output was read back and found correct.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING
from zlib import crc32

from ..atomic import atomic_output, write_all
from ..errors import LimitError, NzipError
from ..frame import MAGIC, OTHERS, is_skippable
from ..inputs import STDIO, files_under, whole
from ..progress import View
from ..stream import READ_SIZE, Compressor, Decompressor, compress_chunks, decompress_chunks

if TYPE_CHECKING:
    from ..recover import Recovery

SUFFIX = ".nz"
SHORT_SUFFIXES = {".tnz": ".tar"}
MEDIA = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"\x1a\x45\xdf\xa3", b"OggS", b"fLaC", b"ID3"),
    *(b"\xff\xfb", b"Rar!\x1a\x07", b"\x00\x00\x00\x0cjP"),
)


class SkippedError(NzipError):
    """A file is skipped; the message says why."""


@dataclass
class Sizes:
    """Bytes read and written for one file, and the object that works on it."""

    read: int = 0
    written: int = 0
    worker: Compressor | Decompressor | Recovery | None = None
    base: int = 0  # bytes of content in finished frames
    passed: bool = False  # the file is copied unchanged
    stage: str = ""  # name of the stage; each counts from 0

    @property
    def done(self) -> int:
        """Bytes of content coded or decoded so far."""
        return self.base + (self.worker.workers.done if self.worker else 0)

    def follow(self, decompressor: Decompressor) -> None:
        """Continue to count in the next frame."""
        self.base, self.worker = self.done, decompressor

    def begin(self, stage: str) -> None:
        """Start a stage: count from 0 again."""
        self.base, self.worker, self.stage = 0, None, stage

    def view(self, total: int | None, packed: int | None = None) -> View:
        """The view for a progress bar. total: bytes of content; packed: compressed bytes; None if
        unknown."""
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


def compressed_name(path: Path, force: bool, suffix: str = SUFFIX) -> Path:
    """``FILE`` -> ``FILE.nz``. Raises SkippedError for a file that already has the suffix."""
    if not path.name or path.name == "..":
        raise SkippedError("a folder; skipped (-r goes into it)")
    if has_suffix(path, suffix) and not force:
        raise SkippedError(f"already has the suffix {path.suffix}; skipped")
    return path.with_name(path.name + suffix)


def decompressed_name(path: Path, suffix: str = SUFFIX) -> Path:
    """``FILE.nz`` -> ``FILE``, ``FILE.tnz`` -> ``FILE.tar``. Raises SkippedError for others."""
    name, lower = path.name, path.name.lower()
    for known in (suffix, SUFFIX):
        if lower.endswith(known.lower()) and len(name) > len(known):
            return path.with_name(name[: -len(known)])
    if path.suffix.lower() in SHORT_SUFFIXES:
        return path.with_suffix(SHORT_SUFFIXES[path.suffix.lower()])
    what = f"unknown suffix {path.suffix}" if path.suffix else "no suffix"
    raise SkippedError(f"{what} (expected {suffix}); name the output with -o or use -c")


def has_suffix(path: Path, suffix: str = SUFFIX) -> bool:
    """True if the name is that of a compressed file."""
    return path.name.lower().endswith((suffix.lower(), SUFFIX, *SHORT_SUFFIXES))


def looks_compressed(path: Path) -> bool:
    """True for a file that begins like archives, pictures, audio or video. Raises OSError."""
    with path.open("rb") as stream:
        head = stream.read(12)
    if head.startswith((MAGIC, *OTHERS, *MEDIA)) or is_skippable(head):
        return True
    return head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:] in (b"WEBP", b"AVI "))


def expand_folders(
    paths: list[Path], recursive: bool, compressed: bool | None, suffix: str = SUFFIX
) -> Iterator[Path]:
    """Yield the files to work on.

    recursive: also the files in folders. compressed: of those, only files with the suffix (True),
    only files without it (False), or all (None).
    """
    for path in paths:
        if recursive and path != STDIO and path.is_dir():
            for file in files_under(path):
                if compressed is None or has_suffix(file, suffix) == compressed:
                    yield file
        else:
            yield path


def check_input(path: Path, force: bool, named: bool = False) -> os.stat_result:
    """The status of an input that may be processed; raises SkippedError for any other.

    named: the output has a name of its own, not derived from the input's, so that links and FIFOs
    can be read too. Raises OSError.
    """
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        if not (force or named):
            raise SkippedError("a symbolic link; skipped (-f follows it)")
        status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise SkippedError("a folder; skipped (-r goes into it)")
    if named and stat.S_ISFIFO(status.st_mode):
        return status
    if not stat.S_ISREG(status.st_mode) and not force:
        raise SkippedError("not a regular file; skipped")
    return status


def listed(lists: list[Path], stdin: Callable[[], IO[bytes]]) -> list[Path]:
    """The paths listed in files (or "-" for stdin), one per line. Raises OSError."""
    names = []
    for path in lists:
        data = stdin().read() if path == STDIO else path.read_bytes()
        names += [os.fsdecode(line) for line in data.split(b"\n") if line]
    return [Path(name) if name != "-" else Path(name).absolute() for name in names]


@dataclass
class Job:
    """How files are compressed or decompressed: the settings that all files of a call share."""

    make_compressor: Callable[[], Compressor] | None  # None: decompress
    threads: int | None = None
    max_output: int | None = None
    force: bool = False
    remove: bool = False
    observe: Callable[[bytes], None] | None = None  # called with the bytes read
    lost: list[str] | None = None  # if given: recover damaged files, and add what is missing
    fill: bool = False  # with lost: write zeros in place of what is missing
    max_memory: int | None = None
    suffix: str = SUFFIX
    folder: Path | None = None  # where outputs go, if not next to their inputs
    mirror: bool = False  # with folder: keep the subfolders of the input's path
    pass_through: bool = False  # decompressing: copy data not compressed by nzip unchanged
    targets: set[Path] = field(default_factory=set)  # files that this call has written

    def target(self, path: Path) -> Path:
        """The output's path for an input if none is given; creates its folder.

        Raises SkippedError, NzipError and OSError.
        """
        if self.make_compressor is not None:
            place = compressed_name(path, self.force, self.suffix)
        else:
            place = decompressed_name(path, self.suffix)
        if self.folder is None:
            return place
        if self.mirror:
            if ".." in place.parts:
                raise NzipError("a name with '..' has no place in a mirrored folder")
            place = self.folder / place.relative_to(place.anchor)
        else:
            place = self.folder / place.name
        if place in self.targets:
            raise NzipError(f"another input has already been written to {place}")
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def transform(self, source: IO[bytes], sizes: Sizes) -> Generator[bytes]:
        """Yield the output for a stream in chunks, and count in ``sizes``."""

        head = b""

        def read(size: int) -> bytes:
            nonlocal head
            data, head = head or source.read(size), b""
            sizes.read += len(data)
            if self.observe is not None:
                self.observe(data)
            return data

        recovery = None
        if self.pass_through:
            while len(head) < 4 and (more := source.read(4 - len(head))):
                head += more
            sizes.passed = head[:3] != MAGIC and not is_skippable(head)
        chunks: Generator[bytes]
        if sizes.passed:
            chunks = self._pass(read, sizes)
        elif self.make_compressor is not None:
            sizes.worker = self.make_compressor()
            chunks = compress_chunks(read, sizes.worker)
        elif self.lost is not None:
            from ..recover import Recovery

            data = whole(source)
            sizes.read = len(data)
            sizes.worker = recovery = Recovery(data, self.threads, self.max_memory)
            chunks = recovery.content(self.max_output, self.fill)
        else:
            chunks = decompress_chunks(
                read,
                threads=self.threads,
                max_output=self.max_output,
                max_memory=self.max_memory,
                follow=sizes.follow,
            )
        with contextlib.closing(chunks):  # an error while writing stops the threads
            for chunk in chunks:
                sizes.written += len(chunk)
                yield chunk
        if recovery is not None and self.lost is not None:
            self.lost += recovery.lost

    def _pass(self, read: Callable[[int], bytes], sizes: Sizes) -> Generator[bytes]:
        while data := read(READ_SIZE):
            sizes.base += len(data)
            if self.max_output is not None and sizes.base > self.max_output:
                raise LimitError(f"the output would exceed the limit of {self.max_output} bytes")
            yield data

    def to_stream(self, source: IO[bytes], output: IO[bytes] | None, sizes: Sizes) -> None:
        """Process one stream to another; for None, the output is dropped."""
        with contextlib.closing(self.transform(source, sizes)) as chunks:
            for chunk in chunks:
                if output is not None:
                    write_all(output, chunk)
        if output is not None:
            output.flush()

    def to_file(
        self,
        path: Path,
        stdin: IO[bytes] | None,
        target: Path,
        sizes: Sizes,
        named: bool = False,
    ) -> None:
        """Process a file (or ``stdin``, for "-") to a file.

        named: see ``check_input``. Raises OSError, among them FileExistsError, and NzipError.
        """
        status = None if path == STDIO else check_input(path, self.force, named)
        regular = status is not None and stat.S_ISREG(status.st_mode)
        with contextlib.suppress(FileNotFoundError):
            if status is not None and os.path.samestat(status, target.stat()):
                raise SkippedError("input and output are the same file")
        with contextlib.ExitStack() as stack:
            # The output first: an existing one is noticed before anything is read from a FIFO.
            like = status if regular else None
            output = stack.enter_context(atomic_output(target, like, self.force))
            source = stdin if path == STDIO else stack.enter_context(path.open("rb"))
            assert source is not None
            self.to_stream(source, output, sizes)
        self.targets.add(target)
        if self.remove and regular and not self.lost and not sizes.passed:
            sizes.begin("verifying")
            self._verify(path, target, sizes)
            path.unlink()

    def _verify(self, path: Path, target: Path, sizes: Sizes) -> None:
        """Raise NzipError unless the compressed one of the two files decompresses to the other."""
        packed, plain = (target, path) if self.make_compressor is not None else (path, target)
        with packed.open("rb") as stream:
            chunks = decompress_chunks(
                stream.read,
                threads=self.threads,
                max_memory=self.max_memory,
                follow=sizes.follow,
            )
            unpacked = _fingerprint(chunks)
        with plain.open("rb") as stream:
            original = _fingerprint(iter(lambda: stream.read(READ_SIZE), b""))
        if unpacked != original:
            raise NzipError("read back, the output differs from the input; the input is kept")


def _fingerprint(chunks: Iterator[bytes]) -> tuple[int, int]:
    """(CRC-32, length) of data given in chunks."""
    crc, size = 0, 0
    for chunk in chunks:
        crc, size = crc32(chunk, crc), size + len(chunk)
    return crc, size

"""``nzip.open`` and ``NzipFile``: compressed files as Python file objects."""

from __future__ import annotations

import bisect
import builtins
import io
import os
import threading
from collections.abc import Callable, Generator
from typing import IO, Any, NamedTuple

from . import frame, modes
from .atomic import write_all
from .errors import LimitError, TruncatedError
from .prior import BlockWatch
from .progress import View
from .stream import Compressor, Decompressor, decompress_chunks

File = str | bytes | os.PathLike[Any] | IO[bytes]


class _Place(NamedTuple):
    """Where a block lies: in the content, in the file and in its frame."""

    start: int  # of its content
    size: int  # bytes of content
    at: int  # in the file
    length: int  # bytes in the file
    header: bytes  # of its frame
    number: int  # in its frame


class _Blocks:
    """The blocks of a seekable file, found from their headers and decoded one by one.

    Raises the errors of Decompressor.
    """

    def __init__(self, source: IO[bytes], start: int, max_output: int | None):
        self._source = source
        self.places: list[_Place] = []
        self.size = 0
        self._held: tuple[int, bytes] = (-1, b"")
        self._count = (0, BlockWatch())  # bytes of the blocks decoded so far, and of the next one
        at, frames = start, 0
        while data := self._peek(at):
            if frames and data[0] == 0:
                break  # padding
            if frame.is_skippable(data):
                at += frame.skippable_end(data)
            else:
                at = self._hop(at, data)
                if max_output is not None and self.size > max_output:
                    raise LimitError(f"the output would exceed the limit of {max_output} bytes")
            frames += 1
        if not frames:
            raise TruncatedError("the input is empty")

    def _peek(self, at: int) -> bytes:
        self._source.seek(at)
        return self._source.read(32)  # more than any header takes

    def _hop(self, at: int, data: bytes) -> int:
        """Note a frame's blocks and return where the frame ends."""
        _, end = frame.parse_header(data)
        header, at = data[:end], at + end
        total = number = 0
        while True:
            block = frame.parse_block(self._peek(at), 0)
            if block.size:
                place = _Place(self.size, block.size, at, block.end, header, number)
                self.places.append(place)
            self.size += block.size
            total += block.size
            at, number = at + block.end, number + 1
            if block.last:
                return at + frame.check_width(total)

    def _decode(self, number: int) -> bytes:
        if self._held[0] != number:
            place = self.places[number]
            self._source.seek(place.at)
            data = self._source.read(place.length)
            if len(data) < place.length:
                raise TruncatedError("the input ends inside a frame")
            block = frame.parse_block(data, 0)
            payload = data[block.start : block.end]
            contexts = modes.contexts_at(place.header)
            context = modes.agreeing(contexts, block, payload, place.number)
            before, watch = self._count
            content = modes.decode_block(context.header, context.mode(), block, payload, watch)
            self._count = before + place.size, BlockWatch()
            self._held = number, content
        return self._held[1]

    @property
    def done(self) -> int:
        """Bytes of content decoded so far, also in an unfinished block."""
        finished, watch = self._count
        return finished + watch.done

    def hold(self, start: int, end: int) -> int:
        """Bytes of content in the blocks with a part of the content."""
        parts = (place for place in self.places if place.start < end)
        return sum(place.size for place in parts if place.start + place.size > start)

    def read(self, offset: int) -> Generator[bytes]:
        """Yield the content from ``offset``, block by block."""
        number = bisect.bisect_right(self.places, offset, key=lambda place: place.start) - 1
        for k in range(max(0, number), len(self.places)):
            skip = max(0, offset - self.places[k].start)
            if skip < self.places[k].size:
                yield self._decode(k)[skip:]


class _Reader(io.RawIOBase):
    """The decompressed bytes of a file object.

    Reading from the start decodes ahead, in threads, and verifies the checksum of all content.
    After a seek, only the blocks that are read are decoded, and only their checksums verified.
    """

    def __init__(self, source: IO[bytes], max_output: int | None, threads: int | None):
        self._source = source
        self._max_output = max_output
        self._start = source.tell() if self.seekable() else 0
        self._blocks: _Blocks | None = None
        self._base = 0  # bytes of content in the frames before
        self._decompressor: Decompressor | None = None  # of this frame
        self._chunks = decompress_chunks(
            source.read, max_output=max_output, threads=threads, follow=self._follow
        )
        self._rest = memoryview(b"")
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        seekable = getattr(self._source, "seekable", None)
        return bool(seekable is not None and seekable())

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(target), len(self._rest))
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        self._position += size
        return size

    def tell(self) -> int:
        return self._position

    def _follow(self, decompressor: Decompressor) -> None:
        self._base, self._decompressor = self.done, decompressor

    @property
    def done(self) -> int:
        """Bytes of content decoded so far, also in unfinished blocks."""
        done = self._base + (self._decompressor.done if self._decompressor else 0)
        return done + (self._blocks.done if self._blocks else 0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if not self.seekable():
            raise io.UnsupportedOperation("the file below cannot seek")
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            offset += self.index().size
        elif whence != io.SEEK_SET:
            raise ValueError(f"invalid value for whence: {whence}")
        offset = max(0, offset)
        ahead = offset - self._position
        if 0 <= ahead <= len(self._rest):
            self._rest = self._rest[ahead:]
        else:
            blocks = self.index()
            offset = min(offset, blocks.size)
            self._chunks.close()
            self._rest = memoryview(b"")
            self._chunks = blocks.read(offset)
        self._position = offset
        return offset

    def index(self) -> _Blocks:
        if self._blocks is None:
            there = self._source.tell()
            self._blocks = _Blocks(self._source, self._start, self._max_output)
            self._source.seek(there)
        return self._blocks

    def close(self) -> None:
        if not self.closed:
            self._chunks.close()
        super().close()


def follow_part(file: NzipFile, start: int, size: int) -> Callable[[], View]:
    """A function that views the progress of reading one part, before anything else is read.

    Blocks are decoded whole, so they count as a whole.
    """
    reader = file._reading().raw
    assert isinstance(reader, _Reader)
    total = reader.index().hold(start, start + size)
    return lambda: View(min(reader.done, total), total)


class NzipFile(io.BufferedIOBase):
    """A compressed file as a binary file object.

    file: a path, or a binary file object with ``read`` or ``write``, which close() leaves open.
    mode: "rb" to read, "wb" to write, "ab" to append a frame, "xb" to create a new file.
    method: for writing, Compressor's mode ("ac", "static" or "eqinfo").
    max_output: for reading, bytes; LimitError is raised if the content has more.
    options: for reading ``threads``, for writing all those of Compressor.

    Raises OSError, ValueError for an invalid mode or setting, TypeError for an invalid file or
    option, and io.UnsupportedOperation for writing while reading or the reverse. Reading raises
    subclasses of NzipError for invalid or damaged data. Threads may share a file: their calls wait
    for one another.
    """

    def __init__(
        self,
        file: File,
        mode: str = "rb",
        *,
        method: str = "ac",
        max_output: int | None = None,
        **options: Any,
    ):
        self._compressor: Compressor | None = None
        self._reader: io.BufferedReader | None = None
        self._file: IO[bytes] | None = None
        self._own = False
        self._written = 0
        self._believed = False  # said to be seekable although it is not: see open()
        self._lock = threading.RLock()
        kind = mode.replace("b", "", 1)
        if kind not in ("r", "w", "a", "x"):
            raise ValueError(f"invalid mode: {mode!r}")
        self.mode = "rb" if kind == "r" else "wb"
        if kind != "r":
            self._compressor = Compressor(method, **options)  # before the file is touched
        elif set(options) - {"threads"}:
            raise TypeError("only threads and max_output are options for reading")
        if isinstance(file, str | bytes | os.PathLike):
            self._file, self._own = builtins.open(file, kind + "b"), True
        elif hasattr(file, "read" if kind == "r" else "write"):
            self._file = file
        else:
            raise TypeError("file must be a path or a file object to read from or write to")
        if hasattr(self._file, "name"):
            self.name = self._file.name
        if kind == "r":
            raw = _Reader(self._file, max_output, options.get("threads"))
            self._reader = io.BufferedReader(raw, 1 << 16)

    def _open(self) -> IO[bytes]:
        if self._file is None:
            raise ValueError("I/O operation on closed file")
        return self._file

    def _reading(self) -> io.BufferedReader:
        self._open()
        if self._reader is None:
            raise io.UnsupportedOperation("file is open for writing")
        return self._reader

    def _writing(self) -> Compressor:
        self._open()
        if self._compressor is None:
            raise io.UnsupportedOperation("file is open for reading")
        return self._compressor

    @property
    def closed(self) -> bool:
        return self._file is None

    def readable(self) -> bool:
        self._open()
        return self._reader is not None

    def writable(self) -> bool:
        self._open()
        return self._compressor is not None

    def seekable(self) -> bool:
        self._open()
        return self._believed or (self._reader is not None and self._reader.seekable())

    def fileno(self) -> int:
        return self._open().fileno()

    def read(self, size: int | None = -1) -> bytes:
        with self._lock:
            return self._reading().read(size)

    def read1(self, size: int = -1) -> bytes:
        with self._lock:
            return self._reading().read1(size if size >= 0 else io.DEFAULT_BUFFER_SIZE)

    def readinto(self, buffer: Any) -> int:
        with self._lock:
            return self._reading().readinto(buffer)

    def readline(self, size: int | None = -1) -> bytes:
        with self._lock:
            return self._reading().readline(-1 if size is None else size)

    def peek(self, size: int = 0) -> bytes:
        with self._lock:
            return self._reading().peek(size)

    def write(self, data: Any) -> int:
        with self._lock:
            packed = self._writing().compress(data)
            write_all(self._open(), packed)
            size = memoryview(data).nbytes
            self._written += size
            return size

    def flush(self) -> None:
        """Write the blocks that are complete; an unfinished block stays in memory."""
        with self._lock:
            file = self._open()
            if self._compressor is not None:
                write_all(file, self._compressor.compress(b""))
                if hasattr(file, "flush"):
                    file.flush()

    def tell(self) -> int:
        with self._lock:
            self._open()
            return self._written if self._reader is None else self._reader.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._lock:
            return self._reading().seek(offset, whence)

    def close(self) -> None:
        with self._lock:
            file = self._file
            if file is None:
                return
            try:
                if self._compressor is not None:
                    write_all(file, self._compressor.flush())
                elif self._reader is not None:
                    self._reader.close()
            finally:
                self._file = None
                if self._compressor is not None:
                    self._compressor.close()
                if self._own:
                    file.close()


def open(
    file: File,
    mode: str = "rb",
    *,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    **options: Any,
) -> NzipFile | io.TextIOWrapper:
    """Open a compressed file in binary ("rb", "wb", …) or text ("rt", "wt", …) mode.

    It takes the same arguments as ``gzip.open``, and the options of NzipFile, which also says what
    is raised. encoding, errors and newline are for text mode, as for the built-in ``open``.

    >>> import nzip
    >>> with nzip.open("notes.txt.nz", "wt", encoding="utf-8") as file:
    ...     print("a line", file=file)
    >>> with nzip.open("notes.txt.nz", "rt", encoding="utf-8") as file:
    ...     file.read()
    'a line\\n'
    """
    text = "t" in mode
    if text and "b" in mode:
        raise ValueError(f"invalid mode: {mode!r}")
    if not text and (encoding, errors, newline) != (None, None, None):
        raise ValueError("encoding, errors and newline are for text mode")
    binary = NzipFile(file, mode.replace("t", ""), **options)
    if not text:
        return binary
    # UTF-16 and UTF-32 write a byte order mark only at the start of a file. TextIOWrapper asks
    # where it is only if the file can seek.
    binary._believed = True
    wrapper = io.TextIOWrapper(binary, encoding or io.text_encoding(None), errors, newline)
    binary._believed = False
    return wrapper


__all__ = ["NzipFile", "open"]

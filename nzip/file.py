"""``nzip.open`` and NzipFile: compressed files as Python file objects."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Iterator
from typing import IO, Any

from .stream import Buffer, Compressor, decompress_chunks

File = str | bytes | os.PathLike[Any] | IO[bytes]


class _Reader(io.RawIOBase):
    """The decompressed bytes of a file object; seeks forward by reading, back by starting anew."""

    def __init__(self, source: IO[bytes], max_output: int | None, threads: int | None):
        self._source = source
        self._options = {"max_output": max_output, "threads": threads}
        self._start = source.tell() if source.seekable() else 0
        self._restart()

    def _restart(self) -> None:
        self._chunks: Iterator[bytes] = decompress_chunks(self._source.read, **self._options)
        self._rest = memoryview(b"")
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._source.seekable()

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

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            while self.read(io.DEFAULT_BUFFER_SIZE):
                pass
            offset += self._position
        if offset < self._position:
            self._source.seek(self._start)
            self._restart()
        while self._position < offset and self.read(
            min(io.DEFAULT_BUFFER_SIZE, offset - self._position)
        ):
            pass
        return self._position


class NzipFile(io.BufferedIOBase):
    """A compressed file, for reading ("rb") or writing ("wb", "ab", "xb").

    file: a path or a binary file object. method: Compressor's mode ("ac", "static", "eqinfo");
    other options for writing as for Compressor; for reading ``threads`` and ``max_output``.
    Reading raises NzipError's subclasses for damaged data.
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
        kind = mode.replace("b", "")
        if kind not in ("r", "w", "a", "x"):
            raise ValueError(f"invalid mode: {mode!r}")
        self._own = not hasattr(file, "read") and not hasattr(file, "write")
        self.mode = kind + "b"
        self._compressor: Compressor | None = None
        self._reader: io.BufferedReader | None = None
        if kind != "r":
            self._compressor = Compressor(method, **options)  # before the file is touched
        elif set(options) - {"threads"}:
            raise TypeError("only threads and max_output are options for reading")
        self._file: IO[bytes] = builtins.open(file, self.mode) if self._own else file  # type: ignore[arg-type,assignment]
        if kind == "r":
            raw = _Reader(self._file, max_output, options.get("threads"))
            self._reader = io.BufferedReader(raw, 1 << 16)
        self._written = 0

    @property
    def name(self) -> Any:
        return self._file.name

    def _check(self, reading: bool) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if reading != (self._reader is not None):
            raise io.UnsupportedOperation(f"file is open for {'writing' if reading else 'reading'}")

    def readable(self) -> bool:
        return self._reader is not None

    def writable(self) -> bool:
        return self._compressor is not None

    def seekable(self) -> bool:
        return self._reader is not None and self._reader.seekable()

    def fileno(self) -> int:
        return self._file.fileno()

    def read(self, size: int | None = -1) -> bytes:
        self._check(reading=True)
        assert self._reader is not None
        return self._reader.read(size)

    def read1(self, size: int = -1) -> bytes:
        self._check(reading=True)
        assert self._reader is not None
        return self._reader.read1(size)

    def readinto(self, buffer: Any) -> int:
        self._check(reading=True)
        assert self._reader is not None
        return self._reader.readinto(buffer)

    def readline(self, size: int | None = -1) -> bytes:
        self._check(reading=True)
        assert self._reader is not None
        return self._reader.readline(size)

    def peek(self, size: int = 0) -> bytes:
        self._check(reading=True)
        assert self._reader is not None
        return self._reader.peek(size)

    def write(self, data: Any) -> int:
        self._check(reading=False)
        assert self._compressor is not None
        size = memoryview(data).nbytes
        self._file.write(self._compressor.compress(data))
        self._written += size
        return size

    def tell(self) -> int:
        if self._reader is not None:
            self._check(reading=True)
            return self._reader.tell()
        self._check(reading=False)
        return self._written

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._check(reading=True)
        assert self._reader is not None
        return self._reader.seek(offset, whence)

    def close(self) -> None:
        if self.closed:
            return
        try:
            if self._compressor is not None:
                self._file.write(self._compressor.flush())
                self._compressor.close()
        finally:
            if self._own:
                self._file.close()
            super().close()


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

    The shape of ``gzip.open``; options as for NzipFile.
    """
    text = "t" in mode
    if text and "b" in mode:
        raise ValueError(f"invalid mode: {mode!r}")
    if not text and (encoding, errors, newline) != (None, None, None):
        raise ValueError("encoding, errors and newline are for text mode")
    binary = NzipFile(file, mode.replace("t", ""), **options)
    if not text:
        return binary
    return io.TextIOWrapper(binary, encoding or io.text_encoding(None), errors, newline)


__all__ = ["Buffer", "NzipFile", "open"]

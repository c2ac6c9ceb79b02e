"""Text files: opened according to their content, and cut into documents."""

from __future__ import annotations

import functools
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .errors import MALFORMED, FormatError
from .frame import MAGIC, OTHERS, is_skippable
from .inputs import STDIO, stdin_bytes

SPLITS = ("file", "nul", "lines", "jsonl")
PARQUET = b"PAR1"
HEAD = 8  # bytes by which a file is recognised


def kind(head: bytes) -> str:
    """What a file with these first bytes is: "nzip", "Parquet", a name in frame.OTHERS, or ""."""
    if head.startswith(MAGIC):
        return "nzip"
    if head.startswith(PARQUET):
        return "Parquet"
    known = next((name for magic, name in OTHERS.items() if head.startswith(magic)), "")
    if known == "bzip2" and head[4:8] != b"1AY&":  # a text may begin with the three letters
        return ""
    return known or ("zstd" if is_skippable(head) else "")


def _opened(source: IO[bytes], known: str) -> Any:
    """A reader of the content. Raises FormatError for a kind that cannot be opened here."""
    if known == "nzip":
        from .nzipfile import NzipFile

        return NzipFile(source)
    if known == "gzip":
        import gzip

        return gzip.GzipFile(fileobj=source)
    if known == "xz":
        import lzma

        return lzma.LZMAFile(source)
    if known == "bzip2":
        import bz2

        return bz2.BZ2File(source)
    if known == "zstd":
        return io.BufferedReader(_Zstd(source))
    if known == "Parquet":
        raise FormatError("a Parquet file; its texts are in columns (tokenize --column NAME)")
    raise FormatError(f"a {known} file, which cannot be read as text")


class _Rejoined(io.RawIOBase):
    """The bytes already read from a stream, followed by the rest of the stream."""

    def __init__(self, head: bytes, source: IO[bytes]):
        self._head, self._source = head, source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] or self._source.read(len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)


class _Zstd(io.RawIOBase):
    """The content of zstd frames. zstandard's own reader accepts a frame that is cut off."""

    def __init__(self, source: IO[bytes]):
        import zstandard

        self._make = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj
        self._source, self._frame = source, self._make()
        self._packed = self._ready = b""
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if self._frame.eof:
                self._packed, self._frame, self._begun = (
                    self._frame.unused_data,
                    self._make(),
                    False,
                )
            self._packed = self._packed or self._source.read(1 << 17)
            if not self._packed:
                if self._begun:
                    raise EOFError
                return 0
            self._ready, self._packed, self._begun = self._frame.decompress(self._packed), b"", True
        data, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def _damage(error: Exception) -> bool:
    """True for the errors that the readers of other formats raise for damaged data."""
    names = ("BadGzipFile", "LZMAError", "ZstdError")
    unnamed = isinstance(error, OSError) and error.errno is None  # bz2's
    return isinstance(error, EOFError | zlib.error) or type(error).__name__ in names or unnamed


@contextmanager
def open_text(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, or stdin for "-", as bytes.

    Data compressed by gzip, zstd, xz, bzip2 or nzip are decompressed, whatever the file is called.
    Raises FormatError, naming the file, for other archives and for damaged data.
    """
    with ExitStack() as stack:
        source: Any = stdin_bytes() if path == STDIO else stack.enter_context(path.open("rb"))
        head = source.read(HEAD)
        if source.seekable():
            source.seek(-len(head), io.SEEK_CUR)
        else:
            source = io.BufferedReader(_Rejoined(head, source))
        known = kind(head)
        try:
            yield stack.enter_context(_opened(source, known)) if known else source
        except FormatError as error:
            text = str(error)
            raise FormatError(text if str(path) in text else f"{path}: {text}") from error
        except Exception as error:
            if known and _damage(error):
                what = "end early" if isinstance(error, EOFError) else f"are damaged: {error}"
                raise FormatError(f"{path}: the {known} data {what}") from error
            raise


def documents(path: Path, skip: int = 0, limit: int | None = None) -> Iterator[bytes]:
    """The documents, separated by NUL bytes, in bytes ``skip`` to ``limit`` of the file's text."""
    rest = b""
    done = 0
    with open_text(path) as stream:
        while chunk := stream.read(1 << 20):
            start = max(0, skip - done)
            stop = len(chunk) if limit is None else max(0, limit - done)
            done += len(chunk)
            parts = (rest + chunk[start:stop]).split(b"\0")
            rest = parts.pop()
            yield from parts
            if limit is not None and done >= limit:
                break
    if rest:
        yield rest


class Documents:
    """The documents in files; can be iterated more than once, unless one of the files is stdin.

    split: "file" (each file is a document), "nul" (they are separated by NUL bytes), "lines" (each
    line is one) or "jsonl" (each line is a JSON object that holds one).
    field: the name of the JSON field, "text" by default.
    column: the column of Parquet files whose rows are documents.
    done: bytes of the files whose documents have been processed, that is, followed by a request for
    the next one. total: bytes of all files, None if unknown.

    Raises ValueError for another split. Iterating raises FormatError for a malformed file, OSError,
    and ImportError for Parquet without pyarrow.
    """

    def __init__(
        self,
        paths: list[Path],
        split: str = "file",
        field: str | None = None,
        column: str | None = None,
    ):
        if split not in SPLITS:
            raise ValueError(f"documents are split by {', '.join(SPLITS)}, not by {split!r}")
        if field is not None and split != "jsonl":
            raise ValueError("a field needs JSON lines: split by jsonl")
        self.paths, self.split, self.field, self.column = paths, split, field or "text", column
        self.done = 0

    @functools.cached_property
    def total(self) -> int | None:
        if STDIO in self.paths:
            return None
        return sum(
            path.stat().st_size if _parquet(path) else file_size(path) for path in self.paths
        )

    def __iter__(self) -> Iterator[bytes]:
        self.done = 0
        for path in self.paths:
            if self.column is not None and path != STDIO and _parquet(path):
                yield from self._rows(path)
            elif self.split == "nul":
                for document in documents(path):
                    yield document
                    self.done += len(document) + 1
            elif self.split == "file":
                with open_text(path) as stream:
                    document = stream.read()
                yield document
                self.done += len(document)
            else:
                yield from self._lines(path)

    def _lines(self, path: Path) -> Iterator[bytes]:
        with open_text(path) as stream:
            for number, line in enumerate(stream, 1):
                if self.split == "lines":
                    yield line.rstrip(b"\r\n")
                elif line.strip():
                    yield self._text(line, path, number)
                self.done += len(line)

    def _text(self, line: bytes, path: Path, number: int) -> bytes:
        try:
            text = json.loads(line)[self.field]
            if isinstance(text, str):
                return text.encode("utf-8", "surrogatepass")
        except MALFORMED:
            pass
        raise FormatError(f"{path}: line {number} is not a JSON object with a text {self.field!r}")

    def _rows(self, path: Path) -> Iterator[bytes]:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise ImportError("Parquet files need pyarrow: pip install pyarrow") from None
        try:
            file = pq.ParquetFile(path)
        except pa.ArrowException as error:
            raise FormatError(f"{path}: {error}") from error
        with file:
            names = file.schema_arrow.names
            if self.column not in names:
                raise FormatError(
                    f"{path}: no column {self.column!r} (there are {', '.join(names)})"
                )
            kind_of = file.schema_arrow.field(self.column).type
            texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)
            if not any(test(kind_of) for test in (*texts, pa.types.is_large_binary)):
                raise FormatError(f"{path}: the column {self.column!r} holds {kind_of}, not texts")
            size, rows, done = path.stat().st_size, file.metadata.num_rows, self.done
            for batch in file.iter_batches(1024, columns=[self.column]):
                for value in batch.column(0).cast(pa.large_binary()).to_pylist():
                    if value is not None:
                        yield value
                self.done += size * batch.num_rows // rows
            self.done = done + size


def _parquet(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(PARQUET)) == PARQUET


def file_size(path: Path) -> int:
    """Bytes of content, from the file's headers if they say so, else an estimate."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(32)
        known = kind(head)
        if known == "zstd":
            import zstandard

            with suppress(zstandard.ZstdError):
                size_there = zstandard.frame_content_size(head)
                return size_there if size_there > 0 else 4 * size
        if known == "gzip" and size > 18:
            stream.seek(-4, io.SEEK_END)
            content = int.from_bytes(stream.read(), "little")  # of the last member, modulo 2^32
            return content if content > size else 4 * size
    if known == "nzip":
        from . import info

        return int(info.read_file(path)["content"])
    return 4 * size if known in ("xz", "bzip2", "zstd") else size

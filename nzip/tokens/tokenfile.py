"""Token files: ``.bin`` with Megatron's ``.idx``, ``.npy`` and Parquet, and back to text.

Next to the tokens ``NAME.json`` holds the settings that made them, and the totals. ``.bin`` holds
little-endian uint8 or uint16 and nothing else, as nanoGPT reads it with ``numpy.memmap``.
"""

from __future__ import annotations

import array
import json
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..atomic import atomic_output
from ..errors import MALFORMED, FormatError
from .tokenizations import Tokenization, from_settings

FORMAT = "nzip-tokens-1"
SUFFIXES = (".bin", ".npy", ".parquet")
INDEX_MAGIC = b"MMIDIDX\0\0"
INDEX_TYPES = {8: 1, 16: 8}  # Megatron's codes of uint8 and uint16
ROWS = 1024  # documents per Parquet row group


def _little(code: str, numbers: list[int]) -> bytes:
    words = array.array(code, numbers)
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()


def written(path: Path) -> list[Path]:
    """The files that ``Writer`` makes for a path."""
    beside = {".bin": (".json", ".idx"), ".npy": (".json",)}.get(path.suffix, ())
    return [path, *(path.with_suffix(suffix) for suffix in beside)]


class Writer:
    """Writes documents' tokens to a file in the format that its suffix names.

    Use it in a ``with`` statement; the files appear at its end. eos: add the tokens that end a
    document after each one. replace: whether existing files may be replaced. Raises ValueError for
    another suffix, or ``eos`` without such tokens; then FileExistsError and other OSErrors.
    """

    def __init__(
        self, path: Path, tokenization: Tokenization, eos: bool = False, replace: bool = False
    ):
        if path.suffix not in SUFFIXES:
            raise ValueError(f"{path}: the suffix must be one of {', '.join(SUFFIXES)}")
        if eos and tokenization.eos is None:
            raise ValueError("this tokenization has no end-of-text token")
        self.path, self.tokenization = path, tokenization
        self.tokens = self.bytes = 0
        self._lengths: list[int] = []  # tokens of each document
        self._sizes: list[int] = []  # bytes of each document
        self._eos = (tokenization.eos or b"") if eos else b""
        self._about = {"format": FORMAT, **tokenization.settings, "eos": eos}
        self._replace = replace
        self._width = tokenization.token_bits // 8
        self._stack = ExitStack()
        self._rows: list[bytes] = []

    def __enter__(self) -> Writer:
        self._out = self._stack.enter_context(atomic_output(self.path, replace=self._replace))
        if self.path.suffix == ".npy":
            self._out.write(bytes(128))  # room for the header, written when the length is known
        elif self.path.suffix == ".parquet":
            self._open_parquet()
        return self

    @property
    def documents(self) -> int:
        return len(self._lengths)

    def add(self, document: bytes) -> None:
        """Tokenize and write a document."""
        tokens = self.tokenization.encode(document) + self._eos
        self._lengths.append(len(tokens) // self._width)
        self._sizes.append(len(document))
        self.tokens += self._lengths[-1]
        self.bytes += len(document)
        if self.path.suffix == ".parquet":
            self._rows.append(tokens)
            if len(self._rows) == ROWS:
                self._write_rows()
        else:
            self._out.write(tokens)

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                self._finish()
        finally:
            if self.path.suffix == ".parquet":
                self._parquet.close()
            self._stack.__exit__(*error)
        if error[0] is None:
            self._write_beside()

    def _finish(self) -> None:
        if self.path.suffix == ".npy":
            kind = "|u1" if self._width == 1 else "<u2"
            text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({self.tokens},), }}"
            self._out.seek(0)
            self._out.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118))
            self._out.write(text.encode().ljust(117) + b"\n")
        elif self.path.suffix == ".parquet":
            self._write_rows()

    def _write_beside(self) -> None:
        if self.path.suffix == ".parquet":
            return  # the file itself holds all of this
        about = {
            **self._about,
            "documents": len(self._lengths),
            "tokens": self.tokens,
            "bytes": self.bytes,
            "sizes": self._sizes,
        }
        with atomic_output(self.path.with_suffix(".json"), replace=self._replace) as out:
            out.write(json.dumps(about).encode() + b"\n")
        if self.path.suffix == ".bin":
            with atomic_output(self.path.with_suffix(".idx"), replace=self._replace) as out:
                self._write_index(out)

    def _write_index(self, out: IO[bytes]) -> None:
        """Write Megatron-LM's index, with a sequence for each document."""
        count, places, at = len(self._lengths), [], 0
        for length in self._lengths:
            places.append(at)
            at += length * self._width
        out.write(INDEX_MAGIC + struct.pack("<Q", 1))
        out.write(bytes([INDEX_TYPES[self.tokenization.token_bits]]))
        out.write(struct.pack("<QQ", count, count + 1))
        out.write(_little("i", self._lengths) + _little("q", places))
        out.write(_little("q", list(range(count + 1))))

    def _open_parquet(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kind = pa.uint8() if self._width == 1 else pa.uint16()
        self._schema = pa.schema(
            [("tokens", pa.list_(kind)), ("bytes", pa.int64())],
            metadata={"nzip": json.dumps(self._about)},
        )
        self._parquet = pq.ParquetWriter(self._out, self._schema, compression="zstd")

    def _write_rows(self) -> None:
        import numpy as np
        import pyarrow as pa

        if not self._rows:
            return
        count = len(self._rows)
        values = np.frombuffer(b"".join(self._rows), "<u1" if self._width == 1 else "<u2")
        ends = np.cumsum([0, *self._lengths[-count:]]).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(ends), pa.array(values))
        sizes = pa.array(self._sizes[-count:], pa.int64())
        self._parquet.write_table(pa.Table.from_arrays([lists, sizes], schema=self._schema))
        self._rows.clear()


class Contents(NamedTuple):
    """What a file of tokens holds.

    size: bytes of all text. rows: (tokens without an end mark, bytes of text) of each document.
    """

    tokenization: Tokenization
    size: int
    rows: Iterator[tuple[bytes, int]]

    def documents(self) -> Iterator[bytes]:
        """Yield the text of each document. Raises FormatError."""
        for tokens, size in self.rows:
            yield self.tokenization.decode(tokens, size)


def read_tokens(path: Path) -> Contents:
    """Read a file that ``Writer`` made.

    Raises FormatError, ModelNotFoundError and OSError.
    """
    path.stat()  # so that an error names this file, not the one next to it
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        file = pq.ParquetFile(path)
        about = _about((file.schema_arrow.metadata or {}).get(b"nzip", b""), path)
        eos = bool(about.get("eos"))
        sizes = file.read(["bytes"])["bytes"].to_pylist()
    else:
        beside = path.with_suffix(".json")
        about = _about(beside.read_bytes(), beside)
        try:
            sizes, eos = [int(size) for size in about["sizes"]], bool(about["eos"])
        except MALFORMED as error:
            raise FormatError(f"{beside}: {error}") from error
    tokenization = from_settings(about)
    skip = len(tokenization.eos or b"") if eos else 0
    width = tokenization.token_bits // 8
    rows = _parquet_rows(file, width) if path.suffix == ".parquet" else _rows(path, sizes, width)
    texts = ((tokens[: len(tokens) - skip], size) for tokens, size in rows)
    return Contents(tokenization, sum(sizes), texts)


def _about(text: bytes, path: Path) -> dict[str, Any]:
    """The settings and totals that ``Writer`` stored."""
    try:
        about: dict[str, Any] = json.loads(text)
        if about["format"] != FORMAT:
            raise ValueError("another format")
    except MALFORMED as error:
        raise FormatError(f"{path}: not the description of a token file: {error}") from error
    return about


def _rows(path: Path, sizes: list[int], width: int) -> Iterator[tuple[bytes, int]]:
    """Yield the tokens of each document, and its number of bytes."""
    lengths = _index(path) if path.suffix == ".bin" else None
    if lengths is None or len(lengths) != len(sizes):
        if len(sizes) != 1:
            raise FormatError(f"{path}: it is not known where its documents end")
        lengths = [None]
    with path.open("rb") as stream:
        if path.suffix == ".npy":
            stream.seek(128)
        for length, size in zip(lengths, sizes, strict=True):
            yield stream.read(-1 if length is None else length * width), size


def _parquet_rows(file: Any, width: int) -> Iterator[tuple[bytes, int]]:
    for batch in file.iter_batches(ROWS):
        for row, size in zip(batch["tokens"], batch["bytes"], strict=True):
            yield row.values.to_numpy().astype(f"<u{width}").tobytes(), size.as_py()


def _index(path: Path) -> list[int | None]:
    """The number of tokens of each document, from Megatron's index."""
    data = path.with_suffix(".idx").read_bytes()
    count = struct.unpack_from("<Q", data, 18)[0] if len(data) >= 34 else 0
    if data[:9] != INDEX_MAGIC or len(data) != 34 + 4 * count + 8 * count + 8 * (count + 1):
        raise FormatError(f"{path.with_suffix('.idx')}: not an index of this file")
    return [n for (n,) in struct.iter_unpack("<i", data[34 : 34 + 4 * count])]

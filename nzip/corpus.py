"""Files of text: found, opened, and cut into documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import zstandard

from .errors import MALFORMED, FormatError

SPLITS = ("file", "nul", "jsonl")


def find_files(paths: list[Path]) -> list[Path]:
    """Files among ``paths`` and, in order of name, under the folders among them."""
    files: list[Path] = []
    for path in paths:
        files += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError("no files found")
    return files


def open_text(path: Path) -> IO[bytes]:
    """The bytes of a file, decompressed on the way if its name ends in ``.zst``."""
    if path.suffix != ".zst":
        return path.open("rb")
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    return decompressor.stream_reader(path.open("rb"), read_across_frames=True, closefd=True)


def documents(path: Path, skip: int = 0, limit: int | None = None) -> Iterator[bytes]:
    """Documents (separated by NUL bytes) of bytes ``skip`` to ``limit`` of the file."""
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


def read_documents(paths: list[Path], split: str = "file") -> Iterator[bytes]:
    """Documents of files: each file one; or separated by NUL bytes; or the "text" of each line of
    JSON. Raises FormatError for a line without one, ValueError for another ``split``."""
    if split not in SPLITS:
        raise ValueError(f"documents are split by {', '.join(SPLITS)}, not by {split!r}")
    for path in paths:
        if split == "nul":
            yield from documents(path)
        elif split == "jsonl":
            yield from _json_texts(path)
        else:
            with open_text(path) as stream:
                yield stream.read()


def _json_texts(path: Path) -> Iterator[bytes]:
    number, rest = 0, b""
    with open_text(path) as stream:
        while chunk := stream.read(1 << 20):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                number += 1
                if line.strip():
                    yield _json_text(line, path, number)
    if rest.strip():
        yield _json_text(rest, path, number + 1)


def _json_text(line: bytes, path: Path, number: int) -> bytes:
    try:
        return str(json.loads(line)["text"]).encode("utf-8", "surrogatepass")
    except MALFORMED as error:
        raise FormatError(f"{path}: line {number} is no JSON object with a text") from error


def file_size(path: Path) -> int:
    """Decompressed size, from the zstd frame header where there is one."""
    if path.suffix != ".zst":
        return path.stat().st_size
    with path.open("rb") as stream:
        size = zstandard.frame_content_size(stream.read(32))
    return size if size > 0 else path.stat().st_size * 4

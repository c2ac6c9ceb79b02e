"""Runs every compressor on every file, verifies each round trip and keeps the figures."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import models
from ..stream import compress, decompress

TOTAL = "total"


@dataclass
class Codec:
    """A compressor as two functions on bytes. ``model_bytes``: what its decoder needs besides."""

    name: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]
    model_bytes: int = 0


@dataclass
class Result:
    """One codec on one file; times in seconds of wall clock."""

    file: str
    codec: str
    size: int
    compressed: int
    compress_seconds: float
    decompress_seconds: float
    verified: bool

    @property
    def ratio(self) -> float:
        return self.size / self.compressed if self.compressed else 0.0

    @property
    def bpb(self) -> float:
        return 8 * self.compressed / self.size if self.size else 0.0

    @property
    def compress_speed(self) -> float:
        """Bytes of text a second."""
        return self.size / max(self.compress_seconds, 1e-9)

    @property
    def decompress_speed(self) -> float:
        """Bytes of text a second."""
        return self.size / max(self.decompress_seconds, 1e-9)

    def as_dict(self) -> dict[str, Any]:
        """The row of the JSON and CSV reports."""
        return {
            "file": self.file,
            "codec": self.codec,
            "size": self.size,
            "compressed": self.compressed,
            "ratio": round(self.ratio, 4),
            "bpb": round(self.bpb, 4),
            "compress_mb_s": round(self.compress_speed / 1e6, 4),
            "decompress_mb_s": round(self.decompress_speed / 1e6, 4),
            "verified": self.verified,
        }


def _nzip(name: str, model_bytes: int, threads: int | None, mode: str, **options: Any) -> Codec:
    return Codec(
        name,
        lambda data: compress(data, mode, threads=threads, **options),
        lambda data: decompress(data, threads=threads),
        model_bytes,
    )


def _baselines() -> list[Codec]:
    import gzip
    import lzma

    import zstandard

    def zstd(level: int) -> Codec:
        return Codec(
            f"zstd -{level}",
            lambda data: zstandard.ZstdCompressor(level).compress(data),
            lambda data: zstandard.ZstdDecompressor().decompress(data),
        )

    found = [
        Codec("gzip -9", lambda data: gzip.compress(data, 9), gzip.decompress),
        zstd(3),
        zstd(19),
        Codec(
            "xz -9e",
            lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
            lzma.decompress,
        ),
    ]
    try:
        brotli = importlib.import_module("brotli")
    except ImportError:
        return found
    return [
        *found,
        Codec("brotli -11", lambda data: brotli.compress(data, quality=11), brotli.decompress),
    ]


def codecs(
    *, level: int, threads: int | None, model: str | None = None, only: str | None = None
) -> list[Codec]:
    """The compressors to compare; ``only``: names, separated by commas. Raises ValueError."""
    weights = models.load(model).path.stat().st_size
    options: dict[str, Any] = {"model": model}
    found = [
        _nzip("nzip ac", weights, threads, "ac", level=level, **options),
        _nzip("nzip static", 0, threads, "static"),
        _nzip("nzip eqinfo 16", weights, threads, "eqinfo", window=16, **options),
        _nzip("nzip eqinfo 32", weights, threads, "eqinfo", window=32, **options),
        *_baselines(),
    ]
    if only is None:
        return found
    wanted = [name.strip() for name in only.split(",")]
    unknown = set(wanted) - {codec.name for codec in found}
    if unknown:
        known = ", ".join(codec.name for codec in found)
        raise ValueError(f"no such compressor: {', '.join(sorted(unknown))} (known: {known})")
    return [codec for codec in found if codec.name in wanted]


def measure(codec: Codec, name: str, data: bytes) -> Result:
    """One codec on one text, compressed, decompressed and compared."""
    start = time.perf_counter()
    packed = codec.compress(data)
    middle = time.perf_counter()
    unpacked = codec.decompress(packed)
    end = time.perf_counter()
    return Result(
        name, codec.name, len(data), len(packed), middle - start, end - middle, unpacked == data
    )


def find_files(paths: list[Path]) -> list[Path]:
    """The files among ``paths`` and under its folders. Raises FileNotFoundError."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(p for p in path.rglob("*") if p.is_file())
        else:
            files.append(path)
    if not files:
        raise FileNotFoundError("no files to measure")
    return files


def run(paths: list[Path], codecs: list[Codec], *, adjusted: bool = False) -> list[Result]:
    """Every codec on every file, then the totals. ``adjusted`` counts models into the totals."""
    results: list[Result] = []
    for path in find_files(paths):
        data = path.read_bytes()
        if not data:
            continue
        results += [measure(codec, str(path), data) for codec in codecs]
    for codec in codecs:
        rows = [r for r in results if r.codec == codec.name and r.file != TOTAL]
        results.append(
            Result(
                TOTAL,
                codec.name,
                sum(r.size for r in rows),
                sum(r.compressed for r in rows) + (codec.model_bytes if adjusted else 0),
                sum(r.compress_seconds for r in rows),
                sum(r.decompress_seconds for r in rows),
                all(r.verified for r in rows),
            )
        )
    return results

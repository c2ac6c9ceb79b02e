"""Runs every compressor on every file, verifies each round trip and measures sizes and times."""

from __future__ import annotations

import functools
import importlib
import io
import itertools
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import modes
from ..cli.job import Job, Sizes
from ..inputs import find_files
from ..levels import DEFAULT_LEVEL, LEVELS
from ..prior import Prior
from ..progress import Bar, View
from ..stream import Compressor

TOTAL = "total"


@dataclass
class Codec:
    """A compressor as two functions on bytes.

    model_bytes: size of the models that its decoder needs. view: from the bytes of content to the
    progress of the current call, if the compressor reports it.
    """

    name: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]
    model_bytes: int = 0
    view: Callable[[int], View] = lambda total: View(0)


@dataclass
class Result:
    """One codec on one file; sizes in bytes, times in seconds of wall clock."""

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
        """Bytes of content per second."""
        return self.size / max(self.compress_seconds, 1e-9)

    @property
    def decompress_speed(self) -> float:
        """Bytes of content per second."""
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


def _nzip(
    name: str,
    threads: int | None,
    mode: str,
    level: int = DEFAULT_LEVEL,
    model: str | None = None,
    **options: Any,
) -> Codec:
    sizes = Sizes()

    def transform(data: bytes, make: Callable[[], Compressor] | None) -> bytes:
        sizes.begin("" if make else "decompressing")
        return b"".join(Job(make, threads).transform(io.BytesIO(data), sizes))

    def make() -> Compressor:
        return Compressor(mode, threads=threads, level=level, model=model, **options)

    return Codec(
        name,
        lambda data: transform(data, make),
        lambda data: transform(data, None),
        sum(path.stat().st_size for path in modes.model_files(mode, level, model)),
        sizes.view,
    )


def _gzip(level: int) -> Codec:
    import gzip

    return Codec(f"gzip -{level}", lambda data: gzip.compress(data, level), gzip.decompress)


def _zstd(level: int) -> Codec:
    import zstandard

    return Codec(
        f"zstd -{level}",
        lambda data: zstandard.ZstdCompressor(level).compress(data),
        lambda data: zstandard.ZstdDecompressor().decompress(data),
    )


def _with_prior(prior: Prior, threads: int | None, level: int, model: str | None) -> list[Codec]:
    """nzip with the prior, and zstd with the same bytes as its dictionary."""
    import zstandard

    mine = _nzip(f"nzip -{level} -D", threads, "ac", level, model, prior=prior)
    samples = zstandard.ZstdCompressionDict(prior.samples)
    theirs = Codec(
        "zstd -19 -D",
        zstandard.ZstdCompressor(19, dict_data=samples).compress,
        zstandard.ZstdDecompressor(dict_data=samples).decompress,
    )
    for codec in (mine, theirs):
        codec.model_bytes += len(prior.samples)
    return [mine, theirs]


def _xz(level: int, extreme: bool = False) -> Codec:
    import lzma

    name = f"xz -{level}{'e' if extreme else ''}"
    preset = level | (lzma.PRESET_EXTREME if extreme else 0)
    return Codec(name, lambda data: lzma.compress(data, preset=preset), lzma.decompress)


def _bzip2() -> Codec:
    import bz2

    return Codec("bzip2 -9", bz2.compress, bz2.decompress)


def _brotli(quality: int) -> list[Codec]:
    try:
        brotli = importlib.import_module("brotli")
    except ImportError:
        return []
    return [
        Codec(
            f"brotli -{quality}",
            lambda data: brotli.compress(data, quality=quality),
            brotli.decompress,
        )
    ]


def _program(program: str, name: str, pack: list[str], unpack: list[str]) -> list[Codec]:
    """A program, if it is on the PATH.

    In its arguments IN and OUT are files in the folder it runs in, which is otherwise empty. The
    times include its start.
    """
    if not shutil.which(program):
        return []

    def call(arguments: list[str], data: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "IN").write_bytes(data)
            subprocess.run(arguments, cwd=folder, check=True, capture_output=True)
            return Path(folder, "OUT").read_bytes()

    return [Codec(name, lambda data: call(pack, data), lambda data: call(unpack, data))]


def _programs(threads: int | None) -> list[Codec]:
    """Those of bzip3, zpaq, kanzi, 7z and paq8px that are installed."""
    count = threads or os.cpu_count() or 1

    def zpaq(level: int) -> list[Codec]:
        add = ["zpaq", "add", "OUT.zpaq", "IN", f"-m{level}", f"-t{count}"]
        take = ["zpaq", "extract", "IN.zpaq", "IN", "-to", "OUT", f"-t{count}"]
        pack = ["sh", "-c", shlex.join(add) + " && mv OUT.zpaq OUT"]
        unpack = ["sh", "-c", "mv IN IN.zpaq && " + shlex.join(take)]
        return _program("zpaq", f"zpaq -m{level}", pack, unpack)

    seven = ["7z", "a", "-m0=PPMd:o=16:mem=256m", f"-mmt={count}", "-t7z", "OUT.7z", "IN"]

    def kanzi(level: int) -> list[Codec]:
        add = ["kanzi", "-c", "-i", "IN", "-o", "OUT", "-l", str(level), "-j", str(count), "-f"]
        take = ["kanzi", "-d", "-i", "IN", "-o", "OUT", "-j", str(count), "-f"]
        return _program("kanzi", f"kanzi -l {level}", add, take)

    return [
        *_program(
            "bzip3",
            "bzip3",
            ["bzip3", "-e", "-f", "-b", "16", "-j", str(count), "IN", "OUT"],
            ["bzip3", "-d", "-f", "-j", str(count), "IN", "OUT"],
        ),
        *zpaq(3),
        *zpaq(5),
        *kanzi(5),
        *kanzi(7),
        *kanzi(9),
        *_program(
            "7z",
            "7z PPMd",
            ["sh", "-c", shlex.join(seven) + " && mv OUT.7z OUT"],
            ["sh", "-c", "7z e -so IN > OUT"],
        ),
        *_program(
            "paq8px", "paq8px -8", ["paq8px", "-8", "IN", "OUT"], ["paq8px", "-d", "IN", "OUT"]
        ),
    ]


def codecs(
    *,
    level: int,
    threads: int | None,
    model: str | None = None,
    only: str | None = None,
    frontier: bool = False,
    prior: Prior | None = None,
) -> list[Codec]:
    """The compressors to compare: nzip's modes and the usual ones.

    only: names separated by commas, instead. frontier: every level of nzip, and several of each
    compressor that is installed. prior: also nzip with this prior and zstd with its samples. Raises
    ValueError for an unknown name.
    """
    usual = [
        _nzip("nzip ac", threads, "ac", level, model),
        *(_with_prior(prior, threads, level, model) if prior else ()),
        _nzip("nzip static", threads, "static"),
        _nzip("nzip eqinfo 16", threads, "eqinfo", model=model, window=16),
        _nzip("nzip eqinfo 32", threads, "eqinfo", model=model, window=32),
        _gzip(9),
        _zstd(3),
        _zstd(19),
        _xz(9, extreme=True),
        *_brotli(11),
    ]
    more = [
        *(_nzip(f"nzip -{n}", threads, "ac", n) for n in LEVELS),
        _gzip(1),
        _gzip(6),
        _zstd(1),
        _zstd(9),
        _zstd(22),
        _xz(6),
        _bzip2(),
        *_brotli(5),
        *_brotli(9),
        *_programs(threads),
    ]
    if only is None:
        plain = [codec for codec in usual if not codec.name.startswith("nzip")]
        return [*more, *plain] if frontier else usual
    found = {codec.name: codec for codec in (*usual, *more)}
    wanted = [name.strip() for name in only.split(",")]
    unknown = set(wanted) - set(found)
    if unknown:
        known = ", ".join(found)
        raise ValueError(f"no such compressor: {', '.join(sorted(unknown))} (known: {known})")
    return [found[name] for name in wanted]


def measure(codec: Codec, name: str, data: bytes) -> Result:
    """Compress a text with a codec, decompress it, and compare."""
    start = time.perf_counter()
    packed = codec.compress(data)
    middle = time.perf_counter()
    unpacked = codec.decompress(packed)
    end = time.perf_counter()
    return Result(
        name, codec.name, len(data), len(packed), middle - start, end - middle, unpacked == data
    )


def run(
    paths: list[Path],
    codecs: list[Codec],
    *,
    adjusted: bool = False,
    progress: bool | None = False,
) -> list[Result]:
    """Run every codec on every file, then add the totals.

    adjusted: add the size of models to the totals. progress: show a bar on stderr; None: if stderr
    is a terminal. Raises OSError.
    """
    results: list[Result] = []
    files = find_files(paths)
    runs = itertools.count(1)
    for path in files:
        data = path.read_bytes()
        for codec in codecs:
            name = f"{next(runs)} of {len(files) * len(codecs)}: {codec.name}"
            with Bar(name, functools.partial(codec.view, len(data)), progress):
                if data:
                    results.append(measure(codec, str(path), data))
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

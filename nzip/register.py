"""``nzip.register()``: makes ``.nz`` known to programs that look at suffixes."""

from __future__ import annotations

import shutil
import tarfile
from typing import IO, Any

from .nzipfile import NzipFile


def _unpack(filename: str, extract_dir: str, **options: Any) -> None:
    """For shutil: a compressed tar archive. Members that would leave the folder are refused."""
    options.setdefault("filter", "data")
    with NzipFile(filename) as file, tarfile.open(fileobj=file, mode="r|") as archive:
        archive.extractall(extract_dir, **options)


def _open(file: IO[bytes], mode: str = "rb", **options: Any) -> Any:
    """For fsspec and smart_open."""
    return NzipFile(file, mode if "b" in mode else mode + "b", **options)


def register() -> list[str]:
    """Register ``.nz`` with those of fsspec, smart_open and shutil that are there; returns which.

    Then ``fsspec.open("x.nz", compression="infer")``, ``smart_open.open("x.nz")`` and
    ``shutil.unpack_archive("x.tar.nz")`` work, and what is built on them. To call it again does
    nothing.
    """
    done = []
    if "nztar" not in {row[0] for row in shutil.get_unpack_formats()}:
        shutil.register_unpack_format("nztar", [".tar.nz"], _unpack, [], "nzip'ed tar file")
    done.append("shutil")
    try:
        from fsspec.compression import compr, register_compression
    except ImportError:
        pass
    else:
        if "nzip" not in compr:
            register_compression("nzip", _open, "nz")
        done.append("fsspec")
    try:
        from smart_open import register_compressor
    except ImportError:
        pass
    else:
        register_compressor(".nz", _open)
        done.append("smart_open")
    return done

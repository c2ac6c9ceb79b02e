"""``nzip.register()``: makes ``.nz`` known to libraries that go by the suffix."""

from __future__ import annotations

import shutil
import tarfile
from typing import IO, Any

from .nzipfile import NzipFile


def _unpack(filename: str, extract_dir: str, **options: Any) -> None:
    """Unpack a compressed tar archive, for shutil; refuse members that would leave the folder."""
    options.setdefault("filter", "data")
    with NzipFile(filename) as file, tarfile.open(fileobj=file, mode="r|") as archive:
        archive.extractall(extract_dir, **options)


def _open(file: IO[bytes], mode: str = "rb", **options: Any) -> Any:
    """Open a compressed file object, for fsspec and smart_open."""
    return NzipFile(file, mode if "b" in mode else mode + "b", **options)


def register() -> list[str]:
    """Register ``.nz`` with shutil, fsspec and smart_open, as far as they are installed.

    Returns the names of those it was registered with. After that
    ``shutil.unpack_archive("x.tar.nz")``, ``fsspec.open("x.nz", compression="infer")`` and
    ``smart_open.open("x.nz")`` work, and so does everything built on them. Calling it again does no
    harm.
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

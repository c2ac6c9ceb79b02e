"""nzip: neural text compression that is lossless and bit-exact on every machine.

>>> import nzip
>>> nzip.decompress(nzip.compress(b"to be, or not to be")) == b"to be, or not to be"
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import (
    ChecksumError,
    FormatError,
    LimitError,
    ModelFileError,
    ModelNotFoundError,
    NzipError,
    PriorNotFoundError,
    TruncatedError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from .nzipfile import NzipFile, open
    from .prior import Prior
    from .register import register
    from .stream import Compressor, Decompressor, compress, decompress

__version__ = "0.1.0"

__all__ = [
    "ChecksumError",
    "Compressor",
    "Decompressor",
    "FormatError",
    "LimitError",
    "ModelFileError",
    "ModelNotFoundError",
    "NzipError",
    "NzipFile",
    "Prior",
    "PriorNotFoundError",
    "TruncatedError",
    "UnsupportedError",
    "__version__",
    "compress",
    "decompress",
    "open",
    "register",
]

_LATE = {
    "Compressor": "stream",
    "Decompressor": "stream",
    "compress": "stream",
    "decompress": "stream",
    "NzipFile": "nzipfile",
    "open": "nzipfile",
    "Prior": "prior",
    "register": "register",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562), so that ``import nzip`` stays quick."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_LATE[name]}", __name__), name)
    globals()[name] = value
    return value

"""Every error that nzip raises on purpose."""

from __future__ import annotations


class NzipError(ValueError):
    """Base of nzip's errors."""


class FormatError(NzipError):
    """The input is not an nzip frame, or breaks a rule of the format."""


class ChecksumError(FormatError):
    """A stored checksum does not match: the data are damaged."""


class TruncatedError(FormatError, EOFError):
    """The input ends inside a frame."""


class UnsupportedError(FormatError):
    """The frame is well-formed, but of a version or mode that this release does not know."""


class ModelNotFoundError(NzipError, LookupError):
    """The model named by a frame or by the caller is not installed."""


class PriorNotFoundError(NzipError, LookupError):
    """No prior with the hash that a frame names is in use."""


class ModelFileError(NzipError):
    """A model file is malformed, or holds a number out of range."""


class LimitError(NzipError):
    """The output or the memory needed exceeds the limit that the caller set."""


# What Python raises for JSON and settings that do not have the expected shape.
MALFORMED = (
    *(ValueError, KeyError, TypeError, AttributeError),
    *(IndexError, OverflowError, RecursionError),
)


def describe(error: BaseException) -> str:
    """The message of an error, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "out of memory"
    return " ".join(str(error).split()) or type(error).__name__

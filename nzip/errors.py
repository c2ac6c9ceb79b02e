"""Every error that nzip raises on purpose."""

from __future__ import annotations


class NzipError(ValueError):
    """Base of nzip's errors."""


class FormatError(NzipError):
    """The input is not an nzip frame, or breaks a rule of the format."""


class ChecksumError(FormatError):
    """A stored checksum does not match: the data were damaged."""


class TruncatedError(FormatError, EOFError):
    """The input ends before its frame does."""


class UnsupportedError(FormatError):
    """A well-formed frame of a version or mode that this release does not know."""


class ModelNotFoundError(NzipError, LookupError):
    """The model that a frame or a caller names is not installed."""


class PriorNotFoundError(NzipError, LookupError):
    """The prior that a frame names is not in use."""


class ModelFileError(NzipError):
    """A model file that is malformed or holds a number outside its range."""


class LimitError(NzipError):
    """The output would exceed the limit that the caller set."""


# What Python raises for JSON and settings of any other shape than the expected one.
MALFORMED = (
    *(ValueError, KeyError, TypeError, AttributeError),
    *(IndexError, OverflowError, RecursionError),
)


def describe(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "out of memory"
    return " ".join(str(error).split()) or type(error).__name__

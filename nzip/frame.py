"""The byte layout of a .nz file, and nothing else.

Part of the format: specified in docs/format.md and pinned by the golden frames. Existing files were
written with the numbers here.
"""

from __future__ import annotations

from dataclasses import dataclass
from mmap import mmap
from zlib import crc32

from .errors import ChecksumError, FormatError, TruncatedError, UnsupportedError

Data = bytes | bytearray | mmap  # what can be parsed

MAGIC = b"\x8fNZ"  # not ASCII, not UTF-8
VERSION = 1
SKIPPABLE = b"\x2a\x4d\x18"  # bytes 1..3 of a skippable frame; byte 0 is 0x50..0x5f

# The coding of a frame's blocks (low half of byte 3).
AC_LIGHT = 1  # M1 mixed with models that learn from the block, in three profiles
AC_FULL = 2  # with the numbers of engine.h
AC_DEEP = 3
STATIC = 4
EQINFO = 5
AC_PLAIN = 6  # M1 alone
MIXED = (AC_LIGHT, AC_FULL, AC_DEEP)
PROFILES = {AC_LIGHT: "light", AC_FULL: "full", AC_DEEP: "deep"}
CODINGS = {**dict.fromkeys((*MIXED, AC_PLAIN), "ac"), STATIC: "static", EQINFO: "eqinfo"}
WITH_PRIOR = 8  # added to one of MIXED: a prior is read before each block
WITH_MODEL = {*MIXED, AC_PLAIN, EQINFO}

# Types of block.
STORED = 0
CODED = 1
RUN = 2  # one byte, repeated
WITHOUT_M1 = 3  # coded without M1, only in a frame whose coding is one of MIXED

# How other programs' files begin.
OTHERS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\3\4": "zip",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
}

MAX_BLOCK = 1 << 26  # bytes of content in a block
MIN_WINDOW = 8
MAX_WINDOW = 64
MAX_DICTIONARY = 20  # bits of a dictionary's windows; 2^20 windows take about 10 MB of memory
DEFAULT_WINDOW = 16
MAX_RESET_EVERY = 255  # windows
MODEL_PREFIX = 2  # bytes of the model's SHA-256 in the header, and of the prior's
SHORT_CHECK = 1 << 16  # content shorter than this has a check of 2 bytes, else of 4


@dataclass(frozen=True)
class Header:
    """A frame's header: what comes before its first block."""

    coding: int
    model: bytes = b""  # first bytes of the model's digest
    window: int = 0  # bits, for eqinfo
    reset_every: int = 1  # windows after which M1 is reset, for eqinfo; 0: never
    prior: bytes = b""  # first bytes of the prior's digest

    def pack(self) -> bytes:
        """The header's bytes."""
        window = bytes([self.window]) if self.coding == EQINFO else b""
        if self.coding == EQINFO and self.reset_every != 1:
            window = bytes([self.window | 128, self.reset_every])
        coding = self.coding | (WITH_PRIOR if self.prior else 0)
        return MAGIC + bytes([VERSION << 4 | coding]) + self.model + self.prior + window


@dataclass(frozen=True)
class Block:
    """A parsed block header; the payload lies from ``start`` to ``end`` (exclusive)."""

    kind: int
    last: bool
    size: int  # bytes of content
    crc: int
    head: bytes  # the bytes of the header that the CRC covers
    start: int
    end: int


def _need(data: Data, end: int) -> None:
    if len(data) < end:
        raise TruncatedError("the input ends inside a frame")


def check_reset_every(windows: int) -> None:
    """Raise ValueError unless a header can state this number of windows between resets."""
    if not 0 <= windows <= MAX_RESET_EVERY:
        raise ValueError(
            f"M1 is reset every 1 to {MAX_RESET_EVERY} windows, or never (0), not {windows}"
        )


def parse_header(data: Data, at: int = 0) -> tuple[Header, int]:
    """Parse the frame header at ``at``: (header, position after it).

    Raises TruncatedError, FormatError and UnsupportedError.
    """
    if bytes(data[at : at + 3]) != MAGIC[: max(0, len(data) - at)][:3]:
        other = next(
            (name for magic, name in OTHERS.items() if data[at : at + len(magic)] == magic), None
        )
        raise FormatError("not an nzip file" + (f"; it looks like one of {other}" if other else ""))
    _need(data, at + 4)
    version, coding = data[at + 3] >> 4, data[at + 3] & 15
    if version != VERSION:
        raise UnsupportedError(f"format version {version}; this nzip reads version {VERSION}")
    has_prior = coding - WITH_PRIOR in MIXED
    if has_prior:
        coding -= WITH_PRIOR
    if coding not in CODINGS:
        raise UnsupportedError(f"unknown coding {coding}")
    at += 4
    model = prior = b""
    if coding in WITH_MODEL:
        _need(data, at + MODEL_PREFIX)
        model = bytes(data[at : at + MODEL_PREFIX])
        at += MODEL_PREFIX
    if has_prior:
        _need(data, at + MODEL_PREFIX)
        prior = bytes(data[at : at + MODEL_PREFIX])
        at += MODEL_PREFIX
    window, reset_every = 0, 1
    if coding == EQINFO:
        _need(data, at + 1)
        window = data[at] & 127
        at += 1
        if data[at - 1] & 128:
            _need(data, at + 1)
            reset_every = data[at]
            at += 1
            if reset_every == 1:
                raise FormatError("a reset at each window must be left out of the header")
        if not MIN_WINDOW <= window <= MAX_WINDOW:
            raise FormatError(f"a window of {window} bits (allowed: {MIN_WINDOW} to {MAX_WINDOW})")
    return Header(coding, model, window, reset_every, prior), at


def is_skippable(data: Data, at: int = 0) -> bool:
    """True if a skippable frame starts at ``at``."""
    return len(data) >= at + 4 and data[at] >> 4 == 5 and bytes(data[at + 1 : at + 4]) == SKIPPABLE


def skippable_end(data: Data, at: int = 0) -> int:
    """The position after the skippable frame at ``at``, even if the data end before it."""
    _need(data, at + 8)
    return at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")


def skippable(payload: bytes) -> bytes:
    """A frame that decoders skip."""
    return b"\x50" + SKIPPABLE + len(payload).to_bytes(4, "little") + payload


def pack_varint(value: int) -> bytes:
    """Write a number below 2^35 with seven bits per byte, low bits first."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def parse_varint(data: Data, at: int) -> tuple[int, int]:
    """Read what pack_varint wrote: (number, position after it).

    Raises TruncatedError and FormatError.
    """
    value = 0
    for group in range(5):
        _need(data, at + 1)
        byte = data[at]
        at += 1
        value |= (byte & 127) << (7 * group)
        if byte < 128:
            if byte == 0 and group:
                raise FormatError("a number in a block header is longer than necessary")
            return value, at
    raise FormatError("a number in a block header is too large")


def block_seed(header: bytes, digest: bytes, index: int) -> int:
    """The CRC of what ties block ``index`` to its place, with which the block's own CRC begins.

    It covers ``digest`` (the model's, followed by the prior's), the frame's header, and the number.
    """
    return crc32((index & 0xFFFFFFFF).to_bytes(4, "little"), crc32(header, crc32(digest)))


def pack_head(kind: int, last: bool, size: int) -> bytes:
    """The first number of a block: its size, type, and whether it is the last."""
    return pack_varint(size << 3 | kind << 1 | last)


def pack_block(kind: int, last: bool, size: int, payload: bytes, seed: int) -> bytes:
    """A complete block: header, CRC and payload."""
    head = pack_head(kind, last, size)
    if kind in (CODED, WITHOUT_M1):
        head += pack_varint(len(payload))
    return head + crc32(payload, crc32(head, seed)).to_bytes(4, "little") + payload


def parse_block(data: Data, at: int) -> Block:
    """Parse the block header at ``at``. Raises TruncatedError and FormatError."""
    first = at
    value, at = parse_varint(data, at)
    size, kind, last = value >> 3, value >> 1 & 3, bool(value & 1)
    if size > MAX_BLOCK:
        raise FormatError(f"a block of {size} bytes (allowed: {MAX_BLOCK})")
    length = 1 if kind == RUN else size
    if kind in (CODED, WITHOUT_M1):
        length, at = parse_varint(data, at)
        if length >= size:
            raise FormatError("a coded block that is not shorter than its content")
    if size == 0 and not (last and kind == STORED):
        raise FormatError("an empty block that is not the last one")
    head = bytes(data[first:at])
    _need(data, at + 4)
    crc = int.from_bytes(data[at : at + 4], "little")
    return Block(kind, last, size, crc, head, at + 4, at + 4 + length)


def check_block(block: Block, payload: bytes | memoryview, seed: int) -> None:
    """Raise ChecksumError if the block is damaged."""
    if crc32(payload, crc32(block.head, seed)) != block.crc:
        raise ChecksumError("a block is damaged (its CRC does not match)")


def check_width(total: int) -> int:
    """Bytes of the content check after the last block."""
    return 2 if total < SHORT_CHECK else 4


def pack_check(crc: int, total: int) -> bytes:
    """The content check: the low bytes of the CRC-32 of all content."""
    return crc.to_bytes(4, "little")[: check_width(total)]

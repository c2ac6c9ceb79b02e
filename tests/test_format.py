"""The frame's layout, its limits, and the format document's constants."""

import re
from pathlib import Path
from random import Random
from zlib import crc32

import pytest

import nzip
from nzip import frame, models

DOCUMENT = (Path(__file__).parents[1] / "docs" / "format.md").read_text()


def test_the_layout_of_a_small_frame_byte_by_byte():
    data = b"\xff\x00"  # so unlikely that the code would not be shorter
    digest = models.load(models.SMALL).digest
    head = b"\x8fNZ\x12" + digest[:2]
    block = bytes([2 << 3 | 0 << 1 | 1])
    crc = crc32(data, crc32(block, crc32(bytes(4), crc32(head, crc32(digest)))))
    expected = head + block + crc.to_bytes(4, "little") + data
    expected += (crc32(data) & 0xFFFF).to_bytes(2, "little")
    assert nzip.compress(data) == expected


def test_long_content_has_a_check_of_four_bytes():
    for size, width in ((65535, 2), (65536, 4)):
        data = bytes(size)
        packed = nzip.compress(data, "static")
        assert packed.endswith(crc32(data).to_bytes(4, "little")[:width])
        assert frame.check_width(size) == width


SIZES = [0, 1, 15, 16, 2047, 2048, (1 << 18) - 1, 1 << 18, 1 << 25, 1 << 26]


@pytest.mark.parametrize("size", SIZES)
def test_block_headers_around_every_varint_limit(size):
    for kind in (frame.STORED, frame.RUN, frame.CODED):
        if size == 0 and kind != frame.STORED:
            continue
        payload = {frame.STORED: bytes(min(size, 9)), frame.RUN: b"r", frame.CODED: b""}[kind]
        block = frame.parse_block(frame.pack_block(kind, True, size, payload, 5), 0)
        assert (block.kind, block.last, block.size) == (kind, True, size)
        assert block.crc == crc32(payload, crc32(block.head, 5))


def head(value: int) -> bytes:
    return frame.pack_varint(value)


BAD_BLOCKS = {
    "too large": head(((1 << 26) + 1) << 3),
    "empty, not last": head(0 << 3),
    "empty run": head(0 << 3 | frame.RUN << 1 | 1),
    "coded, not shorter": head(5 << 3 | frame.CODED << 1) + head(5),
    "varint too long": b"\x80\x80\x80\x80\x80\x01",
    "varint padded": b"\x81\x00",
}


@pytest.mark.parametrize("data", BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_block_headers_that_break_a_rule(data):
    with pytest.raises(nzip.FormatError) as caught:
        frame.parse_block(data + bytes(20), 0)
    assert not isinstance(caught.value, nzip.TruncatedError)


def test_headers_that_break_a_rule():
    for data in (b"", b"x", b"\x8f", b"PK\x03\x04"):
        with pytest.raises((nzip.FormatError, nzip.TruncatedError)):
            nzip.decompress(data)
    for byte in (0x01, 0x21, 0xF1, 0x10, 0x17, 0x1F):  # versions and codings not in use
        with pytest.raises(nzip.UnsupportedError):
            nzip.decompress(b"\x8fNZ" + bytes([byte]) + bytes(40))
    for window in (0, 7, 65, 128, 193):
        with pytest.raises(nzip.FormatError, match="bits"):
            nzip.decompress(b"\x8fNZ\x15" + bytes([0, 0, window]) + bytes(40))


def test_a_model_that_is_not_installed_is_named():
    digest = models.load().digest
    other = bytes([digest[0] ^ 1, digest[1]])
    with pytest.raises(nzip.ModelNotFoundError, match=other.hex()):
        nzip.decompress(b"\x8fNZ\x11" + other + bytes(40))


@pytest.fixture(scope="module")
def three_blocks():
    """A frame of three stored blocks, the first two of equal size."""
    random = Random(1).randbytes(2 * (1 << 16) + 100)
    return nzip.compress(random, level=1, block_size=1 << 16)


def test_blocks_are_bound_to_their_place(three_blocks):
    data = three_blocks
    _, at = frame.parse_header(data)
    first = frame.parse_block(data, at)
    second = frame.parse_block(data, first.end)
    assert (first.kind, first.last, first.head) == (frame.STORED, False, second.head)
    swapped = data[:at] + data[first.end : second.end] + data[at : first.end] + data[second.end :]
    assert len(swapped) == len(data)
    with pytest.raises(nzip.ChecksumError, match="a block is damaged"):
        nzip.decompress(swapped)
    with pytest.raises(nzip.ChecksumError, match="a block is damaged"):  # the second one twice
        nzip.decompress(data[:at] + data[first.end : second.end] + data[first.end :])


def test_blocks_are_bound_to_their_header_and_model(three_blocks, monkeypatch):
    other = bytearray(three_blocks)
    other[3] += 1  # another profile
    with pytest.raises(nzip.ChecksumError, match="a block is damaged"):
        nzip.decompress(bytes(other))
    right, wrong = models.load(models.NANO), models.load(models.BASE)
    for known in ([wrong, right], [right, wrong]):  # their hashes share the first two bytes
        monkeypatch.setattr(models, "by_prefix", lambda prefix, known=known: known)
        assert len(nzip.decompress(three_blocks)) == 2 * (1 << 16) + 100
    monkeypatch.setattr(models, "by_prefix", lambda prefix: [wrong])
    with pytest.raises(nzip.ChecksumError, match="a block is damaged"):
        nzip.decompress(three_blocks)


def test_skippable_frames_have_sixteen_first_bytes():
    frames = {byte: bytes([byte]) + frame.skippable(b"note")[1:] for byte in range(256)}
    assert [b for b, data in frames.items() if frame.is_skippable(data)] == [*range(0x50, 0x60)]
    for byte in range(0x50, 0x60):
        assert nzip.decompress(frames[byte] + nzip.compress(b"x", "static")) == b"x"


@pytest.mark.parametrize(
    ("stated", "fields"),
    [(b"\x10", (16, 1)), (b"\x90\x00", (16, 0)), (b"\x90\x02", (16, 2)), (b"\xc0\xff", (64, 255))],
)
def test_resets_of_windows_in_a_header(stated, fields):
    header, end = frame.parse_header(b"\x8fNZ\x15ab" + stated + bytes(9))
    assert (header.window, header.reset_every, end) == (*fields, 6 + len(stated))
    assert header.pack() == b"\x8fNZ\x15ab" + stated


def test_a_reset_at_each_window_is_not_stated():
    with pytest.raises(nzip.FormatError, match="each window"):
        frame.parse_header(b"\x8fNZ\x15ab\x90\x01" + bytes(9))


def test_the_largest_number_in_a_block_header():
    assert frame.parse_varint(frame.pack_varint((1 << 35) - 1), 0) == ((1 << 35) - 1, 5)
    with pytest.raises(nzip.FormatError, match="too large"):
        frame.parse_varint(b"\xff\xff\xff\xff\xff\x00", 0)


def test_the_document_states_the_codes_constants():
    def stated(name: str) -> int:
        found = re.search(rf"\| `{name}` \| ([0-9a-fx,]+) \|", DOCUMENT)
        assert found, name
        return int(found.group(1).replace(",", ""), 0)

    for name in ("VERSION", "MAX_BLOCK", "MIN_WINDOW", "MAX_WINDOW", "SHORT_CHECK"):
        assert stated(name) == getattr(frame, name)
    for name in (
        *["AC_LIGHT", "AC_FULL", "AC_DEEP", "AC_PLAIN", "STATIC", "EQINFO"],
        *["STORED", "CODED", "RUN", "WITHOUT_M1"],
    ):
        assert stated(name) == getattr(frame, name)
    assert frame.MAGIC.hex(" ") in DOCUMENT


@pytest.mark.parametrize("name", ["gzip", "bz2", "lzma", "zstandard"])
def test_files_of_other_programs_are_named(name):
    module = pytest.importorskip(name)
    said = {"bz2": "bzip2", "lzma": "xz", "zstandard": "zstd"}.get(name, name)
    with pytest.raises(nzip.FormatError, match=f"looks like one of {said}"):
        nzip.decompress(module.compress(b"some text"))

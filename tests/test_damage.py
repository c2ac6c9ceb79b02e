"""Every truncation and every flipped byte of a small file is an error, never silent."""

import contextlib
import io

import pytest
from conftest import ENGLISH

import nzip

TEXT = ENGLISH[:120]
FRAMES = {
    "ac": nzip.compress(TEXT),
    "ac M1 alone": nzip.compress(TEXT, adapt=False),
    "ac without M1": nzip.compress(TEXT * 2, level=1),
    "static": nzip.compress(TEXT * 6, "static"),
    "eqinfo": nzip.compress(TEXT, "eqinfo"),
    "stored": nzip.compress(bytes(range(40)), "static"),
    "run": nzip.compress(bytes(1000)),
    "empty": nzip.compress(b""),
}


@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
def test_every_truncation_is_an_error(data):
    for size in range(len(data)):
        with pytest.raises(nzip.NzipError):
            nzip.decompress(data[:size])


@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
def test_every_flipped_byte_is_an_error(data):
    for at in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[at] ^= flip
            with pytest.raises(nzip.NzipError):
                nzip.decompress(bytes(damaged))


def test_a_cut_exactly_after_a_block_is_an_error():
    text = bytes(1 << 19) + b"x" * 1000
    data = nzip.compress(text, "static")
    from nzip import frame

    _, at = frame.parse_header(data)
    end = frame.parse_block(data, at).end
    with pytest.raises(nzip.TruncatedError):
        nzip.decompress(data[:end])


def test_a_wrong_content_check_is_an_error_although_all_blocks_are_sound():
    text = bytes(1 << 16) + TEXT
    data = nzip.compress(text, "static", block_size=1 << 16)
    data = data[:-2] + bytes([data[-2] ^ 1, data[-1]])
    with pytest.raises(nzip.ChecksumError, match="content"):
        nzip.decompress(data)
    got, source = [], io.BytesIO(data)
    with pytest.raises(nzip.ChecksumError):
        got.extend(nzip.stream.decompress_chunks(lambda size: source.read(1)))
    assert b"".join(got) == text[: 1 << 16]  # the last block waits for the check


def test_arbitrary_code_after_a_valid_checksum_never_crashes():
    """What a hostile encoder could write: any payload, with correct checksums."""
    import random

    from nzip import frame, models, modes
    from nzip._predict import Watch

    rng = random.Random(3)
    m1 = models.load()
    for mode in (
        modes.Ac(m1, frame.AC_LIGHT),
        modes.Ac(m1, frame.AC_PLAIN),
        modes.Ac(None, frame.AC_LIGHT),
        modes.Static(),
        modes.EqInfo(m1, 16),
        modes.EqInfo(m1, 64),
    ):
        for size in (1, 2, 50, 200):
            for length in (0, 1, size // 2, size):
                code = rng.randbytes(length)
                with contextlib.suppress(nzip.FormatError):
                    assert len(mode.decode(code, size, Watch())) == size

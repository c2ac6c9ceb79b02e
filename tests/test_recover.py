"""The intact blocks of a damaged file are written, and what is missing is reported."""

import random

import pytest
from conftest import ENGLISH

import nzip
from nzip import frame, levels, recover

SIZE = 1 << 19  # of a block of `static` and of level 1
RNG = random.Random(5)
TEXT = bytes(RNG.choices(b"abcdefghijklmno \n", k=4 * SIZE + 1000))
BLOCKS = [TEXT[i : i + SIZE] for i in range(0, len(TEXT), SIZE)]


def heads(data: bytes) -> list[tuple[frame.Block, int]]:
    """The blocks of a frame, each with the offset of its header."""
    _, at = frame.parse_header(data)
    found = []
    while True:
        block = frame.parse_block(data, at)
        found.append((block, at))
        if block.last:
            return found
        at = block.end


def flipped(data: bytes, *places: int) -> bytes:
    out = bytearray(data)
    for at in places:
        out[at] ^= 0x41
    return bytes(out)


def recovered(data: bytes, threads: int | None = None) -> tuple[bytes, list[str]]:
    recovery = recover.Recovery(data, threads)
    content = b"".join(recovery.content())
    assert len(content) == recovery.size == recovery.workers.done
    return content, recovery.lost


@pytest.fixture(scope="module")
def data() -> bytes:
    return nzip.compress(TEXT, "static")


def without(*numbers: int) -> bytes:
    return b"".join(block for i, block in enumerate(BLOCKS) if i not in numbers)


@pytest.mark.parametrize("threads", [1, 2])
def test_sound_files_lose_nothing(data, threads):
    assert recovered(data, threads=threads) == (TEXT, [])
    assert recovered(frame.skippable(b"x" * 9) + data + nzip.compress(b"two") + bytes(50)) == (
        TEXT + b"two",
        [],
    )


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("part", ["head", "crc", "payload"])
def test_one_damaged_block_is_left_out_and_named(data, number, part):
    block, at = heads(data)[number]
    place = {"head": at, "crc": block.start - 1, "payload": block.start + 100}[part]
    content, lost = recovered(flipped(data, place))
    assert content == without(number)
    first = f"{number * SIZE:,}"
    last = f"{min((number + 1) * SIZE, len(TEXT)) - 1:,}"
    if number == 4 and part == "head":  # its size is lost too
        assert lost == [
            f"frame 1, block 4 and what follows (file bytes {at:,} to {len(data) - 1:,}):"
            f" content from byte {first} on missing"
        ]
    else:
        assert lost == [
            f"frame 1, block {number} (file bytes {at:,} to {block.end - 1:,}):"
            f" content bytes {first} to {last} missing"
        ]


@pytest.mark.slow
def test_gaps_can_be_filled_with_zeros(nzip_cli, tmp_path, data):
    """After a gap of known size, content keeps its position; after any other gap it follows on."""
    blocks = heads(data)
    damaged = flipped(data, blocks[1][1], blocks[2][0].start, blocks[3][0].start)
    wanted = BLOCKS[0] + bytes(3 * SIZE) + BLOCKS[4]
    recovery = recover.Recovery(damaged, 2)
    with pytest.raises(nzip.LimitError):
        next(recovery.content(len(TEXT) - 1, fill=True))
    assert b"".join(recovery.content(len(TEXT), fill=True)) == wanted
    path = tmp_path / "text.nz"
    path.write_bytes(damaged)
    done = nzip_cli("decompress", "--recover", "--fill", path)
    assert (done.returncode, done.stderr.count(b"blocks 1 to 3")) == (1, 1)
    assert (tmp_path / "text").read_bytes() == wanted
    assert nzip_cli("decompress", "--fill", path).returncode == 2
    cut = recover.Recovery(data[: blocks[3][0].start + 50])
    assert b"".join(cut.content(fill=True)) == b"".join(BLOCKS[:3])


def test_neighbours_whose_heads_are_damaged(data):
    blocks = heads(data)
    content, lost = recovered(flipped(data, blocks[1][1], blocks[2][1], blocks[2][0].start + 9))
    assert content == without(1, 2)
    assert len(lost) == 1
    assert "blocks 1 to 2" in lost[0]
    assert f"content bytes {SIZE:,} to {3 * SIZE - 1:,} missing" in lost[0]


@pytest.mark.parametrize("lost", [9, 60])
def test_many_lost_blocks_are_looked_past(lost):
    """Their headers are damaged, so nothing shows where the next one begins."""
    text = RNG.randbytes((lost + 2) << 16)
    blocks = heads(data := nzip.compress(text, "static", block_size=1 << 16))
    content, lines = recovered(flipped(data, *(at for _, at in blocks[1 : lost + 1])))
    assert content == text[: 1 << 16] + text[(lost + 1) << 16 :]
    assert f"blocks 1 to {lost} " in lines[0]
    assert f"content bytes {1 << 16:,} to {((lost + 1) << 16) - 1:,} missing" in lines[0]


def test_recovery_knows_every_size_of_block_that_is_written():
    written = {level.block_size for level in levels.LEVELS.values()} | {levels.PLAIN_BLOCK}
    assert written == recover.BLOCK_SIZES


@pytest.mark.slow
def test_only_the_last_block_is_sound(data):
    damaged = flipped(data, *(at for _, at in heads(data)[:4]))
    assert recovered(damaged)[0] == BLOCKS[4]


@pytest.mark.parametrize("mode", ["ac", "static", "eqinfo"])
def test_a_damaged_frame_header_is_found_again(mode):
    text = ENGLISH * 5
    options = {"window": 24, "reset_every": 0} if mode == "eqinfo" else {}
    data = nzip.compress(text, mode, **options)
    _, end = frame.parse_header(data)
    for place in range(end):
        content, lost = recovered(flipped(data, place))
        assert content == text
        assert lost == [f"frame 1, the header (file bytes 0 to {end - 1}): no content missing"]


@pytest.mark.slow
def test_a_damaged_header_and_first_block(data):
    content, lost = recovered(flipped(data, 1, 3, 30))
    assert content == without(0)
    assert [line.split(" (")[0] for line in lost] == ["frame 1, the header", "frame 1, block 0"]


def test_a_cut_file_gives_its_whole_blocks(data):
    blocks = heads(data)
    content, lost = recovered(data[: blocks[3][0].start + 50])
    assert content == without(3, 4)
    assert "block 3 and what follows" in lost[0]
    content, lost = recovered(data[:-1])
    assert content == TEXT
    assert "content check" in lost[0]


def test_the_other_frames_of_a_file_are_read(data):
    one, two = nzip.compress(b"one" * 30), nzip.compress(b"two" * 30)
    content, lost = recovered(flipped(one, 12) + b"junk" + data + two)
    assert content == TEXT + b"two" * 30
    assert len(lost) == 1
    content, lost = recovered(one + two[:-9] + data)
    assert content == b"one" * 30 + TEXT
    assert len(lost) == 1


def test_bytes_put_in_between_blocks_are_passed_over(data):
    at = heads(data)[2][1]
    content, lost = recovered(data[:at] + b"inserted" + data[at:])
    assert content == TEXT
    assert "bytes in front of block 2" in lost[0]
    assert "no content missing" in lost[0]


def test_a_wrong_content_check_is_said_once_all_is_read(data):
    content, lost = recovered(flipped(data, len(data) - 1))
    assert content == TEXT
    assert lost == ["frame 1: all blocks are intact, but the content check does not match"]


def test_nothing_sound_is_an_error(data):
    for bad in (
        b"",
        b"x",
        bytes(100),
        RNG.randbytes(5000),
        flipped(nzip.compress(ENGLISH[:50]), 15),
    ):
        recovery = recover.Recovery(bad)
        with pytest.raises(nzip.NzipError):
            next(recovery.content())


def test_a_file_of_nothing_but_headers_is_given_up_quickly():
    import time

    data = (frame.Header(frame.STATIC).pack() + b"\x01\x02\x03\x04\x05") * 3000
    began = time.monotonic()
    recovery = recover.Recovery(data)
    with pytest.raises(nzip.NzipError):
        next(recovery.content())
    assert time.monotonic() - began < 60  # quadratic work would take hours


def test_a_limit_holds_before_anything_is_decoded(data):
    with pytest.raises(nzip.LimitError):
        next(recover.Recovery(data).content(max_output=SIZE))


@pytest.mark.slow
def test_any_single_flip_of_a_small_frame_loses_at_most_its_block():
    text = ENGLISH[:150]
    data = nzip.compress(b"first " + text) + nzip.compress(text, "static") + nzip.compress(text)
    for at in range(len(data)):
        content, lost = recovered(flipped(data, at))
        assert lost or content == b"first " + text * 3
        parts = (b"first " + text, text, text)
        assert content in (
            b"".join(parts),
            *(b"".join(p for i, p in enumerate(parts) if i != k) for k in range(3)),
        )


def test_crc_backwards():
    from zlib import crc32

    for size in (0, 1, 5, 100, 4096, 70_001):
        data, seed = RNG.randbytes(size), RNG.getrandbits(32)
        assert recover._undo(crc32(data, seed) ^ crc32(data), size) == seed


def test_command_line(nzip_cli, tmp_path, data):
    block, at = heads(data)[1]
    path = tmp_path / "text.nz"
    path.write_bytes(flipped(data, at + 50))
    done = nzip_cli("test", path)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"nzip: {path}: frame 1, block 1 (file bytes {at:,} to {block.end - 1:,}):"
        f" content bytes {SIZE:,} to {2 * SIZE - 1:,} missing",
        f"nzip: {path}: a block is damaged (its CRC does not match)",
    ]
    assert nzip_cli("decompress", path).returncode == 1
    assert not (tmp_path / "text").exists()
    done = nzip_cli("decompress", "--recover", "--rm", path)
    assert done.returncode == 1
    assert b"block 1" in done.stderr
    assert (tmp_path / "text").read_bytes() == without(1)
    assert path.exists()
    done = nzip_cli("decompress", "--recover", "-c", "-", stdin=flipped(data, at + 50))
    assert done.stdout == without(1)
    assert done.returncode == 1
    done = nzip_cli("decompress", "--recover", stdin=data)
    assert (done.stdout, done.stderr, done.returncode) == (TEXT, b"", 0)

"""The same frame for any chunks and any number of threads; incremental objects; limits."""

import io
import pickle
import random

import pytest
from conftest import TEXTS

import nzip
from nzip import frame, modes, stream, workers

BLOCK = 1 << 16
TEXT = (TEXTS["log"] * 50)[: 2 * BLOCK + 12345]  # three blocks
SETTINGS = {"level": 1, "block_size": BLOCK}


@pytest.fixture(scope="module")
def packed():
    return nzip.compress(TEXT, threads=1, **SETTINGS)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads_do_not_change_the_frame(packed, threads):
    assert nzip.compress(TEXT, threads=threads, **SETTINGS) == packed
    assert nzip.decompress(packed, threads=threads) == TEXT


@pytest.mark.parametrize("seed", range(3))
def test_chunking_does_not_change_the_frame(packed, seed):
    rng = random.Random(seed)
    compressor = nzip.Compressor(threads=2, **SETTINGS)
    out, at = [], 0
    while at < len(TEXT):
        size = rng.choice([1, 100, 5000, BLOCK, BLOCK + 1])
        out.append(compressor.compress(TEXT[at : at + size]))
        at += size
    assert b"".join(out) + compressor.flush() == packed


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [nzip.Compressor, nzip.Decompressor])
def test_pickling_is_refused(kind, protocol):
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(kind(), protocol)


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 17])
def test_decompressor_takes_any_chunks(packed, size):
    decompressor = nzip.Decompressor(threads=2)
    data = packed if size > 7 else nzip.compress(TEXTS["english"])
    text = TEXT if size > 7 else TEXTS["english"]
    out = []
    for at in range(0, len(data), size):
        assert not decompressor.eof
        out.append(decompressor.decompress(data[at : at + size]))
    assert decompressor.eof
    assert b"".join(out) == text


def test_decompressor_max_length_and_needs_input(packed):
    decompressor = nzip.Decompressor()
    out = decompressor.decompress(packed, 1000)
    assert len(out) == 1000
    assert not decompressor.needs_input
    while not decompressor.eof:
        piece = decompressor.decompress(b"", 30_000)
        assert 0 < len(piece) <= 30_000
        out += piece
    assert out == TEXT
    with pytest.raises(EOFError):
        decompressor.decompress(b"")


def test_decompressor_leaves_what_follows_the_frame(packed):
    decompressor = nzip.Decompressor()
    assert decompressor.decompress(packed + b"more") == TEXT
    assert decompressor.eof
    assert decompressor.unused_data == b"more"


def test_flushed_compressor_takes_nothing_more():
    compressor = nzip.Compressor()
    compressor.flush()
    with pytest.raises(ValueError, match="was flushed"):
        compressor.compress(b"x")


def test_frames_concatenate_and_skippable_frames_are_passed_over():
    one, two = nzip.compress(b"first, "), nzip.compress(b"second", "static")
    skip = frame.skippable(b"any user data" * 100)
    assert nzip.decompress(one + two) == b"first, second"
    assert nzip.decompress(skip + one + skip + two + skip) == b"first, second"
    assert nzip.decompress(one + bytes(1000)) == b"first, "  # a tape's padding
    for garbage in (b"x", bytes(9) + b"x", b"\x8fNz", one[:3]):
        with pytest.raises(nzip.FormatError):
            nzip.decompress(one + garbage)


def test_skippable_frame_cut_short_is_an_error():
    with pytest.raises(nzip.TruncatedError):
        nzip.decompress(frame.skippable(b"0123456789")[:-1])
    with pytest.raises(nzip.TruncatedError):
        nzip.decompress(frame.skippable(b"")[:-1])


@pytest.mark.parametrize("entry", ["decompress", "decompressor", "open"])
def test_max_output_is_checked_before_work_is_done(entry, monkeypatch):
    data = nzip.compress(TEXTS["english"])
    size = len(TEXTS["english"])

    def run(limit):
        if entry == "decompress":
            return nzip.decompress(data, max_output=limit)
        if entry == "decompressor":
            return nzip.Decompressor(max_output=limit).decompress(data)
        with nzip.open(io.BytesIO(data), max_output=limit) as file:
            return file.read()

    assert run(size) == TEXTS["english"]
    monkeypatch.setattr(modes, "decode_block", None)  # before any time is spent on the model
    with pytest.raises(nzip.LimitError, match=f"limit of {size - 1} bytes"):
        run(size - 1)


def test_max_output_counts_all_frames():
    data = nzip.compress(b"12345") * 3
    assert nzip.decompress(data, max_output=15) == b"12345" * 3
    with pytest.raises(nzip.LimitError):
        nzip.decompress(data, max_output=14)


def test_truncated_stream_gives_its_whole_blocks_then_the_error(packed):
    got = []
    with pytest.raises(nzip.TruncatedError):
        got.extend(stream.decompress_chunks(io.BytesIO(packed[:-6]).read))
    assert b"".join(got) == TEXT[: 2 * BLOCK]


def test_memory_of_work_in_flight_is_bounded():
    pool = workers.Workers(2)
    for _ in range(3):
        assert not pool.full
        pool.submit(lambda: b"")
    assert pool.full
    pool.close()

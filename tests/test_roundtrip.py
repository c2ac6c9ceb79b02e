"""Whatever goes in comes out: every mode, unusual inputs, sizes around the limits."""

import re
from pathlib import Path

import pytest
from conftest import TEXTS
from hypothesis import given
from hypothesis import strategies as st

import nzip
from nzip import frame, info, levels

SETTINGS = {
    "ac": {"mode": "ac"},
    "ac M1 alone": {"mode": "ac", "adapt": False},
    "ac without M1": {"mode": "ac", "level": 1},
    "static": {"mode": "static"},
    "eqinfo 8": {"mode": "eqinfo", "window": 8},
    "eqinfo 16": {"mode": "eqinfo", "window": 16},
    "eqinfo 41": {"mode": "eqinfo", "window": 41},
    "eqinfo 64": {"mode": "eqinfo", "window": 64},
}


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_round_trip(options, text):
    packed = nzip.compress(text, **options)
    assert nzip.decompress(packed) == text
    assert len(packed) <= len(text) * 1.001 + 32


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
@given(text=st.binary(max_size=400))
def test_round_trip_of_arbitrary_bytes(options, text):
    assert nzip.decompress(nzip.compress(text, **options)) == text


@given(text=st.text(max_size=300))
def test_round_trip_of_arbitrary_text(text):
    assert nzip.decompress(nzip.compress(text.encode())).decode() == text


@pytest.mark.parametrize("mode", ["ac", "static"])
@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("blocks", [1, 2])
def test_round_trip_around_the_block_size(mode, extra, blocks):
    size = (1 << 16) * blocks + extra
    text = (TEXTS["log"] * (size // len(TEXTS["log"]) + 1))[:size]
    packed = nzip.compress(text, mode, level=1, block_size=1 << 16)
    assert info.read(packed, "")["blocks"] == (size - 1 >> 16) + 1
    assert nzip.decompress(packed) == text


def test_levels_are_those_of_the_readme():
    mib = 1 << 20
    assert {number: tuple(level) for number, level in levels.LEVELS.items()} == {
        1: ("nano-3", 1, mib // 2),
        2: ("nano-3", 1, 2 * mib),
        3: ("nano-3", 1, 8 * mib),
        4: ("nano-3", 2, 2 * mib),
        5: ("small-3", 2, mib),
        6: ("small-3", 2, 4 * mib),
        7: ("base-3", 2, 4 * mib),
        8: ("base-3", 3, 4 * mib),
        9: ("large-3", 3, 16 * mib),
    }
    assert levels.DEFAULT_LEVEL == 6
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    rows = re.findall(r"^\| ([0-9][^|]*?) \| `(\w+)` \| [^|]* \| ([^|]+) MiB \|$", readme, re.M)
    stated = {}
    for names, network, blocks in rows:
        numbers, sizes = re.findall(r"\d", names), re.findall(r"[\d.]+", blocks)
        for place, number in enumerate(numbers):
            size = float(sizes[min(place, len(sizes) - 1)])
            stated[int(number)] = (f"{network}-3", int(size * mib))
    assert stated == {n: (level.model, level.block_size) for n, level in levels.LEVELS.items()}


@pytest.mark.parametrize("level", levels.LEVELS)
def test_every_level_round_trips(level):
    text = TEXTS["english"] + TEXTS["log"]
    assert nzip.decompress(nzip.compress(text, level=level)) == text


def test_runs_are_stored_as_runs():
    packed = nzip.compress(bytes(10_000_000))
    assert len(packed) < 400
    assert nzip.decompress(packed) == bytes(10_000_000)


def test_overhead_of_a_short_text_is_16_bytes_at_most():
    text = (TEXTS["english"] * 2)[:1024]
    packed = nzip.compress(text)
    _, at = frame.parse_header(packed)
    block = frame.parse_block(packed, at)
    assert block.kind == frame.CODED
    assert len(packed) - (block.end - block.start) <= 16


def test_what_m1_cannot_help_is_coded_without_it():
    """Records of four bytes; in a frame of another coding such a block is an error."""
    binary = b"".join((i * i * 7919 % 2**31).to_bytes(4, "big") for i in range(20_000))
    packed = nzip.compress(binary)
    header, at = frame.parse_header(packed)
    assert header.coding == frame.AC_FULL
    assert frame.parse_block(packed, at).kind == frame.WITHOUT_M1
    assert nzip.decompress(packed) == binary
    other = frame.Header(frame.STATIC).pack()
    block = frame.pack_block(frame.WITHOUT_M1, True, 100, b"x", frame.block_seed(other, b"", 0))
    with pytest.raises(nzip.FormatError, match="type 3 in a frame"):
        nzip.decompress(other + block + b"xx")


def test_incompressible_data_grow_by_a_thousandth_and_32_bytes_at_most():
    import random

    for size in (0, 1, 100, 70_000, 1_100_000):
        data = random.Random(size).randbytes(size)
        assert len(nzip.compress(data, level=1)) <= size * 1.001 + 32


def test_settings_out_of_range_are_value_errors():
    for options in ({"mode": "zip"}, {"level": 0}, {"level": 10}, {"threads": -1}):
        with pytest.raises(ValueError, match=r"mode|level|threads"):
            nzip.compress(b"x", **options)
    for window in (7, 65):
        with pytest.raises(ValueError, match="8 to 64 bits"):
            nzip.compress(b"x", "eqinfo", window=window)
    with pytest.raises(nzip.ModelNotFoundError, match="installed: base-3, large-3"):
        nzip.compress(b"x", model="no-such-model")

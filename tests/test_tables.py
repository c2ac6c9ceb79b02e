"""The tables stored in the kernel, and the rounding rule."""

import math
import sys
from pathlib import Path

import pytest

from nzip import reference

ROOT = Path(__file__).parents[1]


def test_tables_h_is_what_the_reference_defines():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import make_tables
    finally:
        sys.path.pop(0)
    assert make_tables.TARGET.read_text() == make_tables.render()


@pytest.mark.parametrize(
    ("x", "n", "expected"),
    [
        (3, 1, 2),
        (-3, 1, -1),
        (-7, 1, -3),
        (7, 1, 4),
        (-1, 4, 0),
        (-8, 4, 0),
        (-9, 4, -1),
        (8, 4, 1),
    ],
)
def test_rshift_round_sends_halves_upwards(x, n, expected):
    assert reference.rshift_round(x, n) == expected


def test_tables_are_monotonic_and_symmetric():
    assert reference.squash_table() == sorted(reference.squash_table())
    rsqrt = reference.rsqrt_table()
    assert rsqrt == sorted(rsqrt, reverse=True)
    assert max(rsqrt) < 32768


def test_the_sigmoid_is_close_to_the_true_one():
    for z in range(-2047, 2048):
        true = 32768 / (1 + math.exp(-z / 256))
        assert abs(reference.sigmoid(z) - true) < 1.6


def test_bit_histories_fit_a_byte_and_are_closed():
    following, counts, chances = reference.history_tables()
    assert len(following) == len(counts) == len(chances) <= 256
    assert all(0 < after < len(following) for row in following for after in row)
    assert all(0 < p < 65536 for p in chances)

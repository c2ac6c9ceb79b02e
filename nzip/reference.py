"""nzip's coders and predictor in plain Python: the specification that the kernel is held to.

Slow on purpose: nothing here is clever, and every number is a Python int, so that what is
written is what must come out. The product never imports this module; the tests do, and anybody
who writes a decoder may. docs/format.md says how the pieces make a file.

The tables (sigmoid, tanh, squash, stretch, bit histories) are computed here with decimal
arithmetic of 40 digits, correctly rounded on every machine; ``tools/make_tables.py`` writes them
into the kernel's ``tables.h``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from decimal import ROUND_HALF_UP, Decimal, localcontext


def rshift_round(x: int, n: int) -> int:
    """x / 2^n rounded to the nearest integer, halves upwards."""
    return (x + (1 << (n - 1))) >> n


def clamp(x: int, low: int, high: int) -> int:
    """x, moved into [low, high]."""
    return max(low, min(high, x))


# ---- Tables ---------------------------------------------------------------------------------


def _round(x: Decimal) -> int:
    return int(x.to_integral_value(ROUND_HALF_UP))


def _logistic(q8: int) -> Decimal:
    return 1 / (1 + (Decimal(-q8) / 256).exp())


@functools.cache
def sigmoid_table() -> list[int]:
    """Q15 sigmoid of the Q8 arguments -2048..2047."""
    with localcontext(prec=40):
        return [min(32767, _round(32768 * _logistic(x))) for x in range(-2048, 2048)]


@functools.cache
def tanh_table() -> list[int]:
    """Q15 tanh of the Q8 arguments -2048..2047."""
    with localcontext(prec=40):
        return [
            clamp(_round(32768 * (2 * _logistic(2 * x) - 1)), -32767, 32767)
            for x in range(-2048, 2048)
        ]


@functools.cache
def squash_table() -> list[int]:
    """Probability of a one (1..65535, of 65536) for the Q8 logits -3072..3071."""
    with localcontext(prec=40):
        return [clamp(_round(65536 * _logistic(x)), 1, 65535) for x in range(-3072, 3072)]


@functools.cache
def stretch_table() -> list[int]:
    """Q8 logit, within +-2047, of the probability (i + 1/2) / 4096."""
    with localcontext(prec=40):
        return [
            clamp(_round(256 * (Decimal(2 * i + 1) / Decimal(8191 - 2 * i)).ln()), -2047, 2047)
            for i in range(4096)
        ]


def reciprocal_table() -> list[int]:
    """65536 / (n + 1.5): the step of an adaptive probability that was updated n times."""
    return [131072 // (2 * n + 3) for n in range(1024)]


# Bit histories: (zeros, ones, last bit), where the larger count is bounded by the smaller one.
_LARGER_COUNT = [41, 20, 14, 8, 6, 5]


def _history_next(history: tuple[int, int, int], bit: int) -> tuple[int, int, int]:
    counts = list(history[:2])
    counts[bit] += 1
    other = counts[1 - bit]
    if other > 2:  # an old surprise counts less
        counts[1 - bit] = other // 2 + 1
    small = min(min(counts), len(_LARGER_COUNT) - 1)
    limit = _LARGER_COUNT[small]
    return min(counts[0], limit), min(counts[1], limit), bit


@functools.cache
def history_tables() -> tuple[list[list[int]], list[int], list[int]]:
    """(next state for a zero and a one, observations, probability of a one) of each state.

    State 0 is the empty history; the others are numbered as a breadth-first search finds them.
    """
    states = [(0, 0, 0)]
    number = {states[0]: 0}
    following = []
    for state in states:
        row = []
        for bit in (0, 1):
            after = _history_next(state, bit)
            if after not in number:
                number[after] = len(states)
                states.append(after)
            row.append(number[after])
        following.append(row)
    if len(states) > 256:
        raise AssertionError("bit histories must fit a byte")
    counts = [zeros + ones for zeros, ones, _ in states]
    chances = [(2 * ones + 1) * 65536 // (2 * (zeros + ones) + 2) for zeros, ones, _ in states]
    return following, counts, chances

"""nzip's coders and predictor in plain Python: the specification of the kernel.

It is slow on purpose: nothing here is clever, and every number is a Python int, so the code says
exactly what must come out. The package never imports this module; the tests do, and anybody who
writes a decoder can. docs/format.md describes how the pieces make up a file.

The tables (rsqrt, squash, stretch, bit histories) are computed here in decimal arithmetic with
40 digits, and are correctly rounded on every machine; ``tools/make_tables.py`` writes them into
the kernel's ``tables.h``.
"""

from __future__ import annotations

import functools
import heapq
import operator
from collections.abc import Callable, Iterator, Sequence
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any, NamedTuple


def rshift_round(x: int, n: int) -> int:
    """x / 2^n, rounded to the nearest integer, with halves rounded up."""
    return (x + (1 << (n - 1))) >> n


def clamp(x: int, low: int, high: int) -> int:
    """x, limited to [low, high]."""
    return max(low, min(high, x))


# ---- Tables ---------------------------------------------------------------------------------


def _round(x: Decimal) -> int:
    return int(x.to_integral_value(ROUND_HALF_UP))


def _logistic(q8: int) -> Decimal:
    return 1 / (1 + (Decimal(-q8) / 256).exp())


# A cubic for each unit of an argument's absolute value, in Q15 of its fraction t: within 1.6 of
# 32,768 times the sigmoid. Rows: the factors of 1, t, t^2 and t^3.
SIGMOID = (
    (16383, 23955, 28862, 31214, 32179, 32549, 32687, 32738),
    (8223, 6467, 3440, 1474, 574, 216, 79, 30),
    (-138, -1633, -1308, -638, -260, -101, -34, -15),
    (-514, 72, 220, 129, 56, 23, 6, 4),
)


def sigmoid(z: int) -> int:
    """Q15 sigmoid of a Q8 argument in -2047..2047."""
    unit, t = abs(z) >> 8, (abs(z) & 255) << 7
    y = 0
    for factors in reversed(SIGMOID):
        y = factors[unit] + rshift_round(y * t, 15)
    return 32768 - y if z < 0 else y


@functools.cache
def rsqrt_table() -> list[int]:
    """21 * 2^14 / sqrt(i + 1/2) for i of 256..1023."""
    with localcontext(prec=40):
        return [_round(21 * 2**14 / (Decimal(2 * i + 1) / 2).sqrt()) for i in range(256, 1024)]


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
    """8192 / (n + 1.5): the step of an adaptive probability after n updates."""
    return [16384 // (2 * n + 3) for n in range(256)]


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

    State 0 is the empty history; the others are numbered in the order of a breadth-first search.
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


# ---- Range coder ------------------------------------------------------------------------------


class Encoder:
    """Range coder with a 64-bit low and range, 16-bit probabilities, and output in 32-bit words."""

    def __init__(self) -> None:
        self.low, self.range, self.out = 0, 2**64 - 1, bytearray()

    def _carry(self) -> None:
        at = len(self.out) - 1
        while self.out[at] == 255:
            self.out[at] = 0
            at -= 1
        self.out[at] += 1

    def narrow(self, low: int, size: int) -> None:
        """Take the part [low, low + size) of the range."""
        self.low += low
        if self.low >= 2**64:
            self.low -= 2**64
            self._carry()
        self.range = size
        if self.range < 2**32:
            self.out += (self.low >> 32).to_bytes(4, "big")
            self.low = (self.low << 32) % 2**64
            self.range <<= 32

    def bit(self, p1: int, bit: int) -> int:
        """Code a bit whose probability of being one is p1 / 65536."""
        bound = (self.range >> 16) * p1
        if bit:
            self.narrow(0, bound)
        else:
            self.narrow(bound, self.range - bound)
        return bit

    def symbol(self, cumulative: Sequence[int], symbol: int) -> int:
        """Code a symbol; cumulative rises from 0 to 65536."""
        unit = self.range >> 16
        low = unit * cumulative[symbol]
        last = cumulative[symbol + 1] == 65536
        size = self.range - low if last else unit * (cumulative[symbol + 1] - cumulative[symbol])
        self.narrow(low, size)
        return symbol

    def finish(self) -> bytes:
        """End with the fewest bytes, without zeros at the end, which the decoder supplies."""
        for count in range(9):
            mask = 2 ** (64 - 8 * count) - 1
            value = (self.low + mask) // (mask + 1) * (mask + 1)
            if value - self.low < self.range:
                break
        if value >= 2**64:
            value -= 2**64
            self._carry()
        self.out += value.to_bytes(8, "big")[:count]
        return bytes(self.out).rstrip(b"\0")


class Decoder:
    """The inverse of Encoder; its ``bit`` and ``symbol`` ignore the value that they are given."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.range = data, 8, 2**64 - 1
        self.code = int.from_bytes(data[:8].ljust(8, b"\0"), "big")

    def narrow(self, low: int, size: int) -> None:
        """Go on with the part that was decoded."""
        self.code -= low
        self.range = size
        if self.range < 2**32:
            word = self.data[self.at : self.at + 4].ljust(4, b"\0")
            self.at += 4
            self.code = (self.code << 32) % 2**64 | int.from_bytes(word, "big")
            self.range <<= 32

    def bit(self, p1: int, _bit: int = 0) -> int:
        """Decode a bit."""
        bound = (self.range >> 16) * p1
        if self.code < bound:
            self.narrow(0, bound)
            return 1
        self.narrow(bound, self.range - bound)
        return 0

    def symbol(self, cumulative: Sequence[int], _symbol: int = 0) -> int:
        """Decode a symbol."""
        unit = self.range >> 16
        place = min(65535, self.code // unit)
        symbol = max((s for s in range(256) if cumulative[s] <= place), default=0)
        low = unit * cumulative[symbol]
        last = cumulative[symbol + 1] == 65536
        self.narrow(
            low, self.range - low if last else unit * (cumulative[symbol + 1] - cumulative[symbol])
        )
        return symbol


Coder = Encoder | Decoder


# ---- static mode ------------------------------------------------------------------------------


def _gamma(coder: Coder, value: int) -> int:
    """Elias gamma code of value + 1, with even odds for each bit."""
    value += 1
    bits = 0
    while bits < 16 and coder.bit(32768, int(value >> (bits + 1) > 0)):
        bits += 1
    result = 1
    for i in range(bits - 1, -1, -1):
        result = result << 1 | coder.bit(32768, value >> i & 1)
    return result - 1


def _frequencies(counts: Sequence[int]) -> list[int]:
    """Cumulative frequencies from counts: at least 1 for a positive count, 65536 in total."""
    total = sum(counts)
    freq = [count * (65536 - 256) // total + 1 if count else 0 for count in counts]
    freq[freq.index(max(freq))] += 65536 - sum(freq)
    cumulative = [0]
    for f in freq:
        cumulative.append(cumulative[-1] + f)
    return cumulative


def static_block(coder: Coder, size: int, text: bytes = b"") -> bytes:
    """Code a block of ``static`` mode: counts, then symbols. ``text`` is what an Encoder codes."""
    shift = 0
    while size >> shift > 1 << 15:
        shift += 1
    wanted = [text.count(s) for s in range(256)]
    wanted = [max(1, count >> shift) if count else 0 for count in wanted]
    counts = [0] * 256
    symbol = 0
    while True:
        following = next((s for s in range(symbol, 256) if wanted[s]), 256)
        symbol += _gamma(coder, following - symbol)
        if symbol >= 256:
            break
        counts[symbol] = _gamma(coder, wanted[symbol] - 1) + 1
        symbol += 1
    cumulative = _frequencies(counts)
    return bytes(coder.symbol(cumulative, text[i] if text else 0) for i in range(size))


# ---- Windows: block arithmetic coding ----------------------------------------------------------

MAX_DICTIONARY = 20  # bits of the longest windows that are a dictionary
Tree = Callable[[bytes], Callable[[int], int]]  # text of the window so far -> node -> p1


def window_codewords(width: int) -> int:
    """How many codewords a window of ``width`` bits has; from 16 bits on, 16 are kept free."""
    return (1 << width) - (16 if width >= 16 else 0)


def _ones(count: int, p1: int, root: bool, depth: int) -> int:
    """Codewords for the 1-child of a node with ``count``; at the root each leaf keeps one."""
    ones = (count * p1 + 0x8000) >> 16
    leaves = 1 << (7 - depth)
    return clamp(ones, leaves, count - leaves) if root else ones


def _starts_afresh(window: int, reset_every: int) -> bool:
    """Is M1 reset at this window? If ``reset_every`` is 0, only at the first."""
    return window % reset_every == 0 if reset_every else window == 0


def encode_windows(text: bytes, width: int, tree: Tree, reset_every: int = 1) -> list[int]:
    """The codeword of each window of ``text``."""
    codes: list[int] = []
    at = context = 0
    while at < len(text):
        low, count, start = 0, window_codewords(width), at
        if _starts_afresh(len(codes), reset_every):
            context = at
        while at < len(text) and count > 1:
            root = at == start
            inner, share = (low, count) if root else (low + 1, count - 1)  # low itself: end
            p1, node = tree(text[context:at]), 1
            for depth in range(8):
                ones = _ones(share, p1(node), root, depth)
                bit = text[at] >> (7 - depth) & 1
                inner, share = (inner + share - ones, ones) if bit else (inner, share - ones)
                node = node << 1 | bit
                if share == 0:
                    break
            if share == 0:
                break
            low, count, at = inner, share, at + 1
        codes.append(low)
    return codes


def decode_windows(codes: Sequence[int], width: int, tree: Tree, reset_every: int = 1) -> bytes:
    """The text of windows."""
    text = bytearray()
    context = 0
    for number, code in enumerate(codes):
        count, window = window_codewords(width), bytearray()
        if _starts_afresh(number, reset_every):
            context = len(text)
        while not window or (code > 0 and count > 1):
            root = not window
            share = count if root else count - 1
            code -= not root
            p1, node = tree(bytes(text[context:] + window)), 1
            for depth in range(8):
                ones = _ones(share, p1(node), root, depth)
                bit = int(code >= share - ones)
                code, share = (code - share + ones, ones) if bit else (code, share - ones)
                node = node << 1 | bit
            window.append(node & 255)
            count = share
        text += window
    return bytes(text)


def _masses(whole: int, p1: Callable[[int], int]) -> list[int]:
    """Each byte's share of a string's mass (its probability, in units of 2^-62)."""
    masses = [0, whole, *[0] * 510]
    for node in range(1, 256):
        ones = masses[node] * p1(node) >> 16
        masses[2 * node : 2 * node + 2] = masses[node] - ones, ones
    return masses[256:]


def window_dictionary(width: int, tree: Tree) -> list[bytes]:
    """The strings of windows of up to 20 bits, by codeword: every byte, and the most probable of
    the longer strings; of equally probable ones, those that come first in order."""
    chosen = [bytes([byte]) for byte in range(256)]
    heap: list[tuple[int, bytes]] = []

    def push(text: bytes, mass: int) -> None:
        for byte, part in enumerate(_masses(mass, tree(text))):
            heapq.heappush(heap, (-part, text + bytes([byte])))

    for text, mass in zip(list(chosen), _masses(1 << 62, tree(b"")), strict=True):
        push(text, mass)
    while len(chosen) < window_codewords(width):
        mass, text = heapq.heappop(heap)
        chosen.append(text)
        push(text, -mass)
    return sorted(chosen)


def encode_dictionary(text: bytes, dictionary: list[bytes]) -> list[int]:
    """The codeword of each window: that of the longest string that is a prefix of the rest."""
    number = {string: k for k, string in enumerate(dictionary)}
    codes, at = [], 0
    while at < len(text):
        end = at + 1
        while end < len(text) and text[at : end + 1] in number:
            end += 1
        codes.append(number[text[at:end]])
        at = end
    return codes


# ---- M1 ---------------------------------------------------------------------------------------

HASH = 0x9E3779B97F4A7C15


WORD, WORDS, WORDS3, SKIP, SHAPE = range(9, 14)  # contexts besides the last 1 to 8 bytes
KINDS = {
    **dict.fromkeys(b" ", 5) | dict.fromkeys(b"\n", 6) | dict.fromkeys(b".!?", 7),
    **dict.fromkeys(b",;:", 8) | dict.fromkeys(b"\"'", 9) | dict.fromkeys(b"([{", 10),
    **dict.fromkeys(b")]}", 11) | dict.fromkeys(b"<>=", 12) | dict.fromkeys(b"-_", 13),
    **dict.fromkeys(b"/\\", 14),
}


def kind(byte: int) -> int:
    """The kind of a byte, 0 to 15, for the context SHAPE."""
    if 97 <= byte | 32 <= 122:
        return 1 if byte & 32 else 2
    if byte >= 128:
        return 3
    if 48 <= byte <= 57:
        return 4
    return KINDS.get(byte, 15 if byte < 32 else 0)


class Trail:
    """What M1 remembers of the text, and the keys of its contexts."""

    def __init__(self) -> None:
        self.last = self.word = self.before = self.before2 = self.shape = 0

    def push(self, byte: int) -> None:
        """Add a byte of the text."""
        lower = byte | 32
        letter = lower if 97 <= lower <= 122 else byte if byte >= 128 else 0
        self.last = (self.last << 8 | byte) % 2**64
        if letter:
            self.word = (self.word + letter) * HASH % 2**64
        elif self.word:
            self.before2, self.before, self.word = self.before, self.word, 0
        self.shape = (self.shape << 4 | kind(byte)) % 2**64

    def key(self, context: int) -> int:
        """A 64-bit hash of a context."""
        word = self.word or self.last % 256
        value: int = self.last % 256**context
        if context == WORD:
            value = word
        elif context == WORDS:
            value = word + 3 * self.before
        elif context == WORDS3:
            value = word + 3 * self.before + 5 * self.before2
        elif context == SKIP:
            value = self.last % 2**32 - self.last % 256
        elif context == SHAPE:
            value = self.shape % 2**44 << 8 | self.last % 256
        key = (value + context) * HASH % 2**64
        return (key ^ key >> 32) * HASH % 2**64


def _inverse_root(x: int) -> tuple[int, int]:
    """21 / the square root of x, as a factor and a shift: factor / 2^shift.

    x is below 2^30; 0 counts as 1.
    """
    x, shift = max(1, x), 24
    while x < 2**28:
        x, shift = x << 2, shift - 1
    return rsqrt_table()[(x >> 20) - 256], shift


class M1:
    """The recurrent predictor. Tensors are nested lists of ints, named as in docs/format.md."""

    def __init__(self, contexts: Sequence[int], ways: int, tensors: dict[str, Any]):
        self.contexts, self.ways, self.t = contexts, ways, tensors
        self.hidden, self.embed = len(tensors["enter"]), len(tensors["enter"][0])
        self.reset()

    def reset(self) -> None:
        """Go back to the state before any text."""
        self.h = [[0] * self.hidden for _ in self.t["gates"]]
        self.trail = Trail()

    def push(self, byte: int) -> None:
        """Add a byte of the text."""
        self.trail.push(byte)

    def start(self, profile: int) -> tuple[list[list[int]], list[int]] | None:
        """The weights and maps that mixing begins with, if the model has them."""
        name = PROFILE_NAMES[profile]
        weights = self.t.get(f"{name}_weights")
        return weights and (weights, self.t[f"{name}_maps"])

    def places(self) -> Iterator[tuple[int, int]]:
        """The bucket in which each context looks, and the number that marks its row there."""
        for context in self.contexts:
            key = self.trail.key(context)
            yield (key >> 32) * len(self.t["lines"]) >> 32, (key >> 16) % 2**16 or 1

    def _embedding(self) -> list[int]:
        """The rows that the contexts own, summed and rounded."""
        total, half = [0] * self.embed, self.embed // 2
        for i, (bucket, check) in enumerate(self.places()):
            line, row = self.t["lines"][bucket], self.t["absent"][i]
            for way in range(self.ways):
                if line[2 * way] | line[2 * way + 1] << 8 == check:
                    start = 2 * self.ways + way * (1 + half)
                    row = line[start : start + 1 + half]
            scale = (row[0] + 128) % 256 - 128
            values = [byte & 15 for byte in row[1:]] + [byte >> 4 for byte in row[1:]]
            total = [a + scale * (v - 8) for a, v in zip(total, values, strict=True)]
        return [clamp(rshift_round(x, 4), -63, 63) for x in total]

    @staticmethod
    def _normalise(x: list[int]) -> list[int]:
        """x divided by its root mean square, in steps of 1/21."""
        factor, shift = _inverse_root(sum(v * v for v in x) // len(x))
        return [clamp(rshift_round(v * factor, shift), -63, 63) for v in x]

    @staticmethod
    def _product(
        weights: Any, mult: list[int], bias: list[int] | None, act: list[int], limit: int
    ) -> list[int]:
        """A matrix times activations, scaled to Q8 (Q4 for the units), within +-limit."""
        result = []
        for row, row_weights in enumerate(weights):
            total = sum(w * a for w, a in zip(row_weights, act, strict=True))
            z = rshift_round(total * mult[row] + (bias[row] if bias else 0), 12)
            result.append(clamp(z, -limit, limit))
        return result

    def step(self) -> None:
        """Predict the byte after the text."""
        t, n = self.t, self.hidden
        embedded = self._embedding()
        x = self._product(t["enter"], t["enter_mult"], t["enter_bias"], embedded, 32767)
        for k, h in enumerate(self.h):
            act = self._normalise(x)
            z = self._product(t["gates"][k], t["gates_mult"][k], t["gates_bias"][k], act, 2047)
            for j in range(n):
                keep, show = sigmoid(z[j]), sigmoid(z[n + j])
                value = clamp(z[2 * n + j], -511, 511) * 32
                h[j] = value + rshift_round(keep * (h[j] - value), 15)
                act[j] = rshift_round(rshift_round(h[j] * show, 15) * 84, 15)
            y = self._product(t["leave"][k], t["leave_mult"][k], None, act, 32767)
            x = [clamp(a + b, -32767, 32767) for a, b in zip(x, y, strict=True)]
        self.act = self._normalise(x) + embedded

    def logit(self, node: int) -> int:
        """Q8 log odds that the bit at a node of the byte tree is one."""
        rows = slice(node, node + 1)
        t = self.t
        return self._product(
            t["out"][rows], t["out_mult"][rows], t["out_bias"][rows], self.act, 3071
        )[0]


def squash(logit: int) -> int:
    """Probability (1..65535) of a Q8 logit."""
    return squash_table()[logit + 3072]


def stretch(p16: int) -> int:
    """Q8 logit of a probability."""
    return stretch_table()[p16 >> 4]


def m1_tree(m1: M1) -> Tree:
    """M1 as windows use it: reset at each window, then run over its bytes."""

    def tree(window: bytes) -> Callable[[int], int]:
        m1.reset()
        m1.step()
        for byte in window:
            m1.push(byte)
            m1.step()
        return lambda node: squash(m1.logit(node))

    return tree


# ---- Mixing -----------------------------------------------------------------------------------

# What is mixed with M1: nothing, or models that learn from the block. DATA: DEEP without M1.
NONE, LIGHT, FULL, DEEP, DATA = range(5)
MIXED_CONTEXTS = {LIGHT: 4, FULL: 9, DEEP: 39, DATA: 52}
MIXED_SETS = {LIGHT: 2, FULL: 3, DEEP: 8, DATA: 8}
PROFILE_NAMES = {LIGHT: "light", FULL: "full", DEEP: "deep"}
SET_ROWS = [4096 + 256, 256, 1, 2048, 1024, 2048, 256 + 1 + 6 * 4 * 5, 1024]
MIXED_APMS = {LIGHT: 0, FULL: 1, DEEP: 3, DATA: 3}
# At last, and more at first.
MIXED_RATES = {LIGHT: (10, 20), FULL: (8, 20), DEEP: (5, 22), DATA: (5, 22)}
WEIGHT_BITS = {LIGHT: 14, FULL: 14, DEEP: 16, DATA: 16}  # a weight of 1 is 1 << bits
MATCH_MIN = {LIGHT: [8], FULL: [8], DEEP: [8, 20, 5], DATA: [8, 20, 5]}
MATCH_MAX, MATCH_LENGTHS = 400, 56
FIELDS = 64  # that are told apart in a line
SAME, ONE_ABOVE, ONE_BELOW, DIFFERENT = range(4)  # the number so far, against a reference
FIELD_ENDS = (5, 6, 8, 9, 10, 11, 12, 15)  # kinds of bytes


def _hash(value: int, salt: int) -> int:
    return (value + (salt << 56)) * HASH % 2**64 >> 32


def _ceil_log2(n: int) -> int:
    return max(0, (n - 1).bit_length())


def _towards(expected: int, depth: int, confidence: int) -> int:
    """The logit of a one, if the byte is ``expected`` (with a leading 1) with this confidence."""
    if not expected:
        return 0
    return confidence if expected >> (7 - depth) & 1 else -confidence


class AdaptiveMap:
    """A probability (the high 22 bits) that moves by 1 / (count + 1.5), and the count (10 bits)."""

    def __init__(self, p16: int, count: int) -> None:
        self.word = p16 << 16 | count

    def p16(self) -> int:
        """The probability in 16 bits."""
        return self.word >> 16

    def update(self, bit: int) -> None:
        """Move towards the bit."""
        p, count = self.word >> 10, self.word & 1023
        p += ((bit << 22) - bit - p >> 3) * reciprocal_table()[count] >> 10
        self.word = p << 10 | min(255, count + 1)


class LightMap(AdaptiveMap):
    """A probability of 32 bits, which moves by 1/128."""

    def update(self, bit: int) -> None:
        """Move towards the bit."""
        self.word += (2**32 - 1 - self.word) >> 7 if bit else -(self.word >> 7)


class Match:
    """Follows the last place where the latest bytes occurred before."""

    def __init__(self, least: int, bits: int, new_map: type[AdaptiveMap]) -> None:
        self.least, self.bits = least, bits
        self.at = self.length = self.missed = 0
        self.entry: int | None = None
        self.table: dict[int, int] = {}
        self.map = [
            [new_map(65536 - 65536 // (4 if i < 2 else i + 2), 5) for _ in range(4)]
            for i in range(MATCH_LENGTHS)
        ]

    def begin(self, text: bytearray) -> None:
        """Begin a byte."""
        self.expected = 256 | text[self.at] if self.at else 0
        row = self.map[self.length if self.length < 32 else 30 + self.length // 16]
        self.place = row[min(3, self.missed.bit_count())]

    def input(self, depth: int) -> int:
        """The logit of a one."""
        return _towards(self.expected, depth, stretch(self.place.p16()))

    def update(self, depth: int, bit: int) -> None:
        """Learn from a bit."""
        if self.expected:
            hit = (self.expected >> (7 - depth) & 1) == bit
            self.place.update(int(hit))
            if not hit:
                self.expected = 0

    def follow(self, text: bytearray, position: int, last16: int) -> None:
        """After a byte: go on, until eight bytes in a row were wrong, or find a longer match."""
        if self.at:
            hit = text[self.at] == text[position - 1]
            self.missed = (self.missed << 1 | (not hit)) % 256
            self.length = min(MATCH_MAX, self.length + 1) if hit else 0
            self.at = 0 if self.missed == 255 else self.at + 1
        if self.entry is not None:  # that of the byte before
            there = self.table.get(self.entry, 0)
            if self.length < 16 and there:
                there += 1
                length = 0
                while (
                    length < min(MATCH_MAX, there)
                    and text[there - 1 - length] == text[position - 1 - length]
                ):
                    length += 1
                if length >= self.least and length > self.length:
                    self.at, self.length, self.missed = there, length, 0
            self.table[self.entry] = position - 1
        if position >= self.least:
            key = last16 % 256 ** min(8, self.least)
            if self.least >= 16:
                key = key * HASH % 2**64 ^ last16 >> 64
            self.entry = _hash(key, 8) >> (32 - self.bits)


class Numbers:
    """Predicts the digits of a number from their differences to those of an earlier one.

    The first reference is the number that stood last time where a line began in the same way,
    whatever the numbers before it were; the second is that plus the amount by which the number
    there last changed.
    """

    def __init__(self, bits: int, digit_bits: int) -> None:
        self.bits, self.digit_bits = bits, digit_bits
        self.form = self.entry = 0
        self.table: dict[int, tuple[int, int]] = {}  # place and last change
        self.counts: dict[int, list[int]] = {}  # of the differences
        self.value, self.old, self.place, self.size = 0, -1, 0, 0
        self.references: list[list[int]] = [[], []]
        self.relation = [SAME, SAME]
        self.rows: list[list[int] | None] = [None, None]

    def _begin(self, text: bytearray, position: int) -> None:
        """Read the references for a number that begins at ``position``."""
        place, change = self.table.get(self.entry, (0, 0))
        end = place
        while 0 < end < position and end - place < 18 and 48 <= text[end] <= 57:
            end += 1
        digits = bytes(text[place:end]).decode()
        self.size = len(digits)
        self.old = int(digits or "-1")
        new = self.old + change
        known = self.size and change and 0 <= new < 10**self.size
        self.references = [
            [int(digit) for digit in reference]
            for reference in (digits, f"{new:0{self.size}}" if known else "")
        ]
        self.relation = [SAME, SAME]

    def follow(self, text: bytearray, position: int, last: int) -> None:
        """After a byte, the last one before ``position``, which followed ``last``."""
        byte = text[position - 1]
        digit = byte - 48
        if not 0 <= digit <= 9:
            self.form = 0 if byte == 10 else (self.form + byte + 1) * 0x2F0B4C47 % 2**32
            change = self.value - self.old
            if self.old >= 0 and 0 < self.place <= 18 and change and -(2**31) <= change < 2**31:
                self.table[self.entry] = (self.table.get(self.entry, (0, 0))[0], change)
            self.entry = (self.form * 0x9E3779B1 % 2**32) >> (32 - self.bits)
            self._begin(text, position)
            self.value = self.place = 0
        else:
            if self.place == 0:
                self.table[self.entry] = (position - 1, self.table.get(self.entry, (0, 0))[1])
            if not 48 <= last <= 57:
                self.form = (self.form + 48 + 1) * 0x2F0B4C47 % 2**32
            for i, row in enumerate(self.rows):
                if row is None:
                    self.relation[i] = DIFFERENT
                    continue
                above = digit - self.references[i][self.place]
                after = {
                    SAME: {0: SAME, 1: ONE_ABOVE, -1: ONE_BELOW},
                    ONE_ABOVE: {-9: ONE_ABOVE},
                    ONE_BELOW: {9: ONE_BELOW},
                    DIFFERENT: {},
                }
                self.relation[i] = after[self.relation[i]].get(above, DIFFERENT)
                row[above % 10] += 16
                if sum(row) > 4096:
                    row[:] = [count - (count >> 1) for count in row]
            if self.place < 18:
                self.value = 10 * self.value + digit
            self.place += 1
        rest = clamp(self.size - self.place - 1, 0, 5)
        for i, reference in enumerate(self.references):
            self.rows[i] = None
            if self.place < len(reference):
                carry = rest > 0 and reference[self.place + 1] > 4
                key = ((rest * 4 + self.relation[i]) * 2 + carry) * 2 + i
                key = (self.entry * 0x85EBCA6B + key) * 0x9E3779B1 % 2**32
                row = self.counts.setdefault(key >> (32 - self.digit_bits), [0] * 10)
                self.rows[i] = row

    def logit(self, depth: int, node: int) -> int:
        """The logit of a one, if the bits so far are those of a digit; or 0."""
        if depth < 4 or node >> (depth - 4) != 0b10011:
            return 0
        start = node << (8 - depth) & 15
        total = 0
        for row, reference in zip(self.rows, self.references, strict=True):
            if row is None:
                continue
            counts = [4, 4]
            for digit in range(start, min(10, start + (1 << (8 - depth)))):
                counts[digit >> (7 - depth) & 1] += row[(digit - reference[self.place]) % 10]
            total += stretch(counts[1] * 65535 // sum(counts))
        return clamp(total, -2047, 2047)

    def set_row(self) -> int:
        """The row of weights by what the references say of the next byte; 0: nothing."""
        if self.rows[0] is None:
            return 0
        first = clamp(self.size - self.place - 1, 0, 5) * 4 + self.relation[0]
        return 1 + first * 5 + (0 if self.rows[1] is None else 1 + self.relation[1])


class Dynamic:
    """Dynamic evaluation of M1's output layer: its weights go on learning from the block.

    What is learned is kept apart: for each node, what would have to be added to M1's weights.
    Learned by online logistic regression on M1's outputs, each divided by its root mean square in
    the first bytes of the block, with one step size for each node (arXiv 1709.07432).
    """

    def __init__(self, width: int) -> None:
        self.weights = [[0] * width for _ in range(256)]  # Q14
        self.errors = [655] * 256  # sums of squared errors, Q16
        self.squares, self.seen = [8 * 256] * width, 8
        self._scale()

    def _scale(self) -> None:
        roots = [_inverse_root((square << 16) // self.seen) for square in self.squares]
        self.factors = [min(32767, (3 * factor << (24 - shift)) >> 5) for factor, shift in roots]

    def begin(self, outputs: list[int], position: int) -> None:
        """Begin a byte, before which M1's outputs are ``outputs``."""
        early = position <= 16384 and position % 8 == 0
        if early and position and position & (position - 1) == 0:
            self._scale()
        self.x = [
            clamp(rshift_round(256 * x * factor, 15), -4095, 4095)
            for x, factor in zip(outputs, self.factors, strict=True)
        ]
        if early:
            self.squares = [a + x * x for a, x in zip(self.squares, outputs, strict=True)]
            self.seen += 1

    def logit(self, node: int, logit: int) -> int:
        """What is added to M1's logit of a one at a node."""
        total = sum(w * v for w, v in zip(self.weights[node], self.x, strict=True))
        total = (total + 2**31) % 2**32 - 2**31
        added = clamp(total >> 16, -2047, 2047)
        self.added_to = clamp(logit + added, -2047, 2047)
        return added

    def learn(self, node: int, bit: int) -> None:
        """Learn from the bit that came at the node."""
        miss = (bit << 16) - bit - squash(self.added_to)
        self.errors[node] = min(self.errors[node] + (miss * miss >> 16), 2**30 - 1)
        factor, shift = _inverse_root(self.errors[node])
        step = clamp(factor * miss >> (shift - 4), -32767, 32767)
        if abs(step) >= 32:
            self.weights[node] = [
                clamp(w + rshift_round(v * step, 15), -32768, 32767)
                for w, v in zip(self.weights[node], self.x, strict=True)
            ]


NO_VALUES, PIXELS, SAMPLES = range(3)
MAX_STRIDE, MAX_ROW = 32, 16384


class Layout(NamedTuple):
    """Distances at which bytes are the same, and what the values are that lie there."""

    stride: int = 1  # bytes from a value to the next one of its channel, at most MAX_STRIDE
    row: int = MAX_STRIDE + 1
    values: int = NO_VALUES  # or PIXELS: bytes; or SAMPLES: 16 bits, the low byte first


def find_layout(text: bytearray, position: int, old: Layout) -> Layout:
    """The layout of the last bytes before ``position``."""
    n = min(position // 2, 4096)
    start = position - n
    part = text[start:position]
    best, found = [0, 0], [1, MAX_STRIDE + 1]
    for d in range(1, min(start, MAX_ROW) + 1):
        far = d > MAX_STRIDE
        score = sum(map(operator.eq, part, text[start - d : position - d]))
        score += score >> 4 if d == (old.row if far else old.stride) else 0
        if score > best[far] + (0 if far else best[0] >> 5):
            best[far], found[far] = score, d
    stride, row = found
    other = text[start - stride : position - stride]
    equal, difference = [0, 0], 0
    for i, (a, b) in enumerate(zip(part, other, strict=True), start):
        difference += min((a - b) % 256, (b - a) % 256)
        equal[i % 2] += a == b
    if stride in (2, 4) and equal[1] > 2 * equal[0]:
        return Layout(stride, row, SAMPLES)
    if stride <= 4 and difference < 20 * n and sum(equal) < 3 * n // 4:
        return Layout(stride, row, PIXELS)
    return Layout(stride, row)


class Linear:
    """Least squares over the last values, each of which makes one step of Gauss-Seidel."""

    def __init__(self, shift: int) -> None:
        self.shift = shift  # how fast old values are forgotten
        self.products = [[0] * 24 for _ in range(24)]
        self.targets, self.weights = [0] * 24, [0] * 24  # a weight of 1 is 65536

    def predict(self, x: list[int]) -> int:
        """The weighted sum of the neighbours (Q4)."""
        return sum(w * v for w, v in zip(self.weights, x, strict=False)) >> 12

    def learn(self, x: list[int], value: int, scale: int) -> None:
        """Learn from a value and its neighbours, both less the base."""
        for i, v in enumerate(x):
            v <<= scale
            row = self.products[i]
            for k, other in enumerate(x):
                row[k] += (v * other - row[k]) >> self.shift
            self.targets[i] += (v * value - self.targets[i]) >> self.shift
        for i in range(len(x)):
            row = self.products[i]
            total = sum((row[k] >> 4) * self.weights[k] for k in range(len(x)))
            miss = clamp(self.targets[i] - (total >> 12), -(2**46), 2**46) << 16
            size = row[i] + (row[i] >> 10) + (1 << scale - 2)
            step = abs(miss) // size * (1 if miss > 0 else -1)
            weight = self.weights[i] + clamp(step, -65536, 65536)
            self.weights[i] = clamp(weight, -4 * 65536, 4 * 65536)


def _plane(left: int, up: int, corner: int) -> int:
    """The middle one of left, up and left + up - above left."""
    return sorted((left, up, left + up - corner))[1]


def error_class(size: int) -> int:
    """Half octaves: 0 or 1, 2, 3, 4 and 5, 6 and 7, 8 to 11, ..."""
    octaves = max(0, size.bit_length() - 2)
    return min(31, 2 * octaves + max(0, (size >> octaves) - 1))


class Prediction:
    """Predicts values of a fixed width from their neighbours: by two Linear, and in a fixed way."""

    def __init__(self, text: bytearray) -> None:
        self.text = text
        self.active = False
        self.odd = 0  # the next byte is the high one of a sample
        self.predicted: list[int] = []  # Q4
        self.narrow: list[int] = []
        self._reset(Layout())

    def _reset(self, layout: Layout) -> None:
        self.layout, self.active = layout, False
        means = [0, *((2 + (c - 1) % 2) << (c - 1 >> 1) << 11 for c in range(1, 32))]
        self.means = [[means[:] for _ in range(4)] for _ in range(3)]  # of the errors, Q16
        self.errors = [[0] * 32768 for _ in range(3)]  # Q4, by place
        self.linear = [[Linear(shift) for _ in range(4)] for shift in (8, 11)]

    def _sample(self, position: int, back: int) -> int:
        at = position - 2 * back
        return int.from_bytes(self.text[at : at + 2], "little", signed=True)

    def _pixel(self, position: int) -> int:
        """Collect the neighbours of a byte; returns the fixed prediction."""
        p, r, text = self.layout.stride, self.layout.row, self.text

        def value(back: int) -> int:
            return text[position - back]

        self.base = value(p)
        places = [r, r + p, r - p, 2 * p, 2 * r, r - 2 * p, r + 2 * p, 2 * r - p, 2 * r + p]
        self.x = [value(back) - self.base for back in places]
        for k in range(1, p):  # other channels: how they changed
            self.x += [value(k + back) - value(k + p) for back in (0, r, r + p, r - p)]
        fixed = _plane(value(p), value(r), value(r + p))
        if p > 1:
            fixed += value(1) - _plane(value(1 + p), value(1 + r), value(1 + r + p))
        return clamp(fixed, 0, 255)

    def _sound(self, position: int) -> int:
        channels = self.layout.stride // 2
        starts = [(channels * i, channels) for i in range(1, 17)]
        starts += [(1 + 2 * i, 2) for i in range(8)] if channels == 2 else []
        self.x = []  # second differences, since samples are too much like each other
        for start, step in starts:
            one, two, three = (self._sample(position, start + k * step) for k in range(3))
            self.x.append(clamp(one - 2 * two + three, -65535, 65535))
        self.base = 2 * self._sample(position, channels) - self._sample(position, 2 * channels)
        return self.base

    def follow(self, position: int) -> None:
        """After a byte: look for the layout at times, and predict the next byte."""
        if position >= 512 and (position % 65536 == 0 or position & (position - 1) == 0):
            found = find_layout(self.text, position, self.layout)
            if found._replace(row=self.layout.row) != self.layout:
                self._reset(found)
            self.layout = found
        stride, row, values = self.layout
        pixels = values == PIXELS
        self.odd = int(values == SAMPLES and position % 2)
        if self.odd:  # cells of 256, around the sample less its low byte
            low = self.text[position - 1]
            self.centers = [(value - low * 16 >> 8) & 4095 for value in self.predicted]
            self.narrow = [narrow * 256 for narrow in self.narrow]
            return
        self.active = values == SAMPLES or (pixels and position >= 2 * row + stride)
        if not self.active:
            return
        self.channel = position % stride if pixels else position // 2 % (stride // 2)
        fixed = 16 * (self._pixel(position) if pixels else self._sound(position))
        limits = (-64, 255 * 16 + 64) if pixels else (-32768 * 16, 32767 * 16)
        linear = [self.base * 16 + one[self.channel].predict(self.x) for one in self.linear]
        self.predicted = [clamp(value, *limits) for value in (*linear, fixed)]
        self.centers = [value if pixels else value & 4095 for value in self.predicted]
        if pixels:
            near = {stride: 2, row: 2, row - stride: 1, row + stride: 1}
            near[1] = near.get(1, 0) + 2
        else:
            near = {stride: 2, 2 * stride: 2, 3 * stride: 1, 4 * stride: 1}
            near[2] = near.get(2, 0) + 2
        self.classes, self.narrow = [], []
        for errors, means in zip(self.errors, self.means, strict=True):
            total = sum(weight * errors[(position - back) % 32768] for back, weight in near.items())
            self.classes.append(error_class(total >> 2))
            mean = means[self.channel][self.classes[-1]] >> 12
            self.narrow.append(1453476 // max(2, mean))  # 2^20 * 2 ln 2 / mean

    def learn(self, position: int) -> None:
        """Learn from the byte at ``position``."""
        values = self.layout.values
        if not self.active or (values == SAMPLES and not self.odd):
            return
        value = self.text[position] if values == PIXELS else self._sample(position + 1, 1)
        for i, predicted in enumerate(self.predicted):
            error = abs(value * 16 - predicted)
            means = self.means[i][self.channel]
            c = self.classes[i]
            means[c] += (min(error, 200000) * 4096 - means[c]) >> 5
            self.errors[i][(position - self.odd) % 32768] = min(error, 65535)
        for one in self.linear:
            one[self.channel].learn(self.x, value - self.base, 16 if values == PIXELS else 8)

    def next_bytes(self) -> list[int]:
        """The next byte by each prediction."""
        if self.odd:
            return [(center + 8 >> 4) % 256 for center in self.centers]
        return [(value >> 4) % 256 for value in self.predicted]

    def logits(self, depth: int, node: int) -> list[int]:
        """The logit of a one by each prediction: by a logistic distribution around it."""
        if not self.active:
            return [0, 0, 0]
        size, wraps = 2048 >> depth, 0 if self.layout.values == PIXELS else 2
        logits = []
        for center, narrow in zip(self.centers, self.narrow, strict=True):
            mass = [size, size]  # the chance of any byte, however unlikely
            for k in range(-wraps, wraps + 1):
                start = (node << (8 - depth)) % 256 * 16 - 8 + k * 4096 - center
                below = [
                    squash(clamp((start + j * size) * narrow >> 12, -3072, 3071)) for j in range(3)
                ]
                for j in range(2):
                    mass[j] += (below[j + 1] - below[j]) * 64
            logits.append(stretch(mass[1] * 65535 // sum(mass)))
        return logits


class Mixing:
    """n-gram and match models of a block and M1, mixed in the logistic domain."""

    def __init__(self, text: bytearray, size: int, m1: M1 | None, profile: int) -> None:
        self.text, self.size, self.position, self.profile = text, size, 0, profile
        self.last16 = self.history = self.classes = self.word = self.before = self.before2 = 0
        self.shape = self.skeleton = 0
        self.follow: dict[int, int] = {}
        self.follow2: dict[int, int] = {}
        self.line = self.last_line = self.column = self.above = 0
        self.field = self.before_field = self.field_size = self.number = 0
        self.fields, self.ends = [[0] * FIELDS, [0] * FIELDS], [[0] * FIELDS, [0] * FIELDS]
        self.lower = self.up = self.up_hits = 0
        self.masked = self.zeros = self.key = self.indent = self.first_word = 0
        self.last_form = self.last_form2 = 0
        self.seen = [[0, 0, 0] for _ in range(256)]
        self.record, self.candidate, self.hits = 0, [0, 0], [0, 0]
        self.controls = 0
        contexts, sets = MIXED_CONTEXTS[profile], MIXED_SETS[profile]
        bits = _ceil_log2(size)
        self.slot_bits = clamp(bits + profile, 10, clamp(bits, 22, 24))
        self.run_bits = clamp(bits, 8, 18)
        self.apm_bits = clamp(bits + 2, 10, 13 if profile == FULL else 16)
        self.numbers = Numbers(clamp(bits - 2, 6, 16), clamp(bits - 2, 8, 15))
        self.prediction = Prediction(text)  # only for DATA
        width = m1.hidden + m1.embed if m1 and profile in (FULL, DEEP) else 0
        self.m1, self.dynamic = m1, Dynamic(width) if width else None
        self.slots: dict[int, bytearray] = {}
        self.following, self.counts, chances = history_tables()
        self.new_map = LightMap if profile == LIGHT else AdaptiveMap
        self.maps = [[self.new_map(p, 5) for p in chances] for _ in range(contexts)]
        self.matches = [
            Match(least, clamp(bits, 8, max(20, bits - 3)), self.new_map)
            for least in MATCH_MIN[profile]
        ]
        self.expected_map: dict[tuple[int, int, int], AdaptiveMap] = {}
        # For three bytes and for the word: the byte that followed last, and how often in a row.
        self.runs: list[dict[int, tuple[int, int]]] = [{}, {}]
        self.run_map = [
            [self.new_map(65536 - 65536 // ((i & 15) + 2), 5) for i in range(128)] for _ in range(2)
        ]
        # Inputs: M1, match, expected byte, bias, number, two runs, contexts, other matches,
        # predictions.
        self.weight_bits = WEIGHT_BITS[profile]
        one = (1 << self.weight_bits) // sets
        deep = profile >= DEEP
        other = one // ((32 if deep else 8) if m1 else (16 if deep else 4))
        others = 3 + contexts + len(self.matches) - 1 + (3 if profile == DATA else 0)
        first = [3 * one // 4 if m1 else one // 4, other, other, 0, *[other] * others]
        self.rate_end, self.rate_start = MIXED_RATES[profile]
        self.weights = [[first[:] for _ in range(rows)] for rows in SET_ROWS[:sets]]
        if start := m1 and m1.start(profile):
            self._take_start(*start)
        self.rows: list[list[int]] = []
        self.apms: list[dict[int, list[int]]] = [{} for _ in range(MIXED_APMS[profile])]
        self._set_contexts()

    def _take_start(self, weights: list[list[int]], words: list[int]) -> None:
        """Begin with what a model file has for this profile."""
        rows = iter(weights)
        for own in self.weights:
            for row in own:
                row[:] = next(rows)[: len(row)]
        at = 256 * len(self.maps)
        pairs = [(maps, words[256 * i : at]) for i, maps in enumerate(self.maps)]
        match_maps = [row for match in self.matches for row in match.map]
        for table in [*match_maps, *self.run_map]:
            pairs.append((table, words[at:]))
            at += len(table)
        for table, parts in pairs:
            for a_map, word in zip(table, parts, strict=False):  # fewer than 256 states are used
                a_map.word = word

    def _find_slot(self, key: int) -> bytearray:
        key = key * 0x85EBCA6B % 2**32
        key ^= key >> 15
        index, check = key >> (32 - self.slot_bits), key & 255
        found = [self.slots.setdefault(index ^ probe, bytearray(16)) for probe in range(3)]
        for slot in found:
            if slot[1] == 0:
                slot[0] = check
                return slot
            if slot[0] == check:
                return slot
        oldest = min(found, key=lambda slot: self.counts[slot[1]])
        oldest[:] = bytes([check, *[0] * 15])
        return oldest

    def _find_slots(self, node: int) -> None:
        self.found = [self._find_slot((h + node * 0x9E3779B1) % 2**32) for h in self.hashes]

    def _byte_back(self, back: int) -> int:
        """The byte ``back`` bytes before the next one, 0 before the block."""
        return self.text[self.position - back] if back <= self.position else 0

    def _is_binary(self) -> bool:
        return self.profile == DATA or self.controls >= 3000

    def _set_contexts(self) -> None:
        history, last, r, word = self.history, self.history % 256, self.record, self.word << 32

        def order(n: int) -> int:
            return _hash(history % 256**n, n)

        full = self.profile == FULL and not self._is_binary()
        if not self._is_binary():
            after = self.follow.get(last, 0) % 256**3 << 8 | last
            special = [
                _hash(self.word << 8 | last, 9),
                _hash(self.column << 16 | self.above << 8 | last, 10),
                _hash(word | self.before, 11),
                _hash(after, 21) if full else _hash(self.shape << 8 | last, 12),
                _hash(self.skeleton << 8 | last, 13),
            ]
        elif r:  # records
            special = [
                _hash(self._byte_back(r) << 16 | self._byte_back(r + 1) << 8 | last, 14),
                _hash(self.position % r << 8 | last, 15),
                _hash(self._byte_back(r) << 8 | self._byte_back(2 * r), 16),
            ]
        else:
            special = [
                _hash(history & 0xFF00FF00, 17),
                _hash(history & 0xFFFF0000, 18),
                _hash(history & 0xFF00FF, 19),
            ]
        if self._is_binary():
            special += [_hash(history & 0xFFFF00, 20), order(1)]
        self.hashes = [order(2), order(5 if self.profile <= FULL else 4), *special[:2]]
        if self.profile >= FULL:
            self.hashes += special[2:]
            self.hashes.append(_hash(self.numbers.form, 22) if full else order(3))
            self.hashes.append(_hash(self.masked, 23) if full else order(6))
        binary = self._is_binary()
        self.set_rows = [4096 + last if binary else self.classes, 0, 0, last * 8]
        if self.profile >= DEEP:
            keys = self._deep_keys()
            self.hashes += [_hash(key, 21 + i) for i, key in enumerate(keys)]
            self.set_rows = self._deep_rows()
        salt = 12 + len(self.hashes)
        self.apm_keys = [history % 65536, _hash(last, salt), _hash(self.set_rows[-1], salt + 1)]
        run_keys = [order(3), _hash(self.word << 8 | last, 9)]
        self.run_keys = [key >> (32 - self.run_bits) for key in run_keys]
        self._find_slots(1)

    def _find_record(self, byte: int) -> None:
        """A byte that occurred three times at one distance hints at records of that length."""
        seen, p = self.seen[byte], self.position
        d = p - seen[0]
        far = [self._byte_back(k * d + 1) for k in (5, 6)]
        if (
            seen[2]
            and d > 1
            and seen[0] - seen[1] == seen[1] - seen[2] == d
            and (d > 15 or far == [byte, byte])
        ):
            if d in self.candidate:
                k = self.candidate.index(d)
            else:
                k = int(self.hits[0] > self.hits[1])
                self.candidate[k], self.hits[k] = d, 0
            self.hits[k] += 1
            if self.hits[k] == 16:
                self.record, self.hits = d, [0, 0]
        self.seen[byte] = [p, *seen[:2]]

    def _deep_keys(self) -> list[int]:
        """The contexts that only DEEP and DATA have."""
        history, last, match = self.history, self.history % 256, self.matches[0]
        expected = self.text[match.at] if match.at else 256

        def both(one: int, other: int) -> int:
            return (one * HASH + other) % 2**64

        keys = [
            history % 256**5,
            self.follow.get(last, 0) % 256**3 << 8 | last,
            self.follow2.get(history % 65536, 0) << 8 | last,
            min(15, match.length) << 24 | expected << 8 | last,
        ]
        if not self._is_binary():
            form = self.numbers.form
            above = self.fields[not self.lower][self.number]
            up = self.text[self.up] if self.up else 0
            after = self.text[self.up + 1] if self.up and self.up + 1 < self.position else 0
            first = self.text[self.line] if self.line < self.position else 0
            return [
                *keys,
                last,
                history & 0xFFFF00,
                both(self.word, (self.before * 31 + self.before2) % 2**32),
                both(self.word, self.before2),
                both(self.field, self.number),
                both(self.field, above),
                both(self.field, self.key),
                both(form, self.field),
                both(form, above),
                form,
                self.masked,
                self.masked % 2**32,
                after << 24 | up << 16 | last << 8 | self.up_hits,
                first << 16 | history % 65536,
                both(self.word, self.key << 8 | last),
                both(self.first_word, self.indent << 16 | history % 65536),
                both(self.last_form, form),
                both((self.last_form + 3 * self.last_form2) % 2**32, form),
                both(self.field, self.before_field),
                both(self.word, self.first_word),
                self.shape,
                both(self.skeleton, self.word),
                both(self.key, self.field_size << 8 | last),
                both(self.first_word, form),
                both(self.number, self.skeleton),
                both(self.classes, self.before),
            ]
        r, back = self.record or 4, self._byte_back
        at, one, two = self.position % r, back(r), back(2 * r)
        along = (last + one - back(r + 1)) % 256
        line, curve, bent = self._next_samples()
        keys += [
            at << 8 | one,
            back(3 * r) << 16 | two << 8 | one,
            at << 8 | along,
            at << 8 | (2 * one - two) % 256,
            one << 8 | along,
            at << 24 | two << 16 | one << 8 | last,
            at << 24 | one << 16 | history % 65536,
            history & 0xFF00,
            history & 0xFF0000,
            history & 0xFF000000,
            history & 0xFF0000FF,
            history & 0xF0F0F0F0F0,
            history % 256**7,
            self.zeros % 65536,
            (history & 0xFFE00000) << 8 | self.zeros % 256,
            history & 0xFF00000000,
            history & 0xFF0000000000,
            history & 0xFFFF000000,
            history & 0xFFFF00000000,
            history & 0xFF00FF00,
            history & 0xFF00FF0000,
            history & 0xFF000000FF,
            history & 0xFF00000000FF,
            line,
            curve << 9 | line,
            bent,
        ]
        return keys + self._data_keys() if self.profile == DATA else keys

    def _data_keys(self) -> list[int]:
        """The contexts that only DATA has."""
        history, last, d, back = self.history, self.history % 256, self.prediction, self._byte_back
        stride, row, _ = d.layout
        phase = self.position % stride
        left, right, up, up2 = back(stride), back(row - stride), back(row), back(2 * row)
        keys = [
            history & 0xF8F8F8,
            history & 0xF8F8F8F8F8F8,
            self.follow2.get(history % 65536, 0) % 256**3,
            self.position % 4 << 8 | last,
            self.position % 16 << 8 | last,
            self.word << 8 | last,
            history & 0xE0E0E0E0E0E0E0E0,
            phase << 16 | up << 8 | up2,
            phase << 24 | up << 16 | right << 8 | left,
            up << 24 | (right & 0xE0) << 16 | (left & 7) << 8 | up2 >> 4,
        ]
        if not d.active:
            first, _, short = self.matches
            expected, other = (self.text[m.at] if m.at else 256 for m in (first, short))
            return [
                *keys,
                history & 0xFF0000000000FF,
                other << 8 | last,
                other << 16 | expected << 4 | min(15, first.length),
            ]
        one, _, fixed = d.next_bytes()
        key = d.odd << 8 | d.channel << 9
        return [*keys, key | one, key << 8 | one << 8 | last, key << 8 | one << 8 | fixed]

    def _next_samples(self) -> list[int]:
        """The next byte, and 256 if it is a high one, by samples of 16 bits in two channels.

        They go on in a line, in a curve, or in a line that bends half as much as the other channel.
        """
        odd = self.position % 2
        ends = [2 * k + odd for k in range(1, 7)]
        samples = [self._byte_back(at) | self._byte_back(at - 1) << 8 for at in ends]
        other, first, other2, second, other3, third = samples
        line, bend = 2 * first - second, other - 2 * other2 + other3
        return [
            256 | (sample - self.history % 256 + 128) >> 8 & 255 if odd else sample & 255
            for sample in (line, 3 * first - 3 * second + third, line + (bend >> 1))
        ]

    def _deep_rows(self) -> list[int]:
        """The rows of DEEP's and DATA's sets of weights, the second one's without the node."""
        history, last, match = self.history, self.history % 256, self.matches[0]
        predicted = 0
        if match.at:
            predicted = (1 + (match.length > 3) + (match.length > 14)) << 8 | self.text[match.at]
        if self._is_binary():
            before = 4096 + (history >> 8) % 256
            place = (self.position % 4 << 8 | self.zeros % 256, self._next_samples()[0])
            d = self.prediction
            if self.profile == DATA and d.active:
                phase = self.position % (4 if d.layout.values == SAMPLES else d.layout.stride)
                place = (phase << 8 | d.classes[0] << 3, place[1])
            return [before, 0, 0, last * 8, *place, history >> 16 & 255, predicted]
        number = self.numbers.set_row()
        place = (min(15, self.field_size) << 6 | self.number, self.numbers.form >> 21)
        other = 255 + number if number else history >> 8 & 255
        return [self.classes, 0, 0, last * 8, *place, other, predicted]

    def _find_field(self, byte: int, kind_of: int) -> None:
        """DEEP's and DATA's record of lines and their fields, after ``byte``."""
        after = self.history >> 8 & 0xFFFF
        self.follow2[after] = (self.follow2.get(after, 0) << 8 | byte) % 2**32
        column = byte == self.history >> 32 & 255
        self.zeros = (self.zeros << 2 | column << 1 | (byte == 0)) % 2**32
        hit = self.up > 0 and self.text[self.up] == byte
        self.up_hits = min(15, self.up_hits + 1) if hit else 0
        if self.up:
            self.up += 1
        if kind_of not in FIELD_ENDS:
            self.field_size += 1
            self.field = (self.field + byte + 1) * 0x2F0B4C47 % 2**32
        else:
            self.field_size = 0
            if self.field:
                n = self.number
                self.fields[self.lower][n] = self.before_field = self.field
                self.ends[self.lower][n] = self.position
                self.field = 0
                self.up = self.ends[not self.lower][n] or self.up
                self.number = min(FIELDS - 1, n + 1)
        if byte in b":=>":
            self.key = self.word or self.before
        if byte == 10:
            self.up = self.last_line
            for n in range(self.number, FIELDS):
                self.ends[self.lower][n] = self.fields[self.lower][n] = 0
            self.lower = int(not self.lower)
            self.number = self.first_word = self.indent = 0
            self.last_form, self.last_form2 = self.numbers.form, self.last_form
        elif not self.first_word:
            if byte in b" \t":
                self.indent += 1
            elif kind_of in FIELD_ENDS:
                self.first_word = self.before_field

    def begin(self) -> None:
        """Begin a byte, for which M1 has made its step."""
        self.node = 1
        if self.m1 and self.dynamic:
            self.dynamic.begin(self.m1.act, self.position)
        for match in self.matches:
            match.begin(self.text)
        self.rate = self.rate_end + self.rate_start * 1024 // (1024 + self.position // 32)
        first = self.matches[0]
        self.match_class = 1 + (first.length >= 16) + (first.length >= 32) if first.at else 0
        found = [runs.get(key, (0, 0)) for runs, key in zip(self.runs, self.run_keys, strict=True)]
        self.run_byte = [256 | byte if count else 0 for byte, count in found]
        self.run_count = [min(15, count) for _, count in found]

    def predict(self, depth: int, logit: int) -> int:
        """Probability (1..65535) of a one."""
        self.inner = self.node if depth < 4 else self.node % (1 << (depth - 4)) | 1 << (depth - 4)
        at = self.matches[0].at
        hint = self.text[at] if at else self.history >> 8 & 255
        self.expected_place = self.expected_map.setdefault(
            (self.match_class, hint, self.node), self.new_map(32768, 0)
        )
        self.run_place = [
            maps[depth << 4 | count]
            for maps, count in zip(self.run_map, self.run_count, strict=True)
        ]
        added = self.dynamic.logit(self.node, logit) if self.dynamic else 0
        self.x = [
            clamp(logit, -2047, 2047),
            self.matches[0].input(depth),
            stretch(self.expected_place.p16()),
            256,
            self.numbers.logit(depth, self.node) or added,
            *(
                _towards(byte, depth, stretch(place.p16()))
                for byte, place in zip(self.run_byte, self.run_place, strict=True)
            ),
            *(
                stretch(maps[slot[self.inner]].p16())
                for maps, slot in zip(self.maps, self.found, strict=True)
            ),
            *(match.input(depth) for match in self.matches[1:]),
        ]
        if self.profile == DATA:
            self.x += self.prediction.logits(depth, self.node)
        self.set_rows[1] = self.node
        self.sets = [
            weights[row + depth if i == 3 else row]
            for i, (weights, row) in enumerate(
                zip(self.weights, self.set_rows, strict=False)  # as many sets as the profile has
            )
        ]
        total = sum(w * v for weights in self.sets for w, v in zip(weights, self.x, strict=True))
        most = 3071 if self.profile >= DEEP else 2047
        self.mixed = clamp(total >> self.weight_bits, -most, most)
        p = squash(self.mixed)
        if not self.apms:
            return p
        step, part = divmod((clamp(self.mixed, -2047, 2047) + 2048) * 32, 4096)
        self.near = step + (part >> 11)
        self.rows = []
        for apm, value in zip(self.apms, self.apm_keys, strict=False):
            key = (value * 0x9E3779B1 + self.node * 0x85EBCA6B) % 2**32
            row = apm.setdefault(
                key >> (32 - self.apm_bits),
                [squash(clamp((j - 16) * 128, -2047, 2047)) for j in range(33)],
            )
            self.rows.append(row)
            p += (row[step] * (4096 - part) + row[step + 1] * part) >> 12
        n = 1 + len(self.rows)
        return max(1, (p + n // 2) // n)

    def update(self, depth: int, bit: int) -> None:
        """Learn from a bit."""
        miss = (bit << 16) - bit - squash(self.mixed)
        error = clamp(miss * self.rate >> 8, -32767, 32767)
        for weights in self.sets if self.profile == LIGHT or abs(miss) >= 256 else []:
            for k, v in enumerate(self.x):
                weights[k] = clamp(weights[k] + rshift_round(v * error, 15), -32768, 32767)
        if self.dynamic:
            self.dynamic.learn(self.node, bit)
        for row in self.rows:
            row[self.near] += ((bit << 16) - bit - row[self.near]) >> 5
        for maps, slot in zip(self.maps, self.found, strict=True):
            state = slot[self.inner]
            maps[state].update(bit)
            slot[self.inner] = self.following[state][bit]
        self.expected_place.update(bit)
        for match in self.matches:
            match.update(depth, bit)
        for i, place in enumerate(self.run_place):
            if self.run_byte[i]:
                hit = (self.run_byte[i] >> (7 - depth) & 1) == bit
                place.update(int(hit))
                if not hit:
                    self.run_byte[i] = 0
        self.node = self.node << 1 | bit
        if depth == 3:
            self._find_slots(self.node)

    def end(self) -> None:
        """End a byte; text[self.position] holds it."""
        byte = self.node & 255
        last, kind_of = self.history % 256, kind(byte)
        for runs, key in zip(self.runs, self.run_keys, strict=True):
            before, count = runs.get(key, (0, 0))
            again = count > 0 and before == byte
            runs[key] = (byte, min(255, count + 1) if again else 1)
        self.follow[last] = (self.follow.get(last, 0) << 8 | byte) % 256**4
        self.last16 = (self.last16 << 8 | byte) % 256**16
        self.history = self.last16 % 256**8
        self.masked = (self.masked << 8 | (48 if kind_of == 4 else byte)) % 2**64
        self.shape = (self.shape << 4 | kind_of) % 2**32
        if self.skeleton % 16 != kind_of:
            self.skeleton = (self.skeleton << 4 | kind_of) % 2**32
        self.classes = (self.classes << 3 | (0 if kind_of == 15 else min(7, kind_of))) % 4096
        letter = byte | 32 if 65 <= byte <= 90 else byte
        if 97 <= letter <= 122 or byte >= 128:
            self.word = (self.word + letter + 1) * 0x2F0B4C47 % 2**32
        elif self.word:
            self.before2, self.before, self.word = self.before, self.word, 0
        if self.profile == DATA:
            self.prediction.learn(self.position)
        self.position += 1
        if self.position == self.size:
            return
        if byte == 10:
            self.last_line, self.line = self.line, self.position
        control = byte < 9 or 13 < byte < 32
        self.controls += (65535 * control - self.controls) >> 8
        self._find_record(byte)
        column = self.position - self.line
        above = self.last_line + column
        self.above = self.text[above] if above < self.line else 0
        self.column = min(255, column)
        for match in self.matches:
            match.follow(self.text, self.position, self.last16)
        if self.profile >= DEEP:
            self._find_field(byte, kind_of)
        if self.profile == DATA:
            self.prediction.follow(self.position)
        self.numbers.follow(self.text, self.position, last)
        self._set_contexts()


# ---- Blocks of ac and eqinfo ------------------------------------------------------------------


def block_lanes(size: int, profile: int) -> int:
    """Lanes of a block of ``size`` bytes."""
    if profile:
        return 1
    return 8 if size >= 262144 else 4 if size >= 65536 else 2 if size >= 32768 else 1


def lane_bounds(size: int, lanes: int, lane: int) -> tuple[int, int]:
    """Where a lane starts and ends."""
    return size * lane // lanes, size * (lane + 1) // lanes


def _branches(text: bytes | bytearray) -> Iterator[tuple[int, bool]]:
    """Places of calls and jumps in x86 code, and whether they are near (top byte 0 or 255)."""
    i = 0
    while i + 5 <= len(text):
        if text[i] in (0xE8, 0xE9):
            yield i, text[i + 4] in (0, 255)
            i += 4
        i += 1


def is_x86(text: bytes) -> bool:
    """Does a block look like x86 code?"""
    near = [stays for _, stays in _branches(text)]
    return sum(near) * 2 > len(near) and sum(near) > len(text) // 256


def x86_filter(text: bytearray, encode: bool) -> None:
    """Make the targets of near branches absolute, or relative again, in place."""
    for i, near in _branches(text):
        if near:
            target = int.from_bytes(text[i + 1 : i + 4], "little") | (text[i + 4] & 1) << 24
            target += i if encode else -i
            text[i + 1 : i + 4] = (target % 2**24).to_bytes(3, "little")
            text[i + 4] = 255 * (target >> 24 & 1)


def has_crlf(text: bytes) -> bool:
    """Does a block have at least four lines, and do all of them end with CR LF?"""
    return text.count(b"\n") == text.count(b"\r\n") >= 4


def add_cr(text: bytearray, size: int) -> bytearray:
    """Put a CR before each LF, from the last one backwards, until there are ``size`` bytes."""
    lines = text.split(b"\n")
    more = size - len(text)
    first = len(lines) - 1 - more  # in a damaged block some lines get none
    out = bytearray(b"\n".join(lines[: first + 1]))
    for line in lines[first + 1 :]:
        out += b"\r\n" + line
    return out


def ac_block(
    coder: Coder,
    size: int,
    make_m1: Callable[[], M1] | None,
    profile: int,
    text: bytes = b"",
    prior: bytes = b"",
) -> bytes:
    """Code a block of ``ac``. ``text`` is what an Encoder codes; returns the block's text."""
    if prior:
        assert make_m1 is not None
        return _block_behind(prior, coder, size, make_m1(), profile, text)
    out = bytearray(text) if text else bytearray(size)
    filtered = 0
    if make_m1 is None:
        filtered = coder.bit(1, int(is_x86(text)))
        profile = DATA if profile == DEEP else profile
        if text and filtered:
            x86_filter(out, True)
    elif profile:
        filtered = coder.bit(1, int(has_crlf(text)))
        if text and filtered:
            out = bytearray(text.replace(b"\r\n", b"\n"))
    crlf = filtered and make_m1 is not None
    lanes = block_lanes(size, profile)
    m1s = [make_m1() for _ in range(lanes)] if make_m1 else []
    mixing = Mixing(out, size, m1s[0] if m1s else None, profile) if profile else None
    bounds = [lane_bounds(size, lanes, k) for k in range(lanes)]
    t = 0
    while t < max(end - start for start, end in bounds):
        for k, (start, end) in enumerate(bounds):
            if start + t >= end:
                continue
            if m1s:
                m1s[k].step()
            if mixing:
                mixing.begin()
            node = 1
            for depth in range(8):
                logit = m1s[k].logit(node) if m1s else 0
                p1 = mixing.predict(depth, logit) if mixing else squash(logit)
                bit = coder.bit(p1, out[start + t] >> (7 - depth) & 1)
                if mixing:
                    mixing.update(depth, bit)
                node = node << 1 | bit
            out[start + t] = node & 255
            if m1s:
                m1s[k].push(node & 255)
            if mixing:
                mixing.end()
            if crlf and node & 255 == 10 and t + 1 < end:
                bounds[k] = (start, end - 1)  # leaves room for its CR
        t += 1
    if crlf:
        out = add_cr(out[: bounds[0][1]], size)
    elif filtered:
        x86_filter(out, False)
    return bytes(out)


def _block_behind(
    prior: bytes, coder: Coder, size: int, m1: M1, profile: int, text: bytes
) -> bytes:
    """A block of ``ac`` with a prior, which is read first, as if the block began with it."""
    out = bytearray(prior) + (text or bytes(size))
    mixing = Mixing(out, 1 << _ceil_log2(len(out)), m1, profile)
    for t in range(len(out)):
        m1.step()
        mixing.begin()
        node = 1
        for depth in range(8):
            p1 = mixing.predict(depth, m1.logit(node))
            bit = out[t] >> (7 - depth) & 1
            if t >= len(prior):
                bit = coder.bit(p1, bit)
            mixing.update(depth, bit)
            node = node << 1 | bit
        out[t] = node & 255
        m1.push(node & 255)
        mixing.end()
    return bytes(out[len(prior) :])


def eqinfo_block(text: bytes, width: int, m1: M1, reset_every: int = 1) -> bytes:
    """A block of ``eqinfo``: ``width`` bits per codeword, the last byte filled up with zeros."""
    if reset_every == 1 and width <= MAX_DICTIONARY:
        codes = encode_dictionary(text, window_dictionary(width, m1_tree(m1)))
    else:
        codes = encode_windows(text, width, m1_tree(m1), reset_every)
    return pack_codes(codes, width)


def pack_codes(codes: Sequence[int], width: int) -> bytes:
    """Pack codewords of ``width`` bits, one after another."""
    bits = "".join(f"{code:0{width}b}" for code in codes)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def bit_groups(data: bytes, width: int) -> Iterator[int]:
    """The codewords in a block of ``eqinfo``."""
    bits = "".join(f"{byte:08b}" for byte in data)
    for at in range(0, len(bits) - width + 1, width):
        yield int(bits[at : at + width], 2)

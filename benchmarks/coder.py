"""The coders compared with the ideal code length and with constriction, in one run.

    python benchmarks/coder.py [ENGLISH_TEXT]

Needs the `bench` extra. Speeds are the best of several runs, on one thread, in million symbols per
second; "same distributions" means the same integer frequencies in 1/65536 on both sides.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import constriction
import numpy as np
from timing import best

from nzip import _coder, _predict, models

FIXED = 4_000_000  # symbols with one distribution
VARIED = 100_000  # symbols with their own distributions: 256 numbers per symbol
TEXT = Path(__file__).parents[1] / "examples" / "corpus" / "compression.txt"


def cumulative(freq: np.ndarray) -> np.ndarray:
    """Frequencies [n, 256] as rows [n, 257] from 0 to 65536."""
    rows = np.zeros((len(freq), 257), np.uint32)
    rows[:, 1:] = freq.cumsum(axis=1)
    return rows


def draw(rng: np.random.Generator, freq: np.ndarray, n: int) -> np.ndarray:
    """Draw one symbol from each of n rows (or n symbols from the only row)."""
    rows = cumulative(freq)
    place = rng.integers(0, 65536, n)
    if len(rows) == 1:
        return (np.searchsorted(rows[0], place, side="right") - 1).astype(np.uint8)
    return ((rows[:, 1:] <= place[:, None]).sum(axis=1)).astype(np.uint8)


def ideal_bytes(freq: np.ndarray, symbols: np.ndarray) -> float:
    """The ideal code length in bytes: the sum of -log2 of the probabilities, over 8."""
    taken = freq[0][symbols] if len(freq) == 1 else freq[np.arange(len(symbols)), symbols]
    return float(-np.log2(taken / 65536).sum() / 8)


def line(what: str, count: int, ours: float, theirs: float) -> None:
    print(
        f"  {what:<28} nzip {count / ours / 1e6:8.1f} M/s   constriction"
        f" {count / theirs / 1e6:8.1f} M/s   {theirs / ours:5.2f} times"
    )


def symbols_against_constriction(rng: np.random.Generator) -> None:
    queue, family = constriction.stream.queue, constriction.stream.model
    for name, count in (("one fixed distribution", FIXED), ("a distribution each", VARIED)):
        rows = 1 if count == FIXED else count
        alphas = rng.dirichlet(np.full(256, 0.2), size=rows)
        freq = np.array([rng.multinomial(65536 - 256, alpha) for alpha in alphas]) + 1
        table = cumulative(freq)
        symbols = draw(rng, freq, count)
        wide = symbols.astype(np.int32)
        chances = (freq / 65536).astype(np.float32)
        if rows == 1:
            model = family.Categorical(chances[0], perfect=False)
            args: tuple[Any, ...] = (model,)
        else:
            model = family.Categorical(perfect=False)
            args = (model, chances)

        def encode_theirs(wide: np.ndarray = wide, args: tuple[Any, ...] = args) -> np.ndarray:
            encoder = queue.RangeEncoder()
            encoder.encode(wide, *args)
            return encoder.get_compressed()

        def decode_theirs(
            words: np.ndarray, args: tuple[Any, ...] = args, count: int = count
        ) -> np.ndarray:
            decoder = queue.RangeDecoder(words)
            return decoder.decode(args[0], count) if len(args) == 1 else decoder.decode(*args)

        def ans_decode(
            words: np.ndarray, args: tuple[Any, ...] = args, count: int = count
        ) -> np.ndarray:
            coder = constriction.stream.stack.AnsCoder(words)
            return coder.decode(args[0], count) if len(args) == 1 else coder.decode(*args)

        code = _coder.encode_symbols(symbols, table)
        words = encode_theirs()
        stack = constriction.stream.stack.AnsCoder()
        stack.encode_reverse(wide, *args)
        stacked = stack.get_compressed()
        assert _coder.decode_symbols(code, table, count) == symbols.tobytes()
        assert np.array_equal(decode_theirs(words), wide)
        assert np.array_equal(ans_decode(stacked), wide)
        ideal = ideal_bytes(freq, symbols)
        print(f"bytes, {name}: {count:,} symbols")
        print(
            f"  code length                  nzip {len(code) / ideal - 1:+.4%}   constriction"
            f" {words.nbytes / ideal - 1:+.4%} of the ideal {ideal:,.0f} bytes"
        )
        ours, theirs = best(
            lambda s=symbols, t=table: _coder.encode_symbols(s, t, check=False), encode_theirs
        )
        line("encode (range coder)", count, ours, theirs)
        ours, theirs, ans = best(
            lambda c=code, t=table, n=count: _coder.decode_symbols(c, t, n, check=False),
            lambda w=words, d=decode_theirs: d(w),
            lambda w=stacked, d=ans_decode: d(w),
        )
        line("decode (range coder)", count, ours, theirs)
        line("decode (their ANS coder)", count, ours, ans)


def gaussians_against_constriction(rng: np.random.Generator) -> None:
    """constriction's own best case in a batch: parametric models, tables never built."""
    family = constriction.stream.model.QuantizedGaussian(0, 255)
    means = rng.uniform(60, 190, VARIED)
    stds = rng.uniform(2, 40, VARIED)
    symbols = np.clip(np.round(rng.normal(means, stds)), 0, 255).astype(np.int32)

    def encode() -> np.ndarray:
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode(symbols, family, means, stds)
        return encoder.get_compressed()

    words = encode()
    grid = np.arange(256)[None, :]
    density = np.exp(-(((grid - means[:, None]) / stds[:, None]) ** 2) / 2)
    freq = np.floor(density / density.sum(axis=1, keepdims=True) * (65536 - 256)).astype(int) + 1
    freq[np.arange(VARIED), freq.argmax(axis=1)] += 65536 - freq.sum(axis=1)
    table, ours_in = cumulative(freq), symbols.astype(np.uint8)
    code = _coder.encode_symbols(ours_in, table)
    print(f"bytes, a Gaussian each: {VARIED:,} symbols (constriction computes, nzip reads tables)")
    a, b = best(lambda: _coder.encode_symbols(ours_in, table, check=False), encode)
    line("encode", VARIED, a, b)
    a, b = best(
        lambda: _coder.decode_symbols(code, table, VARIED, check=False),
        lambda: constriction.stream.queue.RangeDecoder(words).decode(family, means, stds),
    )
    line("decode", VARIED, a, b)


def binary(rng: np.random.Generator) -> None:
    count = 8_000_000
    p1 = rng.integers(1, 65536, count).astype(np.uint16)
    bits = (rng.random(count) * 65536 < p1).astype(np.uint8)
    ideal = -np.log2(np.where(bits == 1, p1, 65536 - p1.astype(np.int64)) / 65536).sum() / 8
    code = _coder.encode_bits(bits, p1)
    encode, decode = best(
        lambda: _coder.encode_bits(bits, p1), lambda: _coder.decode_bits(code, p1)
    )
    print(f"bits, a probability each: {count:,} bits")
    print(f"  code length                  nzip {len(code) / ideal - 1:+.4%} of the ideal")
    print(f"  encode {count / encode / 1e6:.1f} M/s, decode {count / decode / 1e6:.1f} M/s")


def byte_costs(predictor: _predict.Predictor, text: bytes) -> np.ndarray:
    """Bits that M1 needs for each byte of a text, after a reset."""
    logits = np.frombuffer(_predict.logits(predictor, text), np.int16).reshape(-1, 256) / 256
    byte = np.frombuffer(text, np.uint8).astype(int) | 256
    cost = np.zeros(len(text))
    for depth in range(8):
        z = logits[np.arange(len(text)), byte >> (8 - depth)]
        sign = np.where(byte >> (7 - depth) & 1, -1.0, 1.0)
        cost += np.log2(1 + np.exp(sign * z))
    return cost


def windows(path: Path) -> None:
    """Bytes per window, compared with the bytes that fit into W bits from the same start.

    The ideal uses the model's exact code lengths: whole bytes as long as their sum is within W
    bits. In brackets, the ideal plus the fraction of the next byte that would fit into the rest,
    which no code of whole bytes can reach. Last, the model's code length of a window's bytes as a
    share of the W bits that the window occupies.
    """
    predictor = models.load().predictor
    text = path.read_bytes()[:20_000]
    print(f"windows, M1 on {path.name}: {len(text):,} bytes")
    for width in (16, 24, 32, 64):
        starts = window_starts(predictor, text, width)
        reach = width  # on text, no byte costs less than half a bit after a reset
        ideal, fraction, spent = [], [], []
        for start, end in itertools.pairwise(starts):
            total = byte_costs(predictor, text[start : start + reach]).cumsum()
            whole = int(np.searchsorted(total, width, side="right"))
            if whole < len(total):
                spent.append(total[end - start - 1])
                before = total[whole - 1] if whole else 0.0
                ideal.append(whole)
                fraction.append(whole + (width - before) / (total[whole] - before))
        real = np.diff(starts)[: len(ideal)].mean()
        print(
            f"  W = {width:<3} {real:6.3f} bytes per window, ideal {np.mean(ideal):6.3f}:"
            f" {real / np.mean(ideal) - 1:+.2%} [{np.mean(fraction):.3f}:"
            f" {real / np.mean(fraction) - 1:+.2%}], {np.mean(spent) / width:.2%} used"
        )


def window_starts(predictor: _predict.Predictor, text: bytes, width: int) -> list[int]:
    """Where the windows of a text begin, found by bisection on the code lengths of prefixes."""
    starts = [0]
    while starts[-1] < len(text):
        rest = text[starts[-1] : starts[-1] + 4 * width]
        low, high = 1, len(rest)
        while low < high:  # the longest prefix that is one window
            middle = (low + high + 1) // 2
            code = _predict.eqinfo_encode(predictor, width, rest[:middle], 1000)
            assert code is not None
            low, high = (middle, high) if 8 * len(code) < 2 * width else (low, middle - 1)
        starts.append(starts[-1] + low)
    return starts


if __name__ == "__main__":
    rng = np.random.default_rng(1)
    binary(rng)
    symbols_against_constriction(rng)
    gaussians_against_constriction(rng)
    windows(Path(sys.argv[1]) if len(sys.argv) > 1 else TEXT)

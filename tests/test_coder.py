"""The kernel's coders match the reference, symbol by symbol, and come near the ideal length."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nzip import _coder, reference


def bits_reference(bits, p1):
    encoder = reference.Encoder()
    for bit, p in zip(bits, p1, strict=True):
        encoder.bit(p, bit)
    return encoder.finish()


def check_bits(bits, p1):
    code = _coder.encode_bits(np.array(bits, np.uint8), np.array(p1, np.uint16))
    assert code == bits_reference(bits, p1)
    assert list(_coder.decode_bits(code, np.array(p1, np.uint16))) == list(bits)
    decoder = reference.Decoder(code)
    assert [decoder.bit(p) for p in p1] == list(bits)
    return code


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 65535)), max_size=300))
def test_binary_coder_equals_reference(pairs):
    check_bits([b for b, _ in pairs], [p for _, p in pairs])


@pytest.mark.parametrize("p", [1, 2, 32768, 65534, 65535])
@pytest.mark.parametrize("bit", [0, 1])
def test_binary_coder_at_the_limits_of_probability(p, bit):
    check_bits([bit] * 500, [p] * 500)
    check_bits([bit, 1 - bit] * 250, [p] * 500)


def test_binary_coder_carries_through_a_run_of_ones():
    # Zeros at p1 = 1 push low to the top of the range; the ones after them make it carry.
    code = check_bits([0] * 4000 + [1] * 40 + [0] * 400, [1] * 4440)
    assert len(code) < 90


def test_binary_coder_rejects_what_it_cannot_code():
    with pytest.raises(ValueError, match="1 to 65535"):
        _coder.encode_bits(b"\x01", np.array([0], np.uint16))
    with pytest.raises(ValueError, match="1 to 65535"):
        _coder.encode_bits(b"\x02", np.array([5], np.uint16))
    with pytest.raises(ValueError, match="1 to 65535"):
        _coder.encode_bits(b"\x01\x01", np.array([5], np.uint16))


def random_rows(seed, n, kind):
    """Cumulative frequencies: n rows."""
    rng = np.random.default_rng(seed)
    if kind == "random":
        freq = rng.multinomial(65536 - 256, rng.dirichlet(np.full(256, 0.3)), size=n) + 1
    elif kind == "equal":
        freq = np.full((n, 256), 256)
    elif kind == "certain":  # one symbol has all of it
        freq = np.zeros((n, 256), int)
        freq[np.arange(n), rng.integers(0, 256, n)] = 65536
    else:  # "limits": one symbol has nearly all, another has 1 of 65,536
        freq = np.zeros((n, 256), int)
        freq[:, 0], freq[:, 255] = 65535, 1
    rows = np.zeros((n, 257), np.uint32)
    rows[:, 1:] = freq.cumsum(axis=1)
    symbols = np.array([rng.choice(np.flatnonzero(f)) for f in freq], np.uint8)
    return rows, symbols


@pytest.mark.parametrize("kind", ["random", "equal", "certain", "limits"])
@pytest.mark.parametrize("fixed", [False, True])
def test_symbol_coder_equals_reference(kind, fixed):
    rows, symbols = random_rows(3, 400, kind)
    if fixed:
        rows = rows[:1].copy()
        symbols = np.where(np.diff(rows[0])[symbols] > 0, symbols, np.diff(rows[0]).argmax())
        symbols = symbols.astype(np.uint8)
    encoder = reference.Encoder()
    for i, symbol in enumerate(symbols.tolist()):
        encoder.symbol(rows[0 if fixed else i].tolist(), symbol)
    code = _coder.encode_symbols(symbols, rows)
    assert code == encoder.finish()
    assert _coder.decode_symbols(code, rows, len(symbols)) == symbols.tobytes()
    decoder = reference.Decoder(code)
    decoded = [decoder.symbol(rows[0 if fixed else i].tolist()) for i in range(len(symbols))]
    assert decoded == symbols.tolist()


def test_symbol_coder_rejects_what_is_no_distribution():
    rows, symbols = random_rows(4, 3, "random")
    bad = rows.copy()
    bad[1, 256] = 65535
    with pytest.raises(ValueError, match="rising from 0 to 65536"):
        _coder.encode_symbols(symbols, bad)
    certain, _ = random_rows(4, 1, "limits")
    with pytest.raises(ValueError, match="frequency zero"):
        _coder.encode_symbols(b"\x07", certain)


def test_stream_coders_are_within_0_02_percent_of_the_ideal():
    rng = np.random.default_rng(5)
    p1 = rng.integers(1, 65536, 1_000_000).astype(np.uint16)
    bits = (rng.random(len(p1)) * 65536 < p1).astype(np.uint8)
    chance = np.where(bits == 1, p1, 65536 - p1.astype(int)) / 65536
    ideal = -np.log2(chance).sum() / 8
    assert len(_coder.encode_bits(bits, p1)) <= ideal * 1.0002 + 8
    freq = rng.multinomial(65536 - 256, rng.dirichlet(np.full(256, 0.3))) + 1
    row = np.concatenate([[0], freq.cumsum()]).astype(np.uint32)[None, :]
    symbols = rng.choice(256, 1_000_000, p=freq / 65536).astype(np.uint8)
    ideal = -np.log2(freq[symbols] / 65536).sum() / 8
    assert len(_coder.encode_symbols(symbols, row)) <= ideal * 1.0002 + 8


def tree_of(freq):
    """Node probabilities of a byte distribution."""
    tree = np.ones(256, np.uint16)
    for node in range(1, 256):
        depth = node.bit_length() - 1
        first = (node << (8 - depth)) & 255
        half = 1 << (7 - depth)
        zeros, ones = freq[first : first + half].sum(), freq[first + half : first + 2 * half].sum()
        tree[node] = min(65535, max(1, round(65536 * ones / max(1, zeros + ones))))
    return tree


TREES = {
    "equal": np.full(256, 32768, np.uint16),
    "one certain symbol": np.where(np.arange(256) % 2, 1, 65535).astype(np.uint16),
    "always zero": np.ones(256, np.uint16),
    "always one": np.full(256, 65535, np.uint16),
    "zipf": tree_of((100_000 / np.arange(1, 257)).astype(int)),
    "random": np.random.default_rng(6).integers(1, 65536, 256).astype(np.uint16),
}


@pytest.mark.parametrize("width", [8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64])
@pytest.mark.parametrize("name", TREES)
def test_windows_round_trip_in_the_reference(width, name):
    tree = TREES[name]
    rng = np.random.default_rng(width)
    for text in (
        rng.integers(0, 256, 60).astype(np.uint8).tobytes(),
        bytes(90),
        b"\xff" * 90,
        b"the cat sat on the mat",
        b"z",
    ):
        codes = reference.encode_windows(text, width, lambda _: lambda node: int(tree[node]))
        assert all(code < 2**width for code in codes)
        again = reference.decode_windows(codes, width, lambda _: lambda node: int(tree[node]))
        assert again == text


@pytest.mark.parametrize("width", [8, 9])
@pytest.mark.parametrize("name", TREES)
def test_every_codeword_decodes_to_its_own_string_and_back(width, name):
    tree = TREES[name]
    seen = set()
    for code in range(reference.window_codewords(width)):
        text = reference.decode_windows([code], width, lambda _: lambda node: int(tree[node]))
        assert text not in seen
        seen.add(text)
        assert reference.encode_windows(text, width, lambda _: lambda node: int(tree[node])) == [
            code
        ]


def test_windows_from_16_bits_on_leave_16_codewords_for_special_tokens():
    assert reference.window_codewords(15) == 2**15
    assert reference.window_codewords(16) == 65536 - 16
    assert reference.window_codewords(64) == 2**64 - 16


@pytest.mark.parametrize("size", [1, 2, 3, 255, 1000, 32767, 32768, 32769, 70000])
def test_static_block_equals_reference(size):
    rng = np.random.default_rng(size)
    weights = rng.dirichlet(np.full(256, 0.05))
    text = rng.choice(256, size, p=weights).astype(np.uint8).tobytes()
    encoder = reference.Encoder()
    reference.static_block(encoder, size, text)
    expected = encoder.finish()
    code = _coder.static_encode(text)
    assert code == (expected if len(expected) < size else None)
    assert _coder.static_decode(expected, size) == text
    assert reference.static_block(reference.Decoder(expected), size) == text


def test_static_table_costs_little():
    text = b"to be, or not to be, that is the question" * 1000
    counts = np.bincount(np.frombuffer(text, np.uint8), minlength=256)
    entropy = -sum(c * math.log2(c / len(text)) for c in counts if c) / 8
    code = _coder.static_encode(text)
    assert code is not None
    assert len(code) <= entropy * 1.0005 + 80

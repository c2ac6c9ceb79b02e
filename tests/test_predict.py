"""M1, the adaptive models and the block codecs: the kernel matches the reference."""

import itertools
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from conftest import CODE, ENGLISH, SCRIPTS, TEXTS, SmallModel

import nzip
from nzip import _predict, frame, reference

ROOM = 100_000  # so that codes longer than the text are returned too


@pytest.mark.parametrize("extreme", [False, True])
def test_m1_logits_equal_reference(extreme):
    model = SmallModel(2, extreme=extreme)
    text = (ENGLISH + SCRIPTS)[:80] + bytes(range(0, 256, 7))
    logits = np.frombuffer(_predict.logits(model.predictor, text), np.int16).reshape(-1, 256)
    m1 = model.reference()
    for i, byte in enumerate(text):
        m1.step()
        assert [m1.logit(node) for node in range(1, 256)] == logits[i, 1:].tolist()
        m1.push(byte)


@pytest.mark.parametrize("lanes", [2, 4, 8])
def test_m1_lanes_are_independent(small_model, lanes):
    text = ENGLISH * 4
    together = bytes(_predict.logits(small_model.predictor, text, lanes))
    bounds = [reference.lane_bounds(len(text), lanes, lane) for lane in range(lanes)]
    alone = [bytes(_predict.logits(small_model.predictor, text[a:b])) for a, b in bounds]
    assert together == b"".join(alone)


AC_TEXTS = {
    "english": ENGLISH[:200],
    "repeat": b"abcabcabd" * 25,
    "code": CODE[:150] * 2,
    "scripts": SCRIPTS[:120],
    "random": TEXTS["random"][:150],
    "one byte": b"q",
    "records": b"".join(bytes([7, i % 5, 200, i * 7 % 256, 1, 0, 3]) for i in range(60)),
    "x86": b"".join(
        b"\x8b\xc3\xe8" + (900 - 8 * i).to_bytes(4, "little") + b"\x90" for i in range(40)
    )
    + b"\xe8\x01\x02\x03\xe8\x10\x20\x30\x00\x90" * 5,  # an operand that ends with a call's byte
    "lines": b"Some words,\r\nand more\r\n\r\nand\r\r\nmore" * 4,
    "numbers": b"".join(
        b"%02d:%02d at %d, -%d [%d] %d\n"
        % (7, 58 + i % 3, 4796 + i, 5004 - i, 10**19 + i, i * i * 12345 % 1000)
        for i in range(12)
    ),
    "controls": b"".join(bytes([i * i % 31, i % 3, 65]) for i in range(80)),
    "long": (ENGLISH + CODE)[:300],
}


def _samples(values) -> bytes:
    return b"".join(value.to_bytes(2, "little", signed=True) for value in values)


_RANDOM = random.Random(3)
_NOISE = [_RANDOM.randint(-6, 6) for _ in range(800)]
# Long enough for the layout to be found (at 512 bytes) and used, with the layout.
DATA_TEXTS = {
    "gray": (
        bytes(90 + abs(i % 50 - 25) // 4 + (_NOISE[i] > 4) for i in range(700)),
        *(1, reference.PIXELS),
    ),
    "colours": (
        bytes(90 + i // 3 % 30 + i // 90 + 40 * (i % 3) + _NOISE[i] // 4 for i in range(750)),
        *(3, reference.PIXELS),
    ),
    "mono": (
        _samples(abs(i % 60 - 30) * 200 - 4000 + 9 * _NOISE[i] for i in range(350)),
        *(2, reference.SAMPLES),
    ),
    "stereo": (
        _samples((i // 2 % 50 * 40 + 900) * (1 - i % 2 * 3) + 9 * _NOISE[i] for i in range(350)),
        *(4, reference.SAMPLES),
    ),
    "loud": (
        _samples((-1) ** (i // 40 + i) * (32700 - 9 * _NOISE[i]) for i in range(350)),
        *(4, reference.SAMPLES),
    ),
}


@pytest.mark.parametrize("name", DATA_TEXTS)
def test_the_layout_of_pixels_and_samples_is_found(name):
    text, stride, values = DATA_TEXTS[name]
    found = reference.find_layout(bytearray(text), 512, reference.Layout())
    assert (found.stride, found.values) == (stride, values)


# With M1, which is slow in the reference, each text is coded alone and in one of the profiles.
AC_CASES = [
    *((name, True, profile) for i, name in enumerate(AC_TEXTS) for profile in (0, 1 + i % 3)),
    *itertools.product(AC_TEXTS, [False], range(1, 4)),
]


DATA_CASES = [(name, False, 3) for name in DATA_TEXTS]


# Quick: one text with M1 for each profile, and one without.
QUICK = {
    *(("english", True, 0), ("english", True, 1), ("repeat", True, 2), ("code", True, 3)),
    *((name, False, profile) for name in ("lines", "numbers") for profile in range(1, 4)),
    *((name, False, 3) for name in ("colours", "stereo")),
}


@pytest.mark.parametrize(
    ("name", "with_model", "profile"),
    [pytest.param(*c, marks=() if c in QUICK else pytest.mark.slow) for c in AC_CASES + DATA_CASES],
)
def test_ac_block_equals_reference(small_model, name, with_model, profile):
    text = AC_TEXTS.get(name) or DATA_TEXTS[name][0]
    if with_model and name not in ("records", "x86", "long"):  # enough to be recognised
        text = text[:100]
    make = small_model.reference if with_model else None
    predictor = small_model.predictor if with_model else None
    encoder = reference.Encoder()
    reference.ac_block(encoder, len(text), make, profile, text)
    code = encoder.finish()
    assert _predict.ac_encode(predictor, profile, text, ROOM) == code
    assert _predict.ac_decode(predictor, profile, code, len(text)) == text
    assert reference.ac_block(reference.Decoder(code), len(text), make, profile) == text


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("profile", [1, 2, 3])
def test_mixing_that_begins_with_the_models_start_equals_reference(profile, extreme):
    model, text = SmallModel(5, extreme=extreme, starts=True), AC_TEXTS["code"][:60]
    encoder = reference.Encoder()
    reference.ac_block(encoder, len(text), model.reference, profile, text)
    code = encoder.finish()
    assert _predict.ac_encode(model.predictor, profile, text, ROOM) == code
    assert _predict.ac_decode(model.predictor, profile, code, len(text)) == text
    assert code != _predict.ac_encode(SmallModel(5, extreme=extreme).predictor, profile, text, ROOM)


@pytest.mark.parametrize("profile", [1, 2, 3])
def test_what_is_learned_from_a_text_is_where_the_next_one_begins(small_model, profile):
    rows, width, count = _predict.start_shape(profile)
    weights, maps = np.zeros(rows * width, np.int16), np.zeros(count, np.uint32)
    _predict.ac_learn(small_model.predictor, profile, ENGLISH, weights, maps, True)
    assert np.unique(weights).size > 4
    own = SmallModel(1)
    name = frame.PROFILES[profile]
    own.tensors[f"{name}_weights"] = weights.reshape(rows, width)
    own.tensors[f"{name}_maps"] = maps
    again, other = weights.copy(), maps.copy()
    _predict.ac_learn(own.make(), profile, CODE, again, other, True)
    _predict.ac_learn(small_model.predictor, profile, CODE, weights, maps, False)
    assert np.array_equal(weights, again)
    assert np.array_equal(maps, other)


@pytest.mark.parametrize("profile", [0, 4])
def test_a_start_of_a_wrong_profile_or_shape_is_refused(small_model, profile):
    with pytest.raises(ValueError, match="profile"):
        _predict.start_shape(profile)
    for sizes in ((1, 1504), (16 * 4608, 1)):
        arrays = np.zeros(sizes[0], np.int16), np.zeros(sizes[1], np.uint32)
        with pytest.raises(ValueError, match="shape"):
            _predict.ac_learn(small_model.predictor, 1, b"text", *arrays, True)


@pytest.mark.parametrize("profile", [1, 2, 3])
def test_m1_ahead_of_the_text_decodes_the_same(small_model, profile):
    # After some repeats the kernel trusts its guesses, which then fail at each place of the line.
    lines = [b"a line that comes again and again\n"] * 30
    text = b"".join(line[: i % 30] + bytes([i]) + line[i % 30 :] for i, line in enumerate(lines))
    text = b"".join(lines) + text
    predictor = small_model.predictor
    code = _predict.ac_encode(predictor, profile, text, ROOM)
    for predictor.ahead in (False, True):
        assert _predict.ac_decode(predictor, profile, code, len(text)) == text


@pytest.mark.parametrize("profile", [-1, 4])
def test_a_profile_that_is_none_is_refused(profile):
    for call in (_predict.ac_encode, _predict.ac_probabilities):
        with pytest.raises(ValueError, match="profile"):
            call(None, profile, b"text")
    with pytest.raises(ValueError, match="profile"):
        _predict.ac_decode(None, profile, b"code", 4)


def test_cr_before_lf_costs_nothing(small_model):
    text = AC_TEXTS["lines"]
    with_cr, without = (
        _predict.ac_encode(small_model.predictor, 2, t, ROOM)
        for t in (text, text.replace(b"\r\n", b"\n"))
    )
    assert len(with_cr) <= len(without) + 3


@pytest.mark.parametrize("text", [b"\n" * 9, b"\r\n" * 3, b"\r\n" * 9 + b"\n", b"\n" + b"\r\n" * 9])
def test_lines_that_do_not_all_end_alike_stay(small_model, text):
    assert not reference.has_crlf(text)
    code = _predict.ac_encode(small_model.predictor, 1, text, ROOM)
    assert _predict.ac_decode(small_model.predictor, 1, code, len(text)) == text


def test_every_code_of_lines_decodes_to_as_many_bytes(small_model):
    """A damaged code may contain an LF for which no room is left."""
    for i in range(200):
        encoder = reference.Encoder()
        encoder.bit(1, 1)
        for k in range(300):
            encoder.bit(32768, i * k * k % 7 & 1)
        code = encoder.finish()
        for size in (1, 2, 40):
            text = _predict.ac_decode(small_model.predictor, 1, code, size)
            assert len(text) == size
    assert reference.add_cr(bytearray(b"a\nb\nc"), 6) == b"a\nb\r\nc"


def test_x86_filter_is_undone_on_any_bytes():
    assert reference.is_x86(AC_TEXTS["x86"])
    assert not any(reference.is_x86(text) for name, text in AC_TEXTS.items() if name != "x86")
    random = bytes(b"\xe8\xe9\x00\xff\x17"[i * i * 7 // 3 % 5] for i in range(3000))
    for text in (AC_TEXTS["x86"], random, b"\xe8", b"\xe8\0\0\0\0", b"\xe9\xff\xff\xff\xff"):
        filtered = bytearray(text)
        reference.x86_filter(filtered, True)
        reference.x86_filter(filtered, False)
        assert filtered == text


@pytest.mark.parametrize(
    "width", [8, *(pytest.param(width, marks=pytest.mark.slow) for width in (16, 23, 32, 64))]
)
@pytest.mark.parametrize("reset_every", [1, 2, 3, 0])
def test_windows_equal_reference(small_model, width, reset_every):
    text = ENGLISH[:70]
    tree = reference.m1_tree(small_model.reference())
    code = reference.pack_codes(reference.encode_windows(text, width, tree, reset_every), width)
    predictor = small_model.predictor
    assert _predict.eqinfo_encode(predictor, width, text, ROOM, reset_every) == code
    assert _predict.eqinfo_decode(predictor, width, code, len(text), reset_every) == text


def test_lane_counts_and_bounds_are_the_references():
    for size in (1, 32767, 32768, 65535, 65536, 262143, 262144, 1 << 24):
        lanes = _predict.block_lanes(size, False)
        assert lanes == reference.block_lanes(size, False)
        assert _predict.block_lanes(size, True) == reference.block_lanes(size, True) == 1
        bounds = [reference.lane_bounds(size, lanes, lane) for lane in range(lanes)]
        assert bounds[0][0] == 0
        assert bounds[-1][1] == size
        assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))


@pytest.mark.parametrize(
    "size",
    [
        *(32767, 32768, 32769),
        *(
            pytest.param(size, marks=pytest.mark.slow)
            for size in (65535, 65536, 65537, 262143, 262147)
        ),
    ],
)
def test_round_trip_around_every_lane_limit(small_model, size):
    text = (b"".join(TEXTS.values()) * 20)[:size]
    for predictor, profile in ((small_model.predictor, 0), (None, 1), (None, 2), (None, 3)):
        code = _predict.ac_encode(predictor, profile, text, 10 * ROOM)
        assert _predict.ac_decode(predictor, profile, code, size) == text


def test_predictor_refuses_numbers_outside_their_range():
    for name, value in (("gates", 64), ("out", -64), ("gates_mult", -1), ("out_mult", 10**8)):
        broken = SmallModel(3)
        broken.tensors[name].flat[0] = value
        with pytest.raises(OverflowError):
            broken.make()
    for name in ("full_maps", "deep_maps"):
        broken = SmallModel(3, starts=True)
        broken.tensors[name][7] = 256  # the count
        with pytest.raises(OverflowError):
            broken.make()


VARIANTS = """
import sys, hashlib
sys.path.insert(0, {tests!r})
from conftest import TEXTS, SmallModel
from nzip import _predict
digest = hashlib.sha256()
blob = b"".join(TEXTS.values())
for shape in ((1, 16, 16, False), (2, 48, 32, True), (3, 192, 64, False), (4, 80, 16, True)):
    p = SmallModel(*shape, starts=shape[1] > 16).predictor
    sizes = (1, 700, 33000, 66000, 263000) if shape[1] == 16 else (1, 700, 9000)
    for size in sizes:
        text = (blob * 30)[:size]
        for lanes in (1, 2, 4, 8):
            digest.update(_predict.logits(p, text[:300], lanes))
        for profile in range(4):
            code = _predict.ac_encode(p, profile, text, 10**6)
            digest.update(code)
            assert _predict.ac_decode(p, profile, code, size) == text
    for width, every in ((8, 1), (16, 1), (16, 3), (37, 1), (64, 2), (64, 0)):
        code = _predict.eqinfo_encode(p, width, blob[:2000], 10**6, every)
        digest.update(code)
        assert _predict.eqinfo_decode(p, width, code, 2000, every) == blob[:2000]
for profile in (1, 2, 3):
    digest.update(_predict.ac_encode(None, profile, blob, 10**6))
print(_predict.engine_name(), digest.hexdigest())
"""


def run_variant(kernel, tests):
    return subprocess.run(
        [sys.executable, "-c", VARIANTS.format(tests=str(tests))],
        env={**os.environ, "NZIP_KERNEL": kernel},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_numbers_that_grow_in_steps_cost_little():
    text = b"".join(b"job %d done in %d ms\n" % (98765 + 3 * i, 120 + i) for i in range(300))
    assert len(nzip.compress(text, level=1)) < 150


@pytest.mark.slow
def test_kernel_variants_code_the_same_bytes(request):
    digests = {}
    for kernel in ("portable", "avx2", "avx512"):
        result = run_variant(kernel, request.path.parent)
        if kernel != "portable" and "this CPU cannot run it" in result.stderr:
            continue
        assert result.returncode == 0, result.stderr
        name, digest = result.stdout.split()
        assert name == kernel
        digests[kernel] = digest
    assert len(set(digests.values())) == 1, digests


def test_unknown_kernel_is_one_clear_error(request):
    result = run_variant("sse9", request.path.parent)
    assert result.returncode != 0
    assert "NZIP_KERNEL=sse9: no such kernel" in result.stderr

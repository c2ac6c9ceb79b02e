"""Priors: samples that are read before blocks, in frames and for single records."""

import json
import pickle
import random
import sqlite3
import threading
from zlib import crc32

import pytest

import nzip
from nzip import _predict, frame, levels, models, reference
from nzip import prior as priors

ROOM = 64


def record(rng: random.Random) -> bytes:
    return json.dumps(
        {
            "id": rng.randrange(10**9),
            "user": rng.choice(["anna", "ben", "carla"]) + str(rng.randrange(100)),
            "event": rng.choice(["login", "logout", "purchase"]),
            "amount": rng.randrange(10**5) / 100,
        }
    ).encode()


RNG = random.Random(7)
SAMPLES = [record(RNG) for _ in range(200)]
RECORDS = [record(RNG) for _ in range(20)]


@pytest.fixture(scope="module")
def prior() -> nzip.Prior:
    return nzip.Prior(SAMPLES)


@pytest.mark.parametrize("profile", [1, 2, 3])
def test_a_block_after_a_prior_equals_reference(small_model, profile):
    samples, text = b"one, two, three, four. " * 2 + b"\r\n\xe8 five", b"three, four. six, two, \n"
    encoder = reference.Encoder()
    reference.ac_block(encoder, len(text), small_model.reference, profile, text, samples)
    code = encoder.finish()
    warm = _predict.Warm(small_model.predictor, profile, samples, len(text))
    assert warm.encode(text, room=ROOM) == code
    assert warm.decode(code, len(text)) == text
    decoder = reference.Decoder(code)
    make = small_model.reference
    assert reference.ac_block(decoder, len(text), make, profile, b"", samples) == text


@pytest.mark.parametrize("profile", [1, 2, 3])
def test_a_record_leaves_no_trace(profile):
    model = models.load("nano-3")
    samples = b"\n".join(SAMPLES)
    warm = _predict.Warm(model.predictor, profile, samples, 100)
    first = [warm.encode(r, room=ROOM) for r in RECORDS]
    for code, r in zip(first, RECORDS, strict=True):
        assert warm.decode(code, len(r)) == r
    noise = random.Random(1).randbytes(1500)
    warm.encode(noise, room=2000)
    warm.decode(noise, 1800)
    assert [warm.encode(r, room=ROOM) for r in RECORDS] == first
    assert _predict.Warm(model.predictor, profile, samples, 100).encode(RECORDS[-1]) == first[-1]
    assert warm.encode(RECORDS[0], keep=False) == first[0]


def test_records_are_a_third_of_zstd_with_a_dictionary(prior):
    zstandard = pytest.importorskip("zstandard")
    trained = zstandard.train_dictionary(len(prior.samples), SAMPLES)
    packer = zstandard.ZstdCompressor(level=19, dict_data=trained)
    mine = sum(len(prior.compress(r)) for r in RECORDS)
    assert mine < 0.5 * sum(len(packer.compress(r)) for r in RECORDS)
    assert mine < 0.6 * sum(len(nzip.compress(r)) for r in RECORDS)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\0" * 1000, bytes(range(256)), RECORDS[0], b"\n".join(RECORDS) * 20]
)
def test_round_trips(prior, data):
    packed = prior.compress(data)
    assert prior.decompress(packed) == data
    framed = nzip.compress(data, prior=prior)
    assert nzip.decompress(framed) == data


def test_long_blocks_read_the_prior_again(prior):
    data = b"\n".join(SAMPLES) * 3
    assert len(data) > priors.RECORD_MAX
    assert prior.decompress(prior.compress(data)) == data
    assert nzip.decompress(nzip.compress(data, prior=prior, level=1)) == data


def test_every_flipped_bit_of_a_record_is_found(prior):
    packed = bytearray(prior.compress(RECORDS[0]))
    for bit in range(8 * len(packed)):
        packed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(nzip.NzipError):
            prior.decompress(packed, max_output=5000)
        packed[bit // 8] ^= 1 << bit % 8
    for size in range(len(packed)):
        with pytest.raises(nzip.NzipError):
            prior.decompress(packed[:size])


def test_a_record_is_laid_out_as_written_out_here(prior):
    model = levels.LEVELS[4]
    seed = crc32(bytes([model.coding]) + models.load(model.model).digest + prior.digest)
    crc = crc32(b"xy", crc32(b"\x04", seed))
    check = (crc ^ crc >> 16) & 0xFFFF
    assert prior.compress(b"xy") == b"\x04" + check.to_bytes(2, "little") + b"xy"


def test_the_limit_of_a_record_holds_before_any_work(prior, monkeypatch):
    packed = prior.compress(RECORDS[0])
    assert prior.decompress(packed, len(RECORDS[0])) == RECORDS[0]
    monkeypatch.setattr(nzip.Prior, "decode_block", None)
    with pytest.raises(nzip.LimitError, match=f"limit of {len(RECORDS[0]) - 1}"):
        prior.decompress(packed, len(RECORDS[0]) - 1)


def test_another_prior_is_noticed(prior):
    other = nzip.Prior(SAMPLES[:-1])
    with pytest.raises(nzip.ChecksumError, match="another prior"):
        other.decompress(prior.compress(RECORDS[0]))


def test_a_frame_names_its_prior_and_needs_it():
    one = nzip.Prior([b"a sample that only this test has", b"and another"])
    packed = nzip.compress(b"a sample that only this test had", prior=one)
    header, _ = frame.parse_header(packed)
    assert header.prior == one.digest[:2]
    again = one.samples
    del one
    with pytest.raises(nzip.PriorNotFoundError, match=header.prior.hex()):
        nzip.decompress(packed)
    keep = nzip.Prior(again)
    assert nzip.decompress(packed) == b"a sample that only this test had"
    assert keep.digest[:2] == header.prior


def test_a_prior_is_for_mixing_alone(prior):
    for options in ({"mode": "static"}, {"mode": "eqinfo"}, {"adapt": False}):
        with pytest.raises(ValueError, match="mode ac"):
            nzip.compress(b"text", prior=prior, **options)


@pytest.mark.parametrize("samples", [b"", [], b"x" * (priors.MAX_PRIOR + 1)])
def test_too_few_or_too_many_samples(samples):
    with pytest.raises(ValueError, match="a prior of"):
        nzip.Prior(samples)


def test_files_of_priors(prior, tmp_path):
    path = tmp_path / "p.prior"
    path.write_bytes(prior.dump())
    assert nzip.Prior(path).digest == prior.digest
    path.write_bytes(prior.samples)  # a plain file of samples works too
    assert nzip.Prior(str(path)).digest == prior.digest
    damaged = bytearray(prior.dump())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(nzip.FormatError, match="damaged"):
        nzip.Prior(path)


def test_pickles_and_threads(prior):
    copy = pickle.loads(pickle.dumps(prior))
    packed = [copy.compress(r) for r in RECORDS]
    failed = []

    def work() -> None:
        for r, code in zip(RECORDS, packed, strict=True):
            if prior.compress(r) != code or prior.decompress(code) != r:
                failed.append(r)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_every_level(small_model):
    for level in levels.LEVELS:
        if level != 9:
            p = nzip.Prior(SAMPLES[:5], level=level)
            assert p.decompress(p.compress(RECORDS[1])) == RECORDS[1]


def test_a_column_of_a_database(prior):
    """The recipe of docs/records.md."""
    db = sqlite3.connect(":memory:")
    db.create_function("pack", 1, lambda text: prior.compress(text.encode()), deterministic=True)
    db.create_function(
        "unpack", 1, lambda blob: prior.decompress(blob).decode(), deterministic=True
    )
    db.execute("create table events (body blob)")
    db.executemany("insert into events values (pack(?))", [(r.decode(),) for r in RECORDS])
    found = db.execute(
        "select unpack(body) from events where unpack(body) like '%login%'"
    ).fetchall()
    assert sorted(row[0].encode() for row in found) == sorted(r for r in RECORDS if b"login" in r)


def test_choosing_samples():
    assert priors.choose([b"one sample"], 11) == b"one sample\n"
    with pytest.raises(ValueError, match="no sample"):
        priors.choose([b"one sample"], 10)
    chosen = priors.choose([*SAMPLES, *SAMPLES], 2000)
    assert 1800 < len(chosen) <= 2000
    assert set(chosen.splitlines()) <= set(SAMPLES)
    assert priors.choose(SAMPLES, 2000, 2) != chosen
    with pytest.raises(ValueError, match="no sample"):
        priors.choose([b"long" * 10], 20)

"""contrib/unnzip, the decoder without Python, accepts and refuses the same files as nzip."""

import hashlib
import os
import random
import shutil
import subprocess

import pytest
from conftest import ENGLISH, SmallModel, tuned_model
from test_golden import CORPUS, GOLDEN, ROWS

import nzip
from nzip import frame, models

FOLDER = GOLDEN.parents[1] / "contrib" / "unnzip"
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not COMPILERS or not shutil.which("make"), reason="no C compiler or no make"
    ),
]


def build(compiler, out, flags):
    command = ["make", "-s", f"CC={compiler}", f"CFLAGS={flags}", f"OUT={out}"]
    subprocess.run(command, cwd=FOLDER, check=True, capture_output=True, timeout=300)
    return out


@pytest.fixture(scope="module")
def unnzip(tmp_path_factory):
    """A function that runs unnzip with arguments; (exit code, stdout, stderr)."""
    program = build(COMPILERS[0], tmp_path_factory.mktemp("unnzip") / "unnzip", "-O1")

    def run(*args, stdin=b"", **env):
        done = subprocess.run(
            [program, *args],
            input=stdin,
            capture_output=True,
            env={**os.environ, **env},
            timeout=120,
        )
        return done.returncode, done.stdout, done.stderr.decode()

    return run


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder with a random model that includes its tables, and the model's file."""
    folder = tmp_path_factory.mktemp("models")
    path = folder / "tiny.safetensors"
    path.write_bytes(SmallModel(3).file())
    return folder, path


def frame_of(model):
    """A frame that names a model by the bytes of its file; its CRCs include that file's hash."""
    digest = hashlib.sha256(model).digest()
    header = frame.Header(frame.AC_LIGHT, digest[:2]).pack()
    seed = frame.block_seed(header, digest, 0)
    return header + frame.pack_block(frame.CODED, True, 10, b"xxxx", seed) + bytes(2)


def refused(result, *words):
    code, _, message = result
    assert (code, message.count("\n")) == (1, 1)
    assert message.startswith("unnzip: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize("compiler", COMPILERS[1:])
def test_other_compilers_warn_of_nothing(compiler, tmp_path):
    build(compiler, tmp_path / "unnzip", "-O1")


@pytest.mark.parametrize("row", ROWS, ids=[row["file"] for row in ROWS])
def test_golden_frame(unnzip, row):
    result = unnzip("-D", CORPUS / "access.log", GOLDEN / row["file"])
    if row["file"].startswith("good"):
        prior = nzip.Prior(CORPUS / "access.log")
        assert result == (0, nzip.decompress((GOLDEN / row["file"]).read_bytes()), "")
        del prior  # referenced until here
    else:
        refused(result, row["file"])


@pytest.mark.parametrize(
    "options",
    [
        {"level": 1, "block_size": 1 << 16},
        {"level": 6},
        {"adapt": False},
        {"mode": "static"},
        {"mode": "eqinfo", "window": 8},
        {"mode": "eqinfo", "window": 13},
        {"mode": "eqinfo", "window": 24},
        {"mode": "eqinfo", "window": 64, "reset_every": 3},
    ],
    ids=str,
)
def test_frames_of_a_model_of_ones_own(unnzip, own, options):
    folder, path = own
    text = ENGLISH * 400 + random.Random(5).randbytes(300)
    options = {"model": path, **options}
    packed = nzip.compress(text, **options)
    assert unnzip("-m", folder, stdin=packed) == (0, text, "")
    assert unnzip(stdin=packed, NZIP_MODEL_PATH=f"/none{os.pathsep}{folder}") == (0, text, "")


def test_kernels_give_the_same(unnzip, own):
    folder, path = own
    packed = nzip.compress(ENGLISH * 20, model=path)
    assert unnzip("-m", folder, stdin=packed, NZIP_KERNEL="portable") == (0, ENGLISH * 20, "")
    code, _, message = unnzip("-m", folder, stdin=packed, NZIP_KERNEL="nonsense")
    assert (code, message.count("\n")) == (1, 1)


def test_a_fine_tuned_model_changes_buckets_of_its_tables(unnzip, tmp_path):
    path, _, _ = tuned_model(tmp_path)
    packed = nzip.compress(ENGLISH * 20, model=str(path))
    assert unnzip("-m", tmp_path, stdin=packed) == (0, ENGLISH * 20, "")
    tuned_model(tmp_path, (3, 7, 20))
    packed = frame_of(path.read_bytes())
    refused(unnzip("-m", tmp_path, stdin=packed), "tuned.safetensors: changed buckets out of order")


def test_priors_and_their_files(unnzip, own, tmp_path):
    folder, path = own
    prior = nzip.Prior(ENGLISH * 3)
    (tmp_path / "samples").write_bytes(prior.samples)
    (tmp_path / "prior").write_bytes(prior.dump())
    (tmp_path / "damaged").write_bytes(prior.dump()[:-1])
    packed = nzip.compress(ENGLISH * 90, model=path, prior=prior)  # longer than the buffer
    for name in ("samples", "prior"):
        given = ["-D", CORPUS / "access.log", "-D", tmp_path / name]
        assert unnzip("-m", folder, *given, stdin=packed) == (0, ENGLISH * 90, "")
    refused(unnzip("-m", folder, stdin=packed), "prior", "-D")
    refused(unnzip("-D", tmp_path / "damaged", stdin=packed), "damaged", "checksum")
    refused(unnzip("-D", tmp_path / "none", stdin=packed), "none")


def test_frames_one_after_another_and_padding(unnzip, tmp_path):
    one, two = nzip.compress(b"one", "static"), nzip.compress(b"two" * 9, "static")
    packed = frame.skippable(bytes(9000)) + one + frame.skippable(b"") + two
    assert unnzip(stdin=packed + bytes(10_000)) == (0, b"one" + b"two" * 9, "")
    (tmp_path / "one.nz").write_bytes(one)
    assert unnzip(tmp_path / "one.nz", "-", stdin=two) == (0, b"one" + b"two" * 9, "")
    refused(unnzip(stdin=packed + bytes(10_000) + b"x"), "garbage")
    refused(unnzip(stdin=packed + b"x"), "garbage")
    refused(unnzip(stdin=b""), "empty")
    refused(unnzip(stdin=b"\x1f\x8b\x08\x00"), "not an nzip file")


def test_every_cut_and_every_changed_byte_is_found(unnzip):
    text = b"some words, some more words, and once more some words" * 3
    packed = nzip.compress(text, "static")
    for size in range(len(packed)):
        code, out, _ = unnzip(stdin=packed[:size])
        assert (code, out) == (1, b"")
        damaged = bytearray(packed)
        damaged[size] ^= 1 << size % 8
        code, out, _ = unnzip(stdin=bytes(damaged))
        assert (code, out) == (1, b"")


def test_nothing_of_a_last_block_goes_out_unchecked(unnzip):
    packed = bytearray(nzip.compress(bytes(range(100)), "static"))
    packed[-1] ^= 1
    code, out, message = unnzip(stdin=bytes(packed))
    assert (code, out) == (1, b"")
    assert "checksum" in message


@pytest.mark.parametrize(
    "edit",
    [
        lambda header: header.pop("gates"),
        lambda header: header.pop("lines"),
        lambda header: header["out"].update(data_offsets=[0, 1 << 50]),
        lambda header: header["out_mult"].update(dtype="I8"),
        lambda header: header["gates"].update(shape=[1 << 40, 48, 16]),
        lambda header: header["__metadata__"].update(contexts="1,99"),
        lambda header: header["__metadata__"].update(buckets="0"),
        lambda header: header["__metadata__"].update(ways="9" * 40),
        lambda header: header["__metadata__"].update(tables="00" * 32),
        lambda header: header.update(__metadata__={"format": "another"}),
    ],
)
def test_malformed_models_are_refused(unnzip, own, tmp_path, edit):
    data = SmallModel(3).file(edit=edit)
    (tmp_path / "bad.safetensors").write_bytes(data)
    refused(unnzip("-m", tmp_path, stdin=frame_of(data)), "bad.safetensors")


def test_a_missing_model_is_named(unnzip, tmp_path):
    packed = nzip.compress(ENGLISH)
    digest = models.load("small-3").digest
    refused(unnzip("-m", tmp_path, stdin=packed), digest[:2].hex(), "-m")
    refused(unnzip("-m", tmp_path / "none", stdin=packed), "none")


def test_wrong_calls_and_outputs(unnzip, tmp_path):
    assert unnzip("--nonsense")[0] == 2
    assert unnzip("-m")[0] == 2
    code, out, _ = unnzip("--help")
    assert (code, b"incomplete" in out) == (0, True)
    refused(unnzip(tmp_path / "none.nz"), "none.nz")

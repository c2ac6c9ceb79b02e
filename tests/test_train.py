"""Training: the data loader, the integer forward, resuming, export and the command."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import zstandard  # noqa: E402
from conftest import CODE, ENGLISH, SCRIPTS  # noqa: E402

import nzip  # noqa: E402
from nzip import _predict, models  # noqa: E402
from nzip.train import data, export, loop  # noqa: E402
from nzip.train.model import HISTORY, M1, Config, context_rows  # noqa: E402

TINY = Config(hidden=32, embed=16, orders=[1, 2, 4], table_bits=[8, 9, 10])
torch.set_num_threads(1)
OPTIONS = loop.Options(total=160 * 16 * 30, lanes=16, segment=32, warmup=5, every=40)


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "prose-00.txt.zst").write_bytes(zstandard.compress(b"\0".join([ENGLISH * 40] * 5)))
    (folder / "code-00.txt").write_bytes(b"\0".join([CODE * 80] * 5))
    return folder


def test_documents_are_split_at_nul_and_the_head_is_held_out(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"one\0two\0three")
    assert list(data.documents(path)) == [b"one", b"two", b"three"]
    assert b"\0".join(data.documents(path, limit=5)) == b"one\0t"
    assert b"\0".join(data.documents(path, skip=5)) == b"wo\0three"


def test_batches_are_deterministic_and_mixed_by_weight(shards):
    corpus = data.Corpus([shards], {"prose": 3, "code": 1})
    first = [next(corpus.batches(8, 32, 1, 0.1)) for _ in range(1)]
    again = [next(corpus.batches(8, 32, 1, 0.1)) for _ in range(1)]
    assert np.array_equal(first[0][0], again[0][0])
    assert first[0][1].all()  # every lane starts afresh
    assert set(corpus.held_out()) == {"prose", "code"}
    with pytest.raises(ValueError, match="no such source: nothing"):
        data.Corpus([shards], {"nothing": 1})
    with pytest.raises(FileNotFoundError):
        data.Corpus([])


def test_context_rows_are_the_kernels(tmp_path):
    """The hash in numpy and the one in the kernel pick the same embedding rows."""
    torch.manual_seed(0)
    model = M1(TINY)
    export.save(model, tmp_path / "m.safetensors", "m")
    text = (ENGLISH + SCRIPTS)[:150]
    predictor = models.load(str(tmp_path / "m.safetensors")).predictor
    logits = np.frombuffer(_predict.logits(predictor, text), np.int16).reshape(-1, 256) / 256
    history = np.concatenate([np.zeros(HISTORY, np.uint8), np.frombuffer(text, np.uint8)])
    rows = torch.from_numpy(context_rows(history[:-1], TINY)[:, None, :])
    with torch.no_grad():
        features, _ = model(rows, model.initial_state(1))
        expected = model.logits(features)[:, 0].numpy()
    # Float gates against table gates: an activation may differ by a step here and there.
    assert np.abs(logits - expected)[:, 1:].mean() < 0.02


def test_training_learns_resumes_and_exports(shards, tmp_path):
    corpus = data.Corpus([shards])
    rows: list[dict] = []
    checkpoint = tmp_path / "run.ckpt"
    model = loop.train(corpus, checkpoint, TINY, OPTIONS, rows.append)
    assert rows[-1]["held"]["all"] < 4 < rows[0]["bpb"]
    rows.clear()
    again = loop.train(corpus, checkpoint, TINY, OPTIONS, rows.append)  # it had ended: no step
    assert rows == []
    assert torch.equal(again.gates, model.gates)
    other = loop.Options(**{**vars(OPTIONS), "seed": 2})
    with pytest.raises(ValueError, match="other settings"):
        loop.train(corpus, checkpoint, TINY, other)

    path = tmp_path / "tiny.safetensors"
    export.save(model, path, "tiny")
    text = ENGLISH * 4 + CODE * 10
    packed = nzip.compress(text, model=str(path), adapt=False)
    assert nzip.decompress(packed) == text
    exact = loop.evaluate(model, text, quantise=False)
    assert 8 * len(packed) / len(text) < exact * 1.05 + 8 * 24 / len(text)


def test_the_hand_written_backward_is_the_gradient():
    from nzip.train.model import _Lstm

    torch.manual_seed(1)
    pre = torch.randn(5, 3, 16, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(16, 4, dtype=torch.float64, requires_grad=True)
    state = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p, w: _Lstm.apply(p, w, *state, False)[0], (pre, weight))


def test_the_loss_by_nibbles_is_the_loss_of_the_whole_tree():
    torch.manual_seed(2)
    model = M1(TINY)
    features = torch.randn(50, 48)
    target = torch.randint(0, 256, (50,))
    logits = model.logits(features)
    total = 0.0
    for row, byte in zip(logits, target.tolist(), strict=True):
        for depth in range(8):
            node, bit = (byte | 256) >> (8 - depth), byte >> (7 - depth) & 1
            total += torch.nn.functional.softplus(-row[node] if bit else row[node]).item()
    assert model.loss(features, target).item() * 50 == pytest.approx(total, rel=1e-4)


def test_the_train_command(nzip_cli, shards, tmp_path):
    result = nzip_cli(
        *("train", shards, "-o", "mine", "--bytes", "120K", "--hidden", "16", "--lanes", "16"),
        *("--mix", "prose=3,code=1", "-T", "1"),
    )
    assert result.returncode == 0, result.stderr
    assert b"bpb as integers" in result.stderr
    packed = nzip_cli("compress", "--model", "./mine.safetensors", stdin=ENGLISH).stdout
    env = {"NZIP_MODEL_PATH": str(tmp_path)}
    assert nzip_cli("decompress", stdin=packed, env=env).stdout == ENGLISH
    result = nzip_cli("train", shards, "-o", "x", "--hidden", "20")
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)

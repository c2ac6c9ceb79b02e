"""Training: the data loader, the integer forward, resuming, export and the command."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import zstandard  # noqa: E402
from conftest import CODE, ENGLISH, SCRIPTS, TEXTS  # noqa: E402

import nzip  # noqa: E402
from nzip import _predict, models  # noqa: E402
from nzip.train import data, export, loop  # noqa: E402
from nzip.train import model as train_model  # noqa: E402
from nzip.train.integer import IntegerM1  # noqa: E402
from nzip.train.model import M1, WORD, WORDS, Config, choose_checks  # noqa: E402

TINY = Config(
    hidden=32,
    blocks=2,
    embed=16,
    contexts=[1, 2, 4, 8, WORD, WORDS],
    table_bits=[8, 9, 10, 9, 9, 9],
)
torch.set_num_threads(1)
OPTIONS = loop.Options(total=160 * 16 * 30, lanes=16, segment=32, warmup=5, every=40)


def bytes_tensor(text):
    """uint8 [T, 1]"""
    return torch.from_numpy(np.frombuffer(text, np.uint8).copy()).unsqueeze(1)


def tiny(text=ENGLISH):
    """A model with random weights whose rows belong to the contexts of ``text``."""
    torch.manual_seed(0)
    model = M1(TINY)
    model.check = choose_checks(bytes_tensor(text), TINY)
    torch.nn.init.normal_(model.out, std=0.2)
    return model


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


def kernel_logits(path, text):
    predictor = models.load(str(path)).predictor
    return np.frombuffer(_predict.logits(predictor, text), np.int16).reshape(-1, 256)


def test_the_float_model_is_close_to_the_kernel(tmp_path):
    """Hashes, checks and the order of nodes are the same; the values differ by roundings."""
    text = (ENGLISH + SCRIPTS)[:150]
    model = tiny(text)
    export.save(model, tmp_path / "m.safetensors", "m")
    with torch.no_grad():
        output, _ = model(bytes_tensor(text), model.initial_state(1))
        expected = model.logits(output)[:, 0].numpy().clip(-12, 12)
    got = kernel_logits(tmp_path / "m.safetensors", text) / 256
    assert np.abs(got - expected)[:, 1:].mean() < 0.1


def test_the_integers_in_torch_are_the_kernels_bit_for_bit(tmp_path):
    texts = [(ENGLISH * 2)[:200], (CODE * 3)[:200], (SCRIPTS + bytes(range(256)))[:200]]
    export.save(tiny(b"".join(texts)), tmp_path / "m.safetensors", "m")
    together = torch.cat([bytes_tensor(text) for text in texts], dim=1)
    got = IntegerM1(tmp_path / "m.safetensors").logits(together)
    for lane, text in enumerate(texts):
        assert np.array_equal(
            got[:, lane, 1:], kernel_logits(tmp_path / "m.safetensors", text)[:, 1:]
        )


def test_a_row_belongs_to_its_most_frequent_context():
    config = Config(16, 1, 16, [2], [8])
    text = bytes_tensor(b"ab" * 500 + bytes(range(256)))
    check = choose_checks(text, config)
    last, words, _ = train_model.contexts_of(
        text, text.new_zeros(8, 1), torch.zeros(2, 1).long(), False
    )
    found = train_model.table_rows(last, words, config, check)[..., 0] < config.rows
    assert found[2:1000].all()
    assert 0.2 < found[1000:].float().mean() < 0.9  # 256 contexts share 256 places


def test_the_state_carries_words_and_bytes_over_segments():
    model, text = tiny(), bytes_tensor(ENGLISH[:120])
    with torch.no_grad():
        whole, _ = model(text, model.initial_state(1))
        first, state = model(text[:47], model.initial_state(1))
        second, _ = model(text[47:], state)
    assert torch.equal(whole, torch.cat([first, second]))


def test_a_deeper_model_computes_the_same():
    model, text = tiny(), bytes_tensor(ENGLISH[:200])
    deeper = loop.deepen(model, 4)
    with torch.no_grad():
        logits = [m.logits(m(text, m.initial_state(1))[0]) for m in (model, deeper)]
    assert torch.equal(logits[0], logits[1])
    with pytest.raises(ValueError, match="only grow"):
        loop.deepen(deeper, 2)


def test_a_model_can_share_the_tables_of_another(shards, tmp_path):
    """It is trained without changing them, its file is small and finds them by their hash."""
    export.save(tiny(), tmp_path / "first.safetensors", "first")
    size = Config(hidden=16, blocks=1)
    model = export.with_tables(size, tmp_path / "first.safetensors")
    before = model.table.weight.clone()
    model = loop.train(data.Corpus([shards]), tmp_path / "x.ckpt", model, OPTIONS)
    assert torch.equal(model.table.weight, before)
    path = tmp_path / "second.safetensors"
    export.save(model, path, "second")
    assert path.stat().st_size < 20_000 < (tmp_path / "first.safetensors").stat().st_size
    text = bytes_tensor(ENGLISH[:200])
    assert np.array_equal(
        IntegerM1(path).logits(text)[:, 0, 1:], kernel_logits(path, ENGLISH[:200])[:, 1:]
    )
    export.save(export.load(path), tmp_path / "whole.safetensors", "whole")
    whole = kernel_logits(tmp_path / "whole.safetensors", ENGLISH[:200])
    assert np.abs(whole - kernel_logits(path, ENGLISH[:200])).mean() < 3  # weights rounded again
    models._loaded.clear()
    (tmp_path / "first.safetensors").unlink()
    (tmp_path / "whole.safetensors").unlink()
    with pytest.raises(nzip.ModelNotFoundError, match="needs the tables"):
        models.load(str(path))


def test_training_learns_resumes_and_exports(shards, tmp_path):
    corpus = data.Corpus([shards])
    rows: list[dict] = []
    checkpoint = tmp_path / "run.ckpt"
    model = loop.train(corpus, checkpoint, TINY, OPTIONS, rows.append)
    assert rows[-1]["held"]["all"] < 4 < rows[0]["bpb"]
    rows.clear()
    again = loop.train(corpus, checkpoint, TINY, OPTIONS, rows.append)  # it had ended: no step
    assert rows == []
    assert torch.equal(again.out, model.out)
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
    torch.manual_seed(1)
    u = torch.randn(5, 3, 16, dtype=torch.float64, requires_grad=True)
    weight = (0.5 * torch.randn(48, 16, dtype=torch.float64)).requires_grad_()
    bias = torch.randn(48, dtype=torch.float64, requires_grad=True)
    h0 = torch.randn(3, 16, dtype=torch.float64)

    def recurrence(*inputs):
        return train_model._Recurrence.apply(*inputs, h0, False)[0]

    assert torch.autograd.gradcheck(recurrence, (u, weight, bias))
    assert torch.autograd.gradcheck(lambda x: train_model._Normalise.apply(x, False), (u,))


@pytest.mark.parametrize("quantise", [True, False])
def test_the_compiled_elementwise_work_is_that_of_torch(monkeypatch, quantise):
    torch.manual_seed(1)
    inputs = [torch.randn(9, 5, 32), 0.5 * torch.randn(96, 32), torch.randn(96)]
    results = []
    for fast in (True, False):
        monkeypatch.setattr(train_model, "_fast", lambda x, fast=fast: fast)
        x, weight, bias = (p.clone().requires_grad_() for p in inputs)
        u = train_model._Normalise.apply(x, quantise)
        y, last = train_model._Recurrence.apply(u, weight, bias, inputs[0][0], quantise)
        (y * torch.linspace(0, 1, 32)).sum().backward()
        results.append((u, y, last, x.grad, weight.grad, bias.grad))
    for compiled, in_torch in zip(*results, strict=True):
        assert torch.allclose(compiled, in_torch, atol=2e-5)


def test_the_loss_by_nibbles_is_the_loss_of_the_whole_tree():
    model = tiny()
    text = bytes_tensor(ENGLISH[:50])
    output, _ = model(text, model.initial_state(1))
    total = 0.0
    for row, byte in zip(model.logits(output)[:, 0], ENGLISH[:50], strict=True):
        for depth in range(8):
            node, bit = (byte | 256) >> (8 - depth), byte >> (7 - depth) & 1
            total += torch.nn.functional.softplus(-row[node] if bit else row[node]).item()
    assert model.loss(output, text).item() * 50 == pytest.approx(total, rel=1e-4)


def test_the_train_command_and_fine_tuning(nzip_cli, shards, tmp_path):
    new = ("--size", "small", "--bytes", "60K", "--lanes", "16", "--mix", "prose=3,code=1")
    result = nzip_cli("train", shards, "-o", "mine", "-T", "1", *new)
    assert result.returncode == 0, result.stderr
    assert b"bpb as integers" in result.stderr
    (tmp_path / "mine.ckpt").unlink()
    log = tmp_path / "own.log"
    log.write_bytes(TEXTS["log"] * 60)
    tune = ("--from", "./mine.safetensors", "--lanes", "4", "--bytes", "100K")
    result = nzip_cli("train", log, "-o", "tuned", "-T", "1", *tune)
    assert result.returncode == 0, result.stderr
    held = [float(x) for x in re.findall(r"all ([0-9.]+)", result.stderr.decode())]
    assert held[-1] < held[0] / 2  # from "before" to the last validation
    env = {"NZIP_MODEL_PATH": str(tmp_path)}
    packed = nzip_cli("compress", "--model", "tuned", stdin=ENGLISH, env=env).stdout
    assert nzip_cli("decompress", stdin=packed, env=env).stdout == ENGLISH
    for arguments in (("--size", "huge"), ("--mix", "x"), ("--from", "nothing")):
        result = nzip_cli("train", shards, "-o", "x", *arguments)
        assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)


def test_two_processes_train_as_one_model(shards, tmp_path):
    """Data-parallel: both end with the same weights, and the file is written once."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    train = ("-m", "nzip", "train", shards, "-o", tmp_path / "two", "--size", "small")
    result = subprocess.run(
        [sys.executable, *torchrun, *train, "--bytes", "40K", "--lanes", "8", "-T", "1"],
        timeout=120,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count(b"wrote ") == 1
    assert models.load(str(tmp_path / "two.safetensors")).hidden == 96


def test_an_integer_model_becomes_the_same_float_model(tmp_path):
    model = tiny()
    export.save(model, tmp_path / "m.safetensors", "m")
    again = export.load(tmp_path / "m.safetensors")
    assert loop.evaluate(again, ENGLISH) == pytest.approx(loop.evaluate(model, ENGLISH), rel=0.02)
    for name, weight in again.state_dict().items():
        assert (weight - model.state_dict()[name]).abs().max() < 0.02, name

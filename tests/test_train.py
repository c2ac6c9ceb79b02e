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
from nzip import _predict, frame, models  # noqa: E402
from nzip.train import _cell, data, loop, mixing, modelfile, step  # noqa: E402
from nzip.train.model import ACT_SCALE, M1, ROW_STEPS, Config, Tables, quantise_table  # noqa: E402

TABLES = Tables(embed=16, contexts=[1, 2, 4, 8, 9, 10], buckets=512, ways=3)
TINY = Config(hidden=32, blocks=2, tables=TABLES)
torch.set_num_threads(1)
OPTIONS = loop.Options(total=160 * 16 * 30, lanes=16, segment=32, warmup=5, every=40)


def columns(text, lanes=1):
    """uint8 [T, lanes]: each lane is a part of the text."""
    length = len(text) // lanes
    array = np.frombuffer(text, np.uint8)[: length * lanes].reshape(lanes, length)
    return array.T.copy()


def owners(tables, text, lanes=1):
    batch = np.ascontiguousarray(columns(text, lanes).T)
    return step.count_owners(iter([(batch, np.ones(lanes, bool))]), tables, 1)


def tiny(text=ENGLISH):
    """A model with random weights whose rows belong to the contexts of ``text``."""
    torch.manual_seed(0)
    model = M1(TINY)
    model.check.copy_(owners(TABLES, text))
    torch.nn.init.normal_(model.table, std=0.3)
    torch.nn.init.normal_(model.out, std=0.2)
    return model


def run(model, text, bits=0, quantise=True):
    """The output layer's input at each byte of a text, under autograd."""
    place = columns(text)
    rows = model.find_rows(place, np.zeros((1, _cell.TRAIL), np.uint8))
    h = torch.zeros(model.config.blocks, 1, model.config.hidden)
    return model(model.embed(rows, bits), h, quantise)[0]


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "prose-00.txt.zst").write_bytes(zstandard.compress(b"\0".join([ENGLISH * 40] * 5)))
    (folder / "code-00.txt").write_bytes(b"\0".join([CODE * 80] * 5))
    return folder


def kernel_logits(path, text):
    predictor = models.load(str(path)).predictor
    return np.frombuffer(_predict.logits(predictor, text), np.int16).reshape(-1, 256)


def test_the_float_model_is_close_to_the_kernel(tmp_path):
    """Hashes, owners and the order of nodes agree; values differ only by rounding."""
    text = (ENGLISH + SCRIPTS)[:150]
    model = tiny(text)
    modelfile.save(model, tmp_path / "m.safetensors", "m")
    with torch.no_grad():
        expected = model.logits(run(model, text, bits=4))[:, 0].numpy().clip(-12, 12)
    got = kernel_logits(tmp_path / "m.safetensors", text) / 256
    assert np.abs(got - expected)[:, 1:].mean() < 0.06


def test_exported_integers_times_their_units_are_the_weights():
    """The units of docs/format.md, written out: activations are in 1/21; the sums over blocks are
    Q4, everything else is Q8; and a product is shifted by 12."""
    model = tiny()
    with torch.no_grad():
        for bias in (model.enter_bias, *model.gates_bias, model.out_bias):
            torch.nn.init.normal_(bias, std=0.5)
    tensors = modelfile.integers(model)
    units = {"enter": 16 * 4096, "gates": 256 * 4096, "leave": 16 * 4096, "out": 256 * 4096}
    for name, unit in units.items():
        given = getattr(model, name)
        weights = torch.stack([*given]) if isinstance(given, torch.nn.ParameterList) else given
        mult = tensors[f"{name}_mult"][..., None]
        off = np.abs(tensors[name] * mult * 21 / unit - weights.detach().numpy())
        assert (off <= 0.51 * mult * 21 / unit).all(), name
        if name == "leave":
            continue
        given = getattr(model, f"{name}_bias")
        biases = torch.stack([*given]) if isinstance(given, torch.nn.ParameterList) else given
        off = np.abs(tensors[f"{name}_bias"] - biases.detach().double().numpy() * unit)
        assert off.max() <= 0.5, name


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("bits", [0, 4])
def test_the_fast_step_has_autograds_loss_and_gradients(monkeypatch, bf16, bits):
    monkeypatch.setattr(step, "bfloat16_is_fast", lambda: bf16)
    model, text = tiny(), columns((ENGLISH * 3)[:600], 6)
    weights = step.Prepared(model)
    lanes = step.Lanes(model, *text.shape)
    lanes.forward(text, weights, bits)
    nats = lanes.loss(text, weights, 1 / text.size)
    lanes.backward(weights)

    rows = model.find_rows(text, np.zeros((6, _cell.TRAIL), np.uint8))
    assert torch.equal(rows.view_as(lanes.rows), lanes.rows)
    embedded = model.embed(rows, bits).requires_grad_()
    features, _ = model(embedded, torch.zeros(2, 6, 32))
    loss = model.loss(features, torch.from_numpy(text))
    loss.backward()
    off = 0.02 if bf16 else 1e-4
    assert nats / text.size == pytest.approx(loss.item(), rel=off)
    pairs = [(lanes.grads[name], p.grad) for name, p in model.dense().items()]
    for got, wanted in [*pairs, (lanes.dembedded.view_as(embedded), embedded.grad)]:
        assert (got - wanted).norm() < off * wanted.norm()


def test_without_rounding_the_fast_step_is_the_float_model():
    model, text = tiny(), (ENGLISH * 3)[:400]
    weights = step.Prepared(model, quantise=False)
    lanes = step.Lanes(model, 400, 1, torch.float32)
    lanes.forward(columns(text), weights)
    with torch.no_grad():
        loss = model.loss(run(model, text, quantise=False), torch.from_numpy(columns(text)), False)
    assert lanes.loss(columns(text), weights) / 400 == pytest.approx(loss.item(), rel=1e-5)


def test_rows_are_updated_by_adagrad_once_a_step():
    """However often a step touches a row, and whichever thread does it."""
    rng = torch.Generator().manual_seed(1)
    rows = torch.randint(0, 40, (300, 6), generator=rng, dtype=torch.int32)
    gradient = torch.randn(300, 16, generator=rng)
    sums = torch.zeros(TABLES.rows, 16)
    sums.index_add_(0, rows.flatten().long(), gradient.repeat_interleave(6, dim=0))
    state = sums.square().mean(dim=1)
    for parts in (1, 2):
        model = M1(TINY)
        updates = step.Rows(model, 1800, parts)
        for part in range(parts):
            updates.update(part, [(rows[:100], gradient[:100]), (rows[100:], gradient[100:])], 0.1)
        assert torch.allclose(updates.state, state, rtol=1e-4)
        wanted = -0.1 * sums / (state.sqrt() + 1e-10).unsqueeze(1)
        assert torch.allclose(model.table, wanted, atol=1e-5)
        assert (updates.place == -1).all()


def test_rows_belong_to_the_most_frequent_contexts():
    tables = Tables(embed=16, contexts=[2], buckets=8, ways=1)
    text = b"ab" * 500 + bytes(range(256))
    model = M1(Config(16, 1, tables))
    model.check.copy_(owners(tables, text))
    found = model.find_rows(columns(text), np.zeros((1, _cell.TRAIL), np.uint8))[..., 0] > 0
    assert found[2:1000].all()
    assert found[1000:].float().mean() < 0.1


def test_the_state_carries_words_and_bytes_over_segments():
    model, text = tiny(), columns(ENGLISH[:120])
    weights = step.Prepared(model)
    whole, halves = step.Lanes(model, 120, 1), step.Lanes(model, 60, 1)
    whole.forward(text, weights)
    for start in (0, 60):
        part = text[start : start + 60]
        halves.forward(part, weights)
        assert torch.equal(halves.rows, whole.rows[start : start + 60])
        assert torch.equal(halves.unit[-1], whole.unit[-1][start : start + 60])


def test_rows_of_four_bits_survive_a_file():
    rows = torch.randn(100, 16) * torch.linspace(0.001, 1, 100).unsqueeze(1)
    ints, scale = quantise_table(rows)
    assert (ints.abs().max(), scale.min(), scale.max()) == (7, 1, 127)
    back = modelfile._unpack(modelfile._pack(rows))
    assert torch.allclose(back, ints * scale / (ACT_SCALE * ROW_STEPS))
    error = (back - rows).abs().amax(dim=1)[20:60]  # not where the scale is at its limits
    assert (error < rows.abs().amax(dim=1)[20:60] * 0.09).all()


def test_a_deeper_model_computes_the_same():
    model = tiny()
    deeper = loop.deepen(model, 4)
    with torch.no_grad():
        assert torch.equal(run(model, ENGLISH[:200]), run(deeper, ENGLISH[:200]))
    with pytest.raises(ValueError, match="only grow"):
        loop.deepen(deeper, 2)


def test_a_model_can_use_the_tables_of_another_file(shards, tmp_path):
    """Training leaves the tables unchanged; the network's file is small and names them by hash."""
    modelfile.save_tables(tiny(), tmp_path / "first.safetensors", "first")
    tables = models.load_tables(tmp_path / "first.safetensors")
    model = modelfile.with_tables((16, 1), tables)
    before = model.table.clone()
    model = loop.train(data.Corpus([shards]), tmp_path / "x.ckpt", model, OPTIONS)
    assert torch.equal(model.table, before)
    path = tmp_path / "second.safetensors"
    modelfile.save(model, path, "second")
    assert path.stat().st_size < 20_000 < (tmp_path / "first.safetensors").stat().st_size
    loaded = models.load(path)
    assert loaded.tables.digest == tables.digest
    assert models.load_tables(path) is loaded.tables
    with pytest.raises(nzip.ModelFileError, match="no network"):
        models.load(tmp_path / "first.safetensors")
    modelfile.save(modelfile.load(loaded, frozen=False), tmp_path / "whole.safetensors", "whole")
    whole = kernel_logits(tmp_path / "whole.safetensors", ENGLISH[:200])
    assert np.abs(whole - kernel_logits(path, ENGLISH[:200])).mean() < 3  # weights rounded again
    models._loaded.clear()
    models._tables.clear()
    (tmp_path / "first.safetensors").unlink()
    (tmp_path / "whole.safetensors").unlink()
    with pytest.raises(nzip.ModelNotFoundError, match="needs the tables"):
        models.load(path)


def test_training_learns_resumes_and_exports(shards, tmp_path):
    corpus = data.Corpus([shards])
    rows: list[dict] = []
    checkpoint = tmp_path / "run.ckpt"
    model = loop.train(corpus, checkpoint, TINY, OPTIONS, rows.append)
    assert rows[-1]["held"]["all"] < 4 < rows[0]["bpb"]
    rows.clear()
    again = loop.train(corpus, checkpoint, TINY, OPTIONS, rows.append)  # the run had ended: no step
    assert rows == []
    assert torch.equal(again.out, model.out)
    assert torch.equal(again.table, model.table)
    other = loop.Options(**{**vars(OPTIONS), "seed": 2})
    with pytest.raises(ValueError, match="other settings"):
        loop.train(corpus, checkpoint, TINY, other)

    path = tmp_path / "tiny.safetensors"
    modelfile.save(model, path, "tiny")
    text = ENGLISH * 4 + CODE * 10
    packed = nzip.compress(text, model=str(path), adapt=False)
    assert nzip.decompress(packed) == text
    exact = loop.evaluate(model, text, quantise=False)
    assert 8 * len(packed) / len(text) < exact * 1.05 + 8 * 24 / len(text)


def test_mixing_begins_with_what_other_texts_taught(shards, tmp_path):
    path = tmp_path / "tiny.safetensors"
    modelfile.save(tiny(ENGLISH), path, "tiny")
    before = models.Model(path)
    corpus = data.Corpus([shards], {"prose": 3, "code": 1})
    mixing.add_starts(path, corpus, 30_000)
    after = models.Model(path)
    for one, other in ((after, before), (after.tables, before.tables)):
        assert {n: bytes(t) for n, t in one.tensors.items()} == {
            n: bytes(t) for n, t in other.tensors.items()
        }
    for profile in frame.PROFILES:
        sizes = [len(_predict.ac_encode(m.predictor, profile, ENGLISH)) for m in (before, after)]
        assert sizes[1] < sizes[0]
    first = path.read_bytes()
    mixing.add_starts(path, corpus, 30_000)  # learns from nothing, whatever the file has
    assert path.read_bytes() == first


def test_learned_weights_are_the_mean_over_the_ends_of_texts(small_model):
    texts, ends = [ENGLISH[:100], CODE[:150], ENGLISH[100:]], []
    rows, width, count = _predict.start_shape(1)
    weights, maps = np.zeros(rows * width, np.int16), np.zeros(count, np.uint32)
    for number, text in enumerate([b"", *texts]):
        _predict.ac_learn(small_model.predictor, 1, text, weights, maps, number == 0)
        ends.append(weights.astype(float))
    learned, last = mixing.learn(small_model.predictor, 1, texts)
    assert np.array_equal(learned.ravel(), (ends[0] / 4 + 3 * (ends[2] + ends[3]) / 8).round())
    assert (ends[0].reshape(rows, width) == ends[0][:width]).all()  # the defaults
    assert np.array_equal(last, maps)
    for profile in (2, 3):
        assert (mixing.learn(small_model.predictor, profile, texts)[1] & 1023).max() == 20


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(shards, tmp_path):
    """Only the lanes' states are lost; if all lanes are reset at each step, nothing is."""
    options = loop.Options(**{**vars(OPTIONS), "reset": 1.0, "every": 8, "total": 16 * 32 * 24})
    corpus = data.Corpus([shards], {"prose": 3, "code": 1}, {"prose": 0.5})
    whole = loop.train(corpus, tmp_path / "whole.ckpt", TINY, options)

    def stop(row):
        if row["step"] == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(corpus, tmp_path / "cut.ckpt", TINY, options, stop)
    rows: list[dict] = []
    cut = loop.train(corpus, tmp_path / "cut.ckpt", TINY, options, rows.append)
    assert rows[0]["step"] == 9  # the last checkpoint
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, cut.state_dict()[name]), name


def test_long_lines_are_laid_out_as_files_have_them():
    text = b"A sentence of some words. And one more of them! " * 100
    rng = np.random.default_rng(5)
    seen = [data.relaid(text, rng) for _ in range(60)]
    assert all(max(map(len, t.split(b"\n"))) <= 82 for t in seen)
    assert any(b"\r\n" in t for t in seen)
    assert any(b".  And" in t for t in seen)
    assert all(t.split() == text.split() for t in seen)
    assert data.relaid(CODE * 9, rng) == CODE * 9  # its lines are short


def test_the_loss_is_that_of_the_whole_tree():
    model = tiny()
    output = run(model, ENGLISH[:50])
    total = 0.0
    for row, byte in zip(model.logits(output)[:, 0], ENGLISH[:50], strict=True):
        for depth in range(8):
            node, bit = (byte | 256) >> (8 - depth), byte >> (7 - depth) & 1
            total += torch.nn.functional.softplus(-row[node] if bit else row[node]).item()
    text = torch.from_numpy(columns(ENGLISH[:50]))
    assert model.loss(output, text).item() * 50 == pytest.approx(total, rel=1e-4)


@pytest.mark.slow
def test_autograd_trains_as_the_fast_step_does(shards, tmp_path, monkeypatch):
    """The code for a GPU, run here on a CPU."""
    short = loop.Options(**{**vars(OPTIONS), "total": 16 * 32 * 12, "every": 6})
    fast = loop.train(data.Corpus([shards]), tmp_path / "a.ckpt", TINY, short)
    monkeypatch.setattr(loop, "CpuEngine", loop.TorchEngine)
    slow = loop.train(data.Corpus([shards]), tmp_path / "b.ckpt", TINY, short)
    assert loop.evaluate(slow, ENGLISH) == pytest.approx(loop.evaluate(fast, ENGLISH), rel=0.03)


@pytest.mark.slow
def test_the_train_command_and_fine_tuning(nzip_cli, shards, tmp_path):
    new = ("--size", "nano", "--bytes", "60K", "--lanes", "16", "--mix", "prose=3,code=1")
    new = (*new, "--table-size", "1M", "--relay", "prose=0.5")
    result = nzip_cli("train", shards, "-o", "mine", "-T", "1", *new)
    assert result.returncode == 0, result.stderr
    assert b"bpb as integers" in result.stderr
    assert not list(tmp_path.glob("*.ckpt"))
    log = tmp_path / "own.log"
    log.write_bytes(TEXTS["log"] * 60)
    tune = ("--from", "./mine.safetensors", "--lanes", "4", "--bytes", "100K")
    result = nzip_cli("train", log, "-o", "tuned", "-T", "1", *tune)
    assert result.returncode == 0, result.stderr
    held = [float(x) for x in re.findall(r"all ([0-9.]+)", result.stderr.decode())]
    assert held[-1] < held[0] / 2  # from "before" to the last validation
    tuned, mine = (models.load(tmp_path / f"{name}.safetensors") for name in ("tuned", "mine"))
    assert tuned.tables.original.digest == mine.tables.digest
    assert tuned.path.stat().st_size < mine.path.stat().st_size - 2**19  # half of the tables
    assert mine.starts.keys() == tuned.starts.keys() == frame.PROFILES.keys()
    few = nzip_cli("train", log, "-o", "few", "-T", "1", *tune, "--changes", "680")
    assert few.returncode == 0, few.stderr
    old, new = (
        m.tables.tensors["lines"] for m in (mine, models.load(tmp_path / "few.safetensors"))
    )
    differing = [i for i in range(0, len(old), 64) if old[i : i + 64] != new[i : i + 64]]
    assert 0 < len(differing) <= 10
    env = {"NZIP_MODEL_PATH": str(tmp_path)}
    packed = nzip_cli("compress", "--model", "tuned", stdin=ENGLISH, env=env).stdout
    result = nzip_cli("decompress", stdin=packed, env=env)
    assert (result.stdout, result.stderr) == (ENGLISH, b"")
    for arguments in (("--size", "huge"), ("--mix", "x"), ("--from", "nothing")):
        result = nzip_cli("train", shards, "-o", "x", *arguments)
        assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)


@pytest.mark.slow
def test_two_processes_train_as_one_model(shards, tmp_path):
    """Data-parallel: both processes end with the same weights, and the file is written once."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    train = ("-m", "nzip", "train", shards, "-o", tmp_path / "two", "--size", "small")
    result = subprocess.run(
        [sys.executable, *torchrun, *train, "--bytes", "40K", "--lanes", "8", "--table-size", "1M"],
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
    modelfile.save(model, tmp_path / "m.safetensors", "m")
    again = modelfile.load(models.load(tmp_path / "m.safetensors"), frozen=False)
    assert loop.evaluate(again, ENGLISH) == pytest.approx(loop.evaluate(model, ENGLISH), rel=0.02)
    for name, weight in again.state_dict().items():
        if name not in ("table", "check"):
            assert (weight - model.state_dict()[name]).abs().max() < 0.02, name
    owned = torch.cat([torch.ones(6, dtype=torch.bool), model.check.view(-1) != 0])
    assert torch.equal(again.check, model.check)
    assert (again.table - model.table)[owned].abs().max() < 0.15

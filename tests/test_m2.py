"""Language models over tokens: nothing is lost or uncounted on the way to bits per byte."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from conftest import ENGLISH, SCRIPTS  # noqa: E402

import nzip  # noqa: E402
from nzip.cli import app, program  # noqa: E402
from nzip.m2 import compare, data, generate, loop, meaning, schemes  # noqa: E402
from nzip.m2.model import M2, Config  # noqa: E402

CORPUS = Path(__file__).parents[1] / "examples" / "corpus"
DOCUMENTS = [
    ENGLISH * 3,
    SCRIPTS * 2,
    b"x",
    b"short, then more: " * 20,
    ENGLISH[:77],
    bytes(range(256)),
]
NAMES = [*(name for name in schemes.SCHEMES if name != "padded-16"), "bpe-400"]


@pytest.fixture(scope="module", params=NAMES)
def tokenizer(request) -> schemes.Scheme:
    return schemes.Scheme(request.param, DOCUMENTS)


def test_tokens_are_lossless_and_documents_end_with_the_last_token(tokenizer):
    for document in DOCUMENTS:
        ids = tokenizer.encode(document)
        assert ids.max() < tokenizer.vocab - 1
        assert tokenizer.decode(ids, len(document)) == document
    tokens = tokenizer.tokens(DOCUMENTS)
    assert tokens.bytes == sum(map(len, DOCUMENTS))
    assert (tokens.ids == tokens.vocab - 1).sum() == len(DOCUMENTS)
    assert len(tokens.ids) == len(DOCUMENTS) + sum(len(tokenizer.encode(d)) for d in DOCUMENTS)


def test_a_tokenization_comes_back_from_its_settings(tokenizer):
    settings = json.loads(json.dumps(tokenizer.settings))
    again = schemes.Scheme.from_settings(settings)
    assert again.vocab == tokenizer.vocab
    ids = tokenizer.encode(ENGLISH)
    assert again.decode(ids, len(ENGLISH)) == ENGLISH


def test_text_comes_out_of_tokens_alone(tokenizer):
    text = generate.decode(tokenizer, tokenizer.encode(ENGLISH))
    if tokenizer.name.startswith(("ac", "static")):
        assert text.startswith(ENGLISH[: len(ENGLISH) - 8])  # a code does not mark its own end
    else:
        assert text == ENGLISH


def test_where_tokens_begin_rises_from_the_start(tokenizer):
    for document in DOCUMENTS:
        ids = tokenizer.encode(document)
        places = meaning.starts(tokenizer, document, ids)
        assert len(places) == len(ids)
        assert places[0] == 0
        assert (np.diff(places) >= 0).all()
        assert places[-1] < len(document)


def test_windows_begin_where_decoding_the_ones_before_ends():
    for name in ("eqinfo-24-8", "eqinfo-16-8-carry", "eqinfo-16-8-every-2", "eqinfo-16-16-word"):
        tokenizer = schemes.Scheme(name, [])
        ids = tokenizer.encode(ENGLISH)
        places = meaning.starts(tokenizer, ENGLISH, ids)
        tokens = 24 // 8 if "24" in name else 1 if "16-16" in name else 2
        for k in range(tokens, len(ids), tokens):
            assert generate.decode(tokenizer, ids[:k]) == ENGLISH[: places[k]]


def test_padded_windows_are_lossless_and_shorter_than_ours():
    from nzip import models
    from nzip.m2.padded import Padded
    from nzip.modes import dictionary

    model = models.load(models.WINDOWS)
    padded = Padded(model, 10)
    for text in (ENGLISH, SCRIPTS, bytes(range(256))):
        ids = padded.encode(text)
        assert b"".join(padded.strings[i] for i in ids) == text
    assert 256 < len(padded.strings) <= 1 << 10
    ids = padded.encode(ENGLISH)
    ours = dictionary.of_model(model, 10).encode(ENGLISH)  # also 10 bits each, in two bytes
    assert len(ours) // 2 < len(ids) < len(ENGLISH)


def test_pieces_hold_the_text_and_end_between_characters():
    text = ("é" * 9000 + "中" * 9000).encode()
    parts = list(data.cut(text))
    assert b"".join(parts) == text
    assert all(len(part) <= data.PIECE for part in parts)
    assert all(part.decode() for part in parts)
    odd = b"\x80" * 30_000  # not text: cut even where no character begins
    assert list(data.cut(odd)) == [odd[:10_240], odd[10_240:20_480], odd[20_480:]]
    assert [len(part) for part in data.cut(b"x" * 10_239 + "🙂".encode() * 3)] == [10_239, 12]
    train, held_out = data.split_off([bytes([i]) * 100 for i in range(100)], 1000)
    assert (len(train), len(held_out)) == (90, 10)
    assert not set(train) & set(held_out)


@pytest.mark.parametrize("chunk", [24, 10])
def test_cross_entropy_and_its_gradient_are_those_of_torch(chunk, monkeypatch):
    monkeypatch.setattr("nzip.m2.model.CHUNK", chunk)
    torch.manual_seed(3)
    model = M2(Config(vocab=50, layers=2, width=32, heads=2, context=8))
    tokens, targets = torch.randint(0, 50, (3, 8)), torch.randint(0, 50, (3, 8))
    loss = model.loss(tokens, targets)
    loss.backward()
    own = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    x, _ = model._hidden(tokens, None)
    logits = torch.nn.functional.linear(x, model.embed.weight)
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="sum"
    )
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for a, p in zip(own, model.parameters(), strict=True):
        assert torch.allclose(a, p.grad, atol=2e-4)
    with torch.no_grad():
        assert model.loss(tokens, targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_token_is_predicted_from_those_before_it_alone_also_step_by_step():
    torch.manual_seed(4)
    model = M2(Config(vocab=20, layers=2, width=32, heads=2, context=10)).eval()
    tokens = torch.randint(0, 20, (1, 10))
    with torch.no_grad():
        whole = [model.next(tokens[:, : k + 1])[0] for k in range(10)]
        cache = None
        for k in range(10):
            step, cache = model.next(tokens[:, k : k + 1], cache)
            assert torch.allclose(step, whole[k], atol=1e-5)
        changed = tokens.clone()
        changed[0, 9] = (changed[0, 9] + 1) % 20
        assert torch.equal(model.next(changed[:, :9])[0], whole[8])


def test_flops_are_the_matrix_products():
    config = Config(vocab=100, layers=2, width=32, heads=2, context=16)
    weights = sum(p.numel() for n, p in M2(config).named_parameters() if p.dim() == 2)
    attention = 2 * config.layers * config.context * config.width
    assert config.flops == 2 * weights + attention
    inner = weights - 100 * 32
    assert config.inner_parameters == inner + (2 * config.layers + 1) * 32


def uniform(vocab: int) -> M2:
    model = M2(Config(vocab, layers=1, width=16, heads=1, context=7))
    torch.nn.init.zeros_(model.embed.weight)
    return model


@pytest.mark.parametrize("count", [1, 6, 7, 8, 50])
def test_every_token_is_measured_once(count):
    ids = np.arange(count, dtype=np.int32) % 9
    tokens = data.Tokens(ids, 10, bytes=5 * count, documents=1)
    bits = loop.measure(uniform(10), tokens, torch.device("cpu"), batch=2)
    assert bits == pytest.approx(math.log2(10) / 5, rel=1e-3)


def test_generation_ends_when_tokens_add_no_text(monkeypatch):
    scheme = schemes.Scheme("gzip-8", [])
    monkeypatch.setattr(generate, "load_model", lambda path: (None, scheme.settings))
    monkeypatch.setattr(generate, "sample", lambda *args: ([0] * 64, None))
    text, figures = generate.generate(Path("m.pt"), 1000)
    assert text == b""
    assert figures["tokens"] == 256


@pytest.fixture(scope="module")
def small() -> tuple[data.Tokens, data.Tokens]:
    tokenizer = schemes.Scheme("bytes", [])
    documents = [ENGLISH] * 10
    return tokenizer.tokens(documents), tokenizer.tokens(documents[:1])


def options(**changes: float) -> loop.Options:
    flops = 3 * Config(257, *compare.SIZES["tiny"], 32).flops * 4 * 32 * 12
    return loop.Options(**{"flops": flops, "batch": 4, "points": 3, "rate": 1e-2, **changes})


def test_training_learns_and_resumes_where_it_was(small, tmp_path):
    config = Config(257, *compare.SIZES["tiny"], 32)
    whole = loop.Trainer(config, options(), *small, device="cpu")
    assert whole.steps == 12
    rows = whole.run()
    assert [row["step"] for row in rows] == [4, 8, 12]
    assert rows[-1]["bpb"] < rows[0]["bpb"] < 8
    assert rows[-1]["bytes"] == round(12 * 4 * 32 * small[0].bytes / len(small[0].ids))
    path = tmp_path / "run.checkpoint"
    half = loop.Trainer(config, options(), *small, device="cpu", checkpoint=path)

    def stop(row: loop.Row) -> None:
        if row["step"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half.run(stop)
    again = loop.Trainer(config, options(), *small, device="cpu", checkpoint=path)
    assert again.step == 4
    assert [r["bpb"] for r in again.run()] == pytest.approx([r["bpb"] for r in rows], abs=1e-3)
    with pytest.raises(ValueError, match="other settings"):
        loop.Trainer(config, options(rate=1.0), *small, device="cpu", checkpoint=path)


def test_text_is_made_up_to_the_token_that_ends_it():
    torch.manual_seed(1)
    model = M2(Config(257, *compare.SIZES["tiny"], 32)).eval()
    ids, _ = loop.sample(model, [256], 40)  # more than the context
    assert len(ids) == 40
    at = next(i for i in range(35, 40) if ids[i] not in ids[:i])
    assert loop.sample(model, [256], 40, stop=ids[at])[0] == ids[: at + 1]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles with g++")
def test_compiled_blocks_train_the_same_model(small):
    config = Config(257, *compare.SIZES["tiny"], 32)
    plain = loop.Trainer(config, options(rate=1e-3), *small, device="cpu")
    compiled = loop.Trainer(config, options(rate=1e-3), *small, device="cpu", compiled=True)
    expected = [row["bpb"] for row in plain.run()]
    assert [row["bpb"] for row in compiled.run()] == pytest.approx(expected, abs=2e-2)


def test_entropy_of_what_follows_a_token():
    from collections import Counter

    assert meaning.entropy(Counter({b"a": 1000})) == 0
    assert meaning.entropy(Counter({b"a": 5000, b"b": 5000})) == pytest.approx(1, abs=1e-3)
    bytes_, ac = schemes.Scheme("bytes", []), schemes.Scheme("ac-8", [])
    texts = [path.read_bytes() for path in sorted(CORPUS.glob("*.txt"))]
    one, other = meaning.of_tokens(bytes_, texts)["1"], meaning.of_tokens(ac, texts)["1"]
    assert one["given"] == 0
    assert other["given"] > 0.5 * other["alone"]


@pytest.mark.slow
def test_compare_writes_a_table_and_keeps_what_it_has(tmp_path):
    arguments = {"names": ["bytes", "eqinfo-16-8", "bpe-300"], "sizes": ["tiny"], "tiny": True}
    text = compare.compare([CORPUS], tmp_path, budget=0.02, device="cpu", **arguments)
    assert "EqualInfoAC[b=16, v=256]" in text
    rows = json.loads((tmp_path / "results.json").read_text())
    assert {row["name"] for row in rows} == {"bytes", "eqinfo-16-8", "bpe-300"}
    flops = [row["train flops"] for row in rows]
    assert max(flops) < 1.1 * min(flops)
    for row in rows:
        assert 0 < row["bpb"] < 1.2 * row["uniform bpb"]
        expected = math.log2(row["vocab"]) * row["tokens/byte"]
        assert row["uniform bpb"] == pytest.approx(expected)
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()}
    assert compare.compare([CORPUS], tmp_path, budget=0.02, device="cpu", **arguments) == text
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()}
    assert compare.compare([], tmp_path, report_only=True) == text


@pytest.mark.slow
def test_command_line_trains_on_tokens_and_makes_text(tmp_path, nzip_cli):
    (tmp_path / "text").write_bytes(b"\0".join([ENGLISH] * 30))
    done = nzip_cli("tokenize", "text", "-o", "t.bin", "--split", "nul")
    assert done.returncode == 0, done.stderr
    args = ("--size", "tiny", "--context", "16", "--device", "cpu")
    done = nzip_cli("m2", "train", "t.bin", "-o", "m.pt", *args)
    assert done.returncode == 0, done.stderr
    assert b"bits per byte of held-out text" in done.stderr
    done = nzip_cli("m2", "generate", "m.pt", "-n", "50", "--prompt", "It was")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) <= 50
    assert b"bytes per second" in done.stderr
    again = nzip_cli("m2", "generate", "m.pt", "-n", "50", "--prompt", "It was")
    assert again.stdout == done.stdout
    done = nzip_cli("m2", "meaning", "text", "--names", "bytes,eqinfo-16-16")
    assert done.returncode == 0, done.stderr
    assert b"EqualInfoAC" in done.stdout


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path, nzip_cli):
    (tmp_path / "text").write_bytes(b"\0".join([ENGLISH] * 30))
    assert nzip_cli("tokenize", "text", "-o", "t.bin", "--split", "nul").returncode == 0
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    train = (
        "-m",
        "nzip",
        "m2",
        "train",
        "t.bin",
        "-o",
        "m.pt",
        "--size",
        "tiny",
        "--context",
        "16",
    )
    done = subprocess.run(
        [sys.executable, *torchrun, *train, "--context", "16", "--device", "cpu"],
        capture_output=True,
        cwd=tmp_path,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(b"bits per byte of held-out text") <= 8  # one process reports
    model, settings = loop.load_model(tmp_path / "m.pt")
    assert model.config.context == 16
    assert settings["window"] == 16


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("train no.bin -o m.pt", "no.bin: No such file"),
        ("train text -o m.pt --size huge", "unknown size 'huge'"),
        ("compare folder -o out", "no files found"),
        ("compare empty -o out", "too small"),
        ("compare text -o out --names nothing", "unknown tokenization 'nothing'"),
        ("compare --report -o out", "out"),
        ("generate text", "text"),
        ("meaning text --names nothing", "unknown tokenization 'nothing'"),
    ],
)
def test_bad_calls_get_one_line(tmp_path, monkeypatch, capfd, args, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "_catch_signals", lambda: None)
    (tmp_path / "text").write_bytes(ENGLISH * 50)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    assert program._guarded(["m2", *args.split()]) == 1
    said = capfd.readouterr().err
    assert said.startswith("nzip: ")
    assert said.count("\n") == 1
    assert words in said


def test_help_and_defaults_are_those_of_the_library():
    from nzip.cli.options import parse_size

    commands = app.make_group().commands["m2"].commands
    options = {p.name: p for p in commands["train"].params}
    said = options["size"].help.removesuffix(" weights.").replace(" or ", ", ").split(", ")
    assert said == list(compare.SIZES) == list(compare.RATES) == list(compare.BUDGETS)
    total = next(p for p in commands["compare"].params if p.name == "total")
    assert parse_size(total.default) == compare.TOTAL


def test_errors_are_nzips():
    with pytest.raises(nzip.FormatError):
        schemes.Scheme.from_settings({"tokenization": "nothing", "token_bits": 8})

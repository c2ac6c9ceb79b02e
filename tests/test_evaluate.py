"""eval, models and sample: the bits a model needs for a text, and the text it makes of noise."""

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import CODE, ENGLISH

import nzip
from nzip import evaluate, levels, models

KERNEL = Path(nzip.__file__).parent / "kernel"


@pytest.mark.parametrize("adapt", [False, True])
def test_costs_add_up_to_what_ac_writes(adapt):
    text = ENGLISH * 3 + CODE
    level = levels.LEVELS[levels.DEFAULT_LEVEL]
    bits = evaluate.costs(models.load(level.model), text, level.coding if adapt else 0)
    assert bits.shape == (len(text),)
    assert (bits > 0).all()
    payload = (
        len(nzip.compress(text, adapt=adapt, model=level.model)) - 17
    )  # at most: header, checks, sizes
    assert payload <= bits.sum() / 8 + 2
    assert bits.sum() / 8 <= payload + 17


def test_a_curve_covers_every_byte_and_falls():
    points = evaluate.curve(models.load(), [ENGLISH * 6, b"", ENGLISH[:100]], length=512)
    assert points[0].first == 1
    assert points[-1].last == 512
    assert all(a.last + 1 == b.first for a, b in itertools.pairwise(points))
    assert sum(p.bytes for p in points) == len(ENGLISH * 6) + 100
    assert points[-1].bpb < points[0].bpb
    with pytest.raises(ValueError, match="1 to 32767"):
        evaluate.curve(models.load(), [ENGLISH], length=32768)


def test_a_sample_is_reproducible_and_goes_on_from_its_prompt():
    model = models.load()
    text = evaluate.sample(model, 200, seed=7)
    assert text == evaluate.sample(model, 200, seed=7)
    assert text != evaluate.sample(model, 200, seed=8)
    costs = evaluate.costs(model, text)
    assert costs.mean() < 4  # a model finds its own output likely; noise would take 8 or more
    for prompt in (b"The ", ENGLISH[:300], bytes(range(200, 240))):
        goes_on = evaluate.sample(model, 50, 1, prompt)
        assert len(goes_on) == 50
    assert evaluate.sample(model, 50, 1, CODE[:300]) != evaluate.sample(model, 50, 1, ENGLISH[:300])
    with pytest.raises(ValueError, match="1 to 32767"):
        evaluate.sample(model, 32767, prompt=b"x")


def test_the_commands(nzip_cli, tmp_path):
    (tmp_path / "a.txt").write_bytes(ENGLISH * 3)
    (tmp_path / "b.txt").write_bytes(CODE)
    rows = json.loads(nzip_cli("eval", "--json", ".").stdout)
    assert [row["file"] for row in rows] == ["a.txt", "b.txt", "total"]
    expected = evaluate.bits_per_byte(models.load(), ENGLISH * 3)
    assert rows[0]["bpb"] == pytest.approx(expected)
    rows = json.loads(nzip_cli("eval", "--json", "--curve", "--length", "64", "a.txt").stdout)
    assert rows[-1]["last"] == 64
    rows = json.loads(nzip_cli("models", "--json").stdout)
    default = next(row for row in rows if row["default"])
    assert default["name"] == models.DEFAULT
    assert default["hash"] == models.load().digest.hex()[:8]
    assert nzip_cli("models").returncode == nzip_cli("eval", "a.txt").returncode == 0
    result = nzip_cli("sample", "-n", "40", "--seed", "3", "--prompt", "Once")
    assert (result.returncode, len(result.stdout)) == (0, 40)
    for arguments in (
        ("eval", "nothing"),
        ("eval", "--model", "no", "a.txt"),
        ("sample", "-n", "0"),
    ):
        result = nzip_cli(*arguments)
        assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)


def test_an_empty_file_costs_nothing_and_no_file_is_an_error(nzip_cli, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    done = nzip_cli("eval", "--json", "empty")
    assert json.loads(done.stdout, parse_constant=pytest.fail) == [
        {"file": "empty", "bytes": 0, "bpb": None}
    ]
    assert b"nan" not in nzip_cli("eval", "empty").stdout
    done = nzip_cli("eval", "folder")
    assert (done.returncode, done.stderr) == (1, b"nzip: no files found\n")


@pytest.mark.parametrize("adapt", [False, True])
def test_a_text_is_measured_in_the_blocks_that_code_it(monkeypatch, adapt):
    """The costs at the default level, or of M1 alone."""
    sizes = []

    def costs(model, block, profile, watch):
        sizes.append(len(block))
        return np.ones(1)

    monkeypatch.setattr(evaluate, "costs", costs)
    level = levels.LEVELS[levels.DEFAULT_LEVEL]
    size = level.block_size if adapt else levels.PLAIN_BLOCK
    evaluate.bits_per_byte(models.load(models.NANO), bytes(2 * size + 7), adapt, threads=1)
    assert sizes == [size, size, 7]


@pytest.mark.slow
def test_the_curve_as_an_image(nzip_cli, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "a.txt").write_bytes(ENGLISH * 3)
    result = nzip_cli("eval", "--png", "c.png", "a.txt", env={"MPLCONFIGDIR": str(tmp_path)})
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


FLOAT = re.compile(
    r"\s(v?(add|sub|mul|div|sqrt|min|max|cmp|round|fn?m(add|sub)\w*|u?comi|rcp|rsqrt)\w*[sp][sd]"
    r"|v?cvt\w*[sp][sd]\w*|f(ld|st|add|sub|mul|div|ild|ist)\w*)\s"
)


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("cc")
    or not shutil.which("objdump")
    or not KERNEL.joinpath("coder.c").exists(),
    reason="needs cc, objdump and the C sources",
)
@pytest.mark.parametrize("source", sorted(KERNEL.glob("*.c")), ids=lambda p: p.name)
def test_no_floating_point_instruction_in_the_kernel(source, tmp_path):
    """The coding path uses integers only."""
    target = tmp_path / "kernel.o"
    subprocess.run(["cc", "-O3", "-std=c11", "-c", source, "-o", target], check=True)
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", target], capture_output=True, text=True, check=True
    ).stdout
    assert not [line for line in listing.splitlines() if FLOAT.search(line + " ")]


def test_the_pattern_finds_floating_point_instructions():
    found = ["addsd  %xmm0,%xmm1", "vmulps %ymm0,%ymm1,%ymm2", "cvtsi2sd %eax,%xmm0", "fld %st(0)"]
    passed = ["vpaddd %ymm0,%ymm1,%ymm2", "movaps %xmm0,%xmm1", "pminsd %xmm0,%xmm1", "imul %eax"]
    assert all(FLOAT.search("\t" + line) for line in found)
    assert not any(FLOAT.search("\t" + line) for line in passed)

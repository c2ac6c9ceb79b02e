"""Numbers defined in more than one place agree: C, the reference, training, the command line."""

import re
from pathlib import Path

import pytest

import nzip
from nzip import frame, models, reference
from nzip.cli import app

PACKAGE = Path(nzip.__file__).parent
SOURCES = pytest.mark.skipif(
    not (PACKAGE / "kernel" / "engine.h").exists(), reason="needs the C sources"
)


def defined(*names: str) -> dict[str, float]:
    """The numbers that C files define, also in enums, by name without NZ_."""
    text = "".join((PACKAGE / name).read_text() for name in names)
    found = re.findall(r"#define (?:NZ_)?(\w+) +([0-9.x]+)f?(?:\s|$)", text)
    found += re.findall(r"^    NZ_(\w+) = (\d+),", text, re.M)
    return {name: float(value) if "." in value else int(value, 0) for name, value in found}


@SOURCES
def test_limits_of_models_are_the_kernels():
    c = defined("kernel/engine.h", "kernel/trail.h")
    assert c["BUCKET"] == models.BUCKET
    assert c["MAX_CONTEXTS"] == models.MAX_CONTEXTS
    assert c["LAST_CONTEXT"] == models.LAST_CONTEXT == c["SHAPE"] == reference.SHAPE
    assert c["WORD"] == reference.WORD
    assert c["ACT_MAX"] == c["WEIGHT_MAX"] == c["ACT_ZERO"] - 1 == 63
    assert round(2**15 * 21 / 2**13) == c["H_FACTOR"]  # Q13 to steps of 1/21


@SOURCES
def test_what_is_trained_is_what_the_kernel_computes():
    pytest.importorskip("torch")
    from nzip.train import model

    c = defined("kernel/engine.h", "kernel/trail.h")
    fast = defined("train/cell_engine.inc")
    assert c["ACT_MAX"] == model.ACT_MAX == fast["ACT_MAX"]
    assert model.ACT_SCALE == fast["ACT_SCALE"] == 21
    assert c["WEIGHT_MAX"] == model.WEIGHT_MAX
    assert c["SCALE_SHIFT"] == model.SCALE_SHIFT
    assert c["VALUE_MAX"] + 1 == 256 * model.VALUE_MAX == 256 * fast["VALUE_MAX"]
    assert c["ROW_ZERO"] == model.ROW_MAX + 1
    assert 1 << c["ROW_SHIFT"] == model.ROW_STEPS == fast["STEPS"]
    for name in ("WORD", "WORDS", "WORDS3", "SHAPE"):
        assert getattr(model, name) == c[name], name


def test_the_dictionarys_widest_windows():
    assert frame.MAX_DICTIONARY == reference.MAX_DICTIONARY == 20


@pytest.mark.parametrize("command", ["compress", "tokenize"])
def test_the_command_lines_limits_are_the_formats(command):
    types = {p.name: p.type for p in app.make_group().commands[command].params}
    window, resets = types["window"], types["reset_every"]
    assert (window.min, window.max) == (frame.MIN_WINDOW, frame.MAX_WINDOW)
    assert (resets.min, resets.max) == (1, frame.MAX_RESET_EVERY)

"""Model files: identity, search path, and the refusal of damaged ones."""

import shutil

import numpy as np
import pytest
from conftest import ENGLISH, SmallModel, tuned_model

import nzip
from nzip import models


def test_the_shipped_model_is_the_released_one():
    model = models.load()
    assert model.digest.hex() == models.RELEASED[models.DEFAULT]
    assert repr(model) == f"<nzip.Model base-3 {model.digest.hex()[:8]}>"
    assert models.load() is model


def test_a_damaged_released_model_is_refused(tmp_path):
    data = bytearray(models.load().path.read_bytes())
    data[-1] ^= 1  # of a context number that any model may have
    path = tmp_path / "copy.safetensors"
    path.write_bytes(data)
    with pytest.raises(nzip.ModelFileError, match="the weights of base-3 are damaged"):
        models.load(str(path))


def own(tmp_path, name, edit=lambda header: None):
    """A small model's file, its header edited."""
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes(SmallModel(1, buckets=20).file(name, edit))
    return path


def test_frames_find_their_model_in_the_search_path(tmp_path, monkeypatch):
    path = own(tmp_path, "mine")
    packed = nzip.compress(ENGLISH, model=str(path))
    assert packed != nzip.compress(ENGLISH)
    monkeypatch.setattr(models, "_loaded", {})
    with pytest.raises(nzip.ModelNotFoundError, match="NZIP_MODEL_PATH"):
        nzip.decompress(packed)
    monkeypatch.setenv("NZIP_MODEL_PATH", str(tmp_path))
    assert nzip.decompress(packed) == ENGLISH
    assert nzip.decompress(nzip.compress(ENGLISH, model="mine")) == ENGLISH


def meta(**changes):
    return lambda header: header["__metadata__"].update(changes)


BREAKS = {
    "format": meta(format="nzip-m1-0"),
    "no metadata": lambda h: h.pop("__metadata__"),
    "contexts": meta(contexts="1,2,x"),
    "context 0": meta(contexts="0,2,4,8,9,10"),
    "context 14": meta(contexts="1,2,4,8,9,14"),
    "fewer contexts": meta(contexts="1,2"),
    "more contexts": meta(contexts=",".join("1" * 13)),
    "buckets": meta(buckets="21"),
    "no buckets": meta(buckets="0"),
    "ways": meta(ways="6"),
    "embed": meta(embed="24"),
    "tables": meta(tables="00"),
    "tables of another type": meta(tables=[1]),
    "missing tensor": lambda h: h.pop("out"),
    "no tables": lambda h: h.pop("lines"),
    "dtype": lambda h: h["gates"].update(dtype="F32"),
    "shape": lambda h: h["gates"].update(shape=[1, 2]),
    "huge hidden": lambda h: h["enter"].update(shape=[1 << 40, 48]),
    "blocks": lambda h: h["gates"].update(shape=["3", 2]),
    "offsets": lambda h: h["out"].update(data_offsets=[-4, 1 << 60]),
    "a tensor cut short": lambda h: h["out_bias"]["data_offsets"].__setitem__(1, 4),
    "a tensor too long": lambda h: h["out_mult"].update(data_offsets=[0, 1028]),
    "text offsets": lambda h: h["out"].update(data_offsets="ab"),
    "list": lambda h: h.update(lines=[1]),
}


@pytest.mark.parametrize("edit", BREAKS.values(), ids=BREAKS)
def test_model_files_that_break_a_rule_are_refused(tmp_path, edit):
    models.Model(own(tmp_path, "sound"))
    with pytest.raises(nzip.ModelFileError):
        models.Model(own(tmp_path, "broken", edit))


def test_a_file_can_hold_what_mixing_begins_with(tmp_path):
    path = tmp_path / "with.safetensors"
    own_starts = SmallModel(1, buckets=20, starts=True)
    path.write_bytes(own_starts.file("with"))
    assert models.Model(path).starts.keys() == {1, 2, 3}
    packed = nzip.compress(ENGLISH, model=str(path), level=1)
    assert nzip.decompress(packed) == ENGLISH
    assert packed[6:] != nzip.compress(ENGLISH, model=str(own(tmp_path, "mine")), level=1)[6:]


@pytest.mark.parametrize(
    "edit",
    [
        lambda h: h.pop("light_maps"),
        lambda h: h["full_weights"].update(dtype="I32"),
        lambda h: h["deep_maps"].update(shape=[10911]),
        lambda h: h["deep_weights"].update(shape=[48, 11130]),
    ],
)
def test_a_start_of_mixing_that_breaks_a_rule_is_refused(tmp_path, edit):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(SmallModel(1, buckets=20, starts=True).file("broken", edit))
    with pytest.raises(nzip.ModelFileError):
        models.Model(path)


@pytest.mark.parametrize("edit", ["a tensor cut short", "a tensor too long"])
def test_a_tensor_of_another_size_is_named(tmp_path, edit):
    with pytest.raises(nzip.ModelFileError, match=r"tensor out_\w+ is not I32 \[256\]"):
        models.Model(own(tmp_path, "broken", BREAKS[edit]))


def test_tables_that_are_not_there_are_named(tmp_path, monkeypatch):
    path = own(tmp_path, "lonely", meta(tables="ab" * 32))
    with pytest.raises(nzip.ModelNotFoundError, match="needs the tables abababab, not installed"):
        models.Model(path)
    # A model without its tables does not stop the search for another one.
    packed = nzip.compress(ENGLISH, model=own(tmp_path, "mine"))
    monkeypatch.setattr(models, "_loaded", {})
    monkeypatch.setenv("NZIP_MODEL_PATH", str(tmp_path))
    assert nzip.decompress(packed) == ENGLISH


def test_a_model_changes_buckets_of_the_tables_it_refers_to(tmp_path, monkeypatch):
    path, old, new = tuned_model(tmp_path)
    model = models.Model(path)
    lines = np.frombuffer(model.tables.tensors["lines"], np.uint8).reshape(-1, 64)
    expected = old.copy()
    expected[[3, 7, 19]] = new
    assert np.array_equal(lines, expected)
    assert np.array_equal(
        np.frombuffer(model.tables.original.tensors["lines"], np.uint8), old.ravel()
    )
    assert model.files == {path, tmp_path / "base.safetensors"}
    packed = nzip.compress(ENGLISH, model=str(path))
    assert packed != nzip.compress(ENGLISH, model=str(tmp_path / "base.safetensors"))
    monkeypatch.setenv("NZIP_MODEL_PATH", str(tmp_path))
    assert nzip.decompress(packed) == ENGLISH
    whole = SmallModel(1, buckets=20)
    whole.tensors["lines"] = expected
    (tmp_path / "whole.safetensors").write_bytes(whole.file("whole"))
    again = nzip.compress(ENGLISH, model=str(tmp_path / "whole.safetensors"))
    assert len(again) == len(packed)  # they differ in the model's hash alone


@pytest.mark.parametrize(
    "changed", [(3, 3, 19), (7, 3, 19), (3, 7, 20), (-1, 3, 7), (3, 7), ((3,), (7,), (19,))]
)
def test_changed_buckets_that_break_a_rule_are_refused(tmp_path, changed):
    path, _, _ = tuned_model(tmp_path, changed)
    with pytest.raises(nzip.ModelFileError):
        models.Model(path)


def test_files_that_are_no_models_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    for data in (b"", b"short", bytes(100), b"\xff" * 100, (2).to_bytes(8, "little") + b"[]"):
        path.write_bytes(data)
        with pytest.raises(nzip.ModelFileError):
            models.Model(path)
    shutil.copy(models.load().path, path)
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(nzip.ModelFileError):
        models.Model(path)

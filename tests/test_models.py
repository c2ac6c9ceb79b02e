"""Model files: identity, search path, and that damaged ones are refused."""

import json
import shutil

import pytest
from conftest import ENGLISH

import nzip
from nzip import models


def test_the_shipped_model_is_the_released_one():
    model = models.load()
    assert model.digest.hex() == models.RELEASED[models.DEFAULT]
    assert repr(model) == f"<nzip.Model base-2 {model.digest.hex()[:8]}>"
    assert models.load() is model


def test_a_damaged_released_model_is_refused(tmp_path):
    data = bytearray(models.load().path.read_bytes())
    data[-1] ^= 1
    path = tmp_path / "copy.safetensors"
    path.write_bytes(data)
    with pytest.raises(nzip.ModelFileError, match="damaged"):
        models.load(str(path))


def renamed(tmp_path, name, edit=lambda header: None):
    """A copy of the shipped model under another name, its header edited."""
    data = models.load().path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"]["name"] = name
    edit(header)
    text = json.dumps(header).encode()
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    return path


def test_frames_find_their_model_in_the_search_path(tmp_path, monkeypatch):
    path = renamed(tmp_path, "mine")
    packed = nzip.compress(ENGLISH, model=str(path))
    assert packed != nzip.compress(ENGLISH)
    monkeypatch.setattr(models, "_loaded", {})
    with pytest.raises(nzip.ModelNotFoundError, match="NZIP_MODEL_PATH"):
        nzip.decompress(packed)
    monkeypatch.setenv("NZIP_MODEL_PATH", str(tmp_path))
    assert nzip.decompress(packed) == ENGLISH
    assert nzip.decompress(nzip.compress(ENGLISH, model="mine")) == ENGLISH


BREAKS = {
    "format": lambda h: h["__metadata__"].update(format="nzip-m1-0"),
    "no metadata": lambda h: h.pop("__metadata__"),
    "contexts": lambda h: h["__metadata__"].update(contexts="1,2,x"),
    "context 11": lambda h: h["__metadata__"].update(contexts="1,2,3,4,6,9,11"),
    "table bits": lambda h: h["__metadata__"].update(table_bits="8,13,14,15,15,15,30"),
    "fewer contexts": lambda h: h["__metadata__"].update(contexts="1,2"),
    "missing tensor": lambda h: h.pop("out"),
    "dtype": lambda h: h["gates"].update(dtype="F32"),
    "shape": lambda h: h["gates"].update(shape=[1, 2]),
    "huge hidden": lambda h: h["enter"].update(shape=[1 << 40, 48]),
    "blocks": lambda h: h["gates"].update(shape=["3", 2]),
    "offsets": lambda h: h["out"].update(data_offsets=[-4, 1 << 60]),
    "text offsets": lambda h: h["out"].update(data_offsets="ab"),
    "list": lambda h: h.update(table=[1]),
}


@pytest.mark.parametrize("edit", BREAKS.values(), ids=BREAKS)
def test_model_files_that_break_a_rule_are_refused(tmp_path, edit):
    path = renamed(tmp_path, "broken")
    models.Model(path)  # sound before it is broken

    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    edit(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
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

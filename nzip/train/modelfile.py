"""Turns a trained M1 into the integers of a model file (docs/format.md, "Model file"), and back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import models
from ..atomic import atomic_output
from ..models import BUCKET, FORMAT
from .model import (
    ACT_SCALE,
    M1,
    MULT_UNIT,
    ROW_MAX,
    ROW_STEPS,
    SCALE_SHIFT,
    UNITS_MULT_UNIT,
    UNITS_ONE,
    Config,
    Tables,
    quantise_rows,
    quantise_table,
)

# The output of a layer is Q4 if it is added to the units, else Q8.
MULT_UNITS = {
    "enter": UNITS_MULT_UNIT,
    "gates": MULT_UNIT,
    "leave": UNITS_MULT_UNIT,
    "out": MULT_UNIT,
}
BIAS_UNITS = {
    "enter": UNITS_ONE << SCALE_SHIFT,
    "gates": 256 << SCALE_SHIFT,
    "out": 256 << SCALE_SHIFT,
}
STORED = {"I8": "i1", "U8": "u1", "I16": "<i2", "I32": "<i4", "U32": "<u4"}  # as numpy has them
ROW_ZERO = ROW_MAX + 1  # the value 0 as it is stored


def _layers(model: M1) -> dict[str, tuple[Tensor, Tensor | None]]:
    """The weights [..., rows, columns] and biases [..., rows] of the layers, by name."""

    def stacked(parts: Iterable[Tensor]) -> Tensor:
        return torch.stack(list(parts))

    return {
        "enter": (model.enter, model.enter_bias),
        "gates": (stacked(model.gates), stacked(model.gates_bias)),
        "leave": (stacked(model.leave), None),
        "out": (model.out, model.out_bias),
    }


def _pack(rows: Tensor) -> np.ndarray:
    """Pack rows, float [n, embed], as uint8 [n, 1 + embed / 2]: scale, then two values per byte."""
    ints, scale = quantise_table(rows)
    values = (ints + ROW_ZERO).to(torch.uint8).numpy()
    half = values.shape[1] // 2
    packed = values[:, :half] | values[:, half:] << 4
    return np.concatenate([scale.to(torch.uint8).numpy(), packed], axis=1)


def _unpack(packed: np.ndarray) -> Tensor:
    """Unpack what _pack made into rows, float [n, embed]."""
    scale = packed[:, :1].view(np.int8).astype(np.float32)
    values = np.concatenate([packed[:, 1:] & 15, packed[:, 1:] >> 4], axis=1)
    unit = 1 / (ACT_SCALE * ROW_STEPS)
    return torch.from_numpy((values.astype(np.float32) - ROW_ZERO) * scale * unit)


@torch.no_grad()
def table_integers(model: M1) -> dict[str, np.ndarray]:
    """The tensors of the tables, by name."""
    tables = model.config.tables
    contexts, ways = len(tables.contexts), tables.ways
    packed = _pack(model.table)
    lines = np.zeros((tables.buckets, BUCKET), np.uint8)
    packed[contexts:][model.check.numpy().reshape(-1) == 0] = 0  # rows without an owner
    rows = packed[contexts:].reshape(tables.buckets, -1)
    lines[:, : 2 * ways] = model.check.numpy().astype("<i2").view(np.uint8)
    lines[:, 2 * ways : 2 * ways + rows.shape[1]] = rows
    return {"lines": lines, "absent": packed[:contexts]}


@torch.no_grad()
def integers(model: M1) -> dict[str, np.ndarray]:
    """The tensors of the network, by name."""
    tensors = {}
    for name, (weight, bias) in _layers(model).items():
        ints, mult = quantise_rows(weight.reshape(-1, weight.shape[-1]), MULT_UNITS[name])
        tensors[name] = ints.to(torch.int8).view_as(weight).numpy()
        tensors[f"{name}_mult"] = mult.to(torch.int32).view(weight.shape[:-1]).numpy()
        if bias is not None:
            rounded = (bias.double() * BIAS_UNITS[name]).round()
            tensors[f"{name}_bias"] = rounded.to(torch.int32).numpy()
    return tensors


def shape_of(tables: models.Tables) -> Tables:
    """The shape of a file's tables."""
    return Tables(tables.embed, tables.contexts, tables.buckets, tables.ways)


def _take_tables(model: M1, tables: models.Tables) -> None:
    ways, row = tables.ways, 1 + tables.embed // 2
    lines = np.frombuffer(tables.tensors["lines"], np.uint8).reshape(-1, BUCKET)
    absent = np.frombuffer(tables.tensors["absent"], np.uint8).reshape(-1, row)
    rows = lines[:, 2 * ways : 2 * ways + ways * row].reshape(-1, row)
    model.check.copy_(torch.from_numpy(lines[:, : 2 * ways].copy().view("<i2").astype(np.int16)))
    model.table[: len(absent)] = _unpack(absent)
    model.table[len(absent) :] = _unpack(rows)


@torch.no_grad()
def with_tables(size: tuple[int, int], tables: models.Tables) -> M1:
    """A new model of ``size`` (units, blocks) that uses a file's tables unchanged."""
    model = M1(Config(*size, tables=shape_of(tables), frozen=tables.digest.hex()))
    _take_tables(model, tables)
    return model


@torch.no_grad()
def load(source: models.Model, frozen: bool) -> M1:
    """A float model from the integers in a model file; ``frozen``: its tables are not trained."""
    digest = source.tables.digest.hex() if frozen else ""
    model = M1(Config(source.hidden, source.blocks, shape_of(source.tables), digest))
    _take_tables(model, source.tables)
    arrays = {
        name: torch.from_numpy(np.frombuffer(data, "<i4" if "_" in name else "i1").copy())
        for name, data in source.tensors.items()
    }

    def fill(name: str, numbers: Tensor) -> None:
        target = getattr(model, name)
        parts = list(target) if isinstance(target, torch.nn.ParameterList) else [target]
        for part, values in zip(parts, numbers.view(len(parts), *parts[0].shape), strict=True):
            part.copy_(values)

    for name, (weight, bias) in _layers(model).items():
        mult = arrays[f"{name}_mult"].view(*weight.shape[:-1], 1)
        fill(name, arrays[name].view_as(weight) * (mult * MULT_UNITS[name]))
        if bias is not None:
            fill(f"{name}_bias", arrays[f"{name}_bias"] / BIAS_UNITS[name])
    return model


def _write(path: Path, meta: dict[str, str], tensors: dict[str, np.ndarray]) -> None:
    """Write a file in the safetensors layout."""
    header: dict = {"__metadata__": {"format": FORMAT, **meta}}
    kinds = {np.dtype(stored).name: (kind, stored) for kind, stored in STORED.items()}
    offset, blobs = 0, []
    # The lines come first, so that they begin at a multiple of their size.
    for key, tensor in sorted(tensors.items(), key=lambda item: (item[0] != "lines", item[0])):
        kind, stored = kinds[tensor.dtype.name]
        blob = np.ascontiguousarray(tensor, stored).tobytes()
        places = [offset, offset + len(blob)]
        header[key] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": places}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % BUCKET)
    with atomic_output(path, replace=True) as out:  # the old file may be mapped into memory
        out.write(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def replace_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Add tensors to a model's file, or replace those of these names."""
    data = memoryview(path.read_bytes())
    size = 8 + int.from_bytes(data[:8], "little")
    header, body = json.loads(bytes(data[8:size])), data[size:]
    meta = header.pop("__metadata__")
    old = {
        name: np.frombuffer(body[slice(*entry["data_offsets"])], STORED[entry["dtype"]]).reshape(
            entry["shape"]
        )
        for name, entry in header.items()
    }
    del meta["format"]
    _write(path, meta, old | tensors)


def _tables_meta(tables: Tables) -> dict[str, str]:
    return {
        "contexts": ",".join(map(str, tables.contexts)),
        "embed": str(tables.embed),
        "ways": str(tables.ways),
        "buckets": str(tables.buckets),
    }


def save_tables(model: M1, path: Path, name: str) -> None:
    """Write a model's tables to a file of their own, for several models to share."""
    _write(path, {"name": name, **_tables_meta(model.config.tables)}, table_integers(model))


@torch.no_grad()
def _changes(model: M1, tables: models.Tables) -> dict[str, np.ndarray]:
    """The model's buckets that differ from those of a file's tables, as tensors by name."""
    before = M1(Config(16, 1, shape_of(tables)))
    _take_tables(before, tables)
    contexts, buckets = len(tables.contexts), tables.buckets
    differs = (model.table[contexts:] != before.table[contexts:]).view(buckets, -1).any(dim=1)
    changed = differs.nonzero().flatten().numpy().astype(np.int32)
    whole = table_integers(model)
    return {"changed": changed, "lines": whole["lines"][changed], "absent": whole["absent"]}


def save(model: M1, path: Path, name: str, original: models.Tables | None = None) -> None:
    """Write a model file, with its tables unless it uses those of another file.

    original: the tables that the model's were trained from; then only the buckets that differ are
    written.
    """
    config, tensors = model.config, integers(model)
    meta = {"name": name, "tables": config.frozen}
    if original:
        meta["tables"] = original.digest.hex()
        tensors |= _changes(model, original)
    elif not config.frozen:
        meta = {"name": name, **_tables_meta(config.tables)}
        tensors |= table_integers(model)
    _write(path, meta, tensors)

"""From a trained M1 to the integers of a model file (docs/format.md, "Model file")."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import models
from ..models import FORMAT
from .model import (
    EMBED_SCALE,
    M1,
    MULT_UNIT,
    SCALE_SHIFT,
    UNITS_MULT_UNIT,
    UNITS_ONE,
    Config,
    quantise_rows,
)

# What a layer puts out is Q4 if the blocks add it up, else Q8.
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
KINDS = {"I8": "i1", "U8": "u1", "I32": "<i4"}


def _layers(model: M1) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Weights [..., rows, columns] and biases [..., rows] of the layers, by name."""

    def stacked(parts: Iterable[Tensor]) -> Tensor:
        return torch.stack(list(parts))

    return {
        "enter": (model.enter, model.enter_bias),
        "gates": (stacked(model.gates), stacked(model.gates_bias)),
        "leave": (stacked(model.leave), None),
        "out": (model.out, model.out_bias),
    }


@torch.no_grad()
def integers(model: M1) -> dict[str, np.ndarray]:
    """The tensors of the model file, by name."""
    tensors = {}
    if not model.config.tables:
        table = (model.table.weight[:-1] * EMBED_SCALE).round().clamp(-127, 127)
        tensors = {"table": table.to(torch.int8).numpy(), "check": model.check.numpy()}
    for name, (weight, bias) in _layers(model).items():
        ints, mult = quantise_rows(weight.reshape(-1, weight.shape[-1]), MULT_UNITS[name])
        tensors[name] = ints.to(torch.int8).view_as(weight).numpy()
        tensors[f"{name}_mult"] = mult.to(torch.int32).view(weight.shape[:-1]).numpy()
        if bias is not None:
            rounded = (bias.double() * BIAS_UNITS[name]).round()
            tensors[f"{name}_bias"] = rounded.to(torch.int32).numpy()
    return tensors


def read(path: Path) -> tuple[Config, dict[str, Tensor]]:
    """Shape and tensors (int8, uint8, int32) of a model file that ``nzip.models`` has checked."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    meta = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        first, last = (8 + size + offset for offset in entry["data_offsets"])
        kind = np.dtype(KINDS[entry["dtype"]])
        array = np.frombuffer(data[first:last], kind).astype(kind.newbyteorder("="))
        tensors[name] = torch.from_numpy(array.reshape(entry["shape"]))
    holder = models.load(str(path)).tables_of
    if holder:
        theirs = read(holder.path)[1]
        tensors |= {name: theirs[name] for name in ("table", "check")}
    hidden, embed = tensors["enter"].shape
    contexts, bits = models.shape_lists(meta)
    blocks, tables = len(tensors["gates"]), meta.get("tables", "")
    return Config(hidden, blocks, embed, contexts, bits, tables), tensors


def _take_tables(model: M1, tensors: dict[str, Tensor]) -> None:
    model.table.weight[:-1] = tensors["table"] / EMBED_SCALE
    model.check.copy_(tensors["check"])


@torch.no_grad()
def with_tables(size: Config, path: Path) -> M1:
    """A new model of a size that uses the tables of the model in a file."""
    shape, tensors = read(path)
    digest = shape.tables or models.load(str(path)).digest.hex()
    model = M1(replace(shape, hidden=size.hidden, blocks=size.blocks, tables=digest))
    _take_tables(model, tensors)
    return model


@torch.no_grad()
def load(path: Path, tables: str = "") -> M1:
    """A float model of the integers in a model file, to train on from; ``tables`` as in Config."""
    config, tensors = read(path)
    model = M1(replace(config, tables=tables))
    _take_tables(model, tensors)

    def weight(name: str) -> Tensor:
        return tensors[name] * (tensors[f"{name}_mult"].unsqueeze(-1) * MULT_UNITS[name])

    def bias(name: str) -> Tensor:
        return tensors[f"{name}_bias"] / BIAS_UNITS[name]

    for name in ("enter", "out"):
        getattr(model, name).copy_(weight(name))
        getattr(model, f"{name}_bias").copy_(bias(name))
    for k in range(config.blocks):
        model.gates[k].copy_(weight("gates")[k])
        model.gates_bias[k].copy_(bias("gates")[k])
        model.leave[k].copy_(weight("leave")[k])
    return model


def save(model: M1, path: Path, name: str) -> None:
    """Write a model file in the safetensors layout."""
    config = model.config
    header: dict = {
        "__metadata__": {
            "format": FORMAT,
            "name": name,
            "contexts": ",".join(map(str, config.contexts)),
            "table_bits": ",".join(map(str, config.table_bits)),
        }
    }
    if config.tables:
        header["__metadata__"]["tables"] = config.tables
    offset = 0
    blobs = []
    for key, tensor in sorted(integers(model).items()):
        kind = {"int8": "I8", "uint8": "U8", "int32": "I32"}[tensor.dtype.name]
        blob = np.ascontiguousarray(tensor, KINDS[kind]).tobytes()
        header[key] = {
            "dtype": kind,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))

"""From a trained M1 to the integers of a model file (docs/format.md, "Model file")."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models import FORMAT, shape_lists
from .model import ACT_SCALE, EMBED_SCALE, M1, SLOT_SCALE, Config, quantise_rows

SCALE_SHIFT = 12  # a row's accumulator times its mult, shifted by this, is a Q8 number


def integers(model: M1) -> dict[str, np.ndarray]:
    """The tensors of the model file, by name."""
    tensors: dict[str, np.ndarray] = {}
    with torch.no_grad():
        table = model.table.weight.detach()
        tensors["table"] = (table * EMBED_SCALE).round().clamp(-127, 127).to(torch.int8).numpy()
        if model.config.slot_orders:
            slots = (model.slots.weight.detach()[:-1] * SLOT_SCALE).round().clamp(-127, 127)
            slots[:, 0] = model.check.view(torch.int8)
            tensors["slots"] = slots.to(torch.int8).numpy()
        for name, weight, bias in (
            ("gates", model.gates, model.gate_bias),
            ("out", model.out, model.out_bias),
        ):
            ints, scale = quantise_rows(weight.detach())
            unit = 256 * (1 << SCALE_SHIFT)
            tensors[name] = ints.to(torch.int8).numpy()
            tensors[f"{name}_mult"] = (
                (scale.squeeze(1).double() * unit / ACT_SCALE).round().to(torch.int32).numpy()
            )
            tensors[f"{name}_bias"] = (
                (bias.detach().double() * unit).round().to(torch.int32).numpy()
            )
    return tensors


def read(path: Path) -> tuple[Config, dict[str, Tensor]]:
    """Shape and tensors (int8 and int32) of a model file that ``nzip.models`` has checked."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    meta = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        first, last = (8 + size + offset for offset in entry["data_offsets"])
        kind = np.dtype("i1" if entry["dtype"] == "I8" else "<i4")
        array = np.frombuffer(data[first:last], kind).astype(kind.newbyteorder("="))
        tensors[name] = torch.from_numpy(array.reshape(entry["shape"]))
    hidden, embed = len(tensors["gates"]) // 4, tensors["table"].shape[1]
    return Config(hidden, embed, *shape_lists(meta)), tensors


def load(path: Path) -> M1:
    """A float model of the integers in a model file, to train on from."""
    config, tensors = read(path)
    model = M1(config)
    unit = 256 * (1 << SCALE_SHIFT)
    with torch.no_grad():
        model.table.weight.copy_(tensors["table"] / EMBED_SCALE)
        if config.slot_orders:
            model.check.copy_(tensors["slots"][:, 0].contiguous().view(torch.uint8))
            model.slots.weight[:-1, 1:] = tensors["slots"][:, 1:] / SLOT_SCALE
        for name, weight, bias in (
            ("gates", model.gates, model.gate_bias),
            ("out", model.out, model.out_bias),
        ):
            scale = tensors[f"{name}_mult"].double() * ACT_SCALE / unit
            weight.copy_(tensors[name] * scale.unsqueeze(1))
            bias.copy_(tensors[f"{name}_bias"].double() / unit)
    return model


def save(model: M1, path: Path, name: str) -> None:
    """Write a model file in the safetensors layout."""
    config = model.config
    header: dict = {
        "__metadata__": {
            "format": FORMAT,
            "name": name,
            "orders": ",".join(map(str, config.orders)),
            "table_bits": ",".join(map(str, config.table_bits)),
        }
    }
    if config.slot_orders:
        header["__metadata__"]["slot_orders"] = ",".join(map(str, config.slot_orders))
        header["__metadata__"]["slot_bits"] = ",".join(map(str, config.slot_bits))
    offset = 0
    blobs = []
    for key, tensor in sorted(integers(model).items()):
        kind = {"int8": "I8", "int32": "I32"}[tensor.dtype.name]
        blob = np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).tobytes()
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

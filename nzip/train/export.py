"""From a trained M1 to the integers of a model file (docs/format.md, "Model file")."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from ..models import FORMAT
from .model import ACT_SCALE, EMBED_SCALE, M1, quantise_rows

SCALE_SHIFT = 12  # a row's accumulator times its mult, shifted by this, is a Q8 number


def integers(model: M1) -> dict[str, np.ndarray]:
    """The tensors of the model file, by name."""
    tensors: dict[str, np.ndarray] = {}
    with torch.no_grad():
        table = model.table.weight.detach()
        tensors["table"] = (table * EMBED_SCALE).round().clamp(-127, 127).to(torch.int8).numpy()
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

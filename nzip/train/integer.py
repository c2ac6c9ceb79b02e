"""The kernel's integers in torch, for evaluating many lanes at once on a CPU or a GPU.

Every number is a whole number that its type holds exactly: products are float32 matrix products
whose partial sums stay below 2^24 (weights and activations are within +-63, and 63 * 63 * K fits
for K up to 4,227), the rest is int32. So the result is the kernel's, bit for bit, in any order of
summation and on any device. The arithmetic is specified in docs/format.md, "M1".
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import reference
from .export import read
from .model import (
    HISTORY,
    context_keys,
    contexts,
    low_nodes,
    nibble_keys,
    slot_rows,
    table_rows,
)

MAX_WIDTH = (1 << 24) // (63 * 63)


def rshift_round(x: Tensor, n: int) -> Tensor:
    """x / 2^n rounded to the nearest, halves upwards."""
    return (x + (1 << (n - 1))) >> n


class IntegerM1:
    """A model file's predictor. Raises ValueError if the model is too wide to be exact."""

    def __init__(self, path: Path, device: str = "cpu"):
        self.config, tensors = read(path)
        if tensors["gates"].shape[1] > MAX_WIDTH:
            raise ValueError(f"{path}: more than {MAX_WIDTH} columns are not exact in float32")
        self.t = {name: tensor.to(device) for name, tensor in tensors.items()}
        self.gates, self.out = self.t["gates"].float(), self.t["out"].float()
        self.sigmoid = torch.tensor(reference.sigmoid_table(), device=device)
        self.tanh = torch.tensor(reference.tanh_table(), device=device)

    def _row(self, name: str, weights: Tensor, act: Tensor) -> Tensor:
        """Rows of a matrix times activations, scaled to Q8: int32 [..., rows]."""
        z = torch.nn.functional.linear(act, weights).to(torch.int32)
        z = z * self.t[f"{name}_mult"] + self.t[f"{name}_bias"]
        return rshift_round(z, 12)

    def _slot_sum(self, keys: list[Tensor]) -> Tensor:
        """What the slots add to a nibble's nodes, Q4: int32 [N, 16]."""
        slots, offset = self.t["slots"], 0
        total = torch.zeros(len(keys[0]), 16, dtype=torch.int32, device=slots.device)
        for key, bits in zip(keys, self.config.slot_bits, strict=True):
            part = slots[offset : offset + (1 << bits)]
            row = slot_rows(key, bits, part[:, 0].contiguous().view(torch.uint8))
            found = row < len(part)
            total += part[row.clamp(max=len(part) - 1)].int() * found.unsqueeze(1)
            offset += 1 << bits
        return total

    @torch.no_grad()
    def logits(self, text: Tensor) -> Tensor:
        """Node logits (Q8) at each byte of texts that start afresh.

        text: uint8 [T, B], time first. Returns int16 [T, B, 256], entry 0 unused.
        """
        steps, batch = text.shape
        config, hidden = self.config, self.config.hidden
        device = text.device
        context = contexts(torch.cat([text.new_zeros(HISTORY, batch), text]))
        rows = table_rows(context, config)
        x = rshift_round(self.t["table"][rows].int().sum(dim=2), 1).clamp(-63, 63).float()
        act = torch.zeros(batch, hidden, device=device)
        cell = torch.zeros(batch, hidden, dtype=torch.int32, device=device)
        features = torch.empty(steps, batch, hidden + config.embed, device=device)
        for t in range(steps):
            q8 = self._row("gates", self.gates, torch.cat([act, x[t]], dim=1)).clamp(-2047, 2047)
            i, f, o = (self.sigmoid[q8[:, g * hidden :][:, :hidden] + 2048] for g in range(3))
            g = self.tanh[q8[:, 3 * hidden :] + 2048]
            cell = rshift_round(f * cell, 15) + rshift_round(i * g, 18)
            cell = cell.clamp(-32767, 32767)
            squashed = self.tanh[rshift_round(cell, 4).clamp(-2047, 2047) + 2048]
            act = rshift_round(o * squashed, 24).clamp(-63, 63).float()
            features[t, :, :hidden], features[t, :, hidden:] = act, x[t]
        z = self._row("out", self.out, features).view(-1, 256)
        keys = [context_keys(context, order).view(-1) for order in config.slot_orders]
        if keys:
            z[:, :16] += 16 * self._slot_sum(keys)
            for nibble in range(16):
                added = self._slot_sum([nibble_keys(key, nibble) for key in keys])
                z[:, low_nodes(nibble)] += 16 * added[:, 1:]
        return z.clamp(-3071, 3071).to(torch.int16).view(steps, batch, 256)

    def bits_per_byte(self, text: bytes, lanes: int = 64, segment: int = 1024) -> float:
        """Code length in bits per byte of pieces of ``segment`` bytes that each start afresh,
        with the coder's 16-bit probabilities."""
        count = max(1, len(text) // segment)
        piece = min(segment, len(text))
        data = np.frombuffer(text, np.uint8)[: count * piece].reshape(count, piece)
        squash = torch.tensor(reference.squash_table(), device=self.gates.device)
        total = 0.0
        for start in range(0, count, lanes):
            part = torch.from_numpy(data[start : start + lanes].T.copy()).to(self.gates.device)
            z = self.logits(part).long()
            byte = part.long() | 256
            for depth in range(8):
                node = (byte >> (8 - depth)).unsqueeze(-1)
                p1 = squash[z.gather(2, node).squeeze(-1) + 3072].double() / 65536
                bit = byte >> (7 - depth) & 1
                total -= torch.where(bit == 1, p1, 1 - p1).log2().sum().item()
        return total / (count * piece) if text else math.nan

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
from .model import HISTORY, VALUE_MAX, contexts_of, table_rows

MAX_WIDTH = (1 << 24) // (63 * 63)


def rshift_round(x: Tensor, n: int) -> Tensor:
    """x / 2^n rounded to the nearest, halves upwards."""
    return (x + (1 << (n - 1))) >> n


class IntegerM1:
    """A model file's predictor. Raises ValueError if the model is too wide to be exact."""

    def __init__(self, path: Path, device: str = "cpu"):
        self.config, self.t = read(path)
        config = self.config
        if config.hidden + config.embed > MAX_WIDTH:
            raise ValueError(f"{path}: more than {MAX_WIDTH} columns are not exact in float32")
        self.t = {name: tensor.to(device) for name, tensor in self.t.items()}
        zeros = self.t["table"].new_zeros(1, config.embed)  # of contexts that own no row
        self.table = torch.cat([self.t["table"], zeros])
        self.sigmoid = torch.tensor(reference.sigmoid_table(), device=device)
        self.rsqrt = torch.tensor(reference.rsqrt_table(), device=device)

    def _product(self, name: str, act: Tensor, limit: int, block: int | None = None) -> Tensor:
        """A matrix times activations, scaled to Q8 (Q4 for the units): int32 [..., rows]."""

        def part(kind: str) -> Tensor:
            tensor = self.t[name + kind]
            return tensor if block is None else tensor[block]

        z = torch.nn.functional.linear(act.float(), part("").float()).to(torch.int32)
        z = z * part("_mult")
        if name + "_bias" in self.t:
            z += part("_bias")
        return rshift_round(z, 12).clamp(-limit, limit)

    def _normalise(self, x: Tensor) -> Tensor:
        """x over its root mean square, in steps of 1/21: int32 [..., hidden]."""
        mean = x.long().square().sum(dim=-1, keepdim=True) // x.shape[-1]
        mean = mean.clamp(min=1)
        shift = torch.full_like(mean, 24)
        for _ in range(14):
            small = mean < 1 << 28
            mean = torch.where(small, mean << 2, mean)
            shift -= small.long()
        factor = self.rsqrt[(mean >> 20) - 256]
        return ((x * factor + (1 << (shift - 1))) >> shift).clamp(-63, 63).int()

    @torch.no_grad()
    def logits(self, text: Tensor) -> Tensor:
        """Node logits (Q8) at each byte of texts that start afresh.

        text: uint8 [T, B], time first. Returns int16 [T, B, 256], entry 0 unused.
        """
        steps, batch = text.shape
        config, n = self.config, self.config.hidden
        history = text.new_zeros(HISTORY, batch)
        none = torch.zeros(2, batch, dtype=torch.int64, device=text.device)
        last, words, _ = contexts_of(text, history, none, max(config.contexts) > HISTORY)
        rows = table_rows(last, words, config, self.t["check"])
        embedded = rshift_round(self.table[rows].int().sum(dim=2), 1).clamp(-63, 63)
        x = self._product("enter", embedded, 32767)
        limit = int(256 * VALUE_MAX) - 1
        for k in range(config.blocks):
            z = self._product("gates", self._normalise(x), 2047, k)
            keep, show = (self.sigmoid[z[..., i * n :][..., :n] + 2048].int() for i in (0, 1))
            value = z[..., 2 * n :].clamp(-limit, limit) * 32
            h = torch.zeros(batch, n, dtype=torch.int32, device=text.device)
            y = torch.empty_like(x)
            for t in range(steps):
                h = value[t] + rshift_round(keep[t] * (h - value[t]), 15)
                y[t] = rshift_round(rshift_round(h * show[t], 15) * 84, 15)
            x = (x + self._product("leave", y, 32767, k)).clamp(-32767, 32767)
        features = torch.cat([self._normalise(x), embedded], dim=2)
        return self._product("out", features, 3071).to(torch.int16)

    def bits_per_byte(self, text: bytes, lanes: int = 64, segment: int = 1024) -> float:
        """Code length in bits per byte of pieces of ``segment`` bytes that each start afresh,
        with the coder's 16-bit probabilities."""
        count = max(1, len(text) // segment)
        piece = min(segment, len(text))
        data = np.frombuffer(text, np.uint8)[: count * piece].reshape(count, piece)
        squash = torch.tensor(reference.squash_table(), device=self.table.device)
        total = 0.0
        for start in range(0, count, lanes):
            part = torch.from_numpy(data[start : start + lanes].T.copy()).to(self.table.device)
            z = self.logits(part).long()
            byte = part.long() | 256
            for depth in range(8):
                node = (byte >> (8 - depth)).unsqueeze(-1)
                p1 = squash[z.gather(2, node).squeeze(-1) + 3072].double() / 65536
                bit = byte >> (7 - depth) & 1
                total -= torch.where(bit == 1, p1, 1 - p1).log2().sum().item()
        return total / (count * piece) if text else math.nan

"""M1 in torch: a one-layer byte-level LSTM over hashed n-gram embeddings.

The forward pass rounds activations and weights to the integers that the kernel uses
(straight-through estimator), so the exported model computes what was trained. The arithmetic
that it imitates is specified in docs/format.md and, executable, in ``nzip.reference``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

HASH_MULTIPLIER = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd
HISTORY = 8  # bytes of context kept for the n-gram hashes
ACT_SCALE = 64  # an activation a is the integer round(64 a), clamped to +-63
ACT_MAX = 63
WEIGHT_MAX = 63
EMBED_SCALE = 128  # an embedding entry e is the int8 round(128 e)


@dataclass
class Config:
    """Shape of M1. ``orders[i]`` previous bytes index a table of ``2 ** table_bits[i]`` rows."""

    hidden: int = 192
    embed: int = 64
    orders: list[int] = field(default_factory=lambda: [1, 2, 3, 4, 6])
    table_bits: list[int] = field(default_factory=lambda: [8, 13, 14, 15, 15])

    def to_dict(self) -> dict:
        return asdict(self)


def context_rows(history: np.ndarray, config: Config) -> np.ndarray:
    """Embedding rows of each position.

    history: uint8 [..., T + HISTORY - 1]; position t sees history[..., t : t + HISTORY].
    Returns int64 [..., T, len(orders)], rows of the concatenated tables.
    """
    length = history.shape[-1] - HISTORY + 1
    value = np.zeros((*history.shape[:-1], length), np.uint64)
    rows = np.empty((*value.shape, len(config.orders)), np.int64)
    offset = 0
    wanted = dict(zip(config.orders, range(len(config.orders)), strict=True))
    offsets = []
    for bits in config.table_bits:
        offsets.append(offset)
        offset += 1 << bits
    for back in range(1, HISTORY + 1):
        start = HISTORY - back
        byte = history[..., start : start + length].astype(np.uint64)
        value |= byte << np.uint64(8 * (back - 1))
        if back in wanted:
            k = wanted[back]
            bits = config.table_bits[k]
            if bits >= 8 * back:  # the table holds every context: no hash
                rows[..., k] = value.astype(np.int64) + offsets[k]
            else:
                hashed = ((value + np.uint64(back)) * np.uint64(HASH_MULTIPLIER)) >> np.uint64(
                    64 - bits
                )
                rows[..., k] = hashed.astype(np.int64) + offsets[k]
    return rows


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Integers in +-WEIGHT_MAX and one scale a row, so that ``weight ~ ints * scale``."""
    scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-6) / WEIGHT_MAX
    return (weight / scale).round_(), scale


class _QuantiseWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight: Tensor) -> Tensor:
        ints, scale = quantise_rows(weight)
        return ints * scale

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad


class _QuantiseActivation(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        scaled = (x * ACT_SCALE).round_()
        ctx.save_for_backward(scaled.abs() <= ACT_MAX)
        return scaled.clamp_(-ACT_MAX, ACT_MAX).div_(ACT_SCALE)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (inside,) = ctx.saved_tensors
        return grad * inside


class _Lstm(torch.autograd.Function):
    """The recurrence over a segment, gates in the order i, f, o, g; the output h is quantised.

    Written by hand since autograd through 64 steps costs more than the matrix products here.
    """

    @staticmethod
    def forward(ctx, pre: Tensor, w_h: Tensor, h0: Tensor, c0: Tensor, quantise: bool):
        steps, batch, width = pre.shape
        hidden = width // 4
        gates = pre.clone()
        cells = pre.new_empty(steps + 1, batch, hidden)
        tanh_c = pre.new_empty(steps, batch, hidden)
        hs = pre.new_empty(steps + 1, batch, hidden)
        cells[0], hs[0] = c0, h0
        w_t = w_h.t()
        for t in range(steps):
            z = gates[t]
            z.addmm_(hs[t], w_t)
            i, f, o, g = z.split(hidden, dim=1)
            g.mul_(2)  # tanh(x) = 2 sigmoid(2x) - 1: torch's tanh is several times slower
            z.sigmoid_()
            g.mul_(2).sub_(1)
            torch.mul(f, cells[t], out=cells[t + 1])
            cells[t + 1].addcmul_(i, g).clamp_(-7.99, 7.99)
            torch.mul(cells[t + 1], 2, out=tanh_c[t])
            tanh_c[t].sigmoid_().mul_(2).sub_(1)
            torch.mul(o, tanh_c[t], out=hs[t + 1])
            if quantise:
                hs[t + 1].mul_(ACT_SCALE).round_().clamp_(-ACT_MAX, ACT_MAX).div_(ACT_SCALE)
        ctx.save_for_backward(gates, cells, tanh_c, hs, w_h)
        return hs[1:], hs[steps].clone(), cells[steps].clone()

    @staticmethod
    def backward(ctx, dhs: Tensor, _dh: Tensor, _dc: Tensor):
        gates, cells, tanh_c, hs, w_h = ctx.saved_tensors
        steps, batch, width = gates.shape
        hidden = width // 4
        # Factors that do not depend on the recurrence, for the whole segment at once.
        sig, g_all = gates[..., : 3 * hidden], gates[..., 3 * hidden :]
        slope = torch.empty_like(gates)
        torch.mul(sig, 1 - sig, out=slope[..., : 3 * hidden])
        torch.sub(1, g_all * g_all, out=slope[..., 3 * hidden :])
        slope[..., :hidden] *= g_all
        slope[..., hidden : 2 * hidden] *= cells[:-1]
        slope[..., 2 * hidden : 3 * hidden] *= tanh_c
        slope[..., 3 * hidden :] *= gates[..., :hidden]
        dc_dh = gates[..., 2 * hidden : 3 * hidden] * (1 - tanh_c * tanh_c)
        dh = torch.zeros_like(cells[0])
        dc = torch.zeros_like(dh)
        for t in range(steps - 1, -1, -1):
            dh.add_(dhs[t])
            dc.addcmul_(dh, dc_dh[t])
            z = slope[t]
            z[:, :hidden] *= dc
            z[:, hidden : 2 * hidden] *= dc
            z[:, 2 * hidden : 3 * hidden] *= dh
            z[:, 3 * hidden :] *= dc
            dc.mul_(gates[t, :, hidden : 2 * hidden])
            torch.mm(z, w_h, out=dh)
        flat = slope.view(steps * batch, width)
        dw = flat.t() @ hs[:-1].reshape(steps * batch, hidden)
        return slope, dw, None, None, None


class M1(nn.Module):
    """Byte predictor: 255 logits a position, one for each node of the binary tree over a byte.

    Node 1 is the root (the byte's highest bit); node n has the children 2n and 2n + 1. A logit is
    the log odds that the node's bit is 1.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        rows = sum(1 << bits for bits in config.table_bits)
        self.table = nn.EmbeddingBag(rows, config.embed, mode="sum", sparse=True)
        nn.init.normal_(self.table.weight, std=0.1)
        width = config.hidden + config.embed
        self.gates = nn.Parameter(torch.empty(4 * config.hidden, width))
        self.gate_bias = nn.Parameter(torch.zeros(4 * config.hidden))
        self.out = nn.Parameter(torch.empty(256, width))  # row 0 is unused
        self.out_bias = nn.Parameter(torch.zeros(256))
        nn.init.normal_(self.gates, std=config.hidden**-0.5)
        nn.init.normal_(self.out, std=0.05)
        with torch.no_grad():
            self.gate_bias[config.hidden : 2 * config.hidden] = 1.0  # remember at first

    def initial_state(self, batch: int) -> tuple[Tensor, Tensor]:
        zeros = torch.zeros(batch, self.config.hidden, device=self.gates.device)
        return zeros, zeros.clone()

    def forward(
        self, rows: Tensor, state: tuple[Tensor, Tensor], quantise: bool = True
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """rows: int64 [T, B, orders]; state: two float [B, hidden].

        Returns features float [T, B, hidden + embed], the input of the output layer, and the new
        state, detached.
        """
        steps, batch, orders = rows.shape
        hidden = self.config.hidden
        x = self.table(rows.reshape(-1, orders))
        gates = self.gates
        if quantise:
            x = _QuantiseActivation.apply(x)
            gates = _QuantiseWeight.apply(gates)
        else:
            x = x.clamp(-1, 1)
        pre = torch.addmm(self.gate_bias, x, gates[:, hidden:].t()).view(steps, batch, -1)
        hs, h, c = _Lstm.apply(pre, gates[:, :hidden], *state, quantise)
        features = torch.cat([hs, x.view(steps, batch, -1)], dim=2)
        return features, (h.detach(), c.detach())

    def logits(self, features: Tensor, quantise: bool = True) -> Tensor:
        """All node logits, float [..., 256] (entry 0 unused), from features [..., width]."""
        out = _QuantiseWeight.apply(self.out) if quantise else self.out
        return F.linear(features, out, self.out_bias)

    def loss(self, features: Tensor, target: Tensor, quantise: bool = True) -> Tensor:
        """Mean code length in nats a byte; features [..., width], target int64 [...].

        Only nodes that some target passes are computed: the 15 of the high nibble, then, for the
        positions that share a high nibble, the 15 below it.
        """
        out = _QuantiseWeight.apply(self.out) if quantise else self.out
        flat = features.reshape(-1, features.shape[-1])
        byte = target.reshape(-1)
        high, low = byte >> 4, byte & 15
        total = _nibble_loss(F.linear(flat, out[:16], self.out_bias[:16]), high)
        order = torch.argsort(high)
        counts = torch.bincount(high, minlength=16).tolist()
        grouped = flat.index_select(0, order).split(counts)
        for nibble, (part, lows) in enumerate(zip(grouped, low[order].split(counts), strict=True)):
            if len(part):
                nodes = [
                    (16 + nibble << depth) + place
                    for depth in range(4)
                    for place in range(1 << depth)
                ]
                weight, bias = out[[0, *nodes]], self.out_bias[[0, *nodes]]
                total = total + _nibble_loss(F.linear(part, weight, bias), lows)
        return total / len(byte)


def _nibble_loss(logits: Tensor, nibble: Tensor) -> Tensor:
    """Summed code length in nats of 4-bit values; logits [N, 16] over a 15-node tree."""
    shift = torch.arange(4, device=nibble.device)
    value = (nibble | 16).unsqueeze(1)
    picked = logits.gather(1, value >> (4 - shift))
    bit = (value >> (3 - shift)) & 1
    return F.binary_cross_entropy_with_logits(picked, bit.float(), reduction="sum")

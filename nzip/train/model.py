"""M1 in torch: a one-layer byte-level LSTM over hashed n-gram embeddings, and n-gram slots.

The forward pass rounds activations and weights to the integers that the kernel uses
(straight-through estimator), so the exported model computes what was trained. The arithmetic
that it imitates is specified in docs/format.md and, executable, in ``nzip.reference``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HASH_MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)  # 2^64 / golden ratio, odd; as an int64
HISTORY = 8  # bytes of context kept for the n-gram hashes
ACT_SCALE = 64  # an activation a is the integer round(64 a), clamped to +-63
ACT_MAX = 63
WEIGHT_MAX = 63
EMBED_SCALE = 128  # an embedding entry e is the int8 round(128 e)
SLOT_SCALE = 16  # a slot entry s, added to a logit, is the int8 round(16 s)


@dataclass
class Config:
    """Shape of M1. ``orders[i]`` previous bytes index a table of ``2 ** table_bits[i]`` rows,
    ``slot_orders[i]`` previous bytes one of ``2 ** slot_bits[i]`` slots."""

    hidden: int = 256
    embed: int = 64
    orders: list[int] = field(default_factory=lambda: [1, 2, 3, 4, 6])
    table_bits: list[int] = field(default_factory=lambda: [8, 13, 14, 15, 15])
    slot_orders: list[int] = field(default_factory=lambda: [2, 3, 4, 5, 6])
    slot_bits: list[int] = field(default_factory=lambda: [16, 16, 16, 16, 16])

    def to_dict(self) -> dict:
        return asdict(self)


# The shapes that are released, by the name that --size knows.
SIZES = {
    "small": Config(96, 32, [1, 2, 3], [8, 13, 14], slot_bits=[13, 15, 15, 15, 15]),
    "base": Config(256, 64, slot_bits=[14, 16, 16, 16, 16]),
    "large": Config(1280, 64, [1, 2, 3], [8, 13, 14], slot_bits=[13, 14, 14, 14, 14]),
}


def shift_right(x: Tensor, n: int) -> Tensor:
    """x / 2^n of int64 numbers read as unsigned."""
    return (x >> n) & ((1 << (64 - n)) - 1)


def contexts(text: Tensor) -> Tensor:
    """The last eight bytes before each position, the latest lowest.

    text: uint8 [HISTORY + T, B], time first. Returns int64 [T, B].
    """
    steps = len(text) - HISTORY
    value = torch.zeros_like(text[:steps], dtype=torch.int64)
    for back in range(1, HISTORY + 1):
        value |= text[HISTORY - back : HISTORY - back + steps].long() << (8 * (back - 1))
    return value


def context_keys(context: Tensor, order: int) -> Tensor:
    """64-bit hashes of the last ``order`` bytes; the highest bits are the best mixed."""
    mask = -1 if order == 8 else (1 << (8 * order)) - 1
    return ((context & mask) + order) * HASH_MULTIPLIER


def table_rows(context: Tensor, config: Config) -> Tensor:
    """Rows of the concatenated embedding tables, int64 [..., len(orders)]."""
    rows, offset = [], 0
    for order, bits in zip(config.orders, config.table_bits, strict=True):
        if bits >= 8 * order:  # the table holds every context: no hash
            row = context & ((1 << (8 * order)) - 1)
        else:
            row = shift_right(context_keys(context, order), 64 - bits)
        rows.append(row + offset)
        offset += 1 << bits
    return torch.stack(rows, dim=-1)


def nibble_keys(keys: Tensor, nibble: Tensor | int) -> Tensor:
    """Hashes for the second half of a byte, from those for the first and its high nibble."""
    return ((keys ^ shift_right(keys, 32)) + nibble + 1) * HASH_MULTIPLIER


def slot_rows(keys: Tensor, bits: int, check: Tensor) -> Tensor:
    """Slots of one order, or the number of slots where another context owns the place.

    check: uint8 [2 ** bits], the check bytes of the order's slots.
    """
    index = shift_right(keys, 64 - bits)
    owner = check[index] == ((keys >> (56 - bits)) & 255)
    return torch.where(owner, index, len(check))


def choose_checks(text: Tensor, config: Config) -> Tensor:
    """Check bytes of all slots, uint8: the most frequent context that falls on a slot owns it.

    text: uint8 [N], a sample of what the model will read.
    """
    checks = []
    context = contexts(torch.cat([text.new_zeros(HISTORY), text]).unsqueeze(1)).squeeze(1)
    nibble = (text >> 4).long()
    for order, bits in zip(config.slot_orders, config.slot_bits, strict=True):
        high = context_keys(context, order)
        keys, counts = torch.cat([high, nibble_keys(high, nibble)]).unique(return_counts=True)
        # Of several writes to one place the last stands, on the CPU: the most frequent one's.
        keys = keys[counts.argsort(stable=True)].cpu()
        check = torch.zeros(1 << bits, dtype=torch.uint8)
        check.numpy()[shift_right(keys, 64 - bits).numpy()] = (keys >> (56 - bits)).numpy() & 255
        checks.append(check)
    return torch.cat(checks)


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


@dataclass
class State:
    """What is carried from segment to segment: uint8 [HISTORY, B] and two float [B, hidden]."""

    history: Tensor
    h: Tensor
    c: Tensor

    def reset(self, fresh: Tensor) -> None:
        """Start the lanes anew that ``fresh``, bool [B], names."""
        self.history = self.history.masked_fill(fresh, 0)
        keep = (~fresh).unsqueeze(1)
        self.h, self.c = self.h * keep, self.c * keep


@dataclass
class Output:
    """Input of the output layer, float [T, B, hidden + embed], and hashes int64 [T, B] of each
    slot order's contexts."""

    features: Tensor
    keys: list[Tensor]


class M1(nn.Module):
    """Byte predictor: 255 logits a position, one for each node of the binary tree over a byte.

    Node 1 is the root (the byte's highest bit); node n has the children 2n and 2n + 1. A logit is
    the log odds that the node's bit is 1: the output layer's row of the node, plus what the slots
    of the last few bytes say.

    A slot holds the 15 logits of a nibble's nodes for one context (the bytes before, and for the
    low nibble the high one), so that a byte looks up two slots an order and multiplies nothing.
    ``check`` tells which of the contexts with the same hash owns a slot.
    """

    check: Tensor

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        rows = sum(1 << bits for bits in config.table_bits)
        self.table = nn.EmbeddingBag(rows, config.embed, mode="sum", sparse=True)
        nn.init.normal_(self.table.weight, std=0.1)
        slots = sum(1 << bits for bits in config.slot_bits)
        self.slots = nn.EmbeddingBag(slots + 1, 16, mode="sum", sparse=True, padding_idx=slots)
        nn.init.zeros_(self.slots.weight)
        self.register_buffer("check", torch.zeros(slots, dtype=torch.uint8))
        width = config.hidden + config.embed
        self.gates = nn.Parameter(torch.empty(4 * config.hidden, width))
        self.gate_bias = nn.Parameter(torch.zeros(4 * config.hidden))
        self.out = nn.Parameter(torch.empty(256, width))  # row 0 is unused
        self.out_bias = nn.Parameter(torch.zeros(256))
        nn.init.normal_(self.gates, std=config.hidden**-0.5)
        nn.init.normal_(self.out, std=0.05)
        with torch.no_grad():
            self.gate_bias[config.hidden : 2 * config.hidden] = 1.0  # remember at first

    def initial_state(self, batch: int) -> State:
        device = self.gates.device
        zeros = torch.zeros(batch, self.config.hidden, device=device)
        history = torch.zeros(HISTORY, batch, dtype=torch.uint8, device=device)
        return State(history, zeros, zeros.clone())

    def forward(self, text: Tensor, state: State, quantise: bool = True) -> tuple[Output, State]:
        """Read uint8 [T, B]; position t is predicted from what is before it.

        The new state is detached.
        """
        steps, batch = text.shape
        config, hidden = self.config, self.config.hidden
        joined = torch.cat([state.history, text])
        context = contexts(joined)
        x = self.table(table_rows(context, config).view(steps * batch, -1))
        gates = self.gates
        if quantise:
            x = _QuantiseActivation.apply(x)
            gates = _QuantiseWeight.apply(gates)
        else:
            x = x.clamp(-1, 1)
        pre = torch.addmm(self.gate_bias, x, gates[:, hidden:].t()).view(steps, batch, -1)
        hs, h, c = _Lstm.apply(pre, gates[:, :hidden], state.h, state.c, quantise)
        features = torch.cat([hs, x.view(steps, batch, -1)], dim=2)
        keys = [context_keys(context, order) for order in config.slot_orders]
        return Output(features, keys), State(joined[steps:], h.detach(), c.detach())

    def _slot_sum(self, keys: list[Tensor]) -> Tensor:
        """What the slots add to the 15 nodes of a nibble: float [N, 16], entry 0 unused."""
        rows, offset = [], 0
        for key, bits in zip(keys, self.config.slot_bits, strict=True):
            size = 1 << bits
            row = slot_rows(key, bits, self.check[offset : offset + size])
            rows.append(torch.where(row == size, len(self.check), row + offset))
            offset += size
        return self.slots(torch.stack(rows, dim=-1))

    def logits(self, output: Output, quantise: bool = True) -> Tensor:
        """All node logits, float [T, B, 256] (entry 0 unused)."""
        out = _QuantiseWeight.apply(self.out) if quantise else self.out
        z = F.linear(output.features, out, self.out_bias)
        if output.keys:
            keys = [key.reshape(-1) for key in output.keys]
            flat = z.view(-1, 256)
            flat[:, :16] += self._slot_sum(keys)
            for nibble in range(16):
                added = self._slot_sum([nibble_keys(key, nibble) for key in keys])
                flat[:, low_nodes(nibble)] += added[:, 1:]
        return z

    def loss(self, output: Output, text: Tensor, quantise: bool = True) -> Tensor:
        """Mean code length in nats a byte of the text, uint8 [T, B], that ``output`` predicts.

        Only nodes that some byte passes are computed: the 15 of the high nibble, then, for the
        positions that share a high nibble, the 15 below it.
        """
        out = _QuantiseWeight.apply(self.out) if quantise else self.out
        flat = output.features.reshape(-1, output.features.shape[-1])
        byte = text.reshape(-1).long()
        high, low = byte >> 4, byte & 15
        z = F.linear(flat, out[:16], self.out_bias[:16])
        order = torch.argsort(high)
        counts = torch.bincount(high, minlength=16).tolist()
        added = None
        if output.keys:
            keys = [key.reshape(-1) for key in output.keys]
            z = z + self._slot_sum(keys)
            lows = self._slot_sum([nibble_keys(key, high) for key in keys])
            added = lows.index_select(0, order).split(counts)
        total = _nibble_loss(z, high)
        grouped = flat.index_select(0, order).split(counts)
        for nibble, (part, lows) in enumerate(zip(grouped, low[order].split(counts), strict=True)):
            if len(part):
                nodes = [0, *low_nodes(nibble)]
                z = F.linear(part, out[nodes], self.out_bias[nodes])
                if added is not None:
                    z = z + added[nibble]
                total = total + _nibble_loss(z, lows)
        return total / len(byte)


def low_nodes(nibble: int) -> list[int]:
    """The 15 nodes below a high nibble, in the order of the nodes 1 to 15 of a nibble's tree."""
    return [(16 + nibble << depth) + place for depth in range(4) for place in range(1 << depth)]


def _nibble_loss(logits: Tensor, nibble: Tensor) -> Tensor:
    """Summed code length in nats of 4-bit values; logits [N, 16] over a 15-node tree."""
    shift = torch.arange(4, device=nibble.device)
    value = (nibble | 16).unsqueeze(1)
    picked = logits.gather(1, value >> (4 - shift))
    bit = (value >> (3 - shift)) & 1
    return F.binary_cross_entropy_with_logits(picked, bit.float(), reduction="sum")

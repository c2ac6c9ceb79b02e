"""M1 in torch: rows of hashed contexts, and blocks of a gated linear recurrence.

The forward pass rounds activations and weights to the integers that the kernel uses
(straight-through estimator), so the exported model computes what was trained. This arithmetic is
specified in docs/format.md and, as a program, in ``nzip.reference``. On a CPU ``nzip.train.step``
computes the same, with hand-written gradients and faster.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import _cell

WORD, WORDS, WORDS3, SHAPE = 9, 10, 11, 13  # contexts besides the last 1 to 8 bytes: kernel/trail.h
ACT_SCALE = 21  # an activation a is the integer round(21 a), clamped to +-63, so +-3
ACT_MAX = 63
WEIGHT_MAX = 63
ROW_MAX = 7  # a row's values are integers in +-7, times
ROW_STEPS = 16  # its scale, 1 to 127, in this part of an activation's step
SCALE_SHIFT = 12  # a row's accumulator times its mult, shifted right by this, is a Q8 number
UNITS_ONE = 16  # or, for the units that blocks add to, a Q4 number, with a range of +-2048
MULT_UNIT = ACT_SCALE / (256 << SCALE_SHIFT)  # a row's weights are its integers * mult * this
UNITS_MULT_UNIT = ACT_SCALE / (UNITS_ONE << SCALE_SHIFT)
VALUE_MAX = 2.0  # the input of a unit of the recurrence is clamped to +-2


@dataclass
class Tables:
    """Shape of the tables: which contexts they have, and where the rows of these are.

    All contexts share ``buckets`` buckets of ``ways`` rows of ``embed`` values.
    """

    embed: int = 48
    contexts: list[int] = field(default_factory=lambda: [2, 3, 4, 6, WORD, WORDS, WORDS3, SHAPE])
    buckets: int = 500_000
    ways: int = 2

    @property
    def rows(self) -> int:
        """The number of rows: one per context, for when it owns none, then those of the buckets."""
        return len(self.contexts) + self.buckets * self.ways

    def places(self) -> _cell.Places:
        """This shape as the C functions need it."""
        return _cell.Places(self.contexts, self.buckets, self.ways, self.embed)


@dataclass
class Config:
    """Shape of M1.

    frozen: SHA-256, in hexadecimal, of the file whose tables it uses unchanged; empty if the tables
    are trained with it.
    """

    hidden: int = 192
    blocks: int = 3
    tables: Tables = field(default_factory=Tables)
    frozen: str = ""

    def to_dict(self) -> dict:
        return asdict(self)


# Units and blocks of the released models, by their name for --size.
SIZES = {
    "nano": (64, 1),
    "small": (96, 2),
    "windows": (128, 2),
    "base": (192, 3),
    "large": (384, 4),
}


def quantise_rows(weight: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    """Integers in +-WEIGHT_MAX and an integer mult per row: ``weight ~ ints * mult * unit``."""
    most = weight.abs().amax(dim=1, keepdim=True)
    mult = (most / (WEIGHT_MAX * unit)).ceil_().clamp_min_(1)
    return (weight / (mult * unit)).round_(), mult


def quantise_table(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Integers in +-ROW_MAX and an integer scale for each row of a table, float [rows, embed]."""
    unit = ACT_SCALE * ROW_STEPS
    scale = (rows.abs().amax(dim=1, keepdim=True) * unit / ROW_MAX).round_().clamp_(1, 127)
    return (rows * (unit / scale)).round_().clamp_(-ROW_MAX, ROW_MAX), scale


class _QuantiseWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight: Tensor, unit: float) -> Tensor:
        ints, mult = quantise_rows(weight, unit)
        return ints.mul_(mult * unit)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def _rounded(x: Tensor, quantise: bool) -> Tensor:
    """Activations as the kernel rounds them; the gradient passes if they are in range."""
    x = x.clamp(-ACT_MAX / ACT_SCALE, ACT_MAX / ACT_SCALE)
    return x + ((x * ACT_SCALE).round() / ACT_SCALE - x).detach() if quantise else x


def _normalise(x: Tensor, quantise: bool) -> Tensor:
    """x [..., hidden] divided by its root mean square.

    The kernel squares multiples of 1/16 and takes a mean of at least (1/16)^2.
    """
    mean = x.square().mean(dim=-1, keepdim=True).clamp_min(UNITS_ONE**-2)
    return _rounded(x * mean.rsqrt(), quantise)


def _scan(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
    """h[t] = a[t] h[t - 1] + b[t] for [T, ...], in log T steps."""
    b = torch.cat([b[:1] + a[:1] * h, b[1:]])
    span = 1
    while span < len(a):
        b = torch.cat([b[:span], b[span:] + a[span:] * b[:-span]])
        a = torch.cat([a[:span], a[span:] * a[:-span]])
        span *= 2
    return b


class M1(nn.Module):
    """Byte predictor: 255 logits per position, one for each node of the binary tree over a byte.

    Node 1 is the root (the byte's highest bit); node n has the children 2n and 2n + 1. A logit is
    the log odds that the node's bit is 1.

    The rows owned by the contexts before a position are summed to an embedding, which is widened to
    ``hidden`` units. Each block normalises the units, passes them through a gated linear recurrence
    (minGRU with an output gate: arXiv 2410.01201), projects the result back and adds it to them.
    The output layer reads the normalised units and the embedding.
    """

    check: Tensor

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        hidden, tables = config.hidden, config.tables
        embed = tables.embed
        # The gradients of the tables are not computed by autograd: see step.Rows.
        self.table = nn.Parameter(torch.zeros(tables.rows, embed), requires_grad=False)
        # The check number of a row's owner, uint16 stored as int16; 0: no owner.
        self.register_buffer("check", torch.zeros(tables.buckets, tables.ways, dtype=torch.int16))

        def matrix(rows: int, columns: int, std: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns) * std)

        def vectors(rows: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(rows))

        self.enter, self.enter_bias = matrix(hidden, embed, embed**-0.5), vectors(hidden)
        self.gates = nn.ParameterList()
        self.gates_bias = nn.ParameterList()
        self.leave = nn.ParameterList()
        keep = torch.linspace(0.3, 0.995, hidden)  # units remember from one byte to hundreds
        for _ in range(config.blocks):
            self.gates.append(matrix(3 * hidden, hidden, (3 * hidden) ** -0.5))
            bias = vectors(3 * hidden)
            with torch.no_grad():
                bias[:hidden] = torch.log(keep / (1 - keep))
            self.gates_bias.append(bias)
            self.leave.append(matrix(hidden, hidden, (3 * hidden) ** -0.5))
        self.out = matrix(256, hidden + embed, 0.02)  # row 0 is unused
        self.out_bias = vectors(256)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.out.device

    def dense(self) -> dict[str, nn.Parameter]:
        """All weights but the tables, by name."""
        return {name: p for name, p in self.named_parameters() if name != "table"}

    def find_rows(self, text: np.ndarray, trails: np.ndarray) -> Tensor:
        """The rows of the contexts before each position, int32 [T, B, contexts].

        text: uint8 [T, B], contiguous. trails: uint8 [B, _cell.TRAIL], the history of each lane
        (zeros: none), which is updated.
        """
        tables, check = self.config.tables, self.check.cpu()
        steps, lanes = text.shape
        rows = torch.empty(steps, lanes, len(tables.contexts), dtype=torch.int32)
        tables.places().find(
            check.data_ptr(), text.ctypes.data, steps, lanes, trails.ctypes.data, rows.data_ptr()
        )
        return rows

    def embed(self, rows: Tensor, bits: int = 0) -> Tensor:
        """The sum of the rows, float [T, B, embed]; with ``bits`` they are rounded to 4 bits."""
        flat = self.table[rows.long()]
        if bits:
            ints, scale = quantise_table(flat.flatten(0, -2))
            flat = (ints * scale / (ACT_SCALE * ROW_STEPS)).view_as(flat)
        return flat.sum(dim=-2)

    def forward(self, embedded: Tensor, h: Tensor, quantise: bool = True) -> tuple[Tensor, Tensor]:
        """The input of the output layer, float [T, B, hidden + embed], and the new state.

        embedded: float [T, B, embed], the sums of the rows. h: the state, float [blocks, B,
        hidden].
        """

        def rounded(weight: Tensor, unit: float) -> Tensor:
            return _QuantiseWeight.apply(weight, unit) if quantise else weight

        if quantise:  # rows in a file sum to multiples of 1/16 step; halves are rounded up
            embedded = embedded + 1 / (4 * ROW_STEPS * ACT_SCALE)
        embedded = _rounded(embedded, quantise)
        x = F.linear(embedded, rounded(self.enter, UNITS_MULT_UNIT), self.enter_bias)
        last = []
        for k in range(self.config.blocks):
            u = _normalise(x, quantise)
            z = F.linear(u, rounded(self.gates[k], MULT_UNIT), self.gates_bias[k])
            a, o, v = z.chunk(3, dim=-1)
            a, v = a.sigmoid(), v.clamp(-VALUE_MAX, VALUE_MAX)
            state = _scan(a, (1 - a) * v, h[k])
            last.append(state[-1])
            y = _rounded(state * o.sigmoid(), quantise)
            x = x + F.linear(y, rounded(self.leave[k], UNITS_MULT_UNIT))
        features = torch.cat([_normalise(x, quantise), embedded], dim=-1)
        return features, torch.stack(last).detach()

    def logits(self, features: Tensor, quantise: bool = True) -> Tensor:
        """The logits of all nodes, float [T, B, 256] (entry 0 is unused)."""
        out = _QuantiseWeight.apply(self.out, MULT_UNIT) if quantise else self.out
        return F.linear(features, out, self.out_bias)

    def loss(self, features: Tensor, text: Tensor, quantise: bool = True) -> Tensor:
        """Mean code length, in nats per byte, of the text, uint8 [T, B], under ``features``."""
        depth = torch.arange(8, device=text.device)
        byte = text.long().unsqueeze(-1)
        logits = self.logits(features, quantise).gather(-1, (byte | 256) >> (8 - depth))
        bits = (byte >> (7 - depth) & 1).to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, bits, reduction="sum") / text.numel()

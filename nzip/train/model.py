"""M1 in torch: embeddings of the last bytes and words, and blocks of a gated linear recurrence.

The forward pass rounds activations and weights to the integers that the kernel uses
(straight-through estimator), so the exported model computes what was trained. The arithmetic
that it imitates is specified in docs/format.md and, executable, in ``nzip.reference``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import _cell

HASH_MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)  # 2^64 / golden ratio, odd; as an int64
HISTORY = 8  # bytes of context kept for the hashes
WORD, WORDS = 9, 10  # contexts beside the last 1 to 8 bytes: this word so far; also the one before
ACT_SCALE = 21  # an activation a is the integer round(21 a), clamped to +-63, so +-3
ACT_MAX = 63
WEIGHT_MAX = 63
EMBED_SCALE = 42  # an embedding entry e is the int8 round(42 e)
SCALE_SHIFT = 12  # a row's accumulator times its mult, shifted by this, is a Q8 number,
UNITS_ONE = 16  # or, for what the blocks add up, a Q4 number, which reaches to +-2048
MULT_UNIT = ACT_SCALE / (256 << SCALE_SHIFT)  # a row's weights are its integers * mult * this
UNITS_MULT_UNIT = ACT_SCALE / (UNITS_ONE << SCALE_SHIFT)
VALUE_MAX = 2.0  # what a unit of the recurrence takes in is clamped to +-2


@dataclass
class Config:
    """Shape of M1. Table i has ``2 ** table_bits[i]`` rows and is looked up by the hash of the
    last ``contexts[i]`` bytes, or of the word (WORD) or the last two words (WORDS). ``tables``: the
    SHA-256 of the model file whose tables are used and stay as they are; else they are its own."""

    hidden: int = 192
    blocks: int = 3
    embed: int = 48
    contexts: list[int] = field(default_factory=lambda: [1, 2, 3, 4, 6, WORD, WORDS])
    table_bits: list[int] = field(default_factory=lambda: [8, 14, 15, 16, 16, 16, 16])
    tables: str = ""

    def to_dict(self) -> dict:
        return asdict(self)

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(1 << bits for bits in self.table_bits)


# The shapes that are released, by the name that --size knows.
SIZES = {
    "small": Config(hidden=96, blocks=2),
    "medium": Config(hidden=144),
    "base": Config(),
    "large": Config(blocks=6),
}
# For eqinfo. The last eight bytes tell where in the window a byte is, so a row of the last table
# belongs to one beginning of a window.
WINDOWS = Config(
    hidden=128, blocks=2, contexts=[1, 2, 3, 4, 6, 8], table_bits=[8, 13, 13, 13, 13, 14]
)


def shift_right(x: Tensor, n: int) -> Tensor:
    """x / 2^n of int64 numbers read as unsigned."""
    return (x >> n) & ((1 << (64 - n)) - 1)


def _letters() -> Tensor:
    """What a byte adds to a word, int64 [256]: lower case, and 0 for what ends a word."""
    byte = torch.arange(256)
    lower = byte | 32
    return torch.where((lower >= 97) & (lower <= 122), lower, byte * (byte >= 128))


LETTERS = _letters()


def contexts_of(
    text: Tensor, history: Tensor, words: Tensor, with_words: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The last eight bytes before each position, the latest lowest, the word so far and the word
    before it as hashes (0: none).

    text: uint8 [T, B], time first; history uint8 [HISTORY, B] and words int64 [2, B] are what
    stood before. Returns int64 [T, B], [2, T, B], and the words after the text, [2, B].
    """
    steps = len(text)
    joined = torch.cat([history, text])
    last = torch.zeros_like(text, dtype=torch.int64)
    for back in range(1, HISTORY + 1):
        last |= joined[HISTORY - back : HISTORY - back + steps].long() << (8 * (back - 1))
    before = torch.zeros(2, *text.shape, dtype=torch.int64, device=text.device)
    if with_words:
        letters = LETTERS.to(text.device)[text.long()]
        word, previous = words
        for t in range(steps):
            before[0, t], before[1, t] = word, previous
            letter = letters[t]
            inside = letter > 0
            previous = torch.where(inside | (word == 0), previous, word)
            word = (word + letter) * HASH_MULTIPLIER * inside
        words = torch.stack([word, previous])
    return last, before, words


def context_keys(last: Tensor, words: Tensor, context: int) -> Tensor:
    """64-bit hashes of a context; the highest bits are the best mixed."""
    if context <= HISTORY:
        mask = -1 if context == 8 else (1 << (8 * context)) - 1
        return ((last & mask) + context) * HASH_MULTIPLIER
    word = torch.where(words[0] != 0, words[0], last & 255)
    key = (word + 3 * words[1] if context == WORDS else word) * HASH_MULTIPLIER
    return (key ^ shift_right(key, 32)) * HASH_MULTIPLIER


def direct(context: int, bits: int) -> bool:
    """True if a table holds every context, so that no hash is needed."""
    return bits >= 8 * context


def table_rows(last: Tensor, words: Tensor, config: Config, check: Tensor) -> Tensor:
    """Rows of the concatenated tables, int64 [..., len(contexts)]; where another context owns the
    place, the number of rows.

    check: uint8 [rows], the check bytes of the owners.
    """
    rows, offset = [], 0
    for context, bits in zip(config.contexts, config.table_bits, strict=True):
        if direct(context, bits):
            rows.append((last & ((1 << (8 * context)) - 1)) + offset)
        else:
            key = context_keys(last, words, context)
            row = shift_right(key, 64 - bits) + offset
            owned = check[row] == ((key >> (56 - bits)) & 255)
            rows.append(torch.where(owned, row, config.rows))
        offset += 1 << bits
    return torch.stack(rows, dim=-1)


def choose_checks(text: Tensor, config: Config) -> Tensor:
    """Check bytes of all rows, uint8: the most frequent context that falls on a row owns it.

    text: uint8 [T, B], a sample of what the model will read, in lanes.
    """
    history = text.new_zeros(HISTORY, text.shape[1])
    with_words = max(config.contexts) > HISTORY
    last, words, _ = contexts_of(text, history, torch.zeros(2, text.shape[1]).long(), with_words)
    checks = []
    for context, bits in zip(config.contexts, config.table_bits, strict=True):
        check = torch.zeros(1 << bits, dtype=torch.uint8)
        if not direct(context, bits):
            keys, counts = context_keys(last, words, context).unique(return_counts=True)
            # Of several writes to one place the last stands: the most frequent one's.
            keys = keys[counts.argsort(stable=True)].numpy()
            check.numpy()[(keys >> (64 - bits)) & ((1 << bits) - 1)] = (keys >> (56 - bits)) & 255
        checks.append(check)
    return torch.cat(checks)


def quantise_rows(weight: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    """Integers in +-WEIGHT_MAX and a whole mult a row: ``weight ~ ints * mult * unit``."""
    most = weight.abs().amax(dim=1, keepdim=True)
    mult = (most / (WEIGHT_MAX * unit)).ceil_().clamp_min_(1)
    return (weight / (mult * unit)).round_(), mult


class _QuantiseWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight: Tensor, unit: float) -> Tensor:
        ints, mult = quantise_rows(weight, unit)
        return ints.mul_(mult * unit)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


LIMIT = ACT_MAX / ACT_SCALE


def _round_activation(x: Tensor) -> Tensor:
    """In place."""
    return x.mul_(ACT_SCALE).round_().clamp_(-ACT_MAX, ACT_MAX).mul_(1 / ACT_SCALE)


class _QuantiseActivation(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, quantise: bool) -> Tensor:
        ctx.save_for_backward(x)
        return _round_activation(x.clone()) if quantise else x.clamp(-LIMIT, LIMIT)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, x, -LIMIT, LIMIT), None


def _on_cpu(call: Callable[..., None], x: Tensor, count: int, *arguments: bool | Tensor) -> None:
    """One of ``_cell``'s functions for ``count`` lanes or rows, shared out to torch's threads."""
    threads = min(torch.get_num_threads(), count)
    rest = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    ends = [count * k // threads for k in range(threads + 1)]
    jobs = [
        _pool().submit(call, x.shape, first, last, *rest)
        for first, last in itertools.pairwise(ends[1:])
    ]
    call(x.shape, 0, ends[1], *rest)
    for job in jobs:
        job.result()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor()


def _fast(x: Tensor) -> bool:
    """True if ``_cell`` can do the elementwise work; else it is done in torch."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[-1] % 16 == 0


class _Normalise(torch.autograd.Function):
    """x over its root mean square, quantised. x: float [T, B, hidden].

    The kernel takes the mean of squares of multiples of 1/16, and at least 1 of those.
    """

    @staticmethod
    def forward(ctx, x: Tensor, quantise: bool) -> Tensor:
        if _fast(x):
            inverse, y = x.new_empty(*x.shape[:2], 1), torch.empty_like(x)
            _on_cpu(_cell.normalise_forward, x, inverse.numel(), quantise, x, inverse, y)
        else:
            inverse = x.square().mean(dim=2, keepdim=True).clamp_min_(UNITS_ONE**-2).rsqrt_()
            y = x * inverse
            y = _round_activation(y) if quantise else y.clamp_(-LIMIT, LIMIT)
        ctx.save_for_backward(x, inverse)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        x, inverse = ctx.saved_tensors
        if _fast(x):
            grad, dx = grad.contiguous(), torch.empty_like(x)
            _on_cpu(_cell.normalise_backward, x, inverse.numel(), grad, x, inverse, dx)
            return dx, None
        y = x * inverse
        grad = torch.ops.aten.hardtanh_backward(grad, y, -LIMIT, LIMIT)
        slope = (grad * y).mean(dim=2, keepdim=True)
        return grad.addcmul_(y, slope, value=-1).mul_(inverse), None


class _Recurrence(torch.autograd.Function):
    """h[t] = v + a (h[t-1] - v), y = o h, where a and o are sigmoids and v is clamped.

    u: float [T, B, hidden]; weight [3 hidden, hidden] with the rows of a, o and v; h0 [B, hidden].
    Returns y, quantised, and the last h. Written by hand: autograd through the steps costs more
    than the matrix products.
    """

    @staticmethod
    def forward(ctx, u: Tensor, weight: Tensor, bias: Tensor, h0: Tensor, quantise: bool):
        steps, batch, hidden = u.shape
        z = torch.addmm(bias, u.reshape(-1, hidden), weight.t()).view(steps, batch, 3 * hidden)
        hs = u.new_empty(steps + 1, batch, hidden)
        hs[0] = h0
        y = torch.empty_like(u)
        if _fast(u):
            _on_cpu(_cell.recurrence_forward, u, batch, quantise, z, hs, y)
        else:
            for t in range(steps):
                z[t, :, : 2 * hidden].sigmoid_()
                value = z[t, :, 2 * hidden :].clamp_(-VALUE_MAX, VALUE_MAX)
                torch.lerp(value, hs[t], z[t, :, :hidden], out=hs[t + 1])
            torch.mul(hs[1:], z[:, :, hidden : 2 * hidden], out=y)
            if quantise:
                _round_activation(y)
        ctx.save_for_backward(u, weight, z, hs)
        return y, hs[steps].clone()

    @staticmethod
    def backward(ctx, dy: Tensor, _dh: Tensor):
        u, weight, z, hs = ctx.saved_tensors
        steps, batch, hidden = u.shape
        dz, dh = torch.empty_like(z), torch.zeros_like(hs[0])
        if _fast(u):
            _on_cpu(_cell.recurrence_backward, u, batch, dy.contiguous(), z, hs, dz, dh)
        else:
            a, o, v = z.split(hidden, dim=2)
            da, do, dv = dz.split(hidden, dim=2)
            for t in range(steps - 1, -1, -1):
                dh.addcmul_(dy[t], o[t])
                kept = dh * a[t]
                torch.sub(dh, kept, out=dv[t])
                dh = kept
            # a (h[t-1] - v) is h[t] - v, so that dh (h[t-1] - v) a (1 - a) is this:
            torch.sub(hs[1:], v, out=da).mul_(dv)
            torch.mul(dy, hs[1:], out=do).mul_(o).mul_(1 - o)
            dv.mul_(v.abs() < VALUE_MAX)
        flat = dz.view(steps * batch, 3 * hidden)
        du = (flat @ weight).view_as(u)
        return du, flat.t() @ u.reshape(-1, hidden), flat.sum(dim=0), None, None


@dataclass
class State:
    """What is carried from segment to segment: history uint8 [HISTORY, B], words int64 [2, B], h
    float [blocks, B, hidden]."""

    history: Tensor
    words: Tensor
    h: Tensor

    def reset(self, fresh: Tensor) -> None:
        """Start the lanes anew that ``fresh``, bool [B], names."""
        self.history = self.history.masked_fill(fresh, 0)
        self.words = self.words.masked_fill(fresh, 0)
        self.h = self.h.masked_fill(fresh.unsqueeze(1), 0.0)


class M1(nn.Module):
    """Byte predictor: 255 logits a position, one for each node of the binary tree over a byte.

    Node 1 is the root (the byte's highest bit); node n has the children 2n and 2n + 1. A logit is
    the log odds that the node's bit is 1.

    The rows of all tables that the contexts before a position own are summed to an embedding. It
    is widened to ``hidden`` units, to which each block adds: it normalises them, passes them
    through a gated linear recurrence (minGRU with an output gate: arXiv 2410.01201) and projects
    the result back. The output layer reads the normalised units and the embedding.
    """

    check: Tensor

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        hidden, embed = config.hidden, config.embed
        self.table = nn.EmbeddingBag(
            config.rows + 1, embed, mode="sum", sparse=True, padding_idx=config.rows
        )
        nn.init.normal_(self.table.weight, std=0.3)
        with torch.no_grad():
            self.table.weight[config.rows] = 0
        self.table.weight.requires_grad_(not config.tables)
        self.register_buffer("check", torch.zeros(config.rows, dtype=torch.uint8))

        def matrix(rows: int, columns: int, std: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns) * std)

        def vectors(rows: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(rows))

        self.enter, self.enter_bias = matrix(hidden, embed, embed**-0.5), vectors(hidden)
        self.gates = nn.ParameterList()
        self.gates_bias = nn.ParameterList()
        self.leave = nn.ParameterList()
        keep = torch.linspace(0.3, 0.995, hidden)  # memories from one byte to hundreds
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

    def initial_state(self, batch: int) -> State:
        config, device = self.config, self.device
        return State(
            torch.zeros(HISTORY, batch, dtype=torch.uint8, device=device),
            torch.zeros(2, batch, dtype=torch.int64, device=device),
            torch.zeros(config.blocks, batch, config.hidden, device=device),
        )

    def rows(self, last: Tensor, words: Tensor) -> Tensor:
        """``table_rows`` of this model."""
        return table_rows(last, words, self.config, self.check)

    def embed(self, text: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """The summed embeddings before each position, float [T, B, embed], and the history and
        words after the text."""
        with_words = max(self.config.contexts) > HISTORY
        last, before, words = contexts_of(text, state.history, state.words, with_words)
        rows = self.rows(last, before)
        embedded = self.table(rows.view(-1, rows.shape[-1])).view(*text.shape, -1)
        return embedded, torch.cat([state.history, text])[len(text) :], words

    def forward(self, text: Tensor, state: State, quantise: bool = True) -> tuple[Tensor, State]:
        """Read uint8 [T, B]; position t is predicted from what is before it.

        Returns the output layer's input, float [T, B, hidden + embed], and the new state, detached.
        """
        steps, batch = text.shape
        config = self.config

        def rounded(weight: Tensor, unit: float = UNITS_MULT_UNIT) -> Tensor:
            return _QuantiseWeight.apply(weight, unit) if quantise else weight

        embedded, history, words = self.embed(text, state)
        embedded = _QuantiseActivation.apply(embedded, quantise)
        x = torch.addmm(self.enter_bias, embedded.view(steps * batch, -1), rounded(self.enter).t())
        h = []
        for k in range(config.blocks):
            u = _Normalise.apply(x.view(steps, batch, -1), quantise)
            y, last_h = _Recurrence.apply(
                u, rounded(self.gates[k], MULT_UNIT), self.gates_bias[k], state.h[k], quantise
            )
            h.append(last_h)
            x = torch.addmm(x, y.view_as(x), rounded(self.leave[k]).t())
        normal = _Normalise.apply(x.view(steps, batch, -1), quantise)
        features = torch.cat([normal, embedded], dim=2)
        return features, State(history, words, torch.stack(h).detach())

    def logits(self, features: Tensor, quantise: bool = True) -> Tensor:
        """All node logits, float [T, B, 256] (entry 0 unused)."""
        out = _QuantiseWeight.apply(self.out, MULT_UNIT) if quantise else self.out
        return F.linear(features, out, self.out_bias)

    def loss(self, features: Tensor, text: Tensor, quantise: bool = True) -> Tensor:
        """Mean code length in nats a byte of the text, uint8 [T, B], that ``features`` predict.

        Only nodes that some byte passes are computed: the 15 of the high nibble, then, for the
        positions that share a high nibble, the 15 below it.
        """
        out = _QuantiseWeight.apply(self.out, MULT_UNIT) if quantise else self.out
        flat = features.reshape(-1, features.shape[-1])
        byte = text.reshape(-1).long()
        high, low = byte >> 4, byte & 15
        total = _nibble_loss(F.linear(flat, out[:16], self.out_bias[:16]), high)
        order = torch.argsort(high)
        counts = torch.bincount(high, minlength=16).tolist()
        grouped = flat.index_select(0, order).split(counts)
        for nibble, (part, lows) in enumerate(zip(grouped, low[order].split(counts), strict=True)):
            if len(part):
                nodes = [0, *low_nodes(nibble)]
                z = F.linear(part, out[nodes], self.out_bias[nodes])
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

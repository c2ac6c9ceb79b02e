"""Recurrent cells at equal multiply-adds a byte: which one predicts best?

    python benchmarks/cells.py SHARDS [--budget 0.25] [--bytes 16M] [--mix ...] [CELL...]

Trains each cell in float32 from the same seed on the same bytes in the same order, with the same
learning-rate cycle, and prints its loss on the shards' held-out heads. Every cell reads the same
n-gram embeddings and ends in the same binary-tree output; what differs is named by the row.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nzip.train.command import keep_freed_memory, parse_mix
from nzip.train.data import Corpus
from nzip.train.loop import Batcher, Options, rate_at
from nzip.train.model import M1, Config, _Lstm

EMBED = 64


class Lstm(nn.Module):
    """One LSTM layer: 4 h (h + x) multiply-adds."""

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.hidden = hidden
        self.w = nn.Parameter(torch.randn(4 * hidden, hidden) * hidden**-0.5)
        self.inputs = nn.Linear(inputs, 4 * hidden)
        nn.init.normal_(self.inputs.weight, std=hidden**-0.5)
        with torch.no_grad():
            self.inputs.bias.zero_()
            self.inputs.bias[hidden : 2 * hidden] = 1.0

    def state(self, batch: int) -> list[Tensor]:
        return [torch.zeros(batch, self.hidden), torch.zeros(batch, self.hidden)]

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        h, *new = _Lstm.apply(self.inputs(x), self.w, *state, False)
        return h, new


class Gru(nn.Module):
    """One GRU layer: 3 h (h + x) multiply-adds."""

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.hidden, self.cell = hidden, nn.GRU(inputs, hidden)

    def state(self, batch: int) -> list[Tensor]:
        return [torch.zeros(batch, self.hidden)]

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        h, last = self.cell(x, state[0].unsqueeze(0))
        return h, [last[0]]


class _Scan(torch.autograd.Function):
    """h[t] = a[t] h[t-1] + b[t] along the first dimension."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
        h = torch.empty(len(a) + 1, *h0.shape)
        h[0] = h0
        for t in range(len(a)):
            torch.addcmul(b[t], a[t], h[t], out=h[t + 1])
        ctx.save_for_backward(a, h)
        return h[1:]

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        a, h = ctx.saved_tensors
        db = grad.clone()
        for t in range(len(a) - 1, 0, -1):
            db[t - 1].addcmul_(a[t], db[t])
        return db * h[:-1], db, None


class GatedLinear(nn.Module):
    """Two residual blocks of a gated linear recurrence (the RG-LRU's update, a gated output):
    per block 5 d d multiply-adds, after x d for the input."""

    def __init__(self, inputs: int, hidden: int, blocks: int = 2):
        super().__init__()
        self.hidden, self.blocks = hidden, blocks
        self.enter = nn.Linear(inputs, hidden)
        self.norm = nn.ModuleList(nn.RMSNorm(hidden) for _ in range(blocks))
        self.gates = nn.ModuleList(nn.Linear(hidden, 4 * hidden) for _ in range(blocks))
        self.leave = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(blocks))
        decay = torch.linspace(0.3, 0.995, hidden)
        self.decay = nn.ParameterList(
            torch.log(torch.expm1(-decay.log() * 2)) for _ in range(blocks)
        )

    def state(self, batch: int) -> list[Tensor]:
        return [torch.zeros(batch, self.hidden) for _ in range(self.blocks)]

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        x, new = self.enter(x), []
        for k in range(self.blocks):
            forget, take, value, gate = self.gates[k](self.norm[k](x)).chunk(4, dim=-1)
            a = torch.exp(-nn.functional.softplus(self.decay[k]) * torch.sigmoid(forget))
            b = torch.sqrt(1 - a * a + 1e-6) * torch.sigmoid(take) * value
            h = _Scan.apply(a, b, state[k])
            x = x + self.leave[k](h * nn.functional.silu(gate))
            new.append(h[-1])
        return x, new


class Stack(nn.Module):
    """Two layers of a cell, the second reading the first's output; both outputs are used."""

    def __init__(self, kind: type[nn.Module], inputs: int, hidden: int):
        super().__init__()
        self.layers = nn.ModuleList([kind(inputs, hidden), kind(hidden, hidden)])

    def state(self, batch: int) -> list[list[Tensor]]:
        return [layer.state(batch) for layer in self.layers]

    def forward(self, x: Tensor, state: list[list[Tensor]]) -> tuple[Tensor, list[list[Tensor]]]:
        outputs, new = [], []
        for layer, old in zip(self.layers, state, strict=True):
            x, fresh = layer(x, old)
            outputs.append(x)
            new.append(fresh)
        return torch.cat(outputs, dim=-1), new


def solve(cost, budget: float) -> int:
    """The largest multiple of 16 whose cost is within the budget."""
    hidden = 16
    while cost(hidden + 16) <= budget:
        hidden += 16
    return hidden


NGRAMS = ([1, 2, 3, 4, 6], [8, 13, 14, 15, 15])
CELLS = {
    "lstm": lambda b: (Lstm, solve(lambda h: 4 * h * (h + EMBED) + 8 * h, b), NGRAMS, "tree"),
    "gru": lambda b: (Gru, solve(lambda h: 3 * h * (h + EMBED) + 8 * h, b), NGRAMS, "tree"),
    "lstm x2": lambda b: (
        lambda i, h: Stack(Lstm, i, h),
        solve(lambda h: 4 * h * (3 * h + EMBED) + 16 * h, b),
        NGRAMS,
        "tree",
    ),
    "gated linear x2": lambda b: (
        GatedLinear,
        solve(lambda h: 10 * h * h + EMBED * h + 8 * h, b),
        NGRAMS,
        "tree",
    ),
    "lstm, softmax": lambda b: (
        Lstm,
        solve(lambda h: 4 * h * (h + EMBED) + 256 * (h + EMBED), b),
        NGRAMS,
        "softmax",
    ),
    "lstm, last byte only": lambda b: (*CELLS["lstm"](b)[:2], ([1], [8]), "tree"),
    "lstm, 1-3 bytes": lambda b: (*CELLS["lstm"](b)[:2], ([1, 2, 3], [8, 13, 14]), "tree"),
    "lstm, tables x4": lambda b: (
        *CELLS["lstm"](b)[:2],
        ([1, 2, 3, 4, 6], [8, 15, 16, 17, 17]),
        "tree",
    ),
}


class Predictor(nn.Module):
    """Embeddings, a cell, an output layer."""

    def __init__(self, cell: nn.Module, width: int, ngrams, output: str):
        super().__init__()
        self.config = Config(16, EMBED, *ngrams)
        rows = sum(1 << bits for bits in self.config.table_bits)
        self.table = nn.EmbeddingBag(rows, EMBED, mode="sum", sparse=True)
        nn.init.normal_(self.table.weight, std=0.1)
        self.cell, self.output = cell, output
        self.out = nn.Parameter(torch.randn(256, width + EMBED) * 0.05)
        self.out_bias = nn.Parameter(torch.zeros(256))

    def loss(self, rows: Tensor, state, target: Tensor):
        steps, batch, orders = rows.shape
        x = self.table(rows.reshape(-1, orders)).clamp(-1, 1).view(steps, batch, -1)
        h, state = self.cell(x, state)
        features = torch.cat([h, x], dim=-1)
        if self.output == "tree":
            return M1.loss(self, features, target, quantise=False), state
        logits = nn.functional.linear(features, self.out, self.out_bias)
        return nn.functional.cross_entropy(logits.view(-1, 256), target.view(-1)), state


def detach(state):
    return [detach(s) for s in state] if isinstance(state, list) else state.detach()


def keep_rows(state, keep: Tensor):
    return [keep_rows(s, keep) for s in state] if isinstance(state, list) else state * keep


@torch.no_grad()
def evaluate(model: Predictor, text: bytes) -> float:
    lanes = max(1, min(64, len(text) // 2048))
    length = len(text) // lanes // 256 * 256
    data = np.frombuffer(text, np.uint8)[: length * lanes].reshape(lanes, length)
    batcher, state, nats = Batcher(lanes, model.config), model.cell.state(lanes), 0.0
    fresh = np.ones(lanes, bool)
    for start in range(0, length, 256):
        part = data[:, start : start + 256]
        rows = batcher.rows(part, fresh)
        fresh[:] = False
        loss, state = model.loss(rows, state, torch.from_numpy(part.T.astype(np.int64)))
        nats += float(loss) * part.size
    return nats / (length * lanes) / math.log(2)


def train(model: Predictor, corpus: Corpus, options: Options) -> float:
    """Train and return the seconds taken."""
    dense = [p for n, p in model.named_parameters() if n != "table.weight"]
    optimisers = [
        torch.optim.Adam(dense, betas=(0.9, 0.99)),
        torch.optim.SparseAdam(list(model.table.parameters()), betas=(0.9, 0.99)),
    ]
    steps = options.total // (options.lanes * options.segment)
    batcher, state = Batcher(options.lanes, model.config), model.cell.state(options.lanes)
    batches = corpus.batches(options.lanes, options.segment, options.seed, options.reset)
    began = time.monotonic()
    for step, (batch, fresh) in zip(range(steps), batches, strict=False):
        state = keep_rows(state, torch.from_numpy(~fresh).float().unsqueeze(1))
        target = torch.from_numpy(batch.T.astype(np.int64))
        loss, state = model.loss(batcher.rows(batch, fresh), state, target)
        state = detach(state)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(dense, options.clip)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate_at(step, steps, options)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
    return time.monotonic() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path)
    parser.add_argument("cells", nargs="*", help=", ".join(CELLS))
    parser.add_argument("--budget", type=float, default=0.25, help="million multiply-adds a byte")
    parser.add_argument("--bytes", type=int, default=16_000_000)
    parser.add_argument("--mix")
    arguments = parser.parse_args()
    keep_freed_memory()
    corpus = Corpus([arguments.shards], parse_mix(arguments.mix))
    options = Options(total=arguments.bytes, warmup=100)
    print("| cell | units | parameters | kB/s trained | mean | by source |", flush=True)
    print("|---|---:|---:|---:|---:|---|", flush=True)
    for name in arguments.cells or CELLS:
        torch.manual_seed(options.seed)
        kind, hidden, ngrams, output = CELLS[name](arguments.budget * 1e6)
        width = 2 * hidden if "lstm x2" in name else hidden
        model = Predictor(kind(EMBED, hidden), width, ngrams, output)
        parameters = sum(p.numel() for p in model.parameters()) - model.table.weight.numel()
        seconds = train(model, corpus, options)
        held = {source: evaluate(model, text) for source, text in corpus.held_out().items()}
        print(
            f"| {name} | {hidden} | {parameters / 1e6:.2f} M | {options.total / seconds / 1e3:.1f}"
            f" | {sum(held.values()) / len(held):.3f} | "
            + ", ".join(f"{source} {bpb:.3f}" for source, bpb in held.items())
            + " |",
            flush=True,
        )

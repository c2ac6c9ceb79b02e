"""Recurrent cells at equal multiply-adds a byte: which one predicts best?

    python benchmarks/cells.py SHARDS [--budget 1] [--bytes 16M] [--mix ...] [ROW...]

Trains each row in float32 from the same seed on the same bytes in the same order, with the same
learning-rate schedule, and prints its loss on the shards' held-out heads. Every row but those that
say so reads the same embeddings and ends in the same binary-tree output.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nzip.train.command import keep_freed_memory, parse_mix
from nzip.train.data import Corpus
from nzip.train.loop import Options, Trainer, evaluate, sample_text
from nzip.train.model import (
    LIMIT,
    M1,
    WORD,
    WORDS,
    Config,
    State,
    choose_checks,
    context_keys,
    shift_right,
)

EMBED = 48
BITS = {1: 8, 2: 13, 3: 14, 4: 15, 6: 15, WORD: 15, WORDS: 15}


class Lstm(nn.LSTM):
    """One LSTM layer: 4 h (h + x) multiply-adds."""

    def state(self, batch: int) -> list[Tensor]:
        return [torch.zeros(batch, self.hidden_size), torch.zeros(batch, self.hidden_size)]

    def run(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        y, (h, c) = self(x, (state[0].unsqueeze(0), state[1].unsqueeze(0)))
        return y, [h[0], c[0]]


class Gru(nn.GRU):
    """One GRU layer: 3 h (h + x) multiply-adds."""

    def state(self, batch: int) -> list[Tensor]:
        return [torch.zeros(batch, self.hidden_size)]

    def run(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        y, h = self(x, state[0].unsqueeze(0))
        return y, [h[0]]


class Stack(nn.Module):
    """Two layers of a cell, the second reading the first's output; both outputs are used."""

    def __init__(self, kind: type[Lstm] | type[Gru], inputs: int, hidden: int):
        super().__init__()
        self.layers = nn.ModuleList([kind(inputs, hidden), kind(hidden, hidden)])

    def state(self, batch: int) -> list[list[Tensor]]:
        return [layer.state(batch) for layer in self.layers]

    def run(self, x: Tensor, state: list[list[Tensor]]) -> tuple[Tensor, list[list[Tensor]]]:
        outputs, new = [], []
        for layer, old in zip(self.layers, state, strict=True):
            x, fresh = layer.run(x, old)
            outputs.append(x)
            new.append(fresh)
        return torch.cat(outputs, dim=-1), new


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
    """Residual blocks of a gated linear recurrence, in variants that M1 does not have.

    update: "rg-lru" (Griffin, arXiv 2402.19427: an input gate and sqrt(1 - a^2), so 5 d^2
    multiply-adds a block) or "mingru" (arXiv 2410.01201, 4 d^2). gate: of the output, "silu" or
    "sigmoid". norm: "rms", or "clamp" for none.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        blocks: int = 3,
        update: str = "mingru",
        gate: str = "silu",
        norm: str = "rms",
    ):
        super().__init__()
        self.hidden, self.blocks, self.gate = hidden, blocks, gate
        self.parts = 4 if update == "rg-lru" else 3
        self.enter = nn.Linear(inputs, hidden)
        self.norm = nn.ModuleList(
            nn.RMSNorm(hidden) if norm == "rms" else nn.Hardtanh() for _ in range(blocks)
        )
        self.gates = nn.ModuleList(nn.Linear(hidden, self.parts * hidden) for _ in range(blocks))
        self.leave = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(blocks))
        keep = torch.linspace(0.3, 0.995, hidden)
        with torch.no_grad():
            for gates in self.gates:
                gates.bias[:hidden] = torch.log(keep / (1 - keep))

    def state(self, batch: int) -> list[Tensor]:
        return [torch.zeros(batch, self.hidden) for _ in range(self.blocks)]

    def run(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        x, new = self.enter(x), []
        for k in range(self.blocks):
            z, value, out, *take = self.gates[k](self.norm[k](x)).chunk(self.parts, -1)
            a = torch.sigmoid(z)
            if take:
                b = torch.sqrt(1 - a * a + 1e-6) * torch.sigmoid(take[0]) * value
            else:
                b = (1 - a) * value
            h = _Scan.apply(a, b, state[k])
            shown = nn.functional.silu(out) if self.gate == "silu" else torch.sigmoid(out)
            x = x + self.leave[k](h * shown)
            new.append(h[-1])
        return x, new


def solve(cost: Callable[[int], int], budget: float) -> int:
    """The largest multiple of 16 whose cost is within the budget."""
    hidden = 16
    while cost(hidden + 16) <= budget:
        hidden += 16
    return hidden


def blocks_cost(blocks: int, squares: int = 4) -> Callable[[int], int]:
    return lambda h: squares * blocks * h * h + EMBED * h + 8 * h


THREE_BLOCKS = blocks_cost(3)


def lstm_cost(h: int) -> int:
    return 4 * h * (h + EMBED) + 8 * h


@dataclass
class Row:
    """A cell of ``hidden`` units for a budget (without one: M1 itself), and what differs around
    it."""

    cell: Callable[[int, int], Any] | None = None
    cost: Callable[[int], int] = THREE_BLOCKS
    blocks: int = 3  # of M1
    outputs: int = 1  # times ``hidden`` are read by the output layer
    contexts: tuple[int, ...] = tuple(BITS)
    more_bits: int = 0
    owners: bool = True
    softmax: bool = False
    options: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "lstm": Row(Lstm, lstm_cost),
    "gru": Row(Gru, lambda h: 3 * h * (h + EMBED) + 8 * h),
    "two lstm": Row(
        lambda i, h: Stack(Lstm, i, h), lambda h: 4 * h * (3 * h + EMBED) + 16 * h, outputs=2
    ),
    "two gru": Row(
        lambda i, h: Stack(Gru, i, h), lambda h: 3 * h * (3 * h + EMBED) + 16 * h, outputs=2
    ),
    "two rg-lru": Row(lambda i, h: GatedLinear(i, h, 2, "rg-lru"), blocks_cost(2, 5)),
    "three mingru, silu": Row(GatedLinear),
    "three mingru, no norm": Row(lambda i, h: GatedLinear(i, h, norm="clamp")),
    "m1, 1 block": Row(cost=blocks_cost(1), blocks=1),
    "m1, 2 blocks": Row(cost=blocks_cost(2), blocks=2),
    "m1, 3 blocks": Row(),
    "m1, 4 blocks": Row(cost=blocks_cost(4), blocks=4),
    "lstm, softmax": Row(Lstm, lambda h: 4 * h * (h + EMBED) + 256 * (h + EMBED), softmax=True),
    "m1, softmax": Row(cost=lambda h: 12 * h * h + EMBED * h + 256 * (h + EMBED), softmax=True),
    "m1, last byte only": Row(contexts=(1,)),
    "m1, last 3 bytes": Row(contexts=(1, 2, 3)),
    "m1, no words": Row(contexts=(1, 2, 3, 4, 6)),
    "m1, no owners": Row(owners=False),
    "m1, twice the rows": Row(more_bits=1),
    "m1, table rate / 3": Row(options={"table_rate": 20.0}),
    "m1, table rate x 3": Row(options={"table_rate": 180.0}),
    "m1, rate x 2": Row(options={"rate": 6e-3, "table_rate": 30.0}),
    "m1, segments of 256": Row(options={"segment": 256, "lanes": 40}),
    "m1, half the batch": Row(options={"lanes": 80}),
    "m1, decay over the whole run": Row(options={"decay": 1.0}),
}


@dataclass
class CellState(State):
    """State whose ``h`` is what the cell carries: tensors [B, .] in lists."""

    def reset(self, fresh: Tensor) -> None:
        """Start the lanes anew that ``fresh``, bool [B], names."""
        self.history = self.history.masked_fill(fresh, 0)
        self.words = self.words.masked_fill(fresh, 0)
        self.h = _each(self.h, lambda s: s.masked_fill(fresh.unsqueeze(1), 0.0))


def _each(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return [_each(s, change) for s in state] if isinstance(state, list) else change(state)


class Predictor(M1):
    """M1 in floats, perhaps with another cell or a softmax."""

    def __init__(self, row: Row, config: Config, cell: Any):
        super().__init__(config)
        self.row, self.cell = row, cell
        if cell is not None:
            for name in ("enter", "enter_bias", "gates", "gates_bias", "leave"):
                delattr(self, name)

    def rows(self, last: Tensor, words: Tensor) -> Tensor:
        if self.row.owners:
            return super().rows(last, words)
        parts, offset = [], 0
        for context, bits in zip(self.config.contexts, self.config.table_bits, strict=True):
            key = context_keys(last, words, context)
            parts.append(shift_right(key, 64 - bits) + offset)
            offset += 1 << bits
        return torch.stack(parts, dim=-1)

    def initial_state(self, batch: int) -> State:
        state = super().initial_state(batch)
        if self.cell is None:
            return state
        h = _each(self.cell.state(batch), lambda s: s.to(self.device))
        return CellState(state.history, state.words, h)

    def forward(self, text: Tensor, state: State, quantise: bool = False) -> tuple[Tensor, State]:
        if self.cell is None:
            return super().forward(text, state, quantise=False)
        embedded, history, words = self.embed(text, state)
        embedded = embedded.clamp(-LIMIT, LIMIT)
        y, h = self.cell.run(embedded, state.h)
        features = torch.cat([y, embedded], dim=2)
        return features, CellState(history, words, _each(h, Tensor.detach))

    def loss(self, features: Tensor, text: Tensor, quantise: bool = False) -> Tensor:
        if not self.row.softmax:
            return super().loss(features, text, quantise=False)
        logits = nn.functional.linear(features, self.out, self.out_bias)
        return nn.functional.cross_entropy(logits.view(-1, 256), text.view(-1).long())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path)
    parser.add_argument("rows", nargs="*", help=", ".join(ROWS))
    parser.add_argument("--budget", type=float, default=1.0, help="million multiply-adds a byte")
    parser.add_argument("--bytes", type=int, default=16_000_000)
    parser.add_argument("--lanes", type=int, default=160)
    parser.add_argument("--mix")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    torch.sparse.check_sparse_tensor_invariants.disable()
    corpus = Corpus([arguments.shards], parse_mix(arguments.mix))
    sample = torch.from_numpy(sample_text(corpus, min(32_000_000, 8 * arguments.bytes), 1))
    print("| row | units | parameters | kB/s trained | mean | by source |", flush=True)
    print("|---|---:|---:|---:|---:|---|", flush=True)
    for name in arguments.rows or ROWS:
        row = ROWS[name]
        settings = {"lanes": arguments.lanes, "warmup": 100, **row.options}
        options = Options(total=arguments.bytes, **settings)
        hidden = solve(row.cost, arguments.budget * 1e6)
        bits = [BITS[c] + row.more_bits * (c > 1) for c in row.contexts]
        config = Config(row.outputs * hidden, row.blocks, EMBED, [*row.contexts], bits)
        torch.manual_seed(options.seed)
        cell = row.cell(EMBED, hidden) if row.cell else None
        model = Predictor(row, config, cell)
        model.check = choose_checks(sample, config)
        model.to(arguments.device)
        trainer = Trainer(corpus, model, options)
        began = time.monotonic()
        while trainer.step < trainer.steps:
            trainer.advance()
        seconds = time.monotonic() - began
        held = {source: evaluate(model, text) for source, text in corpus.held_out().items()}
        parameters = sum(p.numel() for p in trainer.dense)
        print(
            f"| {name} | {hidden} | {parameters / 1e6:.2f} M | {options.total / seconds / 1e3:.1f}"
            f" | {sum(held.values()) / len(held):.3f} | "
            + ", ".join(f"{source} {bpb:.3f}" for source, bpb in held.items())
            + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()

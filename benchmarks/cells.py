"""Recurrent cells at equal multiply-adds a byte: which one predicts best?

    python benchmarks/cells.py SHARDS [--budget 1] [--bytes 16M] [--mix ...] [CELL...]

Trains each cell in float32 from the same seed on the same bytes in the same order, with the same
learning-rate schedule, and prints its loss on the shards' held-out heads. Every row but those that
say so reads the same n-gram embeddings, has no slots and ends in the same binary-tree output.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nzip.train.command import keep_freed_memory, parse_mix
from nzip.train.data import Corpus
from nzip.train.loop import Options, Trainer, evaluate, sample_text
from nzip.train.model import (
    HISTORY,
    M1,
    Config,
    Output,
    _Lstm,
    choose_checks,
    context_keys,
    contexts,
    table_rows,
)

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


def solve(cost: Callable[[int], int], budget: float) -> int:
    """The largest multiple of 16 whose cost is within the budget."""
    hidden = 16
    while cost(hidden + 16) <= budget:
        hidden += 16
    return hidden


@dataclass
class Row:
    """A cell of ``hidden`` units for a budget, and what differs around it."""

    cell: Callable[[int, int], nn.Module] = Lstm
    cost: Callable[[int], int] = lambda h: 4 * h * (h + EMBED) + 8 * h
    outputs: int = 1  # times ``hidden`` are read by the output layer
    orders: tuple[int, ...] = (1, 2, 3, 4, 6)
    table_bits: tuple[int, ...] = (8, 13, 14, 15, 15)
    slot_bits: tuple[int, ...] = ()
    softmax: bool = False
    options: tuple[tuple[str, float], ...] = ()


ROWS = {
    "lstm": Row(),
    "gru": Row(Gru, lambda h: 3 * h * (h + EMBED) + 8 * h),
    "two lstm": Row(
        lambda i, h: Stack(Lstm, i, h), lambda h: 4 * h * (3 * h + EMBED) + 16 * h, outputs=2
    ),
    "two gated linear": Row(GatedLinear, lambda h: 10 * h * h + EMBED * h + 8 * h),
    "lstm, softmax": Row(cost=lambda h: 4 * h * (h + EMBED) + 256 * (h + EMBED), softmax=True),
    "lstm, last byte only": Row(orders=(1,), table_bits=(8,)),
    "lstm, last 3 bytes": Row(orders=(1, 2, 3), table_bits=(8, 13, 14)),
    "lstm, tables of 4 times the rows": Row(table_bits=(8, 15, 16, 17, 17)),
    "lstm, 5 x 65,536 slots": Row(slot_bits=(16,) * 5),
    "lstm, table rate / 3": Row(options=(("table_rate", 7.0),)),
    "lstm, table rate x 3": Row(options=(("table_rate", 60.0),)),
}


@dataclass
class State:
    """History uint8 [HISTORY, B] and whatever the cell carries."""

    history: Tensor
    cell: list

    def reset(self, fresh: Tensor) -> None:
        """Start the lanes anew that ``fresh``, bool [B], names."""
        self.history = self.history.masked_fill(fresh, 0)
        self.cell = _each(self.cell, lambda s: s * (~fresh).unsqueeze(1))


def _each(state, change: Callable[[Tensor], Tensor]):
    return [_each(s, change) for s in state] if isinstance(state, list) else change(state)


class Predictor(M1):
    """M1 with another cell, in floats."""

    def __init__(self, cell: nn.Module, config: Config, softmax: bool):
        super().__init__(config)
        del self.gates, self.gate_bias
        self.cell, self.softmax = cell, softmax

    @property
    def gates(self) -> Tensor:
        """For its device."""
        return self.out

    def initial_state(self, batch: int) -> State:
        device = self.out.device
        history = torch.zeros(HISTORY, batch, dtype=torch.uint8, device=device)
        return State(history, _each(self.cell.state(batch), lambda s: s.to(device)))

    def forward(self, text: Tensor, state: State, quantise: bool = False):
        steps, batch = text.shape
        joined = torch.cat([state.history, text])
        context = contexts(joined)
        x = self.table(table_rows(context, self.config).view(steps * batch, -1))
        x = x.clamp(-1, 1).view(steps, batch, -1)
        h, cell = self.cell(x, state.cell)
        keys = [context_keys(context, order) for order in self.config.slot_orders]
        new = State(joined[steps:], _each(cell, Tensor.detach))
        return Output(torch.cat([h, x], dim=-1), keys), new

    def loss(self, output: Output, text: Tensor, quantise: bool = False) -> Tensor:
        if not self.softmax:
            return super().loss(output, text, quantise=False)
        logits = nn.functional.linear(output.features, self.out, self.out_bias)
        return nn.functional.cross_entropy(logits.view(-1, 256), text.view(-1).long())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path)
    parser.add_argument("cells", nargs="*", help=", ".join(ROWS))
    parser.add_argument("--budget", type=float, default=1.0, help="million multiply-adds a byte")
    parser.add_argument("--bytes", type=int, default=16_000_000)
    parser.add_argument("--lanes", type=int, default=160)
    parser.add_argument("--mix")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.sparse.check_sparse_tensor_invariants.disable()
    corpus = Corpus([arguments.shards], parse_mix(arguments.mix))
    print("| cell | units | parameters | kB/s trained | mean | by source |", flush=True)
    print("|---|---:|---:|---:|---:|---|", flush=True)
    for name in arguments.cells or ROWS:
        row = ROWS[name]
        options = Options(
            total=arguments.bytes, lanes=arguments.lanes, warmup=100, **dict(row.options)
        )
        hidden = solve(row.cost, arguments.budget * 1e6)
        slots = [2, 3, 4, 5, 6][: len(row.slot_bits)]
        config = Config(
            row.outputs * hidden, EMBED, [*row.orders], [*row.table_bits], slots, [*row.slot_bits]
        )
        torch.manual_seed(options.seed)
        model = Predictor(row.cell(EMBED, hidden), config, row.softmax)
        if slots:
            sample = torch.from_numpy(sample_text(corpus, options.sample, options.seed))
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

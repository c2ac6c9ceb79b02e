"""Trains several networks at once on shared tables, on one GPU.

All steps of the forward and backward passes are Triton kernels, except for the matrix products,
which torch computes in bfloat16. They compute what ``nzip.train.step`` computes; with
``TRITON_INTERPRET=1`` they run on a CPU, slowly, and tests compare the two.

A step reads N = steps * lanes bytes, in the order [steps, lanes].
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from .model import (
    ACT_MAX,
    ACT_SCALE,
    M1,
    MULT_UNIT,
    ROW_MAX,
    ROW_STEPS,
    UNITS_MULT_UNIT,
    UNITS_ONE,
    VALUE_MAX,
    WEIGHT_MAX,
)

_SCALE = tl.constexpr(float(ACT_SCALE))
_MAX = tl.constexpr(float(ACT_MAX))
_REACH = tl.constexpr(ACT_MAX / ACT_SCALE)
_VALUE = tl.constexpr(VALUE_MAX)
_WEIGHT = tl.constexpr(float(WEIGHT_MAX))
_LEAST = tl.constexpr(UNITS_ONE**-2)
_ROW = tl.constexpr(float(ROW_MAX))
_STEPS = tl.constexpr(float(ROW_STEPS))


@triton.jit
def _clamp(x, limit):
    return tl.minimum(tl.maximum(x, -limit), limit)


@triton.jit
def _round(x):
    return tl.floor(x + 0.5)


@triton.jit
def _tile(rows, columns, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Row and column numbers of this program's part of a matrix, and a mask of those that exist."""
    i = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    j = tl.arange(0, BLOCK)[None, :]
    return i, j, (i < rows) & (j < columns)


@triton.jit
def _of_gates(numbers, j, hidden, mask):
    """The parts of 3 * ``hidden`` numbers for the two gates and the value."""
    a = tl.load(numbers + j, mask=mask, other=0.0)
    o = tl.load(numbers + hidden + j, mask=mask, other=0.0)
    v = tl.load(numbers + 2 * hidden + j, mask=mask, other=0.0)
    return a, o, v


@triton.jit
def _quantise(weight, ints, real, scale, unit, columns, BLOCK: tl.constexpr):
    """Quantise a row of a matrix: its integers, their real values, and the scale of a product."""
    row = tl.program_id(0)
    j = tl.arange(0, BLOCK)
    w = tl.load(weight + row * columns + j, mask=j < columns, other=0.0)
    mult = tl.maximum(tl.ceil(tl.max(tl.abs(w), axis=0) / (_WEIGHT * unit)), 1.0) * unit
    q = _round(w / mult)
    tl.store(ints + row * columns + j, q.to(ints.dtype.element_ty), mask=j < columns)
    tl.store(real + row * columns + j, (q * mult).to(real.dtype.element_ty), mask=j < columns)
    tl.store(scale + row, mult / _SCALE)


@triton.jit
def _normalise_forward(
    start, product, scale, bias, x, inverse, unit, stride, n, hidden,
    FIRST: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """x = start + scaled product (FIRST: bias + scaled product); unit = x over its rms, rounded."""
    i, j, mask = _tile(n, hidden, ROWS, BLOCK)
    place = i * hidden + j
    v = tl.load(product + place, mask=mask, other=0.0).to(tl.float32)
    v *= tl.load(scale + j, mask=j < hidden, other=0.0)
    if FIRST:
        v += tl.load(bias + j, mask=j < hidden, other=0.0)
    else:
        v += tl.load(start + place, mask=mask, other=0.0)
    tl.store(x + place, v, mask=mask)
    mean = tl.sum(v * v, axis=1)[:, None] / hidden
    k = 1.0 / tl.sqrt(tl.maximum(mean, _LEAST))
    tl.store(inverse + i, k, mask=i < n)
    u = _clamp(_round(v * (k * _SCALE)), _MAX)
    tl.store(unit + i * stride + j, u.to(unit.dtype.element_ty), mask=mask)


@triton.jit
def _normalise_backward(
    gradient, stride, x, inverse, dx, copy, n, hidden,
    LAST: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dx += the gradient of the units, taken back through the normalisation (LAST: dx = that)."""
    i, j, mask = _tile(n, hidden, ROWS, BLOCK)
    place = i * hidden + j
    k = tl.load(inverse + i, mask=i < n, other=0.0)
    y = tl.load(x + place, mask=mask, other=0.0) * k
    d = tl.load(gradient + i * stride + j, mask=mask, other=0.0).to(tl.float32)
    d = tl.where(tl.abs(y) > _REACH, 0.0, d)
    slope = tl.sum(d * y, axis=1)[:, None] / hidden
    r = (d - y * slope) * k
    if not LAST:
        r += tl.load(dx + place, mask=mask, other=0.0)
    tl.store(dx + place, r, mask=mask)
    tl.store(copy + place, r.to(copy.dtype.element_ty), mask=mask)


@triton.jit
def _sigmoid(z):
    return 1.0 / (1.0 + tl.exp(-z))


@triton.jit
def _recurrence_forward(
    product, scale, bias, h, hs, shown, lanes, hidden, STEPS: tl.constexpr, BLOCK: tl.constexpr
):
    """h[t] = v + a (h[t - 1] - v), shown = o h, rounded, for some units of some lanes."""
    i = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    mask = i < lanes * hidden
    lane, j = i // hidden, i % hidden
    scale_a, scale_o, scale_v = _of_gates(scale, j, hidden, mask)
    bias_a, bias_o, bias_v = _of_gates(bias, j, hidden, mask)
    state = tl.load(h + i, mask=mask, other=0.0)
    p = product + lane * 3 * hidden + j
    at = i
    for _ in range(STEPS):
        a = _sigmoid(tl.load(p, mask=mask, other=0.0).to(tl.float32) * scale_a + bias_a)
        o = _sigmoid(tl.load(p + hidden, mask=mask, other=0.0).to(tl.float32) * scale_o + bias_o)
        v = tl.load(p + 2 * hidden, mask=mask, other=0.0).to(tl.float32) * scale_v + bias_v
        v = _clamp(v, _VALUE)
        state = v + a * (state - v)
        tl.store(hs + at, state.to(hs.dtype.element_ty), mask=mask)
        y = _clamp(_round(state * o * _SCALE), _MAX)
        tl.store(shown + at, y.to(shown.dtype.element_ty), mask=mask)
        p += lanes * 3 * hidden
        at += lanes * hidden
    tl.store(h + i, state, mask=mask)


@triton.jit
def _recurrence_backward(
    gradient, product, scale, bias, hs, dz, dbias, lanes, hidden,
    STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of the gates' and values' logits; dbias [lanes, 3 hidden]: sums over the steps."""
    i = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    mask = i < lanes * hidden
    lane, j = i // hidden, i % hidden
    scale_a, scale_o, scale_v = _of_gates(scale, j, hidden, mask)
    bias_a, bias_o, bias_v = _of_gates(bias, j, hidden, mask)
    carry = tl.zeros([BLOCK], tl.float32)
    sum_a = tl.zeros([BLOCK], tl.float32)
    sum_o = tl.zeros([BLOCK], tl.float32)
    sum_v = tl.zeros([BLOCK], tl.float32)
    at = i + (STEPS - 1) * lanes * hidden
    wide = lane * 3 * hidden + j + (STEPS - 1) * lanes * 3 * hidden
    for _ in range(STEPS):
        a = _sigmoid(
            tl.load(product + wide, mask=mask, other=0.0).to(tl.float32) * scale_a + bias_a
        )
        o = tl.load(product + wide + hidden, mask=mask, other=0.0).to(tl.float32)
        o = _sigmoid(o * scale_o + bias_o)
        v = tl.load(product + wide + 2 * hidden, mask=mask, other=0.0).to(tl.float32)
        v = v * scale_v + bias_v
        now = tl.load(hs + at, mask=mask, other=0.0).to(tl.float32)
        dy = tl.load(gradient + at, mask=mask, other=0.0).to(tl.float32)
        dy = tl.where(tl.abs(now * o) > _REACH, 0.0, dy)
        whole = carry + dy * o
        carry = whole * a
        taken = whole - carry
        da = (now - _clamp(v, _VALUE)) * taken
        do = dy * now * o * (1.0 - o)
        dv = tl.where(tl.abs(v) > _VALUE, 0.0, taken)
        tl.store(dz + wide, da.to(dz.dtype.element_ty), mask=mask)
        tl.store(dz + wide + hidden, do.to(dz.dtype.element_ty), mask=mask)
        tl.store(dz + wide + 2 * hidden, dv.to(dz.dtype.element_ty), mask=mask)
        sum_a += da
        sum_o += do
        sum_v += dv
        wide -= lanes * 3 * hidden
        at -= lanes * hidden
    tl.store(dbias + lane * 3 * hidden + j, sum_a, mask=mask)
    tl.store(dbias + lane * 3 * hidden + hidden + j, sum_o, mask=mask)
    tl.store(dbias + lane * 3 * hidden + 2 * hidden + j, sum_v, mask=mask)


@triton.jit
def _tree_loss(logits, scale, bias, text, nats, n, ROWS: tl.constexpr):
    """The nats of each byte; the gradients of the logits overwrite the products."""
    i = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    node = tl.arange(0, 256)[None, :]
    mask = i < n
    byte = tl.load(text + i, mask=mask, other=0).to(tl.int32)
    z = tl.load(logits + i * 256 + node, mask=mask & (node >= 0), other=0.0).to(tl.float32)
    z = z * tl.load(scale + node) + tl.load(bias + node)
    sign = tl.zeros([ROWS, 256], tl.float32)  # on the byte's path 1 for a bit 0, -1 for 1; else 0
    for depth in tl.static_range(8):
        here = ((byte | 256) >> (8 - depth)) == node
        sign = tl.where(here, 1.0 - 2.0 * ((byte >> (7 - depth)) & 1).to(tl.float32), sign)
    wrong = _sigmoid(z * sign)  # the probability of the other bit
    cost = tl.maximum(z * sign, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(z)))
    tl.store(nats + i, tl.sum(tl.where(sign == 0.0, 0.0, cost), axis=1)[:, None], mask=mask)
    d = (wrong * sign).to(logits.dtype.element_ty)
    tl.store(logits + i * 256 + node, d, mask=mask & (node >= 0))


@triton.jit
def _embed(
    table, rows, embedded, n, embed,
    CONTEXTS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The sums of the quantised rows, as integer activations."""
    i, k, mask = _tile(n, embed, ROWS, BLOCK)
    total = tl.zeros([ROWS, BLOCK], tl.float32)
    for c in range(CONTEXTS):
        row = tl.load(rows + i * CONTEXTS + c, mask=i < n, other=0).to(tl.int64)
        total += tl.load(table + row * embed + k, mask=mask, other=0.0).to(tl.float32)
    e = _clamp(_round(total / _STEPS), _MAX)
    tl.store(embedded + i * embed + k, e.to(embedded.dtype.element_ty), mask=mask)


@triton.jit
def _embed_backward(
    embedded, narrow, wide, stride, total, weight, n, embed,
    FIRST: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """total += weight (narrow + wide), where the embedding is in range; stride is that of wide."""
    i, k, mask = _tile(n, embed, ROWS, BLOCK)
    g = tl.load(narrow + i * embed + k, mask=mask, other=0.0).to(tl.float32)
    g += tl.load(wide + i * stride + k, mask=mask, other=0.0).to(tl.float32)
    e = tl.load(embedded + i * embed + k, mask=mask, other=0.0).to(tl.float32)
    g = tl.where(tl.abs(e) > _MAX - 0.5, 0.0, g * weight)
    if not FIRST:
        g += tl.load(total + i * embed + k, mask=mask, other=0.0)
    tl.store(total + i * embed + k, g, mask=mask)


@triton.jit
def _scatter(
    total, rows, sums, n, embed,
    CONTEXTS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add the gradient of an embedding to the gradients of its rows."""
    i, k, mask = _tile(n, embed, ROWS, BLOCK)
    g = tl.load(total + i * embed + k, mask=mask, other=0.0)
    for c in range(CONTEXTS):
        row = tl.load(rows + i * CONTEXTS + c, mask=i < n, other=0).to(tl.int64)
        tl.atomic_add(sums + row * embed + k, g, mask=mask)


@triton.jit
def _update_rows(
    table, quantised, state, sums, unit, rate, count, embed, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Adagrad with one state per row; gradients are multiplied by ``unit``, then cleared."""
    i, k, mask = _tile(count, embed, ROWS, BLOCK)
    place = i * embed + k
    g = tl.load(sums + place, mask=mask, other=0.0) * unit
    w = tl.load(table + place, mask=mask, other=0.0)
    s = tl.load(state + i, mask=i < count, other=0.0) + tl.sum(g * g, axis=1)[:, None] / embed
    w -= rate / (tl.sqrt(s) + 1e-10) * g
    tl.store(state + i, s, mask=i < count)
    tl.store(table + place, w, mask=mask)
    tl.store(sums + place, tl.zeros([ROWS, BLOCK], tl.float32), mask=mask)
    fine = _SCALE * _STEPS
    scale = _round(tl.max(tl.abs(w), axis=1)[:, None] * (fine / _ROW))
    scale = tl.minimum(tl.maximum(scale, 1.0), 127.0)
    q = _clamp(_round(w * (fine / scale)), _ROW) * scale
    tl.store(quantised + place, q.to(quantised.dtype.element_ty), mask=mask)


def _power(n: int) -> int:
    return 1 << (n - 1).bit_length()


def _sum_over_lanes(left: Tensor, right: Tensor) -> Tensor:
    """left.T @ right for [n, rows] and [n, columns], as float, summed over parts of n."""
    parts = math.gcd(len(left), 32)
    product = torch.bmm(
        left.view(parts, -1, left.shape[1]).transpose(1, 2),
        right.reshape(parts, -1, right.shape[1]),
    )
    return product.sum(0, dtype=torch.float32)


class Matrix:
    """A matrix as its products need it: integers, real values and scales (see step.Weights)."""

    def __init__(self, weight: Tensor, unit: float, dtype: torch.dtype):
        self.weight, self.unit = weight, unit
        self.ints = torch.empty_like(weight, dtype=dtype)
        self.real = torch.empty_like(weight, dtype=dtype)
        self.scale = torch.empty(len(weight), device=weight.device)

    def quantise(self) -> None:
        """Quantise the weight again, after a step."""
        rows, columns = self.weight.shape
        _quantise[(rows,)](
            self.weight, self.ints, self.real, self.scale, self.unit, columns, BLOCK=_power(columns)
        )


class SharedTables:
    """The tables' rows, their states, and the gradients of a step."""

    def __init__(self, table: Tensor, state: Tensor, contexts: int, n: int, dtype: torch.dtype):
        """table: float [rows, embed]. state: float [rows], Adagrad's, of mean gradients over
        1 / ``unit`` bytes (see update). contexts: their number. n: bytes per step. dtype: of
        activations."""
        device = table.device
        self.table, self.state, self.contexts = table, state, contexts
        self.sums = torch.zeros_like(table)
        self.quantised = torch.empty_like(table, dtype=torch.float16)
        embed = table.shape[1]
        self.embedded = torch.empty(n, embed, dtype=dtype, device=device)
        self.gradient = torch.empty(n, embed, device=device)
        self.update(1.0, 0.0)

    def embed(self, rows: Tensor) -> Tensor:
        """The embeddings, integer activations [n, embed], for rows, int32 [n, contexts]."""
        n, embed = len(rows), self.table.shape[1]
        _embed[(triton.cdiv(n, 8),)](
            self.quantised,
            rows,
            self.embedded,
            n,
            embed,
            CONTEXTS=self.contexts,
            ROWS=8,
            BLOCK=_power(embed),
        )
        return self.embedded[:n]

    def scatter(self, rows: Tensor) -> None:
        """Add ``gradient`` to the gradients of the rows."""
        n, embed = len(rows), self.table.shape[1]
        _scatter[(triton.cdiv(n, 8),)](
            self.gradient,
            rows,
            self.sums,
            n,
            embed,
            CONTEXTS=self.contexts,
            ROWS=8,
            BLOCK=_power(embed),
        )

    def update(self, unit: float, rate: float) -> None:
        """Take a step of Adagrad. unit: a factor for the sums of gradients, to make means."""
        count, embed = self.table.shape
        _update_rows[(triton.cdiv(count, 8),)](
            self.table, self.quantised, self.state, self.sums, unit, rate, count, embed,
            ROWS=8, BLOCK=_power(embed),
        )  # fmt: skip


class Network:
    """Hand-written forward and backward passes of a network. Gradients are sums over bytes."""

    def __init__(self, model: M1, steps: int, lanes: int, device: str, dtype: torch.dtype):
        config = model.config
        self.hidden, self.blocks = config.hidden, config.blocks
        self.embed, self.lanes, self.dtype = config.tables.embed, lanes, dtype
        h, n = self.hidden, steps * lanes
        self.weights = {name: p.detach().clone().to(device) for name, p in model.dense().items()}
        for weight in self.weights.values():
            weight.grad = torch.zeros_like(weight)
        w = self.weights

        def act(*shape: int) -> Tensor:
            return torch.empty(*shape, dtype=dtype, device=device)

        def real(*shape: int) -> Tensor:
            return torch.empty(*shape, device=device)

        self.enter = Matrix(w["enter"], UNITS_MULT_UNIT, dtype)
        self.gates = [Matrix(w[f"gates.{k}"], MULT_UNIT, dtype) for k in range(self.blocks)]
        self.leave = [Matrix(w[f"leave.{k}"], UNITS_MULT_UNIT, dtype) for k in range(self.blocks)]
        self.out = Matrix(w["out"], MULT_UNIT, dtype)
        self.h = torch.zeros(self.blocks, lanes, h, device=device)
        self.x = [real(n, h) for _ in range(self.blocks + 1)]
        self.inverse = [real(n) for _ in range(self.blocks + 1)]
        self.unit = [act(n, h) for _ in range(self.blocks)]
        self.last = act(n, h + self.embed)
        self.product = act(n, h)
        self.product3 = [act(n, 3 * h) for _ in range(self.blocks)]
        self.hs = [
            torch.empty(
                n, h, device=device, dtype=torch.float16 if dtype != torch.float32 else dtype
            )
            for _ in range(self.blocks)
        ]
        self.shown = [act(n, h) for _ in range(self.blocks)]
        self.logits = act(n, 256)
        self.nats = real(n)
        self.dx, self.dcopy, self.dz = real(n, h), act(n, h), act(n, 3 * h)
        self.dlast, self.dembedded = act(n, h + self.embed), act(n, self.embed)
        self.dbias = real(lanes, 3 * h)
        self.rows = 4 if h > 128 else 8

    def quantise(self) -> None:
        """Quantise the weights again, after a step."""
        for matrix in (self.enter, *self.gates, *self.leave, self.out):
            matrix.quantise()

    def forward(self, embedded: Tensor, text: Tensor, h: Tensor) -> Tensor:
        """The nats of each byte of text, float [n].

        embedded: integer activations [n, embed]. text: uint8 [n]. h: the state, float [blocks,
        lanes, hidden], which is updated.
        """
        n, hidden, w = len(embedded), self.hidden, self.weights
        lanes = h.shape[1]
        block = _power(hidden)
        grid = (triton.cdiv(n, self.rows),)
        torch.mm(embedded, self.enter.ints.t(), out=self.product[:n])
        self.last[:n, hidden:] = embedded
        matrix = self.enter
        for k in range(self.blocks + 1):
            ends = k == self.blocks
            unit = self.last if ends else self.unit[k]
            _normalise_forward[grid](
                self.x[k - 1], self.product, matrix.scale, w["enter_bias"], self.x[k],
                self.inverse[k], unit, unit.shape[1], n, hidden,
                FIRST=k == 0, ROWS=self.rows, BLOCK=block,
            )  # fmt: skip
            if ends:
                break
            torch.mm(unit[:n], self.gates[k].ints.t(), out=self.product3[k][:n])
            _recurrence_forward[(triton.cdiv(lanes * hidden, 128),)](
                self.product3[k], self.gates[k].scale, w[f"gates_bias.{k}"], h[k], self.hs[k],
                self.shown[k], lanes, hidden, STEPS=n // lanes, BLOCK=128,
            )  # fmt: skip
            matrix = self.leave[k]
            torch.mm(self.shown[k][:n], matrix.ints.t(), out=self.product[:n])
        torch.mm(self.last[:n], self.out.ints.t(), out=self.logits[:n])
        _tree_loss[(triton.cdiv(n, 4),)](
            self.logits, self.out.scale, w["out_bias"], text, self.nats, n, ROWS=4
        )
        return self.nats[:n]

    def backward(self, tables: SharedTables, weight: float, first: bool) -> None:
        """Set all gradients, after forward() on a whole step.

        ``weight`` times the gradients of the embeddings are added to those of the tables, or
        replace them if ``first``.
        """
        hidden, w, lanes = self.hidden, self.weights, self.lanes
        n = len(self.logits)
        block = _power(hidden)
        grid = (triton.cdiv(n, self.rows),)

        def gradient(name: str, value: Tensor) -> None:
            grad = w[name].grad
            assert grad is not None
            grad.copy_(value)

        torch.mm(self.logits, self.out.real, out=self.dlast)
        gradient("out", _sum_over_lanes(self.logits, self.last) / ACT_SCALE)
        gradient("out_bias", self.logits.sum(0, dtype=torch.float32))
        dunit = self.dlast
        for k in range(self.blocks, -1, -1):
            _normalise_backward[grid](
                dunit, dunit.shape[1], self.x[k], self.inverse[k], self.dx, self.dcopy, n, hidden,
                LAST=k == self.blocks, ROWS=self.rows, BLOCK=block,
            )  # fmt: skip
            if k == 0:
                break
            leave, gates = self.leave[k - 1], self.gates[k - 1]
            gradient(f"leave.{k - 1}", _sum_over_lanes(self.dcopy, self.shown[k - 1]) / ACT_SCALE)
            torch.mm(self.dcopy, leave.real, out=self.product)
            _recurrence_backward[(triton.cdiv(lanes * hidden, 128),)](
                self.product, self.product3[k - 1], gates.scale, w[f"gates_bias.{k - 1}"],
                self.hs[k - 1], self.dz, self.dbias, lanes, hidden, STEPS=n // lanes, BLOCK=128,
            )  # fmt: skip
            gradient(f"gates_bias.{k - 1}", self.dbias.sum(0))
            gradient(f"gates.{k - 1}", _sum_over_lanes(self.dz, self.unit[k - 1]) / ACT_SCALE)
            torch.mm(self.dz, gates.real, out=self.product)
            dunit = self.product
        gradient("enter", _sum_over_lanes(self.dcopy, tables.embedded) / ACT_SCALE)
        gradient("enter_bias", self.dx.sum(0))
        torch.mm(self.dcopy, self.enter.real, out=self.dembedded)
        _embed_backward[(triton.cdiv(n, 8),)](
            tables.embedded, self.dembedded, self.dlast[:, hidden:], hidden + self.embed,
            tables.gradient, weight, n, self.embed,
            FIRST=first, ROWS=8, BLOCK=_power(self.embed),
        )  # fmt: skip

"""Hand-written forward and backward passes of M1 on a CPU: matrix products by torch, the rest in C.

On CPUs with AVX-512-BF16 or AMX the products are computed in bfloat16, which represents the
integers of activations and weights exactly. ``nzip.train.model`` has the same computation under
autograd; tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from . import _cell
from .machine import bfloat16_is_fast
from .model import ACT_SCALE, M1, MULT_UNIT, UNITS_MULT_UNIT, Tables, quantise_rows


class Weights:
    """A matrix in the forms that its products need.

    ints: integers, of the type of activations, [rows, columns]. scale: float [rows], the factor for
    a product of the integers with activations in steps. real: the weights that the integers stand
    for, of the type of activations, [rows, columns].
    """

    def __init__(self, weight: Tensor, unit: float, dtype: torch.dtype, quantise: bool):
        if quantise:
            ints, mult = quantise_rows(weight, unit)
            factor = mult * unit
        else:
            ints, factor = weight, torch.ones(len(weight), 1)
        self.ints = ints.to(dtype)
        self.scale = (factor / ACT_SCALE).view(-1).contiguous()
        self.real = (ints * factor).to(dtype)


class Prepared:
    """All weights of one step, shared by the threads."""

    def __init__(self, model: M1, quantise: bool = True):
        """quantise: round the weights as in a model file; else they are the model's own."""
        self.dtype = torch.bfloat16 if quantise and bfloat16_is_fast() else torch.float32

        def weights(weight: Tensor, unit: float) -> Weights:
            return Weights(weight.detach(), unit, self.dtype, quantise)

        self.quantise = quantise
        self.enter = weights(model.enter, UNITS_MULT_UNIT)
        self.gates = [weights(w, MULT_UNIT) for w in model.gates]
        self.leave = [weights(w, UNITS_MULT_UNIT) for w in model.leave]
        self.out = model.out.detach()
        if quantise:
            ints, mult = quantise_rows(self.out, MULT_UNIT)
            self.out = ints * (mult * MULT_UNIT)
        self.out = self.out.contiguous()


class Lanes:
    """Buffers for one thread's share of the lanes, with their histories and states."""

    def __init__(self, model: M1, steps: int, lanes: int, dtype: torch.dtype | None = None):
        config = model.config
        tables = config.tables
        dtype = dtype or (torch.bfloat16 if bfloat16_is_fast() else torch.float32)
        self.model, self.config, self.dtype = model, config, dtype
        self.places = tables.places()
        self.steps, self.lanes = steps, lanes
        n, h, e, blocks = steps * lanes, config.hidden, tables.embed, config.blocks

        def act(*shape: int) -> Tensor:
            return torch.empty(*shape, dtype=dtype)

        self.rows = torch.empty(n, len(tables.contexts), dtype=torch.int32)
        self.embedded, self.embedded_act = torch.empty(n, e), act(n, e)
        self.product, self.product3 = act(n, h), [act(n, 3 * h) for _ in range(blocks)]
        self.x = [torch.empty(n, h) for _ in range(blocks + 1)]
        self.inverse = [torch.empty(n) for _ in range(blocks + 1)]
        self.unit = [act(n, h) for _ in range(blocks + 1)]
        self.shown = [act(n, h) for _ in range(blocks)]
        self.hs = [torch.empty(steps + 1, lanes, h) for _ in range(blocks)]
        self.trails = np.zeros((lanes, _cell.TRAIL), np.uint8)
        self.h = torch.zeros(blocks, lanes, h)
        # For the backward pass.
        self.dunit, self.dx, self.dcopy = act(n, h), torch.empty(n, h), act(n, h)
        self.dz, self.dact, self.dembedded = act(n, 3 * h), act(n, e), torch.empty(n, e)
        self.carry = torch.empty(lanes, h)
        self.grads = {name: torch.zeros_like(p) for name, p in model.dense().items()}

    def reset(self, fresh: np.ndarray) -> None:
        """Reset the lanes for which ``fresh``, bool [lanes], is true."""
        self.trails[fresh] = 0
        self.h[:, torch.from_numpy(fresh)] = 0

    def forward(self, text: np.ndarray, weights: Prepared, bits: int = 0) -> None:
        """Compute the forward pass for text, uint8 [steps, lanes], contiguous.

        bits: 4 rounds the rows of the tables as in a file; 0 uses them unrounded.
        """
        c, m, embed = self.config, self.model, self.config.tables.embed
        bf16 = self.dtype == torch.bfloat16
        steps, lanes = text.shape
        s = _cell.Shape(steps, lanes, c.hidden, embed, bf16, weights.quantise)
        n = text.size
        self.shape, self.n = s, n
        find = self.places.find
        find(
            m.check.data_ptr(), text.ctypes.data, steps, lanes, self.trails.ctypes.data,
            self.rows.data_ptr(),
        )  # fmt: skip
        self.places.sum(
            m.table.data_ptr(), self.rows.data_ptr(), n, bits, weights.quantise,
            self.embedded.data_ptr(),
        )  # fmt: skip
        s.to_act(self.embedded.data_ptr(), n * embed, self.embedded_act.data_ptr())
        torch.mm(self.embedded_act[:n], weights.enter.ints.t(), out=self.product[:n])
        product, w, start = self.product, weights.enter, 0
        for k in range(c.blocks + 1):
            s.normalise_forward(
                start, product.data_ptr(), w.scale.data_ptr(), 0 if k else m.enter_bias.data_ptr(),
                self.x[k].data_ptr(), self.inverse[k].data_ptr(), self.unit[k].data_ptr(),
            )  # fmt: skip
            if k == c.blocks:
                break
            gates = weights.gates[k]
            torch.mm(self.unit[k][:n], gates.ints.t(), out=self.product3[k][:n])
            self.hs[k][0] = self.h[k]
            s.recurrence_forward(
                self.product3[k].data_ptr(), gates.scale.data_ptr(), m.gates_bias[k].data_ptr(),
                self.hs[k].data_ptr(), self.shown[k].data_ptr(),
            )  # fmt: skip
            self.h[k] = self.hs[k][len(text)]
            w, start = weights.leave[k], self.x[k].data_ptr()
            torch.mm(self.shown[k][:n], w.ints.t(), out=self.product[:n])

    def loss(self, text: np.ndarray, weights: Prepared, factor: float = 0.0) -> float:
        """The loss, in nats, of the text given to forward().

        factor: if not 0, also compute the gradients, times this, of the output layer and its input.
        """
        m, g = self.model, self.grads
        wanted = factor > 0
        return self.shape.tree_loss(
            self.unit[-1].data_ptr(), self.embedded.data_ptr(), text.ctypes.data,
            weights.out.data_ptr(), m.out_bias.data_ptr(), factor,
            self.dunit.data_ptr() if wanted else 0, self.dembedded.data_ptr() if wanted else 0,
            g["out"].data_ptr() if wanted else 0, g["out_bias"].data_ptr() if wanted else 0,
        )  # fmt: skip

    def backward(self, weights: Prepared) -> None:
        """Add the gradients of all other weights to ``grads``; set those of the embeddings."""
        c, m, g, s, n = self.config, self.model, self.grads, self.shape, self.n
        for k in range(c.blocks, -1, -1):
            s.normalise_backward(
                self.dunit.data_ptr(), self.x[k].data_ptr(), self.inverse[k].data_ptr(),
                k == c.blocks, self.dx.data_ptr(), self.dcopy.data_ptr(),
                0 if k else g["enter_bias"].data_ptr(),
            )  # fmt: skip
            dcopy = self.dcopy[:n]
            if k == 0:
                break
            leave, gates = weights.leave[k - 1], weights.gates[k - 1]
            shown, unit, dz = self.shown[k - 1][:n], self.unit[k - 1][:n], self.dz[:n]
            g[f"leave.{k - 1}"].add_(dcopy.t() @ shown, alpha=1 / ACT_SCALE)
            torch.mm(dcopy, leave.real, out=self.product[:n])
            self.carry.zero_()
            s.recurrence_backward(
                self.product.data_ptr(), self.product3[k - 1].data_ptr(), gates.scale.data_ptr(),
                m.gates_bias[k - 1].data_ptr(), self.hs[k - 1].data_ptr(), dz.data_ptr(),
                g[f"gates_bias.{k - 1}"].data_ptr(), self.carry.data_ptr(),
            )  # fmt: skip
            g[f"gates.{k - 1}"].add_(dz.t() @ unit, alpha=1 / ACT_SCALE)
            torch.mm(dz, gates.real, out=self.dunit[:n])
        g["enter"].add_(dcopy.t() @ self.embedded_act[:n], alpha=1 / ACT_SCALE)
        torch.mm(dcopy, weights.enter.real, out=self.dact[:n])
        s.embed_backward(self.embedded.data_ptr(), self.dact.data_ptr(), self.dembedded.data_ptr())


class Rows:
    """Updates of the table by Adagrad, with one state per row.

    A row that was seen n times moves by 1 / sqrt(n): rare rows keep moving; frequent ones do not
    chase the current documents.
    """

    def __init__(self, model: M1, capacity: int, parts: int):
        """capacity: the most rows that a step touches. parts: number of threads that update."""
        self.table, self.places, self.parts = model.table, model.config.tables.places(), parts
        rows, embed = self.table.shape
        self.state = torch.zeros(rows)
        self.place = torch.full((rows,), -1, dtype=torch.int32)
        capacity = min(capacity, rows)
        self.sums = [torch.empty(capacity, embed) for _ in range(parts)]
        self.touched = [torch.empty(capacity, dtype=torch.int32) for _ in range(parts)]

    def update(self, part: int, gradients: list[tuple[Tensor, Tensor]], rate: float) -> None:
        """Take a step on the rows whose number is ``part`` modulo the number of parts.

        gradients: pairs of rows, int32 [n, contexts], and the gradients of their sums, float
        [n, embed].
        """
        count = 0
        sums, touched = self.sums[part], self.touched[part]
        for rows, gradient in gradients:
            count = self.places.gather(
                rows.data_ptr(), gradient.data_ptr(), len(gradient), part, self.parts,
                self.place.data_ptr(), sums.data_ptr(), touched.data_ptr(), count, len(touched),
            )  # fmt: skip
        self.places.update(
            self.table.data_ptr(), self.state.data_ptr(), self.place.data_ptr(),
            sums.data_ptr(), touched.data_ptr(), count, rate,
        )  # fmt: skip


def count_owners(
    batches: Iterator[tuple[np.ndarray, np.ndarray]], tables: Tables, total: int
) -> Tensor:
    """Choose the owners of all rows: the most frequent contexts of each bucket.

    batches: as ``Corpus.batches`` yields them; ``total`` bytes of them are read. Returns the
    owners' check numbers, int16 [buckets, ways].
    """
    places = tables.places()
    kind = np.dtype([("check", "<u2", 8), ("count", "<u4", 8)])
    assert kind.itemsize == _cell.CANDIDATES
    found = np.zeros(tables.buckets, kind)
    trails: np.ndarray | None = None
    done = 0
    for batch, fresh in batches:
        lanes, segment = batch.shape
        if trails is None:
            trails = np.zeros((len(batch), _cell.TRAIL), np.uint8)
        trails[fresh] = 0
        text = np.ascontiguousarray(batch.T)
        places.count(text.ctypes.data, segment, lanes, trails.ctypes.data, found.ctypes.data)
        done += text.size
        if done >= total:
            break
    order = np.argsort(-found["count"].astype(np.int64), axis=1, kind="stable")[:, : tables.ways]
    check = np.take_along_axis(found["check"], order, axis=1)
    return torch.from_numpy(check.astype("<u2").view("<i2"))


def rows_to_change(
    batches: Iterator[tuple[np.ndarray, np.ndarray]], model: M1, total: int, buckets: int
) -> Tensor:
    """Mark the rows of the ``buckets`` buckets that a text uses most, bool [rows].

    The rows for contexts that own none are marked too, in addition to that number. batches, total:
    as for ``count_owners``.
    """
    tables = model.config.tables
    counts = torch.zeros(len(model.table), dtype=torch.int32)
    trails: np.ndarray | None = None
    done = 0
    for batch, fresh in batches:
        if trails is None:
            trails = np.zeros((len(batch), _cell.TRAIL), np.uint8)
        trails[fresh] = 0
        rows = model.find_rows(np.ascontiguousarray(batch.T), trails).flatten()
        counts.index_add_(0, rows, torch.ones_like(rows))
        done += batch.size
        if done >= total:
            break
    contexts = len(tables.contexts)
    asked = counts[contexts:].view(tables.buckets, tables.ways).sum(dim=1)
    most, places = asked.topk(min(buckets, tables.buckets))
    chosen = torch.zeros(tables.buckets, dtype=torch.bool)
    chosen[places[most > 0]] = True
    return torch.cat(
        [torch.ones(contexts, dtype=torch.bool), chosen.repeat_interleave(tables.ways)]
    )

"""The training loop: warm-up, a constant rate, a decay to zero; checkpoints to resume from.

Started by ``torchrun`` it is data-parallel: each process reads its own lanes and gradients are
averaged, so the run has ``lanes`` times the number of processes.
"""

from __future__ import annotations

import copy
import functools
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from . import _cell
from .data import Corpus, Cuts
from .model import M1, Config
from .step import Lanes, Prepared, Rows, count_owners, rows_to_change


@dataclass
class Options:
    """The settings of a run.

    The learning rate is ``rate`` for the dense weights, and ``table_rate`` times that for the rows
    of the tables: each row is seen rarely and must move further. While the rate falls, rows are
    read as they will be in a file, in 4 bits.
    """

    total: int = 300 << 20  # bytes of text
    lanes: int = 160  # per process
    segment: int = 64  # bytes that a lane reads per step
    rate: float = 3e-3
    table_rate: float = 45.0
    warmup: int = 300  # steps
    decay: float = 0.4  # the last part of the run, in which the rate falls to zero
    clip: float = 1.0
    reset: float = 1 / 24  # probability that a lane is reset at a segment
    seed: int = 1
    begin: float = 0.0  # share of the text that is skipped at first
    every: int = 1500  # steps between validations and checkpoints
    patience: int = 0  # stop after this many validations without a gain; 0: never
    sample: int = 400_000_000  # bytes of text that decide which contexts own a row

    @property
    def part(self) -> int:
        """Bytes after which every lane is reset; 0: lanes read whole pieces of documents."""
        return self.segment if self.reset >= 1 else 0


# A run can be resumed with other values of these, as long as its rate has not begun to fall.
FLEXIBLE = ("total", "decay", "every", "patience")


def same_run(saved: dict, options: Options) -> bool:
    """True if a run with the options of a checkpoint can be continued with ``options``."""
    mine = asdict(options)
    return all(saved[name] == mine[name] for name in mine if name not in FLEXIBLE)


@torch.no_grad()
def evaluate(
    model: M1,
    text: bytes,
    quantise: bool = True,
    lanes: int = 32,
    segment: int = 0,
) -> float:
    """Bits per byte on ``text``.

    The text is read in up to ``lanes`` parts, or in parts of ``segment`` bytes; the model is reset
    at each. quantise: compute with the integers of a model file, else with floats.
    """
    lanes = max(1, len(text) // segment if segment else min(lanes, len(text) // 2048))
    length = len(text) // lanes
    data = np.frombuffer(text, np.uint8)[: length * lanes].reshape(lanes, length).T
    steps = min(256, length)
    weights = Prepared(model, quantise)
    reader = Lanes(model, steps, lanes, weights.dtype)
    nats = 0.0
    for start in range(0, length, steps):
        part = np.ascontiguousarray(data[start : start + steps])
        reader.forward(part, weights, 4 if quantise else 0)
        nats += reader.loss(part, weights)
    return nats / (length * lanes) / math.log(2)


def rate_at(step: int, steps: int, options: Options) -> float:
    """Share of the full learning rate: linear warm-up, constant, then 1 - sqrt(progress)."""
    if step < options.warmup:
        return (step + 1) / options.warmup
    begin = steps - options.decay * steps
    return 1.0 if step < begin else 1.0 - math.sqrt((step - begin) / max(1.0, steps - begin))


@contextmanager
def processes() -> Iterator[tuple[int, int]]:
    """(rank, number of processes); sets up their group if ``torchrun`` started this one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0, 1
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield dist.get_rank(), dist.get_world_size()
    finally:
        dist.destroy_process_group()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch run this thread's operations without the help of others.

    They are small. If OpenMP divided them, one thread would wait for the other in a loop, which on
    a busy machine takes most of the time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class CpuEngine:
    """Computes gradients by ``step``, with a part of the lanes in each thread.

    Two threads with one matrix product each are faster than two that share one.
    """

    def __init__(self, model: M1, options: Options, world: int):
        self.model = model
        self.parts = math.gcd(torch.get_num_threads(), options.lanes)
        lanes = options.lanes // self.parts
        self.lanes = [Lanes(model, options.segment, lanes) for _ in range(self.parts)]
        self.pool = ThreadPoolExecutor(self.parts, initializer=torch.set_num_threads, initargs=(1,))
        contexts = len(model.config.tables.contexts)
        self.rows: Rows | None = None
        if not model.config.frozen:
            touched = options.lanes * options.segment * contexts * world
            self.rows = Rows(model, touched, self.parts)

    def reset(self) -> None:
        """Reset all lanes."""
        for lanes in self.lanes:
            lanes.reset(np.ones(lanes.lanes, bool))

    def _gradient(
        self, part: int, batch: np.ndarray, fresh: np.ndarray, weights: Prepared, bits: int
    ) -> float:
        lanes = self.lanes[part]
        text = np.ascontiguousarray(batch[part :: self.parts].T)
        lanes.reset(fresh[part :: self.parts])
        for grad in lanes.grads.values():
            grad.zero_()
        lanes.forward(text, weights, bits)
        nats = lanes.loss(text, weights, 1 / batch.size)
        lanes.backward(weights)
        return nats

    def gradients(self, batch: np.ndarray, fresh: np.ndarray, bits: int) -> float:
        """Set the gradients of the dense weights; return the mean loss in nats per byte.

        batch: uint8 [lanes, segment]. fresh: bool [lanes], the lanes to reset first. bits: 4 reads
        the rows of the tables in 4 bits, 0 as they are.
        """
        weights = Prepared(self.model)
        jobs = [
            self.pool.submit(self._gradient, part, batch, fresh, weights, bits)
            for part in range(self.parts)
        ]
        nats = sum(job.result() for job in jobs)
        for name, parameter in self.model.dense().items():
            parts = [lanes.grads[name] for lanes in self.lanes]
            parameter.grad = functools.reduce(torch.add, parts) if len(parts) > 1 else parts[0]
        return nats / batch.size

    def row_gradients(self) -> list[tuple[Tensor, Tensor]]:
        """Rows, int32 [n, contexts], and the gradients of their sums, float [n, embed]."""
        return [(lanes.rows[: lanes.n], lanes.dembedded[: lanes.n]) for lanes in self.lanes]

    def row_state(self) -> Tensor:
        """Adagrad's state of the table's rows."""
        assert self.rows is not None
        return self.rows.state

    def update_rows(self, gradients: list[tuple[Tensor, Tensor]], rate: float) -> None:
        """Take a step on the table, with gradients as ``row_gradients`` returns them."""
        assert self.rows is not None
        jobs = [
            self.pool.submit(self.rows.update, part, gradients, rate) for part in range(self.parts)
        ]
        for job in jobs:
            job.result()


class TorchEngine:
    """Computes gradients by autograd, for GPUs; the same methods as CpuEngine."""

    def __init__(self, model: M1, options: Options, world: int):
        self.model = model
        self.trails = np.zeros((options.lanes, _cell.TRAIL), np.uint8)
        shape = (model.config.blocks, options.lanes, model.config.hidden)
        self.h = torch.zeros(shape, device=model.device)
        self.state = torch.zeros(len(model.table), device=model.device)
        self._rows = self._embedded = torch.empty(0)

    def reset(self) -> None:
        """Reset all lanes."""
        self.trails[:] = 0
        self.h.zero_()

    def gradients(self, batch: np.ndarray, fresh: np.ndarray, bits: int) -> float:
        """See CpuEngine.gradients."""
        model = self.model
        text = np.ascontiguousarray(batch.T)
        self.trails[fresh] = 0
        self.h[:, torch.from_numpy(fresh).to(self.h.device)] = 0
        self._rows = model.find_rows(text, self.trails).to(model.device)
        self._embedded = model.embed(self._rows, bits).requires_grad_(not model.config.frozen)
        features, self.h = model(self._embedded, self.h)
        loss = model.loss(features, torch.from_numpy(text).to(model.device))
        for parameter in model.dense().values():
            parameter.grad = None
        loss.backward()
        return loss.item()

    def row_gradients(self) -> list[tuple[Tensor, Tensor]]:
        """See CpuEngine.row_gradients."""
        gradient = self._embedded.grad
        assert gradient is not None
        return [(self._rows.flatten(0, 1), gradient.flatten(0, 1))]

    def row_state(self) -> Tensor:
        """Adagrad's state of the table's rows."""
        return self.state

    def update_rows(self, gradients: list[tuple[Tensor, Tensor]], rate: float) -> None:
        """Take a step on the table, with gradients as ``row_gradients`` returns them."""
        rows = torch.cat([r for r, _ in gradients])
        gradient = torch.cat([g for _, g in gradients])
        touched, place = rows.flatten().unique(return_inverse=True)
        sums = gradient.new_zeros(len(touched), gradient.shape[1])
        sums.index_add_(0, place, gradient.repeat_interleave(rows.shape[1], dim=0))
        self.state[touched] += sums.square().mean(dim=1)
        step = rate / (self.state[touched].sqrt() + 1e-10)
        self.model.table.data[touched] -= step.unsqueeze(1) * sums


def _gathered(tensor: Tensor, world: int) -> Tensor:
    """The tensors of all processes, one after another."""
    tensor = tensor.contiguous()
    parts = [torch.empty_like(tensor) for _ in range(world)]
    dist.all_gather(parts, tensor)
    return torch.cat(parts)


class Trainer:
    """One run: model, optimisers and text, and how far it has got."""

    def __init__(
        self,
        corpus: Corpus,
        model: M1,
        options: Options,
        rank: int = 0,
        world: int = 1,
        cuts: Cuts | None = None,
    ):
        self.model, self.options, self.world = model, options, world
        self.step = 0
        self.steps = max(1, options.total // (options.lanes * options.segment * world))
        self.dense = model.dense()
        fused = model.device.type in ("cpu", "cuda")
        self.adam = torch.optim.Adam(self.dense.values(), betas=(0.9, 0.99), fused=fused)
        make = CpuEngine if model.device.type == "cpu" else TorchEngine
        self.engine: CpuEngine | TorchEngine = make(model, options, world)
        seed, begin = options.seed + rank, (options.begin + rank / world) % 1.0
        self.loader = corpus.batches(
            options.lanes, options.segment, seed, options.reset, begin, cuts
        )
        # The next batch is read while this one is trained on.
        self.reader = ThreadPoolExecutor(1)
        self.next = self.reader.submit(self._read)

    def _read(self) -> tuple[dict, tuple[np.ndarray, np.ndarray]]:
        """The loader's state, and the batch that follows it."""
        return self.loader.state(), next(self.loader)

    def advance(self) -> float:
        """Take one step; return the batch's loss in bits per byte."""
        with one_thread():
            return self._advance()

    def _advance(self) -> float:
        _, (batch, fresh) = self.next.result()
        self.next = self.reader.submit(self._read)
        step, options = self.step, self.options
        falling = step >= (1 - options.decay) * self.steps and not self.model.config.frozen
        nats = self.engine.gradients(batch, fresh, 4 if falling else 0)
        if self.world > 1:
            for parameter in self.dense.values():
                gradient = parameter.grad
                assert gradient is not None
                dist.all_reduce(gradient)
                gradient /= self.world
        torch.nn.utils.clip_grad_norm_(self.dense.values(), options.clip)
        rate = options.rate * rate_at(step, self.steps, options)
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        if not self.model.config.frozen:
            gradients = self.engine.row_gradients()
            if self.world > 1:
                rows = torch.cat([r for r, _ in gradients])
                gradient = torch.cat([g for _, g in gradients]) / self.world
                gradients = [(_gathered(rows, self.world), _gathered(gradient, self.world))]
            self.engine.update_rows(gradients, rate * options.table_rate)
        self.step += 1
        return nats / math.log(2)

    def save(self, path: Path) -> None:
        """Write a checkpoint, complete or not at all: weights and states in full precision."""
        partial = path.with_suffix(".tmp")
        model, rows = self.model, {}
        if not model.config.frozen:
            rows = {"table": model.table.data, "state": self.engine.row_state()}
        torch.save(
            {
                "config": model.config.to_dict(),
                "options": asdict(self.options),
                "world": self.world,
                "dense": {name: p.data for name, p in self.dense.items()},
                "check": model.check,
                "adam": self.adam.state_dict(),
                "rows": rows,
                "loader": self.next.result()[0],
                "step": self.step,
                "steps": self.steps,
            },
            partial,
        )
        os.replace(partial, path)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint, with all lanes reset. Raises ValueError for another run's."""
        saved = torch.load(path, weights_only=True, map_location=self.model.device)
        fits = (
            saved["config"] == self.model.config.to_dict()
            and same_run(saved["options"], self.options)
            and saved["world"] == self.world
            # The same total, or the checkpoint's rate had not begun to fall.
            and (
                saved["steps"] == self.steps
                or saved["step"] <= (1 - saved["options"]["decay"]) * saved["steps"]
            )
        )
        if not fits:
            raise ValueError(f"{path} belongs to a run with other settings")
        with torch.no_grad():
            for name, parameter in self.dense.items():
                parameter.copy_(saved["dense"][name])
            if saved["rows"]:
                self.model.table.copy_(saved["rows"]["table"])
                self.engine.row_state().copy_(saved["rows"]["state"])
        self.model.check.copy_(saved["check"])
        self.adam.load_state_dict(saved["adam"])
        self.step = saved["step"]
        self.next.result()
        self.loader.restore(saved["loader"])
        self.next = self.reader.submit(self._read)
        self.engine.reset()


def stable_checkpoint(checkpoint: Path) -> Path:
    """The path of the last checkpoint before the rate falls, from which a longer run can go on."""
    return checkpoint.with_suffix(".stable.ckpt")


def train(
    corpus: Corpus,
    checkpoint: Path,
    start: M1 | Config,
    options: Options,
    report: Callable[[dict], None] = lambda row: None,
    device: str = "cpu",
    cuts: Cuts | None = None,
    buckets: int | None = None,
) -> M1:
    """Train M1, resuming from ``checkpoint`` if it exists, and return the model.

    start: a model to go on from, or the shape of a new one.
    report: called with a dict for each step: step, steps, bpb (running mean), rate (bytes per
    second without validations) and, after a validation, held (bits per byte by source) and seconds.
    cuts: see ``Corpus.batches``.
    buckets: how many buckets of ``start``'s tables may change; None for all.

    The last checkpoint before the rate falls is kept: see ``stable_checkpoint``. Raises ValueError
    for a checkpoint of a run with other settings.
    """
    with processes() as (rank, world):
        torch.manual_seed(options.seed)
        if isinstance(start, Config):
            model = M1(start)
            if not checkpoint.exists():
                lanes, segment = (64, 4096) if not options.part else (320, options.part)
                sample = corpus.batches(lanes, segment, options.seed, 0.0, options.begin, cuts)
                size = min(options.sample, options.total // 2)
                model.check.copy_(count_owners(sample, start.tables, size))
        else:
            model = start
        model.to(device)
        trainer = Trainer(corpus, model, options, rank, world, cuts)
        if checkpoint.exists():
            trainer.restore(checkpoint)
        elif buckets is not None:
            sample = corpus.batches(64, 4096, options.seed, 0.0, options.begin)
            changing = rows_to_change(sample, model, min(options.sample, options.total), buckets)
            state = trainer.engine.row_state()
            state[~changing.to(state.device)] = math.inf  # their steps become zero
        held = corpus.held_out()
        stable = stable_checkpoint(checkpoint)
        best, best_weights, misses = math.inf, None, 0
        running = math.nan
        log = checkpoint.with_suffix(".jsonl").open("a")
        began, first, validating = time.monotonic(), trainer.step, 0.0
        while trainer.step < trainer.steps:
            bpb = trainer.advance()
            step = trainer.step
            read = (step - first) * options.lanes * options.segment * world
            rate = read / (time.monotonic() - began - validating)
            running = bpb if math.isnan(running) else 0.98 * running + 0.02 * bpb
            row: dict = {"step": step, "steps": trainer.steps, "bpb": running, "rate": rate}
            if step % options.every == 0 or step == trainer.steps:
                paused = time.monotonic()
                on_cpu = model if device == "cpu" else copy.deepcopy(model).to("cpu")
                row["held"] = {
                    name: evaluate(on_cpu, text, segment=options.part)
                    for name, text in held.items()
                }
                row["seconds"] = time.monotonic() - began
                mean = sum(row["held"].values()) / len(held)
                if rank == 0:
                    log.write(json.dumps(row) + "\n")
                    log.flush()
                    trainer.save(checkpoint)
                    if step <= (1 - options.decay) * trainer.steps:
                        trainer.save(stable)
                if options.patience:
                    misses = 0 if mean < best else misses + 1
                    if mean < best:
                        best = mean
                        best_weights = {k: v.clone() for k, v in model.state_dict().items()}
                validating += time.monotonic() - paused
            report(row)
            if options.patience and misses >= options.patience:
                break
        log.close()
        if best_weights is not None:
            model.load_state_dict(best_weights)
        return model


def deepen(model: M1, blocks: int) -> M1:
    """A model of ``blocks`` blocks that computes what ``model`` does: the new ones add nothing yet.

    Raises ValueError for fewer blocks than ``model`` has.
    """
    old = model.config.blocks
    if blocks < old:
        raise ValueError("a model can only grow")
    new = M1(replace(model.config, blocks=blocks))
    state = new.state_dict()
    state.update(model.state_dict())
    new.load_state_dict(state)
    with torch.no_grad():
        for leave in list(new.leave)[old:]:
            leave.zero_()
    return new

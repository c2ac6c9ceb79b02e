"""The training loop: warm-up, a constant rate, a decay to zero; checkpoints that it resumes from.

Started by ``torchrun`` it is data-parallel: each process reads lanes of its own and gradients are
averaged, so the run has ``lanes`` times the number of processes.
"""

from __future__ import annotations

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

from .data import Corpus, Cuts
from .model import M1, Config, choose_checks


@dataclass
class Options:
    """What a run depends on; ``total`` is in bytes of text.

    The learning rate is ``rate`` for the dense weights, and ``table_rate`` times that for the
    embedding rows that a step touches: each is seen rarely and must move further.
    """

    total: int = 304_000_000
    lanes: int = 160  # of each process
    segment: int = 64
    rate: float = 3e-3
    table_rate: float = 60.0
    warmup: int = 300  # steps
    decay: float = 0.4  # the last part of the run, in which the rate falls to zero
    clip: float = 1.0
    reset: float = 1 / 24
    seed: int = 1
    begin: float = 0.0  # share of the text that is passed over at first
    every: int = 1500  # steps between validations and checkpoints
    patience: int = 0  # stop after so many validations without a gain; 0: never
    sample: int = 32_000_000  # bytes of text that decide which contexts own a row

    @property
    def part(self) -> int:
        """Bytes after which every lane starts afresh; 0: pieces of documents are read whole."""
        return self.segment if self.reset >= 1 else 0


# A run may be resumed with other values of these, as long as its rate has not begun to fall.
FLEXIBLE = ("total", "decay", "every", "patience")


def same_run(saved: dict, options: Options) -> bool:
    """True if a checkpoint's options allow it to go on under ``options``."""
    mine = asdict(options)
    return all(saved[name] == mine[name] for name in mine if name not in FLEXIBLE)


@torch.no_grad()
def evaluate(
    model: M1, text: bytes, quantise: bool = True, lanes: int = 64, segment: int = 0
) -> float:
    """Bits per byte on ``text``, read in up to ``lanes`` parts, or in parts of ``segment`` bytes,
    that each start afresh."""
    lanes = max(1, len(text) // segment if segment else min(lanes, len(text) // 2048))
    length = len(text) // lanes
    data = np.frombuffer(text, np.uint8)[: length * lanes].reshape(lanes, length)
    whole = torch.from_numpy(data.T.copy()).to(model.device)
    state = model.initial_state(lanes)
    nats = 0.0
    for start in range(0, length, 256):
        part = whole[start : start + 256]
        features, state = model(part, state, quantise)
        nats += model.loss(features, part, quantise).item() * part.numel()
    return nats / (length * lanes) / math.log(2)


def rate_at(step: int, steps: int, options: Options) -> float:
    """Share of the full learning rate: linear warm-up, constant, then 1 - sqrt of the progress."""
    if step < options.warmup:
        return (step + 1) / options.warmup
    begin = steps - options.decay * steps
    return 1.0 if step < begin else 1.0 - math.sqrt((step - begin) / max(1.0, steps - begin))


@contextmanager
def processes() -> Iterator[tuple[int, int]]:
    """(rank, number of processes); a group of them if ``torchrun`` started this one."""
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


def average_gradients(model: M1, world: int) -> None:
    """Average over the processes; of sparse gradients, the rows that any of them touched."""
    for parameter in model.parameters():
        grad = parameter.grad
        if grad is None:
            continue
        if not grad.is_sparse:
            dist.all_reduce(grad)
            grad /= world
            continue
        grad = grad.coalesce()
        size = torch.tensor([grad.indices().shape[1]], device=grad.device)
        sizes = [torch.zeros_like(size) for _ in range(world)]
        dist.all_gather(sizes, size)
        most = int(max(s.item() for s in sizes))
        rows = torch.zeros(most, dtype=torch.int64, device=grad.device)
        values = torch.zeros(most, grad.shape[1], device=grad.device)
        rows[: size.item()] = grad.indices()[0]
        values[: size.item()] = grad.values()
        all_rows = [torch.zeros_like(rows) for _ in range(world)]
        all_values = [torch.zeros_like(values) for _ in range(world)]
        dist.all_gather(all_rows, rows)
        dist.all_gather(all_values, values)
        parameter.grad = torch.sparse_coo_tensor(
            torch.cat(all_rows).unsqueeze(0),
            torch.cat(all_values) / world,
            grad.shape,
            check_invariants=False,
        )


def sample_text(corpus: Corpus, size: int, seed: int, segment: int = 4096) -> np.ndarray:
    """About ``size`` bytes of the training mix in lanes that start afresh, uint8 [T, B]."""
    parts, total = [], 0
    segment = min(segment, 4096 if corpus.smallest() >= 4096 else 64)
    for batch, _ in corpus.batches(64, segment, seed, 0.0):
        parts.append(batch.T)
        total += batch.size
        if total >= size:
            return np.concatenate(parts, axis=1)
    raise AssertionError("the batches never end")


class Trainer:
    """One run: model, optimisers, text, and where they stand."""

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
        self.dense = [p for n, p in model.named_parameters() if n != "table.weight"]
        self.optimisers: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.Adam(self.dense, betas=(0.9, 0.99)), 1.0)
        ]
        if not model.config.tables:
            # A row that was seen n times moves by 1 / sqrt(n): what is rare still moves, and what
            # is frequent does not follow the documents of the moment.
            table = torch.optim.Adagrad([model.table.weight], eps=1e-8)
            self.optimisers.append((table, options.table_rate))
        # On a CPU each thread computes the gradient of a part of the lanes: two matrix products
        # side by side are faster than one that two threads share.
        threads = torch.get_num_threads() if model.device.type == "cpu" else 1
        self.parts = math.gcd(threads, options.lanes)
        self.pool = ThreadPoolExecutor(self.parts, initializer=torch.set_num_threads, initargs=(1,))
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        seed, begin = options.seed + rank, (options.begin + rank / world) % 1.0
        self.batches = corpus.batches(
            options.lanes, options.segment, seed, options.reset, begin, cuts
        )
        self._start()

    def _start(self) -> None:
        lanes = self.options.lanes // self.parts
        self.states = [self.model.initial_state(lanes) for _ in range(self.parts)]

    def _gradient(self, part: int, text: Tensor, fresh: Tensor) -> tuple[float, tuple[Tensor, ...]]:
        """Loss in nats a byte, and the gradient, of a part of the lanes."""
        lanes = slice(part, None, self.parts)
        text = text[:, lanes].contiguous()
        self.states[part].reset(fresh[lanes])
        features, self.states[part] = self.model(text, self.states[part])
        loss = self.model.loss(features, text) / self.parts
        return loss.item(), torch.autograd.grad(loss, self.parameters)

    def advance(self) -> float:
        """One step; the batch's loss in bits per byte."""
        model, device = self.model, self.model.device
        batch, fresh = next(self.batches)
        text = torch.from_numpy(np.ascontiguousarray(batch.T)).to(device)
        starts = torch.from_numpy(fresh).to(device)
        jobs = [self.pool.submit(self._gradient, part, text, starts) for part in range(self.parts)]
        losses, gradients = zip(*(job.result() for job in jobs), strict=True)
        for parameter, parts in zip(self.parameters, zip(*gradients, strict=True), strict=True):
            parameter.grad = functools.reduce(torch.add, parts)
        if self.world > 1:
            average_gradients(model, self.world)
        torch.nn.utils.clip_grad_norm_(self.dense, self.options.clip)
        rate = self.options.rate * rate_at(self.step, self.steps, self.options)
        for optimiser, factor in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        return sum(losses) / math.log(2)

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        partial = path.with_suffix(".tmp")
        torch.save(
            {
                "config": self.model.config.to_dict(),
                "options": asdict(self.options),
                "world": self.world,
                "model": self.model.state_dict(),
                "optimisers": [optimiser.state_dict() for optimiser, _ in self.optimisers],
                "step": self.step,
                "steps": self.steps,
            },
            partial,
        )
        os.replace(partial, path)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint. Raises ValueError if it is another run's."""
        saved = torch.load(path, weights_only=True, map_location=self.model.device)
        fits = (
            saved["config"] == self.model.config.to_dict()
            and same_run(saved["options"], self.options)
            and saved["world"] == self.world
            # The same total, or a rate that has not begun to fall in either.
            and (
                saved["steps"] == self.steps
                or saved["step"] <= (1 - saved["options"]["decay"]) * saved["steps"]
            )
        )
        if not fits:
            raise ValueError(f"{path} belongs to a run with other settings")
        self.model.load_state_dict(saved["model"])
        for (optimiser, _), state in zip(self.optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        self.step = saved["step"]
        for _ in range(self.step):  # the loader is deterministic: read on to where the run stopped
            next(self.batches)
        self._start()


def train(
    corpus: Corpus,
    checkpoint: Path,
    start: M1 | Config,
    options: Options,
    report: Callable[[dict], None] = lambda row: None,
    device: str = "cpu",
    cuts: Cuts | None = None,
) -> M1:
    """Train M1, resuming from ``checkpoint`` if it exists, and return the model.

    start: a model to go on from, or the shape of a new one. cuts: see ``Corpus.batches``.
    report: gets a dict for each step: step, steps, bpb (running), and where validated also
    ``held`` (bits per byte by source). The checkpoint that stands before the rate falls is kept as
    ``*.stable.ckpt``: a longer run can go on from it.
    """
    torch.sparse.check_sparse_tensor_invariants.disable()  # else torch warns that they are off
    with processes() as (rank, world):
        torch.manual_seed(options.seed)
        if isinstance(start, Config):
            model = M1(start)
            if not checkpoint.exists():
                size = min(options.sample, options.total)
                sample = sample_text(corpus, size, options.seed, options.part or 4096)
                model.check = choose_checks(torch.from_numpy(sample), start)
        else:
            model = start
        model.to(device)
        trainer = Trainer(corpus, model, options, rank, world, cuts)
        if checkpoint.exists():
            trainer.restore(checkpoint)
        held = corpus.held_out()
        stable = checkpoint.with_suffix(".stable.ckpt")
        best, best_weights, misses = math.inf, None, 0
        running = math.nan
        log = checkpoint.with_suffix(".jsonl").open("a")
        began = time.monotonic()
        while trainer.step < trainer.steps:
            bpb = trainer.advance()
            step = trainer.step
            running = bpb if math.isnan(running) else 0.98 * running + 0.02 * bpb
            row: dict = {"step": step, "steps": trainer.steps, "bpb": running}
            if step % options.every == 0 or step == trainer.steps:
                row["held"] = {
                    name: evaluate(model, text, segment=options.part) for name, text in held.items()
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
            report(row)
            if options.patience and misses >= options.patience:
                break
        log.close()
        if best_weights is not None:
            model.load_state_dict(best_weights)
        return model


def deepen(model: M1, blocks: int) -> M1:
    """A model of so many blocks that computes what ``model`` does: the new ones add nothing yet.

    Raises ValueError if it would be smaller.
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

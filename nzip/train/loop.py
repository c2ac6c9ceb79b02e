"""The training loop: Adam, one learning-rate cycle, checkpoints from which it resumes."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from .data import Corpus
from .model import HISTORY, M1, Config, context_rows


@dataclass
class Options:
    """What a run depends on; ``total`` is in bytes of text."""

    total: int = 304_000_000
    lanes: int = 160
    segment: int = 64
    rate: float = 3e-3
    warmup: int = 300  # steps
    clip: float = 1.0
    reset: float = 1 / 24
    seed: int = 1
    every: int = 1500  # steps between validations and checkpoints


class Batcher:
    """Turns byte batches into model input and keeps each lane's byte history."""

    def __init__(self, lanes: int, config: Config):
        self.history = np.zeros((lanes, HISTORY), np.uint8)
        self.config = config

    def rows(self, batch: np.ndarray, fresh: np.ndarray) -> torch.Tensor:
        """batch: uint8 [B, T]; fresh: bool [B]. Returns int64 [T, B, orders]."""
        self.history[fresh] = 0
        joined = np.concatenate([self.history, batch], axis=1)
        self.history = joined[:, -HISTORY:].copy()
        rows = context_rows(joined[:, :-1], self.config)
        return torch.from_numpy(np.ascontiguousarray(rows.transpose(1, 0, 2)))


@torch.no_grad()
def evaluate(model: M1, text: bytes, quantise: bool = True, lanes: int = 64) -> float:
    """Bits per byte on ``text``, read in up to ``lanes`` parts that each start afresh."""
    lanes = max(1, min(lanes, len(text) // 2048))
    length = len(text) // lanes
    data = np.frombuffer(text, np.uint8)[: length * lanes].reshape(lanes, length)
    batcher = Batcher(lanes, model.config)
    state = model.initial_state(lanes)
    fresh = np.ones(lanes, bool)
    nats = 0.0
    for start in range(0, length, 256):
        part = data[:, start : start + 256]
        features, state = model(batcher.rows(part, fresh), state, quantise)
        fresh[:] = False
        target = torch.from_numpy(part.T.astype(np.int64))
        nats += float(model.loss(features, target, quantise)) * part.size
    return nats / (length * lanes) / math.log(2)


def rate_at(step: int, steps: int, options: Options) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < options.warmup:
        return options.rate * (step + 1) / options.warmup
    return options.rate * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def train(
    corpus: Corpus,
    checkpoint: Path,
    config: Config,
    options: Options,
    report: Callable[[dict], None] = lambda row: None,
) -> M1:
    """Train M1, resuming from ``checkpoint`` if it exists, and return the model.

    ``report`` gets a dict for each step: step, steps, bpb (running), and where validated also
    ``held`` (bits per byte by source).
    """
    torch.manual_seed(options.seed)
    model = M1(config)
    dense = [p for n, p in model.named_parameters() if n != "table.weight"]
    optimisers = [
        torch.optim.Adam(dense, betas=(0.9, 0.99)),
        torch.optim.SparseAdam(list(model.table.parameters()), betas=(0.9, 0.99)),
    ]
    steps = max(1, options.total // (options.lanes * options.segment))
    first = 0
    batches = corpus.batches(options.lanes, options.segment, options.seed, options.reset)
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        if saved["config"] != config.to_dict() or saved["options"] != asdict(options):
            raise ValueError(f"{checkpoint} belongs to a run with other settings")
        model.load_state_dict(saved["model"])
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        first = saved["step"]
        for _ in range(first):  # the loader is deterministic: read on to where the run stopped
            next(batches)
    held = corpus.held_out()
    batcher = Batcher(options.lanes, config)
    state = model.initial_state(options.lanes)
    running = math.nan
    log = checkpoint.with_suffix(".jsonl").open("a")
    began = time.monotonic()
    for step in range(first, steps):
        batch, fresh = next(batches)
        if step == first:
            fresh[:] = True
        keep = torch.from_numpy(~fresh).float().unsqueeze(1)
        state = (state[0] * keep, state[1] * keep)
        features, state = model(batcher.rows(batch, fresh), state)
        loss = model.loss(features, torch.from_numpy(batch.T.astype(np.int64)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(dense, options.clip)
        rate = rate_at(step, steps, options)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        bpb = loss.item() / math.log(2)
        running = bpb if math.isnan(running) else 0.98 * running + 0.02 * bpb
        row: dict = {"step": step + 1, "steps": steps, "bpb": running}
        if (step + 1) % options.every == 0 or step + 1 == steps:
            row["held"] = {name: evaluate(model, text) for name, text in held.items()}
            row["seconds"] = time.monotonic() - began
            log.write(json.dumps(row) + "\n")
            log.flush()
            partial = checkpoint.with_suffix(".tmp")
            torch.save(
                {
                    "config": config.to_dict(),
                    "options": asdict(options),
                    "model": model.state_dict(),
                    "optimisers": [optimiser.state_dict() for optimiser in optimisers],
                    "step": step + 1,
                },
                partial,
            )
            os.replace(partial, checkpoint)
        report(row)
    log.close()
    return model

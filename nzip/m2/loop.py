"""Trains an M2 on tokens, measures its bits per byte of text, and samples from it.

Started by ``torchrun`` it is data-parallel: each process draws its own batches.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import MALFORMED, ModelFileError
from ..train.machine import bfloat16_is_fast, keep_freed_memory
from .data import Tokens
from .model import M2, Config

LN2 = math.log(2)


@dataclass(frozen=True)
class Options:
    """The settings of a run."""

    flops: float = 1e13  # for training: three times those of the forward passes
    batch: int = 8  # contexts per step, in each process
    rate: float = 3e-3
    warmup: float = 0.05  # share of the steps
    floor: float = 0.1  # share of the rate at the end of the cosine
    decay: float = 0.1  # of AdamW
    clip: float = 1.0
    seed: int = 1
    points: int = 5  # measurements on held-out text during a run, the last at its end


Row = dict[str, Any]
Call = TypeVar("Call", bound=Callable[..., Any])


def _eager(function: Call) -> Call:
    """Call a function without compiled blocks, which are compiled for the shapes of training."""
    decorated: Call = torch.compiler.set_stance("force_eager")(function)
    return decorated


def _autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """A context with matrix products in bfloat16, unless that is slower than float32."""
    fast = device.type != "cpu" or bfloat16_is_fast()
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


class Trainer:
    """A model, its optimizer and its measurements; resumes from ``checkpoint`` if it exists.

    device: None for a GPU if available. compiled: have torch compile the blocks, which needs a C++
    compiler and then saves a fifth of the time. Raises ValueError for a checkpoint of a run with
    other settings.
    """

    def __init__(
        self,
        config: Config,
        options: Options,
        train: Tokens,
        held_out: Tokens,
        device: str | None = None,
        checkpoint: Path | None = None,
        compiled: bool = False,
    ):
        self.config, self.options = config, options
        self.train, self.held_out = train, held_out
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if self.world > 1 and not dist.is_initialized():
            if self.device.type == "cuda":
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
                self.device = torch.device("cuda", torch.cuda.current_device())
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        self.checkpoint = checkpoint
        torch.manual_seed(options.seed)
        self.model = M2(config).to(self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        if compiled:
            for block in self.model.blocks:
                block.compile(dynamic=False)
        matrices = [p for p in self.model.parameters() if p.dim() == 2]
        others = [p for p in self.model.parameters() if p.dim() < 2]
        groups = [
            {"params": matrices, "weight_decay": options.decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.95), fused=True)
        self.positions = options.batch * config.context * self.world  # per step
        self.steps = max(1, round(options.flops / (3 * config.flops * self.positions)))
        self.step = 0
        self.seconds = 0.0
        self.rows: list[Row] = []
        if checkpoint and checkpoint.exists():
            self._resume(checkpoint)

    def _resume(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        if json.loads(state["about"]) != self._about():
            raise ValueError(f"{path} belongs to a run with other settings; remove it")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.rows = json.loads(state["rows"])

    def _about(self) -> dict[str, Any]:
        return json.loads(
            json.dumps([asdict(self.config), asdict(self.options), len(self.train.ids)])
        )

    def save(self) -> None:
        """Write the checkpoint, if the run has one."""
        if self.checkpoint and self.rank == 0:
            state = {
                "about": json.dumps(self._about()),
                "config": json.dumps(asdict(self.config)),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
                "rows": json.dumps(self.rows),
            }
            temporary = self.checkpoint.with_suffix(".tmp")
            torch.save(state, temporary)
            os.replace(temporary, self.checkpoint)

    def model_only(self, path: Path, tokenizer: dict[str, Any] | None) -> None:
        """Write the model alone, for ``load_model``, and remove the checkpoint.

        tokenizer: the settings of its tokenization, with which tokens become text.
        """
        if self.rank == 0:
            state = {
                "config": json.dumps(asdict(self.config)),
                "tokenizer": json.dumps(tokenizer),
                "model": self.model.state_dict(),
            }
            torch.save(state, path)
            if self.checkpoint:
                self.checkpoint.unlink(missing_ok=True)

    def rate(self) -> float:
        """The learning rate of this step: a linear rise, then a cosine down to rate * floor."""
        o = self.options
        warmup = max(1, int(o.warmup * self.steps))
        if self.step < warmup:
            return o.rate * (self.step + 1) / warmup
        done = (self.step - warmup) / max(1, self.steps - warmup)
        return o.rate * (o.floor + (1 - o.floor) * 0.5 * (1 + math.cos(math.pi * done)))

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Contexts from random places; the same ones for the same step, seed and process."""
        rng = np.random.default_rng([self.options.seed, self.step, self.rank])
        length = self.config.context
        starts = rng.integers(0, max(1, len(self.train.ids) - length - 1), self.options.batch)
        rows = np.stack([self.train.ids[s : s + length + 1] for s in starts]).astype(np.int64)
        both = torch.from_numpy(rows).to(self.device)
        return both[:, :-1], both[:, 1:].contiguous()

    def run(self, report: Callable[[Row], None] | None = None) -> list[Row]:
        """Train to the end; return the measurements, each of which ``report`` is called with."""
        every = max(1, -(-self.steps // self.options.points))
        while self.step < self.steps:
            began = time.monotonic()
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate()
            x, y = self._batch()
            with _autocast(self.device):
                loss = self.model.loss(x, y) / y.numel()
            loss.backward()
            self._share_gradients()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.step += 1
            self.seconds += time.monotonic() - began
            if self.step % every == 0 or self.step == self.steps:
                row = {
                    "step": self.step,
                    "flops": 3.0 * self.config.flops * self.positions * self.step,
                    "tokens": self.positions * self.step,
                    "bytes": round(self.positions * self.step * self.bytes_per_token),
                    "seconds": round(self.seconds, 1),
                    "bpb": self.bits_per_byte(),
                }
                self.rows.append(row)
                self.save()
                if report and self.rank == 0:
                    report(row)
        return self.rows

    def _share_gradients(self) -> None:
        if self.world > 1:
            for parameter in self.model.parameters():
                assert parameter.grad is not None
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.world

    @property
    def bytes_per_token(self) -> float:
        """Bytes per token of the training text; end marks count as tokens."""
        return self.train.bytes / len(self.train.ids)

    def bits_per_byte(self) -> float:
        """Bits per byte of the held-out text: the loss of all tokens, end marks included, / bytes.

        Each token is predicted once, from the tokens before it in its context.
        """
        return measure(self.model, self.held_out, self.device, self.options.batch)


@_eager
@torch.no_grad()
def measure(model: M2, held_out: Tokens, device: torch.device, batch: int) -> float:
    """Bits per byte of the held-out text; see Trainer.bits_per_byte. batch: contexts at once."""
    length = model.config.context
    ids = np.concatenate([[held_out.vocab - 1], held_out.ids]).astype(np.int64)
    total = 0.0
    full = (len(ids) - 1) // length
    for first in range(0, full, batch):
        rows = [
            ids[k * length : k * length + length + 1]
            for k in range(first, min(first + batch, full))
        ]
        total += _loss(model, np.stack(rows), device)
    rest = ids[full * length :]
    if len(rest) > 1:
        total += _loss(model, rest[None], device)
    return total / LN2 / held_out.bytes


def _loss(model: M2, rows: np.ndarray, device: torch.device) -> float:
    both = torch.from_numpy(rows).to(device)
    with _autocast(device):
        return float(model.loss(both[:, :-1], both[:, 1:].contiguous()))


@_eager
@torch.no_grad()
def sample(
    model: M2,
    prompt: list[int],
    count: int,
    seed: int = 1,
    temperature: float = 1.0,
    stop: int | None = None,
) -> tuple[list[int], float]:
    """Generate ``count`` tokens after the prompt, one at a time: (tokens, seconds).

    There are fewer if the token ``stop`` is drawn, which is then the last. If prompt and output
    outgrow the context, it is rebuilt from its second half.
    """
    device = model.embed.weight.device
    generator = torch.Generator(device="cpu").manual_seed(seed)
    context = model.config.context
    ids = list(prompt)
    began = time.monotonic()
    feed, cache = ids[-context:], None
    for _ in range(count):
        if cache is not None and cache[0][0].shape[2] >= context:
            feed, cache = ids[-(context // 2) :], None
        logits, cache = model.next(torch.tensor([feed], device=device), cache)
        odds = torch.softmax(logits[0].cpu() / temperature, 0)
        ids.append(int(torch.multinomial(odds, 1, generator=generator)))
        if ids[-1] == stop:
            break
        feed = ids[-1:]
    return ids[len(prompt) :], time.monotonic() - began


def load_model(path: Path, device: str = "cpu") -> tuple[M2, dict[str, Any]]:
    """Load a file that ``Trainer.model_only`` wrote: (model, settings of its tokenization).

    Raises ModelFileError and OSError.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        model = M2(Config(**json.loads(state["config"])))
        model.load_state_dict(state["model"])
        settings: dict[str, Any] = json.loads(state["tokenizer"])
    except (*MALFORMED, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelFileError(f"{path}: not a model of nzip m2 train or compare") from error
    return model.to(device).eval(), settings

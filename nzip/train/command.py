"""``nzip train``: text in, a model file out."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path

from ..models import SUFFIX


def keep_freed_memory() -> None:
    """Have glibc keep large freed blocks instead of giving them back to the system.

    Each step frees and allocates the same hundreds of megabytes; without this a tenth of the time
    goes into page faults.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD, its highest value
            mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def parse_mix(text: str | None) -> dict[str, float] | None:
    """``wiki=20,code=12`` as weights. Raises ValueError."""
    if text is None:
        return None
    mix = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            mix[name.strip()] = float(weight)
        except ValueError:
            raise ValueError(f"--mix: {part!r} is not NAME=WEIGHT") from None
        if not mix[name.strip()] > 0:
            raise ValueError(f"--mix: the weight of {name} must be positive")
    return mix


def run(
    shards: list[Path],
    output: Path,
    *,
    total: int,
    hidden: int,
    lanes: int,
    rate: float,
    seed: int,
    mix: str | None,
    checkpoint: Path | None,
    threads: int | None,
) -> None:
    """Train M1 on ``total`` bytes and write it to ``output``; progress on stderr."""
    try:
        import torch
    except ImportError:
        raise ImportError("nzip train needs PyTorch: pip install 'nzip[train]'") from None

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from .data import Corpus
    from .export import save
    from .loop import Options, evaluate, train
    from .model import Config

    if output.suffix != SUFFIX:
        output = output.with_name(output.name + SUFFIX)
    if not output.parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(output.parent))
    if hidden < 16 or hidden % 16:
        raise ValueError("--hidden must be a positive multiple of 16")
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    corpus = Corpus(shards, parse_mix(mix))
    options = Options(total=total, lanes=lanes, rate=rate, seed=seed)
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.completed}/{task.total} steps"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not sys.stderr.isatty(),
    )
    task = bar.add_task("train", total=None, state="")

    def report(row: dict) -> None:
        bar.update(task, completed=row["step"], total=row["steps"], state=f"{row['bpb']:.3f} bpb")
        if "held" in row:
            parts = ", ".join(f"{name} {bpb:.3f}" for name, bpb in row["held"].items())
            console.print(f"step {row['step']}: held out (bpb): {parts}")

    with bar:
        model = train(
            corpus,
            checkpoint or output.with_suffix(".ckpt"),
            Config(hidden=hidden),
            options,
            report,
        )
    save(model, output, output.stem)
    for name, text in corpus.held_out().items():
        rounded, exact = evaluate(model, text), evaluate(model, text, quantise=False)
        console.print(f"{name}: {rounded:.4f} bpb as integers, {exact:.4f} as floats")
    console.print(f"wrote {output}")

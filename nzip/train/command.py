"""``nzip train``: text in, a model file out."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..models import SUFFIX
from ..progress import clock
from .machine import keep_freed_memory

if TYPE_CHECKING:
    import numpy as np

    from .data import Cuts
    from .model import M1, Config


def window_starts(name: str) -> Cuts:
    """Where every second window of 16 bits begins, under the model ``name``."""
    import numpy as np

    from .. import models, windows

    trie = windows.dictionary(models.load(name), 16)

    def cuts(text: bytes) -> np.ndarray:
        lengths = np.frombuffer(bytes(trie.lengths(trie.encode(text))), np.uint32)
        return np.cumsum(np.concatenate([[0], lengths[:-1]]), dtype=np.int64)[::2]

    return cuts


def parse_weights(option: str, text: str | None) -> dict[str, float] | None:
    """``wiki=20,code=12`` as numbers by source. Raises ValueError."""
    if text is None:
        return None
    weights = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            weights[name.strip()] = float(weight)
        except ValueError:
            raise ValueError(f"{option}: {part!r} is not NAME=WEIGHT") from None
        if not weights[name.strip()] > 0:
            raise ValueError(f"{option}: the weight of {name} must be positive")
    return weights


CHANGES = 4_000_000  # bytes of buckets that fine-tuning may change, each with its number


def _model_file(path: Path) -> Path:
    """The path with the suffix of model files. Raises FileNotFoundError without its folder."""
    if path.suffix != SUFFIX:
        path = path.with_name(path.name + SUFFIX)
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(path.parent))
    return path


def run(
    paths: list[Path],
    output: Path,
    *,
    size: str | None,
    start: str | None,
    tables: str | None,
    table_size: int | None,
    split: Path | None,
    changes: int | None,
    windows: bool,
    part: int,
    total: int | None,
    lanes: int | None,
    rate: float | None,
    seed: int,
    begin: float,
    mix: str | None,
    relay: str | None,
    patience: int,
    checkpoint: Path | None,
    keep_checkpoints: bool,
    device: str | None,
    threads: int | None,
) -> None:
    """Train M1 and write it to ``output``; progress on stderr.

    start: the name or file of a model to go on from, with more blocks if ``size`` has more; without
    it one of SIZES is trained anew. tables: the name or file of tables that are used as they are;
    the new file refers to them. table_size: bytes of new ones. split: a file that gets the tables,
    to which the new one refers. changes: bytes of rows that fine-tuning may change, 4 MB without
    it; only those are in the new file, which refers to the tables of ``start`` for all others.
    begin: the share of each source that is passed over at first.
    windows: train for ``eqinfo``, where M1 starts afresh every ``part`` bytes; with ``start``,
    where windows of that model begin. relay: shares of sources that get other line breaks.
    """
    try:
        import torch
    except ImportError:
        raise ImportError("nzip train needs PyTorch: pip install 'nzip[train]'") from None

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    from .. import models
    from .data import Corpus
    from .export import load, save, save_tables, with_tables
    from .loop import Options, deepen, evaluate, stable_checkpoint, train
    from .model import SIZES, Config, Tables

    output = _model_file(output)
    if split is not None:
        split = _model_file(split)
        if tables:
            raise ValueError("--tables and --split exclude each other")
    if changes is not None and (start is None or tables or split):
        raise ValueError("--changes needs --from, and neither --tables nor --split")
    if size not in (None, *SIZES):
        raise ValueError(f"--size must be one of {', '.join(SIZES)}")
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        torch.set_float32_matmul_precision("high")
    corpus = Corpus(paths, parse_weights("--mix", mix), parse_weights("--relay", relay))
    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started
    console = Console(stderr=True, quiet=not first)
    held = corpus.held_out()
    original: models.Tables | None = None  # which the new file refers to for what did not change
    if start is None:
        options = Options(seed=seed, patience=patience)
        shape = SIZES[size or ("windows" if windows else "base")]
        buckets = Tables().buckets if table_size is None else table_size // models.BUCKET
        initial: Config | M1 = Config(*shape, Tables(buckets=max(1, buckets)))
        if tables:
            torch.manual_seed(seed)
            initial = with_tables(shape, models.load_tables(tables))
    else:
        # A pass over the text, in smaller steps; the tables move as before.
        options = Options(
            total=sum(corpus.sizes.values()),
            lanes=64,
            rate=1e-3,
            table_rate=180,
            warmup=20,
            seed=seed,
            patience=patience,
        )
        source = models.load(start)
        if tables and models.load_tables(tables).digest != source.tables.digest:
            raise ValueError(f"{start} has other tables than {tables}")
        initial = load(source, frozen=bool(tables))
        if not tables and not split:
            original = source.tables.original
        cut = part if windows else 0
        before = {name: evaluate(initial, text, segment=cut) for name, text in held.items()}
        console.print(f"before: held out (bpb): {_by_source(before)}")
        if size:
            torch.manual_seed(seed)
            initial = deepen(initial, SIZES[size][1])
    cuts = None
    if windows:
        options.segment, options.lanes, options.reset = part, 320, 1.0
        if start:
            options.rate, options.table_rate = 1.5e-3, 60.0
            cuts = window_starts(start)
    if total is not None:
        options.total = total
    if options.total < 1:
        raise ValueError("there are no bytes to train on")
    options.lanes = lanes or options.lanes
    options.rate = rate or options.rate
    options.begin = begin
    steps = options.total // (options.lanes * options.segment)
    options.warmup = min(options.warmup, steps // 10)
    options.every = max(20, min(options.every, steps // 10))
    bar = Progress(
        TextColumn("{task.completed}/{task.total} steps"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        console=console,
        disable=not sys.stderr.isatty(),
    )
    task = bar.add_task("train", total=steps, state="choosing who owns the tables' rows")
    held_mean, first_step, began = "", 0, 0.0

    def report(row: dict) -> None:
        nonlocal held_mean, first_step, began
        if "held" in row:
            held_mean = f", held out {sum(row['held'].values()) / len(row['held']):.3f}"
            console.print(f"step {row['step']}: held out (bpb): {_by_source(row['held'])}")
        state = f"{row['bpb']:.3f} bpb{held_mean}, {row['rate'] / 1000:.0f} kB/s"
        if not began:
            first_step, began = row["step"], time.monotonic()
        elif done := row["step"] - first_step:
            # Measuring counts in: it comes again as often as it came.
            left = (row["steps"] - row["step"]) * (time.monotonic() - began) / done
            state += f", {clock(left)} left"
        bar.update(task, completed=row["step"], total=row["steps"], state=state)

    path = checkpoint or output.with_suffix(".ckpt")
    with bar:
        most = (changes or CHANGES) // (models.BUCKET + 4) if original else None
        model = train(corpus, path, initial, options, report, device, cuts, most)
    if not first:
        return
    model.to("cpu")
    if split is not None:
        save_tables(model, split, split.stem)
        model.config.frozen = models.load_tables(os.fspath(split)).digest.hex()
        console.print(f"wrote {split}")
    save(model, output, output.stem, original)
    for name, text in held.items():
        rounded = evaluate(model, text, segment=options.part)
        exact = evaluate(model, text, quantise=False, segment=options.part)
        console.print(f"{name}: {rounded:.4f} bpb as integers, {exact:.4f} as floats")
    console.print(f"wrote {output}; how the run went is in {path.with_suffix('.jsonl')}")
    for file, use in ((path, "of the end"), (stable_checkpoint(path), "a longer run starts here")):
        if file.exists() and keep_checkpoints:
            console.print(f"kept {file} ({use})")
        else:
            file.unlink(missing_ok=True)


def _by_source(held: dict[str, float]) -> str:
    return ", ".join(f"{name} {bpb:.3f}" for name, bpb in held.items())

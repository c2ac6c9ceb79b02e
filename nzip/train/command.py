"""``nzip train``: makes a model file from text."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .. import models
from ..progress import clock
from .machine import keep_freed_memory

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from .data import Cuts
    from .model import M1, Config


def window_starts(name: str) -> Cuts:
    """A function that finds where every second window of 16 bits under a model begins in a text."""
    import numpy as np

    from ..modes import dictionary

    trie = dictionary.of_model(models.load(name), 16)

    def cuts(text: bytes) -> np.ndarray:
        lengths = np.frombuffer(bytes(trie.lengths(trie.encode(text))), np.uint32)
        return np.cumsum(np.concatenate([[0], lengths[:-1]]), dtype=np.int64)[::2]

    return cuts


def parse_weights(option: str, text: str | None) -> dict[str, float] | None:
    """Read ``wiki=20,code=12`` as numbers by source. Raises ValueError."""
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


def _model_file(path: Path) -> Path:
    """The path with the suffix of model files. Raises FileNotFoundError if there is no folder."""
    if path.suffix != models.SUFFIX:
        path = path.with_name(path.name + models.SUFFIX)
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
    """Train M1 and write it to ``output``, with progress on stderr.

    start: name or file of a model to fine-tune, with more blocks if ``size`` has more; without it a
    new model of one of SIZES is trained.
    tables: name or file of tables to use unchanged; the new file refers to them.
    table_size: bytes of new tables.
    split: a file to write the tables to; the new file refers to it.
    changes: bytes of rows that fine-tuning may change, 4 MB by default; the new file holds only
    those and refers to the tables of ``start`` for all others.
    begin: share of each source that is skipped at first.
    windows: train for ``eqinfo``: M1 is reset every ``part`` bytes or, with ``start``, where that
    model's windows begin.
    relay: shares of sources whose line breaks are changed.

    Raises ImportError without PyTorch, ValueError, OSError and the errors of ``models.load``.
    """
    try:
        import torch
    except ImportError:
        raise ImportError("nzip train needs PyTorch: pip install 'nzip[train]'") from None

    from rich.console import Console

    from . import recipes
    from .data import Corpus
    from .loop import evaluate, train
    from .mixing import add_starts
    from .model import SIZES

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
    first = os.environ.get("RANK", "0") == "0"  # among the processes started by torchrun
    console = Console(stderr=True, quiet=not first)
    held = corpus.held_out()
    original: models.Tables | None = None  # tables that hold the rows which did not change
    if start is None:
        initial = _new(size or ("windows" if windows else "base"), tables, table_size, seed)
    else:
        initial = _loaded(start, tables)
        if not tables and not split:
            original = models.load(start).tables.original
        cut = part if windows else 0
        before = {name: evaluate(initial, text, segment=cut) for name, text in held.items()}
        console.print(f"before: held out (bpb): {_by_source(before)}")
        initial = _grown(initial, size, seed)
    options = recipes.options(
        fine_tune=start is not None,
        windows=windows,
        part=part,
        text=sum(corpus.sizes.values()),
        total=total,
        lanes=lanes,
        rate=rate,
        seed=seed,
        begin=begin,
        patience=patience,
    )
    cuts = window_starts(start) if windows and start else None
    path = checkpoint or output.with_suffix(".ckpt")
    report = _Report(console, options.total // (options.lanes * options.segment))
    with report.bar:
        most = (changes or recipes.CHANGES) // (models.BUCKET + 4) if original else None
        model = train(corpus, path, initial, options, report.row, device, cuts, most)
    if first:
        model.to("cpu")
        _write(model, output, split, original, console)
        if not windows:
            console.print("learning what mixing begins with")
            add_starts(output, corpus, seed=seed)
        for name, text in held.items():
            rounded = evaluate(model, text, segment=options.part)
            exact = evaluate(model, text, quantise=False, segment=options.part)
            console.print(f"{name}: {rounded:.4f} bpb as integers, {exact:.4f} as floats")
        console.print(f"wrote {output}; the log of the run is {path.with_suffix('.jsonl')}")
        _tidy(path, keep_checkpoints, console)


def _new(size: str, tables: str | None, table_size: int | None, seed: int) -> Config | M1:
    """The start of a new model: its shape, or a model that uses existing tables."""
    import torch

    from .model import SIZES, Config, Tables
    from .modelfile import with_tables

    if tables:
        torch.manual_seed(seed)
        return with_tables(SIZES[size], models.load_tables(tables))
    buckets = Tables().buckets if table_size is None else table_size // models.BUCKET
    return Config(*SIZES[size], Tables(buckets=max(1, buckets)))


def _loaded(start: str, tables: str | None) -> M1:
    """The model to fine-tune; its tables stay unchanged if ``tables`` names them."""
    from .modelfile import load

    source = models.load(start)
    if tables and models.load_tables(tables).digest != source.tables.digest:
        raise ValueError(f"{start} has other tables than {tables}")
    return load(source, frozen=bool(tables))


def _grown(model: M1, size: str | None, seed: int) -> M1:
    """The model with as many blocks as that size has."""
    import torch

    from .loop import deepen
    from .model import SIZES

    if size is None:
        return model
    torch.manual_seed(seed)
    return deepen(model, SIZES[size][1])


class _Report:
    """A progress bar (``bar`` is a context manager), and a line for each validation."""

    def __init__(self, console: Console, steps: int):
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = console
        self.bar = Progress(
            TextColumn("{task.completed}/{task.total} steps"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            console=console,
            disable=not sys.stderr.isatty(),
        )
        self._task = self.bar.add_task(
            "train", total=steps, state="choosing the owners of table rows"
        )
        self._held, self._first, self._began = "", 0, 0.0

    def row(self, row: dict) -> None:
        """Show a report of the training loop."""
        if "held" in row:
            self._held = f", held out {sum(row['held'].values()) / len(row['held']):.3f}"
            self._console.print(f"step {row['step']}: held out (bpb): {_by_source(row['held'])}")
        state = f"{row['bpb']:.3f} bpb{self._held}, {row['rate'] / 1000:.0f} kB/s"
        if not self._began:
            self._first, self._began = row["step"], time.monotonic()
        elif done := row["step"] - self._first:
            # The time for validations is included: as many will follow in proportion.
            left = (row["steps"] - row["step"]) * (time.monotonic() - self._began) / done
            state += f", {clock(left)} left"
        self.bar.update(self._task, completed=row["step"], total=row["steps"], state=state)


def _write(
    model: M1, output: Path, split: Path | None, original: models.Tables | None, console: Console
) -> None:
    """Write the model; its tables to ``split`` if given, else only changes to ``original``."""
    from .modelfile import save, save_tables

    if split is not None:
        save_tables(model, split, split.stem)
        model.config.frozen = models.load_tables(os.fspath(split)).digest.hex()
        console.print(f"wrote {split}")
    save(model, output, output.stem, original)


def _tidy(path: Path, keep: bool, console: Console) -> None:
    """Remove the checkpoints, or say which are kept."""
    from .loop import stable_checkpoint

    for file, use in ((path, "the end"), (stable_checkpoint(path), "for a longer run")):
        if file.exists() and keep:
            console.print(f"kept {file} ({use})")
        else:
            file.unlink(missing_ok=True)


def _by_source(held: dict[str, float]) -> str:
    return ", ".join(f"{name} {bpb:.3f}" for name, bpb in held.items())

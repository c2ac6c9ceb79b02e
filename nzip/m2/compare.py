"""The paper's experiment: a language model per tokenization and size, trained at equal compute.

For each size all tokenizations get the same number of floating-point operations for training,
including the output layer and attention. They are compared by bits per byte of held-out text. Runs
that are in the folder are not repeated, so a comparison can be interrupted and extended.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from . import data, meaning, schemes
from .loop import Options, Row, Trainer, sample
from .model import Config

SIZES = {  # layers, width, heads; weights without embeddings
    "tiny": (2, 64, 1),
    "0.6m": (3, 128, 2),
    "1.8m": (3, 224, 2),
    "4m": (4, 288, 3),
    "25m": (6, 576, 9),
    "113m": (12, 896, 14),
}
DEFAULT_SIZES = ("0.6m", "1.8m")
# FLOPs for training at each size. At 0.6m, 1.8m and 4m the byte model then reads 20 MB, which
# takes 5 to 30 minutes on a core with bfloat16 matrix instructions.
BUDGETS = {
    "tiny": 2.5e10,
    "0.6m": 8.8e13,
    "1.8m": 2.5e14,
    "4m": 5.3e14,
    "25m": 3e17,
    "113m": 1.5e18,
}
NAMES = (
    *("bytes", "bpe-32000", "ac-8", "ac-16", "static-8", "gzip-8", "eqinfo-16-8", "eqinfo-16-16"),
    *("eqinfo-16-8-carry", "eqinfo-16-8-every-2", "eqinfo-24-8", "eqinfo-32-8", "eqinfo-64-8"),
    *("eqinfo-16-16-word", "padded-16"),
)
TINY = ("bytes", "bpe-512", "ac-8", "static-8", "gzip-8", "eqinfo-16-8", "eqinfo-16-8-carry")
CONTEXT = 256  # tokens
TOTAL = 24 << 20  # bytes of text, by default
STEPS = 500  # a run that would have fewer steps gets fewer contexts per step
RATES = {"tiny": 3e-3, "0.6m": 3e-3, "1.8m": 2e-3, "4m": 1.5e-3, "25m": 1e-3, "113m": 6e-4}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Comparison:
    """The documents of a corpus, and the folder with the tokens and runs made from them."""

    def __init__(
        self, paths: list[Path], folder: Path, total: int = TOTAL, held_out: int = 400_000
    ):
        self.folder = folder
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        (folder / "tokens").mkdir(exist_ok=True)
        documents = list(data.pieces(paths, total))
        self.train, self.held_out = data.split_off(documents, held_out)
        if not self.train or not self.held_out:
            raise ValueError("the corpus is too small: there is nothing to train or measure on")
        self.bytes = sum(map(len, self.train))

    def tokens(self, name: str) -> tuple[data.Tokens, data.Tokens, Row]:
        """(training tokens, held-out tokens, figures) of a tokenization, from the folder or new."""
        paths = [self.folder / "tokens" / f"{name}-{part}.npz" for part in ("train", "held-out")]
        about = self.folder / "tokens" / f"{name}.json"
        if not about.exists():
            began = time.monotonic()
            tokenizer = schemes.Scheme(name, self.train, self.folder / "tokens")
            for path, documents in zip(paths, (self.train, self.held_out), strict=True):
                data.save(path, tokenizer.tokens(documents))
            self._check(tokenizer)
            row = figures(data.load(paths[0]), data.load(paths[1]))
            row["tokenize s"] = round(time.monotonic() - began, 1)
            row["meaning"] = meaning.of_tokens(tokenizer, self.held_out)
            self._settings(name).write_text(json.dumps(tokenizer.settings))
            about.write_text(json.dumps(row) + "\n")
        return data.load(paths[0]), data.load(paths[1]), json.loads(about.read_text())

    def _settings(self, name: str) -> Path:
        return self.folder / "tokens" / f"{name}.settings.json"

    def _check(self, tokenizer: schemes.Scheme) -> None:
        for document in self.held_out[:20]:
            if tokenizer.decode(tokenizer.encode(document), len(document)) != document:
                raise AssertionError(f"{tokenizer.name} is not lossless")

    def run(
        self,
        name: str,
        size: str,
        flops: float,
        batch: int,
        rate: float,
        device: str | None,
        compiled: bool,
    ) -> Row:
        """Train and measure one model, unless its result is in the folder; return the result."""
        kept = self.folder / "runs" / f"{name}--{size}.json"
        train, held_out, figures = self.tokens(name)
        layers, width, heads = SIZES[size]
        config = Config(train.vocab, layers, width, heads, CONTEXT)
        most = flops / (3 * config.flops * CONTEXT * STEPS)
        options = Options(flops=flops, batch=max(1, min(batch, round(most))), rate=rate)
        settings = {**asdict(config), **asdict(options), "train bytes": train.bytes}
        if kept.exists():
            row: Row = json.loads(kept.read_text())
            if row["settings"] == settings:
                return row
        checkpoint = kept.with_suffix(".checkpoint")
        trainer = Trainer(config, options, train, held_out, device, checkpoint, compiled)
        curve = trainer.run(
            lambda r: say(f"{name} {size}: step {r['step']}/{trainer.steps}, bpb {r['bpb']:.3f}")
        )
        row = {
            "name": name,
            "size": size,
            "parameters": config.inner_parameters,
            "embeddings": config.vocab * width,
            **figures,
            "bpb": curve[-1]["bpb"],
            "train flops": curve[-1]["flops"],
            "steps": curve[-1]["step"],
            "train bytes": curve[-1]["bytes"],
            "train s": curve[-1]["seconds"],
            "flops/byte": config.flops * figures["tokens/byte"],
            "latency": latency(trainer, figures["bytes/token"]),
            "curve": curve,
            "settings": settings,
        }
        kept.write_text(json.dumps(row) + "\n")
        tokenizer = json.loads(self._settings(name).read_text())
        trainer.model_only(self.folder / "runs" / f"{name}--{size}.pt", tokenizer)
        return row


def figures(train: data.Tokens, held_out: data.Tokens) -> Row:
    """The figures of a tokenization that need no model.

    "uniform bpb" gives all tokens equal probability; "unigram bpb" their frequency in the training
    text, with one of each token added.
    """
    counts = np.bincount(train.ids, minlength=train.vocab) + 1.0
    bits = -np.log2(counts / counts.sum())
    per_byte = len(held_out.ids) / held_out.bytes
    return {
        "vocab": held_out.vocab,
        "tokens/byte": per_byte,
        "bytes/token": 1 / per_byte,
        "uniform bpb": math.log2(held_out.vocab) * per_byte,
        "unigram bpb": float(bits[held_out.ids].sum() / held_out.bytes),
        "held-out bytes": held_out.bytes,
    }


def latency(trainer: Trainer, bytes_per_token: float) -> float:
    """Milliseconds per byte of generated text, one token at a time, on one thread.

    The best of three runs of 100 tokens.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    count = 100
    prompt = [trainer.config.vocab - 1]
    seconds = min(sample(trainer.model, prompt, count)[1] for _ in range(3))
    torch.set_num_threads(threads)
    return 1000 * seconds / count / bytes_per_token


def compare(
    paths: list[Path],
    folder: Path,
    *,
    names: list[str] | None = None,
    sizes: list[str] | None = None,
    total: int = TOTAL,
    budget: float = 1.0,
    batch: int = 8,
    device: str | None = None,
    compiled: bool = False,
    tiny: bool = False,
    report_only: bool = False,
) -> str:
    """Make all runs, write results.json, table.md and the plots to the folder; return the table.

    names, sizes: tokenizations and models; None for the defaults. total: bytes of text. budget:
    multiple of the FLOPs in BUDGETS. batch: contexts per step. tiny: a smoke test. report_only:
    train nothing. Raises ValueError.
    """
    names = names or list(TINY if tiny else NAMES)
    sizes = sizes or (["tiny"] if tiny else list(DEFAULT_SIZES))
    for size in sizes:
        if size not in SIZES:
            raise ValueError(f"unknown size {size!r} (known: {', '.join(SIZES)})")
    for name in names:
        schemes.check_name(name)
    rows: list[Row] = []
    if not report_only:
        held_out = 20_000 if tiny else 400_000
        comparison = Comparison(paths, folder, min(total, 400_000) if tiny else total, held_out)
        say(
            f"{comparison.bytes:,} bytes to train on, {len(comparison.held_out)} documents held out"
        )
        for size in sizes:
            for name in names:
                flops = budget * BUDGETS[size]
                comparison.run(name, size, flops, batch, RATES[size], device, compiled)
    order = {key: place for place, key in enumerate([*SIZES, *NAMES])}
    for path in (folder / "runs").glob("*.json"):
        rows.append(json.loads(path.read_text()))
    rows.sort(key=lambda row: (order[row["size"]], order.get(row["name"], 99)))
    if not rows:
        raise ValueError(f"there are no runs in {folder}")
    (folder / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    text = table(rows)
    (folder / "table.md").write_text(text)
    try:
        from .plots import draw
    except ImportError:
        say("no plots: matplotlib is not installed")
    else:
        draw(rows, folder)
    return text


def table(rows: list[Row]) -> str:
    """Two Markdown tables: of the models, and of what tokens stand for."""
    out = [
        "| tokenization | model | bits/byte | uniform | unigram | gain | bytes/token | FLOPs/byte"
        " | read, MB | ms/byte |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        gain = 100 * (1 - row["bpb"] / row["uniform bpb"])
        cells = [
            schemes.label(row["name"]),
            row["size"],
            f"**{row['bpb']:.3f}**",
            f"{row['uniform bpb']:.3f}",
            f"{row['unigram bpb']:.3f}",
            f"{gain:.1f} %",
            f"{row['bytes/token']:.2f}",
            f"{row['flops/byte'] / 1e6:.2f} M",
            f"{row['train bytes'] / 1e6:.1f}",
            f"{row['latency']:.3f}",
        ]
        out.append(f"| {' | '.join(cells)} |")
    out += ["", *meaning.table(rows)]
    return "\n".join(out) + "\n"

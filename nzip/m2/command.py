"""What ``nzip m2`` does, between the command line and the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..stream import thread_count
from . import compare as comparison
from . import data, meaning
from . import generate as generation
from .loop import Options, Row, Trainer
from .model import Config


def train(
    path: Path,
    output: Path,
    *,
    held_out: Path | None,
    size: str,
    context: int,
    batch: int,
    passes: float,
    rate: float | None,
    seed: int,
    device: str | None,
    compiled: bool,
) -> list[Row]:
    """Train a model on a file of tokens and write it. Raises ValueError and FormatError."""
    if size not in comparison.SIZES:
        raise ValueError(f"unknown size {size!r} (known: {', '.join(comparison.SIZES)})")
    tokens, tokenization = data.read_tokens(path)
    if held_out is None:
        tokens, measured = data.last_documents(tokens, 0.05)
    else:
        measured, other = data.read_tokens(held_out)
        if other.settings != tokenization.settings:
            raise ValueError(f"{held_out} was tokenized in another way than {path}")
    layers, width, heads = comparison.SIZES[size]
    config = Config(tokens.vocab, layers, width, heads, context)
    options = Options(
        flops=3.0 * config.flops * len(tokens.ids) * passes,
        batch=batch,
        rate=rate or comparison.RATES[size],
        seed=seed,
    )
    checkpoint = output.with_suffix(".checkpoint")
    trainer = Trainer(config, options, tokens, measured, device, checkpoint, compiled)
    rows = trainer.run(
        lambda row: comparison.say(
            f"step {row['step']}/{trainer.steps}: {row['bpb']:.4f} bits a byte of held-out text,"
            f" {row['bytes'] / 1e6:.1f} MB read in {row['seconds']:.0f} s"
        )
    )
    trainer.model_only(output, tokenization.settings)
    return rows


def compare(paths: list[Path], folder: Path, *, threads: int | None, **options: Any) -> str:
    """The comparison; its table."""
    torch.set_num_threads(thread_count(threads))
    return comparison.compare(paths, folder, **options)


def generate(
    path: Path, size: int, prompt: bytes, seed: int, temperature: float, beside: Path | None
) -> tuple[bytes, list[str]]:
    """(text, a line for each model with its speed)."""
    text, figures = generation.generate(path, size, prompt, seed, temperature)
    lines = [_speed(path, figures)]
    if beside is not None:
        _, other = generation.generate(beside, size, prompt, seed, temperature)
        lines.append(_speed(beside, other))
    return text, lines


def _speed(path: Path, figures: dict[str, Any]) -> str:
    return (
        f"{path.name}: {figures['bytes']:,} bytes in {figures['tokens']:,} tokens and"
        f" {figures['seconds']:.2f} s, {figures['bytes/s']:,.0f} bytes a second"
    )


def meaning_table(paths: list[Path], names: list[str] | None, total: int) -> str:
    """A Markdown table of what tokens stand for."""
    documents = list(data.pieces(paths, total))
    rows = []
    for name in names or list(comparison.NAMES):
        tokenizer = data.Tokenizer(name, documents)
        found = meaning.of_tokens(tokenizer, documents)
        rows.append({"name": name, "meaning": found})
    return "\n".join(meaning.table(rows)) + "\n"

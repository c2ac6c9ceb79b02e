"""``nzip m2``: train, compare, generate, meaning."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..atomic import write_all
from .options import Threads, parse_size
from .screen import end_with_the_reader, stdout_bytes

Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1 …; default: cuda if available.")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="A fifth faster, after a minute; needs a C++ compiler.")
]


def train(
    tokens: Annotated[Path, typer.Argument(help="A file that nzip tokenize wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model file to write.")],
    held_out: Annotated[
        Path | None,
        typer.Option(help="Tokens to measure on; default: the last twentieth of the documents."),
    ] = None,
    size: Annotated[str, typer.Option(help="tiny, 0.6m, 1.8m, 4m, 25m or 113m weights.")] = "0.6m",
    context: Annotated[int, typer.Option(min=8, help="Tokens that attention covers.")] = 256,
    batch: Annotated[int, typer.Option(min=1, help="Contexts per step, in each process.")] = 8,
    passes: Annotated[float, typer.Option(help="Passes over the tokens.")] = 1.0,
    rate: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 1,
    device: Device = None,
    compiled: Compile = False,
) -> None:
    """Train a language model on tokens; resumes from its checkpoint.

    Data-parallel on several GPUs or machines: torchrun --nproc-per-node 4 -m nzip m2 train …
    """
    from ..m2 import compare as comparison
    from ..m2 import data
    from ..m2.loop import Options, Trainer
    from ..m2.model import Config

    if size not in comparison.SIZES:
        raise ValueError(f"unknown size {size!r} (known: {', '.join(comparison.SIZES)})")
    trained, tokenization = data.read_tokens(tokens)
    if held_out is None:
        trained, measured = data.last_documents(trained, 0.05)
    else:
        measured, other = data.read_tokens(held_out)
        if other.settings != tokenization.settings:
            raise ValueError(f"{held_out} was not tokenized in the same way as {tokens}")
    layers, width, heads = comparison.SIZES[size]
    config = Config(trained.vocab, layers, width, heads, context)
    options = Options(
        flops=3.0 * config.flops * len(trained.ids) * passes,
        batch=batch,
        rate=rate or comparison.RATES[size],
        seed=seed,
    )
    checkpoint = output.with_suffix(".checkpoint")
    trainer = Trainer(config, options, trained, measured, device, checkpoint, compiled)
    trainer.run(
        lambda row: comparison.say(
            f"step {row['step']}/{trainer.steps}: {row['bpb']:.4f} bits per byte of held-out text,"
            f" {row['bytes'] / 1e6:.1f} MB read in {row['seconds']:.0f} s"
        )
    )
    trainer.model_only(output, tokenization.settings)


def compare(
    corpus: Annotated[
        list[Path] | None,
        typer.Argument(help="Text files, *.zst shards (documents end with a NUL byte), folders."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for results; runs in it are kept.")
    ] = Path("results"),
    names: Annotated[
        str | None, typer.Option(help="Tokenizations, e.g. 'bytes,bpe-32000,eqinfo-16-16'.")
    ] = None,
    sizes: Annotated[str | None, typer.Option(help="Model sizes, e.g. '0.6m,1.8m'.")] = None,
    total: Annotated[
        str, typer.Option("--bytes", metavar="SIZE", help="Bytes of text to train on.")
    ] = "24M",
    budget: Annotated[
        float, typer.Option(min=0, help="Multiple of each size's default FLOPs.")
    ] = 1.0,
    batch: Annotated[int, typer.Option(min=1, help="Contexts per step.")] = 8,
    tiny: Annotated[bool, typer.Option("--tiny", help="A smoke test of a few minutes.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Train nothing; write the table of existing runs.")
    ] = False,
    device: Device = None,
    compiled: Compile = False,
    threads: Threads = None,
) -> None:
    """Run the paper's experiment: a model per tokenization and size, at equal compute.

    Writes results.json, table.md, compute.png and size.png, and prints the table.
    """
    import torch

    from ..m2 import compare as comparison
    from ..workers import thread_count

    end_with_the_reader()
    torch.set_num_threads(thread_count(threads))
    text = comparison.compare(
        corpus or [],
        output,
        names=None if names is None else names.split(","),
        sizes=None if sizes is None else sizes.split(","),
        total=parse_size(total),
        budget=budget,
        batch=batch,
        tiny=tiny,
        report_only=report,
        device=device,
        compiled=compiled,
    )
    print(text, end="")


def generate(
    model: Annotated[Path, typer.Argument(help="A model of nzip m2 train or compare.")],
    size: Annotated[int, typer.Option("-n", "--bytes", min=1, help="Bytes of text.")] = 500,
    prompt: Annotated[str, typer.Option(help="The text to continue.")] = "",
    seed: Annotated[int, typer.Option(help="The same seed gives the same text.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.01, help="Below 1: likelier tokens.")] = 1.0,
    beside: Annotated[
        Path | None, typer.Option(help="Another model, whose speed is printed for comparison.")
    ] = None,
) -> None:
    """Generate text with a trained model and the detokenizer; the speed goes to stderr."""
    from ..m2 import generate as generation

    end_with_the_reader()
    text, figures = generation.generate(model, size, prompt.encode(), seed, temperature)
    lines = [generation.speed(model, figures)]
    if beside is not None:
        _, figures = generation.generate(beside, size, prompt.encode(), seed, temperature)
        lines.append(generation.speed(beside, figures))
    write_all(stdout_bytes(), text)
    print("\n" + "\n".join(lines), file=sys.stderr)


def meaning(
    corpus: Annotated[list[Path], typer.Argument(help="Text files, *.zst shards, folders.")],
    names: Annotated[
        str | None, typer.Option(help="Tokenizations, e.g. 'bpe-32000,ac-16,eqinfo-16-16'.")
    ] = None,
    total: Annotated[
        str, typer.Option("--bytes", metavar="SIZE", help="Bytes of text to read.")
    ] = "2M",
) -> None:
    """Measure whether tokens keep their meaning: the entropy of the text at a token, given it."""
    from ..m2 import compare as comparison
    from ..m2 import data
    from ..m2.meaning import compared

    end_with_the_reader()
    documents = list(data.pieces(corpus, parse_size(total)))
    chosen = comparison.NAMES if names is None else names.split(",")
    print(compared(chosen, documents), end="")

"""``nzip train`` and ``nzip prior``: models and priors made from the user's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..atomic import atomic_output, check_output
from ..inputs import find_files
from ..progress import Bar, View
from .options import Force, SampleSplit, Threads, complete_model, parse_size


def make_prior(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders of samples.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The prior's file.")],
    size: Annotated[
        str, typer.Option("--size", metavar="SIZE", help="The most bytes of samples.")
    ] = "64K",
    split: Annotated[
        SampleSplit,
        typer.Option(
            "--split", help="What a sample is: a line, a file, or a text between NUL bytes."
        ),
    ] = SampleSplit.lines,
    seed: Annotated[int, typer.Option(help="Another seed chooses other samples.")] = 1,
    force: Force = False,
) -> None:
    """Choose samples of your own data that nzip reads before each block (-D): for small records."""
    from ..corpus import Documents
    from ..prior import Prior, choose

    check_output(output, force)
    samples = Documents(find_files(paths), split.value)
    with Bar(output.name, lambda: View(samples.done, samples.total)):
        chosen = Prior(choose(samples, parse_size(size), seed))
    with atomic_output(output, replace=force) as stream:
        stream.write(chosen.dump())
    print(f"{output}: prior {chosen.digest.hex()[:8]}, {len(chosen.samples):,} bytes of samples")


def train(
    paths: Annotated[list[Path], typer.Argument(help="Text files, *.zst shards, folders.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model file to write.")],
    size: Annotated[
        str | None,
        typer.Option(
            help="nano, small, base (the default), large or windows (the default with --windows);"
            " with --from: the size to grow to."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Fine-tune this model (a name or a file).",
            autocompletion=complete_model,
        ),
    ] = None,
    tables: Annotated[
        str | None,
        typer.Option(
            help="Use the tables of this model or file unchanged; the new file refers to them."
        ),
    ] = None,
    table_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Bytes of tables, if new ones are trained. Default: 32M."
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(help="Write the tables to this separate file, for --tables."),
    ] = None,
    changes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="With --from: bytes of table rows that may change; those that the text uses most"
            " do. The new file holds them and refers to that model's tables for all others."
            " Default: 4M.",
        ),
    ] = None,
    windows: Annotated[
        bool,
        typer.Option("--windows", help="For eqinfo and tokens: M1 is reset often."),
    ] = False,
    part: Annotated[
        int, typer.Option(min=4, max=256, help="With --windows: bytes after which M1 is reset.")
    ] = 24,
    total: Annotated[
        str | None,
        typer.Option(
            "--bytes",
            metavar="SIZE",
            help="Bytes of text to train on, e.g. 300M. Default: 300M; with --from, one pass over"
            " the text.",
        ),
    ] = None,
    lanes: Annotated[int | None, typer.Option(min=1, help="Texts read in parallel.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and sampling.")] = 1,
    begin: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of each source that is skipped at first."),
    ] = 0.0,
    mix: Annotated[
        str | None,
        typer.Option(
            help="Weights of sources, e.g. 'wiki=20,code=12'; a file's source is its name up to"
            " the first '-' or '.'. Without it, all bytes count the same."
        ),
    ] = None,
    relay: Annotated[
        str | None,
        typer.Option(
            help="Shares of sources in which long lines are wrapped, as in files of other origin,"
            " e.g. 'prose=0.4,wiki=0.1'."
        ),
    ] = None,
    patience: Annotated[
        int,
        typer.Option(
            min=0,
            help="Stop after this many validations without a gain and keep the best; 0: never.",
        ),
    ] = 4,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Where to save progress; default: next to the output.")
    ] = None,
    keep_checkpoints: Annotated[
        bool,
        typer.Option("--keep-checkpoints", help="Keep checkpoints when the model is written."),
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 …; default: cuda if available.")
    ] = None,
    threads: Threads = None,
) -> None:
    """Train a model (M1) on text, or fine-tune one; resumes from its checkpoint.

    Data-parallel on several GPUs or machines: torchrun --nproc-per-node 4 -m nzip train …
    """
    from ..train.command import run

    run(
        paths,
        output,
        size=size,
        start=start,
        tables=tables,
        table_size=None if table_size is None else parse_size(table_size),
        split=split,
        changes=None if changes is None else parse_size(changes),
        windows=windows,
        part=part,
        total=None if total is None else parse_size(total),
        lanes=lanes,
        rate=rate,
        seed=seed,
        begin=begin,
        mix=mix,
        relay=relay,
        patience=patience,
        checkpoint=checkpoint,
        keep_checkpoints=keep_checkpoints,
        device=device,
        threads=threads,
    )

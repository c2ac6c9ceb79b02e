"""``nzip tokenize`` and ``detokenize``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..frame import DEFAULT_WINDOW
from .options import (
    Context,
    ContextName,
    ModelName,
    ResetEvery,
    ShowProgress,
    SplitName,
    TokenizationName,
    Window,
    resets_of,
)
from .screen import table


def tokenize(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Text files, also compressed by gzip, zstd, xz, bzip2 or nzip; Parquet files;"
            " folders; - for stdin."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="The file to write: .bin, .npy or .parquet; .json with --train."
        ),
    ],
    tokenization: Annotated[
        TokenizationName,
        typer.Option(
            help="A vocabulary counted on texts, Equal-Info Windows under a model, or one of those"
            " that the paper compares them with."
        ),
    ] = TokenizationName.counted,
    vocabulary: Annotated[
        Path | None, typer.Option(help="A vocabulary written by --train, not the released one.")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Count a vocabulary on the texts and write it.")
    ] = False,
    train_bytes: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --train: the most bytes of text to count. [default: 100000000]"
        ),
    ] = None,
    window: Window = None,
    token_bits: Annotated[
        int | None,
        typer.Option(help="Bits per token, 8 or 16. Default: 16 for windows, else 8."),
    ] = None,
    context: Context = ContextName.reset,
    reset_every: ResetEvery = None,
    align: Annotated[
        str | None, typer.Option(help="'word': end a window where a word begins, if one does.")
    ] = None,
    lookahead: Annotated[
        bool,
        typer.Option("--lookahead", help="Use as few windows as possible, not the longest first."),
    ] = False,
    model: ModelName = None,
    split: Annotated[
        SplitName,
        typer.Option(
            help="What a document is: a file, a text between NUL bytes, or a field of a JSON line."
        ),
    ] = SplitName.file,
    field: Annotated[
        str | None, typer.Option(help="The field of JSON lines. Default: text.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="The column of Parquet files that contains the texts.")
    ] = None,
    eos: Annotated[
        bool | None,
        typer.Option(
            "--eos/--no-eos",
            help="End documents with a token. Default: yes if there is one, but not in Parquet.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("-f", "--force", help="Overwrite files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    progress: ShowProgress = None,
) -> None:
    """Turn text into tokens for training: uint16 or uint8, with an index of the documents.

    With --train: count a vocabulary on the text, for --vocabulary.
    """
    from ..tokens import command

    resets = resets_of(context, reset_every)
    if train:
        odd = (model, vocabulary, token_bits, eos)
        if tokenization != TokenizationName.counted or resets != 1 or lookahead or any(odd):
            raise ValueError("--train goes with --window, --align, --split and --train-bytes only")
        row = command.train(
            paths,
            output,
            split=split.value,
            field=field,
            column=column,
            window=window or DEFAULT_WINDOW,
            align=align,
            limit=train_bytes,
            force=force,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        table(list(row), [row], as_json)
        return
    if train_bytes is not None:
        raise ValueError("--train-bytes is for --train")
    row = command.tokenize(
        paths,
        output,
        tokenization.value,
        split=split.value,
        field=field,
        column=column,
        eos=eos,
        force=force,
        progress=progress,
        model=model,
        window=window,
        token_bits=token_bits,
        reset_every=resets,
        align=align,
        lookahead=lookahead,
        vocabulary=vocabulary,
    )
    table(list(row), [row], as_json)


def detokenize(
    source: Annotated[Path, typer.Argument(help="A file that nzip tokenize wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The text file to write.")],
    split: Annotated[
        SplitName, typer.Option(help="nul: write a NUL byte between documents.")
    ] = SplitName.file,
    force: Annotated[bool, typer.Option("-f", "--force", help="Overwrite files.")] = False,
    progress: ShowProgress = None,
) -> None:
    """Turn tokens back into the text they were made from."""
    from ..tokens import command

    command.detokenize(source, output, split.value, force, progress)

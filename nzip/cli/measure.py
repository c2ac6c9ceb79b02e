"""``nzip bench``, ``eval``, ``models`` and ``sample``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..atomic import write_all
from ..levels import DEFAULT_LEVEL
from ..progress import Bar, View
from .batch import each
from .job import expand_folders
from .options import Force, Level, ModelName, ShowProgress, Threads, load_prior
from .screen import end_with_the_reader, stdout_bytes, table


def bench(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    level: Level = DEFAULT_LEVEL,
    threads: Threads = None,
    model: ModelName = None,
    prior: Annotated[
        Path | None,
        typer.Option(
            "-D",
            "--prior",
            metavar="FILE",
            help="Also nzip with this prior, and zstd -19 with the same bytes as its dictionary.",
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", help="Compressors to run, e.g. 'nzip ac,zstd -19'.")
    ] = None,
    adjusted: Annotated[
        bool, typer.Option("--adjusted", help="Add the model's bytes to the total, once.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A Markdown table.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Run every level of nzip and of the compressors installed here (also bzip3, zpaq,"
            " kanzi, 7z and paq8px), and plot size against speed to this PNG file."
        ),
    ] = None,
    progress: ShowProgress = None,
) -> None:
    """Compare nzip with gzip, zstd, xz and brotli; every round trip is verified."""
    from .. import plots
    from ..bench import report, runner

    end_with_the_reader()
    if as_json + as_csv + as_markdown > 1:
        raise typer.BadParameter("--json, --csv and --markdown exclude each other")
    codecs = runner.codecs(
        level=level,
        threads=threads,
        model=model,
        only=only,
        frontier=plot is not None,
        prior=load_prior(prior),
    )
    if plot is not None:
        plots.pyplot()  # before an hour of measuring, not after it
    results = runner.run(paths, codecs, adjusted=adjusted, progress=progress)
    if plot is not None:
        report.plot_frontier(results, plot)
    write = report.as_json if as_json else report.as_csv if as_csv else None
    if write is not None:
        write(results, sys.stdout)
    elif as_markdown:
        report.as_markdown(results, sys.stdout)
    else:
        report.as_table(results)
    bad = [r for r in results if not r.verified]
    for result in bad:
        print(f"nzip: {result.file}: {result.codec}: the round trip failed", file=sys.stderr)
    if bad:
        raise typer.Exit(1)


def evaluate_model(
    paths: Annotated[list[Path], typer.Argument(help="Text files and folders.")],
    model: ModelName = None,
    adapt: Annotated[
        bool, typer.Option("--adapt/--no-adapt", help="Add the models that learn from the text.")
    ] = False,
    curve: Annotated[bool, typer.Option("--curve", help="Bits per byte by position.")] = False,
    length: Annotated[
        int, typer.Option(min=1, max=32767, help="With --curve: bytes of the pieces of text.")
    ] = 16384,
    png: Annotated[Path | None, typer.Option(help="Plot the curve to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    threads: Threads = None,
) -> None:
    """Measure how many bits per byte a model needs for texts, without encoding them."""
    from .. import evaluate, models

    end_with_the_reader()
    m1 = models.load(model)
    files = list(expand_folders(paths, recursive=True, compressed=False))
    if not files:
        raise FileNotFoundError("no files found")
    texts = [path.read_bytes() for path in files]
    rows: list[dict[str, Any]]
    if curve or png:
        points = evaluate.curve(m1, texts, adapt, length, threads)
        if png:
            evaluate.plot(points, png, m1.name)
        columns = ["first", "last", "bpb", "bytes"]
        rows = [dict(zip(columns, (p.first, p.last, p.bpb, p.bytes), strict=True)) for p in points]
    else:
        columns = ["file", "bytes", "bpb"]
        size = sum(map(len, texts))
        watches: list[Any] = []
        with Bar(m1.name, lambda: View(sum(watch.done for watch in [*watches]), size)):
            rows = [
                {
                    "file": str(path),
                    "bytes": len(text),
                    # JSON has no NaN.
                    "bpb": evaluate.bits_per_byte(m1, text, adapt, threads, watches)
                    if text
                    else None,
                }
                for path, text in zip(files, texts, strict=True)
            ]
        if len(rows) > 1 and size:
            bits = sum(row["bpb"] * row["bytes"] for row in rows if row["bytes"])
            rows.append({"file": "total", "bytes": size, "bpb": bits / size})
    table(columns, rows, as_json)


def list_models(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[add FILE...]", help="Files to install.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    force: Force = False,
) -> None:
    """List the installed models, or install model files."""
    from .. import models

    if words:
        if words[0] != "add" or len(words) < 2:
            raise typer.BadParameter(
                "'nzip models' lists models, 'nzip models add FILE' installs one"
            )
        each(
            [Path(word) for word in words[1:]],
            lambda path: print(f"installed {models.add(path, force)}"),
        )
        return
    end_with_the_reader()
    rows: list[dict[str, Any]] = []

    def describe_model(path: Path) -> None:
        m1 = models.load(path)
        rows.append(
            {
                "name": path.stem,
                "hash": m1.digest.hex()[:8],
                "released": path.stem in models.RELEASED,
                "default": path.stem == models.DEFAULT,
                "bytes": path.stat().st_size,
                "tables": m1.tables.digest.hex()[:8],
                "units": m1.hidden,
                "blocks": m1.blocks,
                "multiply-adds": m1.multiply_adds,
                "file": str(path),
            }
        )

    try:
        each(models.networks(), describe_model)
    finally:
        columns = ["name", "hash", "bytes", "tables", "units", "blocks", "multiply-adds", "file"]
        table(columns, rows, as_json)


def sample_text(
    size: Annotated[int, typer.Option("-n", "--bytes", help="Bytes to generate.")] = 1000,
    prompt: Annotated[str, typer.Option(help="The text to continue.")] = "",
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same text.")] = None,
    model: ModelName = None,
) -> None:
    """Decode random bits into text: the compressor as a generator."""
    from .. import evaluate, models

    end_with_the_reader()
    text = evaluate.sample(models.load(model), size, seed, prompt.encode())
    write_all(stdout_bytes(), text)

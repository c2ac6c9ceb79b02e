"""The figures of a benchmark as a table for people, or as JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import TextIO

from ..evaluate import plots
from .runner import TOTAL, Result

COLUMNS = ("codec", "bytes", "ratio", "bpb", "MB/s in", "MB/s out")


def _cells(result: Result) -> list[str]:
    return [
        result.codec + ("" if result.verified else " FAILED"),
        f"{result.compressed:,}",
        f"{result.ratio:.3f}",
        f"{result.bpb:.3f}",
        f"{result.compress_speed / 1e6:.2f}",
        f"{result.decompress_speed / 1e6:.2f}",
    ]


def as_table(results: list[Result]) -> None:
    """A table a file on the terminal, the smallest result in bold."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, group in groupby(results, key=lambda r: r.file):
        rows = list(group)
        table = Table(title=f"{name} ({rows[0].size:,} bytes)", title_justify="left")
        for place, column in enumerate(COLUMNS):
            table.add_column(column, justify="right" if place else "left")
        best = min(row.compressed for row in rows)
        for row in rows:
            table.add_row(*_cells(row), style="bold" if row.compressed == best else None)
        console.print(table)
    checked = sum(r.verified for r in results)
    console.print(f"{checked} of {len(results)} rows verified: decompressed and compared")


def as_markdown(results: list[Result], out: TextIO) -> None:
    """The same as Markdown."""
    for name, group in groupby(results, key=lambda r: r.file):
        rows = list(group)
        print(f"\n{name} ({rows[0].size:,} bytes)\n", file=out)
        print("| " + " | ".join(COLUMNS) + " |", file=out)
        print("|---" + "|---:" * (len(COLUMNS) - 1) + "|", file=out)
        for row in rows:
            print("| " + " | ".join(_cells(row)) + " |", file=out)


def as_json(results: list[Result], out: TextIO) -> None:
    """A list of objects, stable from release to release."""
    json.dump([r.as_dict() for r in results], out, indent=1)
    out.write("\n")


def as_csv(results: list[Result], out: TextIO) -> None:
    """One line a result, with a header."""
    rows = [r.as_dict() for r in results]
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def plot_frontier(results: list[Result], path: Path) -> None:
    """Draw size against speed, both ways: the totals, one line a program. Raises ImportError."""
    pyplot = plots()
    figure, panels = pyplot.subplots(1, 2, figsize=(12, 5), sharey=True)
    totals = [r for r in results if r.file == TOTAL]
    ways: list[tuple[str, Callable[[Result], float]]] = [
        ("compressing", lambda r: r.compress_speed / 1e6),
        ("decompressing", lambda r: r.decompress_speed / 1e6),
    ]
    for axes, (title, speed) in zip(panels, ways, strict=True):
        for name, group in groupby(sorted(totals, key=_family), key=_family):
            rows = list(group)
            axes.plot(
                [speed(r) for r in rows],
                [r.bpb for r in rows],
                "o-" if name == "nzip" else ".--",
                label=name,
                linewidth=1.5 if name == "nzip" else 0.7,
            )
            for row in rows:
                label = row.codec.removeprefix(name).strip()
                axes.annotate(label, (speed(row), row.bpb), fontsize=7)
        axes.set_xscale("log")
        axes.set_xlabel(f"{title}, MB/s")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("bits per byte")
    panels[1].legend(fontsize=8)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    pyplot.close(figure)


def _family(result: Result) -> str:
    return result.codec.partition(" ")[0]

"""The figures of a benchmark as a table for people, or as JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import json
from itertools import groupby
from typing import TextIO

from .runner import Result

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

"""The results of a benchmark as a table on the terminal, Markdown, JSON, CSV or a plot."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from .. import plots
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
    """Print a table per file on the terminal, with the smallest result in bold."""
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
    """Write a Markdown table per file."""
    for name, group in groupby(results, key=lambda r: r.file):
        rows = list(group)
        print(f"\n{name} ({rows[0].size:,} bytes)\n", file=out)
        print("| " + " | ".join(COLUMNS) + " |", file=out)
        print("|---" + "|---:" * (len(COLUMNS) - 1) + "|", file=out)
        for row in rows:
            print("| " + " | ".join(_cells(row)) + " |", file=out)


def as_json(results: list[Result], out: TextIO) -> None:
    """Write a JSON list of objects (see Result.as_dict), with keys stable across releases."""
    json.dump([r.as_dict() for r in results], out, indent=1)
    out.write("\n")


def as_csv(results: list[Result], out: TextIO) -> None:
    """Write CSV: a header, then one line per result, with the columns of Result.as_dict."""
    rows = [r.as_dict() for r in results]
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


COLOURS = [colour for colour in plots.COLOURS if colour != "#000000"]  # black is nzip's
FAMILIES = ("gzip", "zstd", "xz", "brotli", "bzip3", "zpaq", "kanzi", "7z", "bzip2", "paq8px")
LABELLED = ("-1", "-4", "-6", "-7", "-8", "-9")  # nzip's; the others lie close to one of these


def plot_frontier(results: list[Result], path: Path) -> None:
    """Plot the totals, size against speed in both directions, with one line per program.

    Raises ImportError without matplotlib.
    """
    pyplot = plots.pyplot()
    figure, panels = pyplot.subplots(1, 2, figsize=(13, 6), sharey=True)
    totals = sorted((r for r in results if r.file == TOTAL), key=_order)
    ways: list[tuple[str, Callable[[Result], float]]] = [
        ("compressing", lambda r: r.compress_speed / 1e6),
        ("decompressing", lambda r: r.decompress_speed / 1e6),
    ]
    for axes, (title, speed) in zip(panels, ways, strict=True):
        labels = []
        for name, group in groupby(totals, key=_family):
            rows = list(group)
            mine = name == "nzip"
            place = FAMILIES.index(name) % len(COLOURS) if name in FAMILIES else -1
            colour = "black" if mine else COLOURS[place]
            axes.plot(
                [speed(r) for r in rows],
                [r.bpb for r in rows],
                "o-" if mine else ".-",
                color=colour,
                linewidth=2 if mine else 1,
                zorder=3 if mine else 2,
            )
            for row in rows:
                level = row.codec.removeprefix(name).strip()
                # Other programs have one label, at their last point.
                if level in LABELLED if mine else row is rows[-1]:
                    text = level if mine else f"{name} {level}".strip()
                    labels.append((speed(row), row.bpb, text, colour))
        axes.set_xscale("log")
        axes.set_xlabel(f"{title}, MB/s")
        _write_apart(axes, labels)
    panels[0].set_ylabel("bits per byte")
    figure.suptitle(
        "nzip (black, levels 1 to 9) and others: lower is smaller, further right faster"
    )
    figure.tight_layout()
    plots.save(figure, path)
    pyplot.close(figure)


def _write_apart(axes: Any, labels: list[tuple[float, float, str, str]]) -> None:
    """Write labels (x, y, text, colour) next to their points, moved up or down not to overlap."""
    axes.figure.canvas.draw()
    scale = axes.figure.dpi / 72
    taken: list[tuple[float, float, float, float]] = []
    for x, y, text, colour in sorted(labels, key=lambda label: label[1]):
        at_x, at_y = axes.transData.transform((x, y))
        width, height = 5.2 * len(text) * scale, 10 * scale
        start = -1.4 * height if colour == "black" else 0.0  # nzip's line goes on to the right
        for step in range(40):
            shift = start + (step + 1) // 2 * (-1 if step % 2 else 1) * height * 0.6
            left, low = at_x + 6 * scale, at_y + shift - height / 2
            box = (left, low, left + width, low + height)
            if all(box[2] < b[0] or b[2] < box[0] or box[3] < b[1] or b[3] < box[1] for b in taken):
                break
        taken.append(box)
        axes.annotate(
            text,
            (x, y),
            xytext=(6, shift / scale),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=colour,
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": colour}
            if abs(shift) > 2 * height
            else None,
        )


def _family(result: Result) -> str:
    return result.codec.partition(" ")[0]


def _order(result: Result) -> tuple[str, int]:
    """A key that sorts by program, then by level."""
    level = "".join(c for c in result.codec.partition(" ")[2] if c.isdigit())
    return _family(result), int(level or 0)

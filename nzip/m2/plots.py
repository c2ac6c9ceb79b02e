"""Bits per byte against compute, and against size: one line per tokenization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import plots
from .loop import Row
from .schemes import label


def draw(rows: list[Row], folder: Path) -> None:
    """Write compute.png and size.png to the folder, and an SVG of each. Raises ImportError."""
    pyplot = plots.pyplot()
    names = list(dict.fromkeys(row["name"] for row in rows))
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    figure, panels = pyplot.subplots(
        1, len(sizes), figsize=(6.5 * len(sizes) + 2, 7), sharey=True, squeeze=False
    )
    figure.subplots_adjust(wspace=1.2)  # room for the labels
    for axes, size in zip(panels[0], sizes, strict=True):
        for row in (row for row in rows if row["size"] == size):
            flops = [point["flops"] for point in row["curve"]]
            bits = [point["bpb"] for point in row["curve"]]
            axes.plot(flops, bits, label=label(row["name"]), **_look(names.index(row["name"])))
        axes.set(xscale="log", xlabel="FLOPs of training", title=f"{size} weights")
    panels[0][0].set(ylabel="bits per byte of held-out text")
    for axes in panels[0]:
        plots.label_ends(axes, 8)
    plots.save(figure, folder / "compute.png")
    pyplot.close(figure)
    figure, axes = pyplot.subplots(figsize=(8, 7))
    for i, name in enumerate(names):
        own = [row for row in rows if row["name"] == name]
        parameters, bits = [row["parameters"] for row in own], [row["bpb"] for row in own]
        axes.plot(parameters, bits, label=label(name), **_look(i))
    axes.set(
        xscale="log", xlabel="weights without embeddings", ylabel="bits per byte of held-out text"
    )
    plots.label_ends(axes, 8)
    plots.save(figure, folder / "size.png")
    pyplot.close(figure)


def _look(index: int) -> dict[str, Any]:
    """Colours come again with other markers and dashes."""
    again = index // len(plots.COLOURS)
    return {
        "color": plots.COLOURS[index % len(plots.COLOURS)],
        "marker": plots.MARKERS[index % len(plots.MARKERS)],
        "linestyle": ("-", "--", ":")[again % 3],
    }

"""Plots of bits per byte against compute and against size, with a line per tokenization."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from .loop import Row
from .schemes import label

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw(rows: list[Row], folder: Path) -> None:
    """Write compute.png and size.png to the folder."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    colours = {name: plt.colormaps["tab20"](i % 20) for i, name in enumerate(names)}
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    figure, axes = plt.subplots(
        1, len(sizes), figsize=(6 * len(sizes) + 2, 6), sharey=True, squeeze=False
    )
    for axis, size in zip(axes[0], sizes, strict=True):
        for row in (row for row in rows if row["size"] == size):
            axis.plot(
                [point["flops"] for point in row["curve"]],
                [point["bpb"] for point in row["curve"]],
                marker=".", color=colours[row["name"]], label=label(row["name"]),
            )  # fmt: skip
        axis.set(
            xscale="log", xlabel="FLOPs of training", title=f"{size} weights without embeddings"
        )
        axis.grid(alpha=0.3)
    axes[0][0].set(ylabel="bits per byte of held-out text")
    shown = axes[0][0].get_legend_handles_labels()  # the smallest size has all tokenizations
    axes[0][-1].legend(*shown, fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    _save(figure, folder / "compute.png")
    figure, axis = plt.subplots(figsize=(9, 6))
    for name in names:
        own = [row for row in rows if row["name"] == name]
        axis.plot(
            [row["parameters"] for row in own],
            [row["bpb"] for row in own],
            marker="o", color=colours[name], label=label(name),
        )  # fmt: skip
    axis.set(
        xscale="log", xlabel="weights without embeddings", ylabel="bits per byte of held-out text"
    )
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    _save(figure, folder / "size.png")


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)

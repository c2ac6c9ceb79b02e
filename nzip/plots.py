"""How nzip's figures look: readable at the width of a page, each line labelled where it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Okabe and Ito's colours, which people with any sight can tell apart.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#000000", "#7F7F7F", "#A6761D"),
)
MARKERS = "os^Dv<>Ph"
RC: Any = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.dpi": 110,
    "font.size": 10,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "savefig.bbox": "tight",
    "savefig.dpi": 150,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "nzip",  # the same figure is the same file
}


def pyplot() -> Any:
    """matplotlib's pyplot in this style, for files. Raises ImportError without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'nzip[bench]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot, rcsetup

    pyplot.rcParams.update(RC)
    pyplot.rcParams["axes.prop_cycle"] = rcsetup.cycler(color=COLOURS)
    return pyplot


def label_ends(axes: Any, size: float = 9) -> None:
    """Write each line's label to the right of the axes, beside its last point as far as the others
    allow, with a thin line to it.

    Call it when the lines are drawn and the limits are set; size: of the text, in points.
    """
    scale = axes.figure.dpi / 72
    lines = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    ends = [(float(line.get_xdata()[-1]), float(line.get_ydata()[-1])) for line in lines]
    heights = [float(axes.transData.transform(end)[1]) / scale for end in ends]
    order = sorted(range(len(lines)), key=lambda i: heights[i])
    places: dict[int, float] = {}
    least = -float("inf")
    for i in order:  # upwards, none closer than a line of text
        places[i] = max(heights[i], least)
        least = places[i] + 1.15 * size
    for i, line in enumerate(lines):
        bottom, top = axes.get_window_extent().intervaly / scale
        axes.annotate(
            line.get_label(),
            ends[i],
            xytext=(1.03, (places[i] - bottom) / (top - bottom)),
            textcoords="axes fraction",
            va="center",
            fontsize=size,
            color=line.get_color(),
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": line.get_color(), "shrinkA": 1},
            annotation_clip=False,
        )


def save(figure: Any, path: Path) -> None:
    """Write a figure as PATH and, beside it, as an SVG."""
    for each in (path, path.with_suffix(".svg")):
        metadata = {"Date": None} if each.suffix == ".svg" else None
        figure.savefig(each, metadata=metadata)

"""Plots a run of tools/gpu_train.py: held-out bits per byte against bytes read.

python tools/plot_training.py docs/training.jsonl docs/training.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def main(log: Path, picture: Path) -> None:
    rows = [json.loads(line) for line in log.read_text().splitlines()][1:]
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for name in rows[-1]["english"]:
        values = [row["english"][name] for row in rows]
        axes.plot([row["bytes"] / 1e9 for row in rows], values, marker=".", label=name)
    axes.set_xlabel("text read (GB)")
    axes.set_ylabel("held-out English (bits per byte)")
    axes.set_title("Four networks on tables that they train together")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Plots a run of tools/gpu_train.py: held-out bits per byte against bytes read.

    python tools/plot_training.py docs/training.jsonl docs/training.png

writes docs/training.svg beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from nzip import plots


def main(log: Path, picture: Path) -> None:
    rows = [json.loads(line) for line in log.read_text().splitlines()][1:]
    figure, axes = plots.pyplot().subplots(figsize=(7, 4.2))
    for name, marker in zip(rows[-1]["english"], plots.MARKERS, strict=False):
        values = [row["english"][name] for row in rows]
        axes.plot([row["bytes"] / 1e9 for row in rows], values, marker=marker, label=name)
    axes.set_xlabel("text read, GB")
    axes.set_ylabel("bits per byte of held-out English")
    axes.set_title("Four networks, trained together with their tables", loc="left")
    plots.label_ends(axes)
    plots.save(figure, picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

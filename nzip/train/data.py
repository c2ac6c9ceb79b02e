"""Training text: shards, files and folders as lanes of segments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..corpus import documents, file_size, find_files

PIECE = 32768  # bytes of a document that one lane reads before it draws another
HELD_OUT = 1 << 16  # at most this much at the head of each source is kept for validation


def source_name(path: Path) -> str:
    """What ``--mix`` calls a file: its name up to the first ``-`` or ``.``."""
    return path.name.split(".")[0].split("-")[0]


class Corpus:
    """Sources (groups of files) that are sampled by weight; the head of each is held out."""

    def __init__(self, paths: list[Path], mix: dict[str, float] | None = None):
        groups: dict[str, list[Path]] = {}
        for path in find_files(paths):
            groups.setdefault(source_name(path) if mix else "all", []).append(path)
        if mix:
            unknown = set(mix) - set(groups)
            if unknown:
                raise ValueError(f"--mix names no such source: {', '.join(sorted(unknown))}")
            groups = {name: groups[name] for name in mix}
        self.groups = groups
        self.sizes = {n: sum(map(file_size, files)) for n, files in groups.items()}
        total = sum((mix or {"all": 1.0}).values())
        self.weights = {name: (mix[name] if mix else 1.0) / total for name in groups}
        # The first file of a source gives its held-out head.
        self.held = {
            name: min(HELD_OUT, file_size(files[0]) // 20) for name, files in groups.items()
        }

    def smallest(self) -> int:
        """Bytes of the smallest source."""
        return min(self.sizes.values())

    def held_out(self) -> dict[str, bytes]:
        """Validation text of each source."""
        return {
            name: b"\n".join(documents(files[0], limit=self.held[name]))
            for name, files in self.groups.items()
        }

    def _pieces(self, name: str, segment: int, begin: float) -> Iterator[np.ndarray]:
        skip = int(begin * self.sizes[name])
        while True:  # epochs
            empty = True
            for number, path in enumerate(self.groups[name]):
                size = file_size(path)
                if skip >= size:
                    skip -= size
                    continue
                first = max(skip, self.held[name] if number == 0 else 0)
                for document in documents(path, skip=first):
                    for start in range(0, len(document), PIECE):
                        piece = document[start : start + PIECE]
                        whole = len(piece) // segment * segment
                        if whole:
                            empty = False
                            yield np.frombuffer(piece[:whole], np.uint8)
                skip = 0
            if empty and not begin:
                raise ValueError(f"the source {name} holds no document of {segment} bytes")
            skip, begin = 0, 0.0

    def batches(
        self, lanes: int, segment: int, seed: int, reset: float, begin: float = 0.0
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Endless (bytes uint8 [lanes, segment], fresh bool [lanes]) pairs.

        ``fresh`` marks lanes whose state starts anew: at each piece, and by chance ``reset`` at
        any other segment, since the windows of ``eqinfo`` start anywhere. ``begin`` is the share
        of each source that is passed over at first.
        """
        rng = np.random.default_rng(seed)
        streams = {name: self._pieces(name, segment, begin) for name in self.groups}
        drawn = dict.fromkeys(self.groups, 0)
        total = 0
        pieces: list[np.ndarray] = [np.empty(0, np.uint8)] * lanes
        places = np.zeros(lanes, np.int64)
        while True:
            batch = np.empty((lanes, segment), np.uint8)
            fresh = rng.random(lanes) < reset
            for lane in range(lanes):
                if places[lane] >= len(pieces[lane]):
                    name = max(drawn, key=lambda n: self.weights[n] * total - drawn[n])
                    pieces[lane] = next(streams[name])
                    drawn[name] += len(pieces[lane])
                    total += len(pieces[lane])
                    places[lane] = 0
                    fresh[lane] = True
                batch[lane] = pieces[lane][places[lane] : places[lane] + segment]
                places[lane] += segment
            yield batch, fresh

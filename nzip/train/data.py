"""Training text: shards, files and folders as lanes of segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..corpus import documents, file_size, find_files

Cuts = Callable[[bytes], np.ndarray]
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

    def _pieces(
        self, name: str, segment: int, begin: float, cuts: Cuts | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pieces of documents, uint8, and where in them segments begin."""
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
                        last = len(piece) - segment
                        if cuts is None:
                            places = np.arange(0, last + 1, segment)
                        else:
                            places = cuts(piece)
                            places = places[places <= last]
                        if len(places):
                            empty = False
                            yield np.frombuffer(piece, np.uint8), places
                skip = 0
            if empty and not begin:
                raise ValueError(f"the source {name} holds no document of {segment} bytes")
            skip, begin = 0, 0.0

    def batches(
        self,
        lanes: int,
        segment: int,
        seed: int,
        reset: float,
        begin: float = 0.0,
        cuts: Cuts | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Endless (bytes uint8 [lanes, segment], fresh bool [lanes]) pairs.

        ``fresh`` marks lanes whose state starts anew: at each piece, and by chance ``reset`` at
        any other segment, since the windows of ``eqinfo`` start anywhere. ``begin`` is the share
        of each source that is passed over at first. cuts: from a text to the places where segments
        begin; without it one begins where the one before ends.
        """
        rng = np.random.default_rng(seed)
        streams = {name: self._pieces(name, segment, begin, cuts) for name in self.groups}
        drawn = dict.fromkeys(self.groups, 0)
        total = 0
        pieces = [(np.empty(0, np.uint8), np.empty(0, np.int64))] * lanes
        done = [0] * lanes  # segments of the lane's piece
        while True:
            batch = np.empty((lanes, segment), np.uint8)
            fresh = rng.random(lanes) < reset
            for lane in range(lanes):
                if done[lane] == len(pieces[lane][1]):
                    name = max(drawn, key=lambda n: self.weights[n] * total - drawn[n])
                    pieces[lane] = next(streams[name])
                    taken = segment * len(pieces[lane][1])
                    drawn[name] += taken
                    total += taken
                    done[lane] = 0
                    fresh[lane] = True
                piece, places = pieces[lane]
                place = places[done[lane]]
                batch[lane] = piece[place : place + segment]
                done[lane] += 1
            yield batch, fresh

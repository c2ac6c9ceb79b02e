"""Training text: shards, files and folders as lanes of segments, some with other line breaks."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..corpus import documents, file_size
from ..inputs import find_files

Cuts = Callable[[bytes], np.ndarray]
PIECE = 32768  # bytes of a document that one lane reads before it draws another piece
HELD_OUT = 1 << 16  # the most bytes of each source that are kept for validation,
HELD_PART = 1 << 13  # and the most of each document


def source_name(path: Path) -> str:
    """The source of a file, for ``--mix``: its name up to the first ``-`` or ``.``."""
    return path.name.split(".")[0].split("-")[0]


def _wrap(line: bytes, width: int) -> list[bytes]:
    """Wrap a paragraph to lines of at most ``width`` bytes, unless a word is longer."""
    out = []
    while len(line) > width:
        cut = line.rfind(b" ", 1, width + 1)
        if cut < 0:
            cut = line.find(b" ", width)
        if cut < 0:
            break
        out.append(line[:cut])
        line = line[cut + 1 :]
    return [*out, line]


def relaid(piece: bytes, rng: np.random.Generator) -> bytes:
    """Wrap a text with long lines at 60 to 80 columns, as in older text files.

    Some texts also get empty lines or an indent between paragraphs, two spaces after a sentence,
    CR LF, or Latin-1. A text whose lines are short already is not changed.
    """
    if len(piece) < 100 * (piece.count(b"\n") + 1):
        return piece
    width = int(rng.integers(60, 81))
    spaced, indent = rng.random() < 0.3, b" " * int(rng.choice([0, 0, 0, 2, 3, 4, 5]))
    gap = rng.random() < 0.8
    lines = []
    for paragraph in piece.split(b"\n"):
        if spaced:
            for mark in (b". ", b"? ", b"! "):
                paragraph = paragraph.replace(mark, mark + b" ")
        prose = len(paragraph) > width
        lines += _wrap(indent + paragraph if prose else paragraph, width)
        if gap and prose:
            lines.append(b"")
    out = b"\n".join(lines)
    if rng.random() < 0.04:
        out = out.replace(b"\n", b"\r\n")
    if rng.random() < 0.04:
        out = out.decode("utf-8", "ignore").encode("latin-1", "ignore")
    return out


class _Source:
    """The pieces of one source's files, over and over; its position can be saved and restored."""

    def __init__(
        self, name: str, files: list[Path], held: int, least: int, relay: float, seed: int
    ):
        self.name, self.files, self.held = name, files, held
        self.least, self.relay, self.seed = least, relay, seed
        self.file, self.offset = 0, held
        self.found = False  # whether there was a piece, in this pass or before
        self._pieces: Iterator[tuple[int, bytes]] | None = None

    def pass_over(self, share: float) -> None:
        """Skip that share of the bytes."""
        left = int(share * sum(map(file_size, self.files)))
        for number, path in enumerate(self.files):
            size = file_size(path)
            if left < size:
                self.file, self.offset = number, max(left, self.held if number == 0 else 0)
                return
            left -= size

    def _read(self) -> Iterator[tuple[int, bytes]]:
        """Yield (offset after the piece, piece) from the position to the end of the file."""
        offset = self.offset
        for document in documents(self.files[self.file], skip=offset):
            for start in range(0, len(document), PIECE):
                piece = document[start : start + PIECE]
                end = offset + min(start + PIECE, len(document))
                yield end + (start + PIECE >= len(document)), piece
            offset += len(document) + 1

    def next(self) -> bytes:
        """The next piece of ``least`` bytes or more. Raises ValueError if there is none."""
        while True:
            if self._pieces is None:
                self._pieces = self._read()
            for offset, piece in self._pieces:
                start, self.offset = self.offset, offset
                if len(piece) < self.least:
                    continue
                self.found = True
                if self.relay:
                    key = zlib.crc32(f"{self.seed} {self.name} {self.file} {start}".encode())
                    rng = np.random.default_rng(key)
                    if rng.random() < self.relay:
                        piece = relaid(piece, rng)
                return piece
            self._pieces = None
            self.file = (self.file + 1) % len(self.files)
            self.offset = 0 if self.file else self.held
            if self.file == 0 and not self.found:
                raise ValueError(f"the source {self.name} has no document of {self.least} bytes")


class Loader:
    """An endless iterator of batches; see ``Corpus.batches``.

    Its ``state()`` can be saved, and a loader with the same settings can go on from it.
    """

    def __init__(
        self,
        sources: dict[str, _Source],
        weights: dict[str, float],
        lanes: int,
        segment: int,
        seed: int,
        reset: float,
        cuts: Cuts | None,
    ):
        self.sources, self.weights = sources, weights
        self.lanes, self.segment, self.reset, self.cuts = lanes, segment, reset, cuts
        self.rng = np.random.default_rng(seed)
        self.drawn = dict.fromkeys(sources, 0)
        self.pieces = [b""] * lanes
        self.places = [np.empty(0, np.int64)] * lanes
        self.done = [0] * lanes  # segments of the lane's piece

    def _places(self, piece: bytes) -> np.ndarray:
        """The places in a piece where segments begin."""
        last = len(piece) - self.segment
        if self.cuts is None:
            return np.arange(0, last + 1, self.segment)
        places = self.cuts(piece)
        return places[places <= last]

    def _draw(self, lane: int) -> None:
        """Draw a new piece for a lane, from the source that is furthest below its weight."""
        total = sum(self.drawn.values())
        name = max(self.drawn, key=lambda n: self.weights[n] * total - self.drawn[n])
        places = np.empty(0, np.int64)
        while not len(places):
            self.pieces[lane] = self.sources[name].next()
            places = self._places(self.pieces[lane])
        self.places[lane], self.done[lane] = places, 0
        self.drawn[name] += self.segment * len(places)

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> tuple[np.ndarray, np.ndarray]:
        batch = np.empty((self.lanes, self.segment), np.uint8)
        fresh = self.rng.random(self.lanes) < self.reset
        for lane in range(self.lanes):
            if self.done[lane] == len(self.places[lane]):
                self._draw(lane)
                fresh[lane] = True
            start = self.places[lane][self.done[lane]]
            batch[lane] = np.frombuffer(self.pieces[lane], np.uint8, self.segment, start)
            self.done[lane] += 1
        return batch, fresh

    def state(self) -> dict[str, Any]:
        """The present position, in plain Python types."""
        return {
            "rng": self.rng.bit_generator.state,
            "drawn": dict(self.drawn),
            "sources": {n: (s.file, s.offset, s.found) for n, s in self.sources.items()},
            "pieces": list(self.pieces),
            "done": list(self.done),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of a loader with the same settings."""
        self.rng.bit_generator.state = state["rng"]
        self.drawn = dict(state["drawn"])
        for name, place in state["sources"].items():
            source = self.sources[name]
            source.file, source.offset, source.found = place
            source._pieces = None
        self.pieces, self.done = list(state["pieces"]), list(state["done"])
        self.places = [self._places(piece) for piece in self.pieces]


class Corpus:
    """Sources (groups of files) that are sampled by weight; their first documents are held out."""

    def __init__(
        self,
        paths: list[Path],
        mix: dict[str, float] | None = None,
        relay: dict[str, float] | None = None,
    ):
        """mix: weights by source. relay: by source, the share of pieces that ``relaid`` changes.

        Raises ValueError for a source in ``mix`` without files, and FileNotFoundError.
        """
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
        self.relay = relay or {}
        # The first documents of a source's first file are held out; validation reads their heads.
        self._held_out: dict[str, bytes] = {}
        self._held: dict[str, int] = {}
        for name, files in groups.items():
            self._held_out[name], self._held[name] = self.hold_out(files[0])

    @staticmethod
    def hold_out(path: Path) -> tuple[bytes, int]:
        """(validation text, bytes of the file that are not trained on)."""
        most = file_size(path) // 20
        parts: list[bytes] = []
        size = passed = 0
        for document in documents(path):
            part = document[: min(HELD_PART, HELD_OUT - size, most - size)]
            whole = passed + len(document) + 1
            if whole > 2 * most:  # too much of a small source: hold out only a part of the first
                if not parts:
                    part = document[: min(HELD_OUT, most)]
                    parts, passed = [part], len(part)
                break
            parts.append(part)
            size, passed = size + len(part), whole
            if size >= min(HELD_OUT, most):
                break
        return b"\n".join(parts), passed

    def smallest(self) -> int:
        """Bytes of the smallest source."""
        return min(self.sizes.values())

    def held(self, name: str) -> int:
        """Bytes at the start of a source's first file that are not trained on."""
        return self._held[name]

    def held_out(self) -> dict[str, bytes]:
        """The validation text of each source."""
        return dict(self._held_out)

    def batches(
        self,
        lanes: int,
        segment: int,
        seed: int,
        reset: float,
        begin: float = 0.0,
        cuts: Cuts | None = None,
    ) -> Loader:
        """An endless iterator of batches: bytes, uint8 [lanes, segment], and fresh, bool [lanes].

        ``fresh`` marks the lanes that are reset before the segment: at each new piece, and with
        probability ``reset`` at any other segment, since the windows of ``eqinfo`` begin anywhere.
        begin: share of each source that is skipped at first. cuts: a function from a text to the
        places where segments begin; without it each begins where the one before ends.
        """
        sources = {
            name: _Source(name, files, self._held[name], segment, self.relay.get(name, 0.0), seed)
            for name, files in self.groups.items()
        }
        if begin:
            for source in sources.values():
                source.pass_over(begin)
        return Loader(sources, self.weights, lanes, segment, seed, reset, cuts)

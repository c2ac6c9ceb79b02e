"""Recovers the intact blocks of a damaged file, which it knows by the checksum of each.

A block's CRC covers the frame's header, the model's hash and the block's number, so a match
identifies a block that was found by searching. A damaged frame header is restored by trying every
header that it may have been.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from zlib import crc32

from . import frame, models
from ._predict import Watch
from .errors import (
    FormatError,
    LimitError,
    ModelFileError,
    ModelNotFoundError,
    NzipError,
    TruncatedError,
)
from .levels import BLOCK_SIZES
from .modes import Context, contexts_at, decode_block
from .prior import in_use
from .stream import CHUNK
from .workers import Workers

# How many consecutive lost blocks the search looks past. Each extra one adds a 1 in 2^32 chance of
# a false match, for every context tried; with a damaged header there are many contexts.
MAX_LOST = 256
MAX_LOST_WITH_HEADER = 8
ZEROS = re.compile(rb"\0*\Z")


@dataclass(frozen=True)
class Sound:
    """An intact block: its CRC matches."""

    context: Context
    block: frame.Block


@dataclass(frozen=True)
class Lost:
    """A part of the file, bytes ``at`` to ``end`` (exclusive), from which nothing can be read.

    content: (start, end) of the missing bytes of content, end exclusive; None where not known.
    """

    what: str
    at: int
    end: int
    content: tuple[int | None, int | None]

    @property
    def size(self) -> int:
        """Bytes of content that are known to be missing."""
        start, stop = self.content
        return 0 if start is None or stop is None else stop - start

    def __str__(self) -> str:
        start, stop = self.content
        if start is None:
            lost = "content of unknown place"
        elif stop is None:
            lost = f"content from byte {start:,} on"
        elif stop == start:
            lost = "no content"
        else:
            lost = f"content bytes {start:,} to {stop - 1:,}"
        where = f"file bytes {self.at:,} to {self.end - 1:,}" if self.end > self.at else "cut off"
        return f"{self.what} ({where}): {lost} missing"


@dataclass(frozen=True)
class End:
    """The end of a frame, with its content check; None if blocks or the check were lost."""

    frame: int
    check: bytes | None


class Recovery:
    """The intact blocks of a file.

    lost: what is missing, one line per gap; complete once the content has been read.
    size: bytes of content in intact blocks.
    """

    def __init__(self, data: frame.Data, threads: int | None = None, max_memory: int | None = None):
        self._data = data
        self._parts, self._error = _Survey(data).run()
        self.size = sum(part.block.size for part in self._parts if isinstance(part, Sound))
        self.workers = Workers(threads, max_memory)
        self.lost = [str(part) for part in self._parts if isinstance(part, Lost)]

    def content(self, max_output: int | None = None, fill: bool = False) -> Generator[bytes]:
        """Yield the content of the intact blocks, in order.

        max_output: bytes; LimitError is raised before any decoding if there would be more.
        fill: put zeros in place of missing content, up to the first gap of unknown size, so that
        what follows keeps its position.

        Raises FormatError or ModelNotFoundError if no block is intact, LimitError if max_memory is
        too small, and FormatError for a code that no encoder writes.
        """
        if self._error is not None:
            raise self._error
        gaps = sum(part.size for part in self._parts if fill and isinstance(part, Lost))
        if max_output is not None and self.size + gaps > max_output:
            raise LimitError(f"the output would exceed the limit of {max_output} bytes")
        workers = self.workers
        sound = (part for part in self._parts if isinstance(part, Sound))
        workers.fit(max(part.context.memory(part.block.size) for part in sound))
        waiting: deque[Sound | Lost | End] = deque()
        crc = total = 0
        try:
            for part in (*self._parts, None):
                if isinstance(part, Sound):
                    workers.submit(self._decode, part, size=part.block.size)
                if part is not None:
                    waiting.append(part)
                while waiting and (
                    part is None or workers.full or not isinstance(waiting[0], Sound)
                ):
                    done = waiting.popleft()
                    if isinstance(done, Sound):
                        block = workers.result()
                        crc, total = crc32(block, crc), total + len(block)
                        yield block
                    elif isinstance(done, Lost):
                        for start in range(0, done.size if fill else 0, CHUNK):
                            yield bytes(min(CHUNK, done.size - start))
                    elif isinstance(done, End):
                        if done.check not in (None, frame.pack_check(crc, total)):
                            what = "all blocks are intact, but the content check does not match"
                            self.lost.append(f"frame {done.frame}: {what}")
                        crc = total = 0
        finally:
            workers.close()

    def _decode(self, part: Sound, watch: Watch) -> bytes:
        payload = bytes(memoryview(self._data)[part.block.start : part.block.end])
        context = part.context
        return decode_block(context.header, context.mode(), part.block, payload, watch)


class _Survey:
    """Finds the parts of a file by their checksums, without decoding anything."""

    def __init__(self, data: frame.Data):
        self._data = data
        self._parts: list[Sound | Lost | End] = []
        self._frame = 0
        self._place: int | None = 0  # in the content; None after a gap of unknown size

    def run(self) -> tuple[list[Sound | Lost | End], NzipError | None]:
        """Return the parts, and the reason if no block is intact, else None."""
        at = 0
        error: NzipError = TruncatedError("the input is empty")
        while at < len(self._data) and not (self._frame and ZEROS.match(self._data, at)):
            try:
                at = self._next(at)
            except NzipError as reason:
                error = reason
                end = self._behind(at)
                self._lose("no frame that can be read", at, end, None)
                at = end
        sound = any(isinstance(part, Sound) for part in self._parts)
        return self._parts, None if sound else error

    def _next(self, at: int) -> int:
        """Survey the frame or skippable frame at ``at``; return where the next one begins."""
        data = self._data
        if frame.is_skippable(data, at) and frame.skippable_end(data, at) <= len(data):
            return frame.skippable_end(data, at)
        self._frame += 1
        error: NzipError = FormatError("no intact block was found")
        try:
            own = list(contexts_at(data, at))
        except NzipError as reason:
            own, error = [], reason
        # Try the header as it is, then every header that it may have been before the damage. Match
        # the first block; failing that (below), any later one.
        for seeds in (_seeds(own, 0, 1), self._every):
            for size in {len(context.packed) for context, _ in seeds.values()}:
                block = self._parse(at + size)
                context, index = (block and seeds.get(self._seed(block))) or (None, 0)
                if context and index == 0 and len(context.packed) == size:
                    return self._blocks(context, at, context in own)
        for seeds in (_seeds(own, 0, MAX_LOST), self._every):
            found = self._search(seeds, at + 4, BLOCK_SIZES, self._behind(at))
            if found:
                return self._blocks(found[1], at, found[1] in own)
        for context in own:  # the first block is damaged, but its size is plausible
            block = self._parse(at + len(context.packed))
            if block and self._agrees(context, block, 0):
                return self._blocks(context, at, True)
        raise error

    @functools.cached_property
    def _every(self) -> Seeds:
        return _seeds(_all_contexts(), 0, MAX_LOST_WITH_HEADER)

    def _blocks(self, context: Context, at: int, header: bool) -> int:
        """Survey a frame with at least one intact block; return where it ends.

        header: whether the frame's header is intact.
        """
        index, total, whole = 0, 0, True
        start, at = at, at + len(context.packed)
        if not header:
            self._lose(f"frame {self._frame}, the header", start, at, 0)
        sizes: set[int] = set()  # of all blocks but the last
        while True:
            block = self._sound(context, at, index)
            if block is not None:
                self._parts.append(Sound(context, block))
                if self._place is not None:
                    self._place += block.size
                total += block.size
                at, index = block.end, index + 1
                if block.last:
                    break
                sizes.add(block.size)
                continue
            whole = False
            block = self._parse(at)
            if block and self._agrees(context, block, index):
                self._lose(f"frame {self._frame}, block {index}", at, block.end, block.size)
                at, index = block.end, index + 1
                if block.last:
                    break
                continue
            end = self._behind(at)
            seeds = _seeds([context], index, MAX_LOST)
            found = self._search(seeds, at, sizes or BLOCK_SIZES, end)
            if found is None:
                what = f"frame {self._frame}, block {index} and what follows"
                self._lose(what, at, end, None)
                self._parts.append(End(self._frame, None))
                return end
            place, _, later, size = found
            if len(sizes) == 1:
                size = min(sizes)
            what = f"block {index}" if later == index + 1 else f"blocks {index} to {later - 1}"
            if later == index:
                what, size = f"bytes in front of block {index}", 0
            lost = None if size is None else size * (later - index)
            self._lose(f"frame {self._frame}, {what}", at, place, lost)
            at, index = place, later
        if whole:
            end = at + frame.check_width(total)
            check = bytes(self._data[at:end])
            if end > len(self._data):
                self._lose(f"frame {self._frame}, the content check", at, len(self._data), 0)
            self._parts.append(End(self._frame, check if end <= len(self._data) else None))
        else:  # the length of the check is not known
            end = next((at + n for n in (2, 4) if self._starts(at + n)), self._behind(at))
            self._parts.append(End(self._frame, None))
        return min(end, len(self._data))

    def _agrees(self, context: Context, block: frame.Block, index: int) -> bool:
        """Tell whether what follows a damaged block confirms that block's header."""
        if block.last:
            return self._may_end(block)
        return self._sound(context, block.end, index + 1) is not None

    def _may_end(self, block: frame.Block) -> bool:
        return any(self._starts(block.end + n) for n in (2, 4))

    def _starts(self, at: int) -> bool:
        """Tell whether the file ends at ``at``, or something that may follow a frame begins."""
        data = self._data
        if at >= len(data):
            return at == len(data)
        return (
            data[at : at + 3] == frame.MAGIC
            or frame.is_skippable(data, at)
            or ZEROS.match(data, at) is not None
        )

    def _behind(self, at: int) -> int:
        """Return where the next frame after ``at`` begins, or the end of the data."""
        while (at := self._data.find(frame.MAGIC, at + 1)) >= 0:
            try:
                frame.parse_header(self._data, at)
            except FormatError:
                continue
            return at
        return len(self._data)

    def _parse(self, at: int) -> frame.Block | None:
        try:
            block = frame.parse_block(self._data, at)
        except FormatError:
            return None
        return block if block.end <= len(self._data) else None

    def _sound(self, context: Context, at: int, index: int) -> frame.Block | None:
        block = self._parse(at)
        return block if block and self._seed(block) == context.seed(index) else None

    def _seed(self, block: frame.Block) -> int:
        """Return the seed with which the block has the CRC stored in it."""
        payload = memoryview(self._data)[block.start : block.end]
        crc = crc32(payload, crc32(block.head))
        return _undo(block.crc ^ crc, len(block.head) + len(payload))

    def _search(
        self, seeds: Seeds, at: int, sizes: set[int], end: int
    ) -> tuple[int, Context, int, int | None] | None:
        """Find the first block from ``at`` to ``end`` that has one of the seeds.

        Returns (place, context, number, size of the blocks before it or None), or None.
        """
        heads = {
            frame.pack_head(kind, last, size)
            for kind in range(4)
            for last in (False, True)
            for size in sizes
        }
        for match in re.finditer(b"|".join(map(re.escape, heads)), memoryview(self._data)[at:end]):
            place = at + match.start()
            block = self._parse(place)
            if block and (found := seeds.get(self._seed(block))):
                return place, *found, None if block.last else block.size
        # A last block may have any size, but the frame ends after it.
        for place in range(at, end):
            if not self._data[place] & 1:
                continue
            block = self._parse(place)
            if block and block.last and self._may_end(block):
                if found := seeds.get(self._seed(block)):
                    return place, *found, None
        return None

    def _lose(self, what: str, at: int, end: int, size: int | None) -> None:
        start = self._place
        self._place = None if start is None or size is None else start + size
        self._parts.append(Lost(what, at, end, (start, self._place)))


Seeds = dict[int, tuple[Context, int]]  # seed of a block's CRC -> the block's context and number


def _seeds(contexts: Iterable[Context], index: int, most: int) -> Seeds:
    """The seeds of the CRCs of ``most`` blocks from number ``index``, in each context."""
    return {c.seed(n): (c, n) for c in contexts for n in range(index, index + most)}


def _all_contexts() -> Iterator[Context]:
    """Every header that nzip may have written, given the installed models and priors in use."""
    yield _context(frame.Header(frame.STATIC), None)
    for path in models.find():
        try:
            model = models.load(str(path))
        except (ModelFileError, ModelNotFoundError):
            continue
        prefix = model.digest[: frame.MODEL_PREFIX]
        for coding in (*frame.MIXED, frame.AC_PLAIN):
            yield _context(frame.Header(coding, prefix), model)
        for coding, prior in itertools.product(frame.MIXED, in_use()):
            header = frame.Header(coding, prefix, prior=prior.digest[: frame.MODEL_PREFIX])
            yield Context(header, header.pack(), model, prior)
        for width in range(frame.MIN_WINDOW, frame.MAX_WINDOW + 1):
            for every in (1, 0):
                yield _context(frame.Header(frame.EQINFO, prefix, width, every), model)


def _context(header: frame.Header, model: models.Model | None) -> Context:
    return Context(header, header.pack(), model)


# ---- CRC-32 backwards. crc32(data, seed) ^ crc32(data) is a linear one-to-one function of the
# seed: a matrix over bits, here a tuple of 32 columns, to the power of the number of data bits.

Matrix = tuple[int, ...]


def _times(matrix: Matrix, vector: int) -> int:
    out = 0
    while vector:
        low = vector & -vector
        out ^= matrix[low.bit_length() - 1]
        vector ^= low
    return out


@functools.cache
def _back(power: int) -> Matrix:
    """The matrix that undoes 2^power bits."""
    if power == 0:
        return (*(2 << i for i in range(31)), (0xEDB88320 << 1 | 1) & 0xFFFFFFFF)
    half = _back(power - 1)
    return tuple(_times(half, column) for column in half)


def _undo(difference: int, size: int) -> int:
    """The seed that makes that difference after ``size`` bytes."""
    for power in range(3, 3 + size.bit_length()):
        if size >> (power - 3) & 1:
            difference = _times(_back(power), difference)
    return difference

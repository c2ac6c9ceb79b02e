"""Compressor and Decompressor for one frame, and the functions built on them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, NoReturn
from zlib import crc32

from . import frame, modes
from ._predict import Watch
from .errors import ChecksumError, FormatError, LimitError, TruncatedError
from .levels import DEFAULT_LEVEL, thread_memory
from .prior import Prior
from .workers import Workers

READ_SIZE = 1 << 17
MIN_BLOCK_SIZE = 1 << 16  # the smallest that a caller may choose
CHUNK = 1 << 20  # most bytes that are decompressed at once
Buffer = bytes | bytearray | memoryview


class Compressor:
    """Compresses data given in pieces into one frame; the sizes of the pieces make no difference.

    mode: "ac" (the smallest output), "static" (byte frequencies) or "eqinfo" (Equal-Info Windows).
    level: 1 to 9, for "ac"; higher levels give smaller output and take longer.
    window: bits of a window, 8 to 64, for "eqinfo".
    reset_every: windows, 1 to 255, after which M1 is reset, for "eqinfo"; 0 means never.
    model: name or path of a model, instead of the one that mode and level use.
    adapt: False makes "ac" use M1 alone, without the models that learn from the data.
    prior: samples to read before each block, for "ac".
    block_size: bytes, 64 KiB to 64 MiB, instead of the size that mode and level use.
    threads: None or 0 for all cores that the process may use.
    max_memory: bytes that the whole program may take. Fewer threads are used to stay below it;
    compress() and flush() raise LimitError if even one needs more.

    Raises ValueError for a setting out of range, ModelNotFoundError and ModelFileError. Threads may
    share a compressor: their calls wait for one another.

    >>> import nzip
    >>> compressor = nzip.Compressor(level=3)
    >>> pieces = [compressor.compress(b"to be, "), compressor.compress(b"or not to be")]
    >>> nzip.decompress(b"".join(pieces) + compressor.flush())
    b'to be, or not to be'
    """

    def __init__(
        self,
        mode: str = "ac",
        *,
        level: int = DEFAULT_LEVEL,
        window: int = frame.DEFAULT_WINDOW,
        reset_every: int = 1,
        model: str | os.PathLike[str] | None = None,
        adapt: bool = True,
        prior: Prior | None = None,
        block_size: int | None = None,
        threads: int | None = None,
        max_memory: int | None = None,
    ):
        name = None if model is None else os.fspath(model)
        chosen = modes.choose(mode, level, window, reset_every, name, adapt, prior)
        self._mode, self._block_size, m1 = chosen
        if block_size is not None:
            if not MIN_BLOCK_SIZE <= block_size <= frame.MAX_BLOCK:
                raise ValueError(f"blocks of {block_size} bytes (64 KiB to 64 MiB are allowed)")
            self._block_size = block_size
        self._digest = m1.digest if m1 else b""
        prefix = self._digest[: frame.MODEL_PREFIX]
        windows = (window, reset_every) if mode == "eqinfo" else (0, 1)
        if prior:
            self._digest += prior.digest
        samples = prior.digest[: frame.MODEL_PREFIX] if prior else b""
        self._header = frame.Header(self._mode.coding, prefix, *windows, samples).pack()
        self._head = b""
        self._samples = len(prior.samples) if prior else 0
        self.workers = Workers(threads, max_memory)
        self.packed = 0  # compressed bytes of the finished blocks
        self._buffer = bytearray()
        self._index = 0
        self._crc = 0
        self._total = 0
        self._finished = False
        self._lock = threading.RLock()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a compressor cannot be pickled: it holds threads at work")

    @property
    def done(self) -> int:
        """Bytes of data coded so far, including those of unfinished blocks."""
        return self.workers.done

    def _encode(self, block: bytes, index: int, last: bool, watch: Watch) -> bytes:
        seed = frame.block_seed(self._header, self._digest, index)
        size = len(block)
        if size > 1 and block.count(block[:1]) == size:
            return frame.pack_block(frame.RUN, last, size, block[:1], seed)
        kind, code = (size > 1 and self._mode.encode(block, watch)) or (frame.STORED, block)
        return frame.pack_block(kind, last, size, code, seed)

    def _take(self) -> bytes:
        block: bytes = self.workers.result()
        self.packed += len(block)
        return block

    def _submit(self, last: bool) -> None:
        block = bytes(self._buffer)
        self._buffer.clear()
        if self._index == 0:
            self._head = self._header
            # No other block is larger.
            self.workers.fit(thread_memory(self._mode.coding, len(block) + self._samples))
        self._crc = crc32(block, self._crc)
        self._total += len(block)
        self.workers.submit(self._encode, block, self._index, last, size=len(block), alone=last)
        self._index += 1

    def compress(self, data: Buffer) -> bytes:
        """Add data; return the part of the frame that is ready, often ``b""``.

        Raises ValueError after flush(), and LimitError.
        """
        with self._lock:
            return self._compress(data)

    def _compress(self, data: Buffer) -> bytes:
        if self._finished:
            raise ValueError("the compressor was flushed")
        out = []
        view = memoryview(data).cast("B")
        while len(view):
            # A full block waits for more data, since the last one is marked as such.
            if len(self._buffer) == self._block_size:
                self._submit(last=False)
                out.append(self._head)
                self._head = b""
                while self.workers.full:
                    out.append(self._take())
            take = self._block_size - len(self._buffer)
            self._buffer += view[:take]
            view = view[take:]
        while self.workers.ready():
            out.append(self._take())
        return b"".join(out)

    def flush(self) -> bytes:
        """End the frame and return the rest of it; the compressor cannot be used after that.

        Raises ValueError if it was called before, and LimitError.
        """
        with self._lock:
            return self._flush()

    def _flush(self) -> bytes:
        if self._finished:
            raise ValueError("the compressor was flushed")
        self._finished = True
        self._submit(last=True)
        out, self._head = [self._head], b""
        while len(self.workers):
            out.append(self._take())
        self.workers.close()
        out.append(frame.pack_check(self._crc, self._total))
        return b"".join(out)

    def close(self) -> None:
        """Drop work in progress."""
        self.workers.close()


class Decompressor:
    """Decompresses one frame given in pieces, with the interface of ``bz2.BZ2Decompressor``.

    threads, max_memory: as for Compressor.
    max_output: bytes; LimitError is raised at the first block header that takes the content beyond
    it, before that block is decoded.

    A skippable frame counts as a frame without content. Threads may share a decompressor: their
    calls wait for one another.

    >>> import nzip
    >>> frame = nzip.compress(b"to be, or not to be")
    >>> decompressor = nzip.Decompressor()
    >>> decompressor.decompress(frame[:10]) + decompressor.decompress(frame[10:] + b"more")
    b'to be, or not to be'
    >>> decompressor.eof, decompressor.unused_data
    (True, b'more')
    """

    def __init__(
        self,
        *,
        threads: int | None = None,
        max_output: int | None = None,
        max_memory: int | None = None,
    ):
        self._ended = False
        self._limit = max_output
        self.workers = Workers(threads, max_memory)
        self._data = bytearray()
        self._at = 0
        self._skip: int | None = None  # bytes of a skippable frame still to come
        self._contexts: list[modes.Context] = []  # what the header may mean; empty until it is read
        self._mode: modes.Mode | None = None  # of the one context that the first block left
        self._index = 0
        self._declared = 0
        self._last_parsed = False
        self._check = b""
        self._crc = 0
        self._held = b""  # the last block, until the content check after it has matched
        self._output: deque[memoryview] = deque()  # no more than a block beyond what was requested
        self._ready = 0  # bytes of output
        self._starved = True  # more input is needed to go on
        self._lock = threading.RLock()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a decompressor cannot be pickled: it holds threads at work")

    @property
    def eof(self) -> bool:
        """True once the frame has ended, its checksum matched and all output was returned."""
        return self._ended and not self._output

    @property
    def unused_data(self) -> bytes:
        """The input after the end of the frame; ``b""`` before ``eof``."""
        return bytes(self._data[self._at :]) if self.eof else b""

    @property
    def needs_input(self) -> bool:
        """True if decompress() needs more input before it can return more."""
        return self._starved and not self._ended and not self._output

    @property
    def done(self) -> int:
        """Bytes of content decoded so far, including those of unfinished blocks."""
        return self.workers.done

    def decompress(self, data: Buffer = b"", max_length: int = -1) -> bytes:
        """Add input and return decoded bytes, at most ``max_length`` (-1: no limit).

        With a limit, it holds no more than the input and the blocks that the threads work on.
        Raises FormatError, ChecksumError, UnsupportedError, ModelNotFoundError, PriorNotFoundError,
        LimitError, and EOFError after the end of the frame.
        """
        with self._lock:
            return self._decompress(data, max_length)

    def _decompress(self, data: Buffer, max_length: int) -> bytes:
        if self.eof:
            raise EOFError("the end of the frame was reached before")
        self._data += data
        self._starved = False
        try:
            while not self._ended and (max_length < 0 or self._ready < max(1, max_length)):
                if not self.workers.full and self._parse():
                    continue
                if len(self.workers) and not self._may_wait():
                    self._take()
                elif self._check and not len(self.workers):
                    self._finish()
                else:
                    self._starved = True
                    break
        except BaseException:
            self.close()
            raise
        return self._give(self._ready if max_length < 0 else max_length)

    def _give(self, size: int) -> bytes:
        """Remove and return the first bytes of the output, at most ``size``."""
        parts = []
        while self._output and size:
            part = self._output.popleft()
            if len(part) > size:
                self._output.appendleft(part[size:])
                part = part[:size]
            parts.append(part)
            size -= len(part)
            self._ready -= len(part)
        return b"".join(parts)

    def _put(self, block: bytes) -> None:
        if block:
            self._output.append(memoryview(block))
            self._ready += len(block)

    def _may_wait(self) -> bool:
        """True if there is no need to wait for a running job: more input may start another."""
        return not (self.workers.full or self._last_parsed or self.workers.ready())

    def drain(self) -> bytes:
        """Return what can be decoded of a frame that was cut off: its complete blocks."""
        while len(self.workers):
            self._take()
        return self._give(self._ready)

    def close(self) -> None:
        """Drop work in progress."""
        self.workers.close()

    def _parse(self) -> bool:
        """Parse the next part of the frame if all of it is there; return whether it was."""
        try:
            if self._skip is not None or (not self._contexts and frame.is_skippable(self._data)):
                return self._pass_over()
            if not self._contexts:
                self._contexts = [*modes.contexts_at(self._data)]
                self._at = len(self._contexts[0].packed)
                return True
            if not self._last_parsed:
                return self._parse_block()
        except TruncatedError:
            return False
        width = frame.check_width(self._declared)
        if self._check or len(self._data) < self._at + width:
            return False
        self._check = bytes(self._data[self._at : self._at + width])
        self._at += width
        return True

    def _pass_over(self) -> bool:
        """Drop what is there of a skippable frame; return False, as nothing is left to parse."""
        if self._skip is None:
            self._skip = frame.skippable_end(self._data)
        there = min(self._skip, len(self._data))
        del self._data[:there]
        self._skip -= there
        if not self._skip:
            self._ended = True
            self.close()
        return False

    def _parse_block(self) -> bool:
        block = frame.parse_block(self._data, self._at)
        self._declared += block.size
        if self._limit is not None and self._declared > self._limit:
            raise LimitError(f"the output would exceed the limit of {self._limit} bytes")
        if len(self._data) < block.end:
            self._declared -= block.size
            return False
        payload = bytes(memoryview(self._data)[block.start : block.end])
        context = modes.agreeing(self._contexts, block, payload, self._index)
        if self._mode is None:
            self._contexts, self._mode = [context], context.mode()
        need = context.memory(block.size)
        if not self.workers.fits(need):
            while len(self.workers):
                self._take()
            self.workers.fit(need)
        self._last_parsed = block.last
        what = (modes.decode_block, context.header, self._mode, block, payload)
        self.workers.submit(*what, size=block.size, alone=block.last)
        self._index += 1
        self._at = block.end
        if self._at > READ_SIZE:
            del self._data[: self._at]
            self._at = 0
        return True

    def _take(self) -> None:
        block = self.workers.result()
        self._crc = crc32(block, self._crc)
        if self._last_parsed and not len(self.workers):
            self._held = block
        else:
            self._put(block)

    def _finish(self) -> None:
        if frame.pack_check(self._crc, self._declared) != self._check:
            raise ChecksumError("the content's checksum does not match")
        self._put(self._held)
        self._held = b""
        self._ended = True
        self.close()


def compress_chunks(read: Callable[[int], bytes], compressor: Compressor) -> Generator[bytes]:
    """Yield, in pieces, the frame of everything that ``read`` returns."""
    try:
        while data := read(READ_SIZE):
            if out := compressor.compress(data):
                yield out
        yield compressor.flush()
    finally:
        compressor.close()


def decompress_chunks(
    read: Callable[[int], bytes],
    *,
    threads: int | None = None,
    max_output: int | None = None,
    max_memory: int | None = None,
    follow: Callable[[Decompressor], None] = lambda decompressor: None,
) -> Generator[bytes]:
    """Yield the content of all frames that ``read`` returns, at most CHUNK bytes at a time.

    Skippable frames and zeros at the end are skipped. Every block has been checked by its CRC
    before it is yielded, and a frame's last block by the checksum of the whole content too.
    ``follow`` is called with each frame's decompressor before that frame is read. Raises the errors
    of Decompressor.decompress, and TruncatedError.
    """
    data = read(READ_SIZE)
    if not data:
        raise TruncatedError("the input is empty")
    total = frames = 0
    while True:
        while len(data) < 8 and (more := read(READ_SIZE)):
            data += more
        if frames and not data.strip(b"\0"):  # tapes and block devices pad with zeros
            while data and not data.strip(b"\0"):
                data = read(READ_SIZE)
            if data:
                raise FormatError("garbage after the last frame")
            return
        if frames and data[:3] != frame.MAGIC and not frame.is_skippable(data):
            raise FormatError("garbage after the last frame")
        limit = None if max_output is None else max_output - total
        decompressor = Decompressor(threads=threads, max_output=limit, max_memory=max_memory)
        follow(decompressor)
        try:
            while not decompressor.eof:
                if out := decompressor.decompress(data, CHUNK):
                    total += len(out)
                    yield out
                data = b""
                if decompressor.needs_input and not (data := read(READ_SIZE)):
                    if out := decompressor.drain():
                        yield out
                    raise TruncatedError("the input ends inside a frame")
        finally:
            decompressor.close()
        data = decompressor.unused_data
        frames += 1
        if not data and not (data := read(READ_SIZE)):
            return


def compress(data: Buffer, mode: str = "ac", **options: Any) -> bytes:
    """Compress ``data`` into one frame.

    mode and options are those of Compressor, which also says what is raised.

    >>> import nzip
    >>> nzip.decompress(nzip.compress(b"to be, or not to be", level=9))
    b'to be, or not to be'
    """
    compressor = Compressor(mode, **options)
    try:
        return compressor.compress(data) + compressor.flush()
    finally:
        compressor.close()


def decompress(
    data: Buffer,
    *,
    max_output: int | None = None,
    max_memory: int | None = None,
    threads: int | None = None,
) -> bytes:
    """Decompress all frames in ``data`` and return their content.

    max_output: bytes; LimitError is raised, before the excess is decoded, if there are more.
    max_memory, threads: as for Compressor.

    Raises subclasses of NzipError for invalid or damaged data.

    >>> import nzip
    >>> nzip.decompress(nzip.compress(b"to be, ") + nzip.compress(b"or not to be"))
    b'to be, or not to be'
    >>> nzip.decompress(nzip.compress(bytes(1000)), max_output=100)
    Traceback (most recent call last):
        ...
    nzip.errors.LimitError: the output would exceed the limit of 100 bytes
    """
    import io

    read = io.BytesIO(data).read
    return b"".join(
        decompress_chunks(read, threads=threads, max_output=max_output, max_memory=max_memory)
    )

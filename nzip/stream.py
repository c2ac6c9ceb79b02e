"""Compressor and Decompressor of one frame, and the chunk iterators above them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Any
from zlib import crc32

from . import frame, modes
from ._predict import Watch
from .errors import ChecksumError, FormatError, LimitError, TruncatedError
from .levels import DEFAULT_LEVEL, thread_memory
from .prior import Prior
from .workers import Workers

READ_SIZE = 1 << 17
MIN_BLOCK_SIZE = 1 << 16  # that can be asked for
CHUNK = 1 << 20  # bytes that are decompressed at once, at most
Buffer = bytes | bytearray | memoryview


class Compressor:
    """Makes one frame from data given in pieces; the pieces' sizes do not change the frame.

    mode: "ac", "static" or "eqinfo". level: 1..9. window: bits, for eqinfo. reset_every: windows
    after which M1 starts afresh, for eqinfo; 0: never. model: name or path of a model. adapt: False
    leaves ``ac`` to M1 alone. prior: samples to read before each block. block_size: 64 KiB to
    64 MiB, for another than the level's. threads: None for all cores. max_memory: bytes that the
    program may take; fewer threads work then, and compress() and flush() raise LimitError if one is
    too many. Raises ValueError for a setting out of range and ModelNotFoundError. Threads may share
    it: calls wait for one another.
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
        behind = prior.digest[: frame.MODEL_PREFIX] if prior else b""
        self._header = frame.Header(self._mode.coding, prefix, *windows, behind).pack()
        self._head = b""
        self._samples = len(prior.samples) if prior else 0
        self.workers = Workers(threads, max_memory)
        self.packed = 0  # bytes that the finished blocks became
        self._buffer = bytearray()
        self._index = 0
        self._crc = 0
        self._total = 0
        self._finished = False
        self._lock = threading.RLock()

    @property
    def done(self) -> int:
        """Bytes of the data that are coded so far, counted inside blocks too."""
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
        """Take data in; return what of the frame is ready, often nothing."""
        with self._lock:
            return self._compress(data)

    def _compress(self, data: Buffer) -> bytes:
        if self._finished:
            raise ValueError("the compressor was flushed")
        out = []
        view = memoryview(data).cast("B")
        while len(view):
            # A block goes out only when more data follow: the last one is marked as such.
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
        """End the frame; return the rest of it. The compressor cannot be used further."""
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
    """Decodes one frame given in pieces, like ``bz2.BZ2Decompressor``.

    ``eof``: the frame's end was reached, its checksum matched, and all output was given out.
    ``unused_data``: what followed it, empty before. ``needs_input``: decompress() can give nothing
    more before it gets more. A skippable frame is a frame without content. max_output: LimitError,
    before any decoding, once the blocks declare more than this many bytes. max_memory: as for
    Compressor. Threads may share it: calls wait for one another.
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
        self._skip: int | None = None  # bytes of a skippable frame that are still to come
        self._contexts: list[modes.Context] = []  # what the header may mean; none before it is read
        self._mode: modes.Mode | None = None  # that of the first, once a block has told
        self._index = 0
        self._declared = 0
        self._last_parsed = False
        self._check = b""
        self._crc = 0
        self._held = b""  # the last block, until the check behind it has been seen
        self._output: deque[memoryview] = deque()  # at most a block, unless more was asked for
        self._ready = 0  # bytes of it
        self._starved = True  # nothing can be done before more input comes
        self._lock = threading.RLock()

    @property
    def eof(self) -> bool:
        return self._ended and not self._output

    @property
    def unused_data(self) -> bytes:
        return bytes(self._data[self._at :]) if self.eof else b""

    @property
    def needs_input(self) -> bool:
        return self._starved and not self._ended and not self._output

    @property
    def done(self) -> int:
        """Bytes of content that are decoded so far, counted inside blocks too."""
        return self.workers.done

    def decompress(self, data: Buffer = b"", max_length: int = -1) -> bytes:
        """Take data in and return decoded bytes, ``max_length`` at most (-1: no bound).

        With a bound, what is held beside the data are the blocks that the threads work on. Raises
        FormatError, ChecksumError, UnsupportedError, ModelNotFoundError, LimitError, and EOFError
        after the end.
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
        """The first bytes of the output, ``size`` at most."""
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
        """True while a running job need not be waited for: more input may start another."""
        return not (self.workers.full or self._last_parsed or self.workers.ready())

    def drain(self) -> bytes:
        """What can be decoded from a frame whose input ended early: its whole blocks."""
        while len(self.workers):
            self._take()
        return self._give(self._ready)

    def close(self) -> None:
        """Drop work in progress."""
        self.workers.close()

    def _parse(self) -> bool:
        """Parse the next part of the frame if all of it is there; True if it was."""
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
        """Drop what is there of a skippable frame; False, since nothing else will be parsed."""
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
    """The frame of all that ``read`` gives, in pieces."""
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
    """The content of all frames that ``read`` gives, CHUNK bytes at most at a time; skippable
    frames and final zeros are passed over.

    What is yielded was checked by its block's CRC; a frame's last block also by the checksum of
    the whole. ``follow`` gets each frame's decompressor before its first byte. Raises like
    Decompressor.decompress, and TruncatedError.
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
                raise FormatError("garbage behind the last frame")
            return
        if frames and data[:3] != frame.MAGIC and not frame.is_skippable(data):
            raise FormatError("garbage behind the last frame")
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
    """One frame of ``data``; options as for Compressor."""
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
    """The content of all frames in ``data``.

    max_output: LimitError, before the work is done, if the content is longer. max_memory: as for
    Compressor. Raises NzipError's subclasses for data that are not sound.
    """
    import io

    read = io.BytesIO(data).read
    return b"".join(
        decompress_chunks(read, threads=threads, max_output=max_output, max_memory=max_memory)
    )

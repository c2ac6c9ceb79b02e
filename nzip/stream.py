"""Blocks over threads, in order: Compressor, Decompressor and the chunk iterators above them."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from zlib import crc32

from . import frame, models, modes
from .errors import ChecksumError, FormatError, LimitError, TruncatedError
from .modes.ac import Ac

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

READ_SIZE = 1 << 17
Buffer = bytes | bytearray | memoryview


def thread_count(threads: int | None) -> int:
    """Threads to use: ``threads``, or all that this process may run on for None or 0."""
    if threads is not None and threads < 0:
        raise ValueError(f"threads must not be negative, not {threads}")
    if threads:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Runs jobs on threads and gives their results back in the order of submission."""

    def __init__(self, threads: int | None):
        self._threads = thread_count(threads)
        self._pool: ThreadPoolExecutor | None = None
        self._jobs: deque[Future[Any] | tuple[Callable[..., Any], tuple[Any, ...]]] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def full(self) -> bool:
        return len(self._jobs) > self._threads

    def submit(self, job: Callable[..., Any], *args: Any, alone: bool = False) -> None:
        """Queue a job. ``alone`` says that none will follow: then no thread is started for it."""
        if self._threads == 1 or (alone and not self._jobs):
            self._jobs.append((job, args))
            return
        if self._pool is None:
            # Imported late: it costs 15 ms, and a file of one block never needs it.
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self._threads)
        self._jobs.append(self._pool.submit(job, *args))

    def ready(self) -> bool:
        """True if the next result is there or can only be had by waiting for it now."""
        if not self._jobs:
            return False
        first = self._jobs[0]
        return isinstance(first, tuple) or first.done()

    def result(self) -> Any:
        """The next result in order, waited for."""
        first = self._jobs.popleft()
        if isinstance(first, tuple):
            return first[0](*first[1])
        return first.result()

    def close(self) -> None:
        self._jobs.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


class Compressor:
    """Makes one frame from data given in pieces; the pieces' sizes do not change the frame.

    mode: "ac", "static" or "eqinfo". level: 1..9. window: bits, for eqinfo. reset_every: windows
    after which M1 starts afresh, for eqinfo; 0: never. model: name or path of a model. adapt: False
    leaves ``ac`` to M1 alone. threads: None for all cores. Raises ValueError for a setting out of
    range and ModelNotFoundError.
    """

    def __init__(
        self,
        mode: str = "ac",
        *,
        level: int = modes.DEFAULT_LEVEL,
        window: int = 16,
        reset_every: int = 1,
        model: str | os.PathLike[str] | None = None,
        adapt: bool = True,
        threads: int | None = None,
    ):
        name = None if model is None else os.fspath(model)
        self._choose = functools.partial(
            modes.choose, mode, level, window, reset_every, name, adapt
        )
        self._windows = (window, reset_every) if mode == "eqinfo" else (0, 1)
        self._set(short=False)
        self._head = b""
        self._workers = Workers(threads)
        self._buffer = bytearray()
        self._index = 0
        self._crc = 0
        self._total = 0
        self._finished = False

    def _set(self, short: bool) -> None:
        self._mode, self._block_size, m1 = self._choose(short=short)
        self._digest = m1.digest if m1 else b""
        prefix = self._digest[: frame.MODEL_PREFIX]
        self._header = frame.Header(self._mode.coding, prefix, *self._windows).pack()

    def _encode(self, block: bytes, index: int, last: bool) -> bytes:
        seed = frame.block_seed(self._header, self._digest, index)
        size = len(block)
        if size > 1 and block.count(block[:1]) == size:
            return frame.pack_block(frame.RUN, last, size, block[:1], seed)
        kind, code = (size > 1 and self._mode.encode(block)) or (frame.STORED, block)
        return frame.pack_block(kind, last, size, code, seed)

    def _submit(self, last: bool) -> None:
        block = bytes(self._buffer)
        self._buffer.clear()
        if self._index == 0:
            if last and len(block) <= modes.SHORT:
                self._set(short=True)
            self._head = self._header
        self._crc = crc32(block, self._crc)
        self._total += len(block)
        self._workers.submit(self._encode, block, self._index, last, alone=last)
        self._index += 1

    def compress(self, data: Buffer) -> bytes:
        """Take data in; return what of the frame is ready, often nothing."""
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
                while self._workers.full:
                    out.append(self._workers.result())
            take = self._block_size - len(self._buffer)
            self._buffer += view[:take]
            view = view[take:]
        while self._workers.ready():
            out.append(self._workers.result())
        return b"".join(out)

    def flush(self) -> bytes:
        """End the frame; return the rest of it. The compressor cannot be used further."""
        if self._finished:
            raise ValueError("the compressor was flushed")
        self._finished = True
        self._submit(last=True)
        out, self._head = [self._head], b""
        while len(self._workers):
            out.append(self._workers.result())
        self._workers.close()
        out.append(frame.pack_check(self._crc, self._total))
        return b"".join(out)

    def close(self) -> None:
        """Drop work in progress."""
        self._workers.close()


def decode_block(
    header: frame.Header, mode: modes.Mode, block: frame.Block, payload: bytes
) -> bytes:
    """The content of a block whose CRC was checked. Raises FormatError."""
    if block.kind == frame.STORED:
        return payload
    if block.kind == frame.RUN:
        return payload * block.size
    if block.kind == frame.ADAPTIVE:
        if header.coding != frame.AC:
            raise FormatError(f"a block of type {block.kind} in a frame without mixing")
        return Ac(None, True).decode(payload, block.size)
    return mode.decode(payload, block.size)


class Decompressor:
    """Decodes one frame given in pieces, like ``bz2.BZ2Decompressor``.

    ``eof``: the frame's end was reached, its checksum matched, and all output was given out.
    ``unused_data``: what followed it. ``needs_input``: decompress() can give nothing more before
    it gets more. max_output: LimitError, before any decoding, once the blocks declare more than
    this many bytes.
    """

    def __init__(self, *, threads: int | None = None, max_output: int | None = None):
        self._ended = False
        self._limit = max_output
        self._workers = Workers(threads)
        self._data = bytearray()
        self._at = 0
        self._header: frame.Header | None = None
        self._packed = b""
        self._models: list[models.Model] | None = None  # those that the header may mean
        self._mode: modes.Mode | None = None
        self._digest = b""
        self._index = 0
        self._declared = 0
        self._last_parsed = False
        self._check = b""
        self._crc = 0
        self._held = b""  # the last block, until the check behind it has been seen
        self._output = bytearray()

    @property
    def eof(self) -> bool:
        return self._ended and not self._output

    @property
    def unused_data(self) -> bytes:
        return bytes(self._data[self._at :]) if self._ended else b""

    @property
    def needs_input(self) -> bool:
        waiting = len(self._workers) and (self._workers.full or self._last_parsed)
        return not self._ended and not self._output and not waiting

    def decompress(self, data: Buffer = b"", max_length: int = -1) -> bytes:
        """Take data in and return decoded bytes, ``max_length`` at most (-1: no bound).

        Raises FormatError, ChecksumError, UnsupportedError, ModelNotFoundError, LimitError, and
        EOFError after the end.
        """
        if self.eof:
            raise EOFError("the end of the frame was reached before")
        self._data += data
        try:
            while not self._ended and (max_length < 0 or len(self._output) < max_length):
                if not self._workers.full and self._parse():
                    continue
                if len(self._workers) and not self._may_wait():
                    self._take()
                elif self._check and not len(self._workers):
                    self._finish()
                else:
                    break
        except BaseException:
            self.close()
            raise
        size = len(self._output) if max_length < 0 else max_length
        out = bytes(memoryview(self._output)[:size])
        del self._output[:size]
        return out

    def _may_wait(self) -> bool:
        """True while a running job need not be waited for: more input may start another."""
        return not (self._workers.full or self._last_parsed or self._workers.ready())

    def drain(self) -> bytes:
        """What can be decoded from a frame whose input ended early: its whole blocks."""
        while len(self._workers):
            self._take()
        out, self._output = bytes(self._output), bytearray()
        return out

    def close(self) -> None:
        """Drop work in progress."""
        self._workers.close()

    def _parse(self) -> bool:
        """Parse the next part of the frame if all of it is there; True if it was."""
        try:
            if self._header is None:
                self._header, end = frame.parse_header(self._data)
                self._packed = bytes(self._data[:end])
                if self._header.model:
                    self._models = models.by_prefix(self._header.model)
                self._at = end
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

    def _parse_block(self) -> bool:
        block = frame.parse_block(self._data, self._at)
        self._declared += block.size
        if self._limit is not None and self._declared > self._limit:
            raise LimitError(f"the output would exceed the limit of {self._limit} bytes")
        if len(self._data) < block.end:
            self._declared -= block.size
            return False
        payload = bytes(memoryview(self._data)[block.start : block.end])
        if self._mode is None:
            self._choose_model(block, payload)
        else:
            frame.check_block(block, payload, self._seed())
        self._last_parsed = block.last
        self._workers.submit(
            decode_block, self._header, self._mode, block, payload, alone=block.last
        )
        self._index += 1
        self._at = block.end
        if self._at > READ_SIZE:
            del self._data[: self._at]
            self._at = 0
        return True

    def _seed(self) -> int:
        return frame.block_seed(self._packed, self._digest, self._index)

    def _choose_model(self, block: frame.Block, payload: bytes) -> None:
        """The model is the one whose whole digest the first block's CRC agrees with."""
        assert self._header is not None
        candidates: list[models.Model | None] = [*self._models] if self._models else [None]
        for model in candidates:
            self._digest = model.digest if model else b""
            try:
                frame.check_block(block, payload, self._seed())
            except ChecksumError:
                continue
            self._mode = modes.from_header(self._header, model)
            return
        raise ChecksumError("a block is damaged (its CRC does not match)")

    def _take(self) -> None:
        block = self._workers.result()
        self._crc = crc32(block, self._crc)
        if self._last_parsed and not len(self._workers):
            self._held = block
        else:
            self._output += block

    def _finish(self) -> None:
        if frame.pack_check(self._crc, self._declared) != self._check:
            raise ChecksumError("the content's checksum does not match")
        self._output += self._held
        self._held = b""
        self._ended = True
        self.close()


def compress_chunks(read: Callable[[int], bytes], compressor: Compressor) -> Iterator[bytes]:
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
) -> Iterator[bytes]:
    """The content of all frames that ``read`` gives; skippable frames and final zeros are passed.

    What is yielded was checked by its block's CRC; a frame's last block also by the checksum of
    the whole. Raises like Decompressor.decompress, and TruncatedError.
    """
    data = bytearray(read(READ_SIZE))
    if not data:
        raise TruncatedError("the input is empty")
    total = 0
    frames = 0
    while True:
        while len(data) < 8 and (more := read(READ_SIZE)):
            data += more
        if frames and not data.strip(b"\0"):  # tapes and block devices pad with zeros
            if not (more := read(READ_SIZE)):
                return
            data = bytearray(more) if more.strip(b"\0") == b"" else data + more
            if data.strip(b"\0"):
                raise FormatError("garbage behind the last frame")
            continue
        if frame.is_skippable(data):
            end = frame.skippable_end(data)
            while len(data) < end:
                if not (more := read(READ_SIZE)):
                    raise TruncatedError("the input ends inside a skippable frame")
                end -= len(data)
                data = bytearray(more)
            del data[:end]
            frames += 1
            if not data and not (data := bytearray(read(READ_SIZE))):
                return
            continue
        if frames and data[: len(frame.MAGIC)] != frame.MAGIC:
            raise FormatError("garbage behind the last frame")
        decompressor = Decompressor(
            threads=threads, max_output=None if max_output is None else max_output - total
        )
        try:
            while True:
                if out := decompressor.decompress(data):
                    total += len(out)
                    yield out
                if decompressor.eof:
                    break
                data = bytearray()
                if decompressor.needs_input and not (data := bytearray(read(READ_SIZE))):
                    if out := decompressor.drain():
                        yield out
                    raise TruncatedError("the input ends inside a frame")
        finally:
            decompressor.close()
        data = bytearray(decompressor.unused_data)
        frames += 1
        if not data and not (data := bytearray(read(READ_SIZE))):
            return


def compress(data: Buffer, mode: str = "ac", **options: Any) -> bytes:
    """One frame of ``data``; options as for Compressor."""
    compressor = Compressor(mode, **options)
    try:
        return compressor.compress(data) + compressor.flush()
    finally:
        compressor.close()


def decompress(data: Buffer, *, max_output: int | None = None, threads: int | None = None) -> bytes:
    """The content of all frames in ``data``.

    max_output: LimitError, before the work is done, if the content is longer. Raises NzipError's
    subclasses for data that are not sound.
    """
    import io

    read = io.BytesIO(data).read
    return b"".join(decompress_chunks(read, threads=threads, max_output=max_output))

"""Priors: samples of a user's own data, which both sides read before each block.

A model knows English, code and common formats; what one application's records look like it cannot
know, and small records leave no time to learn it. The models and the mixing that have read a prior
are made once and kept; a block leaves no trace in them.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from . import _predict, frame, models
from ._predict import Watch
from .errors import ChecksumError, FormatError, LimitError, PriorNotFoundError, TruncatedError
from .levels import check_level

MAGIC = b"\x8fNP\x10"  # of a prior file
MAX_PRIOR = 1 << 24  # bytes of samples
RECORD_MAX = 1 << 14  # longer blocks read the prior again: undoing them would take more memory
CHECK = 2  # bytes of a record's checksum

Buffer = bytes | bytearray | memoryview
_known: weakref.WeakValueDictionary[bytes, Prior] = weakref.WeakValueDictionary()


def find(prefix: bytes) -> list[Prior]:
    """The priors in use whose digest starts with ``prefix``. Raises PriorNotFoundError."""
    found = [prior for digest, prior in list(_known.items()) if digest.startswith(prefix)]
    if not found:
        raise PriorNotFoundError(
            f"this was compressed with the prior {prefix.hex()}, which is not in use; give its file"
            " with -D, or in Python make a nzip.Prior of it"
        )
    return found


def in_use() -> list[Prior]:
    """All priors in use."""
    return list(_known.values())


class BlockWatch(Watch):
    """Of a block, perhaps behind a prior: what is done of the samples is none of the block's."""

    samples: Watch | None = None

    def stop(self) -> None:
        super().stop()
        if self.samples is not None:
            self.samples.stop()

    def read_samples(self) -> Watch:
        """The watch for what is read before the block; it stops with this one."""
        self.samples = Watch()
        if self.stopped:
            self.samples.stop()
        return self.samples


class Prior:
    """Samples that are read before each block, and what was learned from them.

    samples: a path of a prior file or of a file of samples; bytes; or several samples as bytes,
    each of which gets a newline behind it. What is most like the data should stand last. level:
    that of compress(); 4 is quick and knows as much as higher ones once the samples are read.

    As long as the object lives, frames that name it can be decoded by everything in nzip. Threads
    may share it. Raises OSError and FormatError for a file, ValueError for no samples or more than
    16 MiB of them.
    """

    def __init__(self, samples: str | os.PathLike[str] | Buffer | Iterable[bytes], level: int = 4):
        if isinstance(samples, (bytes, bytearray, memoryview)):
            self.samples = bytes(samples)
        elif isinstance(samples, (str, os.PathLike)):
            self.samples = parse(Path(samples).read_bytes())
        else:
            self.samples = b"".join(bytes(sample) + b"\n" for sample in samples)
        if not 0 < len(self.samples) <= MAX_PRIOR:
            raise ValueError(f"a prior of {len(self.samples)} bytes (1 to {MAX_PRIOR} are allowed)")
        chosen = check_level(level)
        self.level = level
        self.digest = hashlib.sha256(self.samples).digest()
        self._idle: dict[tuple[bytes, int, int], list[_predict.Warm]] = {}
        self._lock = threading.Lock()
        self._coding = chosen.coding
        self._model = models.load(chosen.model)
        what = bytes([chosen.coding]) + self._model.digest + self.digest
        self._seed = crc32(what)
        _known[self.digest] = self

    def __repr__(self) -> str:
        return f"<nzip.Prior {self.digest.hex()[:8]}, {len(self.samples)} bytes>"

    def __reduce__(self) -> tuple[type[Prior], tuple[bytes, int]]:
        return Prior, (self.samples, self.level)

    def dump(self) -> bytes:
        """The bytes of a prior file."""
        return MAGIC + crc32(self.samples).to_bytes(4, "little") + self.samples

    @contextmanager
    def _behind(
        self, model: models.Model, profile: int, size: int, watch: Watch | None
    ) -> Iterator[tuple[_predict.Warm, bool]]:
        """Models behind the samples for one block of that size, and whether they are to be kept."""
        key = (model.digest, profile, _predict.warm_size(len(self.samples), size))
        with self._lock:
            idle = self._idle.setdefault(key, [])
            warm = idle.pop() if idle else None
        if warm is None:
            if isinstance(watch, BlockWatch):
                watch = watch.read_samples()
            warm = _predict.Warm(model.predictor, profile, self.samples, size, watch=watch)
        keep = size <= RECORD_MAX
        yield warm, keep
        if keep:
            with self._lock:
                idle.append(warm)

    def encode_block(
        self, model: models.Model, profile: int, block: Buffer, watch: Watch | None = None
    ) -> bytes | None:
        """The code of a block behind the prior; None if it is not shorter."""
        with self._behind(model, profile, len(memoryview(block)), watch) as (warm, keep):
            return warm.encode(block, keep, watch=watch)

    def decode_block(
        self, model: models.Model, profile: int, code: bytes, size: int, watch: Watch | None = None
    ) -> bytes:
        """The inverse of encode_block."""
        with self._behind(model, profile, size, watch) as (warm, keep):
            return warm.decode(code, size, keep, watch=watch)

    def compress(self, record: Buffer) -> bytes:
        """A record as a few bytes that decompress() of the same prior and level understands.

        It has no header, names neither prior nor model, and is meant for what one application
        stores; ``nzip.compress(data, prior=prior)`` makes frames. Raises ValueError for more than
        16 MiB.
        """
        view = memoryview(record).cast("B")
        size = len(view)
        if size > frame.MAX_BLOCK:
            raise ValueError(f"a record of {size} bytes (at most {frame.MAX_BLOCK})")
        code = self.encode_block(self._model, self._coding, view) if size else None
        head = frame.pack_varint(size << 1 | (code is not None))
        payload = bytes(view) if code is None else code
        return head + self._check(head, payload) + payload

    def _check(self, head: bytes, payload: bytes) -> bytes:
        """Of a record as it is stored, so that damage is found before any work is done."""
        crc = crc32(payload, crc32(head, self._seed))
        return (crc & 0xFFFF ^ crc >> 16).to_bytes(CHECK, "little")

    def decompress(self, packed: Buffer, max_output: int = frame.MAX_BLOCK) -> bytes:
        """The record. Raises FormatError, ChecksumError (for another prior's too), LimitError."""
        data = bytes(packed)
        value, at = frame.parse_varint(data, 0)
        size, coded = value >> 1, value & 1
        if size > max_output:
            raise LimitError(f"a record of {size} bytes exceeds the limit of {max_output}")
        if len(data) < at + CHECK:
            raise TruncatedError("the record ends early")
        payload = data[at + CHECK :]
        if self._check(data[:at], payload) != data[at : at + CHECK]:
            raise ChecksumError("the record is damaged, or was made with another prior")
        if not coded and len(payload) == size:
            return payload
        if not coded or not len(payload) < size <= frame.MAX_BLOCK:
            raise FormatError("not a record that nzip writes")
        return self.decode_block(self._model, self._coding, payload, size)


def parse(data: bytes) -> bytes:
    """The samples in a prior file; data without its magic are samples themselves. Raises
    FormatError."""
    if not data.startswith(MAGIC):
        return data
    samples = data[len(MAGIC) + 4 :]
    if crc32(samples).to_bytes(4, "little") != data[len(MAGIC) : len(MAGIC) + 4]:
        raise FormatError("the prior is damaged (its checksum does not match)")
    return samples


def choose(samples: Iterable[bytes], size: int, seed: int = 1) -> bytes:
    """Some of the samples, drawn at random and each once, up to ``size`` bytes, with newlines
    behind them. Raises ValueError if there is none that fits."""
    import random

    different = list(dict.fromkeys(sample for sample in samples if sample))
    random.Random(seed).shuffle(different)
    out = bytearray()
    for sample in different:
        if len(out) + len(sample) < size:
            out += sample + b"\n"
    if not out:
        raise ValueError(f"there is no sample of less than {size} bytes")
    return bytes(out)

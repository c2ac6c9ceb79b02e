"""Priors: samples of a user's own data, which both sides read before each block.

A model knows English, code and common formats. It cannot know what one application's records look
like, and small records are too short to learn it from. The models and the mixing that have read a
prior are built once and kept; coding a block leaves no trace in them.
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
RECORD_MAX = 1 << 14  # bytes; after a longer block the prior is read again, as undoing takes memory
CHECK = 2  # bytes of a record's checksum

Buffer = bytes | bytearray | memoryview
_known: weakref.WeakValueDictionary[bytes, Prior] = weakref.WeakValueDictionary()


def find(prefix: bytes) -> list[Prior]:
    """The priors in use whose digest begins with ``prefix``. Raises PriorNotFoundError."""
    found = [prior for digest, prior in list(_known.items()) if digest.startswith(prefix)]
    if not found:
        raise PriorNotFoundError(
            f"this was compressed with the prior {prefix.hex()}, which is not in use; name its file"
            " with -D, or in Python make an nzip.Prior of it"
        )
    return found


def in_use() -> list[Prior]:
    """All priors in use."""
    return list(_known.values())


class BlockWatch(Watch):
    """A watch for a block, perhaps with a prior: bytes of the prior's samples are not counted."""

    samples: Watch | None = None

    def stop(self) -> None:
        super().stop()
        if self.samples is not None:
            self.samples.stop()

    def read_samples(self) -> Watch:
        """Return the watch for reading the samples; it stops with this one."""
        self.samples = Watch()
        if self.stopped:
            self.samples.stop()
        return self.samples


class Prior:
    """Samples that are read before each block, and what was learned from them.

    samples: the path of a prior file or of a file of samples; the samples as bytes; or an iterable
    of samples, each of which is followed by a newline. The samples most like the data should come
    last.
    level: 1 to 9, for this object's compress() and decompress(). The default is quick, and after
    reading the samples it predicts as well as higher levels.

    While the object exists, everything in nzip can decode the frames that name it. Threads may
    share a prior. Raises OSError and FormatError for a file, and ValueError for no samples, for
    more than 16 MiB of them, and for a level out of range.

    >>> import nzip
    >>> prior = nzip.Prior([b'{"city": "Oslo", "temperature": 3.5}'])
    >>> record = prior.compress(b'{"city": "Rome", "temperature": 21.0}')
    >>> prior.decompress(record)
    b'{"city": "Rome", "temperature": 21.0}'
    >>> nzip.decompress(nzip.compress(b"a frame", prior=prior))
    b'a frame'
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
        """Return the content of a prior file, which ``Prior(path)`` reads."""
        return MAGIC + crc32(self.samples).to_bytes(4, "little") + self.samples

    @contextmanager
    def _behind(
        self, model: models.Model, profile: int, size: int, watch: Watch | None
    ) -> Iterator[tuple[_predict.Warm, bool]]:
        """Models that have read the samples, for a block of that size, and whether to keep them."""
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
        """The code of a block after the samples; None if it is not shorter than the block."""
        with self._behind(model, profile, len(memoryview(block)), watch) as (warm, keep):
            return warm.encode(block, keep, watch=watch)

    def decode_block(
        self, model: models.Model, profile: int, code: bytes, size: int, watch: Watch | None = None
    ) -> bytes:
        """The ``size`` bytes of a block from what encode_block made of it."""
        with self._behind(model, profile, size, watch) as (warm, keep):
            return warm.decode(code, size, keep, watch=watch)

    def compress(self, record: Buffer) -> bytes:
        """Compress a small record; only decompress() with the same prior and level can read it.

        The result has no frame header and names neither prior nor model: it is for data that one
        application stores. ``nzip.compress(data, prior=prior)`` makes frames. Raises ValueError for
        more than 64 MiB.
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
        """The checksum of a record as it is stored, so that damage is found before any decoding."""
        crc = crc32(payload, crc32(head, self._seed))
        return (crc & 0xFFFF ^ crc >> 16).to_bytes(CHECK, "little")

    def decompress(self, packed: Buffer, max_output: int = frame.MAX_BLOCK) -> bytes:
        """Return the record that compress() was given.

        max_output: bytes; LimitError is raised before any decoding if the record is longer. Raises
        TruncatedError, ChecksumError for damage or a record of another prior, and FormatError.
        """
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
    """The samples in a prior file; data without its magic bytes are taken as samples.

    Raises FormatError for a damaged prior.
    """
    if not data.startswith(MAGIC):
        return data
    samples = data[len(MAGIC) + 4 :]
    if crc32(samples).to_bytes(4, "little") != data[len(MAGIC) : len(MAGIC) + 4]:
        raise FormatError("the prior is damaged (its checksum does not match)")
    return samples


def choose(samples: Iterable[bytes], size: int, seed: int = 1) -> bytes:
    """Choose different samples at random, up to ``size`` bytes with a newline after each.

    Raises ValueError if no sample fits.
    """
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

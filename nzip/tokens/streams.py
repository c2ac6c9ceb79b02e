"""The tokenizations of arXiv 2404.03626 side by side: a document's bytes to tokens and back.

``make`` gives one by name: ``eqinfo`` (section 3.3), ``ac`` (M1 and an arithmetic coder for the
whole document), ``static`` (fixed byte frequencies in M1's place), ``gzip`` and ``bytes``. Tokens
are the code's bits in groups of 8 or 16, the highest bit first.
"""

from __future__ import annotations

import array
import itertools
import math
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from .. import _coder, _predict, frame, models, windows
from ..errors import MALFORMED, FormatError, ModelNotFoundError
from ..models import Model
from ..modes import eqinfo

NAMES = ("eqinfo", "ac", "static", "gzip", "bytes")
STATIC_ONE = 65536  # what byte frequencies add up to


class Tokenization(Protocol):
    """How documents become tokens. ``settings`` is all that is needed to undo it."""

    token_bits: int
    settings: dict[str, Any]
    watch: _predict.Watch | None  # follows encode(), where that takes long

    @property
    def vocab_size(self) -> int:
        """Numbers that may occur."""

    @property
    def eos(self) -> bytes | None:
        """The tokens that end a document, little-endian, if there are such."""

    def encode(self, document: bytes) -> bytes:
        """The tokens of a document, little-endian."""

    def decode(self, tokens: bytes, size: int) -> bytes:
        """A document of ``size`` bytes from its tokens. Raises FormatError."""


def swap(tokens: bytes, token_bits: int) -> bytes:
    """Tokens from big-endian to little-endian, or back."""
    if token_bits == 8:
        return tokens
    words = array.array("H", tokens)
    words.byteswap()
    return words.tobytes()


class _Coded:
    """Tokens that are the groups of a code's bits; what is missing to whole ones is zeros."""

    eos: bytes | None = None
    watch: _predict.Watch | None = None

    def __init__(self, token_bits: int, settings: dict[str, Any]):
        if token_bits not in (8, 16):
            raise ValueError(f"tokens have 8 or 16 bits, not {token_bits}")
        self.token_bits = token_bits
        self.settings = settings | {"token_bits": token_bits}

    @property
    def vocab_size(self) -> int:
        return 1 << self.token_bits

    def encode(self, document: bytes) -> bytes:
        code = self._code(document) if document else b""
        return swap(code + bytes(len(code) * 8 % self.token_bits // 8), self.token_bits)

    def decode(self, tokens: bytes, size: int) -> bytes:
        if size < 0 or len(tokens) % (self.token_bits // 8):
            raise FormatError("tokens of no document")
        text = self._text(swap(tokens, self.token_bits), size) if size else b""
        if len(text) != size:
            raise FormatError("tokens of another document")
        return text

    def _code(self, document: bytes) -> bytes:
        raise NotImplementedError

    def _text(self, code: bytes, size: int) -> bytes:
        raise NotImplementedError


class EqInfo(_Coded):
    """Windows of ``window`` bits (8 to 64), each one or several tokens.

    reset_every: windows after which M1 starts afresh; 0: never. align: as for ``Tokenizer``, for
    windows of at most 20 bits. From 16 bits on the window with the number 2^W - 16 ends documents.
    """

    def __init__(
        self,
        model: Model,
        window: int = 16,
        token_bits: int = 16,
        reset_every: int = 1,
        align: str | None = None,
    ):
        whole = token_bits in (8, 16) and window % token_bits == 0
        if not frame.MIN_WINDOW <= window <= frame.MAX_WINDOW or not whole:
            raise ValueError(f"windows of {window} bits are not whole tokens of {token_bits}")
        frame.check_reset_every(reset_every)
        settings = {
            "tokenization": "eqinfo",
            "model": model.name,
            "digest": model.digest.hex(),
            "window": window,
            "reset_every": reset_every,
            "align": align,
        }
        super().__init__(token_bits, settings)
        self._model, self._window, self._reset_every = model, window, reset_every
        self._align = windows.aligned(align)
        self._mode = eqinfo.EqInfo(model, window, reset_every)
        self._trie = self._mode.dictionary()
        if self._trie is None and self._align:
            raise ValueError(
                f"windows are aligned up to {windows.MAX_WIDTH} bits, with a reset at each one"
            )
        if window >= 16:
            number = windows.codewords(window)  # the first behind them
            self.eos = swap(number.to_bytes(window // 8, "big"), token_bits)

    def _code(self, document: bytes) -> bytes:
        room = len(document) * self._window // 8
        if self._trie is not None:
            code = self._trie.encode_bits(self._window, document, self._align, room)
        else:
            code = _predict.eqinfo_encode(
                self._model.predictor,
                self._window,
                document,
                room,
                self._reset_every,
                watch=self.watch,
            )
        assert code is not None  # a window holds a byte at least
        return code

    def _text(self, code: bytes, size: int) -> bytes:
        return self._mode.decode(code, size, _predict.Watch())

    def decode_all(self, tokens: bytes) -> bytes:
        """The text of whole windows, however long it is; up to the first that no encoder writes."""
        code = swap(tokens, self.token_bits)
        width, limit = self._window // 8, 65_536
        code = code[: len(code) // width * width]
        while code:
            try:
                if self._trie is None:
                    return _predict.eqinfo_decode(
                        self._model.predictor, self._window, code, limit, self._reset_every
                    )
                raw = array.array("H" if self._trie.itemsize == 2 else "I")
                for at in range(0, len(code), width):
                    raw.append(int.from_bytes(code[at : at + width], "big"))
                return self._trie.decode(raw.tobytes())
            except ValueError:
                code = code[: -max(width, len(code) // 8 // width * width)]
        return b""

    def starts(self, document: bytes) -> list[int]:
        """The byte of the document at which the window of each token begins."""
        if not document:
            return []
        if self._trie is not None:
            numbers = self._trie.encode(document, self._align)
            lengths = array.array("I", bytes(self._trie.lengths(numbers)))
            places = [0, *itertools.accumulate(lengths[:-1])]
        else:
            raw = _predict.eqinfo_starts(
                self._model.predictor, self._window, document, self._reset_every
            )
            places = array.array("I", bytes(raw)).tolist()
        return [place for place in places for _ in range(self._window // self.token_bits)]


class Ac(_Coded):
    """One arithmetic code a document, by M1 alone."""

    def __init__(self, model: Model, token_bits: int = 8):
        settings = {"tokenization": "ac", "model": model.name, "digest": model.digest.hex()}
        super().__init__(token_bits, settings)
        self._model = model

    def _code(self, document: bytes) -> bytes:
        # A byte costs at most 8 bits of probability 2^-16 each.
        room = 15 * len(document) + 64
        code = _predict.ac_encode(self._model.predictor, False, document, room, watch=self.watch)
        assert code is not None
        return code

    def _text(self, code: bytes, size: int) -> bytes:
        return _predict.ac_decode(self._model.predictor, False, code, size)

    def bits(self, document: bytes) -> list[float]:
        """What each byte of the document costs."""
        p1 = array.array(
            "H", bytes(_predict.ac_probabilities(self._model.predictor, False, document))
        )
        costs = [
            -math.log2((one if byte >> (7 - depth) & 1 else 65536 - one) / 65536)
            for byte, at in zip(document, range(0, len(p1), 8), strict=True)
            for depth, one in enumerate(p1[at : at + 8])
        ]
        return [sum(costs[at : at + 8]) for at in range(0, len(costs), 8)]


class Static(_Coded):
    """One arithmetic code a document, under fixed frequencies of the bytes.

    frequencies: 256 numbers of at least 1 that add up to 65,536; ``frequencies`` makes them.
    """

    def __init__(self, frequencies: Sequence[int], token_bits: int = 8):
        if len(frequencies) != 256 or min(frequencies) < 1 or sum(frequencies) != STATIC_ONE:
            raise ValueError("256 frequencies of at least 1 that add up to 65,536 are needed")
        settings = {"tokenization": "static", "frequencies": list(frequencies)}
        super().__init__(token_bits, settings)
        row = array.array("I", [0, *itertools.accumulate(frequencies)])
        self._row = memoryview(row).cast("B").cast("I", (1, 257))

    def _code(self, document: bytes) -> bytes:
        return _coder.encode_symbols(document, self._row)

    def _text(self, code: bytes, size: int) -> bytes:
        return _coder.decode_symbols(code, self._row, size)


def frequencies(documents: Iterable[bytes]) -> list[int]:
    """Frequencies of the bytes of a corpus, for ``Static``."""
    counts = [0] * 256
    for document in documents:
        for value, count in enumerate(_histogram(document)):
            counts[value] += count
    total = sum(counts) or 1
    result = [1 + count * (STATIC_ONE - 256) // total for count in counts]
    result[counts.index(max(counts))] += STATIC_ONE - sum(result)
    return result


def _histogram(document: bytes) -> list[int]:
    return [document.count(value) for value in range(256)]


class Gzip(_Coded):
    """zlib at its default level."""

    def __init__(self, token_bits: int = 8):
        super().__init__(token_bits, {"tokenization": "gzip"})

    def _code(self, document: bytes) -> bytes:
        return zlib.compress(document)

    def _text(self, code: bytes, size: int) -> bytes:
        try:
            return zlib.decompressobj().decompress(code, size)
        except zlib.error as error:
            raise FormatError(str(error)) from error


class Bytes(_Coded):
    """The bytes themselves."""

    def __init__(self) -> None:
        super().__init__(8, {"tokenization": "bytes"})

    def _code(self, document: bytes) -> bytes:
        return document

    def _text(self, code: bytes, size: int) -> bytes:
        return code


def from_settings(settings: dict[str, Any]) -> Tokenization:
    """The tokenization that ``settings`` describes. Raises FormatError, ModelNotFoundError."""
    try:
        name, bits = settings["tokenization"], int(settings["token_bits"])
        if name in ("eqinfo", "ac"):
            digest = bytes.fromhex(settings["digest"])
            known = [m for m in models.by_prefix(digest[:2]) if m.digest == digest]
            if not known:
                raise ModelNotFoundError(f"the model {settings['digest'][:8]} is missing")
            if name == "ac":
                return Ac(known[0], bits)
            window, every = int(settings["window"]), int(settings["reset_every"])
            return EqInfo(known[0], window, bits, every, settings["align"])
        if name == "static":
            return Static(settings["frequencies"], bits)
        if name == "gzip":
            return Gzip(bits)
        if name == "bytes":
            return Bytes()
    except MALFORMED as error:
        if isinstance(error, ModelNotFoundError):
            raise
        raise FormatError(f"not the settings of a tokenization: {error}") from error
    raise FormatError(f"unknown tokenization {name!r}")

"""The tokenizations of arXiv 2404.03626 side by side: a document's bytes to tokens and back.

By name: ``counted`` (windows of a dictionary counted on texts, not the paper's), ``eqinfo``
(section 3.3), ``ac`` (M1 and an arithmetic coder for the whole document), ``static`` (fixed byte
frequencies in M1's place), ``gzip`` and ``bytes``. Tokens
are the code's bits in groups of 8 or 16, the highest bit first.
"""

from __future__ import annotations

import array
import itertools
import math
import sys
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from .. import _coder, _predict, frame, models, windows
from .._trie import Trie
from ..errors import MALFORMED, FormatError, ModelNotFoundError
from ..models import Model
from ..modes import eqinfo
from .tokenizer import COUNTED, Tokenizer

NAMES = ("counted", "eqinfo", "ac", "static", "gzip", "bytes")
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


class Windows(_Coded):
    """Windows of ``window`` bits, each one or several tokens, by a dictionary where there is one.

    align, lookahead: as for ``Tokenizer``. From 16 bits on the window with the number 2^W - 16 ends
    documents.
    """

    def __init__(
        self,
        trie: Trie | None,
        window: int,
        token_bits: int,
        settings: dict[str, Any],
        align: str | None = None,
        lookahead: bool = False,
    ):
        if token_bits not in (8, 16) or window % token_bits:
            raise ValueError(f"windows of {window} bits are not whole tokens of {token_bits}")
        super().__init__(
            token_bits, settings | {"window": window, "align": align, "lookahead": lookahead}
        )
        self._trie, self._window = trie, window
        self._align, self._lookahead = windows.aligned(align), lookahead
        if window >= 16:
            number = windows.codewords(window)  # the first after them
            self.eos = swap(number.to_bytes(window // 8, "big"), token_bits)

    def _code(self, document: bytes) -> bytes:
        assert self._trie is not None
        if self._lookahead:
            # Windows of whole tokens that have a dictionary are of 8 or 16 bits.
            numbers = array.array("H", self._trie.encode(document, False, True))
            if self._window == 8:
                return bytes(numbers)
            if sys.byteorder == "little":
                numbers.byteswap()
            return numbers.tobytes()
        room = len(document) * self._window // 8
        code = self._trie.encode_bits(self._window, document, self._align, room)
        assert code is not None  # a window holds a byte at least
        return code

    def _text(self, code: bytes, size: int) -> bytes:
        assert self._trie is not None
        try:
            return self._trie.decode_bits(self._window, code, size)
        except ValueError as error:
            raise FormatError(str(error)) from error

    def decode_all(self, tokens: bytes) -> bytes:
        """The text of whole windows, however long it is; up to the first that no encoder writes."""
        code = swap(tokens, self.token_bits)
        width = self._window // 8
        code = code[: len(code) // width * width]
        while code:
            try:
                return self._text_of_all(code)
            except ValueError:
                code = code[: -max(width, len(code) // 8 // width * width)]
        return b""

    def _text_of_all(self, code: bytes) -> bytes:
        assert self._trie is not None
        width, raw = self._window // 8, array.array("H")
        for at in range(0, len(code), width):
            raw.append(int.from_bytes(code[at : at + width], "big"))
        return self._trie.decode(raw.tobytes())

    def starts(self, document: bytes) -> list[int]:
        """The byte of the document at which the window of each token begins."""
        places = self._places(document) if document else []
        return [place for place in places for _ in range(self._window // self.token_bits)]

    def _places(self, document: bytes) -> list[int]:
        assert self._trie is not None
        numbers = self._trie.encode(document, self._align, self._lookahead)
        lengths = array.array("I", bytes(self._trie.lengths(numbers)))
        return [0, *itertools.accumulate(lengths[:-1])]


class Vocabulary(Windows):
    """The windows of a tokenizer's dictionary that was counted."""

    def __init__(self, tokenizer: Tokenizer, token_bits: int = 16):
        settings = {
            "tokenization": "counted",
            "digest": tokenizer.digest.hex(),
        }
        if windows.find(tokenizer.digest, tokenizer.window) is None:  # it is not released
            settings["vocabulary"] = tokenizer.to_json()
        super().__init__(
            tokenizer.trie,
            tokenizer.window,
            token_bits,
            settings,
            tokenizer.align,
            tokenizer.lookahead,
        )


class EqInfo(Windows):
    """Windows of ``window`` bits (8 to 64) under M1.

    reset_every: windows after which M1 starts afresh; 0: never. align, lookahead: for windows of at
    most 20 bits with a reset at each one, which have a dictionary.
    """

    def __init__(
        self,
        model: Model,
        window: int = 16,
        token_bits: int = 16,
        reset_every: int = 1,
        align: str | None = None,
        lookahead: bool = False,
    ):
        if not frame.MIN_WINDOW <= window <= frame.MAX_WINDOW:
            raise ValueError(f"windows have {frame.MIN_WINDOW} to {frame.MAX_WINDOW} bits")
        frame.check_reset_every(reset_every)
        settings = {
            "tokenization": "eqinfo",
            "model": model.name,
            "digest": model.digest.hex(),
            "reset_every": reset_every,
        }
        self._model, self._reset_every = model, reset_every
        self._mode = eqinfo.EqInfo(model, window, reset_every)
        trie = self._mode.dictionary()
        super().__init__(trie, window, token_bits, settings, align, lookahead)
        if self._align and lookahead:
            raise ValueError("aligned windows end where words begin; lookahead is for others")
        if trie is None and (self._align or lookahead):
            raise ValueError(
                "alignment and lookahead are for windows of at most"
                f" {windows.MAX_WIDTH} bits, with a reset at each one"
            )

    def _code(self, document: bytes) -> bytes:
        if self._trie is not None:
            return super()._code(document)
        room = len(document) * self._window // 8
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

    def _text_of_all(self, code: bytes) -> bytes:
        if self._trie is not None:
            return super()._text_of_all(code)
        return _predict.eqinfo_decode(
            self._model.predictor, self._window, code, 65_536, self._reset_every
        )

    def _places(self, document: bytes) -> list[int]:
        if self._trie is not None:
            return super()._places(document)
        raw = _predict.eqinfo_starts(
            self._model.predictor, self._window, document, self._reset_every
        )
        return array.array("I", bytes(raw)).tolist()


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
            lookahead = bool(settings.get("lookahead"))  # older files have none
            return EqInfo(known[0], window, bits, every, settings["align"], lookahead)
        if name == "counted":
            return _vocabulary(settings, bits)
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


def _vocabulary(settings: dict[str, Any], bits: int) -> Vocabulary:
    lookahead = bool(settings["lookahead"])
    if "vocabulary" in settings:
        tokenizer = Tokenizer.from_json(settings["vocabulary"], lookahead=lookahead)
    else:
        tokenizer = Tokenizer(COUNTED, align=settings["align"], lookahead=lookahead)
    if tokenizer.digest.hex() != settings["digest"]:
        raise ModelNotFoundError(f"the vocabulary {settings['digest'][:8]} is missing")
    return Vocabulary(tokenizer, bits)

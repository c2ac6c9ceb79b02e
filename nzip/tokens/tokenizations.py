"""The tokenizations of arXiv 2404.03626 side by side: from a document's bytes to tokens and back.

``make`` knows them by name: ``counted`` (windows of a dictionary counted on texts, not in the
paper), ``eqinfo`` (section 3.3), ``ac`` (M1 and an arithmetic coder for the whole document),
``static`` (fixed byte frequencies instead of M1), ``gzip`` and ``bytes``. Tokens are the code's
bits in groups of 8 or 16, highest bit first.
"""

from __future__ import annotations

import array
import itertools
import math
import sys
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .. import _coder, _predict, frame, models
from .._trie import Trie
from ..errors import MALFORMED, FormatError, ModelNotFoundError
from ..inputs import STDIO
from ..models import Model
from ..modes import dictionary, eqinfo
from .tokenizer import COUNTED, Tokenizer

if TYPE_CHECKING:
    from ..corpus import Documents

STATIC_ONE = 65536  # what byte frequencies add up to


class Tokenization(Protocol):
    """How documents become tokens; ``settings`` is all that is needed to undo it."""

    token_bits: int  # 8 or 16
    settings: dict[str, Any]  # can be written as JSON
    watch: _predict.Watch | None  # follows encode() and decode(), if they take long

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""

    @property
    def eos(self) -> bytes | None:
        """The tokens that end a document, little-endian; None if there are none."""

    def encode(self, document: bytes) -> bytes:
        """Encode a document to tokens, little-endian."""

    def decode(self, tokens: bytes, size: int) -> bytes:
        """Decode a document of ``size`` bytes. Raises FormatError for tokens of no such
        document."""


def swap(tokens: bytes, token_bits: int) -> bytes:
    """Turn tokens from big-endian to little-endian, or back."""
    if token_bits == 8:
        return tokens
    words = array.array("H", tokens)
    words.byteswap()
    return words.tobytes()


class _Coded:
    """Tokens cut from a code's bits; the last one is padded with zeros."""

    name: str  # on command lines and in settings
    eos: bytes | None = None
    watch: _predict.Watch | None = None

    def __init__(self, token_bits: int, settings: dict[str, Any]):
        if token_bits not in (8, 16):
            raise ValueError(f"tokens have 8 or 16 bits, not {token_bits}")
        self.token_bits = token_bits
        self.settings = {"tokenization": self.name, **settings, "token_bits": token_bits}

    @property
    def vocab_size(self) -> int:
        return 1 << self.token_bits

    def encode(self, document: bytes) -> bytes:
        code = self._code(document) if document else b""
        return swap(code + bytes(len(code) * 8 % self.token_bits // 8), self.token_bits)

    def decode(self, tokens: bytes, size: int) -> bytes:
        if size < 0 or len(tokens) % (self.token_bits // 8):
            raise FormatError("not the tokens of a document")
        text = self._text(swap(tokens, self.token_bits), size) if size else b""
        if len(text) != size:
            raise FormatError("not the tokens of this document")
        return text

    @classmethod
    def from_settings(cls, settings: dict[str, Any], bits: int) -> _Coded:
        """The tokenization with these ``settings``. Raises MALFORMED and ModelNotFoundError."""
        return cls(bits, {})

    def _code(self, document: bytes) -> bytes:
        raise NotImplementedError

    def _text(self, code: bytes, size: int) -> bytes:
        raise NotImplementedError


class Windows(_Coded):
    """Windows of ``window`` bits, each of one or more tokens, by a dictionary if there is one.

    align, lookahead: as for ``Tokenizer``. From 16 bits, the window with the number 2^W - 16 ends
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
        self._align, self._lookahead = dictionary.aligned(align), lookahead
        if window >= 16:
            number = dictionary.codewords(window)  # the first special token
            self.eos = swap(number.to_bytes(window // 8, "big"), token_bits)

    def _code(self, document: bytes) -> bytes:
        assert self._trie is not None
        if self._lookahead:
            # Windows that are whole tokens and have a dictionary have 8 or 16 bits.
            numbers = array.array("H", self._trie.encode(document, False, True))
            if self._window == 8:
                return bytes(numbers)
            if sys.byteorder == "little":
                numbers.byteswap()
            return numbers.tobytes()
        room = len(document) * self._window // 8
        code = self._trie.encode_bits(self._window, document, self._align, room)
        assert code is not None  # a window holds at least one byte
        return code

    def _text(self, code: bytes, size: int) -> bytes:
        assert self._trie is not None
        try:
            return self._trie.decode_bits(self._window, code, size)
        except ValueError as error:
            raise FormatError(str(error)) from error

    def decode_all(self, tokens: bytes) -> bytes:
        """Decode whole windows to all of their text, up to the first that no encoder writes."""
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
    """The windows of a tokenizer with a counted dictionary."""

    name = "counted"

    def __init__(self, tokenizer: Tokenizer, token_bits: int = 16):
        settings = {"digest": tokenizer.digest.hex()}
        if dictionary.find(tokenizer.digest, tokenizer.window) is None:  # not a released one
            settings["vocabulary"] = tokenizer.to_json()
        super().__init__(
            tokenizer.trie,
            tokenizer.window,
            token_bits,
            settings,
            tokenizer.align,
            tokenizer.lookahead,
        )

    @classmethod
    def from_settings(cls, settings: dict[str, Any], bits: int) -> Vocabulary:
        lookahead = bool(settings["lookahead"])
        if "vocabulary" in settings:
            tokenizer = Tokenizer.from_json(settings["vocabulary"], lookahead=lookahead)
        else:
            tokenizer = Tokenizer(COUNTED, align=settings["align"], lookahead=lookahead)
        if tokenizer.digest.hex() != settings["digest"]:
            raise ModelNotFoundError(f"the vocabulary {settings['digest'][:8]} is missing")
        return cls(tokenizer, bits)


class EqInfo(Windows):
    """Windows of ``window`` bits (8 to 64) under M1.

    reset_every: windows after which M1 is reset; 0: never. align, lookahead: only for windows with
    a dictionary, that is, of at most 20 bits and with a reset at each one.
    """

    name = "eqinfo"

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
                f" {frame.MAX_DICTIONARY} bits, with a reset at each one"
            )

    @classmethod
    def from_settings(cls, settings: dict[str, Any], bits: int) -> EqInfo:
        window, every = int(settings["window"]), int(settings["reset_every"])
        lookahead = bool(settings.get("lookahead"))  # missing in older files
        return cls(_model(settings), window, bits, every, settings["align"], lookahead)

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
        assert code is not None  # a window holds at least one byte
        return code

    def _text(self, code: bytes, size: int) -> bytes:
        return self._mode.decode(code, size, self.watch or _predict.Watch())

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
    """One arithmetic code per document, by M1 alone."""

    name = "ac"

    def __init__(self, model: Model, token_bits: int = 8):
        settings = {"model": model.name, "digest": model.digest.hex()}
        super().__init__(token_bits, settings)
        self._model = model

    @classmethod
    def from_settings(cls, settings: dict[str, Any], bits: int) -> Ac:
        return cls(_model(settings), bits)

    def _code(self, document: bytes) -> bytes:
        # A byte costs at most 16 bytes: 8 bits with a probability of 2^-16 each.
        room = 15 * len(document) + 64
        code = _predict.ac_encode(self._model.predictor, False, document, room, watch=self.watch)
        assert code is not None
        return code

    def _text(self, code: bytes, size: int) -> bytes:
        return _predict.ac_decode(self._model.predictor, False, code, size, watch=self.watch)

    def bits(self, document: bytes) -> list[float]:
        """The cost of each byte of the document, in bits."""
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
    """One arithmetic code per document, under fixed byte frequencies.

    frequencies: 256 numbers of at least 1 that add up to 65,536, as ``frequencies`` returns.
    """

    name = "static"

    def __init__(self, frequencies: Sequence[int], token_bits: int = 8):
        if len(frequencies) != 256 or min(frequencies) < 1 or sum(frequencies) != STATIC_ONE:
            raise ValueError("256 frequencies of at least 1 that add up to 65,536 are needed")
        settings = {"frequencies": list(frequencies)}
        super().__init__(token_bits, settings)
        row = array.array("I", [0, *itertools.accumulate(frequencies)])
        self._row = memoryview(row).cast("B").cast("I", (1, 257))

    @classmethod
    def from_settings(cls, settings: dict[str, Any], bits: int) -> Static:
        return cls(settings["frequencies"], bits)

    def _code(self, document: bytes) -> bytes:
        return _coder.encode_symbols(document, self._row)

    def _text(self, code: bytes, size: int) -> bytes:
        return _coder.decode_symbols(code, self._row, size)


def frequencies(documents: Iterable[bytes]) -> list[int]:
    """The byte frequencies of a corpus, for ``Static``."""
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

    name = "gzip"

    def __init__(self, token_bits: int = 8):
        super().__init__(token_bits, {})

    @classmethod
    def from_settings(cls, settings: dict[str, Any], bits: int) -> Gzip:
        return cls(bits)

    def _code(self, document: bytes) -> bytes:
        return zlib.compress(document)

    def _text(self, code: bytes, size: int) -> bytes:
        try:
            return zlib.decompressobj().decompress(code, size)
        except zlib.error as error:
            raise FormatError(str(error)) from error


class Bytes(_Coded):
    """The bytes themselves."""

    name = "bytes"

    def __init__(self, token_bits: int = 8):
        if token_bits != 8:
            raise ValueError("bytes are tokens of 8 bits")
        super().__init__(token_bits, {})

    @classmethod
    def from_settings(cls, settings: dict[str, Any], bits: int) -> Bytes:
        return cls(bits)

    def _code(self, document: bytes) -> bytes:
        return document

    def _text(self, code: bytes, size: int) -> bytes:
        return code


def _model(settings: dict[str, Any]) -> Model:
    digest = bytes.fromhex(settings["digest"])
    known = (m for m in models.by_prefix(digest[:2]) if m.digest == digest)
    model = next(known, None)
    if model is None:
        raise ModelNotFoundError(f"the model {settings['digest'][:8]} is missing")
    return model


KINDS: dict[str, type[_Coded]] = {
    kind.name: kind for kind in (Vocabulary, EqInfo, Ac, Static, Gzip, Bytes)
}


def from_settings(settings: dict[str, Any]) -> Tokenization:
    """The tokenization with these ``settings``. Raises FormatError and ModelNotFoundError."""
    try:
        name, bits = settings["tokenization"], int(settings["token_bits"])
        if name in KINDS:
            return KINDS[name].from_settings(settings, bits)
    except MALFORMED as error:
        if isinstance(error, ModelNotFoundError):
            raise
        raise FormatError(f"not the settings of a tokenization: {error}") from error
    raise FormatError(f"unknown tokenization {name!r}")


def make(
    name: str,
    documents: Documents,
    *,
    model: str | None,
    window: int | None,
    token_bits: int | None,
    reset_every: int,
    align: str | None,
    lookahead: bool = False,
    vocabulary: Path | None = None,
) -> Tokenization:
    """Make the tokenization of that name; None means the default of each setting.

    documents: the input, from which "static" counts its frequencies. vocabulary: a file that
    ``Tokenizer.save`` wrote, for "counted". Raises ValueError.
    """
    if vocabulary is not None and name != "counted":
        raise ValueError("a vocabulary is for the tokenization counted only")
    if name == "counted":
        if model is not None or reset_every != 1:
            raise ValueError("counted windows use no model; use --tokenization eqinfo")
        if vocabulary is not None:
            tokenizer = Tokenizer.load(vocabulary, lookahead=lookahead)
            if align not in (None, tokenizer.align):
                raise ValueError(f"{vocabulary} was not counted for windows aligned to {align}")
        else:
            width = window or frame.DEFAULT_WINDOW
            tokenizer = Tokenizer(window=width, align=align, lookahead=lookahead)
        return Vocabulary(tokenizer, token_bits or (8 if tokenizer.window % 16 else 16))
    if name == "eqinfo":
        m1 = models.load(models.WINDOWS if model is None else model)
        width = window or frame.DEFAULT_WINDOW
        return EqInfo(m1, width, token_bits or 16, reset_every, align, lookahead)
    if window is not None or reset_every != 1 or align is not None or lookahead:
        raise ValueError("windows, resets, alignment and lookahead are for counted and eqinfo only")
    if model is not None and name != "ac":
        raise ValueError(f"{name} uses no model")
    bits = token_bits or 8
    if name == "ac":
        return Ac(models.load(model), bits)
    if name == "static":
        if STDIO in documents.paths:
            raise ValueError("static reads its input twice, which stdin does not allow")
        return Static(frequencies(documents), bits)
    if name == "gzip":
        return Gzip(bits)
    if name == "bytes":
        return Bytes(bits)
    raise ValueError(f"unknown tokenization {name!r} (known: {', '.join(KINDS)})")

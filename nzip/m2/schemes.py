"""The compared tokenizations, by name: how each is made, and the paper's name for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from .. import models
from ..errors import FormatError
from ..tokens import Tokenizer, tokenizations
from .data import Tokens, join, kind_of


@runtime_checkable
class Strings(Protocol):
    """A tokenization whose tokens stand for strings; ``strings`` has them by number."""

    strings: list[bytes]

    def encode(self, document: bytes) -> np.ndarray:
        """Encode a document to tokens, int32 [n]."""


class Listed:
    """The strings of a trained model's tokens, without the tokenization that made them.

    It decodes; prompts are encoded by longest match.
    """

    def __init__(self, strings: list[bytes]):
        self.strings = strings
        self._number = {text: number for number, text in enumerate(strings)}
        self._longest = max(map(len, strings))

    def encode(self, document: bytes) -> np.ndarray:
        """Encode a document by longest match, int32 [n]."""
        ids, at = [], 0
        while at < len(document):
            sizes = range(min(self._longest, len(document) - at), 0, -1)
            size = next(s for s in sizes if document[at : at + s] in self._number)
            ids.append(self._number[document[at : at + size]])
            at += size
        return np.array(ids, np.int32)


class Scheme:
    """A tokenization by name: from a document to its tokens, and back.

    name: a key of ``SCHEMES``, or ``bpe-N`` for byte-pair encoding with N entries. documents: the
    training text, on which BPE is trained and frequencies are counted. folder: where to keep a
    trained BPE. Raises ValueError for another name.
    """

    def __init__(self, name: str, documents: list[bytes], folder: Path | None = None):
        check_name(name)
        self.name = name
        self.stream: tokenizations.Tokenization | None = None
        self._strings: Strings | None = None
        if name.startswith("bpe-"):
            from .bpe import Bpe

            self._strings = Bpe.trained(documents, int(name[4:]), folder)
            return
        made = SCHEMES[name].make(documents)
        if isinstance(made, Strings):
            self._strings = made
        else:
            self.stream = made

    @property
    def settings(self) -> dict[str, Any]:
        """The settings from which ``from_settings`` makes it again; can be written as JSON."""
        if self.stream is not None:
            return self.stream.settings
        assert self._strings is not None
        return {"strings": self.name, "list": [text.hex() for text in self._strings.strings]}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Scheme:
        """The tokenization with these ``settings``. Raises FormatError and ModelNotFoundError."""
        scheme = cls.__new__(cls)
        scheme.stream = scheme._strings = None
        if "strings" in settings:
            scheme.name = settings["strings"]
            scheme._strings = Listed([bytes.fromhex(s) for s in settings["list"]])
        else:
            scheme.name = settings["tokenization"]
            scheme.stream = tokenizations.from_settings(settings)
        return scheme

    @property
    def vocab(self) -> int:
        """The number of tokens; the last one ends documents."""
        if self._strings is not None:
            return len(self._strings.strings) + 1
        assert self.stream is not None
        return self.stream.vocab_size + 1

    def encode(self, document: bytes) -> np.ndarray:
        """Encode a document to tokens, without an end mark."""
        if self._strings is not None:
            return self._strings.encode(document)
        assert self.stream is not None
        return np.frombuffer(self.stream.encode(document), kind_of(self.stream))

    def decode(self, ids: np.ndarray, size: int) -> bytes:
        """Decode a document of ``size`` bytes. Raises FormatError for tokens of any other."""
        if self.stream is not None:
            return self.stream.decode(ids.astype(kind_of(self.stream)).tobytes(), size)
        text = b"".join(self.texts(ids))
        if len(text) != size:
            raise FormatError("not the tokens of this document")
        return text

    def texts(self, ids: np.ndarray) -> list[bytes]:
        """The string of each token, for BPE and padded windows."""
        assert self._strings is not None
        return [self._strings.strings[i] for i in ids]

    def tokens(self, documents: Iterable[bytes]) -> Tokens:
        """Encode all documents, with end marks."""
        return join(((self.encode(d), len(d)) for d in documents), self.vocab)


class Entry(NamedTuple):
    """A tokenization: the paper's name, and a function that makes it from the training text."""

    label: str
    make: Callable[[list[bytes]], tokenizations.Tokenization | Strings]


def _windows(width: int, bits: int, every: int = 1, align: str | None = None) -> Any:
    return lambda _: tokenizations.EqInfo(models.load(models.WINDOWS), width, bits, every, align)


def _counted(align: str | None = None) -> Any:
    return lambda _: tokenizations.Vocabulary(Tokenizer(align=align))


def _padded(_: list[bytes]) -> Strings:
    from .padded import Padded

    return Padded(models.load(models.WINDOWS), 16)


SCHEMES = {
    "bytes": Entry("bytes", lambda _: tokenizations.Bytes()),
    "ac-8": Entry("AC[v=256]", lambda _: tokenizations.Ac(models.load(), 8)),
    "ac-16": Entry("AC[v=65k]", lambda _: tokenizations.Ac(models.load(), 16)),
    "static-8": Entry(
        "StaticAC[v=256]",
        lambda documents: tokenizations.Static(tokenizations.frequencies(documents), 8),
    ),
    "gzip-8": Entry("gzip[v=256]", lambda _: tokenizations.Gzip(8)),
    "eqinfo-16-8": Entry("EqualInfoAC[b=16, v=256]", _windows(16, 8)),
    "eqinfo-16-16": Entry("EqualInfoAC[b=16, v=65k]", _windows(16, 16)),
    "eqinfo-24-8": Entry("EqualInfoAC[b=24, v=256]", _windows(24, 8)),
    "eqinfo-32-8": Entry("EqualInfoAC[b=32, v=256]", _windows(32, 8)),
    "eqinfo-64-8": Entry("EqualInfoAC[b=64, v=256]", _windows(64, 8)),
    "eqinfo-16-8-carry": Entry("EqualInfoAC[b=16, v=256], M1 never reset", _windows(16, 8, 0)),
    "eqinfo-16-8-every-2": Entry(
        "EqualInfoAC[b=16, v=256], M1 reset at every other window", _windows(16, 8, 2)
    ),
    "eqinfo-16-16-word": Entry(
        "EqualInfoAC[b=16, v=65k], aligned to words", _windows(16, 16, 1, "word")
    ),
    "counted": Entry("counted vocabulary [v=65k]", _counted()),
    "counted-word": Entry("counted vocabulary [v=65k], aligned to words", _counted("word")),
    "padded-16": Entry("zero-padded windows [b=16, v=65k]", _padded),
}


def check_name(name: str) -> None:
    """Raise ValueError unless ``Scheme`` knows the name."""
    size = name.removeprefix("bpe-")
    if name not in SCHEMES and (size == name or not size.isdigit()):
        raise ValueError(f"unknown tokenization {name!r} (known: {', '.join(SCHEMES)}, bpe-N)")


def label(name: str) -> str:
    """The paper's name of a tokenization."""
    return SCHEMES[name].label if name in SCHEMES else name.replace("bpe-", "BPE of ")

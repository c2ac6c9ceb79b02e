"""Documents as tokens: an array for training, one for measuring, and how they were made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .. import corpus, models
from ..errors import FormatError
from ..tokens import Tokenizer as Vocabulary
from ..tokens import files, streams

PIECE = 10_240  # bytes of text that are coded at once (section 3.1)


@dataclass(frozen=True)
class Tokens:
    """Documents' tokens one behind the other, each document ended by the token ``vocab - 1``.

    ids: int32 [n]. sizes: bytes of text; every byte is counted, end marks are none.
    """

    ids: np.ndarray
    vocab: int
    bytes: int
    documents: int


def pieces(paths: list[Path], total: int, split: str = "nul") -> Iterator[bytes]:
    """Documents of up to PIECE bytes, ``total`` bytes in all: of each file the same share from
    its beginning. Longer documents are cut."""
    found = corpus.find_files(paths)
    sizes = [corpus.file_size(path) for path in found]
    for path, size in zip(found, sizes, strict=True):
        left = total * size // max(1, sum(sizes))
        for document in corpus.Documents([path], split):
            for piece in cut(document[:left]):
                left -= len(piece)
                yield piece
            if left <= 0:
                break


def cut(document: bytes) -> Iterator[bytes]:
    """Pieces of a document, of up to PIECE bytes, none of which ends within a UTF-8 character."""
    at = 0
    while at < len(document):
        end = min(at + PIECE, len(document))
        if end < len(document):  # a character has four bytes at most; what has more is none
            places = range(end, end - 4, -1)
            end = next((place for place in places if document[place] & 0xC0 != 0x80), end)
        yield document[at:end]
        at = end


def split_off(documents: list[bytes], held_out: int) -> tuple[list[bytes], list[bytes]]:
    """(for training, for measuring): every n-th piece is held out, some ``held_out`` bytes."""
    every = max(2, sum(map(len, documents)) // max(1, held_out))
    measured = documents[every - 1 :: every]
    return [d for i, d in enumerate(documents) if i % every != every - 1], measured


def join(documents: Iterable[tuple[np.ndarray, int]], vocab: int) -> Tokens:
    """Documents, each its tokens and its bytes, with end marks."""
    parts, total, count = [np.zeros(0, np.int32)], 0, 0
    end = np.array([vocab - 1], np.int32)
    for ids, size in documents:
        parts += [ids.astype(np.int32), end]
        total += size
        count += 1
    return Tokens(np.concatenate(parts), vocab, total, count)


def kind_of(stream: streams.Tokenization) -> np.dtype[Any]:
    """The type of its tokens."""
    return np.dtype("<u1" if stream.token_bits == 8 else "<u2")


class Strings(Protocol):
    """A tokenization whose tokens are strings, by number."""

    strings: list[bytes]

    def encode(self, document: bytes) -> np.ndarray:
        """The tokens of a document."""


class Listed:
    """Strings whose tokenization is not needed any more: only text comes out of them, and prompts
    go in by the longest strings."""

    def __init__(self, strings: list[bytes]):
        self.strings = strings
        self._number = {text: number for number, text in enumerate(strings)}
        self._longest = max(map(len, strings))

    def encode(self, document: bytes) -> np.ndarray:
        """Tokens of a document, each the longest string."""
        ids, at = [], 0
        while at < len(document):
            sizes = range(min(self._longest, len(document) - at), 0, -1)
            size = next(s for s in sizes if document[at : at + s] in self._number)
            ids.append(self._number[document[at : at + size]])
            at += size
        return np.array(ids, np.int32)


class Tokenizer:
    """From a document to its tokens, and back.

    name: as in ``TOKENIZERS``, ``padded-16``, or ``bpe-N`` for byte-pair encoding of N entries,
    which is trained on the documents.
    """

    def __init__(self, name: str, documents: list[bytes], folder: Path | None = None):
        check_name(name)
        self.name = name
        self.stream: streams.Tokenization | None = None
        self._strings: Strings | None = None
        if name == "padded-16":
            from .padded import Padded

            self._strings = Padded(models.load(models.WINDOWS), 16)
        elif name.startswith("bpe-"):
            from .bpe import Bpe

            self._strings = Bpe.trained(documents, int(name[4:]), folder)
        else:
            self.stream = TOKENIZERS[name](documents)

    @property
    def settings(self) -> dict[str, Any]:
        """What ``from_settings`` makes it from again."""
        if self.stream is not None:
            return self.stream.settings
        assert self._strings is not None
        return {"strings": self.name, "list": [text.hex() for text in self._strings.strings]}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Tokenizer:
        """The tokenization that ``settings`` describes. Raises FormatError, ModelNotFoundError."""
        tokenizer = cls.__new__(cls)
        tokenizer.stream = tokenizer._strings = None
        if "strings" in settings:
            tokenizer.name = settings["strings"]
            tokenizer._strings = Listed([bytes.fromhex(s) for s in settings["list"]])
        else:
            tokenizer.name = settings["tokenization"]
            tokenizer.stream = streams.from_settings(settings)
        return tokenizer

    @property
    def vocab(self) -> int:
        """Tokens, with the one that ends documents, the last."""
        if self._strings is not None:
            return len(self._strings.strings) + 1
        assert self.stream is not None
        return self.stream.vocab_size + 1

    def encode(self, document: bytes) -> np.ndarray:
        """Its tokens, without an end mark."""
        if self._strings is not None:
            return self._strings.encode(document)
        assert self.stream is not None
        return np.frombuffer(self.stream.encode(document), kind_of(self.stream))

    def decode(self, ids: np.ndarray, size: int) -> bytes:
        """A document of ``size`` bytes. Raises FormatError for tokens that are of none."""
        if self.stream is not None:
            return self.stream.decode(ids.astype(kind_of(self.stream)).tobytes(), size)
        text = b"".join(self.texts(ids))
        if len(text) != size:
            raise FormatError("tokens of another document")
        return text

    def texts(self, ids: np.ndarray) -> list[bytes]:
        """What each token of a BPE, or each padded window, stands for."""
        assert self._strings is not None
        return [self._strings.strings[i] for i in ids]

    def tokens(self, documents: Iterable[bytes]) -> Tokens:
        """All of them, with end marks."""
        return join(((self.encode(d), len(d)) for d in documents), self.vocab)


def _windows(width: int, bits: int, every: int = 1, align: str | None = None) -> Any:
    return lambda _: streams.EqInfo(models.load(models.WINDOWS), width, bits, every, align)


def _counted(align: str | None = None) -> Any:
    return lambda _: streams.Vocabulary(Vocabulary(align=align))


# Name -> what makes the tokenization from the documents for training.
TOKENIZERS: dict[str, Callable[[list[bytes]], streams.Tokenization]] = {
    "bytes": lambda _: streams.Bytes(),
    "ac-8": lambda _: streams.Ac(models.load(), 8),
    "ac-16": lambda _: streams.Ac(models.load(), 16),
    "static-8": lambda documents: streams.Static(streams.frequencies(documents), 8),
    "gzip-8": lambda _: streams.Gzip(8),
    "eqinfo-16-8": _windows(16, 8),
    "eqinfo-16-16": _windows(16, 16),
    "eqinfo-24-8": _windows(24, 8),
    "eqinfo-32-8": _windows(32, 8),
    "eqinfo-64-8": _windows(64, 8),
    "eqinfo-16-8-carry": _windows(16, 8, 0),
    "eqinfo-16-8-every-2": _windows(16, 8, 2),
    "eqinfo-16-16-word": _windows(16, 16, 1, "word"),
    "counted": _counted(),
    "counted-word": _counted("word"),
}
LABELS = {
    "bytes": "bytes",
    "ac-8": "AC[v=256]",
    "ac-16": "AC[v=65k]",
    "static-8": "StaticAC[v=256]",
    "gzip-8": "gzip[v=256]",
    "eqinfo-16-8": "EqualInfoAC[b=16, v=256]",
    "eqinfo-16-16": "EqualInfoAC[b=16, v=65k]",
    "eqinfo-24-8": "EqualInfoAC[b=24, v=256]",
    "eqinfo-32-8": "EqualInfoAC[b=32, v=256]",
    "eqinfo-64-8": "EqualInfoAC[b=64, v=256]",
    "eqinfo-16-8-carry": "EqualInfoAC[b=16, v=256], M1 never reset",
    "eqinfo-16-8-every-2": "EqualInfoAC[b=16, v=256], M1 reset at every other window",
    "eqinfo-16-16-word": "EqualInfoAC[b=16, v=65k], aligned to words",
    "counted": "counted vocabulary [v=65k]",
    "counted-word": "counted vocabulary [v=65k], aligned to words",
    "padded-16": "zero-padded windows [b=16, v=65k]",
}


def check_name(name: str) -> None:
    """Raise ValueError unless ``Tokenizer`` knows the name."""
    size = name.removeprefix("bpe-")
    if name in TOKENIZERS or name == "padded-16" or (size != name and size.isdigit()):
        return
    known = ", ".join(TOKENIZERS)
    raise ValueError(f"unknown tokenization {name!r} (known: {known}, padded-16, bpe-N)")


def label(name: str) -> str:
    """The paper's name of a tokenization."""
    return LABELS.get(name, name.replace("bpe-", "BPE of "))


def read_tokens(path: Path) -> tuple[Tokens, streams.Tokenization]:
    """A file of ``nzip tokenize``. Raises FormatError and ModelNotFoundError."""
    tokenization, rows = files.read_tokens(path)
    kind = kind_of(tokenization)
    arrays = ((np.frombuffer(row, kind), size) for row, size in rows)
    tokens = join(arrays, tokenization.vocab_size + 1)
    if not tokens.documents:
        raise FormatError(f"{path}: no documents")
    return tokens, tokenization


def last_documents(tokens: Tokens, share: float) -> tuple[Tokens, Tokens]:
    """(all but the last documents, the last ones): bytes in proportion to tokens. Raises ValueError
    where there are fewer than two."""
    ends = np.flatnonzero(tokens.ids == tokens.vocab - 1) + 1
    if len(ends) < 2:
        raise ValueError("a single document cannot be divided; name held-out tokens")
    first = min(len(ends) - 1, max(1, round(len(ends) * (1 - share))))
    at = int(ends[first - 1])
    size = round(tokens.bytes * at / len(tokens.ids))
    return (
        Tokens(tokens.ids[:at], tokens.vocab, size, first),
        Tokens(tokens.ids[at:], tokens.vocab, tokens.bytes - size, len(ends) - first),
    )


def save(path: Path, tokens: Tokens) -> None:
    """Keep tokens in a file of numpy's."""
    about = json.dumps([tokens.vocab, tokens.bytes, tokens.documents])
    np.savez(path, ids=tokens.ids, about=np.frombuffer(about.encode(), np.uint8))


def load(path: Path) -> Tokens:
    """What ``save`` wrote."""
    with np.load(path, allow_pickle=False) as kept:
        return Tokens(kept["ids"], *json.loads(kept["about"].tobytes()))

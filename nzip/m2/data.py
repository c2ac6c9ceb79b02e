"""Documents as tokens: arrays for training and measuring, and how they are made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import corpus
from ..errors import FormatError
from ..inputs import find_files
from ..tokens import tokenfile, tokenizations

PIECE = 10_240  # most bytes of text that are coded together (section 3.1)


@dataclass(frozen=True)
class Tokens:
    """Documents' tokens one after another; the token ``vocab - 1`` ends each document.

    ids: int32 [n]. vocab: number of tokens. bytes: of text; end marks have none.
    """

    ids: np.ndarray
    vocab: int
    bytes: int
    documents: int


def pieces(paths: list[Path], total: int, split: str = "nul") -> Iterator[bytes]:
    """Yield documents of up to PIECE bytes, ``total`` bytes in all; longer documents are cut.

    Each file contributes the same share, from its beginning. split: see ``corpus.Documents``.
    """
    found = find_files(paths)
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
    """Cut a document into pieces of up to PIECE bytes, not inside a UTF-8 character."""
    at = 0
    while at < len(document):
        end = min(at + PIECE, len(document))
        if end < len(document):  # a character has at most four bytes; anything longer is not UTF-8
            places = range(end, end - 4, -1)
            end = next((place for place in places if document[place] & 0xC0 != 0x80), end)
        yield document[at:end]
        at = end


def split_off(documents: list[bytes], held_out: int) -> tuple[list[bytes], list[bytes]]:
    """(for training, held out): every n-th document is held out, about ``held_out`` bytes."""
    every = max(2, sum(map(len, documents)) // max(1, held_out))
    measured = documents[every - 1 :: every]
    return [d for i, d in enumerate(documents) if i % every != every - 1], measured


def join(documents: Iterable[tuple[np.ndarray, int]], vocab: int) -> Tokens:
    """Join documents, given as (tokens, bytes of text), with end marks."""
    parts, total, count = [np.zeros(0, np.int32)], 0, 0
    end = np.array([vocab - 1], np.int32)
    for ids, size in documents:
        parts += [ids.astype(np.int32), end]
        total += size
        count += 1
    return Tokens(np.concatenate(parts), vocab, total, count)


def kind_of(stream: tokenizations.Tokenization) -> np.dtype[Any]:
    """The NumPy type of a tokenization's tokens."""
    return np.dtype("<u1" if stream.token_bits == 8 else "<u2")


def read_tokens(path: Path) -> tuple[Tokens, tokenizations.Tokenization]:
    """Read a file that ``nzip tokenize`` wrote.

    Raises FormatError, ModelNotFoundError and OSError.
    """
    tokenization, _, rows = tokenfile.read_tokens(path)
    kind = kind_of(tokenization)
    arrays = ((np.frombuffer(row, kind), size) for row, size in rows)
    tokens = join(arrays, tokenization.vocab_size + 1)
    if not tokens.documents:
        raise FormatError(f"{path}: no documents")
    return tokens, tokenization


def last_documents(tokens: Tokens, share: float) -> tuple[Tokens, Tokens]:
    """Split off the last documents, a ``share`` of all: (the others, the last ones).

    The bytes of each part are estimated in proportion to its tokens. Raises ValueError if there are
    fewer than two documents.
    """
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
    """Write tokens to a NumPy file."""
    about = json.dumps([tokens.vocab, tokens.bytes, tokens.documents])
    np.savez(path, ids=tokens.ids, about=np.frombuffer(about.encode(), np.uint8))


def load(path: Path) -> Tokens:
    """Read a file that ``save`` wrote."""
    with np.load(path, allow_pickle=False) as kept:
        return Tokens(kept["ids"], *json.loads(kept["about"].tobytes()))

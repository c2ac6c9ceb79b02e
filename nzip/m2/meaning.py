"""Do tokens keep their meaning? How much a token by itself says about the text (the paper, 6.2).

For each frequent token, the texts that begin where the token's own text begins are collected. The
entropy of their first bytes, given the token, is low if the token always stands for the same
string, as subwords do, and close to that of any text if it says nothing, as in one long arithmetic
code.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..tokens import tokenizations
from .schemes import Scheme, label

OFTEN = 8  # occurrences from which a token is counted
PREFIXES = (1, 2, 4)  # bytes of text


def starts(scheme: Scheme, document: bytes, ids: np.ndarray) -> np.ndarray:
    """Where in the document the text of each token begins, int [n].

    For a token inside a window that is the window's start; for one long code, the byte that the
    token's first bit encodes.
    """
    stream, count = scheme.stream, len(ids)
    if stream is None:
        lengths = [len(text) for text in scheme.texts(ids)]
        return np.cumsum([0, *lengths[:-1]])
    if isinstance(stream, tokenizations.Windows):
        return np.array(stream.starts(document))
    if isinstance(stream, tokenizations.Bytes):
        return np.arange(count)
    if isinstance(stream, tokenizations.Ac):
        costs = np.array(stream.bits(document))
    elif isinstance(stream, tokenizations.Static):
        frequencies = np.array(stream.settings["frequencies"])
        costs = -np.log2(frequencies[np.frombuffer(document, np.uint8)] / tokenizations.STATIC_ONE)
    else:  # gzip's blocks are not parsed: each byte gets the document's mean number of bits
        costs = np.full(len(document), stream.token_bits * count / len(document))
    ends = np.cumsum(costs)
    first = np.searchsorted(ends, np.arange(count) * stream.token_bits, side="right")
    return np.minimum(first, len(document) - 1)


def of_tokens(scheme: Scheme, documents: list[bytes]) -> dict[str, Any]:
    """The entropy, in bits, of the first 1, 2 and 4 bytes of text, given the token and without it.

    By the number of bytes, as str: given, alone, and occurrences, the number of tokens counted.
    """
    seen: dict[int, dict[int, collections.Counter[bytes]]] = {
        size: collections.defaultdict(collections.Counter) for size in PREFIXES
    }
    for document in documents:
        ids = scheme.encode(document)
        for token, at in zip(ids.tolist(), starts(scheme, document, ids).tolist(), strict=True):
            for size in PREFIXES:
                seen[size][token][document[at : at + size]] += 1
    result: dict[str, Any] = {}
    for size in PREFIXES:
        often = {t: c for t, c in seen[size].items() if c.total() >= OFTEN}
        count = sum(c.total() for c in often.values())
        every: collections.Counter[bytes] = collections.Counter()
        for counter in often.values():
            every += counter
        given = sum(c.total() * entropy(c) for c in often.values()) / max(1, count)
        result[str(size)] = {"given": given, "alone": entropy(every), "occurrences": count}
    return result


def entropy(counts: collections.Counter[bytes]) -> float:
    """The entropy in bits, by Miller and Madow's estimate, which corrects for few occurrences."""
    total = counts.total()
    if total == 0:
        return 0.0
    plain = -sum(n / total * math.log2(n / total) for n in counts.values())
    return plain + (len(counts) - 1) / (2 * total * math.log(2))


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The lines of a Markdown table, one per tokenization; a dash if no token is frequent."""
    out = [
        "| tokenization | bits of the next byte, given the token | without it"
        " | of the next 4 bytes, given it | without it |",
        "|---|---:|---:|---:|---:|",
    ]
    done = set()
    for row in rows:
        if row["name"] in done:
            continue
        done.add(row["name"])
        cells = [
            f"{row['meaning'][size][key]:.2f}" if row["meaning"][size]["occurrences"] else "-"
            for size in ("1", "4")
            for key in ("given", "alone")
        ]
        out.append(f"| {label(row['name'])} | {' | '.join(cells)} |")
    return out


def compared(names: Iterable[str], documents: list[bytes]) -> str:
    """The Markdown table of the named tokenizations on documents."""
    rows = [
        {"name": name, "meaning": of_tokens(Scheme(name, documents), documents)} for name in names
    ]
    return "\n".join(table(rows)) + "\n"

"""A dictionary of windows counted on a corpus, instead of computed from a model.

The dictionary grows and improves in rounds, whose kernel is count.h. A round parses the text with
the present dictionary, counts all strings that tokens begin with, and takes the set, closed under
prefixes, that would save the most tokens. The saving of a string is only known for small changes:
if the whole dictionary changed at once, tokens would begin elsewhere and the strings would not
occur. So a string must save much more to enter than to stay, and the dictionary grows in steps.
Counts and weights are integers: the same corpus gives the same dictionary anywhere.
"""

from __future__ import annotations

import array
import itertools
from collections.abc import Callable, Iterable, Iterator

from .. import _trie
from .._trie import Trie
from ..modes import dictionary

LIMIT = 100_000_000  # bytes of text that are counted
PIECE = 1 << 16  # bytes that are kept or left out together
PART = 5  # the first rounds read every fifth piece
FIRST = 4000  # strings after the first round
GROWING = (224,) * 20  # how firmly strings stay (of 256), in rounds in which the dictionary grows
SETTLING = (128, 128, 160, 160, 192, 192, 208, 224, 224, 240, 240)  # then, on the whole text
RARE = 16  # a string enters if it begins at least a 16th as many tokens as the average string


def sample(documents: Iterable[bytes], limit: int) -> list[bytes]:
    """Pieces of the documents, at most ``limit`` bytes: all, or every second, fourth, ... piece."""
    kept: list[bytes] = []
    size, every = 0, 1
    for number, piece in enumerate(_pieces(documents)):
        if number % every:
            continue
        kept.append(piece)
        size += len(piece)
        while size > limit and len(kept) > 1:
            kept = kept[::2]
            size = sum(map(len, kept))
            every *= 2
    return kept


def _pieces(documents: Iterable[bytes]) -> Iterator[bytes]:
    for document in documents:
        for at in range(0, len(document), PIECE):
            yield document[at : at + PIECE]


def count(
    documents: Iterable[bytes],
    width: int = 16,
    align: str | None = None,
    limit: int = LIMIT,
    say: Callable[[str], None] = lambda text: None,
) -> Trie:
    """Count a dictionary of ``dictionary.codewords(width)`` strings.

    align: as for ``Tokenizer``. limit: the most bytes of text, at about ten bytes of memory each;
    pieces of 64 KiB of a larger corpus are left out evenly. say: called with a line of text after
    each round. Raises ValueError for a width out of range or documents without text.
    """
    wanted, aligned = dictionary.codewords(dictionary.check_width(width)), dictionary.aligned(align)
    pieces = sample(documents, limit)
    if not any(pieces):
        raise ValueError("there is no text to count on")
    part = pieces[::PART] if len(pieces) >= 50 * PART else pieces
    trie = Trie(array.array("H", [1] * 256).tobytes(), bytes(range(256)))
    first = min(FIRST, wanted)
    steps = len(GROWING) - 1
    sizes = [int(first * (wanted / first) ** (k / steps)) for k in range(steps)] + [wanted]
    for size, hold in zip(sizes, GROWING, strict=True):
        trie = _round(trie, part, size, hold, aligned, say)
    for hold in SETTLING:
        trie = _round(trie, pieces, wanted, hold, aligned, say)
    return trie if len(trie) == wanted else _filled(trie, wanted)


def _round(
    trie: Trie,
    pieces: list[bytes],
    wanted: int,
    hold: int,
    aligned: bool,
    say: Callable[[str], None],
) -> Trie:
    text = b"".join(pieces)
    ends = array.array("q", itertools.accumulate(map(len, pieces)))
    least = max(2, len(text) // wanted // RARE)
    lengths, last, tokens = _trie.count_round(trie, text, ends, least, wanted, hold, aligned)
    say(f"{len(trie):,} strings: {len(text) / tokens:.3f} bytes per token; now {len(last):,}")
    return Trie(lengths, last)


def _filled(trie: Trie, wanted: int) -> Trie:
    """Fill a dictionary, for which the text is too small, with the shortest missing strings."""
    strings = {trie.string(number) for number in range(len(trie))}
    for length in itertools.count(2):
        for before in sorted(s for s in strings if len(s) == length - 1):
            for byte in range(256):
                if len(strings) == wanted:
                    return _of_strings(strings)
                strings.add(before + bytes([byte]))
    raise AssertionError("there is always a longer string")


def _of_strings(strings: Iterable[bytes]) -> Trie:
    entries = sorted(strings)
    return Trie(
        array.array("H", map(len, entries)).tobytes(), bytes(entry[-1] for entry in entries)
    )

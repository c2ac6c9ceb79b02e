"""``Tokenizer``: from text to numbers and back, by a dictionary of windows."""

from __future__ import annotations

import array
import base64
import itertools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import models
from .._trie import Trie
from ..errors import MALFORMED, FormatError, ModelNotFoundError
from ..modes import dictionary
from . import count

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

FORMAT = "nzip-tokenizer-1"
COUNTED = "counted"  # the released counted dictionaries
EQINFO = "eqinfo"  # the windows under the released M1 for windows
# Names of the numbers after the windows, in order. Text that spells such a name stays text.
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|pad|>",
    "<|startoftext|>",
    "<|mask|>",
    *(f"<|special_{k}|>" for k in range(4, 16)),
)


def _utf8(text: str | bytes) -> bytes:
    """Text as bytes; lone surrogates, which have no form in UTF-8, become three bytes each."""
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


class Tokenizer:
    """Turns text into tokens, one per dictionary entry ("window"), and back.

    model: "counted" for the released dictionaries counted on texts, with windows of 16 bits;
    "eqinfo", or the name or path of an M1, for the most probable windows under that model.
    window: 8 to 20 bits; up to 16 the tokens fit in uint16.
    align: "word" ends a window where a word begins, if a word begins within it; None does not.
    lookahead: use as few tokens as possible instead of the longest each time; not with ``align``.

    A text is bytes, or a str, which is encoded as UTF-8. From 16 bits there are special tokens:
    SPECIAL_TOKENS. A tokenizer never changes; threads may share it. Raises ModelNotFoundError,
    ModelFileError, and ValueError for a setting out of range.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = COUNTED,
        *,
        window: int = 16,
        align: str | None = None,
        lookahead: bool = False,
    ):
        if model == COUNTED:
            if window != 16:
                raise ValueError("counted windows have 16 bits; for others use the model eqinfo")
            digest, trie = dictionary.counted(align)
            self._set(trie, COUNTED, digest, window, align, lookahead)
        else:
            m1 = models.load(models.WINDOWS if model == EQINFO else model)
            trie = dictionary.of_model(m1, window)
            self._set(trie, m1.name, m1.digest, window, align, lookahead)

    @classmethod
    def train(
        cls,
        corpus: Iterable[str | bytes],
        *,
        name: str = "own",
        window: int = 16,
        align: str | None = None,
        lookahead: bool = False,
        limit: int = count.LIMIT,
        say: Callable[[str], None] = lambda text: None,
    ) -> Tokenizer:
        """Count a dictionary on a corpus of documents and return its tokenizer.

        It takes a few minutes for 100 MB. The same corpus gives the same dictionary.

        name: kept in saved files. window, align, lookahead: as for Tokenizer.
        limit: the most bytes that are counted, at about ten bytes of memory each; pieces of a
        larger corpus are left out evenly.
        say: called with a line of text after each round.

        Raises ValueError for documents without text or a setting out of range.
        """
        trie = count.count(map(_utf8, corpus), window, align, limit, say)
        return cls._made(trie, name, dictionary.own_digest(trie), window, align, lookahead)

    @classmethod
    def _made(
        cls,
        trie: Trie,
        name: str,
        digest: bytes,
        window: int,
        align: str | None,
        lookahead: bool,
    ) -> Tokenizer:
        tokenizer = cls.__new__(cls)
        tokenizer._set(trie, name, digest, window, align, lookahead)
        return tokenizer

    def _set(
        self,
        trie: Trie,
        name: str,
        digest: bytes,
        window: int,
        align: str | None,
        lookahead: bool,
    ) -> None:
        self._aligned = dictionary.aligned(align)
        if self._aligned and lookahead:
            raise ValueError("aligned windows end where words begin; lookahead is for others")
        self.trie, self.name, self.digest = trie, name, digest
        self.window, self.align, self.lookahead = window, align, lookahead
        self._code = "H" if trie.itemsize == 2 else "I"  # of array.array

    def __repr__(self) -> str:
        align = f" align={self.align!r}" if self.align else ""
        ahead = " lookahead" if self.lookahead else ""
        return f"<nzip.Tokenizer {self.name} window={self.window}{align}{ahead}>"

    # ==== Encoding =============================================================================

    def encode(self, text: str | bytes, *, add_eos: bool = False) -> list[int]:
        """Encode a text; ``add_eos`` adds the end-of-text token.

        Raises ValueError for ``add_eos`` with windows of less than 16 bits.

        >>> from nzip.tokens import Tokenizer
        >>> tokenizer = Tokenizer()
        >>> ids = tokenizer.encode("The quick brown fox", add_eos=True)
        >>> [tokenizer.id_to_bytes(number) for number in ids]
        [b'The ', b'quick ', b'brown ', b'fox', b'']
        """
        numbers = array.array(self._code, self.encode_packed(_utf8(text)))
        return [*numbers, self.eos_id] if add_eos else numbers.tolist()

    def encode_to_numpy(self, text: str | bytes) -> np.ndarray:
        """Encode a text to an array of uint16 (uint32 for windows of more than 16 bits)."""
        import numpy as np

        return np.frombuffer(self.encode_packed(_utf8(text)), self.dtype)

    def encode_packed(self, text: bytes) -> bytes:
        """Encode a text to numbers in native byte order, two bytes each (four above 16 bits)."""
        return self.trie.encode(text, self._aligned, self.lookahead)

    def encode_batch(
        self, texts: Iterable[str | bytes], *, add_eos: bool = False
    ) -> list[list[int]]:
        """Encode several texts; the same as encode() for each, but faster."""
        data = [_utf8(text) for text in texts]
        ends = array.array("q", itertools.accumulate(map(len, data)))
        packed, stops = self.trie.encode_many(
            b"".join(data), ends, self._aligned, self.eos_id if add_eos else -1, self.lookahead
        )
        numbers = array.array(self._code, packed).tolist()
        bounds = [0, *array.array("q", bytes(stops))]
        return [numbers[a:b] for a, b in itertools.pairwise(bounds)]

    def encode_arrow(self, column: pa.Array | pa.ChunkedArray, *, add_eos: bool = False) -> Any:
        """Encode a column of strings or binaries, without a Python object per token or text.

        Returns a pyarrow array of lists of uint16 (or uint32), null where the text is.
        """
        import numpy as np
        import pyarrow as pa

        if isinstance(column, pa.ChunkedArray):
            parts = [self.encode_arrow(chunk, add_eos=add_eos) for chunk in column.chunks]
            kind = pa.large_list(pa.from_numpy_dtype(self.dtype))
            return pa.chunked_array(parts, type=kind)
        column = column.cast(pa.large_binary())
        _, offsets, data = column.buffers()
        first, count = column.offset, len(column)
        places = np.frombuffer(offsets, np.int64, count + 1, 8 * first) if count else np.zeros(1)
        begin, end = int(places[0]), int(places[-1])
        texts = memoryview(data).cast("B")[begin:end] if data is not None and end else b""
        packed, stops = self.trie.encode_many(
            texts,
            (places[1:] - begin).astype(np.int64),
            self._aligned,
            self.eos_id if add_eos else -1,
            self.lookahead,
        )
        ends = np.concatenate([[0], np.frombuffer(stops, np.int64)])
        values = pa.array(np.frombuffer(packed, self.dtype))
        missing = pa.array(column.is_null()) if column.null_count else None
        return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), values, mask=missing)

    def encode_with_offsets(self, text: str | bytes) -> tuple[list[int], list[int]]:
        """Encode a text: (tokens, the byte at which each begins); in UTF-8 for a str."""
        packed = self.encode_packed(_utf8(text))
        lengths = array.array("I", bytes(self.trie.lengths(packed)))
        offsets = list(itertools.accumulate(lengths, initial=0))[:-1]
        return array.array(self._code, packed).tolist(), offsets

    # ==== Decoding =============================================================================

    def decode_bytes(self, ids: Sequence[int] | np.ndarray) -> bytes:
        """Decode tokens to bytes; special tokens decode to nothing.

        Raises ValueError for a number that is not a token.
        """
        first = len(self.trie)
        try:  # the common case: windows only
            if getattr(ids, "dtype", None) == self.dtype:
                return self.trie.decode(ids.tobytes())  # type: ignore[union-attr]
            return self.trie.decode(array.array(self._code, ids).tobytes())
        except (ValueError, OverflowError):
            pass
        kept = []
        for number in ids:
            if not 0 <= number < self.vocab_size:
                raise ValueError(f"{number} is not a token; there are {self.vocab_size}")
            if number < first:
                kept.append(int(number))
        return self.trie.decode(array.array(self._code, kept).tobytes())

    def decode(self, ids: Sequence[int] | np.ndarray, errors: str = "replace") -> str:
        """Decode tokens to text.

        errors: as for ``bytes.decode``, since tokens can end inside a character. Raises ValueError
        for a number that is not a token, and UnicodeDecodeError with ``errors="strict"``.

        >>> from nzip.tokens import Tokenizer
        >>> tokenizer = Tokenizer()
        >>> tokenizer.decode(tokenizer.encode("naïve"))
        'naïve'
        >>> tokenizer.decode(tokenizer.encode("naïve".encode()[:3]))
        'na�'
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_batch(
        self, batch: Iterable[Sequence[int] | np.ndarray], errors: str = "replace"
    ) -> list[str]:
        """Decode each sequence of tokens to text; see decode()."""
        return [self.decode(ids, errors) for ids in batch]

    # ==== Vocabulary ===========================================================================

    @property
    def dtype(self) -> str:
        """The NumPy type that holds a token: "uint16" or "uint32"."""
        return "uint16" if self._code == "H" else "uint32"

    @property
    def vocab_size(self) -> int:
        """The number of tokens: windows and special tokens."""
        return len(self.trie) + len(self.special_tokens)

    @property
    def special_tokens(self) -> dict[str, int]:
        """The numbers of the special tokens by name; empty below 16 bits."""
        if self.window < 16:
            return {}
        return {name: len(self.trie) + k for k, name in enumerate(SPECIAL_TOKENS)}

    @property
    def eos_id(self) -> int:
        """The number of the end-of-text token. Raises ValueError below 16 bits."""
        if self.window < 16:
            raise ValueError("windows of less than 16 bits leave no room for special tokens")
        return len(self.trie)

    def id_to_bytes(self, number: int) -> bytes:
        """The bytes of a token; b"" for a special one. Raises IndexError if there is none."""
        if len(self.trie) <= number < self.vocab_size:
            return b""
        if number < 0:
            raise IndexError(f"{number} is not a codeword")
        return self.trie.string(number)

    def bytes_to_id(self, text: bytes) -> int:
        """The token of exactly these bytes. Raises KeyError if there is none."""
        numbers = array.array(self._code, self.trie.encode(text))
        if len(numbers) != 1:
            raise KeyError(text)
        return numbers[0]

    def vocabulary(self) -> list[bytes]:
        """The bytes of every window, in the order of their numbers."""
        return [self.trie.string(k) for k in range(len(self.trie))]

    # ==== Keeping ==============================================================================

    def __reduce__(self) -> tuple[Any, ...]:
        # Small and the same everywhere, if the dictionary can be found by its hash.
        if dictionary.find(self.digest, self.window) is not None:
            settings = (self.window, self.align, self.lookahead)
            return _by_digest, (self.name, self.digest, *settings)
        return _from_json, (self.to_json(), self.lookahead)

    def packed(self) -> bytes:
        """The content of a dictionary file, as ``modes.dictionary.pack`` makes it."""
        return dictionary.pack(self.digest, self.window, *self.trie.tables())

    def to_json(self) -> str:
        """Return the JSON text that ``save`` writes."""
        return json.dumps(
            {
                "format": FORMAT,
                "model": self.name,
                "window": self.window,
                "align": self.align,
                "digest": self.digest.hex(),
                "dictionary": base64.b64encode(self.packed()).decode(),
            }
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to one JSON file, which ``load`` reads without any model.

        ``lookahead`` is not stored. Raises OSError.
        """
        Path(path).write_text(self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, lookahead: bool = False) -> Tokenizer:
        """Load a saved tokenizer.

        Raises OSError, FormatError, and ValueError for ``lookahead`` with aligned windows.
        """
        return cls.from_json(Path(path).read_bytes(), lookahead=lookahead)

    @classmethod
    def from_json(cls, text: str | bytes, *, lookahead: bool = False) -> Tokenizer:
        """Make a tokenizer from the result of ``to_json``.

        Raises FormatError, and ValueError for ``lookahead`` with aligned windows.
        """
        try:
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise ValueError("another format")
            window, digest = int(content["window"]), bytes.fromhex(content["digest"])
            packed = base64.b64decode(content["dictionary"], validate=True)
            trie = dictionary.unpack(packed, digest, dictionary.check_width(window))
            name, align = str(content["model"]), content["align"]
            dictionary.aligned(align)
        except MALFORMED as error:
            raise FormatError(f"not a tokenizer file: {error}") from error
        return cls._made(trie, name, digest, window, align, lookahead)


# What unpickling calls is found by its name in a module: methods are not, by dill.


def _by_digest(
    name: str, digest: bytes, window: int, align: str | None, lookahead: bool
) -> Tokenizer:
    trie = dictionary.find(digest, window)
    if trie is None:
        m1 = next((m for m in models.by_prefix(digest[:2]) if m.digest == digest), None)
        if m1 is None:
            raise ModelNotFoundError(f"the dictionary {digest.hex()[:8]} of {name} is missing")
        trie = dictionary.of_model(m1, window)
    return Tokenizer._made(trie, name, digest, window, align, lookahead)


def _from_json(text: str, lookahead: bool) -> Tokenizer:
    return Tokenizer.from_json(text, lookahead=lookahead)

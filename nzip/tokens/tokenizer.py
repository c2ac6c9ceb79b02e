"""The tokenizer that a user holds: text to numbers and back, by the dictionary of windows."""

from __future__ import annotations

import array
import base64
import functools
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
COUNTED = "counted"  # the released dictionaries that are counted
EQINFO = "eqinfo"  # the windows of the released M1 for them
# The numbers after the windows, in order. They are numbers only: text that spells one stays text.
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|pad|>",
    "<|startoftext|>",
    "<|mask|>",
    *(f"<|special_{k}|>" for k in range(4, 16)),
)


def _utf8(text: str | bytes) -> bytes:
    """Text as bytes; lone surrogates, which UTF-8 has no form for, as three bytes each."""
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


class Tokenizer:
    """One token for each window of ``window`` bits.

    model: "counted" for the released dictionaries that are counted on texts, of 16 bits; "eqinfo",
    or name or path of an M1, for the windows that are the most probable under it. window: 8 to 20
    bits; up to 16 the tokens fit uint16. align: "word" ends windows where a word begins, as far as
    one such place is within the window. lookahead: as few tokens as there can be, instead of the
    longest one each time; not with ``align``. A text is bytes, or a str, which is taken as UTF-8.
    From 16 bits on there are special tokens: SPECIAL_TOKENS.

    Raises ModelNotFoundError, ModelFileError, and ValueError for a setting out of range.
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
                raise ValueError("other windows than those of 16 bits are a model's: eqinfo")
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
        """A tokenizer whose dictionary is counted on a corpus of documents. That takes some minutes
        for 100 MB; the same corpus gives the same dictionary.

        limit: bytes that are counted at most, and some ten bytes of memory for each; of a larger
        corpus pieces are left out evenly. say: is told of each round. Raises ValueError for
        documents without text or a setting out of range.
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

    @classmethod
    def _by_digest(
        cls, name: str, digest: bytes, window: int, align: str | None, lookahead: bool
    ) -> Tokenizer:
        trie = dictionary.find(digest, window)
        if trie is None:
            m1 = next((m for m in models.by_prefix(digest[:2]) if m.digest == digest), None)
            if m1 is None:
                raise ModelNotFoundError(f"the dictionary {digest.hex()[:8]} of {name} is missing")
            trie = dictionary.of_model(m1, window)
        return cls._made(trie, name, digest, window, align, lookahead)

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
        """The tokens of a text; with ``add_eos`` the end-of-text token after them."""
        numbers = array.array(self._code, self.encode_packed(_utf8(text)))
        return [*numbers, self.eos_id] if add_eos else numbers.tolist()

    def encode_to_numpy(self, text: str | bytes) -> np.ndarray:
        """The tokens of a text, uint16 (uint32 for windows of more than 16 bits)."""
        import numpy as np

        return np.frombuffer(self.encode_packed(_utf8(text)), self.dtype)

    def encode_packed(self, text: bytes) -> bytes:
        """The tokens of a text as this machine's numbers, two bytes each (four above 16 bits)."""
        return self.trie.encode(text, self._aligned, self.lookahead)

    def encode_batch(
        self, texts: Iterable[str | bytes], *, add_eos: bool = False
    ) -> list[list[int]]:
        """The tokens of each text."""
        data = [_utf8(text) for text in texts]
        ends = array.array("q", itertools.accumulate(map(len, data)))
        packed, stops = self.trie.encode_many(
            b"".join(data), ends, self._aligned, self.eos_id if add_eos else -1, self.lookahead
        )
        numbers = array.array(self._code, packed).tolist()
        bounds = [0, *array.array("q", bytes(stops))]
        return [numbers[a:b] for a, b in itertools.pairwise(bounds)]

    def encode_arrow(self, column: pa.Array | pa.ChunkedArray, *, add_eos: bool = False) -> Any:
        """The tokens of a column of strings or binaries: a pyarrow array of lists of uint16 (or
        uint32), null where the text is. No Python object is made for a token or a text."""
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
        """The tokens of a text, and the byte at which each begins (in UTF-8, for a str)."""
        packed = self.encode_packed(_utf8(text))
        lengths = array.array("I", bytes(self.trie.lengths(packed)))
        offsets = list(itertools.accumulate(lengths, initial=0))[:-1]
        return array.array(self._code, packed).tolist(), offsets

    # ==== Decoding =============================================================================

    def decode_bytes(self, ids: Sequence[int] | np.ndarray) -> bytes:
        """The bytes that tokens stand for; special tokens stand for none. Raises ValueError for a
        number that is no token."""
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
                raise ValueError(f"{number} is no token; there are {self.vocab_size}")
            if number < first:
                kept.append(int(number))
        return self.trie.decode(array.array(self._code, kept).tobytes())

    def decode(self, ids: Sequence[int] | np.ndarray, errors: str = "replace") -> str:
        """The same as text. ``errors`` is that of bytes.decode: tokens may end inside a
        character."""
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_batch(
        self, batch: Iterable[Sequence[int] | np.ndarray], errors: str = "replace"
    ) -> list[str]:
        """The text of each list of tokens."""
        return [self.decode(ids, errors) for ids in batch]

    # ==== Vocabulary ===========================================================================

    @property
    def dtype(self) -> str:
        """The NumPy type that holds a token: "uint16" or "uint32"."""
        return "uint16" if self._code == "H" else "uint32"

    @property
    def vocab_size(self) -> int:
        """Numbers that may occur: windows and special tokens."""
        return len(self.trie) + len(self.special_tokens)

    @property
    def special_tokens(self) -> dict[str, int]:
        """Names and numbers of the special tokens."""
        if self.window < 16:
            return {}
        return {name: len(self.trie) + k for k, name in enumerate(SPECIAL_TOKENS)}

    @property
    def eos_id(self) -> int:
        """The end-of-text token, put between documents. Raises ValueError below 16 bits."""
        if self.window < 16:
            raise ValueError("windows of less than 16 bits leave no room for special tokens")
        return len(self.trie)

    def id_to_bytes(self, number: int) -> bytes:
        """What a token stands for; b"" for a special one. Raises IndexError for another number."""
        if len(self.trie) <= number < self.vocab_size:
            return b""
        if number < 0:
            raise IndexError(f"no codeword {number}")
        return self.trie.string(number)

    def bytes_to_id(self, text: bytes) -> int:
        """The token that stands for exactly these bytes. Raises KeyError if there is none."""
        numbers = array.array(self._code, self.trie.encode(text))
        if len(numbers) != 1:
            raise KeyError(text)
        return numbers[0]

    def vocabulary(self) -> list[bytes]:
        """What every window stands for, in the order of the numbers."""
        return [self.trie.string(k) for k in range(len(self.trie))]

    # ==== Keeping ==============================================================================

    def __reduce__(self) -> tuple[Any, ...]:
        # Small and the same everywhere, as long as the dictionary can be had from its hash.
        if dictionary.find(self.digest, self.window) is not None:
            settings = (self.window, self.align, self.lookahead)
            return Tokenizer._by_digest, (self.name, self.digest, *settings)
        make = functools.partial(Tokenizer.from_json, lookahead=self.lookahead)
        return make, (self.to_json(),)

    def packed(self) -> bytes:
        """The dictionary as a file of its own (modes.dictionary.pack)."""
        return dictionary.pack(self.digest, self.window, *self.trie.tables())

    def to_json(self) -> str:
        """What ``save`` writes."""
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
        """Write the tokenizer as one file, which needs no model to be loaded."""
        Path(path).write_text(self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, lookahead: bool = False) -> Tokenizer:
        """A saved tokenizer. Raises FormatError, and ValueError as the constructor does."""
        return cls.from_json(Path(path).read_bytes(), lookahead=lookahead)

    @classmethod
    def from_json(cls, text: str | bytes, *, lookahead: bool = False) -> Tokenizer:
        """What ``to_json`` gave. Raises as ``load``."""
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

"""The tokenizer that a user holds: text to numbers and back, by the dictionary of windows."""

from __future__ import annotations

import array
import base64
import itertools
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import models, windows
from .._trie import Trie
from ..errors import MALFORMED, FormatError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

FORMAT = "nzip-tokenizer-1"
# The numbers behind the windows, in order. They are numbers only: text that spells one stays text.
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

    model: name or path of an M1; None for the released one for windows. window: 8 to 20 bits; up
    to 16 the tokens fit uint16. align: "word" ends windows where a word begins, as far as one such
    place is within the window. A text is bytes, or a str, which is taken as UTF-8. From 16 bits on
    there are special tokens: SPECIAL_TOKENS.

    Raises ModelNotFoundError, ModelFileError, and ValueError for a setting out of range.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        window: int = 16,
        align: str | None = None,
    ):
        m1 = models.load(models.WINDOWS if model is None else model)
        self._set(windows.dictionary(m1, window), m1.name, m1.digest, window, align)

    def _set(self, trie: Trie, name: str, digest: bytes, window: int, align: str | None) -> None:
        self._aligned = windows.aligned(align)
        self._trie, self.name, self.digest = trie, name, digest
        self.window, self.align = window, align
        self._code = "H" if trie.itemsize == 2 else "I"  # of array.array

    def __repr__(self) -> str:
        align = f", align={self.align!r}" if self.align else ""
        return f"<nzip.Tokenizer {self.name} window={self.window}{align}>"

    # ==== Encoding =============================================================================

    def encode(self, text: str | bytes, *, add_eos: bool = False) -> list[int]:
        """The tokens of a text; with ``add_eos`` the end-of-text token behind them."""
        numbers = array.array(self._code, self._trie.encode(_utf8(text), self._aligned))
        return [*numbers, self.eos_id] if add_eos else numbers.tolist()

    def encode_to_numpy(self, text: str | bytes) -> np.ndarray:
        """The tokens of a text, uint16 (uint32 for windows of more than 16 bits)."""
        import numpy as np

        return np.frombuffer(self._trie.encode(_utf8(text), self._aligned), self.dtype)

    def encode_batch(
        self, texts: Iterable[str | bytes], *, add_eos: bool = False
    ) -> list[list[int]]:
        """The tokens of each text."""
        data = [_utf8(text) for text in texts]
        ends = array.array("q", itertools.accumulate(map(len, data)))
        packed, stops = self._trie.encode_many(
            b"".join(data), ends, self._aligned, self.eos_id if add_eos else -1
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
        packed, stops = self._trie.encode_many(
            texts,
            (places[1:] - begin).astype(np.int64),
            self._aligned,
            self.eos_id if add_eos else -1,
        )
        ends = np.concatenate([[0], np.frombuffer(stops, np.int64)])
        values = pa.array(np.frombuffer(packed, self.dtype))
        missing = pa.array(column.is_null()) if column.null_count else None
        return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), values, mask=missing)

    def encode_with_offsets(self, text: str | bytes) -> tuple[list[int], list[int]]:
        """The tokens of a text, and the byte at which each begins (in UTF-8, for a str)."""
        packed = self._trie.encode(_utf8(text), self._aligned)
        lengths = array.array("I", bytes(self._trie.lengths(packed)))
        offsets = list(itertools.accumulate(lengths, initial=0))[:-1]
        return array.array(self._code, packed).tolist(), offsets

    # ==== Decoding =============================================================================

    def decode_bytes(self, ids: Sequence[int] | np.ndarray) -> bytes:
        """The bytes that tokens stand for; special tokens stand for none. Raises ValueError for a
        number that is no token."""
        first = len(self._trie)
        try:  # the common case: windows only
            if getattr(ids, "dtype", None) == self.dtype:
                return self._trie.decode(ids.tobytes())  # type: ignore[union-attr]
            return self._trie.decode(array.array(self._code, ids).tobytes())
        except (ValueError, OverflowError):
            pass
        kept = []
        for number in ids:
            if not 0 <= number < self.vocab_size:
                raise ValueError(f"{number} is no token; there are {self.vocab_size}")
            if number < first:
                kept.append(int(number))
        return self._trie.decode(array.array(self._code, kept).tobytes())

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
        return len(self._trie) + len(self.special_tokens)

    @property
    def special_tokens(self) -> dict[str, int]:
        """Names and numbers of the special tokens."""
        if self.window < 16:
            return {}
        return {name: len(self._trie) + k for k, name in enumerate(SPECIAL_TOKENS)}

    @property
    def eos_id(self) -> int:
        """The end-of-text token, put between documents. Raises ValueError below 16 bits."""
        if self.window < 16:
            raise ValueError("windows of less than 16 bits leave no room for special tokens")
        return len(self._trie)

    def id_to_bytes(self, number: int) -> bytes:
        """What a token stands for; b"" for a special one. Raises IndexError for another number."""
        if len(self._trie) <= number < self.vocab_size:
            return b""
        if number < 0:
            raise IndexError(f"no codeword {number}")
        return self._trie.string(number)

    def bytes_to_id(self, text: bytes) -> int:
        """The token that stands for exactly these bytes. Raises KeyError if there is none."""
        numbers = array.array(self._code, self._trie.encode(text))
        if len(numbers) != 1:
            raise KeyError(text)
        return numbers[0]

    def vocabulary(self) -> list[bytes]:
        """What every window stands for, in the order of the numbers."""
        return [self._trie.string(k) for k in range(len(self._trie))]

    # ==== Keeping ==============================================================================

    def __reduce__(self) -> tuple[Any, ...]:
        # Small and the same everywhere, as long as the dictionary can be had from its model's hash.
        if windows.find(self.digest, self.window) is not None:
            return _by_digest, (self.name, self.digest, self.window, self.align)
        return _from_json, (self._to_json(),)

    def _to_json(self) -> str:
        packed = windows.pack(self.digest, self.window, *self._trie.tables())
        return json.dumps(
            {
                "format": FORMAT,
                "model": self.name,
                "window": self.window,
                "align": self.align,
                "digest": self.digest.hex(),
                "dictionary": base64.b64encode(packed).decode(),
            }
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer as one file, which needs no model to be loaded."""
        Path(path).write_text(self._to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """A saved tokenizer. Raises FormatError."""
        return _from_json(Path(path).read_bytes())


def _build(trie: Trie, name: str, digest: bytes, window: int, align: str | None) -> Tokenizer:
    tokenizer = Tokenizer.__new__(Tokenizer)
    tokenizer._set(trie, name, digest, window, align)
    return tokenizer


def _by_digest(name: str, digest: bytes, window: int, align: str | None) -> Tokenizer:
    trie = windows.find(digest, window)
    if trie is None:
        m1 = next(m for m in models.by_prefix(digest[:2]) if m.digest == digest)
        trie = windows.dictionary(m1, window)
    return _build(trie, name, digest, window, align)


def _from_json(text: str | bytes) -> Tokenizer:
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError("another format")
        window, digest = int(content["window"]), bytes.fromhex(content["digest"])
        if not 8 <= window <= windows.MAX_WIDTH:
            raise ValueError("a window of that many bits")
        packed = base64.b64decode(content["dictionary"], validate=True)
        trie = windows.unpack(packed, digest, window)
        return _build(trie, str(content["model"]), digest, window, content["align"])
    except MALFORMED as error:
        raise FormatError(f"not a tokenizer file: {error}") from error

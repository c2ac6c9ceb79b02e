"""Equal-Info Windows as a dictionary: its strings and their order are part of the format, its file
and the cache are not.

Coder and M1 start afresh at each window, so what a codeword stands for depends on nothing before
it: the windows of a width are a fixed dictionary. Up to 20 bits it holds the strings that are the
most probable ones under M1, which makes windows of more bytes than sharing codewords on the way
down a tree. It is built once, kept as a file in the user's cache folder under the hash of the
model, and walked as a trie (kernel/trie.c), at memory speed.

A dictionary may also be counted on texts (tokens/count.py); then the hash is its own.
"""

from __future__ import annotations

import array
import contextlib
import hashlib
import os
import sys
import tempfile
import threading
import zlib
from pathlib import Path

from .. import _predict
from .._trie import Trie
from ..errors import ModelFileError, ModelNotFoundError
from ..frame import MAX_DICTIONARY, MIN_WINDOW
from ..models import SHIPPED, Model

MAGIC = b"\x8fNW\x01"
SUFFIX = ".windows"
# The released dictionaries that are counted, by what their windows are aligned to.
COUNTED = {
    None: "ea5bb12c5c32c2470694ceea8c7b2fde0010437c7b14c792cf3757e9c753f4fc",
    "word": "3a4031b63b0b40d2118033494cbed84be342b4ba27f943347d153b678b04bc47",
}

_tries: dict[tuple[bytes, int], Trie] = {}
_lock = threading.RLock()  # held while one is built: threads wait for it, not build their own


def codewords(width: int) -> int:
    """Windows of ``width`` bits; from 16 bits on, 16 numbers are left for special tokens."""
    return (1 << width) - (16 if width >= 16 else 0)


def check_width(width: int) -> int:
    """The width. Raises ValueError unless a dictionary may have it."""
    if not MIN_WINDOW <= width <= MAX_DICTIONARY:
        raise ValueError(
            f"a dictionary has windows of {MIN_WINDOW} to {MAX_DICTIONARY} bits, not of {width}"
        )
    return width


def aligned(align: str | None) -> bool:
    """True if windows end before words. Raises ValueError for any other value."""
    if align not in (None, "word"):
        raise ValueError(f"windows are aligned to 'word' or not at all, not to {align!r}")
    return align == "word"


def cache_folder() -> Path:
    """Where dictionaries are kept: NZIP_CACHE, else ``nzip`` in the user's cache folder."""
    own = os.environ.get("NZIP_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nzip"


def _file_name(digest: bytes, width: int) -> str:
    return f"{digest.hex()[:32]}-{width}{SUFFIX}"


def _content(lengths: bytearray, last: bytearray) -> bytes:
    words = array.array("H", bytes(lengths))
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes() + bytes(last)


def own_digest(trie: Trie) -> bytes:
    """What stands for the model's digest where a dictionary comes from none: its own SHA-256."""
    return hashlib.sha256(_content(*trie.tables())).digest()


def pack(digest: bytes, width: int, lengths: bytearray, last: bytearray) -> bytes:
    """A dictionary's file: magic, width, the model's digest, then, by zlib, the lengths (uint16,
    little-endian) and last bytes of all strings in order, and at the end the SHA-256 of it all."""
    data = MAGIC + bytes([width]) + digest + zlib.compress(_content(lengths, last), 9)
    return data + hashlib.sha256(data).digest()


def unpack(data: bytes, digest: bytes, width: int) -> Trie:
    """The dictionary in a file. Raises ValueError if it is not the one of that model and width."""
    head = MAGIC + bytes([width]) + digest
    if not data.startswith(head) or hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise ValueError("not this dictionary")
    count = codewords(width)
    content = zlib.decompressobj()
    try:
        raw = content.decompress(data[len(head) : -32], 3 * count + 1)
    except zlib.error as error:
        raise ValueError("not this dictionary") from error
    if len(raw) != 3 * count:
        raise ValueError("not this dictionary")
    words = array.array("H", raw[: 2 * count])
    if sys.byteorder == "big":
        words.byteswap()
    return Trie(words.tobytes(), raw[2 * count :])


def _read(digest: bytes, width: int) -> Trie | None:
    name = _file_name(digest, width)
    for folder in (SHIPPED, cache_folder()):
        try:
            return unpack((folder / name).read_bytes(), digest, width)
        except (OSError, ValueError):
            continue
    return None


def keep(folder: Path, digest: bytes, width: int, data: bytes) -> None:
    """Write a dictionary's file under the name by which it is found. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as stream:
        try:
            stream.write(data)
            stream.close()
            os.replace(stream.name, folder / _file_name(digest, width))
        except BaseException:
            os.unlink(stream.name)
            raise


def counted(align: str | None) -> tuple[bytes, Trie]:
    """The released dictionary that was counted for such windows, of 16 bits, and its digest. Raises
    ValueError and ModelNotFoundError."""
    aligned(align)
    digest = bytes.fromhex(COUNTED[align])
    trie = find(digest, 16)
    if trie is None:
        raise ModelNotFoundError(f"{SHIPPED / _file_name(digest, 16)} is missing or damaged")
    return digest, trie


def find(digest: bytes, width: int) -> Trie | None:
    """The dictionary of the model with that digest, or of that digest, if it is shipped, kept or in
    use."""
    with _lock:
        trie = _tries.get((digest, width)) or _read(digest, width)
        if trie is not None:
            _tries[digest, width] = trie
        return trie


def of_model(model: Model, width: int) -> Trie:
    """The windows of ``width`` bits, 8 to 20, under a model; built if it is not there, which takes
    a second for 16 bits.

    Raises ValueError for another width and ModelFileError for a model whose windows are too long.
    """
    with _lock:
        trie = find(model.digest, width)
        if trie is None:
            try:
                lengths, last = _predict.eqinfo_tree(model.predictor, width)
            except OverflowError as error:
                raise ModelFileError(f"{model.path}: {error}") from error
            with contextlib.suppress(OSError):  # nothing depends on it
                keep(cache_folder(), model.digest, width, pack(model.digest, width, lengths, last))
            trie = _tries[model.digest, width] = Trie(lengths, last)
        return trie

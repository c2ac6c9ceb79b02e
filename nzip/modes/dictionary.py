"""Equal-Info Windows as a dictionary.

Its strings and their order are part of the format; its file and the cache are not.

Coder and M1 are reset at each window, so what a codeword stands for depends on nothing before it:
the windows of a width are a fixed dictionary. Up to 20 bits it holds the most probable strings
under M1, which gives longer windows than dividing the codewords at each step down a tree. It is
built once, kept in the user's cache folder in a file named by the model's hash, and walked as a
trie (kernel/trie.c), at memory speed.

A dictionary can also be counted on texts (tokens/count.py); then the hash is its own.
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
# Digests of the released counted dictionaries, by what their windows are aligned to.
COUNTED = {
    None: "ea5bb12c5c32c2470694ceea8c7b2fde0010437c7b14c792cf3757e9c753f4fc",
    "word": "3a4031b63b0b40d2118033494cbed84be342b4ba27f943347d153b678b04bc47",
}

_tries: dict[tuple[bytes, int], Trie] = {}
_lock = threading.RLock()  # held while one is built, so that other threads wait for it


def codewords(width: int) -> int:
    """The number of windows of ``width`` bits; from 16 bits, 16 are reserved as special tokens."""
    return (1 << width) - (16 if width >= 16 else 0)


def check_width(width: int) -> int:
    """Return the width. Raises ValueError unless a dictionary can have it."""
    if not MIN_WINDOW <= width <= MAX_DICTIONARY:
        raise ValueError(
            f"a dictionary has windows of {MIN_WINDOW} to {MAX_DICTIONARY} bits, not of {width}"
        )
    return width


def aligned(align: str | None) -> bool:
    """True for "word", False for None. Raises ValueError for any other value."""
    if align not in (None, "word"):
        raise ValueError(f"windows are aligned to 'word' or not at all, not to {align!r}")
    return align == "word"


def cache_folder() -> Path:
    """The folder of cached dictionaries: NZIP_CACHE, else ``nzip`` in the user's cache folder."""
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
    """The digest of a dictionary that comes from no model: the SHA-256 of its content."""
    return hashlib.sha256(_content(*trie.tables())).digest()


def pack(digest: bytes, width: int, lengths: bytearray, last: bytearray) -> bytes:
    """Make a dictionary's file.

    It holds: magic; width; the model's digest; compressed by zlib, the lengths (uint16,
    little-endian) and last bytes of all strings in order; the SHA-256 of all of this.
    """
    data = MAGIC + bytes([width]) + digest + zlib.compress(_content(lengths, last), 9)
    return data + hashlib.sha256(data).digest()


def unpack(data: bytes, digest: bytes, width: int) -> Trie:
    """Read a dictionary's file. Raises ValueError unless it has that digest and width."""
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
    """Write a dictionary's file under the name that ``find`` looks for. Raises OSError."""
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
    """(digest, dictionary) of the released counted dictionary of 16 bits with that alignment.

    Raises ValueError and ModelNotFoundError.
    """
    aligned(align)
    digest = bytes.fromhex(COUNTED[align])
    trie = find(digest, 16)
    if trie is None:
        raise ModelNotFoundError(f"{SHIPPED / _file_name(digest, 16)} is missing or damaged")
    return digest, trie


def find(digest: bytes, width: int) -> Trie | None:
    """The dictionary with that digest (a model's or its own) if shipped, cached or in use."""
    with _lock:
        trie = _tries.get((digest, width)) or _read(digest, width)
        if trie is not None:
            _tries[digest, width] = trie
        return trie


def of_model(model: Model, width: int) -> Trie:
    """The dictionary of a model's windows of ``width`` bits, 8 to 20.

    If it is not cached it is built, which takes a second for 16 bits. Raises ValueError for another
    width, and ModelFileError for a model whose windows are too long.
    """
    with _lock:
        trie = find(model.digest, width)
        if trie is None:
            try:
                lengths, last = _predict.eqinfo_tree(model.predictor, width)
            except OverflowError as error:
                raise ModelFileError(f"{model.path}: {error}") from error
            with contextlib.suppress(OSError):  # it works without the cache
                keep(cache_folder(), model.digest, width, pack(model.digest, width, lengths, last))
            trie = _tries[model.digest, width] = Trie(lengths, last)
        return trie

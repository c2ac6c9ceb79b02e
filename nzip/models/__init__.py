"""Models: where they are found, and how a file of weights is checked and loaded.

A model file is in the safetensors layout and is data only. Its identity is the SHA-256 of its
bytes; frames carry the first two bytes of it and bind the rest through their checksums.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import struct
import sys
import threading
from pathlib import Path
from typing import Any

from .._predict import Predictor, start_shape
from ..errors import MALFORMED, ModelFileError, ModelNotFoundError
from ..frame import PROFILES

FORMAT = "nzip-m1-3"
NANO, SMALL, BASE, LARGE = "nano-3", "small-3", "base-3", "large-3"
DEFAULT = BASE
WINDOWS = "windows-3"  # for eqinfo and tokens
SUFFIX = ".safetensors"
# SHA-256 of the released files. A file with one of these names and another hash is refused.
RELEASED: dict[str, str] = {
    "base-3": "c98873050cfbfa956f9fc919ecf1d98357bde0dc1460bc4e8a81817626e5a58e",
    "large-3": "dca568cb4e23a6bfb72eb5aee6ae60454234abb0cfba6da21c1464f22ce2f1bb",
    "nano-3": "82d585b581543bcbdffd58c3478e2a43569f73ef3430b0678a106fdaa4fa3a5e",
    "small-3": "06d39f9f477bf9fe5e78492b7202a1e7491454835d326788e88ca204867693a0",
    "tables-3": "71b5c639bb1caf15aacafd7177441bd258ad1a67fdf88149cc282d7cf295f3d6",
    "windows-3": "7fa2b86a27f020e1dbdfbc583bbbb16a66ba327f7f45b6e12b5719d1754d937d",
}
BUCKET = 64  # bytes per bucket of the tables
MAX_CONTEXTS = 12
LAST_CONTEXT = 13
MAX_HEADER = 1 << 16
ITEM_SIZES = {"I8": 1, "U8": 1, "I16": 2, "I32": 4, "U32": 4}
SHIPPED = Path(__file__).parent


class _File:
    """The header and tensors of a model file, which is mapped into memory and checked.

    access: ``mmap.ACCESS_COPY`` for tensors that can be written to, without changing the file.
    """

    def __init__(self, path: Path, access: int = mmap.ACCESS_READ):
        self.path = path
        with path.open("rb") as stream:
            try:
                data = mmap.mmap(stream.fileno(), 0, access=access)
            except ValueError as error:  # an empty file cannot be mapped
                raise ModelFileError(f"{path}: empty model file") from error
        self.digest = hashlib.sha256(data).digest()
        self.header, start = _header(data, path)
        self.meta: dict[str, Any] = self.header["__metadata__"]
        self.name = str(self.meta.get("name", path.stem))
        if RELEASED.get(self.name, self.digest.hex()) != self.digest.hex():
            raise ModelFileError(f"{path}: the weights of {self.name} are damaged")
        self._data, self._start = memoryview(data), start

    def tensor(self, name: str, kind: str, *shape: int) -> memoryview:
        """A tensor's bytes. Raises ModelFileError unless it has that type and shape."""
        path = self.path
        try:
            entry = self.header[name]
            first, last = map(int, entry["data_offsets"])
            fits = entry["dtype"] == kind and entry["shape"] == list(shape)
        except MALFORMED as error:
            raise ModelFileError(f"{path}: no valid tensor {name}") from error
        size = math.prod(shape) * ITEM_SIZES[kind]
        whole = 0 <= first <= last <= len(self._data) - self._start
        if not fits or not whole or last - first != size:
            raise ModelFileError(f"{path}: tensor {name} is not {kind} {list(shape)}")
        return self._data[self._start + first : self._start + last]


class Tables:
    """The rows of the contexts, which several models can share; see docs/format.md."""

    def __init__(self, file: _File):
        self.path, self.digest = file.path, file.digest
        self.original = self  # the tables that ``changed_by`` was first called on
        try:
            self.contexts = [int(x) for x in file.meta["contexts"].split(",")]
            self.embed, self.ways, self.buckets = (
                int(file.meta[name]) for name in ("embed", "ways", "buckets")
            )
        except MALFORMED as error:
            raise ModelFileError(f"{file.path}: no valid shape of tables") from error
        if not (
            0 < len(self.contexts) <= MAX_CONTEXTS
            and all(1 <= context <= LAST_CONTEXT for context in self.contexts)
            and 16 <= self.embed <= 128
            and self.embed % 16 == 0
            and self.ways >= 1
            and self.ways * (3 + self.embed // 2) <= BUCKET
            and 1 <= self.buckets < 1 << 31
        ):
            raise ModelFileError(f"{file.path}: a shape outside the format's limits")
        self._absent_shape = len(self.contexts), 1 + self.embed // 2
        self.tensors = {
            "lines": file.tensor("lines", "U8", self.buckets, BUCKET),
            "absent": file.tensor("absent", "U8", *self._absent_shape),
        }

    def changed_by(self, file: _File) -> Tables:
        """A copy of these tables with the buckets that a model's file replaces.

        Only the pages that change take memory; the others are shared. Raises ModelFileError.
        """
        copied = _File(self.path, mmap.ACCESS_COPY)
        if copied.digest != self.digest:
            raise ModelFileError(f"{self.path} has changed")
        tables = Tables(copied)
        tables.original = self.original
        tables.tensors["absent"] = file.tensor("absent", "U8", *self._absent_shape)
        try:
            count = int(file.header["changed"]["shape"][0])
        except MALFORMED as error:
            raise ModelFileError(f"{file.path}: no valid tensor changed") from error
        places, lines = file.tensor("changed", "I32", count), tables.tensors["lines"]
        new, before = file.tensor("lines", "U8", count, BUCKET), -1
        for i, (place,) in enumerate(struct.iter_unpack("<i", places)):
            if not before < place < self.buckets:
                raise ModelFileError(f"{file.path}: changed buckets out of order")
            lines[BUCKET * place : BUCKET * (place + 1)] = new[BUCKET * i : BUCKET * (i + 1)]
            before = place
        return tables


class Model:
    """M1 as the kernel runs it, loaded from a file by ``load``; not changed after that.

    name: str. path: of its file. digest: SHA-256 of its file, 32 bytes. hidden, blocks: units and
    number of blocks. multiply_adds: per byte. starts: by profile, the weights and maps that mixing
    begins with, if the file has them. Threads may share it. Raises ModelFileError and
    ModelNotFoundError, the latter if its tables are in a file that is not installed.
    """

    def __init__(self, path: Path):
        file = _File(path)
        self.path, self.digest, self.name = path, file.digest, file.name
        self.refers = "tables" in file.meta  # its tables are in another file
        self.tables = _holder(file) if self.refers else Tables(file)
        if self.refers and "changed" in file.header:
            self.tables = self.tables.changed_by(file)
        embed = self.tables.embed
        try:
            hidden, blocks = file.header["enter"]["shape"][0], file.header["gates"]["shape"][0]
            valid = 16 <= hidden <= 4096 and hidden % 16 == 0 and 1 <= blocks <= 8
        except MALFORMED as error:
            raise ModelFileError(f"{path}: no network, only tables") from error
        if not valid or not isinstance(hidden, int) or not isinstance(blocks, int):
            raise ModelFileError(f"{path}: a shape outside the format's limits")
        self.hidden, self.blocks = hidden, blocks
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {
            "enter": ("I8", (hidden, embed)),
            "enter_mult": ("I32", (hidden,)),
            "enter_bias": ("I32", (hidden,)),
            "gates": ("I8", (blocks, 3 * hidden, hidden)),
            "gates_mult": ("I32", (blocks, 3 * hidden)),
            "gates_bias": ("I32", (blocks, 3 * hidden)),
            "leave": ("I8", (blocks, hidden, hidden)),
            "leave_mult": ("I32", (blocks, hidden)),
            "out": ("I8", (256, hidden + embed)),
            "out_mult": ("I32", (256,)),
            "out_bias": ("I32", (256,)),
        }
        self.tensors = {n: file.tensor(n, kind, *shape) for n, (kind, shape) in shapes.items()}
        self.starts = {
            profile: _start(file, name, *start_shape(profile))
            for profile, name in PROFILES.items()
            if f"{name}_weights" in file.header
        }
        try:  # the kernel checks the numbers
            self.predictor = self.new_predictor(self.starts)
        except OverflowError as error:
            raise ModelFileError(f"{path}: {error}") from error
        # Per byte: all matrices, but only eight rows of the output layer.
        self.multiply_adds: int = hidden * embed + blocks * 4 * hidden**2 + 8 * (hidden + embed)

    def new_predictor(self, starts: dict[int, tuple[memoryview, memoryview]]) -> Predictor:
        """The weights as the kernel has them, with these starts of mixing by profile."""
        tables = self.tables
        return Predictor(
            self.hidden,
            self.blocks,
            tables.embed,
            tables.contexts,
            tables.ways,
            tables.buckets,
            self.tensors | tables.tensors,
            starts,
        )

    @property
    def files(self) -> set[Path]:
        """The files it is read from: its own and that of its tables."""
        return {self.path, self.tables.path}

    def __repr__(self) -> str:
        return f"<nzip.Model {self.name} {self.digest.hex()[:8]}>"


def _start(
    file: _File, profile: str, rows: int, width: int, maps: int
) -> tuple[memoryview, memoryview]:
    """The weights and maps that mixing in a profile begins with."""
    return (
        file.tensor(f"{profile}_weights", "I16", rows, width),
        file.tensor(f"{profile}_maps", "U32", maps),
    )


def _header(data: mmap.mmap | bytes, path: Path) -> tuple[dict[str, Any], int]:
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(MAX_HEADER, len(data) - 8):
        raise ModelFileError(f"{path}: not a model file")
    try:
        header = json.loads(data[8 : 8 + size])
        known = header["__metadata__"]["format"] == FORMAT
    except MALFORMED as error:
        raise ModelFileError(f"{path}: not a model file") from error
    if not known:
        raise ModelFileError(f"{path}: a model of another format than {FORMAT}")
    return header, 8 + size


def _holder(file: _File) -> Tables:
    """The tables that a model file refers to by the SHA-256 of their file."""
    wanted = file.meta["tables"]
    if not isinstance(wanted, str) or len(wanted) != 64:
        raise ModelFileError(f"{file.path}: it refers to no valid tables")
    for candidate in [*find(), *sorted(file.path.parent.glob("*" + SUFFIX))]:
        if candidate != file.path and RELEASED.get(candidate.stem, wanted) == wanted:
            try:
                found = _load_tables(candidate)
            except ModelFileError:
                continue
            if found.digest.hex() == wanted:
                return found
    raise ModelNotFoundError(f"{file.path} needs the tables {wanted[:8]}, not installed")


def search_path() -> list[Path]:
    """The folders searched for models: the shipped one, those in NZIP_MODEL_PATH, the user's."""
    extra = os.environ.get("NZIP_MODEL_PATH", "")
    return [SHIPPED, *(Path(p) for p in extra.split(os.pathsep) if p), user_folder()]


def user_folder() -> Path:
    """The folder ``add`` installs into: ``nzip/models`` in the user's data folder."""
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "nzip" / "models"


def add(path: Path, replace: bool = False) -> Path:
    """Install a file of a model, or of tables, for this user; return the installed file's path.

    replace: whether to replace an installed file of that name. Raises ModelFileError and
    ModelNotFoundError for a file that cannot be used, ValueError if it is named as a released
    model, FileExistsError, and other OSErrors.
    """
    from ..atomic import atomic_output

    if path.stem in RELEASED:
        raise ValueError(f"{path.stem} is the name of a model that comes with nzip")
    try:
        _load_tables(path)
    except ModelFileError:
        _load_file(path)
    target = user_folder() / (path.stem + SUFFIX)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_output(target, replace=replace) as out:
        out.write(path.read_bytes())
    return target


def find() -> list[Path]:
    """All installed files of models and tables, in the order of the search path."""
    return [
        path
        for folder in search_path()
        if folder.is_dir()
        for path in sorted(folder.glob("*" + SUFFIX))
    ]


def networks() -> list[Path]:
    """The installed files that hold a network, and those that are malformed."""
    found = []
    for path in find():
        with path.open("rb") as stream:
            head = stream.read(MAX_HEADER)
        try:
            if "enter" not in _header(head, path)[0]:
                continue
        except ModelFileError:
            pass
        found.append(path)
    return found


_loaded: dict[Path, Model] = {}
_tables: dict[Path, Tables] = {}
_lock = threading.RLock()  # a model may load the tables of another file


def _load_tables(path: Path) -> Tables:
    with _lock:
        if path not in _tables:
            _tables[path] = Tables(_File(path))
        return _tables[path]


def _load_file(path: Path) -> Model:
    with _lock:
        if path not in _loaded:
            _loaded[path] = Model(path)
        return _loaded[path]


def _find(name: str | os.PathLike[str]) -> Path:
    """The file of the model with that name, or at that path. Raises ModelNotFoundError."""
    for path in find():
        if path.stem == name:
            return path
    path = Path(name)
    if path.suffix or os.sep in os.fspath(name):
        if path.is_file():
            return path.resolve()
        raise ModelNotFoundError(f"no model file {path}")
    known = ", ".join(p.stem for p in networks()) or "none"
    raise ModelNotFoundError(f"no model named {name} (installed: {known})")


def load(name: str | os.PathLike[str] | None = None) -> Model:
    """Load a model by name, or by the path of its file; None loads the default model.

    A file is loaded only once: later calls return the same object. Threads may call it at the same
    time. Raises ModelNotFoundError and ModelFileError.
    """
    return _load_file(_find(DEFAULT if name is None else name))


def load_tables(name: str | os.PathLike[str]) -> Tables:
    """Load tables by name, or by the path of their file, or those of the model found there.

    Raises ModelNotFoundError and ModelFileError.
    """
    path = _find(name)
    try:
        return _load_tables(path)
    except ModelFileError:
        return _load_file(path).tables


def by_prefix(prefix: bytes) -> list[Model]:
    """The loaded models whose digest begins with ``prefix``; if none, the installed ones.

    Raises ModelNotFoundError if there is none.
    """
    with _lock:
        candidates = list(_loaded.values())
    known = [m for m in candidates if m.digest.startswith(prefix)]
    if known:
        return known
    for path in find():
        released = RELEASED.get(path.stem)
        if released is None or released.startswith(prefix.hex()):
            try:
                model = _load_file(path)
            except (ModelFileError, ModelNotFoundError):  # no matter for this frame
                continue
            if model.digest.startswith(prefix):
                known.append(model)
    if not known:
        raise ModelNotFoundError(
            "the model that this was compressed with is not installed (its hash begins with"
            f" {prefix.hex()}); install its file with 'nzip models add', or put it in a folder"
            " named in NZIP_MODEL_PATH"
        )
    return known

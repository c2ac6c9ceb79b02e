"""Models: where they are, how a file of weights is checked and loaded.

A model file is in the safetensors layout and is data only. Its identity is the SHA-256 of its
bytes; frames carry the first two bytes of it and bind the rest through their checksums.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import threading
from pathlib import Path
from typing import Any

from .._predict import Predictor
from ..errors import MALFORMED, ModelFileError, ModelNotFoundError

FORMAT = "nzip-m1-2"
SMALL, MEDIUM, BASE = "small-2", "medium-2", "base-2"
DEFAULT = BASE
WINDOWS = "windows-1"  # for eqinfo and tokens
SUFFIX = ".safetensors"
# SHA-256 of the released models. A file that does not match is refused.
RELEASED: dict[str, str] = {
    "base-2": "88385d4aa493cd03c4416f3ed3568b2da333adc76a5487338a104c4aa91c2946",
    "medium-2": "e249aa5e9fa5ea8be0094f1cea20cc54a43523841d12ae27e03fcb0204a0bb5f",
    "windows-1": "d21355bb602b74f78d8d1031b706c37aa241375f90fceb0cd8d0832045af5a00",
    "small-2": "6549c39afa300cf6e9a46182d173a6edd4d356f139a39a6de7792c85e002f32e",
}
MAX_HEADER = 1 << 16
SHIPPED = Path(__file__).parent


class Model:
    """M1 as the kernel runs it. ``digest`` is the SHA-256 of its file, 32 bytes."""

    def __init__(self, path: Path):
        self.path = path
        with path.open("rb") as stream:
            try:
                self._data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError as error:  # an empty file cannot be mapped
                raise ModelFileError(f"{path}: empty model file") from error
        self.digest = hashlib.sha256(self._data).digest()
        header, start = _header(self._data, path)
        self.name = str(header["__metadata__"].get("name", path.stem))
        if RELEASED.get(self.name, self.digest.hex()) != self.digest.hex():
            raise ModelFileError(f"{path}: the weights of {self.name} are damaged")
        tensors = _tensors(header, self._data, start, path)
        self.tables_of: Model | None = None
        if "table" not in tensors:
            self.tables_of = _holder(header["__metadata__"]["tables"], path)
            tensors |= self.tables_of._tables(header, path)
        self._header, self._tensors = header, tensors
        self.predictor = _predictor(header, tensors, path)
        hidden, embed = header["enter"]["shape"]
        self.hidden: int = hidden
        self.blocks: int = header["gates"]["shape"][0]
        # A byte's: all matrices, but of the output layer eight rows.
        self.multiply_adds: int = (
            hidden * embed + self.blocks * 4 * hidden**2 + 8 * (hidden + embed)
        )

    def __repr__(self) -> str:
        return f"<nzip.Model {self.name} {self.digest.hex()[:8]}>"

    def _tables(self, wanted: dict[str, Any], path: Path) -> dict[str, memoryview]:
        """The embeddings, for the model of another file with the header ``wanted``."""
        header = self._header
        same = shape_lists(header["__metadata__"]) == shape_lists(wanted["__metadata__"])
        if (
            "table" not in header
            or not same
            or header["table"]["shape"][1] != wanted["enter"]["shape"][1]
        ):
            raise ModelFileError(f"{path}: the tables that it refers to have another shape")
        return {name: self._tensors[name] for name in ("table", "check")}


def _header(data: mmap.mmap, path: Path) -> tuple[dict[str, Any], int]:
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


def shape_lists(meta: dict[str, str]) -> list[list[int]]:
    """contexts and table_bits of a model file."""
    return [[int(x) for x in meta[name].split(",")] for name in ("contexts", "table_bits")]


def _tensors(
    header: dict[str, Any], data: mmap.mmap, start: int, path: Path
) -> dict[str, memoryview]:
    """The tensors of a file, all shapes checked; without the tables if it refers to another's."""
    view = memoryview(data)

    def tensor(name: str, kind: str, *shape: int) -> memoryview:
        try:
            entry = header[name]
            first, last = map(int, entry["data_offsets"])
            fits = entry["dtype"] == kind and entry["shape"] == list(shape)
        except MALFORMED as error:
            raise ModelFileError(f"{path}: no valid tensor {name}") from error
        size = math.prod(shape) * (4 if kind == "I32" else 1)
        if not fits or not 0 <= first <= last <= len(data) - start or last - first != size:
            raise ModelFileError(f"{path}: tensor {name} is not {kind} {list(shape)}")
        return view[start + first : start + last]

    try:
        meta = header["__metadata__"]
        contexts, bits = shape_lists(meta)
        hidden, embed = header["enter"]["shape"]
        blocks = header["gates"]["shape"][0]
        numbers = all(isinstance(n, int) for n in (hidden, embed, blocks))
        refers = "tables" in meta
        valid = not refers or len(bytes.fromhex(meta["tables"])) == 32
    except MALFORMED as error:
        raise ModelFileError(f"{path}: no valid model shape") from error
    if not (
        numbers
        and valid
        and 0 < len(contexts) == len(bits) <= 12
        and all(1 <= context <= 10 for context in contexts)
        and all(8 <= b <= 24 for b in bits)
        and 16 <= hidden <= 4096
        and hidden % 16 == 0
        and 16 <= embed <= 256
        and embed % 16 == 0
        and 1 <= blocks <= 8
    ):
        raise ModelFileError(f"{path}: a shape outside the format's limits")
    rows = sum(1 << b for b in bits)
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
    if not refers:
        shapes |= {"table": ("I8", (rows, embed)), "check": ("U8", (rows,))}
    return {name: tensor(name, kind, *shape) for name, (kind, shape) in shapes.items()}


def _predictor(header: dict[str, Any], tensors: dict[str, memoryview], path: Path) -> Predictor:
    """The kernel's model; the kernel checks the numbers."""
    contexts, bits = shape_lists(header["__metadata__"])
    hidden, embed = header["enter"]["shape"]
    blocks = header["gates"]["shape"][0]
    try:
        return Predictor(hidden, blocks, embed, contexts, bits, tensors)
    except OverflowError as error:
        raise ModelFileError(f"{path}: {error}") from error


def _holder(digest: str, path: Path) -> Model:
    """The model with that SHA-256, whose tables the file at ``path`` refers to."""
    for candidate in [*find(), *sorted(path.parent.glob("*" + SUFFIX))]:
        if candidate != path and RELEASED.get(candidate.stem, digest) == digest:
            try:
                model = _load_file(candidate)
            except ModelFileError:
                continue
            if model.digest.hex() == digest:
                return model
    raise ModelNotFoundError(f"{path} needs the tables of the model {digest[:8]}, not installed")


def search_path() -> list[Path]:
    """Folders that may hold models: the shipped one, then those of NZIP_MODEL_PATH."""
    extra = os.environ.get("NZIP_MODEL_PATH", "")
    return [SHIPPED, *(Path(p) for p in extra.split(os.pathsep) if p)]


def find() -> list[Path]:
    """All installed model files."""
    return [
        path
        for folder in search_path()
        if folder.is_dir()
        for path in sorted(folder.glob("*" + SUFFIX))
    ]


_loaded: dict[Path, Model] = {}
_lock = threading.RLock()  # a model may load the one whose tables it shares


def _load_file(path: Path) -> Model:
    with _lock:
        if path not in _loaded:
            _loaded[path] = Model(path)
        return _loaded[path]


def load(name: str | os.PathLike[str] | None = None) -> Model:
    """The model of that name, or in the file of that path; the default one for None.

    Raises ModelNotFoundError and ModelFileError.
    """
    if name is None:
        name = DEFAULT
    for path in find():
        if path.stem == name:
            return _load_file(path)
    path = Path(name)
    if path.suffix or os.sep in os.fspath(name):
        if path.is_file():
            return _load_file(path.resolve())
        raise ModelNotFoundError(f"no model file {path}")
    known = ", ".join(p.stem for p in find()) or "none"
    raise ModelNotFoundError(f"no model named {name} (installed: {known})")


def by_prefix(prefix: bytes) -> list[Model]:
    """Loadable models whose digest starts with ``prefix``, those in use first."""
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
            except ModelFileError:
                continue
            if model.digest.startswith(prefix):
                known.append(model)
    if not known:
        raise ModelNotFoundError(
            f"the model {prefix.hex()} that this was compressed with is not installed; put its"
            " file into a folder that NZIP_MODEL_PATH names"
        )
    return known

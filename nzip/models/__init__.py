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
from ..errors import ModelFileError, ModelNotFoundError

FORMAT = "nzip-m1-1"
DEFAULT = "base-1"
SUFFIX = ".safetensors"
# SHA-256 of the released models. A file that does not match is refused.
RELEASED: dict[str, str] = {
    "base-1": "69eda19748c977c63bd2a5e4a2f72e30451318b7ade9d1c689e37c1966f06a21",
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
        self.name: str = header["__metadata__"].get("name", path.stem)
        if RELEASED.get(self.name, self.digest.hex()) != self.digest.hex():
            raise ModelFileError(f"{path}: the weights of {self.name} are damaged")
        self.predictor = _predictor(header, self._data, start, path)
        self.hidden: int = header["gates"]["shape"][0] // 4
        # A byte's: the gates' rows, and eight rows of the output layer.
        self.multiply_adds: int = (4 * self.hidden + 8) * header["gates"]["shape"][1]

    def __repr__(self) -> str:
        return f"<nzip.Model {self.name} {self.digest.hex()[:8]}>"


def _header(data: mmap.mmap, path: Path) -> tuple[dict[str, Any], int]:
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(MAX_HEADER, len(data) - 8):
        raise ModelFileError(f"{path}: not a model file")
    try:
        header = json.loads(data[8 : 8 + size])
        known = header["__metadata__"]["format"] == FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path}: not a model file") from error
    if not known:
        raise ModelFileError(f"{path}: a model of another format than {FORMAT}")
    return header, 8 + size


def shape_lists(meta: dict[str, str]) -> list[list[int]]:
    """orders, table_bits, slot_orders and slot_bits of a model file; the last two may be empty."""
    names = ("orders", "table_bits", "slot_orders", "slot_bits")
    return [[int(x) for x in meta.get(name, "").split(",") if x] for name in names]


def _predictor(header: dict[str, Any], data: mmap.mmap, start: int, path: Path) -> Predictor:
    """Check every shape and build the kernel's model; the kernel checks the numbers."""
    view = memoryview(data)

    def tensor(name: str, kind: str, *shape: int) -> memoryview:
        try:
            entry = header[name]
            first, last = map(int, entry["data_offsets"])
            fits = entry["dtype"] == kind and entry["shape"] == list(shape)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{path}: no valid tensor {name}") from error
        size = math.prod(shape) * {"I8": 1, "I32": 4}[kind]
        if not fits or not 0 <= first <= last <= len(data) - start or last - first != size:
            raise ModelFileError(f"{path}: tensor {name} is not {kind} {list(shape)}")
        return view[start + first : start + last]

    try:
        orders, bits, slot_orders, slot_bits = shape_lists(header["__metadata__"])
        hidden = len(header["gates_mult"]["shape"]) and header["gates_mult"]["shape"][0] // 4
        embed = header["table"]["shape"][1]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ModelFileError(f"{path}: no valid model shape") from error
    if not (
        0 < len(orders) == len(bits) <= 8
        and len(slot_orders) == len(slot_bits) <= 8
        and all(1 <= order <= 8 for order in orders + slot_orders)
        and all(8 <= b <= 24 for b in bits + slot_bits)
        and isinstance(hidden, int)
        and isinstance(embed, int)
        and 16 <= hidden <= 4096
        and hidden % 16 == 0
        and 16 <= embed <= 256
        and embed % 16 == 0
    ):
        raise ModelFileError(f"{path}: a shape outside the format's limits")
    width = hidden + embed
    rows = sum(1 << b for b in bits)
    try:
        return Predictor(
            hidden,
            embed,
            orders,
            bits,
            tensor("table", "I8", rows, embed),
            slot_orders,
            slot_bits,
            tensor("slots", "I8", sum(1 << b for b in slot_bits), 16) if slot_bits else b"",
            tensor("gates", "I8", 4 * hidden, width),
            tensor("gates_mult", "I32", 4 * hidden),
            tensor("gates_bias", "I32", 4 * hidden),
            tensor("out", "I8", 256, width),
            tensor("out_mult", "I32", 256),
            tensor("out_bias", "I32", 256),
        )
    except OverflowError as error:
        raise ModelFileError(f"{path}: {error}") from error


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
_lock = threading.Lock()


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

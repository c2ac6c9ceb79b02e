"""Texts, a small random model and the command line, for all tests."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from nzip import _predict, frame, models, reference
from nzip.cli import program

settings.register_profile("default", max_examples=25, deadline=None)
settings.register_profile("deep", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("NZIP_TEST_PROFILE", "default"))

ENGLISH = (
    b"It was the first fine day of the year, and the whole village had come down to the harbour"
    b" to see the ship. Nobody could say where she came from, nor what she carried, but the"
    b" children had already given her a name. "
)
CODE = b"for (int i = 0; i < n; i++) {\n    total += values[i];\n}\nreturn total;\n"
SCRIPTS = (
    "Ελληνικά, Русский, 中文字符, 日本語テキスト, 한국어, "
    "العربية, עברית, हिन्दी, ไทย, emoji 🙂🚀, ñ é ü ß. "
).encode()


SIGNALS = [getattr(signal, name) for name in (*program.SIGNALS, "SIGPIPE") if hasattr(signal, name)]


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Commands change these. SIGPIPE's default would let a later test's write end the whole run."""
    handlers = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, handlers, strict=True):
        signal.signal(number, handler)


def sample_texts() -> dict[str, bytes]:
    """Unusual inputs, by name."""
    rng = random.Random(7)
    return {
        "empty": b"",
        "one byte": b"x",
        "two bytes": b"\x00\xff",
        "all values": bytes(range(256)),
        "random": rng.randbytes(3000),
        "zeros": bytes(5000),
        "long repeat": b"abcdefghij" * 700,
        "english": ENGLISH * 8,
        "code": CODE * 20,
        "scripts": SCRIPTS * 10,
        "invalid utf-8": SCRIPTS[1:200:3] + b"\xff\xfe\x80" * 20,
        "binary": b"".join(i.to_bytes(4, "little") for i in range(0, 9000, 7)),
        "log": b"".join(
            b"2024-03-%02d 12:%02d:07 INFO worker-%d: request done in %d ms\n"
            % (i % 28 + 1, i % 60, i % 5, i * 37 % 900)
            for i in range(60)
        ),
    }


TEXTS = sample_texts()


def stored_kind(name: str) -> tuple[str, str]:
    """The type of a tensor in a model file, and for numpy."""
    if name in ("lines", "absent"):
        return "U8", "u1"
    if name.endswith("_weights"):
        return "I16", "<i2"
    if name.endswith("_maps"):
        return "U32", "<u4"
    return ("I32", "<i4") if "_" in name or name == "changed" else ("I8", "i1")


class SmallModel:
    """A model with random weights, for the kernel and for the reference."""

    def __init__(
        self,
        seed: int,
        hidden: int = 16,
        embed: int = 16,
        extreme: bool = False,
        buckets: int = 500,
        starts: bool = False,
    ):
        rng = np.random.default_rng(seed)
        self.contexts = [1, 2, 4, 8, *range(reference.WORD, reference.SHAPE + 1)]
        self.ways, self.buckets, blocks = 2, buckets, 2

        def pick(limit: int, *shape: int) -> np.ndarray:
            if extreme:
                return rng.choice([-limit, limit], shape)
            return rng.integers(-limit, limit + 1, shape)

        # Any bytes are valid rows; the extreme ones have the largest scales.
        lines = rng.integers(0, 256, (self.buckets, 64))
        if extreme:
            lines[:, 4 :: 1 + embed // 2] = 128
        self.tensors: dict[str, np.ndarray] = {
            "lines": lines,
            "absent": rng.integers(0, 256, (len(self.contexts), 1 + embed // 2)),
        }
        shapes = {
            "enter": (hidden, embed),
            "gates": (blocks, 3 * hidden, hidden),
            "leave": (blocks, hidden, hidden),
            "out": (256, hidden + embed),
        }
        for name, shape in shapes.items():
            self.tensors[name] = pick(63, *shape)
            self.tensors[f"{name}_mult"] = rng.integers(50, 300, shape[:-1])
            if name != "leave":
                self.tensors[f"{name}_bias"] = rng.integers(-(10**6), 10**6, shape[:-1])
        if starts:
            for profile, name in frame.PROFILES.items():
                rows, width, maps = _predict.start_shape(profile)
                limits = (-(2**15), 2**15) if extreme else (-800, 2400)
                chances = rng.integers(0, 2**22, maps)
                self.tensors[f"{name}_weights"] = rng.integers(*limits, (rows, width))
                self.tensors[f"{name}_maps"] = chances << 10 | rng.integers(0, 256, maps)
        self._give_rows()
        self.predictor = self.make()

    def _give_rows(self) -> None:
        """Make contexts of the test texts own rows."""
        m1, lines = self.reference(), self.tensors["lines"]
        way = 0
        for text in (ENGLISH, CODE, SCRIPTS, bytes(range(0, 256, 7))):
            m1.reset()
            for byte in text:
                for bucket, check in m1.places():
                    way = (way + 1) % self.ways
                    lines[bucket, 2 * way : 2 * way + 2] = check % 256, check >> 8
                m1.push(byte)

    def make(self) -> _predict.Predictor:
        """The model as the kernel runs it."""
        hidden, embed = self.tensors["enter"].shape
        blocks = len(self.tensors["gates"])
        buffers = {
            name: tensor.astype(stored_kind(name)[1]).view(np.uint8).reshape(-1)
            for name, tensor in self.tensors.items()
        }
        starts = {
            profile: (buffers.pop(f"{name}_weights"), buffers.pop(f"{name}_maps"))
            for profile, name in frame.PROFILES.items()
            if f"{name}_weights" in buffers
        }
        shape = (hidden, blocks, embed, self.contexts, self.ways, self.buckets)
        return _predict.Predictor(*shape, buffers, starts)

    def file(
        self,
        name: str = "tiny",
        edit: Callable[[dict[str, Any]], object] = lambda header: None,
    ) -> bytes:
        """A model file of these weights, with its tables; ``edit`` changes the header."""
        meta = {"contexts": ",".join(map(str, self.contexts)), "ways": str(self.ways)}
        meta |= {"embed": str(self.tensors["enter"].shape[1]), "buckets": str(self.buckets)}
        header: dict[str, Any] = {"__metadata__": {"format": models.FORMAT, "name": name, **meta}}
        body = b""
        for key, numbers in self.tensors.items():
            kind, stored = stored_kind(key)
            data = numbers.astype(stored).tobytes()
            places = [len(body), len(body) + len(data)]
            header[key] = {"dtype": kind, "shape": list(numbers.shape), "data_offsets": places}
            body += data
        edit(header)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + body

    def reference(self) -> reference.M1:
        """The same model in plain Python."""
        tensors = {name: t.tolist() for name, t in self.tensors.items()}
        return reference.M1(self.contexts, self.ways, tensors)


def tuned_model(folder: Path, changed: Any = (3, 7, 19)) -> tuple[Path, np.ndarray, np.ndarray]:
    """A model's file that changes three buckets of base.safetensors in the same folder: its path,
    the old buckets, and the new ones."""
    base, small = folder / "base.safetensors", SmallModel(1, buckets=20)
    base.write_bytes(small.file("base"))
    old = small.tensors["lines"]
    small.tensors["lines"] = 255 - old[:3]
    small.tensors["changed"] = np.array(changed)
    digest = hashlib.sha256(base.read_bytes()).hexdigest()
    path = folder / "tuned.safetensors"
    path.write_bytes(small.file("tuned", lambda h: h["__metadata__"].update(tables=digest)))
    return path, old, small.tensors["lines"]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Cache dictionaries of windows in a folder for the tests."""
    os.environ["NZIP_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def small_model() -> SmallModel:
    return SmallModel(1)


@pytest.fixture
def nzip_cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """A function that runs ``nzip ARGS`` as a process in an empty folder."""

    def run(
        *args: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "nzip", *map(str, args)],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            timeout=120,
            **options,
        )

    return run

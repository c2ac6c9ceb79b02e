"""Texts, a small random model and the command line, for all tests."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from nzip import _predict, reference

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


def sample_texts() -> dict[str, bytes]:
    """Odd inputs by name."""
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


class SmallModel:
    """A model with random weights, for the kernel and for the reference."""

    def __init__(self, seed: int, hidden: int = 16, embed: int = 16, extreme: bool = False):
        rng = np.random.default_rng(seed)
        self.contexts = [1, 2, 4, 8, reference.WORD, reference.WORDS]
        self.bits = [8, 9, 10, 8, 9, 10]
        rows, blocks = sum(1 << b for b in self.bits), 2

        def pick(limit: int, *shape: int) -> np.ndarray:
            if extreme:
                return rng.choice([-limit, limit], shape)
            return rng.integers(-limit, limit + 1, shape)

        self.tensors: dict[str, np.ndarray] = {
            "table": pick(127, rows, embed),
            "check": rng.integers(0, 256, rows),
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
        self._give_rows()
        self.predictor = self.make()

    def _give_rows(self) -> None:
        """Make contexts of the test texts the owners of most rows."""
        m1, check = self.reference(), self.tensors["check"]
        for text in (ENGLISH, CODE, SCRIPTS, bytes(range(0, 256, 7))):
            m1.reset()
            for byte in text:
                for row, owner in m1.rows():
                    check[row] = owner or 0
                m1.push(byte)

    def make(self) -> _predict.Predictor:
        """The model as the kernel runs it."""
        hidden, embed = self.tensors["enter"].shape
        blocks = len(self.tensors["gates"])
        kinds = {"table": "i1", "check": "u1"}
        buffers = {
            name: tensor.astype("<i4" if "_" in name else kinds.get(name, "i1"))
            .view(np.uint8)
            .reshape(-1)
            for name, tensor in self.tensors.items()
        }
        return _predict.Predictor(hidden, blocks, embed, self.contexts, self.bits, buffers)

    def reference(self) -> reference.M1:
        """The same model in plain Python."""
        return reference.M1(
            list(zip(self.contexts, self.bits, strict=True)),
            {name: t.tolist() for name, t in self.tensors.items()},
        )


@pytest.fixture(scope="session")
def small_model() -> SmallModel:
    return SmallModel(1)


@pytest.fixture
def nzip_cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs ``nzip ARGS`` as a process in an empty folder."""

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

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
        self.orders, self.bits = [1, 2, 4, 8], [8, 9, 10, 8]
        rows, width = sum(1 << b for b in self.bits), hidden + embed

        def weights(*shape: int) -> np.ndarray:
            if extreme:
                return rng.choice([-63, 63], shape)
            return rng.integers(-63, 64, shape)

        self.tensors = {
            "table": rng.choice([-127, 127], (rows, embed))
            if extreme
            else rng.integers(-127, 128, (rows, embed)),
            "gates": weights(4 * hidden, width),
            "gates_mult": rng.integers(50, 500, 4 * hidden),
            "gates_bias": rng.integers(-(10**6), 10**6, 4 * hidden),
            "out": weights(256, width),
            "out_mult": rng.integers(50, 300, 256),
            "out_bias": rng.integers(-(10**6), 10**6, 256),
        }
        self.predictor = _predict.Predictor(hidden, embed, self.orders, self.bits, *self.buffers())

    def buffers(self) -> list[np.ndarray]:
        """The tensors as the kernel takes them."""
        names = ("table", "gates", "gates_mult", "gates_bias", "out", "out_mult", "out_bias")
        kinds = [np.int8 if n in ("table", "gates", "out") else np.dtype("<i4") for n in names]
        return [
            self.tensors[name].astype(kind).view(np.uint8).reshape(-1)
            for name, kind in zip(names, kinds, strict=True)
        ]

    def reference(self) -> reference.M1:
        """The same model in plain Python."""
        return reference.M1(
            self.orders, self.bits, {name: t.tolist() for name, t in self.tensors.items()}
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

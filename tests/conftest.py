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
        self.slot_orders, self.slot_bits = [1, 3, 8], [9, 8, 10]
        rows, width = sum(1 << b for b in self.bits), hidden + embed

        def weights(*shape: int) -> np.ndarray:
            if extreme:
                return rng.choice([-63, 63], shape)
            return rng.integers(-63, 64, shape)

        self.tensors = {
            "table": rng.choice([-127, 127], (rows, embed))
            if extreme
            else rng.integers(-127, 128, (rows, embed)),
            "slots": self._slots(rng, extreme),
            "gates": weights(4 * hidden, width),
            "gates_mult": rng.integers(50, 500, 4 * hidden),
            "gates_bias": rng.integers(-(10**6), 10**6, 4 * hidden),
            "out": weights(256, width),
            "out_mult": rng.integers(50, 300, 256),
            "out_bias": rng.integers(-(10**6), 10**6, 256),
        }
        self.predictor = self.make()

    def _slots(self, rng: np.random.Generator, extreme: bool) -> np.ndarray:
        """Random slots, most of them owned by contexts of the test texts."""
        parts = []
        for order, bits in zip(self.slot_orders, self.slot_bits, strict=True):
            slots = rng.integers(-127, 128, (1 << bits, 16))
            if extreme:
                slots = rng.choice([-127, 127], slots.shape)
            for text in (ENGLISH, CODE, SCRIPTS, bytes(range(0, 256, 7))):
                history = 0
                for byte in text:
                    key = (history % 256**order + order) * reference.HASH % 2**64
                    low = ((key ^ key >> 32) + (byte >> 4) + 1) * reference.HASH % 2**64
                    for k in (key, low):
                        check = k >> (56 - bits) & 255
                        slots[k >> (64 - bits), 0] = check - 256 * (check > 127)
                    history = (history << 8 | byte) % 2**64
            parts.append(slots)
        return np.concatenate(parts)

    def make(self) -> _predict.Predictor:
        """The model as the kernel runs it."""
        table, slots, *rest = self.buffers()
        hidden, embed = len(self.tensors["gates"]) // 4, self.tensors["table"].shape[1]
        tables = self.orders, self.bits, table, self.slot_orders, self.slot_bits, slots
        return _predict.Predictor(hidden, embed, *tables, *rest)

    def buffers(self) -> list[np.ndarray]:
        """The tensors as the kernel takes them."""
        layers = [f"{layer}{part}" for layer in ("gates", "out") for part in ("", "_mult", "_bias")]
        return [
            self.tensors[name]
            .astype(np.dtype("<i4") if "_" in name else np.int8)
            .view(np.uint8)
            .reshape(-1)
            for name in ("table", "slots", *layers)
        ]

    def reference(self) -> reference.M1:
        """The same model in plain Python."""
        return reference.M1(
            list(zip(self.orders, self.bits, strict=True)),
            list(zip(self.slot_orders, self.slot_bits, strict=True)),
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

"""Where a byte's time goes in the kernel: nanoseconds by part, sampled.

    python benchmarks/parts.py FILE... [--levels 1 4 6 7 9] [--head BYTES]

The kernel is compiled with NZ_PARTS, so that it records which part is running, and a timer samples
this a thousand times a second. Each file is one block, on one core; NZIP_KERNEL selects the engine.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import importlib.util
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# As engine.inc numbers them.
PARTS = ["rest", "rows", "M1", "logits", "slots", "inputs", "dots", "coder", "training", "states"]
PARTS += ["contexts"]


def build(folder: Path) -> ctypes.CDLL:
    """The sampler; the kernel that records its parts replaces `nzip._predict`."""
    compiler = ["cc", "-O3", "-std=gnu11", "-fno-strict-aliasing", "-shared", "-fPIC"]
    sampler = folder / "parts.so"
    subprocess.run([*compiler, ROOT / "benchmarks" / "parts.c", "-o", sampler], check=True)
    library = ctypes.CDLL(str(sampler), ctypes.RTLD_GLOBAL)
    source, module = folder / "_predict.c", folder / "_predict.so"
    cython = [sys.executable, "-m", "cython", "-3", ROOT / "nzip" / "_predict.pyx", "-o", source]
    subprocess.run(cython, check=True)
    kernel = ROOT / "nzip" / "kernel"
    sources = [kernel / "model.c", kernel / "filter.c", *sorted(kernel.glob("engine_*.c"))]
    options = ["-DNZ_PARTS", "-DPy_LIMITED_API=0x030B0000", f"-I{ROOT / 'nzip'}"]
    options += [f"-I{kernel}", f"-I{sysconfig.get_paths()['include']}", "-o", str(module)]
    subprocess.run([*compiler, *options, source, *sources], check=True)
    spec = importlib.util.spec_from_file_location("nzip._predict", module)
    assert spec is not None
    assert spec.loader is not None
    sys.modules["nzip._predict"] = loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return library


def sampled(library: ctypes.CDLL, work: Callable[[], Any], size: int) -> list[float]:
    """Nanoseconds per byte for each part, and in total."""
    counts = (ctypes.c_long * 16).in_dll(library, "counts")
    start = time.process_time()
    library.begin()
    work()
    library.end()
    total = 1e9 * (time.process_time() - start) / size
    samples = max(1, sum(counts))
    return [total * count / samples for count in counts[: len(PARTS)]] + [total]


def encode_all(model: Any, profile: int, texts: list[bytes], codes: list[bytes]) -> None:
    from nzip import _predict

    codes.extend(_predict.ac_encode(model, profile, text) for text in texts)


def decode_all(model: Any, profile: int, texts: list[bytes], codes: list[bytes]) -> None:
    from nzip import _predict

    for code, text in zip(codes, texts, strict=True):
        assert _predict.ac_decode(model, profile, code, len(text)) == text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--levels", nargs="+", type=int, default=[1, 4, 6, 7, 9])
    parser.add_argument("--head", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder))
        from nzip import _predict, levels, models

        texts = [path.read_bytes()[: arguments.head] for path in arguments.files]
        size = sum(map(len, texts))
        print(f"{_predict.engine_name()}, nanoseconds per byte of {size:,} bytes\n")
        print("| level | | " + " | ".join(PARTS) + " | all |")
        print("|---|---|" + "---:|" * (len(PARTS) + 1))
        for level in arguments.levels:
            chosen = levels.LEVELS[level]
            model = models.load(chosen.model).predictor
            codes: list[bytes] = []

            encode = functools.partial(encode_all, model, chosen.coding, texts, codes)
            decode = functools.partial(decode_all, model, chosen.coding, texts, codes)
            for name, work in (("in", encode), ("out", decode)):
                row = sampled(library, work, size)
                print(f"| {level} | {name} | " + " | ".join(f"{ns:,.0f}" for ns in row) + " |")


if __name__ == "__main__":
    main()

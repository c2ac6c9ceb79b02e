"""What each part of the adaptive predictor is worth: bytes and time without it.

    python benchmarks/ablation.py FILE... [--head BYTES] [--model NAME]

Each row is nzip/kernel/adaptive.inc with the part taken out and compiled anew, over the same logits
of M1. A file is one block. Bytes are those of an ideal coder; times are of the mixing alone, one
core.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from nzip import _predict, evaluate, models

KERNEL = Path(__file__).parents[1] / "nzip" / "kernel"
CONTEXTS = 16
Patches = list[tuple[str, str]]  # what stands once in adaptive.inc, and what it becomes


def without_contexts(*gone: int) -> Patches:
    kept = [i for i in range(CONTEXTS) if i not in gone]
    moves = "".join(f"    hash[{to}] = hash[{i}];\n" for to, i in enumerate(kept))
    return [
        (f"#define CONTEXTS {CONTEXTS} ", f"#define CONTEXTS {len(kept)} "),
        ("uint32_t hash[CONTEXTS];", f"uint32_t hash[{CONTEXTS}];"),
        ("    fetch_slots(a, 1);\n}", f"{moves}    fetch_slots(a, 1);\n}}"),
    ]


def without_set(index: int) -> Patches:
    return [
        ("#define SETS 4 ", "#define SETS 3 "),
        ("*set[SETS], dot[SETS]", "*set[4], dot[4]"),
        ("    int32_t mixed = SETS", f"    a->set[{index}] = a->set[3];\n    int32_t mixed = SETS"),
        ("mixed >>= 2", "mixed /= 3"),
    ]


FINAL = "(squash(mixed) + 3 * p1 + 4 * p2 + 4) >> 3"
MAP1 = "x[M1_MAP_INPUT] = stretch(*a->m1_place >> 16)"
EXPECTED = "x[EXPECTED_INPUT] = stretch(*a->expected_place >> 16)"
ROWS: dict[str, Patches] = {
    "order 1": without_contexts(0),
    "order 2": without_contexts(1),
    "order 3": without_contexts(2),
    "order 4": without_contexts(3),
    "order 5": without_contexts(4),
    "order 6": without_contexts(5),
    "order 7": without_contexts(6),
    "orders 1 to 7": without_contexts(*range(7)),
    "the two bytes before the last": without_contexts(7),
    "the word and the two before": without_contexts(8),
    "the word and the second before": without_contexts(9),
    "what followed this byte": without_contexts(10),
    "what followed these two bytes": without_contexts(11),
    "the expected byte and the match's length": without_contexts(12),
    "the word (in binaries: records)": without_contexts(13),
    "the word and the one before (records)": without_contexts(14),
    "the column and the byte above (records)": without_contexts(15),
    "all contexts of words": without_contexts(8, 9, 13, 14),
    "the match model": [("if (a->position < MATCH_MIN)", "if (1)")],
    "a match that goes on after a miss": [("a->missed == 255", "!hit")],
    "the map of the expected byte": [
        (EXPECTED, "x[EXPECTED_INPUT] = 0"),
        ("    map_update(a->expected_place, bit);\n", ""),
    ],
    "the map of M1's logit": [
        (MAP1, "x[M1_MAP_INPUT] = 0"),
        ("    map_update(a->m1_place, bit);\n", ""),
    ],
    "order 0": [("x[ORDER0_INPUT] = stretch(a->map0[node] >> 16)", "x[ORDER0_INPUT] = 0")],
    "weights by the match": without_set(0),
    "weights by the node": without_set(1),
    "weights by kinds of characters": without_set(2),
    "weights by certainty": without_set(3),
    "a faster start of the mixer": [("#define RATE_START 20", "#define RATE_START 0")],
    "the final map by the last byte": [(FINAL, "(squash(mixed) + 3 * p2 + 2) >> 2")],
    "the final map by two bytes": [(FINAL, "(squash(mixed) + 3 * p1 + 2) >> 2")],
    "both final maps": [(FINAL, "squash(mixed)"), ("    apm_update(a->adapt1, bit);\n", "")],
}


def build(patches: Patches, folder: Path) -> ctypes.CDLL:
    """mixing.c over adaptive.inc with the patches applied."""
    source = (KERNEL / "adaptive.inc").read_text()
    for old, new in patches:
        if source.count(old) != 1:
            sys.exit(f"adaptive.inc does not have this once: {old}")
        source = source.replace(old, new)
    folder = Path(tempfile.mkdtemp(dir=folder))
    engine, library = folder / "engine.inc", folder / "mixing.so"
    shutil.copy(KERNEL / "engine.inc", engine)
    (folder / "adaptive.inc").write_text(source)
    avx2 = "avx2" in Path("/proc/cpuinfo").read_text()
    flags = ["-mavx2", "-mbmi2", "-DNZ_AVX2=1"] if avx2 else ["-DNZ_AVX2=0"]
    flags += ["-DNZ_AVX512=0", "-DNZ_ENGINE=nz_engine_changed", '-DNZ_ENGINE_NAME="changed"']
    flags += ["-w", "-std=gnu11", "-O3", "-fno-strict-aliasing", "-shared", "-fPIC"]
    kernel = [KERNEL / name for name in ("filter.c", "coder.c", "model.c")]
    sources = [Path(__file__).with_name("mixing.c"), *kernel]
    command = ["cc", *flags, f'-DENGINE="{engine}"', f"-I{KERNEL}", *sources, "-o", library]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def node_logits(predictor: _predict.Predictor, text: bytes) -> np.ndarray:
    """M1's logit at each bit of a text: int16 [n, 8], Q8."""
    every = np.frombuffer(_predict.logits(predictor, text, 1), np.int16).reshape(-1, 256)
    byte = np.frombuffer(text, np.uint8).astype(np.int64)
    nodes = np.stack([(256 | byte) >> (8 - depth) for depth in range(8)], axis=1)
    return np.ascontiguousarray(np.take_along_axis(every, nodes, axis=1))


def measure(library: ctypes.CDLL, text: bytes, logits: np.ndarray | None) -> tuple[float, float]:
    """(bytes of an ideal coder, seconds of one core)."""
    p1 = np.empty((len(text), 8), np.uint16)
    pointer = None if logits is None else ctypes.c_void_p(logits.ctypes.data)
    size = ctypes.c_size_t(len(text))
    began = time.thread_time()
    if library.mix(text, size, pointer, ctypes.c_void_p(p1.ctypes.data)):
        sys.exit("out of memory")
    seconds = time.thread_time() - began
    return float(evaluate.code_lengths(p1, text).sum() / 8), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--head", type=int, default=1_000_000, help="bytes of a file, at most")
    parser.add_argument("--model")
    arguments = parser.parse_args()
    predictor = models.load(arguments.model).predictor
    texts = [path.read_bytes()[: arguments.head] for path in arguments.files]
    logits = [node_logits(predictor, text) for text in texts]
    names = [path.name for path in arguments.files]
    print(f"| without | {' | '.join(names)} | all | microseconds a byte |")
    print("|---" + "|---:" * (len(names) + 2) + "|")
    full: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, patches in {"(everything there)": [], "M1": [], **ROWS}.items():
            library = build(patches, Path(folder))
            rows = logits if name != "M1" else [None] * len(texts)
            parts = [measure(library, text, row) for text, row in zip(texts, rows, strict=True)]
            sizes = [size for size, _ in parts]
            sizes.append(sum(sizes))
            each = sum(seconds for _, seconds in parts) / sum(map(len, texts)) * 1e6
            if full:
                cells = [f"{100 * (a / b - 1):+.2f} %" for a, b in zip(sizes, full, strict=True)]
            else:
                full, cells = sizes, [f"{size:,.0f}" for size in sizes]
            print(f"| {name} | {' | '.join(cells)} | {each:.2f} |", flush=True)


if __name__ == "__main__":
    main()

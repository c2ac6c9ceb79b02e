"""What each part of mixing contributes: bytes and time without it.

    python benchmarks/ablation.py FILE... [--head BYTES] [--model NAME] [--profile P] [--rows WORD]

For each row the part is removed from nzip/kernel/mixing.inc, and the result is compiled and run on
the same logits of M1. A file is one block. Bytes are those of an ideal coder; times are of mixing
alone, on one core.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nzip import _predict, evaluate, frame, models

KERNEL = Path(__file__).parents[1] / "nzip" / "kernel"
ALL, LEARNED = "(everything there)", "the start that was learned"
Patches = list[tuple[str, str]]  # text that occurs once in mixing.inc, and its replacement


def without_inputs(*gone: str) -> Patches:
    zeros = "".join(f"    x[{i}] = 0;\n" for i in gone)
    return [("    a->set_row[1] = node;", f"{zeros}    a->set_row[1] = node;")]


def without_context(index: int) -> Patches:
    return without_inputs(f"FIRST_CONTEXT + {index}")


def without_set(index: int) -> Patches:
    return [("i < sets; i++)\n        for", f"i < sets; i++)\n        if (i != {index}) for")]


# The parts of each profile. Removed contexts and inputs stay in the loops: the bytes show what they
# are worth, but the times do not show all that they cost.
_LIGHT = [
    "order 2",
    "order 5",
    "the word (in binaries: records)",
    "the column and the byte above (records)",
]
_FULL = [
    *_LIGHT,
    "the word and the one before (records)",
    "what followed this byte (the two bytes before the last)",
    "the kinds without repeats (order 1)",
    "the form of the line (order 3)",
    "eight bytes without digits (order 6)",
]
_DEEP = [
    "order 2",
    "order 4",
    "the word (records)",
    "the column and the byte above (records)",
    "the word and the one before (records)",
    "the last eight kinds (the two bytes before the last)",
    "the kinds without repeats (order 1)",
    "order 3",
    "order 6",
    "order 5",
    "what followed this byte",
    "what followed these two bytes",
    "the expected byte and the match's length",
]
NAMES = {
    "light": _LIGHT,
    "full": _FULL,
    # In binaries the contexts after the first 13 are others: those of "data".
    "deep": [
        *_DEEP,
        "order 1",
        "the two bytes before the last",
        "the word and the two before",
        "the word and the second before",
        "the field and its number",
        "the field and the one above",
        "the field and the key",
        "the form and the field",
        "the form and the field above",
        "the form",
        "eight bytes without digits",
        "four bytes without digits",
        "the byte above by fields",
        "the line's first byte",
        "the word and the key",
        "the first field and the indentation",
        "the form and that of the last line",
        "the form and those of the last two lines",
        "the field and the one before",
        "the word and the first field",
        "the last eight kinds alone",
        "the word and the kinds without repeats",
        "the key and the place in the field",
        "the form and the first field",
        "the number of the field and the kinds without repeats",
        "the word before and the kinds of four bytes",
    ],
    "data": [
        *_DEEP,
        "the place in the record and the byte above",
        "three bytes above each other",
        "the place and the change above",
        "the place and the line of the two above",
        "the byte above and the change",
        "the place, two above and the last",
        "the place, one above and the last two",
        "the byte before the last",
        "the third-last byte",
        "the fourth-last byte",
        "the last and the fourth-last byte",
        "high halves of five bytes",
        "order 7",
        "eight bytes: which were zero or repeated",
        "four bytes: which were zero or repeated",
        "the fifth-last byte",
        "the sixth-last byte",
        "the fourth- and fifth-last bytes",
        "the fifth- and sixth-last bytes",
        "the second- and fourth-last bytes",
        "the third- and fifth-last bytes",
        "the last and the fifth-last byte",
        "the last and the sixth-last byte",
        "the next sample in a line",
        "the next sample in a curve",
        "the next sample as the other channel bends",
        "high five bits of three bytes",
        "high five bits of six bytes",
        "three bytes that followed these two",
        "the last byte and the position modulo 4",
        "the last byte and the position modulo 16",
        "the word and the last byte",
        "high three bits of eight bytes",
        "two bytes above, by the layout",
        "bytes above, above right and left",
        "some bits of them",
        "the prediction (the last and the seventh-last byte)",
        "the prediction and the last byte (the shortest match's byte, the last byte)",
        "two predictions (two matches' bytes)",
    ],
}
OTHER_MATCHES, PREDICTIONS = "the other matches", "the predictions of values"
ROWS: dict[str, Patches] = {
    "the match model": without_inputs("MATCH_INPUT"),
    "the map of the expected byte": without_inputs("EXPECTED_INPUT"),
    OTHER_MATCHES: without_inputs("FIRST_CONTEXT + contexts", "FIRST_CONTEXT + contexts + 1"),
    PREDICTIONS: without_inputs(
        *(f"FIRST_CONTEXT + contexts + MATCHES - 1 + {i}" for i in range(3))
    ),
    "the digits of an earlier number": [("number_logit(&a->numbers, depth, node);", "0;")],
    "dynamic evaluation": [("return profile == NZ_FULL || profile == NZ_DEEP;", "return 0;")],
    "the runs": without_inputs("RUN_INPUT", "RUN_INPUT + 1"),
    "a match that goes on after a miss": [("m->missed == 255", "!hit")],
    "weights by kinds of characters": without_set(0),
    "weights by the node": without_set(1),
    "weights for all": without_set(2),
    "weights by the last byte and the depth": without_set(3),
    "weights by the place in the line (record)": without_set(4),
    "weights by the form (the next sample)": without_set(5),
    "weights by the earlier number or a byte": without_set(6),
    "weights by the match": without_set(7),
    "a faster start of the mixer": [("start_rate_of(profile) * 1024", "0 * 1024")],
    "the final maps": [("NZ_LIGHT ? 0 : profile == NZ_FULL ? 1 : APMS;", "NZ_LIGHT ? 0 : 0;")],
}


def build(patches: Patches, folder: Path, profile: str) -> ctypes.CDLL:
    """Build mixing.c with the patched mixing.inc."""
    source = (KERNEL / "mixing.inc").read_text()
    for old, new in patches:
        if source.count(old) != 1:
            sys.exit(f"mixing.inc does not have this once: {old}")
        source = source.replace(old, new)
    folder = Path(tempfile.mkdtemp(dir=folder))
    engine, library = folder / "engine.inc", folder / "mixing.so"
    shutil.copy(KERNEL / "engine.inc", engine)
    (folder / "mixing.inc").write_text(source)
    avx2 = "avx2" in Path("/proc/cpuinfo").read_text()
    flags = ["-mavx2", "-mbmi2", "-DNZ_AVX2=1"] if avx2 else ["-DNZ_AVX2=0"]
    flags += ["-DNZ_AVX512=0", "-DNZ_ENGINE=nz_engine_changed", '-DNZ_ENGINE_NAME="changed"']
    flags += [
        f"-DPROFILE=NZ_{profile.upper()}",
        "-w",
        "-std=gnu11",
        "-O3",
        "-fno-strict-aliasing",
        "-shared",
        "-fPIC",
    ]
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


def outputs(predictor: _predict.Predictor, text: bytes) -> np.ndarray:
    """M1's outputs at each byte of a text: uint8 [n, width]."""
    return np.frombuffer(_predict.outputs(predictor, text), np.uint8).reshape(len(text), -1)


def start_of(model: models.Model, profile: str) -> list[np.ndarray]:
    """The model's weights and maps for the start of mixing, or nothing."""
    for number, (weights, maps) in model.starts.items():
        if frame.PROFILES[number] == profile:
            return [
                np.frombuffer(weights, "<i2").astype("i2"),
                np.frombuffer(maps, "<u4").astype("u4"),
            ]
    return []


def measure(
    library: ctypes.CDLL,
    text: bytes,
    m1: Sequence[np.ndarray] = (),
    start: Sequence[np.ndarray] = (),
) -> tuple[float, float]:
    """(bytes of an ideal coder, seconds of one core). m1: its logits and outputs, if there are."""
    p1 = np.empty((len(text), 8), np.uint16)
    arrays = [*(m1 or (None, None)), *(start or (None, None)), p1]
    pointers = [None if a is None else ctypes.c_void_p(a.ctypes.data) for a in arrays]
    width = m1[1].shape[1] if m1 else 0
    size = ctypes.c_size_t(len(text))
    began = time.thread_time()
    if library.mix(text, size, *pointers[:2], width, *pointers[2:]):
        sys.exit("out of memory")
    seconds = time.thread_time() - began
    return float(evaluate.code_lengths(p1, text).sum() / 8), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--head", type=int, default=1_000_000, help="bytes of a file, at most")
    parser.add_argument("--model")
    parser.add_argument("--profile", choices=NAMES, default="full")
    parser.add_argument("--rows", default="", help="only parts with this in their name")
    arguments = parser.parse_args()
    texts = [path.read_bytes()[: arguments.head] for path in arguments.files]
    m1: list[list[np.ndarray]] = [[] for _ in texts]
    learned: list[np.ndarray] = []
    if arguments.profile != "data":  # which is without M1
        model = models.load(arguments.model)
        m1 = [[f(model.predictor, text) for f in (node_logits, outputs)] for text in texts]
        learned = start_of(model, arguments.profile)
    names = [path.name for path in arguments.files]
    print(f"| without | {' | '.join(names)} | all | microseconds per byte |")
    print("|---" + "|---:" * (len(names) + 2) + "|")
    full: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        gone = ["M1", LEARNED] if arguments.profile == "data" else [PREDICTIONS]
        if arguments.profile in ("light", "full"):
            gone += [OTHER_MATCHES, *list(ROWS)[-7:-2]]
        if arguments.profile == "light":
            gone += ["weights for all", "the final maps"]
        contexts = {name: without_context(i) for i, name in enumerate(NAMES[arguments.profile])}
        for name, patches in {ALL: [], "M1": [], LEARNED: [], **contexts, **ROWS}.items():
            if name in gone or (full and arguments.rows not in name):
                continue
            library = build(patches, Path(folder), arguments.profile)
            start = [] if name == LEARNED else learned
            pairs = zip(texts, m1, strict=True)
            parts = [
                measure(library, text, [] if name == "M1" else own, start) for text, own in pairs
            ]
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

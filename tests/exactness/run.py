"""Checks that everything is byte-identical, whatever compiled it and wherever it runs.

python tests/exactness/run.py            once per compiler; a quarter of an hour
python tests/exactness/run.py --native   the same without other machines: a minute or two
python tests/exactness/run.py --all      at -O0, -O2 and -O3, and the largest dictionaries
python tests/exactness/run.py --write    take the output of gcc -O2, portable kernel, as expected

Compiles the kernel with exact.c (gcc and clang, and for aarch64 and the big-endian s390x, which run
under qemu-user), runs it with each instruction set that the CPU has, and compares all lines with
expected.txt. Then compresses the golden contents and random ones through the Python API with each
kernel, 1, 2, 3 and 8 threads and writes of random sizes. Skips what is not installed, and says so.
Debian: gcc clang qemu-user gcc-aarch64-linux-gnu gcc-s390x-linux-gnu.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nzip
from nzip import frame, models

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GOLDEN = HERE.parent / "golden"
KERNEL = ROOT / "nzip" / "kernel"
EXPECTED = HERE / "expected.txt"
KERNELS = ("portable", "avx2", "avx512", "neon", "dotprod")
SKIPPED = 77
SOURCES = sorted(KERNEL.glob("*.c"))
FLAGS = ("-std=c11", "-g0", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
ORDER = ("enter", "gates", "leave", "out")


def golden_rows() -> list[dict[str, str]]:
    rows = csv.DictReader((GOLDEN / "frames.csv").open())
    return [row for row in rows if row["file"].startswith("good")]


def table_bytes(tables: models.Tables) -> bytes:
    """The tables in the form that exact.c reads."""
    numbers = [tables.embed, tables.ways, tables.buckets, len(tables.contexts), *tables.contexts]
    head = struct.pack(f"<{len(numbers)}I", *numbers)
    return head + bytes(tables.tensors["lines"]) + bytes(tables.tensors["absent"])


def model_bytes(model: models.Model) -> bytes:
    """The weights in the order that exact.c reads."""
    tensors = model.tensors
    parts = [struct.pack("<2I", model.hidden, model.blocks)]
    for name in ORDER:
        parts += [tensors[name], tensors[f"{name}_mult"]]
        if name != "leave":
            parts.append(tensors[f"{name}_bias"])
    for profile in frame.PROFILES:
        start = model.starts.get(profile, ())
        parts += [struct.pack("<I", len(start)), *start]
    return b"".join(map(bytes, parts))


def write_job(path: Path) -> None:
    """The coded blocks of the golden frames, their contents, and the models that they need."""
    known: list[models.Model] = []
    blocks = []
    for row in golden_rows():
        if "prior=" in row["options"]:
            continue  # exact.c makes its own
        data = (GOLDEN / row["file"]).read_bytes()
        content = nzip.decompress(data)
        assert hashlib.sha256(content).hexdigest() == row["sha256"], row["file"]
        if frame.is_skippable(data):
            continue  # made of frames that are already included
        header, at = frame.parse_header(data)
        which = 0xFFFFFFFF
        if header.model:
            model = models.by_prefix(header.model)[0]
            if model not in known:
                known.append(model)
            which = known.index(model)
        place = 0
        while True:
            block = frame.parse_block(data, at)
            text = content[place : place + block.size]
            if block.kind in (frame.CODED, frame.WITHOUT_M1):
                m1 = which if block.kind == frame.CODED else 0xFFFFFFFF
                code = data[block.start : block.end]
                numbers = (
                    m1,
                    header.coding,
                    header.window,
                    header.reset_every,
                    len(text),
                    len(code),
                )
                blocks.append(struct.pack("<6I", *numbers) + code + text)
            at, place = block.end, place + block.size
            if block.last:
                break
    assert len({model.tables.digest for model in known}) == 1  # the released models share theirs
    parts = [table_bytes(known[0].tables), struct.pack("<I", len(known)), *map(model_bytes, known)]
    path.write_bytes(b"".join([*parts, struct.pack("<I", len(blocks)), *blocks]))


def builds(args: argparse.Namespace) -> Iterator[tuple[str, list[str], list[str]]]:
    """(name, compiler and flags, command that runs the program)."""
    levels = ("-O0", "-O2", "-O3") if args.all else ("-O2",)
    for compiler in ("gcc", "clang"):
        for level in levels:
            yield f"{compiler} {level}", [compiler, level], []
        if compiler == "gcc" or not args.native:  # one compiler is enough to be quick
            yield f"{compiler} -O1, ASan and UBSan", [compiler, "-O1", *SANITIZE], []
    for machine in () if args.native else ("aarch64", "s390x"):
        compiler = f"{machine}-linux-gnu-gcc"
        for level in levels[-2:]:
            name = f"{compiler} {level}, qemu-{machine}"
            yield name, [compiler, level, "-static"], [f"qemu-{machine}"]


def run_builds(args: argparse.Namespace, folder: Path, expected: list[str]) -> bool:
    fine = True
    for name, compiler, runner in builds(args):
        # The largest dictionaries take minutes with slow code.
        everything = args.all and not runner and "San" not in name and "-O0" not in name
        if not all(shutil.which(tool) for tool in (compiler[0], *runner)):
            print(f"skipped, not installed: {name}")
            continue
        program = folder / "exact"
        subprocess.run(
            [*compiler, *FLAGS, f"-I{KERNEL}", HERE / "exact.c", *SOURCES, "-o", program],
            check=True,
        )
        for kernel in KERNELS:
            if not args.all and "San" in name and kernel == "portable":
                continue  # slow, and the vector kernels share most of its code
            began = time.monotonic()
            command = [*runner, program, kernel, folder / "job", *(["all"] if everything else [])]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == SKIPPED:
                print(f"skipped, not supported by this CPU: {name}, {kernel}")
                continue
            fine &= report(f"{name}, {kernel}", done, expected, everything, began)
    return fine


def report(
    name: str,
    done: subprocess.CompletedProcess[str],
    expected: list[str],
    everything: bool,
    began: float,
) -> bool:
    lines = done.stdout.splitlines()
    wanted = expected if everything else without_dictionaries(expected)
    got = lines if everything else without_dictionaries(lines)
    wrong = [pair for pair in zip(wanted, got, strict=False) if pair[0] != pair[1]]
    if done.returncode or wrong or len(wanted) != len(got):
        print(f"DIFFERS: {name}: exit {done.returncode} {done.stderr.strip()[:2000]}")
        for want, have in wrong[:5]:
            print(f"  expected {want}\n  got      {have}")
        return False
    print(f"identical: {name} ({len(got)} lines, {time.monotonic() - began:.0f} s)", flush=True)
    return True


def without_dictionaries(lines: list[str]) -> list[str]:
    """The lines without those of `all` alone: released models' dictionaries of 16 bits and more."""
    start = next((i for i, line in enumerate(lines) if line.startswith("golden")), len(lines))
    rest = [
        line
        for line in lines[start:]
        if not (line.split()[0] == "dictionary" and int(line.split()[2]) >= 16)
        and not line.startswith("golden block 5 16 ")
    ]
    return lines[:start] + rest


# ---- The Python API ----


def contents() -> Iterator[tuple[str, bytes, dict[str, object]]]:
    """(name, content, options for the compressor)."""
    for row in golden_rows():
        options: dict[str, object] = {}
        for option in row["options"].split():
            name, _, value = option.partition("=")
            options[name] = False if value == "no" else int(value) if value.isdigit() else value
            if name == "prior":
                options[name] = nzip.Prior(ROOT / "examples" / "corpus" / value)
        yield row["file"], nzip.decompress((GOLDEN / row["file"]).read_bytes()), options
    rng = random.Random(11)
    words = [bytes(rng.choices(b"abcdefghij", k=rng.randint(1, 9))) for _ in range(300)]
    text = b" ".join(rng.choices(words, k=200_000))
    yield "random words, many blocks", text, {"level": 1}
    yield "random words, static", text, {"mode": "static"}
    yield "random words, M1 alone", text[:200_000], {"adapt": False, "model": models.SMALL}
    yield "random words, windows", text[:600_000], {"mode": "eqinfo", "window": 16}
    yield "random bytes", rng.randbytes(1_200_000), {"level": 1}


def python_api() -> None:
    """Print one hash per content; stop if threads or pieces change the frame."""
    rng = random.Random(12)
    for name, content, options in contents():
        seen = set()
        for threads in (1, 3) if os.environ.get("NZIP_KERNEL") == "portable" else (1, 2, 3, 8):
            compressor = nzip.Compressor(threads=threads, **options)
            out, at = b"", 0
            while at < len(content):
                size = rng.choice((1, 7, 1000, 70_000, 1 << 19, 1 << 21))
                out += compressor.compress(content[at : at + size])
                at += size
            out += compressor.flush()
            seen.add(out)
            decompressor = nzip.Decompressor(threads=threads)
            back, at = b"", 0
            while not decompressor.eof:
                size = rng.choice((1, 9, 5000, 300_000))
                back += decompressor.decompress(out[at : at + size])
                at += size
            if back != content:
                sys.exit(f"{name}: does not decode to the content")
        if len(seen) != 1:
            sys.exit(f"{name}: threads or pieces change the frame")
        print(hashlib.sha256(seen.pop()).hexdigest(), name)


def run_python() -> bool:
    outputs = {}
    for kernel in KERNELS:
        done = subprocess.run(
            [sys.executable, str(HERE / "run.py"), "--python"],
            capture_output=True, text=True, env={**os.environ, "NZIP_KERNEL": kernel},
        )  # fmt: skip
        if "cannot run it" in done.stderr:
            print(f"skipped, not supported by this CPU: Python API, {kernel}")
            continue
        if done.returncode:
            print(f"DIFFERS: Python API, {kernel}: {done.stderr.strip()}")
            return False
        outputs[kernel] = done.stdout
        lines = len(done.stdout.splitlines())
        print(
            f"Python API, {kernel}, several numbers of threads, random writes: {lines} contents",
            flush=True,
        )
    if len(set(outputs.values())) != 1:
        print("DIFFERS: the kernels' frames")
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for flag in ("--all", "--native", "--write", "--python"):
        parser.add_argument(flag, action="store_true")
    args = parser.parse_args()
    if args.python:
        python_api()
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_job(folder / "job")
        if args.write:
            program = folder / "exact"
            command = [
                "gcc",
                "-O2",
                *FLAGS,
                f"-I{KERNEL}",
                HERE / "exact.c",
                *SOURCES,
                "-o",
                program,
            ]
            subprocess.run(command, check=True)
            done = subprocess.run(
                [program, "portable", folder / "job", "all"], stdout=subprocess.PIPE, check=True
            )
            EXPECTED.write_bytes(done.stdout)
            return 0
        fine = run_builds(args, folder, EXPECTED.read_text().splitlines())
    return 0 if run_python() and fine else 1


if __name__ == "__main__":
    sys.exit(main())

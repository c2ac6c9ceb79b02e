"""Kills `nzip compress --rm` and `nzip decompress --rm` at random moments; nothing may be lost.

python tests/loss/kills.py --kills 1000 [--signal KILL|TERM|INT|random] [--seed N]

Each round works on a folder of small files. After the signal, each file's input must be there,
complete, or its output, which must decode to the input, or both. After a signal that nzip can
catch, no temporary file may be left. The next round continues from there, so files occur in all
states.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nzip

FILES = 12
VERIFIED: dict[bytes, bytes] = {}  # frames already decoded, with their content


def listen() -> None:
    """Restore SIGINT: processes of a background job ignore it, and nzip respects that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def make_files(folder: Path, rng: random.Random) -> dict[str, bytes]:
    words = [bytes(rng.choices(b"abcdefghijklmnop", k=rng.randint(2, 9))) for _ in range(200)]
    contents = {}
    for number in range(FILES):
        size = rng.choice((0, 1, 300, 5_000, 40_000, 200_000))
        contents[f"file-{number}"] = b" ".join(rng.choices(words, k=size // 6 + 1))[:size]
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return contents


def check(folder: Path, contents: dict[str, bytes], caught: bool) -> collections.Counter[str]:
    """What was found in the folder; raises AssertionError for a loss."""
    seen: collections.Counter[str] = collections.Counter()
    names = {path.name for path in folder.iterdir()}
    for name, content in contents.items():
        plain = packed = False
        if name in names:
            assert (folder / name).read_bytes() == content, f"{name} is not complete"
            plain = True
        if f"{name}.nz" in names:
            data = (folder / f"{name}.nz").read_bytes()
            if VERIFIED.get(data) != content:
                assert nzip.decompress(data, threads=1) == content, f"{name}.nz is not complete"
                VERIFIED[data] = content
            packed = True
        assert plain or packed, f"{name} is lost"
        seen["both" if plain and packed else "input" if plain else "output"] += 1
    left = names - set(contents) - {f"{name}.nz" for name in contents}
    assert all(name.endswith(".tmp") for name in left), f"unexpected files: {left}"
    assert not (caught and left), f"temporary files are left: {left}"
    seen["temporary files"] += len(left)
    for name in left:
        (folder / name).unlink()
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--signal", default="KILL", choices=("KILL", "TERM", "INT", "random"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unbuffered", action="store_true", help="with PYTHONUNBUFFERED=1")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    if args.unbuffered:
        os.environ["PYTHONUNBUFFERED"] = "1"
    total: collections.Counter[str] = collections.Counter()
    rounds = kills = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contents = make_files(folder, rng)
        longest = 1.0
        while kills < args.kills:
            if rounds % 100 == 99:
                for path in folder.iterdir():
                    path.unlink()
                contents = make_files(folder, rng)
            command = rng.choice(("compress", "decompress"))
            suffix = ".nz" if command == "decompress" else ""
            paths = [folder / f"{n}{suffix}" for n in contents]
            paths = [p for p in paths if p.exists()]
            rng.shuffle(paths)
            options = ["--rm", "-f", "-q"]
            if command == "compress":
                options += rng.choice((["-1"], ["-6"], ["-m", "static"], ["-m", "eqinfo"]))
            if not paths:
                rounds += 1
                continue
            program = [sys.executable, "-m", "nzip", command, *options, *map(str, paths)]
            process = subprocess.Popen(program, stderr=subprocess.PIPE, preexec_fn=listen)
            number = getattr(
                signal,
                "SIG"
                + (rng.choice(("KILL", "TERM", "INT")) if args.signal == "random" else args.signal),
            )
            start = time.monotonic()
            try:
                process.wait(timeout=rng.uniform(0.05, longest))
            except subprocess.TimeoutExpired:
                process.send_signal(number)
            assert process.stderr is not None
            error = process.stderr.read()
            code = process.wait()
            took = time.monotonic() - start
            rounds += 1
            # Before nzip has started, Python ends with a traceback.
            if code == -number or b"KeyboardInterrupt" in error:
                kills += 1
                total[f"SIG{number.name[3:]}"] += 1
            else:  # it had already ended
                assert code == 0, error.decode()
                total["not in time"] += 1
                longest = max(0.2, min(longest, 1.2 * took))
            total += check(folder, contents, caught=number != signal.SIGKILL)
    seconds = time.monotonic() - began
    names = ", ".join(f"{key} {value:,}" for key, value in sorted(total.items()))
    print(f"{kills:,} kills in {rounds:,} rounds of {FILES} files, {seconds:.0f} s: nothing lost")
    print(names)
    return 0


if __name__ == "__main__":
    sys.exit(main())

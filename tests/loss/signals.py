"""How long nzip takes to end after a signal, at every level: python tests/loss/signals.py FILE

Compresses and decompresses FILE, of a few megabytes, and sends SIGINT, SIGTERM, SIGHUP or SIGQUIT
at a random moment. Only the input may be left. Prints the worst and the median time from the signal
to the end, for each level and overall.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NZIP = [sys.executable, "-m", "nzip"]
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def listen() -> None:
    for number in NUMBERS:
        signal.signal(number, signal.SIG_DFL)


def interrupted(args: list[str], folder: Path, number: int, delay: float) -> float | None:
    """Seconds from the signal to the end, or None if the work had already ended."""
    before = {path.name for path in folder.iterdir()}
    process = subprocess.Popen([*NZIP, *args], cwd=folder, preexec_fn=listen)
    while not list(folder.glob(".nzip-*.tmp")) and process.poll() is None:
        time.sleep(0.005)
    try:
        process.wait(delay)
        return None
    except subprocess.TimeoutExpired:
        began = time.monotonic()
        process.send_signal(number)
        code = process.wait()
        seconds = time.monotonic() - began
    assert code == -number, code
    left = {path.name for path in folder.iterdir()}
    assert left == before, left - before
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--signals", type=int, default=108)
    parser.add_argument("--levels", default="123456789")
    args = parser.parse_args()
    rng = random.Random(1)
    all_times: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "x").write_bytes(args.file.read_bytes())
        for level in args.levels:
            packed = subprocess.run(
                [*NZIP, f"-{level}", "-c", "x"], cwd=folder, capture_output=True, check=True
            ).stdout
            (folder / "y.nz").write_bytes(packed)
            times: list[float] = []
            for k in range(args.signals // len(args.levels)):
                work = [f"-{level}", "x"] if k % 2 else ["-d", "y.nz"]
                seconds = interrupted(
                    [*work, "-T", str(1 + k % 3)], folder, rng.choice(NUMBERS), rng.uniform(0, 1)
                )
                if seconds is not None:
                    times.append(seconds)
            median = statistics.median(times)
            print(f"level {level}: {len(times)} signals, worst {max(times):.3f} s, {median:.3f} s")
            all_times += times
    print(f"all: {len(all_times)} signals, worst {max(all_times):.3f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs unnzip.wasm under wasmtime (both from pip: wasmtime, and ziglang to compile it).

python wasm.py run unnzip.wasm report.txt.nz > report.txt
python wasm.py golden unnzip.wasm       # does it give what the golden frames hold?
"""

from __future__ import annotations

import csv
import hashlib
import sys
import tempfile
import time
from pathlib import Path

import wasmtime

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
PRIOR = "examples/corpus/access.log"


class Unnzip:
    """The program, compiled; a call runs it with arguments and gives (exit code, seconds)."""

    def __init__(self, program: Path):
        self.engine = wasmtime.Engine()
        self.module = wasmtime.Module.from_file(self.engine, str(program))
        self.linker = wasmtime.Linker(self.engine)
        self.linker.define_wasi()

    def __call__(
        self, args: list[str], folder: Path, out: Path | None = None, err: Path | None = None
    ) -> tuple[int, float]:
        """``folder`` is what it sees as /data, and the package's models as /models."""
        config = wasmtime.WasiConfig()
        config.argv = ["unnzip", *args]
        config.preopen_dir(str(folder), "/data")
        config.preopen_dir(str(ROOT / "nzip" / "models"), "/models")
        if out is None:
            config.inherit_stdout()
        else:
            config.stdout_file = str(out)
        if err is None:
            config.inherit_stderr()
        else:
            config.stderr_file = str(err)
        store = wasmtime.Store(self.engine)
        store.set_wasi(config)
        started = self.linker.instantiate(store, self.module).exports(store)["_start"]
        began = time.perf_counter()
        try:
            started(store)
            code = 0
        except wasmtime.ExitTrap as end:
            code = end.code
        return code, time.perf_counter() - began


def golden(unnzip: Unnzip) -> int:
    wrong = seconds = 0.0
    rows = list(csv.DictReader((GOLDEN / "frames.csv").open()))
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name) / "out", Path(name) / "err"
        for row in rows:
            args = ["-D", f"/data/{PRIOR}", f"/data/tests/golden/{row['file']}"]
            code, took = unnzip(args, ROOT, out, err)
            seconds += took
            if row["file"].startswith("good"):
                fine = code == 0 and hashlib.sha256(out.read_bytes()).hexdigest() == row["sha256"]
            else:
                fine = code == 1 and err.read_text().count("\n") == 1
            if not fine:
                print(f"WRONG: {row['file']}: exit code {code}: {err.read_text().strip()}")
                wrong += 1
    print(
        f"{len(rows) - wrong:.0f} of {len(rows)} golden frames as they should be, {seconds:.1f} s"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    what, program, *files = sys.argv[1:]
    if what == "golden":
        sys.exit(golden(Unnzip(Path(program))))
    for file in files:
        path = Path(file).resolve()
        code, _ = Unnzip(Path(program))([f"/data/{path.name}"], path.parent)
        if code:
            sys.exit(code)

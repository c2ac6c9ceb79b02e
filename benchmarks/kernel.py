"""The kernel's lane loop compared with the CPU's int8 product rate, on one core.

    python benchmarks/kernel.py

Builds and runs kernel.c, for AVX-512 VNNI if the CPU has it, else for AVX2.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    flags = Path("/proc/cpuinfo").read_text()
    vnni = ["-DVNNI"] if "avx512_vnni" in flags else []
    if "avx2" not in flags:
        sys.exit("this CPU has no AVX2")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "kernel"
        source = Path(__file__).with_suffix(".c")
        kernel = source.parents[1] / "nzip" / "kernel"
        mine = "engine_avx512.c" if vnni else "engine_avx2.c"  # which kernel.c includes
        others = [path for path in kernel.glob("engine_*.c") if path.name != mine]
        others += [kernel / "model.c", kernel / "filter.c"]
        options = ["-std=gnu11", "-O3", "-fno-strict-aliasing", *vnni]
        subprocess.run(["cc", *options, source, *others, "-o", program], check=True)
        subprocess.run([program], check=True)

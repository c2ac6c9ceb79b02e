"""Features of the machine that training uses, for M1 here and for M2 in ``nzip.m2``."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from pathlib import Path


@functools.cache
def bfloat16_is_fast() -> bool:
    """True if this CPU multiplies bfloat16 in hardware."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split("\nflags", 2)[1].split("\n", 1)[0].split()
    except (OSError, IndexError):
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks for this process instead of returning them to the system.

    Each step frees and allocates the same hundreds of megabytes. Without this, page faults take
    a tenth of the time for M1, and a fifth for M2 with its large logits. Does nothing without
    glibc.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(-4, 0)  # M_MMAP_MAX
            mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
            mallopt(-8, 1)  # M_ARENA_MAX: threads share what was freed

"""Timing for the benchmarks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

RUNS = 7


def best(*works: Callable[[], object]) -> list[float]:
    """The shortest time of each work, in seconds; the works take turns."""
    times = [math.inf] * len(works)
    for _ in range(RUNS):
        for i, work in enumerate(works):
            start = time.perf_counter()
            work()
            times[i] = min(times[i], time.perf_counter() - start)
    return times

"""Runs jobs on blocks in several threads, with their results in order."""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ._predict import Watch
from .errors import LimitError
from .levels import PROGRAM_MEMORY
from .prior import BlockWatch

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor


def thread_count(threads: int | None) -> int:
    """The number of threads to use; for None or 0, the cores that this process may use.

    Raises ValueError for a negative number.
    """
    if threads is not None and threads < 0:
        raise ValueError(f"threads must not be negative, not {threads}")
    if threads:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Job(NamedTuple):
    watch: Watch
    size: int  # bytes of content
    work: Future[Any] | Callable[[], Any]

    @property
    def done(self) -> int:
        """Bytes of content coded so far."""
        if callable(self.work) or not self.work.done():
            return min(self.size, self.watch.done)
        return self.size


class Workers:
    """Runs jobs in threads and returns their results in the order of submission.

    A job is called with its arguments and ``watch``, through which it reports its progress and is
    stopped. memory: bytes that the program may take, None for no limit; see ``fit``.
    """

    def __init__(self, threads: int | None, memory: int | None = None):
        self.threads = thread_count(threads)
        self._memory = memory
        self._need = 0  # bytes per thread that are known to fit
        self.finished = 0  # bytes of content in the jobs whose results were taken
        self.block_size = 0  # of the largest job so far
        self._pool: ThreadPoolExecutor | None = None
        self._jobs: deque[_Job] = deque()
        self._lock = threading.Lock()  # so that other threads see each job counted exactly once

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def full(self) -> bool:
        return len(self._jobs) > self.threads

    @property
    def done(self) -> int:
        """Bytes of content coded so far, including those of unfinished jobs."""
        with self._lock:
            return self.finished + sum(job.done for job in self._jobs)

    @property
    def pending(self) -> list[int]:
        """Bytes of content left in each submitted job, in order."""
        with self._lock:
            return [job.size - job.done for job in self._jobs]

    def fits(self, need: int) -> bool:
        """True if jobs that take ``need`` bytes each can be submitted without calling ``fit``."""
        return self._memory is None or need <= self._need

    def fit(self, need: int) -> None:
        """Reduce the threads to as many as the memory allows, at ``need`` bytes each.

        Call it only while no job is submitted. Raises LimitError if one thread needs too much.
        """
        if self._memory is None:
            return
        most = (self._memory - PROGRAM_MEMORY) // need
        if most < 1:
            needed = -(-(PROGRAM_MEMORY + need) >> 20)
            raise LimitError(
                f"{needed} MiB of memory are needed, more than the limit of"
                f" {self._memory >> 20} MiB"
            )
        self._need = need
        if most < self.threads:
            self.threads = most
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None

    def submit(
        self, job: Callable[..., Any], *args: Any, size: int = 0, alone: bool = False
    ) -> None:
        """Queue a job on ``size`` bytes of content.

        alone: no job will follow. If none is waiting either, no thread is started for it.
        """
        watch = BlockWatch()
        self.block_size = max(self.block_size, size)
        if self.threads == 1 or (alone and not self._jobs):
            self._jobs.append(_Job(watch, size, functools.partial(job, *args, watch=watch)))
            return
        if self._pool is None:
            # Imported late: it takes 15 ms, and a file of one block never needs it.
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self.threads)
        self._jobs.append(_Job(watch, size, self._pool.submit(job, *args, watch=watch)))

    def ready(self) -> bool:
        """True if taking the next result costs no wait: it is done, or no thread works on it."""
        if not self._jobs:
            return False
        work = self._jobs[0].work
        return callable(work) or work.done()

    def result(self) -> Any:
        """Wait for the next result, in order, and return it."""
        work = self._jobs[0].work
        result = work() if callable(work) else work.result()
        with self._lock:
            self.finished += self._jobs.popleft().size
        return result

    def close(self) -> None:
        """Stop all jobs; they end within a few milliseconds."""
        for job in self._jobs:
            job.watch.stop()
        with self._lock:
            self._jobs.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

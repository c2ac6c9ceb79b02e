"""Jobs on blocks over threads, with their results in order."""

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
    """Threads to use: ``threads``, or all that this process may run on for None or 0."""
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
        """Bytes of content that it has gone through."""
        if callable(self.work) or not self.work.done():
            return min(self.size, self.watch.done)
        return self.size


class Workers:
    """Runs jobs on threads and gives their results back in the order of submission.

    A job gets its arguments and, as ``watch``, what it reports its progress to and is stopped by.
    memory: bytes that the program may take, None for no limit; see ``fit``.
    """

    def __init__(self, threads: int | None, memory: int | None = None):
        self.threads = thread_count(threads)
        self._memory = memory
        self._need = 0  # bytes of a thread that fit
        self.finished = 0  # bytes of content, of the jobs whose results were taken
        self.block_size = 0  # of the largest job so far
        self._pool: ThreadPoolExecutor | None = None
        self._jobs: deque[_Job] = deque()
        self._lock = threading.Lock()  # a job is either at hand or finished, whoever looks on

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def full(self) -> bool:
        return len(self._jobs) > self.threads

    @property
    def done(self) -> int:
        """Bytes of content that were gone through, counted inside jobs too."""
        with self._lock:
            return self.finished + sum(job.done for job in self._jobs)

    @property
    def pending(self) -> list[int]:
        """Bytes of content that are left of each job at hand, in order."""
        with self._lock:
            return [job.size - job.done for job in self._jobs]

    def fits(self, need: int) -> bool:
        """True if jobs that take ``need`` bytes each may be submitted without calling ``fit``."""
        return self._memory is None or need <= self._need

    def fit(self, need: int) -> None:
        """Leave as many threads as the memory is enough for, ``need`` bytes each. No job may be at
        hand. Raises LimitError if it is not enough for one."""
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
        """Queue a job on ``size`` bytes of content. ``alone`` says that none will follow: then no
        thread is started for it."""
        watch = BlockWatch()
        self.block_size = max(self.block_size, size)
        if self.threads == 1 or (alone and not self._jobs):
            self._jobs.append(_Job(watch, size, functools.partial(job, *args, watch=watch)))
            return
        if self._pool is None:
            # Imported late: it costs 15 ms, and a file of one block never needs it.
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
        """The next result in order, waited for."""
        work = self._jobs[0].work
        result = work() if callable(work) else work.result()
        with self._lock:
            self.finished += self._jobs.popleft().size
        return result

    def close(self) -> None:
        """Stop the jobs at hand; they end within some milliseconds."""
        for job in self._jobs:
            job.watch.stop()
        with self._lock:
            self._jobs.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

"""A progress line on stderr. It counts bytes coded, also in unfinished blocks, not bytes read."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple

LONGEST = 28  # characters of a name; the figures after it must fit on the line


class View(NamedTuple):
    """How far the work has got, in bytes of content."""

    done: int
    total: int | None = None  # None: not known
    pending: Sequence[int] = ()  # bytes left of each block in progress, in order
    block: int = 0  # size of the blocks still to come; 0: the work is not done in blocks
    threads: int = 1
    ratio: float | None = None  # of the finished blocks
    stage: str = ""  # name of the stage, if there are several; each counts from 0


class Estimate:
    """Speed and remaining time, from views of the work taken now and then."""

    def __init__(self) -> None:
        self._stage: str | None = None

    def take(self, now: float, view: View) -> tuple[float | None, float | None]:
        """(bytes per second, seconds left) at time ``now`` (seconds), None where not known yet.

        Both are measured from the first byte, so that start-up does not count.
        """
        if view.stage != self._stage or not view.done:
            self._stage, self._first, self._began = view.stage, view.done, now
            self._last, self._busy = now, 0.0
            return None, None
        done, seconds = view.done - self._first, now - self._began
        self._busy += (now - self._last) * _working(view)
        self._last = now
        if done <= 0 or seconds <= 0:
            return None, None
        speed = done / seconds
        if view.total is None:
            return speed, None
        if not view.block or not self._busy:
            return speed, max(0, view.total - view.done) / speed
        return speed, _longest(view) * self._busy / done


def _working(view: View) -> int:
    """The number of threads that are busy."""
    return min(view.threads, sum(left > 0 for left in view.pending))


def _longest(view: View) -> float:
    """Bytes left for the thread that finishes last, since threads idle once blocks are few."""
    assert view.total is not None
    rest = max(0, view.total - view.done - sum(view.pending))
    whole, part = divmod(rest, view.block)
    rounds = max(0, whole // view.threads - 2)  # all threads are busy in these
    whole -= rounds * view.threads
    loads = [0] * view.threads
    for size in (*view.pending, *[view.block] * whole, *[part] * (part > 0)):
        place = loads.index(min(loads))
        loads[place] += size
    return max(loads) + rounds * view.block


def human(size: float) -> str:
    """A number of bytes in binary units, such as "1.5 MiB"."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def clock(seconds: float) -> str:
    """A duration as "42 s", "2:05" or "1:02:05"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def describe(view: View, speed: float | None, left: float | None) -> str:
    """The text to the right of the bar."""
    parts = [human(view.done)] if view.done else []
    if view.total and view.done:
        parts = [f"{100 * view.done / view.total:.0f} % of {human(view.total)}"]
    if view.ratio is not None:
        parts.append(f"ratio {view.ratio:.3f}")
    if speed is not None:
        parts.append(f"{human(speed)}/s")
    if left is not None:
        parts.append(f"{clock(left)} left")
    return ", ".join(parts)


class Bar:
    """A progress line on stderr for the duration of a ``with`` block, drawn by its own thread.

    look: returns the present ``View``; called by that thread.
    wanted: whether to show it; None: only if stderr is a terminal.
    """

    def __init__(self, name: str, look: Callable[[], View], wanted: bool | None = None):
        self._on = sys.stderr.isatty() if wanted is None else wanted
        self._name = name if len(name) <= LONGEST else f"{name[:9]}..{name[11 - LONGEST :]}"
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._draw, daemon=True)

    def __enter__(self) -> Bar:
        if self._on:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._on:
            self._thread.join()

    def _draw(self) -> None:
        if self._over.wait(0.5):  # shorter work needs no bar
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(None),
            TextColumn("{task.fields[state]}", markup=False),
        )
        estimate = Estimate()
        console = Console(stderr=True)
        with Progress(*columns, console=console, transient=True, expand=True) as bar:
            task = bar.add_task(self._name, total=None, state="")
            while True:
                view = self._look()
                state = describe(view, *estimate.take(time.monotonic(), view))
                bar.update(
                    task,
                    description=self._name + (f" ({view.stage})" if view.stage else ""),
                    total=view.total or None,
                    completed=view.done,
                    state=state,
                )
                if self._over.wait(0.2):
                    break

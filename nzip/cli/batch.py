"""Processes the files of one call one after another; an error is reported and the next follows."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import NzipError
from ..inputs import STDIO, stdin_bytes
from ..progress import Bar
from .job import SUFFIX, Job, Sizes, expand_folders, listed, looks_compressed
from .options import parse_size
from .screen import (
    Baselines,
    bar,
    confirm,
    end_with_the_reader,
    fail,
    stdout_bytes,
    summary,
)

if TYPE_CHECKING:
    from ..stream import Compressor


def inputs_of(files: list[Path] | None, lists: list[Path] | None) -> list[Path]:
    """The files given by name and in lists; stdin if there are neither."""
    if not files and not lists:
        return [STDIO]
    return [*(files or ()), *listed(lists or [], stdin_bytes)]


def each(
    paths: list[Path],
    work: Callable[[Path], None],
    recursive: bool = False,
    compressed: bool = False,
    suffix: str = SUFFIX,
) -> None:
    """Call ``work`` for every file; report errors and go on; exit with 1 if there were any.

    recursive: go into folders; of the files in them, take those with the suffix if ``compressed``,
    else those without it.
    """
    failed = False
    for given in paths:
        files = expand_folders([given], recursive, compressed, suffix)
        while True:
            path = given
            try:
                found = next(files, None)
                if found is None:
                    break
                path = found
                work(path)
            except typer.Exit:
                failed = True
            except (OSError, ValueError, NzipError, MemoryError) as error:
                fail(path, error)
                failed = True
    if failed:
        raise typer.Exit(1)


def make_job(
    make: Callable[[], Compressor] | None,
    *,
    suffix: str,
    memory: str | None,
    flat: Path | None,
    mirror: Path | None,
    **settings: Any,
) -> Job:
    """Make a job from the options that compress and decompress share. Raises BadParameter."""
    if not suffix or "/" in suffix or os.sep in suffix:
        raise typer.BadParameter(f"{suffix!r} is not a suffix")
    if flat is not None and mirror is not None:
        raise typer.BadParameter("--output-dir-flat and --output-dir-mirror exclude each other")
    return Job(
        make,
        max_memory=None if memory is None else parse_size(memory),
        suffix=suffix,
        folder=flat if mirror is None else mirror,
        mirror=mirror is not None,
        **settings,
    )


def run(
    paths: list[Path],
    job: Job,
    *,
    output: Path | None,
    stdout: bool,
    recursive: bool,
    quiet: bool,
    verbose: bool,
    progress: bool | None,
    compare: bool = False,
    exclude: bool = False,
) -> None:
    """Process all files; go on after an error; exit with 1 if there was one."""
    compressing = job.make_compressor is not None
    if output == STDIO:
        output, stdout = None, True
    elif output is not None:  # a named output takes precedence over -c
        stdout = False
    if output is not None and (recursive or len(paths) != 1):
        raise typer.BadParameter("-o takes exactly one input")
    if job.folder is not None and (output is not None or stdout):
        raise typer.BadParameter("a folder for outputs excludes -o and -c")
    all_sizes, began_all, count = Sizes(), time.monotonic(), 0
    talks = not quiet and (verbose or compare or sys.stderr.isatty())

    def work(path: Path) -> None:
        nonlocal count
        if exclude and path.is_file() and looks_compressed(path):
            if verbose:
                print(f"nzip: {path}: looks compressed; skipped", file=sys.stderr)
            return
        sizes = Sizes()
        to_stdout = stdout or (path == STDIO and output is None)
        began = time.monotonic()
        baselines = Baselines() if compare else None
        job.observe = baselines.feed if baselines else None
        name = "(stdin)" if path == STDIO else str(path)
        show = functools.partial(bar, path, sizes, not compressing, progress, quiet)
        if to_stdout:
            target = "stdout"
            with show():
                _to_stdout(path, job, sizes)
        else:
            place = output or job.target(path)
            target = str(place)
            _to_file(path, place, job, sizes, show, named=output is not None)
        count += 1
        all_sizes.read += sizes.read
        all_sizes.written += sizes.written
        for line in job.lost or ():
            print(f"nzip: {name}: {line}", file=sys.stderr)
        if talks and (verbose or compare or not to_stdout):
            seconds = time.monotonic() - began
            more = baselines.close() if baselines else ""
            summary(f"{name} -> {target}", sizes, compressing, seconds, more)
        if job.lost:
            job.lost.clear()
            raise typer.Exit(1)

    try:
        each(paths, work, recursive, compressed=not compressing, suffix=job.suffix)
    finally:
        if talks and count > 1 and (verbose or compare or not stdout):
            seconds = time.monotonic() - began_all
            summary(f"{count} files", all_sizes, compressing, seconds)


def _to_file(
    path: Path, target: Path, job: Job, sizes: Sizes, show: Callable[[], Bar], named: bool
) -> None:
    """Process a file to a file; on a terminal, ask before overwriting an existing one."""
    stdin = stdin_bytes() if path == STDIO else None
    try:
        with show():
            job.to_file(path, stdin, target, sizes, named)
    except FileExistsError:
        if not confirm(target):
            raise
        job.force, force = True, job.force
        try:
            with show():
                job.to_file(path, stdin, target, sizes, named)
        finally:
            job.force = force


def _to_stdout(path: Path, job: Job, sizes: Sizes) -> None:
    end_with_the_reader()
    compressing = job.make_compressor is not None
    output = stdout_bytes()
    if compressing and sys.stdout.isatty() and not job.force:
        raise NzipError("compressed data are not written to a terminal (-f forces it)")
    if path == STDIO:
        source = stdin_bytes()
        if not compressing and sys.stdin.isatty() and not job.force:
            raise NzipError("compressed data are not read from a terminal (-h for help)")
        job.to_stream(source, output, sizes)
        return
    with path.open("rb") as source:
        job.to_stream(source, output, sizes)

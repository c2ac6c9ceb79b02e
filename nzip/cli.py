"""The commands: arguments in, a call to the library, a table or a progress bar out."""

from __future__ import annotations

import errno
import functools
import mmap
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from . import __version__, modes
from ._main import describe
from .errors import FormatError, NzipError
from .files import (
    STDIO,
    SUFFIX,
    Job,
    Sizes,
    expand_folders,
    listed,
    looks_compressed,
    stdin_bytes,
    whole,
)
from .frame import DEFAULT_WINDOW, MAGIC, MAX_RESET_EVERY, MAX_WINDOW, MIN_WINDOW
from .output import write_all
from .progress import Bar, View, human

if TYPE_CHECKING:
    from rich.table import Table

    from .prior import Prior
    from .stream import Compressor

WIDE = 1000  # columns of a table that no terminal shows

app = typer.Typer(
    add_completion=True,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Neural text compression: lossless, bit-exact on every machine. Without a command nzip"
    " is a filter: it compresses stdin to stdout, with -d decompresses, so that"
    " `tar -I nzip` works.",
)


def make_group() -> Any:
    """The program's commands, as the library under Typer has them."""
    return typer.main.get_command(app)


class ModeName(StrEnum):
    """What --mode takes."""

    ac = "ac"
    static = "static"
    eqinfo = "eqinfo"


Files = Annotated[list[Path] | None, typer.Argument(help="Files; none or - for stdin.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file.")]
Stdout = Annotated[bool, typer.Option("-c", "--stdout", help="Write to stdout.")]
Force = Annotated[
    bool, typer.Option("-f", "--force", help="Overwrite, follow links, write to a terminal.")
]
Keep = Annotated[bool, typer.Option("-k", "--keep", help="Keep the input (the default).")]
Remove = Annotated[
    bool, typer.Option("--rm", help="Remove the input once the output is synced and verified.")
]
Threads = Annotated[
    int | None,
    typer.Option("-T", "--threads", min=0, envvar="NZIP_THREADS", help="Threads; 0: all cores."),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no summary.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say what was done.")]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Go into folders.")]
FileLists = Annotated[
    list[Path] | None,
    typer.Option(
        "--filelist",
        "--files",
        metavar="FILE",
        help="Also the files whose names are in FILE, one a line; - for stdin.",
    ),
]
Suffix = Annotated[
    str,
    typer.Option(
        "-S", "--suffix", metavar=".SUF", help=f"Of compressed files, instead of {SUFFIX}."
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "-M",
        "--memory",
        metavar="SIZE",
        help="Take no more memory than this, e.g. 500M: with fewer threads, and with an error if"
        " one is too many.",
    ),
]
Flat = Annotated[
    Path | None,
    typer.Option("--output-dir-flat", metavar="DIR", help="Write all outputs into this folder."),
]
Mirror = Annotated[
    Path | None,
    typer.Option(
        "--output-dir-mirror",
        metavar="DIR",
        help="Write outputs into this folder, with the folders of the inputs' names.",
    ),
]
ShowProgress = Annotated[
    bool | None, typer.Option("--progress/--no-progress", help="Progress bar on stderr.")
]
Level = Annotated[
    int,
    typer.Option(
        "--level",
        min=1,
        max=9,
        envvar="NZIP_LEVEL",
        help=modes.describe_levels(),
    ),
]
PriorFile = Annotated[
    Path | None,
    typer.Option(
        "-D",
        "--prior",
        metavar="FILE",
        help="A prior (see 'nzip prior'), or samples, to read before each block.",
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        "-w",
        "--window",
        min=MIN_WINDOW,
        max=MAX_WINDOW,
        help=f"Bits of a window, for eqinfo. Default: {DEFAULT_WINDOW}.",
    ),
]

ResetEvery = Annotated[
    int | None,
    typer.Option(
        "--reset-every",
        min=1,
        max=MAX_RESET_EVERY,
        metavar="K",
        help="eqinfo: M1 starts afresh at every K-th window, not at each.",
    ),
]


class SampleSplit(StrEnum):
    """What ``prior`` takes as one sample."""

    lines = "lines"
    file = "file"
    nul = "nul"


class ContextName(StrEnum):
    """What M1 keeps from window to window."""

    reset = "reset"
    carry = "carry"


Context = Annotated[
    ContextName,
    typer.Option("--context", help="eqinfo: M1 starts afresh at windows, or carries on."),
]


def _resets(context: ContextName, reset_every: int | None) -> int:
    """Windows after which M1 starts afresh, 0 for never."""
    if context is ContextName.carry and reset_every is not None:
        raise typer.BadParameter("--context carry and --reset-every exclude each other")
    return 0 if context is ContextName.carry else reset_every or 1


# What says how to compress means nothing where it is undone; tar appends -d to all of it.
Unused = Annotated[str | None, typer.Option("--level", hidden=True)]
UnusedMode = Annotated[str | None, typer.Option("-m", "--mode", hidden=True)]
UnusedWindow = Annotated[str | None, typer.Option("-w", "--window", hidden=True)]
UnusedResets = Annotated[str | None, typer.Option("--reset-every", hidden=True)]
UnusedContext = Annotated[str | None, typer.Option("--context", hidden=True)]
UnusedBlocks = Annotated[str | None, typer.Option("-B", "--block-size", hidden=True)]
UnusedExclude = Annotated[bool, typer.Option("--exclude-compressed", hidden=True)]
UnusedAdapt = Annotated[bool | None, typer.Option("--adapt/--no-adapt", hidden=True)]


def _complete_model(incomplete: str) -> list[str]:
    """Names of installed models, for the shell."""
    from . import models

    return [path.stem for path in models.networks() if path.stem.startswith(incomplete)]


ModelName = Annotated[
    str | None,
    typer.Option("--model", help="Name or file of a model.", autocompletion=_complete_model),
]


def _fail(path: Path, error: BaseException) -> None:
    text = describe(error)
    name = "(stdin)" if path == STDIO else str(path)
    print(f"nzip: {text}" if text.startswith(name) else f"nzip: {name}: {text}", file=sys.stderr)


def _stdout() -> IO[bytes]:
    """Standard output, in bytes. Raises OSError if it is closed."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "(stdout)")
    return sys.stdout.buffer


def _bar(path: Path, sizes: Sizes, packed: bool, wanted: bool | None, quiet: bool) -> Bar:
    """The progress bar for work on a file (or "-"), which is, or is not, compressed."""

    start = 0
    if path == STDIO:
        with suppress(OSError, ValueError):
            start = os.lseek(stdin_bytes().fileno(), 0, os.SEEK_CUR)  # before any of it is read

    @functools.cache  # found by the bar's thread: files that are done at once need none
    def totals() -> tuple[int | None, int | None]:
        """Bytes of content and compressed, where they can be known."""
        with suppress(OSError, ValueError, NzipError), ExitStack() as stack:
            source = stdin_bytes() if path == STDIO else stack.enter_context(path.open("rb"))
            status = os.fstat(source.fileno())
            if not stat.S_ISREG(status.st_mode):
                return None, None
            if not packed:
                return status.st_size - start, None
            if start == 0:
                from .inspect import inspect

                data = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
                return int(inspect(stack.enter_context(data), "")["content"]), status.st_size
        return None, None

    def look() -> View:
        total, small = totals()
        view = sizes.view(total, small)
        # A file that grew while it was read has no total.
        return view if total is None or view.done <= total else view._replace(total=None)

    name = "(stdin)" if path == STDIO else path.name
    return Bar(name, look, False if quiet and wanted is None else wanted)


class _Baselines:
    """What gzip -9 and zstd -19 would make of the same bytes."""

    def __init__(self) -> None:
        import zlib

        import zstandard

        self._gzip = zlib.compressobj(9, zlib.DEFLATED, 31)
        self._zstd = zstandard.ZstdCompressor(19).compressobj()
        self.sizes = {"gzip -9": 0, "zstd -19": 0}

    def feed(self, data: bytes) -> None:
        self.sizes["gzip -9"] += len(self._gzip.compress(data))
        self.sizes["zstd -19"] += len(self._zstd.compress(data))

    def close(self) -> str:
        self.sizes["gzip -9"] += len(self._gzip.flush())
        self.sizes["zstd -19"] += len(self._zstd.flush())
        return ", ".join(f"{name} {size:,}" for name, size in self.sizes.items())


def _summary(name: str, sizes: Sizes, compressing: bool, seconds: float, more: str = "") -> None:
    large, small = sizes.read, sizes.written
    if not compressing:
        large, small = small, large
    ratio = large / small if small else 0.0
    bits = f", {8 * small / large:.3f} bpb" if large else ""
    speed = human(large / max(seconds, 1e-9))
    line = f"{name}: {sizes.read:,} -> {sizes.written:,} bytes, ratio {ratio:.3f}{bits}, {speed}/s"
    print(f"{line} ({more})" if more else line, file=sys.stderr)


def _confirm(target: Path) -> bool:
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"nzip: {target} exists already; overwrite (y/n)? ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _run(
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
    """Work through the files; go on after an error; exit with 1 if there was one."""
    compressing = job.make_compressor is not None
    if output == STDIO:
        output, stdout = None, True
    elif output is not None:  # which -c does not change: it says where more clearly
        stdout = False
    if output is not None and (recursive or len(paths) != 1):
        raise typer.BadParameter("-o takes exactly one input")
    if job.folder is not None and (output is not None or stdout):
        raise typer.BadParameter("a folder for outputs goes with neither -o nor -c")
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
        baselines = _Baselines() if compare else None
        job.observe = baselines.feed if baselines else None
        name = "(stdin)" if path == STDIO else str(path)
        show = functools.partial(_bar, path, sizes, not compressing, progress, quiet)
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
            _summary(f"{name} -> {target}", sizes, compressing, seconds, more)
        if job.lost:
            job.lost.clear()
            raise typer.Exit(1)

    try:
        _each(paths, work, recursive, compressed=not compressing, suffix=job.suffix)
    finally:
        if talks and count > 1 and (verbose or compare or not stdout):
            seconds = time.monotonic() - began_all
            _summary(f"{count} files", all_sizes, compressing, seconds)


def _job(
    make: Callable[[], Compressor] | None,
    *,
    suffix: str,
    memory: str | None,
    flat: Path | None,
    mirror: Path | None,
    **settings: Any,
) -> Job:
    """A job with what compress and decompress have in common. Raises BadParameter."""
    if not suffix or "/" in suffix or os.sep in suffix:
        raise typer.BadParameter(f"{suffix!r} is no suffix")
    if flat is not None and mirror is not None:
        raise typer.BadParameter("--output-dir-flat and --output-dir-mirror exclude each other")
    return Job(
        make,
        max_memory=None if memory is None else _parse_size(memory),
        suffix=suffix,
        folder=flat if mirror is None else mirror,
        mirror=mirror is not None,
        **settings,
    )


def _inputs(files: list[Path] | None, lists: list[Path] | None) -> list[Path]:
    """The files given, by name and in lists; stdin if there are neither."""
    if not files and not lists:
        return [STDIO]
    return [*(files or ()), *listed(lists or [], stdin_bytes)]


def _to_file(
    path: Path, target: Path, job: Job, sizes: Sizes, show: Callable[[], Bar], named: bool
) -> None:
    """Into a file; asks whether one that is there may go, if somebody sits at the terminal."""
    stdin = stdin_bytes() if path == STDIO else None
    try:
        with show():
            job.to_file(path, stdin, target, sizes, named)
    except FileExistsError:
        if not _confirm(target):
            raise
        job.force, force = True, job.force
        try:
            with show():
                job.to_file(path, stdin, target, sizes, named)
        finally:
            job.force = force


def _end_with_the_reader() -> None:
    """Let a closed pipe end the program, as it ends gzip. For commands that write to stdout."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _to_stdout(path: Path, job: Job, sizes: Sizes) -> None:
    _end_with_the_reader()
    compressing = job.make_compressor is not None
    output = _stdout()
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


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version and exit.")
    ] = False,
) -> None:
    if version:
        print(f"nzip {__version__}")
        raise typer.Exit


@app.command()
def compress(
    files: Files = None,
    mode: Annotated[ModeName, typer.Option("-m", "--mode", help="How to code.")] = ModeName.ac,
    window: Window = None,
    context: Context = ContextName.reset,
    reset_every: ResetEvery = None,
    level: Level = modes.DEFAULT_LEVEL,
    adapt: Annotated[
        bool, typer.Option("--adapt/--no-adapt", help="ac: learn from the file, or M1 alone.")
    ] = True,
    model: ModelName = None,
    prior: PriorFile = None,
    block_size: Annotated[
        str | None,
        typer.Option(
            "-B",
            "--block-size",
            metavar="SIZE",
            help="64K to 16M: smaller blocks can be read alone and in parallel, and cost size.",
        ),
    ] = None,
    output: Output = None,
    stdout: Stdout = False,
    force: Force = False,
    keep: Keep = False,
    remove: Remove = False,
    threads: Threads = None,
    recursive: Recursive = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    suffix: Suffix = SUFFIX,
    memory: Memory = None,
    filelist: FileLists = None,
    flat: Flat = None,
    mirror: Mirror = None,
    exclude: Annotated[
        bool,
        typer.Option(
            "--exclude-compressed",
            help="Leave out files that begin as archives, pictures, sound and films do.",
        ),
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also say what gzip -9 and zstd -19 would reach.")
    ] = False,
    progress: ShowProgress = None,
) -> None:
    """Compress FILE to FILE.nz, or stdin to stdout."""
    from .stream import Compressor

    resets = _resets(context, reset_every)
    if mode is not ModeName.eqinfo and (window is not None or resets != 1):
        raise typer.BadParameter("only eqinfo has windows (-m eqinfo)")
    if mode is ModeName.static and model is not None:
        raise typer.BadParameter("static has no model")
    behind = _load_prior(prior)

    def make() -> Compressor:
        return Compressor(
            mode.value,
            level=level,
            window=window or DEFAULT_WINDOW,
            reset_every=resets,
            model=model,
            adapt=adapt,
            prior=behind,
            block_size=None if block_size is None else _parse_size(block_size),
            threads=threads,
            max_memory=job.max_memory,
        )

    job = _job(
        make,
        suffix=suffix,
        memory=memory,
        flat=flat,
        mirror=mirror,
        threads=threads,
        force=force,
        remove=remove and not keep,
    )
    make().close()  # a wrong setting is found before a file is touched
    _run(
        _inputs(files, filelist),
        job,
        output=output,
        stdout=stdout,
        recursive=recursive,
        quiet=quiet,
        verbose=verbose,
        progress=progress,
        compare=compare,
        exclude=exclude,
    )


@app.command()
def decompress(
    files: Files = None,
    output: Output = None,
    stdout: Stdout = False,
    force: Force = False,
    keep: Keep = False,
    remove: Remove = False,
    threads: Threads = None,
    recursive: Recursive = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="SIZE", help="Fail on more output, e.g. 500M or 2GiB."),
    ] = None,
    recover: Annotated[
        bool,
        typer.Option(
            "--recover",
            help="Write what is sound in damaged files, and say which bytes are missing. The exit"
            " code is 1 where some are, and the input is kept.",
        ),
    ] = False,
    fill: Annotated[
        bool,
        typer.Option(
            "--fill",
            help="With --recover: zeros in place of what is missing, so that the rest is where it"
            " was.",
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="A model that need not be in a folder of models.",
            autocompletion=_complete_model,
        ),
    ] = None,
    prior: PriorFile = None,
    part: Annotated[
        str | None,
        typer.Option(
            "--range",
            metavar="OFFSET:LENGTH",
            help="Only this part of the content, e.g. 1M:64K; decodes the blocks that hold it.",
        ),
    ] = None,
    suffix: Suffix = SUFFIX,
    memory: Memory = None,
    filelist: FileLists = None,
    flat: Flat = None,
    mirror: Mirror = None,
    pass_through: Annotated[
        bool,
        typer.Option(
            "--pass-through",
            help="Copy what is not compressed by nzip as it is; -cf does so too.",
        ),
    ] = False,
    progress: ShowProgress = None,
    level: Unused = None,
    mode: UnusedMode = None,
    window: UnusedWindow = None,
    reset_every: UnusedResets = None,
    context: UnusedContext = None,
    adapt: UnusedAdapt = None,
    block_size: UnusedBlocks = None,
    exclude: UnusedExclude = False,
) -> None:
    """Decompress FILE.nz to FILE, or stdin to stdout."""
    if model is not None:
        from . import models

        models.load(model)
    behind = _load_prior(prior)  # found by what the frames say
    if part is not None:
        _decompress_range(files, part, None if output == STDIO else output, force)
        return
    if recover and pass_through:
        raise typer.BadParameter("--recover and --pass-through exclude each other")
    if fill and not recover:
        raise typer.BadParameter("--fill is for --recover")
    to_stdout = output == STDIO or (stdout and output is None)
    job = _job(
        None,
        suffix=suffix,
        memory=memory,
        flat=flat,
        mirror=mirror,
        threads=threads,
        max_output=None if max_size is None else _parse_size(max_size),
        force=force,
        remove=remove and not keep,
        lost=[] if recover else None,
        fill=fill,
        pass_through=pass_through or (force and to_stdout and not recover),
    )
    _run(
        _inputs(files, filelist),
        job,
        output=output,
        stdout=stdout,
        recursive=recursive,
        quiet=quiet,
        verbose=verbose,
        progress=progress,
    )
    del behind


def _decompress_range(
    files: list[Path] | None, part: str, output: Path | None, force: bool
) -> None:
    from .file import NzipFile
    from .output import atomic_output

    offset, colon, length = part.partition(":")
    if not colon or files is None or len(files) != 1 or files[0] == STDIO:
        raise typer.BadParameter("--range takes OFFSET:LENGTH and one file")
    start, left = _parse_size(offset), _parse_size(length)
    with NzipFile(files[0]) as source:
        if source.seek(start) < start:
            raise FormatError(f"the content has {source.tell():,} bytes")

        def chunks() -> Iterator[bytes]:
            nonlocal left
            while left and (chunk := source.read(min(left, 1 << 16))):
                left -= len(chunk)
                yield chunk

        if output is None:
            _end_with_the_reader()
            stdout = _stdout()
            for chunk in chunks():
                write_all(stdout, chunk)
            return
        with atomic_output(output, replace=force) as target:
            for chunk in chunks():
                target.write(chunk)


def _load_prior(path: Path | None) -> Prior | None:
    if path is None:
        return None
    from .prior import Prior

    return Prior(path)


def _parse_size(text: str) -> int:
    """``64KiB``, ``1M``, ``2GiB``: binary multiples, as xz reads them."""
    digits = text.rstrip("KMGTiB")
    unit = text[len(digits) :].removesuffix("B").removesuffix("i")
    powers = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
    if not (digits.isascii() and digits.isdigit()) or unit not in powers:
        raise typer.BadParameter(f"{text!r} is not a size such as 64KiB, 1M or 2GiB")
    return int(digits) << (10 * powers[unit])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(columns: list[str], rows: list[dict[str, Any]], as_json: bool) -> None:
    """Rows as JSON, whole, or as a table of the columns."""
    if as_json:
        import json

        print(json.dumps(rows, indent=2))
        return
    from rich.table import Table

    table = Table()
    for column in columns:
        table.add_column(column, justify="left" if column in ("file", "name", "hash") else "right")
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    _print_table(table)


def _print_table(table: Table) -> None:
    """On a terminal folded to its width, else as wide as it needs: nothing is cut."""
    from rich.console import Console

    for column in table.columns:
        column.overflow = "fold"
    console = Console()
    (console if console.is_terminal else Console(width=WIDE)).print(table)


def _each(
    paths: list[Path],
    work: Callable[[Path], None],
    recursive: bool = False,
    compressed: bool = False,
    suffix: str = SUFFIX,
) -> None:
    """Do ``work`` on every file; report errors and go on; exit with 1 if there was one.

    recursive: go into folders, for the files that have, or do not have, the suffix.
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
                _fail(path, error)
                failed = True
    if failed:
        raise typer.Exit(1)


@app.command("test")
def check(
    files: Files = None,
    threads: Threads = None,
    recursive: Recursive = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    progress: ShowProgress = None,
    stdout: Annotated[bool, typer.Option("-c", "--stdout", hidden=True)] = False,
    level: Unused = None,
    mode: UnusedMode = None,
    window: UnusedWindow = None,
    reset_every: UnusedResets = None,
    context: UnusedContext = None,
    adapt: UnusedAdapt = None,
    block_size: UnusedBlocks = None,
    exclude: UnusedExclude = False,
    model: ModelName = None,
    prior: PriorFile = None,
    suffix: Suffix = SUFFIX,
    memory: Memory = None,
    filelist: FileLists = None,
) -> None:
    """Check that files decompress, without writing anything; name the damaged blocks."""

    def work(path: Path) -> None:
        job, sizes = Job(None, threads=threads, max_memory=limit), Sizes()
        try:
            with _bar(path, sizes, True, progress, quiet), ExitStack() as stack:
                source = stdin_bytes() if path == STDIO else stack.enter_context(path.open("rb"))
                job.to_stream(source, None, sizes)
        except FormatError:
            if path != STDIO:
                _name_damage(path)
            raise
        if verbose and not quiet:
            print(f"{path}: sound, {sizes.written:,} bytes", file=sys.stderr)

    if model is not None:
        from . import models

        models.load(model)
    behind = _load_prior(prior)
    limit = None if memory is None else _parse_size(memory)
    _each(_inputs(files, filelist), work, recursive, compressed=True, suffix=suffix)
    del behind


def _name_damage(path: Path) -> None:
    from .recover import Recovery

    with path.open("rb") as source, suppress(NzipError):
        data = whole(source)
        if data[: len(MAGIC)] == MAGIC:
            for line in Recovery(data).lost:
                print(f"nzip: {path}: {line}", file=sys.stderr)


@app.command("prior")
def make_prior(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders of samples.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The prior's file.")],
    size: Annotated[
        str, typer.Option("--size", metavar="SIZE", help="Bytes of samples at most.")
    ] = "64K",
    split: Annotated[
        SampleSplit,
        typer.Option(
            "--split", help="What a sample is: a line, a file, or what stands between NULs."
        ),
    ] = SampleSplit.lines,
    seed: Annotated[int, typer.Option(help="For another choice.")] = 1,
    force: Force = False,
) -> None:
    """Choose samples of your own data that nzip reads before each block (-D): for small records."""
    from .corpus import Documents, find_files
    from .output import atomic_output, check_output
    from .prior import Prior, choose

    check_output(output, force)
    samples = Documents(find_files(paths), split.value)
    with Bar(output.name, lambda: View(samples.done, samples.total)):
        chosen = Prior(choose(samples, _parse_size(size), seed))
    with atomic_output(output, replace=force) as stream:
        stream.write(chosen.dump())
    print(f"{output}: prior {chosen.digest.hex()[:8]}, {len(chosen.samples):,} bytes of samples")


@app.command()
def info(
    files: Annotated[list[Path], typer.Argument(help="Compressed files; - for stdin.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a file.")] = False,
) -> None:
    """Say what files hold, without decoding them."""
    from .inspect import inspect, inspect_file

    _end_with_the_reader()
    rows: list[dict[str, Any]] = []

    def describe_file(path: Path) -> None:
        stdin = path == STDIO
        rows.append(inspect(whole(stdin_bytes()), "(stdin)") if stdin else inspect_file(path))

    with suppress(typer.Exit):
        _each(files, describe_file)
    if as_json:
        import json

        for row in rows:
            print(json.dumps(row))
    elif rows:
        from rich.table import Table

        table = Table("file", "frames", "blocks", "mode", "model", "compressed", "content", "ratio")
        for row in rows:
            ratio = row["content"] / row["compressed"] if row["compressed"] else 0
            table.add_row(
                row["file"],
                str(row["frames"]),
                str(row["blocks"]),
                ", ".join(row["modes"]),
                ", ".join([*row["models"], *(f"prior {prior}" for prior in row["priors"])]),
                f"{row['compressed']:,}",
                f"{row['content']:,}",
                f"{ratio:.3f}",
            )
        _print_table(table)
    if len(rows) < len(files):
        raise typer.Exit(1)


@app.command()
def bench(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    level: Level = modes.DEFAULT_LEVEL,
    threads: Threads = None,
    model: ModelName = None,
    prior: Annotated[
        Path | None,
        typer.Option(
            "-D",
            "--prior",
            metavar="FILE",
            help="Also nzip with this prior, and zstd -19 with the same bytes as dictionary.",
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", help="Compressors to run, e.g. 'nzip ac,zstd -19'.")
    ] = None,
    adjusted: Annotated[
        bool, typer.Option("--adjusted", help="Count the model's bytes in (once, in the total).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A Markdown table.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Run every level of nzip and of what is found on this machine (bzip3, zpaq and 7z"
            " too), and draw size against speed into this PNG."
        ),
    ] = None,
    progress: ShowProgress = None,
) -> None:
    """Compare nzip with gzip, zstd, xz and brotli; every round trip is verified."""
    from . import evaluate
    from .bench import report, runner

    _end_with_the_reader()
    if as_json + as_csv + as_markdown > 1:
        raise typer.BadParameter("--json, --csv and --markdown exclude each other")
    codecs = runner.codecs(
        level=level,
        threads=threads,
        model=model,
        only=only,
        frontier=plot is not None,
        prior=_load_prior(prior),
    )
    if plot is not None:
        evaluate.plots()  # before an hour of measuring, not after it
    results = runner.run(paths, codecs, adjusted=adjusted, progress=progress)
    if plot is not None:
        report.plot_frontier(results, plot)
    write = report.as_json if as_json else report.as_csv if as_csv else None
    if write is not None:
        write(results, sys.stdout)
    elif as_markdown:
        report.as_markdown(results, sys.stdout)
    else:
        report.as_table(results)
    bad = [r for r in results if not r.verified]
    for result in bad:
        print(f"nzip: {result.file}: {result.codec}: the round trip failed", file=sys.stderr)
    if bad:
        raise typer.Exit(1)


@app.command()
def train(
    paths: Annotated[list[Path], typer.Argument(help="Text files, *.zst shards, folders.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model file to write.")],
    size: Annotated[
        str | None,
        typer.Option(
            help="nano, small, base (the default), large or windows (the default with --windows);"
            " with --from: what it grows to."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Go on from this model (a name or a file): fine-tuning.",
            autocompletion=_complete_model,
        ),
    ] = None,
    tables: Annotated[
        str | None,
        typer.Option(
            help="Use the tables of this model or file as they are; the new file refers to them."
        ),
    ] = None,
    table_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Bytes of tables, where they are trained anew. Default: 32M."
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(help="Write the tables to this file of their own, for --tables."),
    ] = None,
    changes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="With --from: bytes of table rows that may change, those that the text asks for"
            " most. The new file holds them and refers to that model's tables for all others."
            " Default: 4M.",
        ),
    ] = None,
    windows: Annotated[
        bool,
        typer.Option("--windows", help="For eqinfo and tokens: M1 often starts afresh."),
    ] = False,
    part: Annotated[
        int, typer.Option(min=4, max=256, help="With --windows: bytes after which it does.")
    ] = 24,
    total: Annotated[
        str | None,
        typer.Option(
            "--bytes",
            metavar="SIZE",
            help="Text to train on, e.g. 300M. Default: 300M, with --from one pass over the text.",
        ),
    ] = None,
    lanes: Annotated[int | None, typer.Option(min=1, help="Texts read side by side.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and sampling.")] = 1,
    begin: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of each source that is passed over at first."),
    ] = 0.0,
    mix: Annotated[
        str | None,
        typer.Option(
            help="Weights of sources, e.g. 'wiki=20,code=12'; a source is a file's name"
            " up to the first '-' or '.'. Without it, all bytes count the same."
        ),
    ] = None,
    relay: Annotated[
        str | None,
        typer.Option(
            help="Shares of sources whose long lines are wrapped, as other files have them, e.g."
            " 'prose=0.4,wiki=0.1'."
        ),
    ] = None,
    patience: Annotated[
        int,
        typer.Option(
            min=0, help="Stop after so many validations without a gain, keep the best; 0: never."
        ),
    ] = 4,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Where to save progress; default: beside the output.")
    ] = None,
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Keep them when the model is written.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 …; default: cuda if there is one.")
    ] = None,
    threads: Threads = None,
) -> None:
    """Train a model (M1) on text, or fine-tune one; resumes from its checkpoint.

    Data-parallel on several GPUs or machines: torchrun --nproc-per-node 4 -m nzip train …
    """
    from .train.command import run

    run(
        paths,
        output,
        size=size,
        start=start,
        tables=tables,
        table_size=None if table_size is None else _parse_size(table_size),
        split=split,
        changes=None if changes is None else _parse_size(changes),
        windows=windows,
        part=part,
        total=None if total is None else _parse_size(total),
        lanes=lanes,
        rate=rate,
        seed=seed,
        begin=begin,
        mix=mix,
        relay=relay,
        patience=patience,
        checkpoint=checkpoint,
        keep_checkpoints=keep_checkpoints,
        device=device,
        threads=threads,
    )


@app.command("eval")
def evaluate_model(
    paths: Annotated[list[Path], typer.Argument(help="Text files and folders.")],
    model: ModelName = None,
    adapt: Annotated[
        bool, typer.Option("--adapt/--no-adapt", help="With the models that learn from the text.")
    ] = False,
    curve: Annotated[bool, typer.Option("--curve", help="Bits per byte by position.")] = False,
    length: Annotated[
        int, typer.Option(min=1, max=32767, help="Bytes of the pieces of a curve.")
    ] = 16384,
    png: Annotated[Path | None, typer.Option(help="Draw the curve into this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    threads: Threads = None,
) -> None:
    """What a model asks for texts, in bits per byte, without coding them."""
    from . import evaluate, models

    _end_with_the_reader()
    m1 = models.load(model)
    files = list(expand_folders(paths, recursive=True, compressed=False))
    if not files:
        raise FileNotFoundError("no files found")
    texts = [path.read_bytes() for path in files]
    rows: list[dict[str, Any]]
    if curve or png:
        points = evaluate.curve(m1, texts, adapt, length, threads)
        if png:
            evaluate.plot(points, png, m1.name)
        columns = ["first", "last", "bpb", "bytes"]
        rows = [dict(zip(columns, (p.first, p.last, p.bpb, p.bytes), strict=True)) for p in points]
    else:
        columns = ["file", "bytes", "bpb"]
        size = sum(map(len, texts))
        watches: list[Any] = []
        with Bar(m1.name, lambda: View(sum(watch.done for watch in [*watches]), size)):
            rows = [
                {
                    "file": str(path),
                    "bytes": len(text),
                    # JSON knows no NaN.
                    "bpb": evaluate.bits_per_byte(m1, text, adapt, threads, watches)
                    if text
                    else None,
                }
                for path, text in zip(files, texts, strict=True)
            ]
        if len(rows) > 1 and size:
            bits = sum(row["bpb"] * row["bytes"] for row in rows if row["bytes"])
            rows.append({"file": "total", "bytes": size, "bpb": bits / size})
    _table(columns, rows, as_json)


class TokenizationName(StrEnum):
    """What tokens are."""

    counted = "counted"
    eqinfo = "eqinfo"
    ac = "ac"
    static = "static"
    gzip = "gzip"
    bytes = "bytes"


class SplitName(StrEnum):
    """Where documents end."""

    file = "file"
    nul = "nul"
    jsonl = "jsonl"


@app.command()
def tokenize(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Text, folders, or - for stdin; what gzip, zstd, xz, bzip2 or nzip compressed,"
            " and Parquet."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="The file to write: .bin, .npy or .parquet; .json with --train."
        ),
    ],
    tokenization: Annotated[
        TokenizationName,
        typer.Option(
            help="A vocabulary counted on texts, Equal-Info Windows under a model, or what the"
            " paper compares them with."
        ),
    ] = TokenizationName.counted,
    vocabulary: Annotated[
        Path | None, typer.Option(help="A vocabulary that --train wrote, instead of the released.")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Count a vocabulary on the texts and write it.")
    ] = False,
    train_bytes: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --train: bytes of text to count at most. [default: 100000000]"
        ),
    ] = None,
    window: Window = None,
    token_bits: Annotated[
        int | None,
        typer.Option(help="8 or 16 bits a token. Default: 16 for windows, 8 for the others."),
    ] = None,
    context: Context = ContextName.reset,
    reset_every: ResetEvery = None,
    align: Annotated[
        str | None, typer.Option(help="'word': end windows where a word begins, if one does.")
    ] = None,
    lookahead: Annotated[
        bool,
        typer.Option("--lookahead", help="The fewest windows instead of the longest each time."),
    ] = False,
    model: ModelName = None,
    split: Annotated[
        SplitName,
        typer.Option(
            help="Documents: each file one, separated by NUL bytes, or a field of JSON lines."
        ),
    ] = SplitName.file,
    field: Annotated[
        str | None, typer.Option(help="The field of JSON lines. Default: text.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="The column of Parquet files that holds the texts.")
    ] = None,
    eos: Annotated[
        bool | None,
        typer.Option(
            "--eos/--no-eos",
            help="End documents with a token. Default: where there is one, but not in Parquet.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("-f", "--force", help="Overwrite files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    progress: ShowProgress = None,
) -> None:
    """Turn text into tokens for training: uint16 or uint8, with an index of the documents.

    With --train: count a vocabulary on the text, for --vocabulary.
    """
    from .tokens import command

    resets = _resets(context, reset_every)
    if train:
        odd = (model, vocabulary, token_bits, eos)
        if tokenization != TokenizationName.counted or resets != 1 or lookahead or any(odd):
            raise ValueError("--train goes with --window, --align, --split and --train-bytes only")
        row = command.train(
            paths,
            output,
            split=split.value,
            field=field,
            column=column,
            window=window or DEFAULT_WINDOW,
            align=align,
            limit=train_bytes,
            force=force,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        _table(list(row), [row], as_json)
        return
    if train_bytes is not None:
        raise ValueError("--train-bytes is for --train")
    row = command.tokenize(
        paths,
        output,
        tokenization.value,
        split=split.value,
        field=field,
        column=column,
        eos=eos,
        force=force,
        progress=progress,
        model=model,
        window=window,
        token_bits=token_bits,
        reset_every=resets,
        align=align,
        lookahead=lookahead,
        vocabulary=vocabulary,
    )
    _table(list(row), [row], as_json)


@app.command()
def detokenize(
    source: Annotated[Path, typer.Argument(help="A file that nzip tokenize wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The text file to write.")],
    split: Annotated[
        SplitName, typer.Option(help="nul: a NUL byte between documents.")
    ] = SplitName.file,
    force: Annotated[bool, typer.Option("-f", "--force", help="Overwrite files.")] = False,
) -> None:
    """Turn tokens back into the text that they were made from."""
    from .tokens import command

    command.detokenize(source, output, split.value, force)


@app.command("models")
def list_models(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[add FILE...]", help="Files to install.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    force: Force = False,
) -> None:
    """List the models that are installed, or install files of models."""
    from . import models

    if words:
        if words[0] != "add" or len(words) < 2:
            raise typer.BadParameter(
                "'nzip models' lists them, 'nzip models add FILE' installs one"
            )
        _each(
            [Path(word) for word in words[1:]],
            lambda path: print(f"installed {models.add(path, force)}"),
        )
        return
    _end_with_the_reader()
    rows: list[dict[str, Any]] = []

    def describe_model(path: Path) -> None:
        m1 = models.load(path)
        rows.append(
            {
                "name": path.stem,
                "hash": m1.digest.hex()[:8],
                "released": path.stem in models.RELEASED,
                "default": path.stem == models.DEFAULT,
                "bytes": path.stat().st_size,
                "tables": m1.tables.digest.hex()[:8],
                "units": m1.hidden,
                "blocks": m1.blocks,
                "multiply-adds": m1.multiply_adds,
                "file": str(path),
            }
        )

    try:
        _each(models.networks(), describe_model)
    finally:
        columns = ["name", "hash", "bytes", "tables", "units", "blocks", "multiply-adds", "file"]
        _table(columns, rows, as_json)


@app.command("sample")
def sample_text(
    size: Annotated[int, typer.Option("-n", "--bytes", help="Bytes to make.")] = 1000,
    prompt: Annotated[str, typer.Option(help="What the text goes on from.")] = "",
    seed: Annotated[int | None, typer.Option(help="For the same text again.")] = None,
    model: ModelName = None,
) -> None:
    """Decode random bits into text: the compressor as a generator."""
    from . import evaluate, models

    _end_with_the_reader()
    text = evaluate.sample(models.load(model), size, seed, prompt.encode())
    write_all(_stdout(), text)


m2 = typer.Typer(
    no_args_is_help=True,
    help="Language models over tokens (M2): the experiment of arXiv 2404.03626. Extra: m2.",
)
app.add_typer(m2, name="m2")
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1 …; default: cuda if there is one.")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="A fifth faster, after a minute; takes a C++ compiler.")
]


@m2.command("train")
def m2_train(
    tokens: Annotated[Path, typer.Argument(help="A file that nzip tokenize wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model file to write.")],
    held_out: Annotated[
        Path | None,
        typer.Option(help="Tokens to measure on; default: the last twentieth of the documents."),
    ] = None,
    size: Annotated[str, typer.Option(help="tiny, 0.6m, 1.8m, 4m, 25m or 113m weights.")] = "0.6m",
    context: Annotated[int, typer.Option(min=8, help="Tokens that attention reaches over.")] = 256,
    batch: Annotated[int, typer.Option(min=1, help="Contexts of a step, of each process.")] = 8,
    passes: Annotated[float, typer.Option(help="Passes over the tokens.")] = 1.0,
    rate: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 1,
    device: Device = None,
    compiled: Compile = False,
) -> None:
    """Train a language model on tokens; resumes from its checkpoint.

    Data-parallel on several GPUs or machines: torchrun --nproc-per-node 4 -m nzip m2 train …
    """
    from .m2.command import train as run

    run(
        tokens,
        output,
        held_out=held_out,
        size=size,
        context=context,
        batch=batch,
        passes=passes,
        rate=rate,
        seed=seed,
        device=device,
        compiled=compiled,
    )


@m2.command("compare")
def m2_compare(
    corpus: Annotated[
        list[Path] | None,
        typer.Argument(help="Text files, *.zst shards (documents end with a NUL byte), folders."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the results; runs in it are kept.")
    ] = Path("results"),
    names: Annotated[
        str | None, typer.Option(help="Tokenizations, e.g. 'bytes,bpe-32000,eqinfo-16-16'.")
    ] = None,
    sizes: Annotated[str | None, typer.Option(help="Models, e.g. '0.6m,1.8m'.")] = None,
    total: Annotated[
        str, typer.Option("--bytes", metavar="SIZE", help="Text to train on.")
    ] = "24M",
    budget: Annotated[
        float, typer.Option(min=0, help="Times the FLOPs that each size is given by default.")
    ] = 1.0,
    batch: Annotated[int, typer.Option(min=1, help="Contexts of a step.")] = 8,
    tiny: Annotated[bool, typer.Option("--tiny", help="A smoke test, in some minutes.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Train nothing; write the table from what is there.")
    ] = False,
    device: Device = None,
    compiled: Compile = False,
    threads: Threads = None,
) -> None:
    """The paper's experiment: a model for each tokenization and size, at equal compute.

    Writes results.json, table.md, compute.png and size.png, and prints the table.
    """
    from .m2 import command

    _end_with_the_reader()
    text = command.compare(
        corpus or [],
        output,
        names=None if names is None else names.split(","),
        sizes=None if sizes is None else sizes.split(","),
        total=_parse_size(total),
        budget=budget,
        batch=batch,
        tiny=tiny,
        report_only=report,
        device=device,
        compiled=compiled,
        threads=threads,
    )
    print(text, end="")


@m2.command("generate")
def m2_generate(
    model: Annotated[Path, typer.Argument(help="A model of nzip m2 train or compare.")],
    size: Annotated[int, typer.Option("-n", "--bytes", min=1, help="Bytes of text.")] = 500,
    prompt: Annotated[str, typer.Option(help="What the text goes on from.")] = "",
    seed: Annotated[int, typer.Option(help="For the same text again.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.01, help="Below 1: likelier tokens.")] = 1.0,
    beside: Annotated[
        Path | None, typer.Option(help="Another model, whose speed is printed beside it.")
    ] = None,
) -> None:
    """Text out of a trained model, through the detokenizer; its speed goes to stderr."""
    from .m2 import command

    _end_with_the_reader()
    text, lines = command.generate(model, size, prompt.encode(), seed, temperature, beside)
    write_all(_stdout(), text)
    print("\n" + "\n".join(lines), file=sys.stderr)


@m2.command("meaning")
def m2_meaning(
    corpus: Annotated[list[Path], typer.Argument(help="Text files, *.zst shards, folders.")],
    names: Annotated[
        str | None, typer.Option(help="Tokenizations, e.g. 'bpe-32000,ac-16,eqinfo-16-16'.")
    ] = None,
    total: Annotated[str, typer.Option("--bytes", metavar="SIZE", help="Text to look at.")] = "2M",
) -> None:
    """Do tokens keep their meaning: the entropy of the text where one begins, given it."""
    from .m2 import command

    _end_with_the_reader()
    chosen = None if names is None else names.split(",")
    print(command.meaning_table(corpus, chosen, _parse_size(total)), end="")

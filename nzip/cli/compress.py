"""``nzip compress``, ``decompress``, ``test`` and ``info``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..atomic import atomic_output, write_all
from ..errors import FormatError, NzipError
from ..frame import DEFAULT_WINDOW, MAGIC
from ..inputs import STDIO, stdin_bytes, whole
from ..levels import DEFAULT_LEVEL
from .batch import each, inputs_of, make_job, run
from .job import SUFFIX, Job, Sizes
from .options import (
    Context,
    ContextName,
    FileLists,
    Files,
    Flat,
    Force,
    Keep,
    Level,
    Memory,
    Mirror,
    ModelName,
    ModeName,
    Output,
    PriorFile,
    Quiet,
    Recursive,
    Remove,
    ResetEvery,
    ShowProgress,
    Stdout,
    Suffix,
    Threads,
    Verbose,
    Window,
    complete_model,
    load_prior,
    parse_size,
    resets_of,
)
from .screen import bar, end_with_the_reader, print_table, stdout_bytes

if TYPE_CHECKING:
    from ..prior import Prior
    from ..stream import Compressor


def compress(
    files: Files = None,
    mode: Annotated[ModeName, typer.Option("-m", "--mode", help="How to code.")] = ModeName.ac,
    window: Window = None,
    context: Context = ContextName.reset,
    reset_every: ResetEvery = None,
    level: Level = DEFAULT_LEVEL,
    adapt: Annotated[
        bool, typer.Option("--adapt/--no-adapt", help="ac: learn from the file, or use M1 alone.")
    ] = True,
    model: ModelName = None,
    prior: PriorFile = None,
    block_size: Annotated[
        str | None,
        typer.Option(
            "-B",
            "--block-size",
            metavar="SIZE",
            help="64K to 64M: smaller blocks can be read alone and in parallel, but cost space;"
            " larger ones find repeats further back.",
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
            help="Skip files that begin like archives, pictures, audio or video.",
        ),
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also report the sizes of gzip -9 and zstd -19.")
    ] = False,
    progress: ShowProgress = None,
) -> None:
    """Compress FILE to FILE.nz, or stdin to stdout."""
    from ..stream import Compressor

    resets = resets_of(context, reset_every)
    if mode is not ModeName.eqinfo and (window is not None or resets != 1):
        raise typer.BadParameter("only eqinfo has windows (-m eqinfo)")
    if mode is ModeName.static and model is not None:
        raise typer.BadParameter("static uses no model")
    samples = load_prior(prior)

    def make() -> Compressor:
        return Compressor(
            mode.value,
            level=level,
            window=window or DEFAULT_WINDOW,
            reset_every=resets,
            model=model,
            adapt=adapt,
            prior=samples,
            block_size=None if block_size is None else parse_size(block_size),
            threads=threads,
            max_memory=job.max_memory,
        )

    job = make_job(
        make,
        suffix=suffix,
        memory=memory,
        flat=flat,
        mirror=mirror,
        threads=threads,
        force=force,
        remove=remove and not keep,
    )
    make().close()  # find a wrong setting before touching any file
    run(
        inputs_of(files, filelist),
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


def _make_known(model: str | None, prior: Path | None) -> Prior | None:
    """Make frames of that model decodable, and of the prior as long as the result is kept."""
    if model is not None:
        from .. import models

        models.load(model)
    return load_prior(prior)


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
        typer.Option(
            "--max-size", metavar="SIZE", help="Fail if the output is larger, e.g. 500M or 2GiB."
        ),
    ] = None,
    recover: Annotated[
        bool,
        typer.Option(
            "--recover",
            help="Write the intact blocks of damaged files, and report which bytes are missing. If"
            " any are, the exit code is 1 and the input is kept.",
        ),
    ] = False,
    fill: Annotated[
        bool,
        typer.Option(
            "--fill",
            help="With --recover: write zeros in place of missing bytes, so that the rest keeps its"
            " position.",
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Also use this model, by name or file; it need not be installed.",
            autocompletion=complete_model,
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
            help="Copy data not compressed by nzip unchanged; -cf does so too.",
        ),
    ] = False,
    progress: ShowProgress = None,
) -> None:
    """Decompress FILE.nz to FILE, or stdin to stdout."""
    known = _make_known(model, prior)
    if part is not None:
        wanted = False if quiet and progress is None else progress
        _decompress_range(files, part, None if output == STDIO else output, force, wanted)
        return
    if recover and pass_through:
        raise typer.BadParameter("--recover and --pass-through exclude each other")
    if fill and not recover:
        raise typer.BadParameter("--fill is for --recover")
    to_stdout = output == STDIO or (stdout and output is None)
    job = make_job(
        None,
        suffix=suffix,
        memory=memory,
        flat=flat,
        mirror=mirror,
        threads=threads,
        max_output=None if max_size is None else parse_size(max_size),
        force=force,
        remove=remove and not keep,
        lost=[] if recover else None,
        fill=fill,
        pass_through=pass_through or (force and to_stdout and not recover),
    )
    run(
        inputs_of(files, filelist),
        job,
        output=output,
        stdout=stdout,
        recursive=recursive,
        quiet=quiet,
        verbose=verbose,
        progress=progress,
    )
    del known


def _decompress_range(
    files: list[Path] | None, part: str, output: Path | None, force: bool, progress: bool | None
) -> None:
    from ..nzipfile import NzipFile, follow_part
    from ..progress import Bar

    offset, colon, length = part.partition(":")
    if not colon or files is None or len(files) != 1 or files[0] == STDIO:
        raise typer.BadParameter("--range takes OFFSET:LENGTH and one file")
    start, left = parse_size(offset), parse_size(length)
    with NzipFile(files[0]) as source:
        if source.seek(start) < start:
            raise FormatError(f"the content has {source.tell():,} bytes")

        look = follow_part(source, start, left)

        def chunks() -> Iterator[bytes]:
            nonlocal left
            while left and (chunk := source.read(min(left, 1 << 16))):
                left -= len(chunk)
                yield chunk

        if output is None:
            end_with_the_reader()
            stdout = stdout_bytes()
            with Bar(files[0].name, look, progress):
                for chunk in chunks():
                    write_all(stdout, chunk)
            return
        with (
            Bar(files[0].name, look, progress),
            atomic_output(output, replace=force) as target,
        ):
            for chunk in chunks():
                target.write(chunk)


def check(
    files: Files = None,
    threads: Threads = None,
    recursive: Recursive = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    progress: ShowProgress = None,
    stdout: Annotated[bool, typer.Option("-c", "--stdout", hidden=True)] = False,
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
            with bar(path, sizes, True, progress, quiet), ExitStack() as stack:
                source = stdin_bytes() if path == STDIO else stack.enter_context(path.open("rb"))
                job.to_stream(source, None, sizes)
        except FormatError:
            if path != STDIO:
                _name_damage(path)
            raise
        if verbose and not quiet:
            print(f"{path}: intact, {sizes.written:,} bytes", file=sys.stderr)

    known = _make_known(model, prior)
    limit = None if memory is None else parse_size(memory)
    each(inputs_of(files, filelist), work, recursive, compressed=True, suffix=suffix)
    del known


def _name_damage(path: Path) -> None:
    from ..recover import Recovery

    with path.open("rb") as source, suppress(NzipError):
        data = whole(source)
        if data[: len(MAGIC)] == MAGIC:
            for line in Recovery(data).lost:
                print(f"nzip: {path}: {line}", file=sys.stderr)


def info(
    files: Annotated[list[Path], typer.Argument(help="Compressed files; - for stdin.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per file.")] = False,
) -> None:
    """Show what files contain, without decoding them."""
    from ..info import read, read_file

    end_with_the_reader()
    rows: list[dict[str, Any]] = []

    def describe_file(path: Path) -> None:
        stdin = path == STDIO
        rows.append(read(whole(stdin_bytes()), "(stdin)") if stdin else read_file(path))

    with suppress(typer.Exit):
        each(files, describe_file)
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
        print_table(table)
    if len(rows) < len(files):
        raise typer.Exit(1)

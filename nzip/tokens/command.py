"""``nzip tokenize``, with and without ``--train``, and ``nzip detokenize``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import _predict, corpus
from ..atomic import atomic_output, check_output, write_all
from ..inputs import STDIO, find_files
from ..progress import Bar, View
from . import count, tokenfile, tokenizations
from .tokenizer import Tokenizer


def tokenize(
    paths: list[Path],
    output: Path,
    name: str = "counted",
    *,
    split: str = "file",
    field: str | None = None,
    column: str | None = None,
    eos: bool | None = None,
    force: bool = False,
    progress: bool | None = False,
    **settings: Any,
) -> dict[str, Any]:
    """Write the tokens of all documents to a file; return the totals.

    split, field, column: see ``corpus.Documents``.
    eos: end documents with a token. None: if the tokenization has one, but not in Parquet, where
    rows separate documents.
    force: replace existing files.
    progress: show a bar on stderr; None: if stderr is a terminal.
    settings: see ``tokenizations.make``.

    Raises ValueError if an input would be overwritten, and FileExistsError.
    """
    paths = find_files(paths)
    documents = corpus.Documents(paths, split, field, column)
    _check_outputs(tokenfile.written(output), paths, force)
    tokenization = tokenizations.make(name, documents, **settings)
    watch = tokenization.watch = _predict.Watch()

    def look() -> View:
        return View(documents.done + watch.done, documents.total)

    if eos is None:
        eos = tokenization.eos is not None and output.suffix != ".parquet"
    with (
        Bar(output.name, look, progress),
        tokenfile.Writer(output, tokenization, eos, force) as writer,
    ):
        for document in documents:
            writer.add(document)
            watch.done = 0  # these bytes are about to be counted in documents.done
    return {
        "file": str(output),
        "documents": writer.documents,
        "bytes": writer.bytes,
        "tokens": writer.tokens,
        "bytes/token": writer.bytes / max(1, writer.tokens),
        "vocabulary": tokenization.vocab_size,
    }


def train(
    paths: list[Path],
    output: Path,
    *,
    split: str = "file",
    field: str | None = None,
    column: str | None = None,
    window: int = 16,
    align: str | None = None,
    limit: int | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Count a vocabulary on all documents and write it as ``Tokenizer.save`` does.

    Returns what it is: file, size, window, alignment and hash. The parameters and errors are those
    of ``tokenize`` and ``Tokenizer.train``.
    """
    paths = find_files(paths)
    if output.suffix != ".json":
        raise ValueError(f"{output}: a vocabulary's suffix must be .json")
    _check_outputs([output], paths, force)
    documents = corpus.Documents(paths, split, field, column)
    tokenizer = Tokenizer.train(
        documents, name=output.stem, window=window, align=align, limit=limit or count.LIMIT, say=say
    )
    with atomic_output(output, replace=force) as out:
        write_all(out, tokenizer.to_json().encode())
    return {
        "file": str(output),
        "vocabulary": tokenizer.vocab_size,
        "window": window,
        "align": align or "",
        "digest": tokenizer.digest.hex()[:8],
    }


def _check_outputs(outputs: list[Path], inputs: list[Path], force: bool) -> None:
    """Raise ValueError if an output is an input, or FileExistsError, before any work."""
    for path in outputs:
        if path.exists() and any(path.samefile(i) for i in inputs if i != STDIO and i.exists()):
            raise ValueError(f"{path}: an input would be overwritten")
        check_output(path, force)


def detokenize(
    source: Path,
    output: Path,
    split: str = "file",
    force: bool = False,
    progress: bool | None = False,
) -> int:
    """Write the documents of a token file to a text file; return how many there were.

    split: "file" writes them one after another, "nul" puts NUL bytes between them. force: replace
    an existing file. progress: as for ``tokenize``. Raises FormatError, ModelNotFoundError, and the
    errors of ``tokenize``.
    """
    if split not in ("file", "nul"):
        raise ValueError(f"documents are joined by file or nul, not by {split!r}")
    _check_outputs([output], tokenfile.written(source), force)
    contents = tokenfile.read_tokens(source)
    watch = contents.tokenization.watch = _predict.Watch()
    number = done = 0

    def look() -> View:
        return View(done + watch.done, contents.size)

    with Bar(output.name, look, progress), atomic_output(output, replace=force) as out:
        for document in contents.documents():
            if number and split == "nul":
                write_all(out, b"\0")
            write_all(out, document)
            watch.done = 0  # these bytes are about to be counted in `done`
            done += len(document)
            number += 1
    return number

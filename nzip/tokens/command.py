"""``nzip tokenize`` and ``nzip detokenize``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import corpus, models
from ..files import atomic_output
from . import files, streams


def make(
    name: str,
    paths: list[Path],
    *,
    split: str,
    model: str | None,
    window: int,
    token_bits: int | None,
    reset_every: int,
    align: str | None,
) -> streams.Tokenization:
    """The tokenization that a command line asks for. Raises ValueError."""
    if name == "eqinfo":
        m1 = models.load(models.WINDOWS if model is None else model)
        return streams.EqInfo(m1, window, token_bits or 16, reset_every, align)
    if reset_every != 1 or align is not None:
        raise ValueError("resets and alignment are of windows: eqinfo")
    bits = token_bits or 8
    if name == "ac":
        return streams.Ac(models.load(model), bits)
    if name == "static":
        documents = corpus.read_documents(paths, split)
        return streams.Static(streams.frequencies(documents), bits)
    if name == "gzip":
        return streams.Gzip(bits)
    if name == "bytes":
        if bits != 8:
            raise ValueError("bytes are tokens of 8 bits")
        return streams.Bytes()
    raise ValueError(f"unknown tokenization {name!r} (known: {', '.join(streams.NAMES)})")


def tokenize(
    paths: list[Path],
    output: Path,
    name: str = "eqinfo",
    *,
    split: str = "file",
    eos: bool | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Write the tokens of all documents; the totals. eos None: end-of-text tokens where there are
    such, but not in Parquet, where rows keep documents apart. ``settings``: see ``make``."""
    paths = corpus.find_files(paths)
    tokenization = make(name, paths, split=split, **settings)
    if eos is None:
        eos = tokenization.eos is not None and output.suffix != ".parquet"
    with files.Writer(output, tokenization, eos) as writer:
        documents = 0
        for document in corpus.read_documents(paths, split):
            writer.add(document)
            documents += 1
    return {
        "file": str(output),
        "documents": documents,
        "bytes": writer.bytes,
        "tokens": writer.tokens,
        "bytes/token": writer.bytes / max(1, writer.tokens),
        "vocabulary": tokenization.vocab_size,
    }


def detokenize(source: Path, output: Path, split: str = "file") -> int:
    """Write the documents of a file of tokens one behind the other, or with NUL bytes between them;
    how many there were."""
    if split not in ("file", "nul"):
        raise ValueError(f"documents are joined by file or nul, not by {split!r}")
    count = 0
    with atomic_output(output, None) as out:
        for document in files.read_documents(source):
            if count and split == "nul":
                out.write(b"\0")
            out.write(document)
            count += 1
    return count

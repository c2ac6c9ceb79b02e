"""Tokenize a corpus of many files on a Ray cluster: Parquet, JSON lines or text in, Parquet out.

    pip install 'nzip[ray]'
    python examples/tokenize_on_ray.py CORPUS OUT [--column text] [--model counted] [--address auto]

CORPUS is a folder of *.parquet, *.jsonl or *.txt files, OUT a folder that all nodes can write to.
Each input file becomes one output file, `NAME.tokens.parquet` with the columns `tokens` (list of
uint16) and `bytes`. It is written under a temporary name and renamed when complete, so an existing
output is a finished one. If a run is killed or a worker dies, start the same command again: nothing
is lost and nothing is duplicated. Workers keep a warm tokenizer; blocks of Arrow go in and out
without creating a Python object per token.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq
import ray

from nzip.tokens import Tokenizer

INPUTS = (".parquet", ".jsonl", ".txt")
DONE = ".tokens.parquet"


def output_of(source: Path, corpus: Path, out: Path) -> Path:
    """Where a file's tokens go: the name depends only on the input's name."""
    name = str(source.relative_to(corpus)).replace(os.sep, "__")
    return out / (name + DONE)


def read(source: Path, column: str) -> Iterator[pa.ChunkedArray]:
    """The texts of a file, in batches."""
    if source.suffix == ".parquet":
        for batch in pq.ParquetFile(source).iter_batches(4096, columns=[column]):
            yield pa.chunked_array([batch.column(0)])
    elif source.suffix == ".jsonl":
        yield pj.read_json(source).column(column)
    else:
        yield pa.chunked_array([pa.array([source.read_bytes()], pa.large_binary())])


class Tokenize:
    """An actor that keeps a warm tokenizer and tokenizes files with it."""

    def __init__(self, model: str, column: str, corpus: str, out: str):
        self.tokenizer = Tokenizer(model)
        self.column, self.corpus, self.out = column, Path(corpus), Path(out)

    def __call__(self, batch: dict) -> dict:
        rows = [self._one(Path(path)) for path in batch["path"]]
        return {
            "path": batch["path"],
            "bytes": [size for size, _ in rows],
            "tokens": [count for _, count in rows],
        }

    def _one(self, source: Path) -> tuple[int, int]:
        target = output_of(source, self.corpus, self.out)
        if target.exists():  # done by an earlier run, or by a worker that died after this
            return 0, 0
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        kind = pa.large_list(pa.from_numpy_dtype(self.tokenizer.dtype))
        schema = pa.schema([("tokens", kind), ("bytes", pa.int64())])
        size = count = 0
        try:
            with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
                for texts in read(source, self.column):
                    tokens = self.tokenizer.encode_arrow(texts, add_eos=True)
                    lengths = pc.cast(pc.binary_length(texts), pa.int64())
                    writer.write_table(pa.table([tokens, lengths], schema=schema))
                    size += pc.sum(lengths).as_py() or 0
                    count += pc.sum(pc.list_value_length(tokens)).as_py() or 0
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
        return size, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--column", default="text")
    parser.add_argument("--model", default="counted", help="counted, eqinfo, or an M1")
    parser.add_argument("--address", help="address of a cluster; without it, this machine")
    parser.add_argument("--workers", type=int, help="default: one worker per CPU")
    options = parser.parse_args()
    corpus, out = options.corpus.resolve(), options.out.resolve()
    sources = sorted(p for p in corpus.rglob("*") if p.suffix in INPUTS)
    if not sources:
        sys.exit(f"{corpus}: no files with a suffix among {', '.join(INPUTS)}")
    out.mkdir(parents=True, exist_ok=True)
    left = [p for p in sources if not output_of(p, corpus, out).exists()]
    print(f"{len(sources)} files, {len(sources) - len(left)} of them done")
    if not left:
        return
    ray.init(address=options.address, log_to_driver=False)
    workers = options.workers or max(1, int(ray.cluster_resources()["CPU"]))
    start = time.perf_counter()
    rows = (
        ray.data.from_items([{"path": str(path)} for path in left], override_num_blocks=len(left))
        .map_batches(
            Tokenize,
            fn_constructor_args=(options.model, options.column, str(corpus), str(out)),
            batch_size=1,
            concurrency=min(workers, len(left)),
            max_restarts=-1,
            max_task_retries=-1,
        )
        .take_all()
    )
    seconds = time.perf_counter() - start
    size, count = sum(row["bytes"] for row in rows), sum(row["tokens"] for row in rows)
    print(
        f"{size:,} bytes, {count:,} tokens, {size / max(1, count):.2f} bytes per token;"
        f" {seconds:.1f} s, {size / seconds / 1e6:.1f} MB/s"
    )


if __name__ == "__main__":
    main()

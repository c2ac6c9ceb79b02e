"""Would the tests notice? Puts small faults, one at a time, into a copy of the tree.

python tests/mutants.py [WORD ...]    those whose room or file contains one of these words, or all
    --jobs N                          run N at once; default: as many as there are cores
    --check                           run nothing; is each fault's place found in the source once?

For each fault, the tests that should notice it are run; a fault that they miss survives. The exit
code is 1 if a fault survives without a stated reason, or if its place in the source is gone. Faults
in C need a compiler. Faults whose tests need torch are skipped without it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import queue
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "temp.*", "lib.*")
SECONDS = 240  # a run that takes longer counts as hanging
# The C files of the extension modules; all others belong to the last.
MODULES = {
    "_coder": ["kernel/coder.c", "kernel/static.c"],
    "_trie": ["kernel/trie.c", "tokens/count.c"],
    "_predict": ["kernel/model.c", "kernel/filter.c", "kernel/engine_*.c"],
}


class Mutant(NamedTuple):
    """A fault: ``old``, which occurs once in ``file``, becomes ``new``; ``tests`` should notice."""

    room: str
    file: str
    old: str
    new: str
    tests: str
    reason: str = ""  # why it may survive


MUTANTS = [
    # ---- the layout of a frame, its CRCs and limits
    Mutant(
        "frame",
        "nzip/frame.py",
        "            if reset_every == 1:",
        "            if reset_every == 256:",
        "test_format.py -k reset",
    ),
    Mutant(
        "frame",
        "nzip/frame.py",
        "data[at] >> 4 == 5",
        "data[at] == 0x50",
        "test_format.py -k skippable",
    ),
    Mutant(
        "frame",
        "nzip/frame.py",
        "if length >= size:",
        "if length > size:",
        "test_format.py -k break_a_rule",
    ),
    Mutant(
        "frame",
        "nzip/frame.py",
        "2 if total < SHORT_CHECK",
        "2 if total <= SHORT_CHECK",
        "test_format.py -k four_bytes",
    ),
    Mutant(
        "frame",
        "nzip/frame.py",
        "if size > MAX_BLOCK:",
        "if size >= MAX_BLOCK:",
        "test_format.py -k varint_limit",
    ),
    Mutant(
        "frame",
        "nzip/frame.py",
        "if byte == 0 and group:",
        "if byte == 0 and group > 1:",
        "test_format.py -k break_a_rule",
    ),
    Mutant(
        "CRC",
        "nzip/frame.py",
        "(index & 0xFFFFFFFF)",
        "(0 * index)",
        "test_format.py -k bound",
    ),
    Mutant(
        "CRC",
        "nzip/frame.py",
        "crc32(header, crc32(digest))",
        "crc32(header)",
        "test_format.py -k bound",
    ),
    Mutant(
        "CRC",
        "nzip/modes/__init__.py",
        "    for context in contexts:\n        with",
        "    for context in [*contexts][:1]:\n        with",
        "test_format.py -k bound",
    ),
    Mutant(
        "limits",
        "nzip/stream.py",
        "self._declared > self._limit",
        "self._declared > self._limit + 1",
        "test_stream.py -k max_output",
    ),
    Mutant(
        "limits",
        "nzip/stream.py",
        "else max_output - total",
        "else max_output",
        "test_stream.py -k max_output",
    ),
    Mutant(
        "limits",
        "nzip/stream.py",
        "if self._last_parsed and not len(self.workers):\n            self._held",
        "if False:\n            self._held",
        "test_damage.py -k content_check",
    ),
    # ---- files
    Mutant(
        "files",
        "nzip/cli/job.py",
        "if unpacked != original:",
        "if False:",
        "test_output.py -k an_input_is_kept",
    ),
    Mutant(
        "files",
        "nzip/cli/job.py",
        "    return crc, size\n",
        "    return 0, size\n",
        "test_output.py -k compared_byte_by_byte",
    ),
    Mutant(
        "files",
        "nzip/atomic.py",
        "            os.fsync(stream.fileno())\n",
        "",
        "test_output.py -k synced",
    ),
    Mutant(
        "files",
        "nzip/atomic.py",
        "opener = functools.partial(os.open, mode=0o600)",
        "opener = functools.partial(os.open, mode=0o666)",
        "test_output.py -k owners_alone",
    ),
    Mutant(
        "files",
        "nzip/atomic.py",
        "        if stat.S_ISREG(mode) and not replace:\n            raise _exists(path)\n",
        "",
        "test_output.py -k before_any_work",
    ),
    Mutant(
        "files",
        "nzip/nzipfile.py",
        "offset += self.index().size",
        "offset += self.index().size + 1",
        "test_nzipfile.py -k 'seek and not decodes'",
    ),
    # ---- levels and models
    Mutant(
        "levels",
        "nzip/levels.py",
        "6: Level(models.SMALL,",
        "6: Level(models.BASE,",
        "test_roundtrip.py -k levels_are",
    ),
    Mutant(
        "levels",
        "nzip/levels.py",
        "frame.AC_DEEP, 1 << 22)",
        "frame.AC_DEEP, 1 << 21)",
        "test_roundtrip.py -k levels_are",
    ),
    Mutant(
        "levels",
        "nzip/levels.py",
        "tables = 16 << min(bits + profile, max(bits, 22), 24)",
        "tables = 4 << min(bits + coding, max(bits, 22), 24)",
        "test_habits.py -k is_what_it_takes",
    ),
    Mutant(
        "models",
        "nzip/models/__init__.py",
        "if RELEASED.get(self.name, self.digest.hex()) != self.digest.hex():",
        "if False:",
        "test_models.py -k damaged",
    ),
    Mutant(
        "models",
        "nzip/models/__init__.py",
        "all(1 <= context <= LAST_CONTEXT",
        "all(0 <= context <= LAST_CONTEXT",
        "test_models.py -k break_a_rule",
        "the kernel refuses such contexts too",
    ),
    Mutant(
        "models",
        "nzip/models/__init__.py",
        "if not fits or not whole or last - first != size:",
        "if not fits or not whole:",
        "test_models.py -k of_another_size",
    ),
    # ---- tokens and text
    Mutant(
        "tokens",
        "nzip/tokens/tokenizer.py",
        "initial=0))[:-1]",
        "initial=0))[1:]",
        "test_tokens.py -k 'bytes_come_back and english'",
    ),
    Mutant(
        "tokens",
        "nzip/tokens/command.py",
        'and output.suffix != ".parquet"',
        "",
        "test_corpus.py -k not_in_parquet",
    ),
    Mutant(
        "tokens",
        "nzip/tokens/command.py",
        'if number and split == "nul":',
        'if number > 1 and split == "nul":',
        "test_corpus.py -k 'files_of_tokens and bytes'",
    ),
    Mutant(
        "text",
        "nzip/corpus.py",
        'line.rstrip(b"\\r\\n")',
        "line[:-1]",
        "test_corpus.py -k no_newline",
    ),
    Mutant(
        "text",
        "nzip/corpus.py",
        "                if self._begun:\n                    raise EOFError\n",
        "",
        "test_corpus.py -k opened_by_what",
    ),
    # ---- training
    Mutant(
        "train",
        "nzip/train/data.py",
        "self.offset = 0 if self.file else self.held",
        "self.offset = 0",
        "test_corpus.py -k held_out",
    ),
    Mutant(
        "train",
        "nzip/train/data.py",
        "self.file, self.offset = 0, held",
        "self.file, self.offset = 0, 0",
        "test_corpus.py -k held_out",
    ),
    Mutant(
        "train",
        "nzip/train/data.py",
        "self.weights[n] * total - self.drawn[n]",
        "total - self.drawn[n]",
        "test_corpus.py -k by_weight",
    ),
    Mutant(
        "train",
        "nzip/train/modelfile.py",
        '"gates": 256 << SCALE_SHIFT,',
        '"gates": 128 << SCALE_SHIFT,',
        "test_train.py -k exported_integers",
    ),
    Mutant(
        "train",
        "nzip/train/modelfile.py",
        "BIAS_UNITS[name]).round()",
        "BIAS_UNITS[name]).floor()",
        "test_train.py -k exported_integers",
    ),
    Mutant(
        "train",
        "nzip/train/mixing.py",
        "        if 3 * number >= len(texts):",
        "        if number == 0:",
        "test_train.py -k learned_weights",
    ),
    # ---- bench and the command line
    Mutant(
        "bench",
        "nzip/bench/runner.py",
        "middle - start, end - middle, unpacked == data",
        "middle - start, end - middle, len(unpacked) == len(data)",
        "test_cli.py -k fails_loudly",
    ),
    Mutant(
        "bench",
        "nzip/bench/runner.py",
        "all(r.verified for r in rows)",
        "any(r.verified for r in rows)",
        "test_cli.py -k fails_loudly",
    ),
    Mutant(
        "bench",
        "nzip/cli/measure.py",
        "    if bad:\n        raise typer.Exit(1)\n",
        "",
        "test_cli.py -k fails_loudly",
    ),
    Mutant(
        "bench",
        "nzip/levels.py",
        'if mode == "eqinfo":',
        'if mode == "static":',
        "test_cli.py -k 'adjusted and eqinfo'",
    ),
    Mutant(
        "CLI",
        "nzip/cli/options.py",
        "return 0 if context is ContextName.carry else reset_every or 1",
        "return reset_every or 1",
        "test_cli.py -k windows_and_their_resets",
    ),
    Mutant(
        "CLI",
        "nzip/cli/program.py",
        "option in parameter.opts and not parameter.is_flag",
        "option in parameter.opts[:1] and not parameter.is_flag",
        "test_program.py -k become_a_command",
    ),
    Mutant(
        "CLI",
        "nzip/cli/batch.py",
        "                fail(path, error)\n                failed = True\n",
        "                fail(path, error)\n",
        "test_program.py -k one_bad_file",
    ),
    # ---- recovery, priors and records
    Mutant(
        "recover",
        "nzip/recover.py",
        "MAX_LOST = 256",
        "MAX_LOST = 8",
        "test_recover.py -k many_lost",
    ),
    Mutant(
        "recover",
        "nzip/recover.py",
        "            if len(sizes) == 1:\n                size = min(sizes)\n",
        "",
        "test_recover.py -k 'only_the_last or many_lost or of_their_own_size'",
    ),
    Mutant(
        "recover",
        "nzip/cli/job.py",
        "and regular and not self.lost and not",
        "and regular and not",
        "test_recover.py -k command_line",
    ),
    Mutant(
        "prior",
        "nzip/prior.py",
        "crc = crc32(payload, crc32(head, self._seed))",
        "crc = crc32(payload, crc32(head))",
        "test_prior.py -k another_prior",
    ),
    Mutant(
        "prior",
        "nzip/prior.py",
        "if len(out) + len(sample) < size:",
        "if len(out) + len(sample) <= size:",
        "test_prior.py -k choosing",
    ),
    Mutant(
        "records",
        "nzip/prior.py",
        "if size > max_output:",
        "if size > max_output + 1:",
        "test_prior.py -k limit_of_a_record",
    ),
    Mutant(
        "records",
        "nzip/prior.py",
        "(crc & 0xFFFF ^ crc >> 16)",
        "(crc & 0x00FF)",
        "test_prior.py -k 'flipped_bit or written_out'",
    ),
    # ---- C
    Mutant(
        "C, static",
        "nzip/kernel/static.c",
        "#define STATIC_COUNTS (1u << 15)",
        "#define STATIC_COUNTS (1u << 14)",
        "test_coder.py -k static_block",
    ),
    Mutant(
        "C, windows",
        "nzip/kernel/trie.h",
        "(c >= '0' && c <= '9') || ",
        "",
        "test_tokens.py -k aligned_windows",
    ),
    Mutant(
        "C, windows",
        "nzip/kernel/trie.h",
        "c == ' ' || (c >= 9 && c <= 13)",
        "c == ' ' || c == 10",
        "test_tokens.py -k aligned_windows",
    ),
    Mutant(
        "C, filter",
        "nzip/kernel/filter.c",
        "        i += 4;\n",
        "        i += 3;\n",
        "test_predict.py -k 'equals_reference and x86'",
    ),
    Mutant(
        "C, mixing",
        "nzip/kernel/mixing.inc",
        "    MOVE(a->run_map, maps, RUNS * 128);",
        "",
        "test_predict.py -k 'start or learned'",
    ),
    Mutant(
        "C, mixing",
        "nzip/kernel/model.c",
        "& 1023) > NZ_COUNT_MAX) bad = -1;",
        "& 1023) > 1023) bad = -1;",
        "test_predict.py -k refuses_numbers",
    ),
    Mutant(
        "C, mixing",
        "nzip/kernel/mixing.inc",
        "#define MATCH_MAX 400",
        "#define MATCH_MAX 40",
        "test_predict.py -k 'equals_reference and repeat'",
    ),
    Mutant(
        "C, data",
        "nzip/kernel/data.inc",
        "d->value[i] & 4095",
        "d->value[i] & 2047",
        "test_predict.py -k 'equals_reference and stereo'",
    ),
    Mutant(
        "C, data",
        "nzip/kernel/data.inc",
        "near + 2 * ERROR(r) + ERROR(r - p)",
        "near + 2 * ERROR(r) + ERROR(r)",
        "test_predict.py -k 'equals_reference and colours'",
    ),
    Mutant(
        "C, numbers",
        "nzip/kernel/numbers.inc",
        "return above == -9 ? ONE_ABOVE : DIFFERENT;",
        "return above == -9 ? SAME : DIFFERENT;",
        "test_predict.py -k 'equals_reference and numbers'",
    ),
    Mutant(
        "C, dynamic evaluation",
        "nzip/kernel/dynamic.inc",
        "if (early && position && !(position & (position - 1))) {",
        "if (early && position && position < 64 && !(position & (position - 1))) {",
        "test_predict.py -k 'equals_reference and long'",
    ),
    Mutant(
        "C, dynamic evaluation",
        "nzip/kernel/dynamic.inc",
        "#define LEAST_STEP 32",
        "#define LEAST_STEP 128",
        "test_predict.py -k 'equals_reference and long'",
    ),
]


class Copy:
    """A copy of the tree, for one fault after another."""

    def __init__(self, folder: Path):
        self.root = folder

        def copied(source: str, target: str) -> None:
            if source.endswith((".safetensors", ".windows")):
                os.symlink(source, target)  # large, and never written
            else:
                shutil.copy2(source, target)

        shutil.copytree(ROOT, folder, copy_function=copied, ignore=LEFT_OUT)

    def pytest(self, tests: str, seconds: float = SECONDS) -> tuple[int, str]:
        """The exit code, 0 if all passed, 1 if one failed or took too long, and the output."""
        command = f"{sys.executable} -B -m pytest -q -x -p no:cacheprovider {tests}"
        env = {**os.environ, "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        with subprocess.Popen(
            command,
            shell=True,
            cwd=self.root / "tests",
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                said, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return 1, "it takes too long"
        return process.returncode, said

    def build(self, name: str) -> None:
        """Recompile an extension module, quickly. Raises CalledProcessError."""
        package = self.root / "nzip"
        sources = [path for pattern in MODULES[name] for path in sorted(package.glob(pattern))]
        include = (package, package / "kernel", sysconfig.get_path("include"))
        target = next(package.glob(f"{name}*.so"))
        target.unlink()
        subprocess.run(
            [
                *(os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-w", "-std=c11"),
                *("-fno-strict-aliasing", "-DPy_LIMITED_API=0x030B0000"),
                *(f"-I{path}" for path in include),
                *(self.root / "build" / "nzip" / f"{name}.c", *sources, "-o", target),
            ],
            check=True,
        )

    def verdict(self, mutant: Mutant) -> str:
        """ "caught", "survived", or what is wrong with the mutant."""
        if stale := places(mutant):
            return stale
        path = self.root / mutant.file
        source = path.read_text()
        module = ""
        if path.suffix != ".py":
            stems = {Path(file).stem: m for m, files in MODULES.items() for file in files}
            module = stems.get(path.stem, "_predict")
        libraries = {p: p.read_bytes() for p in (self.root / "nzip").glob(f"{module}*.so")}
        path.write_text(source.replace(mutant.old, mutant.new))
        try:
            if module:
                self.build(module)
            code, said = self.pytest(mutant.tests)
        finally:
            path.write_text(source)
            for library, data in libraries.items() if module else ():
                library.unlink(missing_ok=True)
                library.write_bytes(data)
        if code > 1:
            print(said)
        return {0: "survived", 1: "caught"}.get(code, f"stale: pytest ended with {code}")


def places(mutant: Mutant) -> str:
    """What is wrong with the mutant's place in the source; "" if it stands there once."""
    path = ROOT / mutant.file
    count = path.read_text().count(mutant.old) if path.exists() else 0
    return "" if count == 1 else f"stale: {count} places are like that"


def needs_torch(mutant: Mutant) -> bool:
    return mutant.tests.startswith(("test_train", "test_m2"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    chosen = [m for m in MUTANTS if not args.words or any(w in m.room + m.file for w in args.words)]
    if args.check:
        stale = [f"{m.room}: {m.file}: {m.old!r}: {places(m)}" for m in chosen if places(m)]
        print(*stale, f"{len(chosen)} faults, {len(stale)} of them without a place", sep="\n")
        return int(bool(stale))
    if importlib.util.find_spec("torch") is None:
        chosen = [m for m in chosen if not needs_torch(m)]
    bad = 0
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(args.jobs) as pool:
        free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(args.jobs):
            free.put(Copy(Path(name, str(number))))

        def borrowed(work: Callable[[Copy], Any]) -> Any:
            copy = free.get()
            try:
                return work(copy)
            finally:
                free.put(copy)

        # Tests that fail without any fault would seem to catch them all.
        calls = [m.tests.split(" -k ") for m in chosen]
        names = " ".join(dict.fromkeys(name for name, _ in calls))
        words = " or ".join(dict.fromkeys(f"({words.strip(chr(39))})" for _, words in calls))
        code, said = borrowed(lambda copy: copy.pytest(f"{names} -k '{words}'", SECONDS * 10))
        if code:
            print(f"fails without any fault:\n{said}")
            return 1
        found = [pool.submit(borrowed, lambda copy, m=m: copy.verdict(m)) for m in chosen]
        for mutant, verdict in zip(chosen, found, strict=True):
            text = str(verdict.result())
            accepted = text == "caught" or (text == "survived" and mutant.reason)
            bad += not accepted
            what = " ".join(mutant.new.split()) or f"without {' '.join(mutant.old.split())}"
            print(f"{text:9} {mutant.room}: {mutant.file}: {what}", flush=True)
            if text == "survived" and mutant.reason:
                print(f"          {mutant.reason}")
    print(f"{len(chosen)} faults, {bad} of them need attention")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())

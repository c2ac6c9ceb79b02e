"""Failures while files are written: the input must stay, and nothing half-written may be left.

python tests/loss/errors.py

Everything is tried with buffered and unbuffered standard output (PYTHONUNBUFFERED). Needs root and
mount (a small tmpfs serves as the full disk and the read-only folder), strace, which makes the n-th
call of a kind fail, for every n until the program has no such call left, and a C compiler for short
writes. Skips what this machine cannot do, and says so.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import nzip

TEXT = b" ".join(random.Random(3).choices([b"some", b"words", b"of", b"a", b"text,"], k=60_000))
NZIP = [sys.executable, "-m", "nzip"]


class Unavailable(Exception):
    """Raised with the name of what this machine lacks."""


def run(*args: str | Path, program: list[str] | None = None, **options: object) -> int:
    done = subprocess.run(
        [*(program or NZIP), *map(str, args)], capture_output=True, timeout=300, **options
    )
    code = done.returncode
    if code not in (0, -13):
        lines = done.stderr.decode().strip().splitlines()
        assert len(lines) == 1, done.stderr.decode()
        assert lines[0].startswith("nzip: "), lines[0]
    return code


def same(folder: Path, names: dict[str, bytes]) -> None:
    """Assert that the folder holds these files and nothing else."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found.keys() == names.keys(), sorted(found)
    assert found == names


def mounted(work: Callable[[Path], None], options: str) -> None:
    """Run `work` in a tmpfs."""
    with tempfile.TemporaryDirectory() as name:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", name]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            raise Unavailable("mounting a tmpfs")
        try:
            work(Path(name))
        finally:
            subprocess.run(["umount", name], check=True)


def full_disk() -> str:
    def work(folder: Path) -> None:
        text = random.Random(1).randbytes(400_000)
        (folder / "a").write_bytes(text)
        for options in (["-1"], ["-6"], ["-m", "static"], ["--rm", "-1"]):
            assert run("compress", *options, folder / "a") == 1
            same(folder, {"a": text})
        (folder / "a").unlink()
        packed = nzip.compress(TEXT * 4, level=1)
        (folder / "a.nz").write_bytes(packed)
        assert run("decompress", "--rm", folder / "a.nz") == 1
        same(folder, {"a.nz": packed})
        assert run("tokenize", folder / "a.nz", "-o", folder / "t.bin") in (0, 1)

    mounted(work, "size=600k")
    return "compress and decompress on a full tmpfs: 5 failures"


def unwritable_folder() -> str:
    def work(folder: Path) -> None:
        (folder / "a").write_bytes(TEXT)
        packed = nzip.compress(TEXT, level=1)
        (folder / "b.nz").write_bytes(packed)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        assert run("compress", "--rm", folder / "a") == 1
        assert run("decompress", "--rm", folder / "b.nz") == 1
        same(folder, {"a": TEXT, "b.nz": packed})

    mounted(work, "size=4m")
    return "compress --rm and decompress --rm in a folder mounted read-only"


def read_error() -> str:
    broken = Path("/proc/self/mem")  # reading its first page is an I/O error
    if not broken.exists():
        raise Unavailable("/proc")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assert run("compress", "-f", broken, "-o", folder / "out.nz") == 1
        assert run("decompress", "-f", broken, "-o", folder / "out") == 1
        assert run("tokenize", broken, "-o", folder / "t.bin") == 1
        same(folder, {})
    return "an input that cannot be read: compress, decompress, tokenize"


def full_device() -> str:
    packed = nzip.compress(TEXT, level=1)
    if not Path("/dev/full").exists():
        raise Unavailable("/dev/full")
    with open("/dev/full", "wb") as full:
        for args, data in ((["compress"], TEXT), (["decompress"], packed)):
            done = subprocess.run(
                [*NZIP, *args, "-c"], input=data, stdout=full, stderr=subprocess.PIPE
            )
            assert done.returncode == 1, args
            assert done.stderr.startswith(b"nzip: "), done.stderr
    return "stdout is /dev/full: compress and decompress"


def closed_pipe() -> str:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a"
        path.write_bytes(TEXT * 10)
        for args in (["compress", "-1"], ["compress", "-m", "static", "--rm"]):
            with subprocess.Popen(
                [*NZIP, *args, "-c", str(path)], stdout=subprocess.PIPE
            ) as process:
                assert process.stdout is not None
                process.stdout.read(10)
                process.stdout.close()
                assert process.wait() in (0, -13)
            same(Path(name), {"a": TEXT * 10})
    return "a reader that goes away: compress"


SHORT_WRITES = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
/* At most 1,000 bytes at once, sometimes only one. */
ssize_t write(int fd, const void *data, size_t n) {
    static unsigned calls;
    size_t most = ++calls % 7 ? 1000 : 1;
    return syscall(SYS_write, fd, data, n < most ? n : most);
}
"""


def short_writes() -> str:
    if not shutil.which("cc"):
        raise Unavailable("cc")
    packed = nzip.compress(TEXT, "static")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "short.c").write_text(SHORT_WRITES)
        library = folder / "short.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "short.c"], check=True)
        env = {**os.environ, "LD_PRELOAD": str(library)}
        (folder / "a").write_bytes(TEXT)
        (folder / "a.nz").write_bytes(packed)
        for args in (["compress", "-m", "static"], ["decompress"]):
            source = folder / ("a" if args[0] == "compress" else "a.nz")
            wanted = packed if args[0] == "compress" else TEXT
            done = subprocess.run(
                [*NZIP, *args, "-c", source], env=env, capture_output=True, check=True
            )
            assert done.stdout == wanted, args
            assert run(*args, source, "-o", folder / "out", env=env) == 0
            assert (folder / "out").read_bytes() == wanted, args
            (folder / "out").unlink()
        bytes_of = ["tokenize", folder / "a", "--tokenization", "bytes", "-o", folder / "t.bin"]
        assert run(*bytes_of, env=env) == 0
        assert (folder / "t.bin").read_bytes() == TEXT
        assert run("detokenize", folder / "t.bin", "-o", folder / "out", env=env) == 0
        assert (folder / "out").read_bytes() == TEXT
        sample = ["sample", "-n", "3000", "--seed", "1", "--model", "nano-3"]
        texts = [
            subprocess.run([*NZIP, *sample], env=e, capture_output=True, check=True).stdout
            for e in (env, None)
        ]
        assert len(texts[0]) == 3000, len(texts[0])
        assert texts[0] == texts[1]
    return "writes that take 1 to 1,000 bytes: compress, decompress, tokenize, detokenize, sample"


def failing_calls() -> str:
    if not shutil.which("strace"):
        raise Unavailable("strace")
    probe = ["strace", "-qq", "-o", "/dev/null", "true"]
    if subprocess.run(probe, capture_output=True).returncode:
        raise Unavailable("strace")
    packed = nzip.compress(TEXT, level=1)
    failures = 0
    calls = {
        **{
            "write": ("ENOSPC", "EIO"),
            "fsync": ("EIO",),
            "rename": ("EACCES",),
            "link,linkat": ("EPERM", "ENOSPC"),
            "unlink": ("EPERM",),
        },
        **{"fchmod": ("EPERM",), "utimensat": ("EPERM",), "read": ("EIO",), "openat": ("EMFILE",)},
    }
    for command, name, content in (("compress", "a", TEXT), ("decompress", "a.nz", packed)):
        for call, errors in calls.items():
            for error in errors:
                count = _until_it_passes(command, name, content, call, error)
                assert count or call == "rename", f"{command}: no {call} was made to fail"
                failures += count
    return f"one system call made to fail, each in turn: {failures} failures"


def _until_it_passes(command: str, name: str, content: bytes, call: str, error: str) -> int:
    """Make the n-th call fail, for n from 1 on; returns how many failed. If the interpreter makes
    such calls too, only those on paths in the folder fail."""
    failures = 0
    for n in range(1, 200):
        with tempfile.TemporaryDirectory() as where:
            folder = Path(where)
            (folder / name).write_bytes(content)
            inject = ["strace", "-f", "-qq", "-o", str(folder / "trace")]
            inject += ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={n}"]
            options = [command, "--rm", "-q", *(["-1"] if command == "compress" else [])]
            if call in ("read", "openat"):
                inject += [
                    f"--trace-path={path}" for path in (folder, folder / "a", folder / "a.nz")
                ]
            done = subprocess.run(
                [*inject, *NZIP, *options, str(folder / name)], capture_output=True
            )
            failed = "(INJECTED)" in (folder / "trace").read_text()
            (folder / "trace").unlink()
            left = {path.name: path.read_bytes() for path in folder.iterdir()}
            whole = left.get("a") == TEXT or (
                "a.nz" in left and nzip.decompress(left["a.nz"]) == TEXT
            )
            assert whole, f"{command}: {call} {n} {error}: lost, {sorted(left)}"
            other = set(left) - {"a", "a.nz"}
            assert not other or call == "unlink", f"{command}: {call} {n} {error}: {other} left"
            if not failed:
                assert done.returncode == 0, done.stderr.decode()
                return failures
            failures += 1
    raise AssertionError("the program never passes")


def main() -> int:
    scenarios = (
        full_disk,
        unwritable_folder,
        read_error,
        full_device,
        closed_pipe,
        short_writes,
        failing_calls,
    )
    left_out = 0
    for unbuffered in ("", "1"):
        os.environ["PYTHONUNBUFFERED"] = unbuffered
        print("unbuffered output:" if unbuffered else "buffered output:")
        for scenario in scenarios:
            try:
                print(f"nothing lost: {scenario()}", flush=True)
            except Unavailable as reason:
                left_out += 1
                print(f"skipped, not available here: {scenario.__name__} ({reason})")
    return 0 if left_out < 2 * len(scenarios) else 1


if __name__ == "__main__":
    sys.exit(main())

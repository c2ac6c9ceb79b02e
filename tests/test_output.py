"""Output is complete or absent: short writes, full disks, links, devices, races, memory."""

import io
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from types import SimpleNamespace

import pytest
from conftest import ENGLISH

import nzip
from nzip import atomic, frame
from nzip.cli import job as jobs

NZIP = [sys.executable, "-m", "nzip"]
SETTINGS = [{}, {"PYTHONUNBUFFERED": "1"}]


class OneByte(io.RawIOBase):
    """Accepts one byte of each write, occasionally none."""

    def __init__(self):
        self.data = bytearray()
        self.calls = 0

    def writable(self):
        return True

    def write(self, data):
        self.calls += 1
        self.data += bytes(data[:1])
        return min(1, len(data))


class NoResult:
    """A file object whose only method is a ``write`` that returns nothing."""

    def __init__(self):
        self.data = bytearray()

    def write(self, data):
        self.data += data


def test_write_all_goes_on_after_short_writes():
    stream = OneByte()
    atomic.write_all(stream, ENGLISH)
    assert (bytes(stream.data), stream.calls) == (ENGLISH, len(ENGLISH))
    other = NoResult()
    atomic.write_all(other, memoryview(ENGLISH))
    assert bytes(other.data) == ENGLISH


def test_write_all_waits_for_a_pipe_that_does_not_block():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    text = ENGLISH * 2000
    got = bytearray()

    def read():
        while data := os.read(reader, 4096):
            got.extend(data)

    thread = threading.Thread(target=read)
    thread.start()
    with open(writer, "wb", buffering=0) as stream:
        atomic.write_all(stream, text)
    thread.join()
    os.close(reader)
    assert bytes(got) == text


@pytest.mark.parametrize("stream", [OneByte, NoResult])
def test_files_write_all_to_any_file_object(stream):
    target = stream()
    with nzip.NzipFile(target, "wb", method="static") as file:
        file.write(ENGLISH)
    assert nzip.decompress(bytes(target.data)) == ENGLISH


def limited(size):
    """For a child: limits files to ``size`` bytes; a write past that is cut short, then fails."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("env", SETTINGS, ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "args",
    [
        ["-dc", "big.nz"],
        ["compress", "-m", "static", "-c", "noise"],
        ["decompress", "big.nz", "-o", "out"],
        ["tokenize", "noise", "-o", "out.bin", "--tokenization", "bytes"],
        ["detokenize", "made.bin", "-o", "out"],
        ["sample", "-n", "30000", "--model", "nano-3"],
    ],
    ids=lambda args: args[0],
)
def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path, args, env):
    noise = os.urandom(300_000)
    (tmp_path / "noise").write_bytes(noise)
    (tmp_path / "big.nz").write_bytes(nzip.compress(noise, "static"))
    make = [*NZIP, "tokenize", "noise", "-o", "made.bin", "--tokenization", "bytes"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    before = {path.name for path in tmp_path.iterdir()}
    with (tmp_path / "stdout").open("wb") as stdout:
        done = subprocess.run(
            [*NZIP, *args],
            cwd=tmp_path,
            env={**os.environ, **env},
            stdout=stdout,
            stderr=subprocess.PIPE,
            preexec_fn=limited(10_000),
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"File too large" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == before | {"stdout"}


@pytest.mark.parametrize("env", SETTINGS, ids=["buffered", "unbuffered"])
def test_version_into_a_full_device(env):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*NZIP, "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, **env},
            check=False,
        )
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors(tmp_path, closed):
    """No traceback, and no file that reuses the number of a closed descriptor."""
    (tmp_path / "x").write_bytes(ENGLISH)
    for command in ("compress x -f", "-c x", "", "--version"):
        line = f"{sys.executable} -m nzip {command} {closed}"
        done = subprocess.run(
            line,
            shell=True,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        assert b"Traceback" not in done.stderr
        needs_stdout = command in ("-c x", "")
        wrong = (needs_stdout and ">&-" in closed.split("2")[0]) or (not command and "<" in closed)
        assert done.returncode == int(wrong), (line, done.stderr)
    assert (tmp_path / "x").read_bytes() == ENGLISH
    assert nzip.decompress((tmp_path / "x.nz").read_bytes()) == ENGLISH


def test_devices_fifos_and_links_are_written_through(nzip_cli, tmp_path):
    (tmp_path / "x").write_bytes(ENGLISH)
    assert nzip_cli("compress", "-f", "x", "-o", "/dev/null").returncode == 0
    assert nzip_cli("compress", "x", "-o", "/dev/null").returncode == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    assert nzip_cli("compress", "x", "-o", "link").returncode == 1
    assert nzip_cli("compress", "-f", "x", "-o", "link").returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert nzip.decompress((tmp_path / "target").read_bytes()) == ENGLISH
    (tmp_path / "dangling").symlink_to("nowhere")
    assert nzip_cli("compress", "x", "-o", "dangling").returncode == 1
    assert not (tmp_path / "nowhere").exists()
    assert nzip_cli("compress", "-f", "x", "-o", "dangling").returncode == 0
    assert nzip.decompress((tmp_path / "nowhere").read_bytes()) == ENGLISH
    os.mkfifo(tmp_path / "fifo")
    got = []
    thread = threading.Thread(target=lambda: got.append((tmp_path / "fifo").read_bytes()))
    thread.start()
    assert nzip_cli("compress", "x", "-o", "fifo").returncode == 0
    thread.join()
    assert nzip.decompress(got[0]) == ENGLISH
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path, monkeypatch, links):
    if not links:  # a file system without hard links
        monkeypatch.setattr(os, "link", lambda *a: (_ for _ in ()).throw(PermissionError()))
    target = tmp_path / "x"
    writing = atomic.atomic_output(target, replace=False)
    stream = writing.__enter__()
    stream.write(b"mine")
    target.write_bytes(b"theirs")
    with pytest.raises(FileExistsError, match="already exists"):
        writing.__exit__(None, None, None)
    assert target.read_bytes() == b"theirs"
    target.unlink()
    with atomic.atomic_output(target, replace=False) as stream:
        stream.write(b"mine")
    assert target.read_bytes() == b"mine"
    with atomic.atomic_output(target, replace=True) as stream:
        stream.write(b"newer")
    assert target.read_bytes() == b"newer"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.slow
def test_two_processes_that_write_one_name(tmp_path):
    (tmp_path / "x").write_bytes(ENGLISH * 3000)
    both = [
        subprocess.Popen([*NZIP, "-1", "x"], cwd=tmp_path, stderr=subprocess.PIPE) for _ in range(2)
    ]
    messages = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert b"already exists" in b"".join(messages)
    assert nzip.decompress((tmp_path / "x.nz").read_bytes()) == ENGLISH * 3000


def test_the_file_is_synced_before_it_is_renamed_and_the_input_removed_last(tmp_path, monkeypatch):
    calls = []

    def noted(name, real):
        def call(*args, **kwargs):
            calls.append((name, os.fspath(args[0]) if name != "fsync" else ""))
            return real(*args, **kwargs)

        return call

    for name in ("fsync", "link", "unlink"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    source = tmp_path / "x"
    source.write_bytes(ENGLISH)
    job = jobs.Job(lambda: nzip.Compressor("static"), remove=True)
    monkeypatch.setattr(type(source), "unlink", lambda path: os.unlink(path))
    job.to_file(source, None, tmp_path / "x.nz", jobs.Sizes())
    names = [name for name, _ in calls]
    assert names == ["fsync", "link", "unlink", "fsync", "unlink"]
    assert calls[-1][1] == str(source)


def test_a_temporary_file_is_its_owners_alone(tmp_path):
    with atomic.atomic_output(tmp_path / "x") as stream:
        assert stat.S_IMODE(os.fstat(stream.fileno()).st_mode) == 0o600
        stream.write(b"x")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask


def test_an_input_is_kept_unless_the_output_holds_it(tmp_path, monkeypatch):
    source = tmp_path / "x"
    source.write_bytes(ENGLISH)
    monkeypatch.setattr(jobs, "_fingerprint", lambda chunks: (len(list(chunks)), id(chunks)))
    job = jobs.Job(lambda: nzip.Compressor("static"), remove=True)
    with pytest.raises(nzip.NzipError, match="the input is kept"):
        job.to_file(source, None, tmp_path / "x.nz", jobs.Sizes())
    assert source.read_bytes() == ENGLISH


def test_output_and_input_are_compared_byte_by_byte(tmp_path):
    """The comparison is by length and CRC, whatever the sizes of the reads."""
    plain, packed = tmp_path / "x", tmp_path / "x.nz"
    packed.write_bytes(nzip.compress(ENGLISH * 2000, "static"))
    job = jobs.Job(lambda: nzip.Compressor("static"))
    plain.write_bytes(ENGLISH * 2000)
    job._verify(plain, packed, jobs.Sizes())
    for other in (ENGLISH * 1999 + ENGLISH.upper(), ENGLISH * 1999):
        plain.write_bytes(other)
        with pytest.raises(nzip.NzipError, match="differs from the input"):
            job._verify(plain, packed, jobs.Sizes())


def test_an_output_that_is_there_is_noticed_before_any_work(tmp_path):
    (tmp_path / "x").write_bytes(ENGLISH)
    (tmp_path / "x.nz").write_bytes(b"precious")
    job = jobs.Job(lambda: pytest.fail("work was begun"))
    with pytest.raises(FileExistsError, match="already exists"):
        job.to_file(tmp_path / "x", None, tmp_path / "x.nz", jobs.Sizes())
    assert (tmp_path / "x.nz").read_bytes() == b"precious"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o777, 0o600])
def test_where_a_group_cannot_be_set_nobody_gains_rights(tmp_path, monkeypatch, mode):
    def refuse(*args):
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refuse)
    like = tmp_path / "like"
    like.write_bytes(b"")
    like.chmod(mode)
    names = ("st_mode", "st_atime_ns", "st_mtime_ns")
    values = {name: getattr(like.stat(), name) for name in names}
    status = SimpleNamespace(**values, st_uid=12345, st_gid=54321)
    with atomic.atomic_output(tmp_path / "x", status) as stream:
        stream.write(b"x")
    both = mode >> 3 & mode & 7
    wanted = mode & 0o700 | both << 3 | both
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == wanted
    assert wanted == {0o644: 0o644, 0o640: 0o600, 0o604: 0o600, 0o777: 0o777, 0o600: 0o600}[mode]


def bomb(blocks):
    """A few bytes that decode to ``blocks`` times 64 MiB."""
    header = frame.Header(frame.STATIC).pack()
    out, crc, run = [header], 0, bytes(frame.MAX_BLOCK)
    for index in range(blocks):
        seed = frame.block_seed(header, b"", index)
        last = index == blocks - 1
        out.append(frame.pack_block(frame.RUN, last, frame.MAX_BLOCK, b"\0", seed))
        if blocks < 10:
            crc = nzip.stream.crc32(run, crc)
    return b"".join(out) + frame.pack_check(crc, blocks * frame.MAX_BLOCK)


def test_memory_is_bounded_by_the_blocks_in_work():
    data = bomb(50)  # 3.1 GiB
    tracemalloc.start()
    try:
        decompressor = nzip.Decompressor(threads=2)
        assert decompressor.decompress(data, 10) == bytes(10)
        assert not decompressor.needs_input
        assert decompressor.decompress(b"", 5_000_000) == bytes(5_000_000)
        with nzip.open(io.BytesIO(data), threads=2) as file:
            assert file.read(1) == b"\0"
            assert file.seek(50_000_000) == 50_000_000
        chunks = nzip.stream.decompress_chunks(io.BytesIO(data).read, threads=2)
        assert len(next(chunks)) <= nzip.stream.CHUNK
        chunks.close()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * frame.MAX_BLOCK


def test_the_first_block_comes_out_before_the_second_is_read():
    """The first bytes of a long stream arrive early."""
    text = ENGLISH * 600
    packed = nzip.compress(text, level=1, block_size=1 << 16)  # two blocks
    second = len(nzip.compress(text[: 1 << 16], level=1)) + 100

    source = io.BytesIO(packed[:second])

    def read(size):
        data = source.read(size)
        assert data, "more was asked for before the first block came out"
        return data

    chunk = next(nzip.stream.decompress_chunks(read, threads=1))
    assert text.startswith(chunk)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_signals_do_not_wait_for_the_block(tmp_path, number, threads):
    """Waiting for a block of level 9 would take minutes."""
    (tmp_path / "x").write_bytes(os.urandom(100) + ENGLISH * 60_000)
    process = subprocess.Popen(
        [*NZIP, "-9", "-T", threads, "x"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    while not list(tmp_path.glob(".nzip-*.tmp")):
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(number)
    assert process.communicate(timeout=20)[1] == b""
    assert process.returncode == -number
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_keyboard_interrupt_comes_at_once_and_drops_the_work():
    script = (
        "import os, signal, threading, nzip\n"
        "stop = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
        "compressor = nzip.Compressor(level=9, threads=2)\n"
        f"text = {ENGLISH!r} * 160_000\n"
        "try:\n"
        "    threading.Timer(0.3, stop).start()  # when the work has begun, on a slow machine too\n"
        "    compressor.compress(text); compressor.flush()\n"
        "except KeyboardInterrupt:\n"
        "    compressor.close()\n"
        "    print('stopped')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        timeout=20,
        check=False,
        # The runner itself may have been started with the signal ignored (nohup, a shell's &).
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (done.stdout, done.returncode) == (b"stopped\n", 0)

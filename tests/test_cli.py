"""The program as users and other programs run it: real processes, files and pipes."""

import contextlib
import json
import os
import pty
import select
import signal
import stat
import subprocess
import sys
import time

import pytest
from conftest import CODE, ENGLISH, TEXTS

import nzip
from nzip.cli import program

NZIP = [sys.executable, "-m", "nzip"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(ENGLISH * 3)
    return path


def ok(result, stderr=b""):
    assert (result.returncode, result.stderr) == (0, stderr)
    return result.stdout


def failed(result, *words, code=1):
    """Assert one clear line on stderr, and the exit code."""
    message = result.stderr.decode()
    assert result.returncode == code, message
    assert message.startswith("nzip: ")
    assert message.count("\n") == 1
    assert all(word in message for word in words), message


def test_compress_keeps_the_input_and_decompress_restores_it(nzip_cli, text, tmp_path):
    ok(nzip_cli("compress", "file.txt"))
    assert text.exists()
    assert (tmp_path / "file.txt.nz").stat().st_size < text.stat().st_size
    text.unlink()
    ok(nzip_cli("decompress", "file.txt.nz"))
    assert text.read_bytes() == ENGLISH * 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.txt", "file.txt.nz"]


@pytest.mark.parametrize("mode", [["-m", "eqinfo", "--window", "16"], ["-m", "static"], ["-9"]])
def test_modes_and_levels(nzip_cli, text, mode):
    packed = ok(nzip_cli("compress", "file.txt", *mode, "-c"))
    assert nzip.decompress(packed) == ENGLISH * 3
    assert ok(nzip_cli("decompress", stdin=packed)) == ENGLISH * 3


@pytest.mark.parametrize("args", [[], ["-"], ["-9"], ["-1", "-c"], ["-5cT2"], ["compress"]])
def test_filter_mode_compresses(nzip_cli, args):
    packed = ok(nzip_cli(*args, stdin=ENGLISH))
    assert nzip.decompress(packed) == ENGLISH
    assert ok(nzip_cli("-d", stdin=packed)) == ENGLISH
    assert ok(nzip_cli("-9", "-d", stdin=packed)) == ENGLISH  # as tar -I 'nzip -9' calls it
    assert ok(nzip_cli("-dc", stdin=packed)) == ENGLISH
    assert ok(nzip_cli("-t", stdin=packed)) == b""


def test_filter_mode_works_on_files(nzip_cli, text, tmp_path):
    ok(nzip_cli("-3k", "file.txt"))
    ok(nzip_cli("-t", "file.txt.nz"))
    ok(nzip_cli("-df", "file.txt.nz"))
    assert text.read_bytes() == ENGLISH * 3


def test_tar_uses_nzip_as_its_compressor(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    for name in ("log", "code"):
        (folder / name).write_bytes(TEXTS[name])
    program = tmp_path / "nzip"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m nzip "$@"\n')
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for name in ("nzip", "nzip -9"):
        archive = tmp_path / "x.tar.nz"
        subprocess.run(["tar", "-I", name, "-cf", archive, "d"], cwd=tmp_path, env=env, check=True)
        listed = subprocess.run(
            ["tar", "-I", name, "-tf", archive], env=env, check=True, capture_output=True
        ).stdout
        assert listed.split() == [b"d/", b"d/code", b"d/log"] or set(listed.split()) == {
            b"d/",
            b"d/code",
            b"d/log",
        }
        script = f"tar c d | {name} | {name} -d | tar t"
        listed = subprocess.run(
            script, shell=True, cwd=tmp_path, env=env, check=True, capture_output=True
        ).stdout
        assert len(listed.split()) == 3


def test_a_reader_that_closes_the_pipe_ends_nzip_by_sigpipe(tmp_path):
    (tmp_path / "big.nz").write_bytes(nzip.compress(os.urandom(3_000_000), "static"))
    with subprocess.Popen(
        [*NZIP, "decompress", "-c", tmp_path / "big.nz"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr is not None
        message = process.stderr.read()
        assert process.wait(60) == -signal.SIGPIPE
    assert message == b""


def test_mode_and_time_of_the_file_are_carried_over(nzip_cli, text, tmp_path):
    text.chmod(0o642)
    os.utime(text, ns=(10**18, 1_600_000_000_123_456_789))
    ok(nzip_cli("compress", "file.txt"))
    packed = (tmp_path / "file.txt.nz").stat()
    assert stat.S_IMODE(packed.st_mode) == 0o642
    assert packed.st_mtime_ns == 1_600_000_000_123_456_789
    text.unlink()
    ok(nzip_cli("decompress", "file.txt.nz"))
    assert text.stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert stat.S_IMODE(text.stat().st_mode) == 0o642


def test_existing_output_is_kept_without_force(nzip_cli, text, tmp_path):
    target = tmp_path / "file.txt.nz"
    target.write_bytes(b"precious")
    failed(nzip_cli("compress", "file.txt"), "file.txt.nz", "already exists")
    assert target.read_bytes() == b"precious"
    ok(nzip_cli("compress", "-f", "file.txt"))
    assert nzip.decompress(target.read_bytes()) == ENGLISH * 3


def test_force_with_a_missing_or_bad_source_keeps_the_target(nzip_cli, tmp_path):
    target = tmp_path / "gone.nz"
    target.write_bytes(b"precious")
    failed(nzip_cli("compress", "-f", "gone"), "gone", "No such file")
    assert target.read_bytes() == b"precious"
    (tmp_path / "bad.nz").write_bytes(nzip.compress(ENGLISH)[:-5])
    (tmp_path / "bad").write_bytes(b"precious")
    failed(nzip_cli("decompress", "-f", "bad.nz"), "bad.nz", "ends inside a frame")
    assert (tmp_path / "bad").read_bytes() == b"precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "bad.nz", "gone.nz"]


def test_input_as_output_is_refused(nzip_cli, text):
    failed(nzip_cli("compress", "-f", "file.txt", "-o", "file.txt"), "same file")
    assert text.read_bytes() == ENGLISH * 3


def test_rm_removes_the_input_after_verifying(nzip_cli, text, tmp_path):
    ok(nzip_cli("compress", "--rm", "file.txt"))
    assert not text.exists()
    ok(nzip_cli("decompress", "--rm", "file.txt.nz"))
    assert text.read_bytes() == ENGLISH * 3
    assert not (tmp_path / "file.txt.nz").exists()


def test_rm_never_removes_what_went_to_stdout_or_was_only_tested(nzip_cli, text, tmp_path):
    ok(nzip_cli("compress", "--rm", "-c", "file.txt"))
    assert text.exists()
    ok(nzip_cli("compress", "file.txt"))
    ok(nzip_cli("test", "file.txt.nz"))
    assert (tmp_path / "file.txt.nz").exists()


def test_suffixes(nzip_cli, text, tmp_path):
    (tmp_path / "a.nz").write_bytes(b"x")
    failed(nzip_cli("compress", "a.nz"), "a.nz", "already has the suffix .nz")
    failed(nzip_cli("decompress", "file.txt"), "unknown suffix .txt", "-o")
    (tmp_path / "t.tnz").write_bytes(nzip.compress(b"tape"))
    ok(nzip_cli("decompress", "t.tnz"))
    assert (tmp_path / "t.tar").read_bytes() == b"tape"
    (tmp_path / "odd").write_bytes(nzip.compress(b"odd name"))
    ok(nzip_cli("decompress", "odd", "-o", "out"))
    assert (tmp_path / "out").read_bytes() == b"odd name"
    assert ok(nzip_cli("decompress", "-c", "odd")) == b"odd name"


def test_several_files_go_on_after_an_error(nzip_cli, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(ENGLISH)
    failed(nzip_cli("compress", "a", "missing", "b"), "missing")
    assert (tmp_path / "a.nz").exists()
    assert (tmp_path / "b.nz").exists()


def test_folders_links_and_devices_are_left_alone(nzip_cli, text, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "inner").write_bytes(ENGLISH)
    (tmp_path / "link").symlink_to(text)
    failed(nzip_cli("compress", "folder"), "a folder")
    failed(nzip_cli("compress", "link"), "symbolic link")
    failed(nzip_cli("compress", "/dev/null", "-o", "x"), "not a regular file")
    ok(nzip_cli("compress", "-r", "folder"))
    assert (folder / "inner.nz").exists()
    ok(nzip_cli("compress", "-f", "link"))
    assert nzip.decompress((tmp_path / "link.nz").read_bytes()) == ENGLISH * 3
    (folder / "inner").unlink()
    ok(nzip_cli("decompress", "-r", "folder"))
    assert (folder / "inner").read_bytes() == ENGLISH


def test_usage_errors_exit_with_2(nzip_cli, text):
    for args in (
        ["compress", "--no-such-option"],
        ["compress", "--output-dir-flat", "x", "-c", "file.txt"],
        ["compress", "-o", "x", "file.txt", "file.txt"],
        ["compress", "-m", "zip", "file.txt"],
        ["compress", "-w", "7", "file.txt"],
        ["decompress", "--max-size", "7X", "file.txt"],
        ["info"],
    ):
        result = nzip_cli(*args)
        assert result.returncode == 2, args
        assert b"Usage" in result.stderr


def test_bad_data_exit_with_1_and_one_line(nzip_cli, text, tmp_path):
    failed(nzip_cli("decompress", stdin=b"not compressed"), "(stdin)", "not an nzip file")
    failed(nzip_cli("decompress", stdin=b""), "empty")
    failed(nzip_cli("test", "file.txt"), "file.txt", "not an nzip file")
    failed(nzip_cli("compress", "--model", "nothing", "file.txt"), "no model named nothing")
    failed(nzip_cli("compress", "--model", "./nothing", "file.txt"), "no model file")
    failed(nzip_cli("compress", "--model", str(text), "file.txt"), "not a model file")
    assert not (tmp_path / "file.txt.nz").exists()


def test_max_size_bounds_the_output(nzip_cli):
    bomb = nzip.compress(bytes(50_000_000))
    failed(nzip_cli("decompress", "--max-size", "10M", stdin=bomb), "limit of 10485760 bytes")


def test_damaged_input_on_a_pipe_gives_only_verified_blocks(nzip_cli):
    plain = b"0123456789" * 120_000
    packed = nzip.compress(plain, "static")
    result = nzip_cli("decompress", stdin=packed[:-10])
    failed(result, "ends inside a frame")
    assert plain.startswith(result.stdout)
    assert len(result.stdout) == 1 << 20


def test_verbose_and_compare_say_sizes_and_baselines(nzip_cli, text):
    for option, words in (("-v", ()), ("--compare", ("gzip -9", "zstd -19"))):
        result = nzip_cli("compress", "-f", option, "file.txt")
        line = result.stderr.decode()
        assert line.count("\n") == 1
        assert all(word in line for word in ("ratio", "bpb", *words)), line
        assert bool(words) == ("gzip" in line)
    assert ok(nzip_cli("compress", "-fq", "file.txt")) == b""
    assert b"ratio" in nzip_cli("decompress", "-fv", "file.txt.nz").stderr


def test_info_reads_headers(nzip_cli, text):
    ok(nzip_cli("compress", "file.txt", "-m", "eqinfo", "-w", "24"))
    row = json.loads(ok(nzip_cli("info", "--json", "file.txt.nz")))
    assert row["content"] == len(ENGLISH * 3)
    assert (row["frames"], row["blocks"]) == (1, 1)
    assert row["modes"] == ["eqinfo w=24"]
    assert row["models"] == ["windows-3"]
    assert b"eqinfo" in ok(nzip_cli("info", "file.txt.nz"))
    failed(nzip_cli("info", "file.txt"), "not an nzip file")


def test_levels_and_threads_from_the_environment(nzip_cli):
    for env in ({"NZIP_LEVEL": "1"}, {"NZIP_THREADS": "1"}):
        assert nzip.decompress(ok(nzip_cli("compress", stdin=ENGLISH, env=env))) == ENGLISH


def run_in_terminal(args, stdin=None):
    """Run with stdout and stderr on a pseudo-terminal; (exit code, what the terminal showed)."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*NZIP, *args], stdin=stdin or follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    shown = b""
    while True:
        ready, _, _ = select.select([leader], [], [], 60)
        try:
            data = os.read(leader, 4096) if ready else b""
        except OSError:
            data = b""
        if not data:
            break
        shown += data
    os.close(leader)
    return process.wait(60), shown.decode()


def test_binary_is_not_written_to_a_terminal(text):
    code, shown = run_in_terminal(["compress", "-c", str(text)])
    assert code == 1
    assert "terminal" in shown
    code, shown = run_in_terminal(["decompress"])
    assert code == 1
    assert "terminal" in shown
    code, shown = run_in_terminal([])
    assert code == 0
    assert "Usage" in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_nothing_behind(tmp_path, number):
    source = tmp_path / "big"
    source.write_bytes(TEXTS["english"] * 4000)
    process = subprocess.Popen(
        [*NZIP, "compress", source],
        stderr=subprocess.PIPE,
        # The runner itself may have been started with the signal ignored (nohup, a shell's &).
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".nzip-*.tmp")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    assert process.stderr is not None
    message = process.stderr.read()
    assert process.wait(60) == -number
    assert message == b""
    assert [p.name for p in tmp_path.iterdir()] == ["big"]


def test_a_signal_before_a_block_begins_leaves_nothing_behind(tmp_path, monkeypatch):
    manager, found = contextlib._GeneratorContextManager, []
    enter = manager.__enter__

    def interrupted(self):
        stream = enter(self)
        if self.gen.gi_code.co_name == "atomic_output":
            found.extend(tmp_path.glob(".nzip-*"))
            raise program.Signalled(signal.SIGTERM)
        return stream

    def kill(_process, _number):
        found.extend(tmp_path.glob(".nzip-*"))

    monkeypatch.setattr(manager, "__enter__", interrupted)
    monkeypatch.setattr(os, "kill", kill)
    (tmp_path / "small").write_bytes(b"text")
    assert program.main(["compress", str(tmp_path / "small")]) == 128 + signal.SIGTERM
    assert len(found) == 1  # it was there, and then it was not


def test_an_ignored_signal_stays_ignored(tmp_path):
    source = tmp_path / "small"
    source.write_bytes(TEXTS["english"] * 200)
    script = 'trap "" HUP; exec "$@"'
    process = subprocess.Popen(["sh", "-c", script, "sh", *NZIP, "compress", source])
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("*small*nz*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 0
    assert (tmp_path / "small.nz").exists()


def test_unwritable_folder_and_full_disk_are_one_line(nzip_cli, text, tmp_path):
    failed(nzip_cli("compress", "file.txt", "-o", "no/such/folder/x"), "No such file")
    if os.path.exists("/dev/full"):
        with open("/dev/full", "wb") as full:
            result = subprocess.run(
                [*NZIP, "compress", "-c", text], stdout=full, stderr=subprocess.PIPE, check=False
            )
        assert result.returncode == 1
        assert b"No space left" in result.stderr
        assert result.stderr.count(b"\n") == 1


def test_bench_reports_every_codec_and_verifies(nzip_cli, text):
    rows = json.loads(ok(nzip_cli("bench", "--json", "file.txt")))
    names = {row["codec"] for row in rows}
    assert {"nzip ac", "nzip static", "nzip eqinfo 16", "nzip eqinfo 32"} < names
    assert {"gzip -9", "zstd -3", "zstd -19", "xz -9e"} < names
    assert all(row["verified"] for row in rows)
    assert {row["file"] for row in rows} == {"file.txt", "total"}
    csv = ok(nzip_cli("bench", "--csv", "--only", "gzip -9,nzip static", ".")).decode()
    assert csv.splitlines()[0].startswith("file,codec,size,compressed,ratio,bpb")
    assert "| gzip -9 |" in ok(nzip_cli("bench", "--markdown", "file.txt")).decode()
    assert b"verified" in ok(nzip_cli("bench", "--only", "zstd -3", "file.txt"))
    failed(nzip_cli("bench", "--only", "rar", "file.txt"), "no such compressor: rar")


def test_bench_has_rows_with_a_prior(nzip_cli, text, tmp_path):
    (tmp_path / "samples").write_bytes(ENGLISH)
    only = "nzip -1 -D,nzip ac,zstd -19 -D,zstd -19"
    args = ["bench", "--json", "--level", "1", "-D", "samples", "--only", only, "file.txt"]
    rows = {row["codec"]: row for row in json.loads(ok(nzip_cli(*args))) if row["file"] != "total"}
    assert list(rows) == only.split(",")
    assert all(row["verified"] for row in rows.values())
    assert rows["nzip -1 -D"]["compressed"] < rows["nzip ac"]["compressed"]
    assert rows["zstd -19 -D"]["compressed"] < rows["zstd -19"]["compressed"]
    rows = json.loads(ok(nzip_cli(*args, "--adjusted")))
    sizes = {row["codec"]: row["compressed"] for row in rows if row["file"] == "total"}
    assert (
        sizes["zstd -19 -D"]
        == sizes["zstd -19"] - rows[3]["compressed"] + len(ENGLISH) + (rows[2]["compressed"])
    )
    failed(nzip_cli("bench", "--only", "zstd -19 -D", "file.txt"), "no such compressor")


@pytest.mark.slow
def test_bench_draws_the_frontier(nzip_cli, text, tmp_path):
    pytest.importorskip("matplotlib")
    only = "nzip -1,nzip -2,gzip -1,bzip2 -9"
    ok(nzip_cli("bench", "--plot", "frontier.png", "--only", only, "file.txt"))
    assert (tmp_path / "frontier.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "names"),
    [
        ("nzip ac", {"small-3", "tables-3"}),
        ("nzip -1", {"nano-3", "tables-3"}),
        ("nzip -9", {"large-3", "tables-3"}),
        ("nzip eqinfo 16", {"windows-3", "tables-3"}),
        ("nzip static", set()),
        ("zstd -19", set()),
    ],
)
def test_bench_adjusted_counts_what_the_decoder_needs(nzip_cli, text, codec, names):
    def total(*args):
        rows = json.loads(ok(nzip_cli("bench", "--json", "--only", codec, *args, "file.txt")))
        return rows[-1]["compressed"]

    from nzip import models

    files = [models.SHIPPED / f"{name}.safetensors" for name in names]
    assert total("--adjusted") - total() == sum(file.stat().st_size for file in files)


def test_bench_fails_loudly_when_a_round_trip_does(tmp_path, monkeypatch, capsys):
    """One of two files decodes to a changed byte, with its length unchanged."""
    from nzip.bench import runner

    (tmp_path / "a").write_bytes(ENGLISH)
    (tmp_path / "b").write_bytes(CODE)
    codec = runner.Codec("broken", bytes, lambda data: data.replace(b"total", b"Total"))
    monkeypatch.setattr(runner, "codecs", lambda **options: [codec])
    assert program._guarded(["bench", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert shown.err.count("the round trip failed") == 2  # of the file and of the total
    assert "1 of 3 rows verified" in shown.out


def test_a_signal_while_the_temporary_file_is_made_leaves_nothing(tmp_path, monkeypatch):
    from nzip import atomic

    real = os.open

    def interrupted(*args, **options):
        os.close(real(*args, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "open", interrupted)
    with pytest.raises(KeyboardInterrupt), atomic.atomic_output(tmp_path / "out", None):
        raise AssertionError("not reached")
    assert list(tmp_path.iterdir()) == []


def test_a_prior_from_samples_to_files(nzip_cli, tmp_path):
    lines = [b'{"id": %d, "event": "%s"}' % (i * 7919, b"login") for i in range(300)]
    (tmp_path / "samples.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    (tmp_path / "new.jsonl").write_bytes(b'{"id": 5, "event": "login"}\n')
    ok(nzip_cli("prior", "samples.jsonl", "-o", "p.prior", "--size", "4K"))
    ok(nzip_cli("compress", "-D", "p.prior", "new.jsonl"))
    assert (tmp_path / "new.jsonl.nz").stat().st_size < 28
    ok(nzip_cli("test", "-D", "p.prior", "new.jsonl.nz"))
    row = json.loads(ok(nzip_cli("info", "--json", "new.jsonl.nz")))
    assert row["priors"] == [nzip.Prior(tmp_path / "p.prior").digest.hex()[:4]]
    want = (tmp_path / "new.jsonl").read_bytes()
    assert ok(nzip_cli("-dc", "-D", "p.prior", "new.jsonl.nz")) == want
    assert ok(nzip_cli("decompress", "--recover", "-D", "p.prior", "-c", "new.jsonl.nz")) == want
    failed(nzip_cli("test", "new.jsonl.nz"), "the prior", "-D")
    failed(nzip_cli("prior", "samples.jsonl", "-o", "p.prior"), "p.prior", "exists")
    failed(nzip_cli("compress", "-m", "static", "-D", "p.prior", "-c", "new.jsonl"), "mode ac")


@pytest.mark.parametrize(
    ("args", "fields"),
    [
        ("", (16, 1)),
        ("--context reset -w 24", (24, 1)),
        ("--context carry", (16, 0)),
        ("--reset-every 3 --window 32", (32, 3)),
    ],
)
def test_windows_and_their_resets_are_in_the_header(nzip_cli, args, fields):
    packed = ok(nzip_cli("compress", "-m", "eqinfo", *args.split(), stdin=ENGLISH))
    header, _ = nzip.frame.parse_header(packed)
    assert (header.window, header.reset_every) == fields
    assert nzip.decompress(packed) == ENGLISH


def test_a_range_of_the_content(nzip_cli, text):
    ok(nzip_cli("compress", "-1", "-B", "64K", "file.txt"))
    want = (ENGLISH * 3)[500:1100]
    assert ok(nzip_cli("decompress", "--range", "500:600", "file.txt.nz")) == want
    assert ok(nzip_cli("decompress", "--range", "500:600", "file.txt.nz", "-o", "-")) == want
    ok(nzip_cli("decompress", "--range", "500:600", "file.txt.nz", "-o", "part"))
    assert (text.parent / "part").read_bytes() == want
    failed(nzip_cli("decompress", "--range", "1M:600", "file.txt.nz"), "the content has")
    failed(nzip_cli("compress", "-B", "1K", "-c", "file.txt"), "64 KiB")


def test_names_that_fingers_know(nzip_cli, text):
    ok(nzip_cli("-z", "--best", "-k", "file.txt"))
    best = (text.parent / "file.txt.nz").read_bytes()
    assert best == ok(nzip_cli("-9", "--to-stdout", "file.txt"))
    assert ok(nzip_cli("--fast", "-c", "file.txt")) == ok(nzip_cli("-1c", "file.txt"))
    assert b"file.txt.nz" in ok(nzip_cli("-l", "file.txt.nz", env={"COLUMNS": "120"}))
    assert ok(nzip_cli("--uncompress", "-c", "file.txt.nz")) == text.read_bytes()


@pytest.mark.parametrize("name", ["cat", "unnzip"])
def test_nzcat_and_unnzip(nzip_cli, text, name):
    ok(nzip_cli("-1", "file.txt"))
    want = text.read_bytes()
    if name == "unnzip":
        text.unlink()
    code = f"import sys; from nzip.cli import program; sys.exit(program.{name}())"
    command = [sys.executable, "-c", code, "file.txt.nz"]
    done = subprocess.run(command, cwd=text.parent, capture_output=True, check=True)
    assert done.stdout == (want if name == "cat" else b"")
    assert text.read_bytes() == want


def test_piped_tables_cut_no_names(nzip_cli, text):
    name = "a-name-that-is-longer-than-most-" * 4 + ".nz"
    (text.parent / name).write_bytes(nzip.compress(b"text"))
    assert name.encode() in ok(nzip_cli("info", name))
    assert b"large-3" in ok(nzip_cli("models"))


def test_models_are_added_and_used_by_name(nzip_cli, text, small_model):
    mine = text.parent / "mine.safetensors"
    mine.write_bytes(small_model.file("mine"))
    env = {"XDG_DATA_HOME": str(text.parent / "data"), "LOCALAPPDATA": str(text.parent / "data")}
    assert b"mine" in ok(nzip_cli("models", "add", "mine.safetensors", env=env))
    mine.rename(text.parent / "elsewhere")
    packed = ok(nzip_cli("compress", "-c", "--model", "mine", "file.txt", env=env))
    assert ok(nzip_cli("-dc", stdin=packed, env=env)) == text.read_bytes()
    assert b"mine" in ok(nzip_cli("models", env=env))
    failed(nzip_cli("-dc", stdin=packed), "not installed", "models add")
    (text.parent / "elsewhere").rename(mine)
    failed(nzip_cli("models", "add", "mine.safetensors", env=env), "exists")
    ok(nzip_cli("models", "add", "-f", "mine.safetensors", env=env))
    mine.rename(text.parent / "base-3.safetensors")
    failed(nzip_cli("models", "add", "base-3.safetensors", env=env), "comes with nzip")
    failed(nzip_cli("models", "add", "file.txt", env=env), "file.txt")

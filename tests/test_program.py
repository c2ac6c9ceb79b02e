"""The command line as programs and impatient users call it: flags, names, bad files, tokens."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENGLISH

import nzip
from nzip.cli import app, options, program

GROUP = app.make_group()


def ok(result, stderr=b""):
    assert (result.returncode, result.stderr) == (0, stderr)
    return result.stdout


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("-9c", "compress --level=9 -c"),
        ("-12", "compress --level=12"),
        ("-5cT2", "compress --level=5 -c -T2"),
        ("-T -1", "compress -T -1"),
        ("--threads -1", "compress --threads -1"),
        ("-T2 -9", "compress -T2 --level=9"),
        ("--level=3 x", "compress --level=3 x"),
        ("--level 3 -d", "decompress --level 3"),
        ("-m static -d", "decompress -m static"),
        ("-w 24 -m eqinfo -t x", "test -w 24 -m eqinfo x"),
        ("-dc -- -9", "decompress -c -- -9"),
        ("compress -9 -- -9", "compress --level=9 -- -9"),
        ("sample -n40", "sample -n40"),
        ("sample -n 40 --seed -5", "sample -n 40 --seed -5"),
        ("m2 generate x -n40", "m2 generate x -n40"),
        ("-o -9 x", "compress -o -9 x"),
        ("--show-completion", "--show-completion"),
        ("-qT 2 -- test x", "compress -q -T 2 -- test x"),
        ("-o test x", "compress -o test x"),
    ],
)
def test_arguments_become_a_command(args, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert " ".join(program.with_command(args.split(), GROUP)) == expected


def test_a_file_named_like_a_command_is_a_file_if_it_stands_alone(nzip_cli, tmp_path):
    (tmp_path / "test").write_bytes(ENGLISH)
    ok(nzip_cli("test"))
    assert nzip.decompress((tmp_path / "test.nz").read_bytes()) == ENGLISH
    ok(nzip_cli("test", "test.nz"))  # the command
    ok(nzip_cli("-f", "-9", "test"))


@pytest.mark.parametrize("args", ["-q test x", "-o y -T2 test x", "--level=1 --mode static test"])
def test_options_before_a_command_are_a_wrong_call(nzip_cli, tmp_path, args):
    (tmp_path / "x").write_bytes(ENGLISH)
    result = nzip_cli(*args.split())
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    assert b"nzip test" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    (tmp_path / "test").write_bytes(ENGLISH)
    ok(nzip_cli("-q", "test", "x"))  # a file
    assert (tmp_path / "test.nz").exists()


def test_every_command_is_known_and_has_every_option_with_a_value(tmp_path):
    names = "compress decompress test prior info bench train eval tokenize detokenize models sample"
    assert set(GROUP.commands) == {*names.split(), "m2"}
    assert set(GROUP.commands["m2"].commands) == {"train", "compare", "generate", "meaning"}
    for name in ("compress", "decompress", "test"):
        command = GROUP.commands[name]
        for flag in (*"mwTSMDB", "o"):
            if name == "test" and flag == "o":
                continue
            assert program._takes_value(command, "-" + flag), (name, flag)
        for flag in "cqvr":
            assert not program._takes_value(command, "-" + flag), (name, flag)


@pytest.mark.parametrize(
    "args", ["-w 32", "--window 16", "--reset-every 2", "--context carry", "-m static --model x"]
)
def test_settings_of_another_mode_are_a_wrong_call(nzip_cli, tmp_path, args):
    (tmp_path / "x").write_bytes(ENGLISH)
    result = nzip_cli("compress", *args.split(), "x")
    assert (result.returncode, b"only eqinfo" in result.stderr) == (2, "static" not in args)
    tokenization = ("--tokenization", "bytes", *args.replace("-m static", "").split())
    result = nzip_cli("tokenize", "x", "-o", "x.bin", *tokenization)
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_folders_of_models_that_are_not_there_are_named(nzip_cli, tmp_path):
    env = {"NZIP_MODEL_PATH": os.pathsep.join([str(tmp_path), "", "/no/such"])}
    result = nzip_cli("-c", stdin=ENGLISH, env=env)
    assert result.stderr == b"nzip: NZIP_MODEL_PATH names '/no/such', which is not a folder\n"
    assert nzip.decompress(result.stdout) == ENGLISH


@pytest.mark.parametrize(
    "command",
    [
        "compress x <&-",
        "tokenize - -o x.bin --split nul <&-",
        "prior - -o x.prior <&-",
        "decompress --range 0:9 x.nz >&-",
    ],
)
def test_a_closed_descriptor_is_one_line(tmp_path, command):
    (tmp_path / "x").write_bytes(ENGLISH)
    (tmp_path / "x.nz").write_bytes(nzip.compress(ENGLISH, "static"))
    line = f"{sys.executable} -m nzip {command}"
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done.stderr
    assert len([*tmp_path.iterdir()]) == 2


@pytest.mark.parametrize(
    ("text", "size"),
    [("7", 7), ("64K", 1 << 16), ("64KiB", 1 << 16), ("3MB", 3 << 20), ("300M", 300 << 20)],
)
def test_sizes_are_binary(text, size):
    assert options.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "K", "-1", "1.5M", "7X", "²", "1B2", "0x10"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(options.typer.BadParameter, match="not a size"):
        options.parse_size(text)


def test_a_mistyped_command_compresses_nothing(nzip_cli, tmp_path):
    (tmp_path / "f").write_bytes(ENGLISH)
    result = nzip_cli("compres", "f")
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    assert b"did you mean 'compress'?" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("level", ["-12", "-0", "--level=10"])
def test_levels_outside_the_range_are_refused(nzip_cli, level):
    result = nzip_cli(level, stdin=ENGLISH)
    assert result.returncode == 2
    assert b"1<=x<=9" in result.stderr
    assert result.stdout == b""


def test_what_says_how_to_compress_is_passed_over_with_d(nzip_cli):
    """tar -I 'nzip -m static' appends -d."""
    packed = ok(nzip_cli("-m", "static", stdin=ENGLISH))
    for args in ("-m static", "--level=3", "-9", "--no-adapt", "-w 24", "--reset-every 2"):
        assert ok(nzip_cli(*args.split(), "-d", stdin=packed)) == ENGLISH
        ok(nzip_cli(*args.split(), "-t", stdin=packed))


def test_decompress_takes_a_model_from_a_file(nzip_cli, tmp_path, small_model):
    (tmp_path / "own.safetensors").write_bytes(small_model.file("own"))
    packed = ok(nzip_cli("--model", "./own.safetensors", stdin=ENGLISH))
    assert nzip_cli("-d", stdin=packed).returncode == 1
    assert ok(nzip_cli("-d", "--model", "./own.safetensors", stdin=packed)) == ENGLISH


@pytest.mark.parametrize("name", ["NZIP_LEVEL", "NZIP_THREADS"])
@pytest.mark.parametrize("value", ["x", "12x", "-1", "1.5", "٣"])
def test_malformed_settings_in_the_environment_warn(nzip_cli, name, value):
    result = nzip_cli("-c", stdin=ENGLISH, env={name: value})
    assert (result.returncode, result.stderr.count(b"\n")) == (0, 1)
    assert name.encode() in result.stderr
    assert nzip.decompress(result.stdout) == ENGLISH


def test_one_bad_file_does_not_stop_the_others(nzip_cli, tmp_path):
    (tmp_path / "good").write_bytes(ENGLISH)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("good")
    bad = ["missing", ".", "..", "folder", "link", "x" * 300, "x" * 254, "/dev/null", "a\nb"]
    (tmp_path / ("x" * 254)).write_bytes(b"no room for a suffix")
    result = nzip_cli("compress", *bad, "good")
    lines = result.stderr.decode().splitlines()
    assert result.returncode == 1
    assert nzip.decompress((tmp_path / "good.nz").read_bytes()) == ENGLISH
    assert len(lines) == len(bad) + 1  # the newline in a name
    assert ".tmp" not in result.stderr.decode()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_does_not_stop_the_others(nzip_cli, tmp_path):
    (tmp_path / "good").write_bytes(ENGLISH)
    (tmp_path / "secret").write_bytes(ENGLISH)
    (tmp_path / "secret").chmod(0)
    result = nzip_cli("compress", "secret", "good")
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)
    assert (tmp_path / "good.nz").exists()


def test_names_that_a_temporary_name_would_not_fit_beside(nzip_cli, tmp_path):
    name = "x" * 250
    (tmp_path / name).write_bytes(ENGLISH)
    ok(nzip_cli("compress", name))
    assert nzip.decompress((tmp_path / f"{name}.nz").read_bytes()) == ENGLISH


def test_suffixes_are_known_in_capitals(nzip_cli, tmp_path):
    (tmp_path / "X.NZ").write_bytes(nzip.compress(ENGLISH, "static"))
    ok(nzip_cli("decompress", "X.NZ"))
    assert (tmp_path / "X").read_bytes() == ENGLISH


def test_errors_name_the_output_not_the_temporary_file(nzip_cli, tmp_path):
    (tmp_path / "x").write_bytes(ENGLISH)
    result = nzip_cli("compress", "x", "-o", "missing/y")
    assert result.returncode == 1
    assert b"missing/y: No such file" in result.stderr
    assert b"tmp" not in result.stderr


def test_completion_can_be_shown():
    """Typer detects the shell; if it cannot, it says so."""
    command = f"{sys.executable} -m nzip --show-completion; echo $?"
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert b"NZIP_COMPLETE" in done.stdout or b"not supported" in done.stderr
    assert b"No such option" not in done.stderr


# ---- Tokens ----


def tokenized(nzip_cli, tmp_path, *args):
    (tmp_path / "d.txt").write_bytes(ENGLISH)
    return nzip_cli("tokenize", "d.txt", "-o", "d.bin", "--tokenization", "bytes", *args)


def test_tokenize_overwrites_nothing_unasked(nzip_cli, tmp_path):
    ok(tokenized(nzip_cli, tmp_path), b"")
    for name in ("d.bin", "d.json", "d.idx"):
        kept = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name != name}
        for path in tmp_path.iterdir():
            if path.name not in (name, "d.txt"):
                path.unlink()
        (tmp_path / name).write_bytes(b"precious")
        result = tokenized(nzip_cli, tmp_path)
        assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)
        assert (tmp_path / name).read_bytes() == b"precious"
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["d.txt", name])
        for other, data in kept.items():
            (tmp_path / other).write_bytes(data)
    ok(tokenized(nzip_cli, tmp_path, "-f"))


@pytest.mark.parametrize("name", ["d.json", "d.bin", "d.idx"])
def test_tokenize_never_overwrites_its_input(nzip_cli, tmp_path, name):
    (tmp_path / name).write_bytes(ENGLISH)
    args = ("tokenize", name, "-o", "d.bin", "--tokenization", "bytes", "-f")
    result = nzip_cli(*args)
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)
    assert b"an input would be overwritten" in result.stderr
    assert (tmp_path / name).read_bytes() == ENGLISH
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_detokenize_overwrites_nothing_unasked(nzip_cli, tmp_path):
    ok(tokenized(nzip_cli, tmp_path))
    (tmp_path / "back").write_bytes(b"precious")
    for args in (("back",), ("d.bin",), ("d.json", "-f"), ("d.idx", "-f"), ("d.bin", "-f")):
        before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
        result = nzip_cli("detokenize", "d.bin", "-o", *args)
        assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    ok(nzip_cli("detokenize", "d.bin", "-o", "back", "-f"))
    assert (tmp_path / "back").read_bytes() == ENGLISH


# ---- Python objects ----


def test_a_compressor_shared_by_threads_gets_every_piece_once():
    from concurrent.futures import ThreadPoolExecutor

    compressor = nzip.Compressor("static", threads=1)
    pieces = [bytes([k]) * 5000 for k in range(200)]
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(compressor.compress, pieces))
    text = nzip.decompress(b"".join(parts) + compressor.flush())
    assert sorted(text[at : at + 5000] for at in range(0, len(text), 5000)) == pieces


class OnlyRead:
    def __init__(self, data):
        self._data = memoryview(data)

    def read(self, size):
        part, self._data = self._data[:size], self._data[size:]
        return bytes(part)


def test_a_file_object_needs_only_read():
    packed = nzip.compress(ENGLISH, "static")
    with nzip.open(OnlyRead(packed)) as file:
        assert not file.seekable()
        assert file.read() == ENGLISH
        with pytest.raises(OSError, match="seek"):
            file.seek(0)


@pytest.mark.parametrize("mode", ["rb", "wb"])
def test_closed_files_raise_from_every_method(tmp_path, mode):
    (tmp_path / "x").write_bytes(nzip.compress(b"", "static"))
    file = nzip.NzipFile(tmp_path / "x", mode)
    file.close()
    file.close()
    assert file.closed
    calls = (
        *(file.read, file.read1, file.readline, file.peek, file.tell, file.fileno, file.flush),
        *(file.readable, file.writable, file.seekable, lambda: file.write(b""), file.__enter__),
        *(lambda: file.seek(0), lambda: file.readinto(bytearray(1)), lambda: next(file)),
    )
    for call in calls:
        with pytest.raises(ValueError, match="closed file"):
            call()


def test_an_open_that_fails_says_only_that(tmp_path):
    script = (
        f"import nzip\ntry: nzip.NzipFile({str(tmp_path / 'no' / 'x')!r})\nexcept OSError: pass"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stderr == b""


@pytest.mark.parametrize("mode", ["wb", "xb", "ab", "w", "x", "a"])
def test_the_mode_of_a_file_that_is_written_is_wb(tmp_path, mode):
    with nzip.NzipFile(tmp_path / "x", mode, method="static") as file:
        assert file.mode == "wb"
        file.write(ENGLISH)
    with nzip.NzipFile(tmp_path / "x") as file:
        assert (file.mode, file.read()) == ("rb", ENGLISH)
        with pytest.raises(ValueError, match="whence"):
            file.seek(0, 3)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "latin-1"])
def test_text_in_any_encoding(tmp_path, encoding):
    text = "first line\nsecond é\n" * 50
    with nzip.open(tmp_path / "x", "wt", encoding=encoding, method="static") as file:
        file.write(text)
    with nzip.open(tmp_path / "x", "rt", encoding=encoding) as file:
        assert file.read() == text
        file.seek(0)
        assert file.readline() == "first line\n"


def test_flush_writes_what_is_ready(tmp_path):
    file = nzip.NzipFile(tmp_path / "x", "wb", method="static", threads=1)
    file.write(os.urandom(600_000))  # a block and part of another
    file.flush()
    assert (tmp_path / "x").stat().st_size > 500_000
    file.close()


def test_a_skippable_frame_is_a_frame_without_content():
    decompressor = nzip.Decompressor()
    junk = nzip.frame.skippable(b"notes") + nzip.compress(ENGLISH, "static")
    assert decompressor.decompress(junk[:6]) == b""
    assert decompressor.needs_input
    assert decompressor.decompress(junk[6:]) == b""
    assert decompressor.eof
    assert nzip.decompress(decompressor.unused_data) == ENGLISH
    assert nzip.decompress(junk + nzip.frame.skippable(b"")) == ENGLISH


def test_unused_data_come_at_the_end_only():
    packed = nzip.compress(ENGLISH, "static")
    decompressor = nzip.Decompressor()
    assert decompressor.decompress(packed + b"rest", 10) == ENGLISH[:10]
    assert (decompressor.unused_data, decompressor.eof) == (b"", False)
    assert decompressor.decompress() == ENGLISH[10:]
    assert (decompressor.unused_data, decompressor.eof) == (b"rest", True)


def test_progress_is_counted_inside_blocks():
    """Not only where they end."""
    import threading

    compressor = nzip.Compressor(level=1, threads=2)
    compressor.compress(ENGLISH * 2400)
    seen = []
    over = threading.Event()

    def look():
        while not over.wait(0.02):
            seen.append(compressor.done)

    thread = threading.Thread(target=look)
    thread.start()
    compressor.flush()
    over.set()
    thread.join()
    assert max(seen) <= compressor.done == len(ENGLISH) * 2400
    assert len({count for count in seen if 0 < count < len(ENGLISH) * 2400}) > 3


def test_damage_in_a_file_of_one_block_is_named(nzip_cli, tmp_path):
    packed = bytearray(nzip.compress(ENGLISH, "static"))
    packed[40] ^= 1
    (tmp_path / "x.nz").write_bytes(packed)
    message = nzip_cli("test", "x.nz").stderr.decode()
    assert f"content bytes 0 to {len(ENGLISH) - 1} missing" in message
    assert "frame 1, block 0" in message
    assert Path(tmp_path / "x.nz").exists()

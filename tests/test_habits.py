"""Habits from gzip, xz and zstd, and nzgrep."""

import json
import os
import signal
import subprocess
import sys
import zlib

import pytest
from conftest import ENGLISH
from test_cli import failed, ok

import nzip
from nzip import levels
from nzip._predict import Watch


def files_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_another_suffix_goes_on_and_comes_off(nzip_cli, tmp_path):
    (tmp_path / "x").write_bytes(ENGLISH)
    ok(nzip_cli("-S", ".packed", "x"))
    assert files_in(tmp_path) == ["x", "x.packed"]
    failed(nzip_cli("-S", ".packed", "x.packed"), "already has the suffix .packed")
    (tmp_path / "x").unlink()
    failed(nzip_cli("-d", "x.packed"), "unknown suffix .packed", "expected .nz")
    ok(nzip_cli("-d", "-S", ".packed", "x.packed"))
    assert (tmp_path / "x").read_bytes() == ENGLISH
    ok(nzip_cli("-t", "-r", "-S", ".packed", "."))
    for bad in ("", "a/b"):
        assert nzip_cli("-S", bad, "x").returncode == 2
    assert files_in(tmp_path) == ["x", "x.packed"]


@pytest.mark.parametrize("option", ["--filelist", "--files"])
def test_names_come_from_lists(nzip_cli, tmp_path, option):
    names = ["a", "b c", "-", "d\udcff"]
    for name in names:
        (tmp_path / name).write_bytes(ENGLISH)
    (tmp_path / "list").write_bytes(b"\n".join(map(os.fsencode, ["b c", "", "-", "d\udcff", ""])))
    ok(nzip_cli("compress", "a", option, "list"))
    assert files_in(tmp_path) == sorted([*names, *(f"{name}.nz" for name in names), "list"])
    ok(nzip_cli("-t", option, "-", stdin=b"a.nz\n./-.nz\n"))
    failed(nzip_cli("-t", option, "-", stdin=b"a.nz\nnothing.nz\n"), "nothing.nz")
    assert ok(nzip_cli("compress", option, "/dev/null")) == b""  # no names, so nothing to do
    failed(nzip_cli("compress", option, "missing"), "missing")


def test_outputs_go_flat_into_a_folder(nzip_cli, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").write_bytes(folder.encode())
    (tmp_path / "a" / "y").write_bytes(ENGLISH)
    result = nzip_cli("-f", "--rm", "a/x", "b/x", "a/y", "--output-dir-flat", "out/new")
    failed(result, "b/x: another input has already been written to out/new/x.nz")
    assert files_in(tmp_path) == ["b/x", "out/new/x.nz", "out/new/y.nz"]
    assert nzip.decompress((tmp_path / "out" / "new" / "x.nz").read_bytes()) == b"a"
    ok(nzip_cli("-d", "-r", "out", "--output-dir-flat", "."))
    assert (tmp_path / "y").read_bytes() == ENGLISH


def test_outputs_go_into_mirrored_folders(nzip_cli, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "x").write_bytes(ENGLISH)
    (tmp_path / "y").write_bytes(ENGLISH)
    ok(nzip_cli("-r", "in", tmp_path / "y", "--output-dir-mirror", "out"))
    outer = str(tmp_path).lstrip("/")
    assert files_in(tmp_path / "out") == sorted(["in/deep/x.nz", f"{outer}/y.nz"])
    ok(nzip_cli("-d", "out/in/deep/x.nz", "--output-dir-mirror", "back"))
    assert (tmp_path / "back" / "out" / "in" / "deep" / "x").read_bytes() == ENGLISH
    failed(nzip_cli("in/../y", "--output-dir-mirror", "out"), "'..'")
    for args in (["-c"], ["-o", "z"], ["--output-dir-flat", "flat"]):
        assert nzip_cli("y", "--output-dir-mirror", "out", *args).returncode == 2


def test_what_is_compressed_already_can_be_left_out(nzip_cli, tmp_path):
    import gzip

    (tmp_path / "text").write_bytes(ENGLISH)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "odd-name").write_bytes(gzip.compress(ENGLISH))
    (tmp_path / "picture").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (tmp_path / "film").write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(50))
    ok(nzip_cli("-r", "--exclude-compressed", "."))
    assert [name for name in files_in(tmp_path) if name.endswith(".nz")] == ["empty.nz", "text.nz"]
    result = nzip_cli("-v", "--exclude-compressed", "odd-name")
    assert (result.returncode, b"looks compressed; skipped" in result.stderr) == (0, True)


def test_plain_data_pass_through(nzip_cli, tmp_path):
    packed = nzip.compress(ENGLISH, "static")
    for plain in (b"", b"x", b"\x8f", b"plain text\n" * 50_000):
        assert ok(nzip_cli("-dcf", stdin=plain)) == plain
        assert ok(nzip_cli("-d", "--pass-through", stdin=plain)) == plain
    failed(nzip_cli("-dc", stdin=b"plain text"), "not an nzip file")
    (tmp_path / "plain").write_bytes(b"plain\n")
    (tmp_path / "packed.nz").write_bytes(packed)
    assert ok(nzip_cli("-dcf", "plain", "packed.nz")) == b"plain\n" + ENGLISH
    result = nzip_cli("-dcf", "--max-size", "10", stdin=b"plain text\n")
    failed(result, "limit of 10 bytes")
    failed(nzip_cli("-dcf", stdin=packed[:-3]), "ends inside a frame")
    (tmp_path / "plain.nz").write_bytes(b"plain\n")
    failed(nzip_cli("-d", "-f", "plain.nz"), "not an nzip file")  # without -c it is not intended
    ok(nzip_cli("-d", "-f", "--rm", "--pass-through", "plain.nz"))
    assert (tmp_path / "plain.nz").exists()  # it cannot be compared


def test_o_says_where_more_clearly_than_c(nzip_cli, tmp_path):
    (tmp_path / "x").write_bytes(ENGLISH)
    assert ok(nzip_cli("-c", "x", "-o", "y")) == b""
    assert nzip.decompress((tmp_path / "y").read_bytes()) == ENGLISH
    assert nzip.decompress(ok(nzip_cli("x", "-o", "-"))) == ENGLISH
    assert ok(nzip_cli("-d", "-o", "-", "y")) == ENGLISH
    assert files_in(tmp_path) == ["x", "y"]


def test_fifos_and_links_are_read_where_the_output_is_named(nzip_cli, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "x").write_bytes(ENGLISH)
    (tmp_path / "link").symlink_to("fifo")
    for name in ("fifo", "link"):
        with subprocess.Popen(["sh", "-c", "cat x > fifo"], cwd=tmp_path):
            ok(nzip_cli("compress", "--rm", name, "-o", f"{name}.nz"))
        assert nzip.decompress((tmp_path / f"{name}.nz").read_bytes()) == ENGLISH
        assert os.path.lexists(tmp_path / name)
    failed(nzip_cli("compress", "fifo"), "not a regular file")
    failed(nzip_cli("compress", "link"), "symbolic link")


def test_options_for_compressing_are_passed_over_when_decompressing(nzip_cli):
    """tar -I 'nzip -B 256K' appends -d."""
    packed = nzip.compress(ENGLISH)
    for args in ("-B 256K", "--exclude-compressed", "-S .foo", "-M 200M"):
        assert ok(nzip_cli(*args.split(), "-d", stdin=packed)) == ENGLISH
        ok(nzip_cli(*args.split(), "-t", stdin=packed))


@pytest.mark.slow
def test_memory_bounds_threads_and_refuses_what_does_not_fit(nzip_cli, tmp_path):
    text = ENGLISH * 1300  # five blocks
    packed = nzip.compress(text, level=1, block_size=1 << 16)
    need = levels.thread_memory(levels.LEVELS[1].coding, 1 << 16)
    for threads, memory in ((1, need), (2, 2 * need), (2, 3 * need - 1), (4, 9 * need)):
        limit = levels.PROGRAM_MEMORY + memory
        compressor = nzip.Compressor(level=1, block_size=1 << 16, threads=4, max_memory=limit)
        assert compressor.compress(text) + compressor.flush() == packed
        assert compressor.workers.threads == threads
        decompressor = nzip.Decompressor(threads=4, max_memory=limit)
        assert decompressor.decompress(packed) == text
        assert decompressor.workers.threads == threads
    limit = levels.PROGRAM_MEMORY + need - 1
    with pytest.raises(nzip.LimitError, match="MiB of memory are needed"):
        nzip.decompress(packed, max_memory=limit)
    with pytest.raises(nzip.LimitError):
        nzip.compress(text, level=1, block_size=1 << 16, max_memory=limit)
    (tmp_path / "x.nz").write_bytes(packed)
    for args in ("-d", "-t", "-d --recover"):
        failed(nzip_cli(*args.split(), "-M", str(limit), "x.nz"), "more than the limit")
    assert files_in(tmp_path) == ["x.nz"]
    ok(nzip_cli("-d", "-M", "1G", "x.nz"))


def test_the_memory_that_help_states_is_what_it_takes():
    stated = {3: 190, 9: 380}
    for number, level in levels.LEVELS.items():
        need = levels.thread_memory(level.coding, level.block_size) / 1e6
        assert 0.9 * stated.get(number, 0) < need <= stated.get(number, 120), number
    assert "up to 120 MB; level 3 190 MB, level 9 380 MB." in levels.describe_levels()


def test_memory_is_bounded_again_where_blocks_grow():
    """Frames written by other programs may have blocks of different sizes."""
    small, large = ENGLISH * 100, os.urandom(1 << 20)
    compressor = nzip.Compressor("static", threads=1)
    blocks = []
    for index, text in enumerate((small, small, large, large)):
        blocks.append(compressor._encode(text, index, index == 3, Watch()))
    packed = compressor._header + b"".join(blocks)
    packed += nzip.frame.pack_check(zlib.crc32(2 * small + 2 * large), 2 * len(small + large))
    need = levels.thread_memory(nzip.frame.STATIC, 1 << 20)
    decompressor = nzip.Decompressor(threads=4, max_memory=levels.PROGRAM_MEMORY + need)
    assert decompressor.decompress(packed) == 2 * small + 2 * large
    assert decompressor.workers.threads == 1
    limit = levels.PROGRAM_MEMORY + need - 1
    with pytest.raises(nzip.LimitError):
        nzip.decompress(packed, max_memory=limit)


def test_info_reads_stdin(nzip_cli):
    packed = nzip.compress(ENGLISH, "static")
    row = json.loads(ok(nzip_cli("info", "--json", "-", stdin=packed)))
    assert (row["file"], row["content"]) == ("(stdin)", len(ENGLISH))
    failed(nzip_cli("info", "-", stdin=b""), "empty")


def test_several_files_get_a_line_for_all(nzip_cli, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(ENGLISH)
    lines = nzip_cli("-v", "a", "b").stderr.decode().splitlines()
    assert len(lines) == 3
    assert lines[2].startswith(f"2 files: {2 * len(ENGLISH)} -> ")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("nzip decomp", "decompress"),
        ("nzip compress --output-dir-m", "--output-dir-mirror"),
        ("nzip compress --model sm", "small-3"),
        ("nzip m2 comp", "compare"),
    ],
)
def test_the_shell_completes_commands_options_and_models(nzip_cli, words, found):
    env = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert ok(nzip_cli(env={**env, "_NZIP_COMPLETE": "complete_bash"})).decode().strip() == found


# ---- nzgrep ----


@pytest.fixture
def nzgrep(tmp_path):
    """A function that runs nzgrep in a folder of two files; (exit code, stdout, stderr)."""
    (tmp_path / "a.nz").write_bytes(nzip.compress(b"one\ntwo\nthree\n", "static"))
    (tmp_path / "plain").write_bytes(b"two\nTWO\n")

    def run(*args, stdin=b""):
        program = "import sys; from nzip.cli.program import grep; sys.exit(grep())"
        done = subprocess.run(
            [sys.executable, "-c", program, *args], cwd=tmp_path, input=stdin, capture_output=True
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


@pytest.mark.parametrize(
    ("args", "code", "out"),
    [
        ("two a.nz", 0, "two\n"),
        ("two a.nz plain", 0, "a.nz:two\nplain:two\n"),
        ("-h two a.nz plain", 0, "two\ntwo\n"),
        ("-inH TWO a.nz plain", 0, "a.nz:2:two\nplain:1:two\nplain:2:TWO\n"),
        ("-c t a.nz plain", 0, "a.nz:2\nplain:1\n"),
        ("-l three a.nz plain", 0, "a.nz\n"),
        ("-L three a.nz plain", 0, "plain\n"),
        ("-e one -e three a.nz", 0, "one\nthree\n"),
        ("a.nz plain --regexp=one", 0, "a.nz:one\n"),
        ("-m1 -A 1 -- t a.nz", 0, "two\nthree\n"),
        ("-12 two a.nz", 0, "one\ntwo\nthree\n"),
        ("--color=never -w two a.nz", 0, "two\n"),
        ("four a.nz plain", 1, ""),
        ("-q two a.nz", 0, ""),
        ("-q two missing a.nz", 0, ""),
        ("two missing plain", 2, "plain:two\n"),
        ("-s two missing plain", 2, "plain:two\n"),
        ("-r -h three .", 0, "three\n"),
    ],
)
def test_nzgrep_is_grep(nzgrep, args, code, out):
    found = nzgrep(*args.split())
    assert found[:2] == (code, out)
    assert found[2].count("\n") == ("missing" in args and "-s" not in args)


def test_nzgrep_reads_stdin_and_names_what_is_wrong(nzgrep, tmp_path):
    packed = (tmp_path / "a.nz").read_bytes()
    assert nzgrep("two", stdin=packed) == (0, "two\n", "")
    assert nzgrep("-H", "two", "-", stdin=b"two\n") == (0, "(standard input):two\n", "")
    (tmp_path / "cut.nz").write_bytes(packed[:-3])
    code, _, message = nzgrep("two", "cut.nz", "a.nz")
    assert (code, message) == (2, "nzgrep: cut.nz: the input ends inside a frame\n")
    for args in ([], ["--nonsense", "x"], ["-f", "-", "x"]):
        code, out, message = nzgrep(*args)
        assert (code, out) == (2, "")
        assert message.startswith("nzgrep: ")
    assert nzgrep("--help")[0] == 0


def test_nzgrep_ends_with_the_reader(tmp_path):
    (tmp_path / "a.nz").write_bytes(nzip.compress(b"line\n" * 500_000, "static"))
    program = "import sys; from nzip.cli.program import grep; sys.exit(grep())"
    with subprocess.Popen(
        [sys.executable, "-c", program, "line", "a.nz"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == -signal.SIGPIPE

"""``nzip.open`` and NzipFile: the shape of gzip.open."""

import io

import pytest
from conftest import TEXTS

import nzip

LINES = ["first line\n", "zweite Zeile: äöü\n", "last, without an end"]


def test_text_mode_round_trips(tmp_path):
    path = tmp_path / "a.nz"
    with nzip.open(path, "wt", encoding="utf-8", newline="\n") as file:
        file.writelines(LINES)
    with nzip.open(path, "rt", encoding="utf-8") as file:
        assert list(file) == LINES
    assert nzip.decompress(path.read_bytes()).decode() == "".join(LINES)


def test_binary_mode_append_and_exclusive(tmp_path):
    path = tmp_path / "a.nz"
    with nzip.open(path, "xb", method="static") as file:
        assert file.writable()
        assert file.write(b"one ") == 4
        assert file.tell() == 4
    with nzip.open(path, "ab") as file:
        file.write(b"two")
    with nzip.open(path) as file:
        assert file.read() == b"one two"
    with pytest.raises(FileExistsError):
        nzip.open(path, "xb")


def test_read_seek_peek_and_readinto():
    data = TEXTS["english"]
    file = nzip.open(io.BytesIO(nzip.compress(data)))
    assert file.peek(1)[:1] == data[:1]
    assert file.read(10) == data[:10]
    buffer = bytearray(20)
    assert file.readinto(buffer) == 20
    assert bytes(buffer) == data[10:30]
    assert file.tell() == 30
    assert file.seek(5) == 5
    assert file.read(5) == data[5:10]
    assert file.seek(-10, io.SEEK_END) == len(data) - 10
    assert file.read() == data[-10:]
    assert file.read() == b""
    assert file.readable()
    assert file.seekable()
    with pytest.raises(io.UnsupportedOperation):
        file.write(b"x")


def test_iterating_gives_lines():
    text = TEXTS["code"]
    assert list(nzip.open(io.BytesIO(nzip.compress(text)))) == text.splitlines(keepends=True)


def test_damaged_and_truncated_files_raise(tmp_path):
    data = nzip.compress(TEXTS["english"])
    with pytest.raises(nzip.TruncatedError):
        nzip.open(io.BytesIO(data[:-1])).read()
    with pytest.raises(EOFError):
        nzip.open(io.BytesIO(data[:-1])).read()
    with pytest.raises(nzip.FormatError):
        nzip.open(io.BytesIO(b"plain text")).read()


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="invalid mode"):
        nzip.open(tmp_path / "a", "rw")
    with pytest.raises(ValueError, match="invalid mode"):
        nzip.open(tmp_path / "a", "rtb")
    with pytest.raises(ValueError, match="text mode"):
        nzip.open(tmp_path / "a", "rb", encoding="utf-8")
    with pytest.raises(ValueError, match="level"):
        nzip.open(tmp_path / "a", "wb", level=11)
    assert not (tmp_path / "a").exists()


def test_errors_of_the_file_below_come_through():
    class Broken(io.RawIOBase):
        def readable(self):
            return True

        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        nzip.open(Broken()).read()


def test_the_name_outlives_the_file(tmp_path):
    path = tmp_path / "x.nz"
    with nzip.open(path, "wb") as file:
        assert file.name == str(path)
    assert file.name == str(path)
    assert not hasattr(nzip.open(io.BytesIO(), "wb"), "name")

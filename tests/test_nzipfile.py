"""``nzip.open`` and NzipFile: the interface of gzip.open."""

import io
import random

import pytest
from conftest import TEXTS

import nzip
from nzip import frame, modes

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


BLOCK = 1 << 16
NUMBERED = b"".join(b"line %d of a file that is read here and there\n" % i for i in range(9000))


@pytest.fixture
def decoded(monkeypatch):
    """The sizes of the blocks that were decoded for reads at several positions."""
    sizes = []
    decode = modes.decode_block

    def count(header, mode, block, payload, watch):
        sizes.append(block.size)
        return decode(header, mode, block, payload, watch)

    monkeypatch.setattr(modes, "decode_block", count)
    return sizes


def packed_lines() -> bytes:
    """Three frames, one of them skippable, with seven blocks, then padding."""
    cut = 5 * BLOCK + 100
    first = nzip.compress(NUMBERED[:cut], "static", block_size=BLOCK)
    rest = nzip.compress(NUMBERED[cut:], "static", block_size=BLOCK)
    return first + frame.skippable(b"a note") + rest + bytes(100)


def test_seeking_decodes_the_blocks_that_are_read(decoded):
    with nzip.open(io.BytesIO(packed_lines())) as file:
        assert file.seek(0, io.SEEK_END) == len(NUMBERED)
        assert not decoded
        for offset, size, blocks in (
            (3 * BLOCK + 7, 20, 1),
            (3 * BLOCK + 70, 20, 0),  # the same block
            (BLOCK - 10, 20, 2),
            (len(NUMBERED) - 5, 100, 1),
            (5 * BLOCK + 90, 20, 2),
            (len(NUMBERED) + 50, 10, 0),
        ):
            del decoded[:]
            file.seek(offset)
            assert file.read(size) == NUMBERED[offset : offset + size]
            assert len(decoded) <= blocks + 1  # the reader's buffer may reach into the next one
    with nzip.open(io.BytesIO(packed_lines())) as file:
        assert file.read(100) == NUMBERED[:100]
        file.seek(-50, io.SEEK_CUR)
        assert file.read() == NUMBERED[50:]
        file.seek(0)
        assert file.read() == NUMBERED


def test_seeking_finds_damage_where_it_reads():
    packed = bytearray(packed_lines())
    packed[3000] ^= 1
    with nzip.open(io.BytesIO(packed)) as file:
        file.seek(4 * BLOCK)
        assert file.read(10) == NUMBERED[4 * BLOCK : 4 * BLOCK + 10]
        file.seek(1)
        with pytest.raises(nzip.ChecksumError):
            file.read(10)
    with (
        nzip.open(io.BytesIO(packed_lines()[: 6 * BLOCK // 4])) as file,
        pytest.raises(nzip.TruncatedError),
    ):
        file.seek(0, io.SEEK_END)
    with (
        nzip.open(io.BytesIO(packed_lines()), max_output=1000) as file,
        pytest.raises(nzip.LimitError),
    ):
        file.seek(5000)


@pytest.mark.parametrize("size", [1, BLOCK - 1, (1 << 26) + 1])
def test_block_sizes_out_of_range(size):
    with pytest.raises(ValueError, match="64 KiB"):
        nzip.compress(b"x", block_size=size)


def test_random_places_of_mixed_blocks():
    rng = random.Random(5)
    text = NUMBERED[: 4 * BLOCK]
    packed = nzip.compress(text, level=1, block_size=BLOCK)
    with nzip.open(io.BytesIO(packed)) as file:
        for _ in range(8):
            offset, size = rng.randrange(len(text)), rng.randrange(3000)
            file.seek(offset)
            assert file.read(size) == text[offset : offset + size]

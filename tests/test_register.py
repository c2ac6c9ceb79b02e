"""Other programs recognise ``.nz`` by suffix, and the README's one-line recipes work."""

import io
import shutil
import tarfile

import pytest
from conftest import ENGLISH

import nzip


@pytest.fixture
def archive(tmp_path):
    """A compressed tar archive of one file, as tarfile writes it."""
    path = tmp_path / "folder.tar.nz"
    entry = tarfile.TarInfo("in/file.txt")
    entry.size = len(ENGLISH)
    with (
        nzip.open(path, "wb", method="static") as file,
        tarfile.open(fileobj=file, mode="w|") as tar,
    ):
        tar.addfile(entry, io.BytesIO(ENGLISH))
    return path


def test_shutil_unpacks(archive, tmp_path):
    assert "shutil" in nzip.register()
    assert nzip.register() == nzip.register()
    shutil.unpack_archive(archive, tmp_path / "out")
    assert (tmp_path / "out" / "in" / "file.txt").read_bytes() == ENGLISH


def test_tarfile_reads_at_random(archive):
    with nzip.open(archive) as file, tarfile.open(fileobj=file) as tar:
        member = tar.extractfile("in/file.txt")
        assert member is not None
        assert member.read() == ENGLISH


def test_fsspec_infers(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    nzip.register()
    path = tmp_path / "file.txt.nz"
    with fsspec.open(str(path), "wb", compression="infer") as file:
        file.write(ENGLISH)
    assert nzip.decompress(path.read_bytes()) == ENGLISH
    with fsspec.open(str(path), "rb", compression="infer") as file:
        assert file.read() == ENGLISH
    with fsspec.open(str(path), "rt", compression="infer", encoding="utf-8") as file:
        assert file.read() == ENGLISH.decode()


def test_smart_open_knows_the_suffix(tmp_path):
    smart_open = pytest.importorskip("smart_open")
    nzip.register()
    path = tmp_path / "file.txt.nz"
    path.write_bytes(nzip.compress(ENGLISH, "static"))
    with smart_open.open(str(path), "rb") as file:
        assert file.read() == ENGLISH


def test_pandas_reads_an_open_file(tmp_path):
    pandas = pytest.importorskip("pandas")
    (tmp_path / "x.csv.nz").write_bytes(nzip.compress(b"a,b\n1,2\n3,4\n"))
    with nzip.open(tmp_path / "x.csv.nz") as file:
        assert pandas.read_csv(file)["b"].tolist() == [2, 4]

#!/usr/bin/env python3
"""Runs the standard library's tests of bz2, lzma and gzip against nzip.

    python tests/suites/stdlib.py

nzip's functions and classes replace theirs, and nzip's frames of the same texts replace the
compressed data in the tests. Prints a line for each failing test, with the reason if the failure is
intended, and the counts; the exit code is 1 if a test fails without one. Needs CPython's ``test``
package.
"""

from __future__ import annotations

import importlib
import io
import sys
import types
import unittest
from typing import Any
from unittest import mock

import nzip

# Tests that are not run.
LEFT_OUT = {
    "BZ2CompressorTest.testCompress4G": "takes 4 GiB",
    "BZ2DecompressorTest.testDecompress4G": "takes 4 GiB",
    "BZ2CompressorTest.test_refleaks_in___init__": "of CPython's own objects",
    **dict.fromkeys(
        (
            "TestCommandLine.test_decompress_stdin_stdout",
            "TestCommandLine.test_decompress_infile_outfile",
        ),
        "the command line of Python's gzip module, with gzip files",
    ),
    "BZ2DecompressorTest.test_refleaks_in___init__": "of CPython's own objects",
}
JUNK = "data after the last frame that is not zeros is an error, not silently ignored"
BLOCKS = "a block is returned whole, once its checksum has been verified"
THEIRS = "the test uses bzip2 or lzma data"
NOT_OSERROR = "the error is FormatError, a ValueError, not OSError"
NONE = "None is accepted as a size, as in io.BufferedReader"
# Tests that fail because nzip deliberately behaves differently.
REASONS = {
    "BZ2DecompressorTest.testDecompress": "data default to b'', to return what is there",
    "BZ2DecompressorTest.testDecompressorChunksMaxsize": BLOCKS,
    "BZ2FileTest.test_read_truncated": BLOCKS,
    "BZ2FileTest.testReadLine": NONE,
    "BZ2FileTest.testReadLineMultiStream": NONE,
    "BZ2FileTest.testReadLines": NONE,
    "BZ2FileTest.testReadLinesMultiStream": NONE,
    "BZ2FileTest.testDecompressLimited": "it looks at an attribute of CPython's own reader",
    "BZ2FileTest.testReadBadFile": NOT_OSERROR,
    "CompressDecompressTest.testDecompressBadData": NOT_OSERROR,
    "BZ2FileTest.testReadlinesNoNewline": THEIRS,
    "BZ2FileTest.testReadMultiStreamTrailingJunk": JUNK,
    "BZ2FileTest.testReadTrailingJunk": JUNK,
    "CompressDecompressTest.testDecompressMultiStreamTrailingJunk": JUNK,
    "CompressDecompressTest.testDecompressTrailingJunk": JUNK,
    **dict.fromkeys(
        (
            "CompressDecompressFunctionTestCase.test_decompress_multistream_trailing_junk",
            "CompressDecompressFunctionTestCase.test_decompress_trailing_junk",
            "FileTestCase.test_read_multistream_trailing_junk",
            "FileTestCase.test_read_trailing_junk",
        ),
        JUNK,
    ),
    **dict.fromkeys(
        (
            "CompressDecompressFunctionTestCase.test_bad_args",
            "CompressDecompressFunctionTestCase.test_decompress_bad_input",
            "CompressDecompressFunctionTestCase.test_decompress_memlimit",
            "CompressorDecompressorTestCase.test_bad_filter_spec",
            "CompressorDecompressorTestCase.test_decompressor_bad_input",
            "CompressorDecompressorTestCase.test_decompressor_bug_28275",
            "CompressorDecompressorTestCase.test_decompressor_memlimit",
            "CompressorDecompressorTestCase.test_simple_bad_args",
            "FileTestCase.test_init_bad_check",
            "FileTestCase.test_init_bad_filter_spec",
            "FileTestCase.test_init_bad_preset",
            "FileTestCase.test_init_with_preset_and_filters",
            "MiscellaneousTestCase.test__decode_filter_properties",
            "MiscellaneousTestCase.test__encode_filter_properties",
        ),
        "formats and settings specific to lzma",
    ),
    **dict.fromkeys(
        (
            "TestGzip.test_compress_correct_level",
            "TestGzip.test_compress_mtime",
            "TestGzip.test_compresslevel_metadata",
            "TestGzip.test_fileobj_mode",
            "TestGzip.test_metadata",
            "TestGzip.test_metadata_ascii_name",
            "TestGzip.test_mtime",
            "TestGzip.test_prepend_error",
            "TestGzip.test_read_with_extra",
        ),
        "headers, constants and classes specific to gzip",
    ),
    "TestGzip.test_decompress_limited": "it looks at an attribute of CPython's own reader",
    "TestGzip.test_gzip_BadGzipFile_exception": NOT_OSERROR,
    "TestGzip.test_read_truncated": BLOCKS,
    "TestGzip.test_seek_write": "as in bz2 and lzma, a file open for writing cannot seek",
    "CompressorDecompressorTestCase.test_decompressor_chunks_maxsize": BLOCKS,
    "FileTestCase.test_read_truncated": BLOCKS,
    "FileTestCase.test_issue21872": THEIRS,
    "FileTestCase.test_decompress_limited": "it looks at an attribute of CPython's own reader",
}


def _level(options: dict[str, Any]) -> dict[str, Any]:
    level = options.pop("compresslevel", 1)
    if not isinstance(level, int):
        raise TypeError("compresslevel must be an integer")
    if not 1 <= level <= 9:
        raise ValueError("compresslevel must be between 1 and 9")
    return {"level": 1, "threads": 1, **options}


class File(nzip.NzipFile):
    """NzipFile with the arguments of BZ2File."""

    def __init__(self, filename: Any = None, mode: str = "r", **options: Any):
        if filename is None:
            raise TypeError("a file is needed")
        writing = mode[:1] in ("w", "a", "x")
        settings = _level(options)
        super().__init__(filename, mode, **(settings if writing else {"threads": 1}))


class Compressor(nzip.Compressor):
    """Compressor with the argument of BZ2Compressor."""

    def __init__(self, compresslevel: int = 1):
        super().__init__(**_level({"compresslevel": compresslevel}))


class Decompressor(nzip.Decompressor):
    """Decompressor as the tests construct it."""

    def __init__(self) -> None:
        super().__init__(threads=1)


def compress(data: Any, compresslevel: int = 1) -> bytes:
    return nzip.compress(data, **_level({"compresslevel": compresslevel}))


def decompress(data: Any) -> bytes:
    return b"" if not data else nzip.decompress(data)


def open_file(
    filename: Any,
    mode: str = "rb",
    compresslevel: int = 1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> Any:
    options = _level({"compresslevel": compresslevel}) if "r" not in mode else {}
    return nzip.open(filename, mode, encoding=encoding, errors=errors, newline=newline, **options)


def bz2_module() -> types.ModuleType:
    module = types.ModuleType("bz2")
    vars(module).update(
        BZ2File=File,
        BZ2Compressor=Compressor,
        BZ2Decompressor=Decompressor,
        compress=compress,
        decompress=decompress,
        open=open_file,
    )
    return module


def bz2_tests() -> types.ModuleType:
    """test_bz2 with nzip in bz2's place."""
    sys.modules["bz2"] = bz2_module()
    tests = importlib.import_module("test.test_bz2")
    base: Any = tests.BaseTest
    base.DATA = compress(base.TEXT)
    base.EMPTY_DATA = compress(b"")
    base.BAD_DATA = b"this is not a valid nzip file"
    base.BIG_DATA = compress(base.BIG_TEXT)
    tests.ext_decompress = decompress
    base.decompress = lambda self, data: decompress(data)
    return tests


# ---- lzma ----

SETTINGS = ("format", "check", "preset", "filters", "memlimit")


def _without(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments without lzma's own settings."""
    return {name: value for name, value in options.items() if name not in SETTINGS}


class LzmaFile(nzip.NzipFile):
    """NzipFile with the arguments of LZMAFile."""

    def __init__(self, filename: Any = None, mode: Any = "r", **options: Any):
        if not isinstance(mode, str):
            raise ValueError(f"invalid mode: {mode!r}")
        writing = mode[:1] in ("w", "a", "x")
        settings = {"level": 1, "threads": 1} if writing else {"threads": 1}
        super().__init__(filename, mode, **settings, **_without(options))

    @property
    def _fp(self) -> Any:
        return self._file


class LzmaCompressor(nzip.Compressor):
    """Compressor with the arguments of LZMACompressor."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(level=1, threads=1, **_without(options))


class LzmaDecompressor(nzip.Decompressor):
    """Decompressor with the arguments of LZMADecompressor."""

    check = mock.ANY

    def __init__(self, *args: Any, **options: Any):
        super().__init__(threads=1, **_without(options))


def lzma_open(filename: Any, mode: str = "rb", **options: Any) -> Any:
    writing = mode[:1] in ("w", "a", "x")
    settings = {"level": 1, "threads": 1} if writing else {}
    return nzip.open(filename, mode, **settings, **_without(options))


def lzma_tests() -> types.ModuleType:
    """test_lzma with nzip in lzma's place."""
    import lzma

    tests: Any = importlib.import_module("test.test_lzma")
    shim = types.SimpleNamespace(**vars(lzma))
    shim.open = lzma_open
    shim.compress = lambda data, *args, **options: compress(data)
    shim.decompress = lambda data, *args, **options: nzip.decompress(data)
    shim.LZMAFile, shim.LZMAError = LzmaFile, nzip.NzipError
    tests.lzma = shim
    tests.LZMAFile, tests.LZMAError = LzmaFile, nzip.NzipError
    tests.LZMACompressor, tests.LZMADecompressor = LzmaCompressor, LzmaDecompressor
    packed = compress(tests.INPUT)
    for name in vars(tests):
        if name.startswith("COMPRESSED_") and name != "COMPRESSED_BOGUS":
            setattr(tests, name, packed)
    return tests


# ---- gzip ----


class GzipFile(nzip.NzipFile):
    """NzipFile with the arguments of gzip.GzipFile."""

    def __init__(
        self,
        filename: Any = None,
        mode: str | None = None,
        compresslevel: int = 1,
        fileobj: Any = None,
        mtime: float | None = None,
    ):
        mode = mode or getattr(fileobj, "mode", "rb")
        mode = mode if isinstance(mode, str) else "rb"
        if "t" in mode or "U" in mode:
            raise ValueError(f"invalid mode: {mode!r}")
        target = fileobj if fileobj is not None else filename
        settings = {"threads": 1} if mode[:1] == "r" else {"level": 1, "threads": 1}
        super().__init__(target, mode.rstrip("b") or "r", **settings)
        self.fileobj = self.myfileobj = self._file


def gzip_open(
    filename: Any, mode: str = "rb", compresslevel: int = 1, *args: Any, **options: Any
) -> Any:
    return open_file(filename, mode, 1, *args, **options)


def gzip_tests() -> types.ModuleType:
    """test_gzip with nzip in gzip's place."""
    import gzip

    tests: Any = importlib.import_module("test.test_gzip")
    shim = types.SimpleNamespace(**vars(gzip))
    shim.GzipFile, shim.BadGzipFile, shim.open = GzipFile, nzip.NzipError, gzip_open
    shim.compress = lambda data, *args, **options: compress(data)
    shim.decompress = nzip.decompress
    tests.gzip = shim
    return tests


def short(test: unittest.TestCase) -> str:
    """The class and name of a test."""
    return ".".join(test.id().split(" ")[0].split(".")[-2:])


def flattened(suite: Any) -> list[unittest.TestCase]:
    """All tests of a suite."""
    if isinstance(suite, unittest.TestCase):
        return [suite]
    return [test for part in suite for test in flattened(part)]


def run(name: str, module: types.ModuleType) -> int:
    """Print what fails, and the counts; returns how many failed without a reason."""
    tests = flattened(unittest.defaultTestLoader.loadTestsFromModule(module))
    chosen = unittest.TestSuite(test for test in tests if short(test) not in LEFT_OUT)
    result = unittest.TextTestRunner(stream=io.StringIO(), verbosity=0).run(chosen)
    bad = {short(test): text for test, text in (*result.failures, *result.errors)}
    unexplained = [test for test in bad if test not in REASONS]
    for test, text in bad.items():
        print(f"{test}: {REASONS.get(test, 'FAILED: ' + text.strip().splitlines()[-1])}")
    passed = result.testsRun - len(bad) - len(result.skipped)
    meant, left_out = len(bad) - len(unexplained), len(tests) - result.testsRun
    print(f"{name}: {passed} passed, {len(unexplained)} failed, {meant} meant to differ,", end=" ")
    print(f"{left_out + len(result.skipped)} left out")
    return len(unexplained)


def main() -> int:
    failed = run("test_bz2", bz2_tests())
    failed += run("test_lzma", lzma_tests())
    failed += run("test_gzip", gzip_tests())
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

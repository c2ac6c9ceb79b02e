"""Builds the extension modules; everything else is in pyproject.toml."""

import os
import sys
from collections.abc import Sequence
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

KERNEL, TRAIN = "nzip/kernel/", "nzip/train/"


def files(*patterns: str) -> list[str]:
    return sorted(name for pattern in patterns for name in glob(pattern))


flags = ["-O3", "-g0", "-std=c11", "-fno-strict-aliasing", "-fvisibility=hidden"]
if sys.platform == "win32":
    flags = []
if os.environ.get("NZIP_WARNINGS_AS_ERRORS"):
    flags += ["-Wall", "-Wextra", "-Werror"]


def extension(name: str, *sources: str, more_flags: Sequence[str] = ()) -> Extension:
    return Extension(
        f"nzip.{name}",
        [f"nzip/{name.replace('.', '/')}.pyx", *sources],
        include_dirs=["nzip", "nzip/kernel"],
        depends=files(
            *(folder + kind for folder in (KERNEL, TRAIN) for kind in ("*.h", "*.inc")),
            "nzip/tokens/count.h",
        ),
        extra_compile_args=[*flags, *more_flags],
        define_macros=[("Py_LIMITED_API", "0x030B0000")],
        py_limited_api=True,
    )


setup(
    ext_modules=cythonize(
        [
            extension("_coder", KERNEL + "coder.c", KERNEL + "static.c"),
            extension("_trie", KERNEL + "trie.c", "nzip/tokens/count.c"),
            extension(
                "_predict", KERNEL + "model.c", KERNEL + "filter.c", *files(KERNEL + "engine_*.c")
            ),
            extension(
                "train._cell",
                *files(TRAIN + "*.c"),
                more_flags=flags and ["-fno-trapping-math", "-fno-math-errno", "-Wno-psabi"],
            ),
        ],
        build_dir="build",
    ),
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)

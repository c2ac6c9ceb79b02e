"""Builds the two extension modules; everything else is in pyproject.toml."""

import os
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

KERNEL = "nzip/kernel/"
HEADERS = ("common.h", "coder.h", "engine.h", "engine.inc", "tables.h", "target.h")
flags = ["-O3", "-g0", "-std=c11", "-fno-strict-aliasing", "-fvisibility=hidden"]
if sys.platform == "win32":
    flags = []
if os.environ.get("NZIP_WARNINGS_AS_ERRORS"):
    flags += ["-Wall", "-Wextra", "-Werror"]


def extension(name: str, *sources: str) -> Extension:
    return Extension(
        f"nzip.{name}",
        [f"nzip/{name}.pyx", *(KERNEL + source for source in sources)],
        include_dirs=["nzip", "nzip/kernel"],
        depends=[KERNEL + name for name in HEADERS],
        extra_compile_args=flags,
        define_macros=[("Py_LIMITED_API", "0x030B0000")],
        py_limited_api=True,
    )


setup(
    ext_modules=cythonize(
        [
            extension("_coder", "coder.c"),
            extension(
                "_predict", "model.c", "engine_portable.c", "engine_avx2.c", "engine_avx512.c"
            ),
        ],
        build_dir="build",
    ),
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)

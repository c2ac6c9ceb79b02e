"""Builds the extension modules; everything else is in pyproject.toml."""

import os
import sys
from collections.abc import Sequence

from Cython.Build import cythonize
from setuptools import Extension, setup

KERNEL = "nzip/kernel/"
HEADERS = ("common.h", "coder.h", "engine.h", "tables.h", "target.h", "trail.h", "trie.h")
PARTS = ("engine.inc", "m1.inc", "mixing.inc", "ac.inc", "windows.inc")
flags = ["-O3", "-g0", "-std=c11", "-fno-strict-aliasing", "-fvisibility=hidden"]
if sys.platform == "win32":
    flags = []
if os.environ.get("NZIP_WARNINGS_AS_ERRORS"):
    flags += ["-Wall", "-Wextra", "-Werror"]


TRAIN = "nzip/train/"


def extension(name: str, *sources: str, more_flags: Sequence[str] = ()) -> Extension:
    return Extension(
        f"nzip.{name}",
        [f"nzip/{name}.pyx", *sources],
        include_dirs=["nzip", "nzip/kernel"],
        depends=[
            *(KERNEL + name for name in HEADERS + PARTS),
            "nzip/tokens/count.h",
            TRAIN + "cell.h",
            TRAIN + "cell.inc",
            TRAIN + "cell_engine.inc",
            TRAIN + "rows.h",
            TRAIN + "rows.inc",
        ],
        extra_compile_args=[*flags, *more_flags],
        define_macros=[("Py_LIMITED_API", "0x030B0000")],
        py_limited_api=True,
    )


setup(
    ext_modules=cythonize(
        [
            extension("_coder", KERNEL + "coder.c"),
            extension("_trie", KERNEL + "trie.c", "nzip/tokens/count.c"),
            extension(
                "_predict",
                KERNEL + "model.c",
                KERNEL + "filter.c",
                KERNEL + "engine_portable.c",
                KERNEL + "engine_avx2.c",
                KERNEL + "engine_avx512.c",
                KERNEL + "engine_neon.c",
                KERNEL + "engine_dotprod.c",
            ),
            extension(
                "_cell",
                *(
                    TRAIN + name
                    for name in (
                        "cell.c",
                        "cell_portable.c",
                        "cell_avx2.c",
                        "cell_avx512.c",
                        "rows.c",
                    )
                ),
                more_flags=flags and ["-fno-trapping-math", "-fno-math-errno", "-Wno-psabi"],
            ),
        ],
        build_dir="build",
    ),
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)

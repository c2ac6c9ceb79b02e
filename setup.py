"""Builds the extension modules; everything else is in pyproject.toml."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNEL, TRAIN = "nzip/kernel/", "nzip/train/"


def files(*patterns: str) -> list[str]:
    return sorted(name for pattern in patterns for name in glob(pattern))


# Pythons without the GIL have no stable ABI.
limited = not sysconfig.get_config_var("Py_GIL_DISABLED")
flags = ["-O3", "-g0", "-std=c11", "-fno-strict-aliasing", "-fvisibility=hidden"]
math = ["-fno-trapping-math", "-fno-math-errno", "-Wno-psabi"]
if sys.platform == "win32":  # clang-cl takes cl's options, and clang's own with a prefix
    flags = ["/clang:-O3", "/clang:-std=c11", "/clang:-fno-strict-aliasing"]
    math = [f"/clang:{flag}" for flag in math]
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
        define_macros=[("Py_LIMITED_API", "0x030B0000")] if limited else [],
        py_limited_api=limited,
    )


class Build(build_ext):
    """On Windows with clang-cl: cl has no vectors, nor instruction sets for single functions."""

    def build_extensions(self) -> None:
        if sys.platform == "win32" and self.compiler.compiler_type == "msvc":
            self.compiler.initialize(self.plat_name)
            self.compiler.cc = "clang-cl"
            if self.plat_name == "win-amd64":  # for __builtin_cpu_supports
                command = ["clang", "--rtlib=compiler-rt", "--print-libgcc-file-name"]
                library = subprocess.run(command, check=True, capture_output=True, text=True)
                for each in self.extensions:
                    each.extra_objects.append(library.stdout.strip())
        super().build_extensions()


setup(
    ext_modules=cythonize(
        [
            extension("_coder", KERNEL + "coder.c", KERNEL + "static.c"),
            extension("_trie", KERNEL + "trie.c", "nzip/tokens/count.c"),
            extension(
                "_predict", KERNEL + "model.c", KERNEL + "filter.c", *files(KERNEL + "engine_*.c")
            ),
            extension("train._cell", *files(TRAIN + "*.c"), more_flags=math),
        ],
        build_dir="build",
    ),
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if limited else {},
)

"""Start-up stays cheap: what common commands must not import."""

import subprocess
import sys

import pytest
from conftest import ENGLISH

import nzip

HEAVY = ("torch", "numpy", "pydantic", "rich.progress", "zstandard", "nzip.train", "nzip.bench")


def imported(args, stdin=b""):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "nzip", *args],
        input=stdin,
        capture_output=True,
        check=True,
    )
    lines = result.stderr.decode().splitlines()
    return {line.rsplit("|", 1)[-1].strip() for line in lines if line.startswith("import time:")}


@pytest.mark.parametrize("args", [["--version"], ["compress", "-"], ["-d"], ["-9"], ["-t"]])
def test_commands_import_nothing_heavy(args):
    stdin = nzip.compress(ENGLISH) if args[0] in ("-d", "-t") else ENGLISH
    modules = imported(args, b"" if args[0] == "--version" else stdin)
    assert "nzip" in " ".join(modules)
    heavy = [m for m in modules if any(m == h or m.startswith(h + ".") for h in HEAVY)]
    assert heavy == []


def test_version_does_not_even_import_typer():
    assert "typer" not in imported(["--version"])
    assert nzip.__version__ == "0.1.0"


def test_import_nzip_is_lazy():
    code = "import sys, nzip; print(sorted(m for m in sys.modules if m.startswith('nzip')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['nzip', 'nzip.errors']"

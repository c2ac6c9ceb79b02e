"""``nzgrep``: grep in files compressed by nzip, and in others, which are passed on unchanged.

Each file is decompressed into its own grep process, which writes to the same output.
"""

from __future__ import annotations

import getopt
import re
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

from ..errors import NzipError, describe
from ..inputs import STDIO
from .job import Job, Sizes, expand_folders

USAGE = """Usage: nzgrep [OPTIONS OF GREP] [-e] PATTERN [FILE]...

Search files compressed by nzip, and others; without FILE, or for -, standard input. Options are
passed to grep; -r goes into folders. The exit code is that of grep: 0 if a line was found, 1 if
none was, 2 after an error.
"""
SHORT = "A:B:C:D:EFGHILPTUVZabcd:e:f:hilm:noqrRsuvwxyz"
LONG = (
    *("extended-regexp", "fixed-strings", "basic-regexp", "perl-regexp", "regexp=", "file="),
    *("ignore-case", "no-ignore-case", "word-regexp", "line-regexp", "null-data", "no-messages"),
    *("invert-match", "version", "help", "max-count=", "byte-offset", "line-number"),
    *("line-buffered", "with-filename", "no-filename", "only-matching", "quiet", "silent"),
    *("binary-files=", "text", "directories=", "devices=", "recursive", "dereference-recursive"),
    *("files-without-match", "files-with-matches", "count", "initial-tab", "null"),
    *("before-context=", "after-context=", "context=", "color", "colour", "binary"),
)
RECURSIVE = {"-r", "-R", "--recursive", "--dereference-recursive"}
PATTERNS = {"-e", "--regexp", "-f", "--file"}


def _parse(args: list[str]) -> tuple[list[str], set[str], list[str]]:
    """(options for grep, their names, files). Raises GetoptError."""
    # getopt does not support options whose value can be left out; only --color is one.
    colors = [arg for arg in args if arg.startswith(("--color=", "--colour="))]
    # Nor numbers as options: -12 is -C 12.
    known = [re.sub(r"^-(?=\d+$)", "-C", arg) for arg in args if arg not in colors]
    options, rest = getopt.gnu_getopt(known, SHORT, LONG)
    given, names = colors, {name for name, _ in options}
    for name, value in options:
        if name in ("-f", "--file") and value == "-":
            raise getopt.GetoptError("-f - : standard input is for data")
        if name in RECURSIVE:
            continue
        takes = SHORT[SHORT.find(name[1]) + 1 :][:1] == ":" if name[1] != "-" else bool(value)
        if not takes:
            given.append(name)
        else:
            given.append(f"{name}={value}" if name.startswith("--") else name + value)
    if not names & PATTERNS and not names & {"-V", "--version", "--help"}:
        if not rest:
            raise getopt.GetoptError("no pattern")
        given += ["-e", rest.pop(0)]
    return given, names, rest


def _search(path: Path, options: list[str]) -> int:
    """grep's exit code for one file. Raises OSError and NzipError."""
    with ExitStack() as stack:
        source = sys.stdin.buffer if path == STDIO else stack.enter_context(path.open("rb"))
        label = "(standard input)" if path == STDIO else str(path)
        command = ["grep", f"--label={label}", *options, "--", "-"]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as grep:
            assert grep.stdin is not None
            with suppress(BrokenPipeError):  # grep has read enough
                try:
                    Job(None, pass_through=True).to_stream(source, grep.stdin, Sizes())
                finally:
                    grep.stdin.close()
        return grep.returncode


def run(args: list[str]) -> int:
    """Run nzgrep; return the exit code, or minus the number of a signal that ended grep."""
    try:
        options, names, files = _parse(args)
    except getopt.GetoptError as error:
        print(f"nzgrep: {error}\n{USAGE}", end="", file=sys.stderr)
        return 2
    if "--help" in names:
        print(USAGE, end="")
        return 0
    if names & {"-V", "--version"}:
        return subprocess.run(["grep", "--version"]).returncode
    recursive = bool(names & RECURSIVE)
    paths = [Path(name) for name in files] or [STDIO]
    if recursive or len(paths) > 1:
        options.insert(0, "-H")  # the user's options come later and take precedence
    found, failed = False, False
    for given in paths:
        places = expand_folders([given], recursive, compressed=None)
        while True:
            path = given
            try:
                if (next_one := next(places, None)) is None:
                    break
                path = next_one
                code = _search(path, options)
            except (OSError, ValueError, NzipError, MemoryError) as error:
                if not names & {"-s", "--no-messages"} or not isinstance(error, OSError):
                    name = "(standard input)" if path == STDIO else str(path)
                    text = describe(error)
                    line = text if text.startswith(name) else f"{name}: {text}"
                    print(f"nzgrep: {line}", file=sys.stderr)
                failed = True
                if path == given:
                    break
                continue
            if code < 0 or (code == 0 and names & {"-q", "--quiet", "--silent"}):
                return code
            found, failed = found or code == 0, failed or code > 1
    return 2 if failed else 0 if found else 1

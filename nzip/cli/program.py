"""The ``nzip`` program: short flags, filter mode, signals and exit codes around the commands.

Without a command nzip is a filter like gzip, which is how tar, rsync and logrotate call it:
``nzip`` compresses, ``nzip -d`` decompresses, ``nzip -t`` tests.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from .. import __version__
from ..errors import describe

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
FILTERS = {
    "-t": "test",
    "--test": "test",
    "-d": "decompress",
    "--decompress": "decompress",
    "--uncompress": "decompress",
    "-l": "info",
    "--list": "info",
    "-z": "compress",
    "--compress": "compress",
}
# Options of gzip, xz and zstd that have another name here.
ALIASES = {"--fast": "--level=1", "--best": "--level=9", "--to-stdout": "--stdout"}


class Signalled(BaseException):
    """A signal that ends the program; raised so that temporary files are removed first."""

    def __init__(self, number: int):
        self.number = number


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Signalled(number)


def _catch_signals() -> None:
    for name in SIGNALS:
        number = getattr(signal, name, None)
        # A signal that is already ignored (nohup) stays ignored.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)


def _die(number: int) -> int:
    """End the program by the signal itself, as shells expect.

    To be called when the exception is gone. A signal that came before a `with` had begun its block
    left a generator suspended, and that removes its temporary file only when it is collected.
    """
    gc.collect()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number


def _fill_closed() -> None:
    """Open descriptors 0 to 2 if they are closed, so that no file gets one of these numbers.

    ``sys.stdin`` and ``sys.stdout`` stay None if they were closed; messages to a closed stderr are
    dropped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")


def _check_environment() -> None:
    for folder in filter(None, os.environ.get("NZIP_MODEL_PATH", "").split(os.pathsep)):
        if not os.path.isdir(folder):
            print(f"nzip: NZIP_MODEL_PATH names {folder!r}, which is not a folder", file=sys.stderr)
    from ..levels import LEVELS

    # A malformed value of these is no reason to fail.
    for name, values in {"NZIP_LEVEL": LEVELS, "NZIP_THREADS": range(1 << 16)}.items():
        text = os.environ.get(name)
        if text and not (text.isascii() and text.isdigit() and int(text) in values):
            print(f"nzip: {name} is {text!r}, not a valid number; ignored", file=sys.stderr)
            del os.environ[name]


def _takes_value(command: Any, option: str) -> bool:
    """True if that option of a command takes a value."""
    return any(
        option in parameter.opts and not parameter.is_flag
        for parameter in command.params
        if parameter.param_type_name == "option"
    )


def expand(args: list[str], command: Any) -> list[str]:
    """Expand ``-9c`` to ``--level=9 -c``: digits among clustered short flags are levels."""
    out: list[str] = []
    place = 0
    while place < len(args):
        arg = args[place]
        place += 1
        if arg == "--":
            return [*out, *args[place - 1 :]]
        if len(arg) < 2 or arg[0] != "-" or arg[1] == "-":
            out.append(arg)
        else:
            out += _expand_cluster(arg[1:], command)
        if "=" not in arg and out[-1] != "-" and _takes_value(command, out[-1]):
            out += args[place : place + 1]
            place += 1
    return out


def _expand_cluster(letters: str, command: Any) -> list[str]:
    out = []
    at = 0
    while at < len(letters):
        letter = letters[at]
        if letter.isdigit() and letter.isascii():
            end = at + 1
            while end < len(letters) and letters[end].isdigit():
                end += 1
            # With "=", so that it does not take the next argument as its value.
            out.append(f"--level={letters[at:end]}")
            at = end
        elif _takes_value(command, "-" + letter):
            return [*out, "-" + letters[at:]]
        else:
            out.append("-" + letter)
            at += 1
    return out


def _mistyped(name: str, commands: list[str]) -> str | None:
    """The command that a word probably stands for."""
    if not name.isalpha() or os.path.lexists(name):
        return None
    import difflib

    return next(iter(difflib.get_close_matches(name, commands, 1, 0.75)), None)


def _first_word(args: list[str], command: Any) -> str:
    """The first of the expanded arguments that is neither an option nor its value."""
    rest = iter(args)
    for arg in rest:
        if arg == "--":
            return ""
        if len(arg) < 2 or arg[0] != "-":
            return arg
        if "=" not in arg and _takes_value(command, arg):
            next(rest, None)
    return ""


class UsageError(Exception):
    """Wrong usage; exit code 2."""


def with_command(args: list[str], group: Any) -> list[str]:
    """The arguments with a command in front: the one given, or that of filter mode.

    Raises UsageError.
    """
    commands = group.commands
    first = args[0] if args else ""
    if first in ("-h", "--help", "-V", "--version") or "completion" in first:
        return args
    # The name of a command is a command, unless it is the only argument and a file has that name.
    if first in commands and not (len(args) == 1 and Path(first).is_file()):
        command, rest = commands[first], args[1:]
        if hasattr(command, "commands"):  # a group: its own commands have options
            inner = rest[0] if rest else ""
            if inner not in command.commands:
                return args
            return [first, inner, *expand(rest[1:], command.commands[inner])]
        return [first, *expand(rest, command)]
    meant = _mistyped(first, list(commands))
    if meant is not None:
        raise UsageError(f"no command or file {first!r}; did you mean '{meant}'?")
    expanded = expand(args, commands["compress"])
    word = _first_word(expanded, commands["compress"])
    if word in commands and not os.path.lexists(word):
        raise UsageError(f"no file {word!r}; the command of that name comes first: nzip {word} ...")
    end = expanded.index("--") if "--" in expanded else len(expanded)
    flags, rest = expanded[:end], expanded[end:]
    name = next((name for flag, name in FILTERS.items() if flag in flags), "compress")
    return [name, *(ALIASES.get(flag, flag) for flag in flags if flag not in FILTERS), *rest]


def _run(args: list[str]) -> int:
    from .app import make_group

    group = make_group()
    result = group(with_command(args, group), prog_name="nzip", standalone_mode=False)
    return result if isinstance(result, int) else 0


def cat() -> int:
    """``nzcat``: decompress to standard output."""
    return main(["-dc", *sys.argv[1:]])


def unnzip() -> int:
    """``unnzip``: decompress."""
    return main(["-d", *sys.argv[1:]])


def grep() -> int:
    """``nzgrep``: search compressed files."""
    _fill_closed()
    _catch_signals()
    try:
        from .grep import run

        code = run(sys.argv[1:])
    except Signalled as signalled:
        code = -signalled.number
    return _die(-code) if code < 0 else code


def main(args: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    _fill_closed()
    try:
        code = _guarded(sys.argv[1:] if args is None else args)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except OSError as error:  # the output could not be written, as to /dev/full
        print(f"nzip: {describe(error)}", file=sys.stderr)
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter will flush again
        return 1


def _guarded(args: list[str]) -> int:
    if args in (["--version"], ["-V"]):
        print(f"nzip {__version__}")
        return 0
    if not args and sys.stdin is not None and sys.stdin.isatty():
        args = ["--help"]
    _check_environment()
    _catch_signals()
    try:
        return _run(args)
    except Signalled as signalled:
        number = signalled.number
    except UsageError as error:
        print(f"nzip: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if show is not None and code is not None:  # a usage error of Typer's
            show()
            return int(code)
        if code is not None:
            return int(code)
        if isinstance(error, (OSError, ValueError, ImportError, MemoryError)):
            print(f"nzip: {describe(error)}", file=sys.stderr)
            return 1
        raise
    return _die(number)

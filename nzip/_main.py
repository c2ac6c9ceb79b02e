"""The ``nzip`` program: short flags, filter mode, signals and exit codes around the commands.

Without a command nzip is a filter like gzip, which is how tar, rsync and logrotate call it:
``nzip`` compresses, ``nzip -d`` decompresses, ``nzip -t`` tests.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from . import __version__

COMMANDS = (
    *("compress", "decompress", "test", "info", "bench"),
    *("train", "eval", "models", "sample", "tokenize", "detokenize", "m2"),
)
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
WITH_VALUE = "mwoT"  # short options that take one


class Signalled(BaseException):
    """A signal that ends the program, raised so that temporary files are removed first."""

    def __init__(self, number: int):
        self.number = number


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Signalled(number)


def _catch_signals() -> None:
    for name in SIGNALS:
        number = getattr(signal, name, None)
        # A signal that the parent ignores (nohup) stays ignored.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)


def _die(number: int) -> int:
    """End by the signal itself, as a shell expects it."""
    sys.stderr.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number


def expand(args: list[str]) -> list[str]:
    """``-9c`` as ``--level 9 -c``: digits among clustered short flags are levels."""
    out: list[str] = []
    for place, arg in enumerate(args):
        if arg == "--":
            return out + args[place:]
        if len(arg) < 2 or arg[0] != "-" or arg[1] == "-":
            out.append(arg)
            continue
        for at, letter in enumerate(arg[1:], 1):
            if letter in WITH_VALUE:
                out.append("-" + arg[at:])
                break
            out += ["--level", letter] if letter.isdigit() else ["-" + letter]
    return out


def with_command(args: list[str]) -> list[str]:
    """The arguments behind a command: the one given, or that of filter mode."""
    args = expand(args)
    if args and (args[0] in COMMANDS or args[0] in ("--help", "-h")):
        return args
    end = args.index("--") if "--" in args else len(args)
    flags, rest = args[:end], args[end:]
    command = "compress"
    for short, long, name in (("-t", "--test", "test"), ("-d", "--decompress", "decompress")):
        if short in flags or long in flags:
            command = name
            flags = [flag for flag in flags if flag not in (short, long)]
    if command != "compress":  # tar appends -d to whatever it was given: a level means nothing here
        while "--level" in flags:
            at = flags.index("--level")
            del flags[at : at + 2]
    return [command, *flags, *rest]


def main() -> int:
    """Run the program; returns the exit code."""
    args = sys.argv[1:]
    if args in (["--version"], ["-V"]):
        print(f"nzip {__version__}")
        return 0
    if not args and sys.stdin.isatty():
        args = ["--help"]
    _catch_signals()
    try:
        from .cli import app

        result = app(with_command(args), prog_name="nzip", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except Signalled as signalled:
        return _die(signalled.number)
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


def describe(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "out of memory"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())

"""Writes man/*.1 from the --help texts.

python tools/make_man.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from nzip import __version__
from nzip.cli.app import make_group
from nzip.cli.grep import USAGE
from nzip.cli.program import ALIASES, FILTERS

ROOT = Path(__file__).parents[1]
OTHER_NAMES = ("unnzip", "nzcat", "nzgrep")

SYNOPSIS = """.B nzip
.RI [ OPTION ]... \\ [ FILE ]...
.br
.B nzip
.I COMMAND
.RI [ OPTION ]... \\ [ ARGUMENT ]...
.br
.B unnzip
.RI [ OPTION ]... \\ [ FILE ]...
.br
.B nzcat
.RI [ OPTION ]... \\ [ FILE ]...
.br
.B nzgrep
.RI [ "OPTION OF GREP" ]... " PATTERN " [ FILE ]...
"""
WITHOUT_A_COMMAND = """Options of
.B compress
and
.B decompress
go without a command too, and so do these:"""
ENVIRONMENT = {
    "NZIP_LEVEL": "The level, where no option gives one.",
    "NZIP_THREADS": "The number of threads, where no option gives one; 0 for all cores.",
    "NZIP_MODEL_PATH": "Folders with further models, separated as in PATH.",
    "NZIP_KERNEL": "The variant of the kernel: portable, avx2, avx512, neon or dotprod. All give"
    " the same bytes.",
    "NZIP_CACHE": "The folder in which dictionaries of windows are kept.",
}
EXIT = {
    "0": "All is well.",
    "1": "Data are damaged, or could not be read or written.",
    "2": "The call was wrong.",
}
EXAMPLES = {
    "nzip compress report.txt": "Write report.txt.nz; the input stays.",
    "nzip -9 --rm *.log": "The strongest level; inputs are removed once verified.",
    "tar -I nzip -cf backup.tar.nz folder/": "As the compressor of tar.",
    "nzip decompress --recover backup.tar.nz": "Write the intact parts of a damaged file.",
    "nzgrep -n error *.log.nz": "Search compressed files.",
}


def escape(text: str) -> str:
    """Text escaped for troff."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in text)
    return "\n".join("\\&" + line if line[:1] == "." else line for line in text.split("\n"))


def _value(parameter: Any) -> str:
    """The placeholder for a parameter's value."""
    if getattr(parameter, "is_flag", False):
        return ""
    if parameter.metavar:
        return str(parameter.metavar)
    kind = parameter.type
    if getattr(kind, "choices", None):
        return "|".join(getattr(choice, "value", choice) for choice in kind.choices)
    if getattr(kind, "min", None) is not None and kind.max is not None:
        return f"{kind.min}..{kind.max}"
    return {"int": "N", "float": "X", "str": "NAME"}.get(kind.name.split()[0], "FILE")


def _option(parameter: Any) -> list[str]:
    names = ", ".join(
        f"\\fB{escape(name)}\\fR" for name in (*parameter.opts, *parameter.secondary_opts)
    )
    value = _value(parameter)
    text = escape(parameter.help or "")
    default = parameter.default
    default = getattr(default, "value", default)
    if default is not None and not isinstance(default, bool) and not callable(default):
        text += f" Default: {escape(str(default))}."
    if parameter.envvar:
        text += f" Also set by {parameter.envvar}."
    return [".TP", names + (f" \\fI{escape(value)}\\fR" if value else ""), text.strip()]


def _command(name: str, command: Any) -> list[str]:
    """The section of one command."""
    if hasattr(command, "commands"):
        lines = []
        for inner, child in command.commands.items():
            lines += _command(f"{name} {inner}", child)
        return lines
    arguments, options = [], []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            label = parameter.metavar or f"[{parameter.name.upper()}]..."
            arguments.append(label if label[0] == "[" else label.upper())
        elif not parameter.hidden and "--help" not in parameter.opts:
            options.append(parameter)
    lines = [f".SS nzip {escape(name)} {escape(' '.join(arguments))}".rstrip()]
    for paragraph in (command.help or "").split("\n\n"):
        lines += [".PP", escape(" ".join(paragraph.split()))]
    for parameter in options:
        lines += _option(parameter)
    return lines


def _table(rows: dict[str, str]) -> list[str]:
    return [
        line
        for name, text in rows.items()
        for line in (".TP", f"\\fB{escape(name)}\\fR", escape(text))
    ]


def page() -> str:
    """The text of nzip.1."""
    group = make_group()
    about = escape(" ".join((group.help or "").split()))
    lines = [
        '.\\" Written by tools/make_man.py.',
        f'.TH NZIP 1 "" "nzip {__version__}" "User Commands"',
        ".SH NAME",
        "nzip, unnzip, nzcat, nzgrep \\- compress and decompress text, or search it",
        ".SH SYNOPSIS",
        SYNOPSIS.rstrip(),
        ".SH DESCRIPTION",
        about,
        ".PP",
        WITHOUT_A_COMMAND,
    ]
    flags: dict[str, list[str]] = {}
    for flag, name in FILTERS.items():
        flags.setdefault(f"As nzip {name}.", []).append(flag)
    for flag, other in ALIASES.items():
        flags.setdefault(f"The same as {other}.", []).append(flag)
    for text, names in flags.items():
        bold = ", ".join(f"\\fB{escape(name)}\\fR" for name in names)
        lines += [".TP", bold, escape(text)]
    lines += [
        ".PP",
        "\\fBunnzip\\fR is \\fBnzip \\-d\\fR, and \\fBnzcat\\fR is \\fBnzip \\-dc\\fR.",
        ".SH COMMANDS",
    ]
    for name, command in group.commands.items():
        lines += _command(name, command)
    usage = USAGE.split("\n\n", 1)
    lines += [".SH NZGREP", escape(usage[0].removeprefix("Usage: ")), ".PP"]
    lines += [escape(" ".join(usage[1].split()))]
    lines += [".SH ENVIRONMENT", *_table(ENVIRONMENT)]
    lines += [".SH EXIT STATUS", *_table(EXIT)]
    lines += [".SH EXAMPLES", *_table(EXAMPLES)]
    lines += [".SH SEE ALSO", ".BR gzip (1),", ".BR grep (1),", ".BR tar (1),", ".BR zstd (1)"]
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """All files by name."""
    return {"nzip.1": page(), **{f"{name}.1": ".so man1/nzip.1\n" for name in OTHER_NAMES}}


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "man"
    for file, text in pages().items():
        (folder / file).write_text(text, encoding="ascii")

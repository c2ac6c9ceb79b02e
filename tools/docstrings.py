"""A griffe extension: this package's docstrings as Markdown, for the site (see mkdocs.yml)."""

from __future__ import annotations

import re
from typing import Any

import griffe

PARAMETERS = re.compile(r"^(\w+(?:, \w+)*): ")


def markdown(docstring: str) -> str:
    """Examples become code, and a paragraph that begins with a parameter's name becomes a list."""
    parts = []
    for part in docstring.split("\n\n"):
        if part.startswith(">>>"):
            part = f"```pycon\n{part}\n```"
        elif PARAMETERS.match(part):
            lines = (PARAMETERS.sub(r"* **\1**: ", line) for line in part.split("\n"))
            part = "\n".join(line if line.startswith("* ") else f"  {line}" for line in lines)
        parts.append(part)
    return "\n\n".join(parts)


class Docstrings(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)

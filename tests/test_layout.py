"""Which module may need which: the map in CONTRIBUTING.md, held by reading the imports."""

import ast
import importlib.util
import re
from graphlib import TopologicalSorter
from pathlib import Path

import nzip
from nzip import levels
from nzip.cli import options
from nzip.tokens import tokenizations

PACKAGE = Path(nzip.__file__).parent


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def parents(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:end]) for end in range(1, len(parts))}


class Imports(ast.NodeVisitor):
    """nzip's modules that one of them imports, in functions too; not for types alone."""

    def __init__(self, name: str):
        path = MODULES[name]
        self.package = name if path.stem == "__init__" else name.rpartition(".")[0]
        self.found: set[str] = set()
        self.visit(ast.parse(path.read_text()))

    def visit_If(self, node: ast.If) -> None:
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = "." * node.level + (node.module or "")
        source = importlib.util.resolve_name(source, self.package)
        names = {f"{source}.{alias.name}" for alias in node.names}
        self.found |= (names & MODULES.keys()) or {source}


def needed(name: str) -> set[str]:
    """What is imported for a module, with the packages that it lies in, but for its own."""
    found = Imports(name).found & MODULES.keys()
    found |= {parent for module in found for parent in parents(module)}
    return found - {name, "nzip"} - parents(name)


GRAPH = {name: needed(name) for name in MODULES}


def reached(*names: str) -> set[str]:
    found: set[str] = set()
    left = [*names]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += GRAPH[name]
    return found


def test_no_modules_import_each_other_in_a_circle():
    assert GRAPH["nzip.stream"] >= {"nzip.frame", "nzip.modes", "nzip.workers"}  # it does read them
    assert {*TopologicalSorter(GRAPH).static_order()} >= {"nzip.cli.program"}  # or CycleError


def test_the_library_does_not_need_the_command_line():
    library = [n for n in MODULES if not n.startswith(("nzip.cli", "nzip.bench", "nzip.__main__"))]
    assert not {name for name in reached(*library) if name.startswith("nzip.cli")}


def test_coding_needs_neither_training_nor_the_experiments():
    rest = ("nzip.train", "nzip.m2", "nzip.tokens", "nzip.bench", "nzip.cli", "nzip.reference")
    coding = reached("nzip.stream", "nzip.nzipfile", "nzip.recover", "nzip.register", "nzip.prior")
    assert not {name for name in coding if name.startswith(rest)}


def test_names_on_the_command_line_are_the_librarys():
    assert [*options.TokenizationName] == [*tokenizations.KINDS]
    assert [*options.ModeName] == [*nzip.modes.MODES]
    assert set(options.ModeName) == {*nzip.frame.CODINGS.values()}


def test_levels_state_what_follows_from_them():
    for number, level in levels.LEVELS.items():
        assert level.block_size in levels.BLOCK_SIZES
        assert levels.default_model("ac", number) == level.model
    assert levels.default_model("static") is None
    text = levels.describe_levels()
    assert all(f"-{number}" in text for number in levels.LEVELS)


def test_settings_and_documents_name_tests_that_exist():
    tests = Path(__file__).parent
    root = tests.parent
    found = set()
    documents = ("*.md", "docs/*.md", "tests/**/*.md", "contrib/**/*.md", ".github/**/*.md")
    for pattern in ("pyproject.toml", "Makefile", ".ci/run", ".github/**/*.yml", *documents):
        for path in root.glob(pattern):
            found |= set(re.findall(r"tests/(test_\w+\.py)", path.read_text()))
    assert found
    assert not [name for name in sorted(found) if not (tests / name).exists()]

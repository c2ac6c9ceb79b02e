"""The commands of ``nzip``, as a Typer application."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer

from .. import __version__
from . import compress, m2, measure, tokens, train

# Options of compress that decompress and test accept and ignore: tar adds -d to all of them.
PASSED_OVER = (
    *("level", "mode", "window", "reset_every", "context", "adapt", "block_size", "exclude"),
)

app = typer.Typer(
    add_completion=True,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Neural text compression: lossless, bit-exact on every machine. Without a command nzip"
    " is a filter: it compresses stdin to stdout, or decompresses with -d, so that"
    " `tar -I nzip` works.",
)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version and exit.")
    ] = False,
) -> None:
    if version:
        print(f"nzip {__version__}")
        raise typer.Exit


COMMANDS: dict[str, Callable[..., None]] = {
    "compress": compress.compress,
    "decompress": compress.decompress,
    "test": compress.check,
    "prior": train.make_prior,
    "info": compress.info,
    "bench": measure.bench,
    "train": train.train,
    "eval": measure.evaluate_model,
    "tokenize": tokens.tokenize,
    "detokenize": tokens.detokenize,
    "models": measure.list_models,
    "sample": measure.sample_text,
}
M2_COMMANDS: dict[str, Callable[..., None]] = {
    "train": m2.train,
    "compare": m2.compare,
    "generate": m2.generate,
    "meaning": m2.meaning,
}
m2_app = typer.Typer(
    no_args_is_help=True,
    help="Language models over tokens (M2): the experiment of arXiv 2404.03626. Extra: m2.",
)
for name, command in M2_COMMANDS.items():
    m2_app.command(name)(command)


class Commands(Mapping[str, Any]):
    """The commands by name, each made when it is asked for: to make all of them takes 40 ms."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __iter__(self) -> Iterator[str]:
        yield from (*COMMANDS, "m2")

    def __len__(self) -> int:
        return len(COMMANDS) + 1

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Any:
        if name == "m2":
            made: Any = typer.main.get_command(m2_app)
            made.name = name
            return made
        alone = typer.Typer(add_completion=False)
        alone.command(name)(COMMANDS[name])
        made = typer.main.get_command(alone)
        if name in ("decompress", "test"):
            made.params += self._passed_over()
        return made

    def _passed_over(self) -> list[Any]:
        options = {parameter.name: parameter for parameter in self["compress"].params}
        hidden = []
        for name in PASSED_OVER:
            option = copy.copy(options[name])
            option.hidden, option.expose_value = True, False
            option.default = option.envvar = None
            if not option.is_flag:
                option.type = options["suffix"].type  # any text
            hidden.append(option)
        return hidden


def make_group() -> Any:
    """The program's commands, as an object of the library under Typer."""
    group: Any = typer.main.get_command(app)
    group.commands = Commands()
    return group

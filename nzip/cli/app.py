"""The commands of ``nzip``, as a Typer application."""

from __future__ import annotations

import copy
from collections.abc import Callable
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
for name, command in COMMANDS.items():
    app.command(name)(command)

m2_app = typer.Typer(
    no_args_is_help=True,
    help="Language models over tokens (M2): the experiment of arXiv 2404.03626. Extra: m2.",
)
for name, command in M2_COMMANDS.items():
    m2_app.command(name)(command)
app.add_typer(m2_app, name="m2")


def make_group() -> Any:
    """The program's commands, as an object of the library under Typer."""
    group: Any = typer.main.get_command(app)
    options = {parameter.name: parameter for parameter in group.commands["compress"].params}
    for name in PASSED_OVER:
        option = copy.copy(options[name])
        option.hidden, option.expose_value = True, False
        option.default = option.envvar = None
        if not option.is_flag:
            option.type = options["suffix"].type  # any text
        for command in ("decompress", "test"):
            group.commands[command].params.append(option)
    return group

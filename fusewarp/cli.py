"""The command line: the app, its version and its errors; each command has a module of its own.

Nothing slow is imported before a command runs, so that `fusewarp --help` comes at once.
"""

import functools
import os
from collections.abc import Callable
from typing import Annotated, ParamSpec

import typer

from . import (
    __version__,
    cli_bench,
    cli_demo,
    cli_doctor,
    cli_evaluate,
    cli_export,
    cli_pack,
    cli_predict,
    cli_preview,
    cli_train,
    cli_verify,
    cli_warmup,
)
from .engine.devices import DeviceError

P = ParamSpec("P")
USER_ERRORS = (OSError, ValueError, TypeError, ImportError, DeviceError)
TRACEBACK = "FUSEWARP_TRACEBACK"
ABOUT = "Image augmentation in one fused pass, and transfer learning on folders of photos."

app = typer.Typer(
    help=ABOUT,
    epilog=f"An error ends in one sentence; set {TRACEBACK}=1 to see where it came from.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; the entry point `fusewarp`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what goes wrong comes as an exception
    app()


def one_sentence(command: Callable[P, None]) -> Callable[P, None]:
    """Make a command end in its error's message, in red, instead of a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except USER_ERRORS as error:
            if os.environ.get(TRACEBACK):
                raise
            typer.secho(str(error) or repr(error), fg="red", bold=True, err=True)
            raise typer.Exit(1) from None

    return run


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        typer.echo(f"fusewarp {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show it and exit."),
    ] = False,
) -> None:
    """Take the options that stand before the command."""


for module, command in (
    (cli_demo, cli_demo.demo),
    (cli_train, cli_train.train),
    (cli_predict, cli_predict.predict),
    (cli_evaluate, cli_evaluate.evaluate),
    (cli_export, cli_export.export),
    (cli_preview, cli_preview.preview),
    (cli_pack, cli_pack.pack),
    (cli_verify, cli_verify.verify),
    (cli_warmup, cli_warmup.warmup),
    (cli_bench, cli_bench.bench),
    (cli_doctor, cli_doctor.doctor),
):
    app.command(epilog=module.EXAMPLES)(one_sentence(command))

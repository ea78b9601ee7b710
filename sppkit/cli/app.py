"""The program: its commands and what it says of itself."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sppkit.cli.bless import bless
from sppkit.cli.check import check
from sppkit.cli.compare import compare
from sppkit.cli.console import explain_usage
from sppkit.cli.diff import diff
from sppkit.cli.gain import gain
from sppkit.cli.git import git
from sppkit.cli.inspect import inspect
from sppkit.cli.invariance import invariance
from sppkit.cli.list import list_
from sppkit.cli.plot import plot
from sppkit.cli.predict import predict
from sppkit.cli.shift import shift
from sppkit.cli.suggest import suggest

_HELP = """Diagnose signal propagation in a network before training it.

A Signal Propagation Plot shows mean and variance of the signal, block by block.

Try:

  sppkit plot --arch nf-resnet --depth 600

  sppkit plot --arch bn-relu-conv --depth 50 --seeds 4 --image-size 64

  sppkit plot spp/nf-resnet-600.csv --format svg,pdf

  sppkit compare bn-relu-conv relu-bn-conv --depth 50

  sppkit predict --arch nf-resnet --depth 600

  sppkit suggest --arch he-resnet --depth 50

  sppkit gain silu
"""


class Program(TyperGroup):
    """The group of commands, saying what was mistyped the way the commands themselves say it."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the program and exit."""
        try:
            code = super().main(*arguments, **{**options, "standalone_mode": False})
        except Exception as error:
            if not hasattr(error, "format_message"):  # not one of click's, whichever click typer uses
                raise
            code = 2
            if type(error).__name__ != "NoArgsIsHelpError":  # which has shown the help
                explain_usage(error)
        sys.exit(code)


app = typer.Typer(
    cls=Program,
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        from sppkit import __version__
        from sppkit.cli.console import show

        show(f"sppkit {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Hold the options of the program itself."""


app.command()(plot)
app.command()(check)
app.command()(bless)
app.command()(diff)
app.command()(compare)
app.command()(predict)
app.command()(suggest)
app.command()(shift)
app.command()(invariance)
app.command()(gain)
app.add_typer(git, name="git")
app.command(name="inspect")(inspect)
app.command(name="list")(list_)

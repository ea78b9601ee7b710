"""The program: its commands and what it says of itself."""

from __future__ import annotations

import os
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
from sppkit.cli.options import ALL_OPTIONS
from sppkit.cli.plot import plot
from sppkit.cli.predict import predict
from sppkit.cli.report import report
from sppkit.cli.shift import shift
from sppkit.cli.suggest import suggest
from sppkit.cli.sweep import sweep

_HELP = """Diagnose signal propagation in a network before training it.

A Signal Propagation Plot shows mean and variance of the signal, block by block.

Try:

  sppkit plot --arch nf-resnet --depth 600

  sppkit plot --arch bn-relu-conv --depth 50 --seeds 4 --image-size 64

  sppkit plot spp/nf-resnet-600.csv --format svg,pdf

  sppkit compare bn-relu-conv relu-bn-conv --depth 50

  sppkit report spp/nf-resnet-600.csv --out page.html

  sppkit predict --arch nf-resnet --depth 600

  sppkit suggest --arch he-resnet --depth 50

  sppkit gain silu
"""


_HELP_FLAGS = ("-h", "--help")


class Program(TyperGroup):
    """The group of commands, saying what was mistyped the way the commands themselves say it."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the program and exit."""
        given = arguments[0] if arguments else options.pop("args", None)
        arguments = (self._with_all(sys.argv[1:] if given is None else list(given)),)
        try:
            code = super().main(*arguments, **{**options, "standalone_mode": False})
        except Exception as error:
            if not hasattr(error, "format_message"):  # not one of click's, whichever click typer uses
                raise
            code = 2
            if type(error).__name__ != "NoArgsIsHelpError":  # which has shown the help
                explain_usage(error)
        sys.exit(code)

    def _with_all(self, typed: list[str]) -> list[str]:
        """Show every option where ``--help all`` asks for them, and to a shell that completes."""
        asked = [index for index in range(len(typed) - 1) if typed[index] in _HELP_FLAGS and typed[index + 1] == "all"]
        if asked or any(name.endswith("_COMPLETE") and "SPPKIT" in name for name in os.environ):
            for command in self.commands.values():
                for parameter in command.params:
                    if hasattr(parameter, "hidden"):
                        parameter.hidden = False
        return [text for index, text in enumerate(typed) if index - 1 not in asked]


app = typer.Typer(
    cls=Program,
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": list(_HELP_FLAGS)},
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


app.command(epilog=ALL_OPTIONS)(plot)
app.command(epilog=ALL_OPTIONS)(check)
app.command()(bless)
app.command()(diff)
app.command(epilog=ALL_OPTIONS)(compare)
app.command()(report)
app.command(epilog=ALL_OPTIONS)(predict)
app.command(epilog=ALL_OPTIONS)(suggest)
app.command()(sweep)
app.command(epilog=ALL_OPTIONS)(shift)
app.command(epilog=ALL_OPTIONS)(invariance)
app.command()(gain)
app.add_typer(git, name="git")
app.command(name="inspect", epilog=ALL_OPTIONS)(inspect)
app.command(name="list")(list_)

"""The program: its commands and what it says of itself."""

from __future__ import annotations

from typing import Annotated

import typer

from sppkit.cli.gain import gain
from sppkit.cli.inspect_ import inspect
from sppkit.cli.list_ import list_
from sppkit.cli.plot import plot

_HELP = """Diagnose signal propagation in a network before training it.

Try:

  sppkit plot --arch nf-resnet --depth 600

  sppkit plot --arch bn-relu-conv --depth 50 --seeds 4 --image-size 64

  sppkit plot spp/nf-resnet-600.csv --format svg,pdf

  sppkit gain silu
"""

app = typer.Typer(
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
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Hold the options of the program itself."""


app.command()(plot)
app.command()(gain)
app.command(name="inspect")(inspect)
app.command(name="list")(list_)

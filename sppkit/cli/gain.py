"""``sppkit gain``: the variance-preserving gain of an activation."""

from __future__ import annotations

from typing import Annotated

import typer

from sppkit.cli import console
from sppkit.cli.options import Debug


def _complete() -> list[str]:
    from sppkit.registry import ACTIVATIONS

    return list(ACTIVATIONS)


Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Activations; all of them if none is named.", autocompletion=_complete),
]


def gain(names: Names = None, debug: Debug = False) -> None:
    """Print the variance-preserving gain of activations.

    The gain is 1/sqrt(Var f(z)), z ~ N(0,1), by quadrature, to 1e-10.

    Try:

      sppkit gain silu

      sppkit gain
    """
    with console.reporting_errors(debug=debug):
        from rich.table import Table

        from sppkit.models.activations import activation_gain, gaussian_moments, load_activation
        from sppkit.registry import ACTIVATIONS

        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("activation")
        for heading in ("gain", "mean", "variance"):
            table.add_column(heading, justify="right")
        for name in names or list(ACTIVATIONS):
            moments = gaussian_moments(load_activation(name))
            table.add_row(name, *(f"{x:z.12f}" for x in (activation_gain(name), moments.mean, moments.variance)))
        console.show(table)

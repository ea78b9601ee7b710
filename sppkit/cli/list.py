"""``sppkit list``: every name that can be typed; imports no torch."""

from __future__ import annotations

from typing import Annotated

import typer

from sppkit.cli import console
from sppkit.cli.options import Debug

_PLURALS = {
    "architectures": "architecture",
    "normalizers": "normalizer",
    "add-ons": "add-on",
    "weights": "weight parametrization",
    "activations": "activation",
    "statistics": "statistic",
    "shifts": "shift",
    "nuisances": "nuisance",
}
Kind = Annotated[
    str | None,
    typer.Argument(metavar="KIND", help=", ".join(_PLURALS) + ".", autocompletion=lambda: list(_PLURALS)),
]


def list_(kind: Kind = None, debug: Debug = False) -> None:
    """List every name that can be typed.

    Architectures, normalizers, add-ons, weights, activations, statistics, shifts and nuisances.

    Try:

      sppkit list

      sppkit list activations
    """
    with console.reporting_errors(debug=debug):
        from rich.table import Table
        from rich.text import Text

        from sppkit.registry import KINDS, check_name

        chosen = list(_PLURALS) if kind is None else [check_name("kind", kind, _PLURALS)]
        for index, plural in enumerate(chosen):
            table = Table(box=None, pad_edge=False, show_header=False)
            for name, entry in KINDS[_PLURALS[plural]].items():
                table.add_row("  " + name, entry.summary)
            console.show(*[""] * (index > 0), Text(plural, style="bold"), table)

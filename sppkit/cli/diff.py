"""``sppkit diff``: two saved runs, block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sppkit.cli import console
from sppkit.cli.options import Debug, Quiet

Run = Annotated[Path, typer.Argument(help="A saved run (.csv) or a baseline (.json).", show_default=False)]
Step = Annotated[
    int | None,
    typer.Option("--step", metavar="K", help="Of two trainings, compare step K. [dim]\\[default: the last][/dim]"),
]
ExitCode = Annotated[bool, typer.Option("--exit-code", metavar="", help="Exit with 1 if they differ.")]
Exact = Annotated[bool, typer.Option("--exact", metavar="", help="Any digit counts as a difference.")]
All = Annotated[bool, typer.Option("--all", metavar="", help="Every block, also where none differs.")]
PolicyName = Annotated[
    str | None, typer.Option("--policy", metavar="NAME|FILE.toml", help="Whose ratios say what counts as a difference.")
]


def diff(
    a: Run,
    b: Run,
    step: Step = None,
    exit_code: ExitCode = False,
    exact: Exact = False,
    every: All = False,
    policy: PolicyName = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare two saved runs, block by block: from A to B.

    A star marks what differs by more than its tolerance and by more than seeds alone would do.

    Try:

      sppkit diff spp/before.csv spp/after.csv

      sppkit diff runs/before.csv runs/after.csv --step 1000

      sppkit diff .sppkit/baselines/nf-resnet-50.json spp/nf-resnet-50.csv --exit-code
    """
    with console.reporting_errors(debug=debug):
        from sppkit.diagnosis.presets import preset_of
        from sppkit.gate.difference import Difference
        from sppkit.gate.policy import load_policy
        from sppkit.gate.saved_run import load_run

        base, new = load_run(a, step), load_run(b, step)
        chosen = load_policy(policy, preset_of(str(new.record.get("arch", ""))))
        difference = Difference(new.signal, base.signal, chosen)
        if not quiet:
            console.show(f"{a} → {b}", *difference.render(every=every))
        if exit_code and (difference.differs_at_all if exact else difference.differs):
            console.end(1)

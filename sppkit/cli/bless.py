"""``sppkit bless``: a run becomes the new baseline, and says why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sppkit.cli import console
from sppkit.cli.options import Debug, Quiet

if TYPE_CHECKING:
    from sppkit.gate.saved_run import SavedRun

Runs = Annotated[list[Path], typer.Argument(metavar="RUN.csv ...", help="Saved runs to accept.", show_default=False)]
Reason = Annotated[
    str | None,
    typer.Option("--reason", metavar="TEXT", help="Why the change is right; asked for in a terminal if left out."),
]
Target = Annotated[
    Path | None,
    typer.Option(
        "--baseline", metavar="FILE|FOLDER", help="Where to. [dim]\\[default: .sppkit/baselines/<run>.json][/dim]"
    ),
]
AllowCi = Annotated[
    bool, typer.Option("--allow-ci", metavar="", help="Also under CI, where no one looks at the difference.")
]
_OFF = {"", "0", "false"}


def bless(
    runs: Runs,
    reason: Reason = None,
    baseline: Target = None,
    allow_ci: AllowCi = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Accept a run as the new baseline.

    Shows what differs from the old one first. Commit the file that it writes.

    Try:

      sppkit bless spp/nf-resnet-50.csv --reason "alpha 0.25, as discussed"
    """
    with console.reporting_errors(debug=debug):
        from sppkit.gate.saved_run import load_run

        _check_allowed(runs, baseline, allow_ci=allow_ci)
        for saved in [load_run(path) for path in runs]:
            _bless_one(saved, baseline, reason, quiet=quiet)


def _check_allowed(runs: list[Path], baseline: Path | None, *, allow_ci: bool) -> None:
    from sppkit.errors import UsageError

    if os.environ.get("CI", "").lower() not in _OFF and not allow_ci:
        raise UsageError(
            "a baseline is accepted by someone who has seen the difference, and CI is set here.\n"
            "Run sppkit bless on your own machine and commit the file, or add --allow-ci."
        )
    if len(runs) > 1 and baseline is not None and baseline.suffix == ".json":
        raise UsageError(f"--baseline {baseline} can hold one run, not {len(runs)}. Give a folder.")


def _bless_one(saved: SavedRun, target: Path | None, reason: str | None, *, quiet: bool) -> None:
    from sppkit.gate.at_commit import current_commit
    from sppkit.gate.baseline import write_baseline
    from sppkit.gate.jobs import baseline_of

    path = baseline_of(saved.key, True if target is None else target)
    if path is None:  # --baseline none
        return
    if not quiet:
        _show_difference(saved, path)
    if not saved.record:
        console.warn(f"{saved.key} has no record beside it: what it is compared with can't be checked.")
    _warn_of_errors(saved)
    reason = _ask(reason)
    write_baseline(saved.key, saved.table, saved.record, path, reason=reason, commit=current_commit())
    if not quiet:
        console.show(f"wrote {path}", f"next: git add {path}, and commit it with the change that it belongs to")


def _show_difference(saved: SavedRun, path: Path) -> None:
    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.presets import preset_of
    from sppkit.errors import UsageError
    from sppkit.gate.baseline import read_baseline
    from sppkit.gate.difference import Difference
    from sppkit.gate.policy import preset_policy

    if not path.exists():
        console.show(
            f"{saved.key}: the first baseline; {len(saved.signal.names)} blocks, {len(saved.signal.seeds)} seeds"
        )
        return
    try:
        base = read_baseline(path)
    except UsageError as error:  # a broken baseline is what a new one replaces
        console.warn(f"the old baseline can't be shown: {error}")
        return
    policy = preset_policy(preset_of(str(saved.record.get("arch", ""))))
    difference = Difference(saved.signal, Curves(base.table, base.record), policy)
    console.show(f"{saved.key}: the old baseline → this run", *difference.render())


def _warn_of_errors(saved: SavedRun) -> None:
    from sppkit.gate.check import check
    from sppkit.gate.reports.wording import sentence

    first = check(saved.table, record=saved.record).first
    if first is not None and first.level == "error":
        console.warn(f"a baseline does not excuse it: {saved.key} fails its policy. {sentence(first)}")


def _ask(reason: str | None) -> str:
    from sppkit.errors import UsageError
    from sppkit.machine.printable import as_utf8

    given = console.ask("Why is this change right?") if reason is None else reason
    if given is None or not given.strip():
        raise UsageError('a baseline says why it was accepted: add --reason "..."')
    text = " ".join(as_utf8(given).split())
    if not text.isprintable():
        raise UsageError(f"--reason must be a text without control characters, not {text!r:.60}.")
    return text

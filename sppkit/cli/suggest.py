"""``sppkit suggest``: which remedy flattens the curve."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from sppkit.cli import console
from sppkit.cli.options import ConfigFile, Debug, Quiet, run_options, with_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sppkit.comparison.suggestion import Outcome

DEFAULT_NAME = "suggest"


@with_options(run_options())
def suggest(
    flags: dict[str, Any],
    config: ConfigFile = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Try the standard remedies on a network and show which flattens the curve.

    Measures the network as it is and with each remedy that is legal for it.
    Says so if there is nothing to mend.
    With --out DIR, writes CSV and JSON of each, and suggest.png.

    Try:

      sppkit suggest --arch he-resnet --depth 50

      sppkit suggest --arch nf-resnet --weights none --alpha 1 --depth 50 --out spp

      sppkit suggest --model path/nets.py:build --kw depth=50
    """
    with console.reporting_errors(debug=debug):
        from sppkit.comparison.suggestion import is_own, iter_trials, judge, untreated

        if is_own(flags, config):
            _suggest_own(flags, config, quiet=quiet)
            return
        base = untreated(flags, config)
        trials = list(iter_trials(flags, config))
        members = [base, *(trial.member for trial in trials)]
        folder, names, ready = _destination(flags, config, [member.stem for member in members])
        with ready:
            from sppkit.comparison.runs import iter_measured

            outcomes = []
            with console.progress(quiet=quiet) as progress:
                for trial, run in zip([None, *trials], iter_measured(members, progress), strict=False):
                    outcomes.append(judge(run, trial))
                    if trial is None and outcomes[0].is_healthy:
                        break
            _finish(outcomes, folder, names, quiet=quiet)


def _suggest_own(flags: Mapping[str, Any], file: Path | None, *, quiet: bool) -> None:
    from functools import partial

    from sppkit.cli.judged_run import run_judged
    from sppkit.comparison.advice import render_own_advice
    from sppkit.comparison.own_remedies import OWN_REMEDIES, check_treatable, own_outcome
    from sppkit.config.resolve import resolve_config
    from sppkit.measuring.run import find
    from sppkit.measuring.titles import title

    resolved = resolve_config(flags, file)
    check_treatable(resolved)
    with console.progress(quiet=quiet) as progress:
        outcomes = [own_outcome(run_judged(resolved, progress))]
        if outcomes[0].level:
            findings = find(resolved)
            for remedy in OWN_REMEDIES:
                changed: list[int] = []
                treat = partial(
                    lambda apply, counts, model: counts.append(apply(model, findings)), remedy.apply, changed
                )
                run = run_judged(resolved, progress, treat)
                if any(changed):
                    outcomes.append(own_outcome(run, remedy))
    for warning in outcomes[0].run.warnings:
        console.warn(warning)
    if not quiet:
        console.show(title(outcomes[0].run.record), "", *render_own_advice(outcomes))


def _destination(
    flags: Mapping[str, Any], file: Path | None, stems: Sequence[str]
) -> tuple[Path, list[str], AbstractContextManager[None]]:
    from sppkit.cli.pictures import choose_pictures
    from sppkit.config.resolve import load_toml
    from sppkit.machine.files import prepared

    folder, pictures = choose_pictures(flags, file, DEFAULT_NAME)
    asked = flags.keys() | (load_toml(file).keys() if file else set())
    if not asked & {"out", "name", "format"}:
        return folder, [], nullcontext()
    tables = [f"{stem}.{suffix}" for stem in stems for suffix in ("csv", "json")]
    return folder, pictures, prepared(folder, [*tables, *pictures])  # before minutes of work, not after them


def _finish(outcomes: Sequence[Outcome], folder: Path, pictures: Sequence[str], *, quiet: bool) -> None:
    from sppkit.cli.pictures import list_written, warn_once, write_comparison
    from sppkit.comparison.advice import render_advice, render_healthy
    from sppkit.comparison.summary import common_subtitle
    from sppkit.measuring.titles import title

    runs = [outcome.run for outcome in outcomes]
    warn_once(runs)
    if pictures:
        write_comparison(runs, folder, pictures, title=f"remedies for {title(runs[0].record)}")
    if quiet:
        return
    is_healthy = outcomes[0].is_healthy
    shown = render_healthy(outcomes[0]) if is_healthy else render_advice(outcomes)
    console.show(title(runs[0].record), common_subtitle([run.record for run in runs]), "", *shown)
    if pictures:
        console.show("", *list_written(runs, folder, pictures))

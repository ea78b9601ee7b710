"""``sppkit check``: the gate; its exit code is the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from sppkit.cli import console
from sppkit.cli.options import ConfigFile, Debug, run_options, with_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sppkit.gate.jobs import Job
    from sppkit.gate.saved_run import SavedRun
    from sppkit.gate.verdict import Verdict

_GATE = "Gate"
Saved = Annotated[
    Path | None,
    typer.Argument(metavar="RUN.csv", help="A saved run to judge instead of measuring one.", show_default=False),
]
PolicyName = Annotated[
    str | None,
    typer.Option("--policy", metavar="NAME|FILE.toml", help="A preset, or limits of your own.", rich_help_panel=_GATE),
]
BaselineFile = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="FILE|FOLDER|none",
        help="Hold the run against an accepted one. [dim]\\[default: .sppkit/baselines/, if there is such][/dim]",
        rich_help_panel=_GATE,
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="git:REF",
        help="Hold it against the same run at another commit, measured now.",
        rich_help_panel=_GATE,
    ),
]
Exact = Annotated[
    bool,
    typer.Option("--exact", metavar="", help="Nothing may change, to nine digits.", rich_help_panel=_GATE),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", metavar="", help="Print nothing but failures and errors.", rich_help_panel="Output"),
]


def _complete_reports() -> list[str]:
    from sppkit.gate.reports import FORMATS

    return [f"{name}=" for name in FORMATS]


Reports = Annotated[
    list[str] | None,
    typer.Option(
        "--report",
        metavar="FORMAT=PATH",
        autocompletion=_complete_reports,
        help="Also write json, junit, github, gitlab, sarif or markdown; repeatable.",
        rich_help_panel=_GATE,
    ),
]


@with_options(run_options(), {"seeds": 4})
def check(
    flags: dict[str, Any],
    run: Saved = None,
    config: ConfigFile = None,
    policy: PolicyName = None,
    baseline: BaselineFile = None,
    against: Against = None,
    exact: Exact = False,
    report: Reports = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge a run by policy, theory and baseline, and fail if it is not healthy.

    Exits with 0 (pass), 1 (an error was found), 2 (wrong usage) or 3 (no baseline that can be compared).

    Try:

      sppkit check --arch nf-resnet --depth 50

      sppkit check --arch nf-resnet --depth 50 --report junit=spp.xml --report github

      sppkit check --arch nf-resnet --depth 50 --against git:origin/main

      sppkit check spp/nf-resnet-50.csv --policy nf-resnet
    """
    with console.reporting_errors(debug=debug):
        from sppkit.gate.publish import parse_reports, publish, takes_output

        reports = parse_reports(report or [])
        if run is not None:
            verdicts = [_judge_saved(run, flags, config, _Asked(policy, baseline, against, exact))]
        else:
            asked = _Asked(policy, baseline, against, exact)
            verdicts = list(_iter_measured(flags, config, asked, quiet=quiet))
        for text in publish(reports, verdicts):
            console.show(text)
        if not takes_output(reports):
            _tell(verdicts, quiet=quiet)
        console.end(_exit_code(verdicts))


class _Asked(NamedTuple):
    """What a run is to be held against."""

    policy: str | None
    baseline: str | None
    against: str | None
    exact: bool


def _judge_saved(path: Path, flags: Mapping[str, Any], config: Path | None, asked: _Asked) -> Verdict:
    from sppkit.config.parsers import flag_of
    from sppkit.errors import UsageError
    from sppkit.gate.jobs import baseline_of
    from sppkit.gate.saved_run import load_run

    unused = [flag_of(name) for name in sorted(flags.keys() - {"format", "out"})] + ["--config"] * (config is not None)
    unused += ["--against"] * (asked.against is not None)
    if unused:
        raise UsageError(f"{unused[0]} means nothing for a saved run.\nTo measure anew leave out the file name.")
    saved = load_run(path)
    base = baseline_of(saved.key, asked.baseline)
    _check_exact(asked, base)
    verdict = _judge(saved, path, asked.policy, base, exact=asked.exact)
    return _with_page(saved, verdict, base, _page_beside(path, flags)) if "format" in flags else verdict


def _iter_measured(flags: Mapping[str, Any], config: Path | None, asked: _Asked, *, quiet: bool) -> Iterator[Verdict]:
    from dataclasses import replace

    from sppkit.gate.at_commit import check_reference, is_dirty, measure_at
    from sppkit.gate.baseline import Baseline
    from sppkit.gate.jobs import load_jobs

    jobs = load_jobs(flags, config, policy=asked.policy, baseline=asked.baseline)
    _check_before(jobs, asked)
    commit = None if asked.against is None else check_reference(asked.against)
    if commit is not None and is_dirty():
        console.warn("files that are not committed are part of what is measured here.")
    for job in jobs:
        saved, path = _measure_job(job, quiet=quiet)
        base: Baseline | Path | None = job.baseline
        if commit is not None:
            other = measure_at(commit, job.resolved)
            base = Baseline(other.key, other.table, other.record, {})
        verdict = _judge(saved, path, job.policy, base, exact=asked.exact)
        if "html" in job.resolved.config.format:
            verdict = _with_page(saved, verdict, base, path.with_suffix(".html"))
        yield replace(verdict, configured=job.configured)


def _check_before(jobs: Sequence[Job], asked: _Asked) -> None:
    # What can be refused is refused before minutes of work.
    from sppkit.diagnosis.presets import preset_of
    from sppkit.errors import UsageError
    from sppkit.gate.policy import load_policy

    if asked.against is not None and asked.baseline is not None:
        raise UsageError("--against and --baseline both say what to compare with; give one of them.")
    for job in jobs:
        load_policy(job.policy, preset_of(job.resolved.config.arch))
        _check_exact(asked, job.baseline)


def _check_exact(asked: _Asked, base: Path | None) -> None:
    from sppkit.errors import UsageError

    if asked.exact and asked.against is None and base is None:
        raise UsageError("--exact compares with a baseline: give --baseline, or --against git:REF.")


def _measure_job(job: Job, *, quiet: bool) -> tuple[SavedRun, Path]:
    from sppkit.cli.judged_run import run_judged
    from sppkit.gate.saved_run import SavedRun
    from sppkit.machine.files import all_or_nothing, prepared
    from sppkit.record.table import write_csv
    from sppkit.record.write import write_record

    folder, names = Path(job.resolved.config.out), [f"{job.key}.csv", f"{job.key}.json"]
    with prepared(folder, names):
        with console.progress(quiet=quiet) as progress:
            result = run_judged(job.resolved, progress)
        with all_or_nothing(folder) as staging:
            write_csv(result.table, staging / names[0])
            write_record(result.record, staging / names[1])
    for warning in result.warnings:
        console.warn(warning)
    return SavedRun(job.key, result.table, result.record), folder / names[0]


def _page_beside(path: Path, flags: Mapping[str, Any]) -> Path:
    from sppkit.config.options import RunConfig, parse_values
    from sppkit.errors import UsageError

    config = RunConfig(**parse_values(RunConfig, flags))
    if config.format != ("html",):
        raise UsageError("check writes no picture but the page: --format html.\nFor others: sppkit plot RUN.csv")
    return (Path(config.out) if "out" in flags else path.parent) / f"{path.stem}.html"


def _with_page(saved: SavedRun, verdict: Verdict, base: Any, path: Path) -> Verdict:
    from dataclasses import replace

    from sppkit.gate.baseline import Baseline, read_baseline
    from sppkit.gate.page import gate_page

    accepted = read_baseline(base) if isinstance(base, Path) and base.exists() else base
    gate_page(saved, verdict, accepted if isinstance(accepted, Baseline) else None).save(path)
    return replace(verdict, next_steps=(*verdict.next_steps, f"open {path} in a browser"))


def _judge(saved: SavedRun, path: Path, policy: object, base: Any, *, exact: bool) -> Verdict:
    from dataclasses import replace

    from sppkit.gate.check import check as judge_table
    from sppkit.record.locate_blocks import locate_record

    missing = ""
    if isinstance(base, Path) and not base.exists():
        base, missing = None, f"there is no baseline {base}"
    verdict = judge_table(
        saved.table, policy=policy, baseline=base, record=saved.record, exact=exact and base is not None
    )
    missing = missing or verdict.missing
    # A block that vanished is no site of this run, and has a place all the same.
    blocks = [*verdict.sites, *(finding.name for finding in verdict.findings)]
    verdict = replace(verdict, name=saved.key, missing=missing, places=locate_record(saved.record, blocks))
    notices = (*saved.trend, *verdict.notices)
    return replace(verdict, notices=notices, next_steps=tuple(_iter_steps(verdict, path, base)))


def _iter_steps(verdict: Verdict, path: Path, base: object) -> Iterator[str]:
    bless = f'sppkit bless {path} --reason "..."'
    if verdict.errors:
        yield f"sppkit plot {path}"
        if isinstance(base, Path):
            yield f"sppkit diff {base} {path}"
            yield f"{bless}    (if the change is meant)"
    elif verdict.missing and base is None:
        yield f"{bless}    (accepts this run; commit the file that it writes)"
    elif verdict.missing:
        yield f"{bless}    (replaces the baseline), or a --name of its own for this run"
    elif base is None:
        yield f"{bless}    (holds later runs against this one)"


def _tell(verdicts: Sequence[Verdict], *, quiet: bool) -> None:
    from sppkit.gate.reports.terminal import render_terminal

    # A failure is told in full even then: who must act on it needs its cause and what to type next.
    told = [verdict for verdict in verdicts if not quiet or verdict.exit_code]
    for index, verdict in enumerate(told):
        console.show(*[""] * (index > 0), *render_terminal(verdict))


def _exit_code(verdicts: Sequence[Verdict]) -> int:
    codes = {verdict.exit_code for verdict in verdicts}
    return next((code for code in (1, 3) if code in codes), 0)

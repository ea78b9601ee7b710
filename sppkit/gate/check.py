"""The judgement: a table against a policy, theory and a baseline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sppkit.curves.comparability import iter_incomparable, iter_notices
from sppkit.curves.curves import Curves
from sppkit.curves.steps import at_step, iter_trend
from sppkit.diagnosis.against_theory import why_not_judged
from sppkit.diagnosis.examine import examine
from sppkit.diagnosis.explain import explain
from sppkit.diagnosis.presets import fit, preset_of
from sppkit.errors import UsageError
from sppkit.gate.absolute import iter_own_findings, unjudged
from sppkit.gate.against_baseline import iter_inexact, iter_regressions
from sppkit.gate.backward import iter_backward, iter_backward_tests
from sppkit.gate.backward import iter_inexact as iter_inexact_gradients
from sppkit.gate.baseline import Baseline, read_baseline
from sppkit.gate.compared import compare
from sppkit.gate.notices import improvements, site_notices, small_changes
from sppkit.gate.output import iter_inexact_output, iter_output
from sppkit.gate.policy import load_policy
from sppkit.gate.tested import iter_tests
from sppkit.gate.verdict import FOLLOWS, Finding, Verdict
from sppkit.measuring.titles import title
from sppkit.record.read import text_at
from sppkit.record.table import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sppkit.diagnosis.examine import Examination
    from sppkit.gate.policy import Policy


def check(
    table: pd.DataFrame,
    *,
    policy: object = None,
    baseline: object = None,
    record: Mapping[str, Any] | None = None,
    exact: bool = False,
) -> Verdict:
    """Judge a table by a policy, by theory and by a baseline.

    Args:
        table: As made by ``measure`` or ``read_csv``; several seeds make the judgement sharper. Of the table of a
            training the last step is judged, and the notices tell the trend.
        policy: A preset's name (``nf-resnet``), a TOML file, a dict such as
            ``{"channel_squared_mean": {"max": 1.0, "level": "warn"}}``, or None for the preset of the record's
            architecture (``any`` without one).
        baseline: A baseline's file, a ``Baseline``, another table, or None for none.
        record: The run's record; limits that need to know the network (its alpha, its input's size) are left out where
            it is missing.
        exact: Whether nothing may change against the baseline, to nine digits.

    Returns:
        The verdict, with ``passed`` and ``findings``.

    Raises:
        UsageError: If the table, the policy or the baseline can't be used.

    >>> import sppkit
    >>> from sppkit.record.table import build_table
    >>> rows = [
    ...     {"seed": 0, "block": k, "stage": 1, "name": f"block{k}", "channels": 512, "height": 16, "nonfinite": 0}
    ...     | {"channel_squared_mean": 40.0 * k, "channel_variance": 1.0 + k}
    ...     for k in range(4)
    ... ]
    >>> verdict = sppkit.check(build_table(rows), policy="nf-resnet")
    >>> verdict.passed, verdict.first.name, verdict.first.statistic
    (False, 'block1', 'mean_shift')
    """
    _check_table(table)
    trend, table = tuple(iter_trend(table)), at_step(table)
    facts = {} if record is None else record
    if isinstance(policy, str) and "arch" not in facts and load_policy(policy, "any").name != "any":
        # Without a record the preset says what kind of network it is.
        facts = {"arch": policy, **facts}
    base = _load_base(baseline)
    chosen = load_policy(policy, preset_of(text_at(facts, "arch")))
    verdict = judge(Curves(table, facts), chosen, base, exact=exact)
    return replace(verdict, notices=(*trend, *verdict.notices)) if trend else verdict


# A legal table may hold 1e308: what overflows is infinite, and judged so, not told by NumPy beside the verdict.
@np.errstate(over="ignore", invalid="ignore")
def judge(signal: Curves, policy: Policy, base: Baseline | None = None, *, exact: bool = False) -> Verdict:
    """Judge a signal.

    Args:
        signal: The run.
        policy: What a healthy run keeps.
        base: The baseline, or None for none.
        exact: Whether nothing may change against the baseline.

    Returns:
        The verdict.
    """
    limits = fit(policy.limits, signal)
    examination = examine(signal, limits)
    findings = [*iter_own_findings(signal, limits, examination)]
    unpredicted = why_not_judged(signal)
    skipped = unjudged(signal, limits) + ([] if unpredicted is None else [f"theory ({unpredicted})"])
    verdict = Verdict(
        title=title(signal.record) if text_at(signal.record, "arch") else "",
        judged=(f"policy {policy.name}", *(["theory"] if unpredicted is None else [])),
        skipped=tuple(skipped),
        sites=tuple(signal.names),
        seeds=len(signal.seeds),
    )
    reference = None
    if base is not None:
        reference = Curves(base.table, base.record)
        verdict, more = _judge_baseline(verdict, signal, reference, policy, base, exact=exact)
        findings += more
    return replace(
        verdict, findings=tuple(_explained(findings, signal, None if verdict.missing else reference, examination))
    )


def _judge_baseline(
    verdict: Verdict, signal: Curves, reference: Curves, policy: Policy, base: Baseline, *, exact: bool
) -> tuple[Verdict, list[Finding]]:
    unlike = list(iter_incomparable(signal.record, reference.record))
    if exact and signal.seeds != reference.seeds:
        unlike.append(f"--exact needs the same seeds: {signal.seeds} here, {reference.seeds} in the baseline")
    if unlike:
        return replace(verdict, missing=f"it can't be compared: {'; '.join(unlike)}"), []
    compared = compare(signal, reference)
    notices = [*iter_notices(signal.record, reference.record), *site_notices(compared)]
    notices += improvements(compared, policy) + small_changes(compared, policy)
    findings = [*iter_regressions(compared, policy)]
    # Where a signal changed, so did its gradient: that is no second fault.
    follows = bool(findings)
    if exact:
        findings = [*iter_inexact(signal, reference)]
        findings = findings or [*iter_inexact_output(compared)] or [*iter_inexact_gradients(compared)]
    elif not follows:
        findings += iter_output(compared, policy)
        findings = findings or [*iter_backward(compared, policy)]
    tests = [*iter_tests(compared), *iter_backward_tests(compared, policy, follows=follows)]
    verdict = replace(verdict, tests=tuple(tests))
    name = f"baseline {base.key}" if base.key else "the baseline"
    return replace(verdict, judged=(*verdict.judged, name), notices=tuple(notices)), findings


def _explained(
    findings: list[Finding], signal: Curves, reference: Curves | None, examination: Examination
) -> Iterator[Finding]:
    ordered = sorted(findings, key=lambda item: (item.level, item.block, -item.size))
    first = Verdict(findings=tuple(ordered)).first
    for finding in ordered:
        if finding is first:
            yield replace(finding, cause=_cause(ordered, finding, signal, reference, examination))
        else:
            yield finding if finding.cause else replace(finding, cause=FOLLOWS)


def _cause(
    findings: list[Finding], first: Finding, signal: Curves, reference: Curves | None, examination: Examination
) -> str:
    if first.cause or first.found is None or first.kind == "exact" or first.name not in signal.names:
        return first.cause
    if first.kind != "baseline" and reference is None:
        told = [fault.cause for fault in examination.faults if fault.block == first.block]
        return told[0] if told else ""
    # Where a change begins it may be too small to tell its cause: then where it first matters.
    alike = [item for item in findings if item.kind == first.kind and item.found is not None]
    further = [item for item in alike if item.block > first.block]
    nearest = min(further, key=lambda item: (item.block, -item.size), default=first)
    causes = (
        explain(signal, reference, signal.names.index(item.name), item.statistic)
        for item in dict.fromkeys([first, nearest])
    )
    return next(filter(None, causes), "")


def _load_base(given: object) -> Baseline | None:
    if given is None or isinstance(given, Baseline):
        return given
    if isinstance(given, pd.DataFrame):
        _check_table(given)
        return Baseline("", given, {}, {})
    if isinstance(given, (str, Path)):
        return read_baseline(given)
    raise UsageError(f"a baseline must be a file, a Baseline or a table, not {given!r:.60}.")


def _check_table(table: object) -> None:
    if not isinstance(table, pd.DataFrame):
        raise UsageError(f"a table must be a DataFrame, as measure() returns, not {type(table).__name__}.")
    missing = _missing_columns(table.columns)
    if missing:
        raise UsageError(f"the table has no column {missing[0]!r}; a table starts with {', '.join(COLUMNS)}.")
    if table.empty:
        raise UsageError("the table has no rows: there is nothing to judge.")


def _missing_columns(columns: Iterable[str]) -> list[str]:
    held = set(columns)
    return [name for name in COLUMNS if name not in held]

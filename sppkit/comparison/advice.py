"""What was tried on a network, in the terminal: ranked, with the words of each remedy and the command for the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from sppkit.comparison.own_remedies import best_own, ranked_own
from sppkit.comparison.suggestion import AS_IT_IS, best, changes_typed, command, ranked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from sppkit.comparison.own_remedies import OwnOutcome
    from sppkit.comparison.score import Score
    from sppkit.comparison.suggestion import Outcome

_DEFINITION = (
    "score = mean shift + drift + branch, 0 is ideal. Mean shift: largest squared mean / variance. Drift: how far the "
    "stages' starts lie apart, and how far a stage outgrows linear growth or falls, as ln. Branch: largest |ln| of a "
    "stage's residual variance. Healthy: plot and check find no fault."
)


def render_healthy(untreated: Outcome) -> list[RenderableType]:
    """Say that there is nothing to mend."""
    told = Text.assemble(
        ("ok  ", "green"), " The signal is healthy as it is: ", _told(untreated.score), ". There is nothing to mend."
    )
    return [told, "To see the alternatives anyway: sppkit compare --arch ... --weights all (or --padding all, ...)"]


def render_advice(outcomes: Sequence[Outcome]) -> list[RenderableType]:
    """Return the ranked table of what was tried, and what to type."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("network", no_wrap=True)
    table.add_column("changes")
    for heading in ("mean shift", "drift", "branch", "score"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for outcome in ranked(outcomes):
        table.add_row(*_cells(outcome), style="bold" if outcome.trial is None else "")
    return [table, Text(_DEFINITION, style="dim"), "", *_iter_effects(outcomes), "", *_iter_verdict(outcomes)]


def render_own_advice(outcomes: Sequence[OwnOutcome]) -> list[RenderableType]:
    """Return the verdict of a user's own network and of each remedy, and which to take, if any helps."""
    if not outcomes[0].level:
        return [Text.assemble(("ok  ", "green"), " Nothing is wrong with the signal. There is nothing to mend.")]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("network", "verdict", "found"):
        table.add_column(heading, no_wrap=heading != "found")
    for outcome in ranked_own(outcomes):
        name = AS_IT_IS if outcome.remedy is None else outcome.remedy.name
        found = ", ".join(dict.fromkeys(one.name for one in outcome.found))
        table.add_row(name, outcome.verdict, found, style="bold" if outcome.remedy is None else "")
    best_found = best_own(outcomes)
    if best_found is None or best_found.remedy is None:
        return [table, "", Text.assemble(("note", "yellow"), " None of these remedies helps.")]
    mark = ("ok  ", "green") if not best_found.level else ("note", "yellow")
    told = f" Best: {best_found.remedy.name}. With it the network {best_found.verdict}."
    return [table, "", Text.assemble(mark, told), best_found.remedy.code]


def _cells(outcome: Outcome) -> Iterator[str]:
    score = outcome.score
    yield AS_IT_IS if outcome.trial is None else outcome.trial.remedy.name
    yield "" if outcome.trial is None else changes_typed(outcome.trial)
    for value in (score.shift, score.drift, score.branch, score.total):
        yield f"{value:.2g}" if value < 100 else f"{value:.3g}"
    yield "healthy" if outcome.is_healthy else ""


def _iter_effects(outcomes: Sequence[Outcome]) -> Iterator[Text]:
    for outcome in ranked(outcomes):
        if outcome.trial is not None:
            remedy = outcome.trial.remedy
            insight = "" if remedy.recommended else "; tried for insight"
            yield Text.assemble((f"{remedy.name}: ", "bold"), f"{remedy.effect} ({remedy.source}){insight}.")


def _iter_verdict(outcomes: Sequence[Outcome]) -> Iterator[Text | str]:
    found = best(outcomes)
    if found is None or found.trial is None:
        yield Text.assemble(("note", "yellow"), " None of these remedies flattens the curve.")
        return
    untreated = next(outcome for outcome in outcomes if outcome.trial is None)
    mark = ("ok  ", "green") if found.is_healthy else ("note", "yellow")
    yield Text.assemble(
        mark, f" Best: {found.trial.remedy.name}. It lowers the score from {untreated.score.total:.3g} to "
        f"{found.score.total:.3g}: {_told(found.score)}.",
    )  # fmt: skip
    yield command(found.trial.member)


def _told(score: Score) -> str:
    shift = f"the squared mean is at most {score.shift:.2g} of the variance"
    return f"{shift}, drift {score.drift:.2g}, branch {score.branch:.2g}"

"""What was tried on a network, in the terminal: ranked, with the words of each remedy and the command for the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from sppkit.comparison.suggestion import AS_IT_IS, best, changes_typed, command, ranked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

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

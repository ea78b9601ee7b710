"""Which remedy flattens a network's curve, for Python: what ``sppkit suggest`` does, without its files."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.text import Text

from sppkit.comparison.advice import render_advice, render_healthy
from sppkit.comparison.compare import Comparison
from sppkit.comparison.runs import iter_measured
from sppkit.comparison.suggestion import best, iter_trials, judge, untreated
from sppkit.errors import UsageError

if TYPE_CHECKING:
    from sppkit.comparison.suggestion import Outcome

_WIDTH = 120


@dataclass(frozen=True)
class Suggestion:
    """A network as it is and with each remedy; a notebook shows them over each other.

    Attributes:
        outcomes: What was measured and how far from healthy it is, the untreated network first.
    """

    outcomes: tuple[Outcome, ...]

    @property
    def best(self) -> Outcome | None:
        """The remedy that helps most; None where nothing is to be mended, or nothing helps."""
        return None if self.outcomes[0].is_healthy else best(self.outcomes)

    @property
    def comparison(self) -> Comparison:
        """All of them over each other."""
        return Comparison(tuple(outcome.run for outcome in self.outcomes))

    def __str__(self) -> str:
        """Return what the terminal shows."""
        first = self.outcomes[0]
        shown = render_healthy(first) if first.is_healthy else render_advice(self.outcomes)
        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
        for renderable in shown:
            console.print(renderable, soft_wrap=isinstance(renderable, (str, Text)), highlight=False, markup=False)
        text = cast("io.StringIO", console.file).getvalue()
        return "\n".join(line.rstrip() for line in text.splitlines())

    def _repr_html_(self) -> str:  # what a notebook shows
        return self.comparison._repr_html_()


def suggest(arch: str, **options: Any) -> Suggestion:
    """Try the standard remedies on a named network; where it is healthy, it alone is measured.

    Args:
        arch: A named architecture.
        options: As the flags are called, with underscores: ``depth=50, image_size=64``.

    Returns:
        What helps: ``str`` of it is the table of the terminal.

    Raises:
        UsageError: If the architecture or an option is not known, or for a network of your own, which the command
            treats (``sppkit suggest --model``).
    """
    flags = {"arch": arch, **options}
    if "model" in options:
        raise UsageError("suggest takes a named architecture; of your own network: sppkit suggest --model SPEC.")
    trials = [None, *iter_trials(flags, None)]
    members = [untreated(flags, None), *(trial.member for trial in trials if trial is not None)]
    outcomes = []
    for trial, run in zip(trials, iter_measured(members), strict=False):
        outcomes.append(judge(run, trial))
        if outcomes[0].is_healthy:
            break
    return Suggestion(tuple(outcomes))

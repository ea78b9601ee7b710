"""How far a signal is from a healthy one, as a number to rank networks by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sppkit.comparison.key_figures import key_figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


@dataclass(frozen=True)
class Score:
    """Three distances from a healthy signal, each 0 for an ideal one, and their sum.

    Attributes:
        shift: Largest squared mean of a block, as a multiple of its variance.
        drift: Logarithm of the largest ratio between the variances that stages start with, plus the logarithm by which
            a stage outgrows linear growth (n blocks end with at most n times their first variance) or falls below its
            start.
        branch: Largest distance of a stage's mean residual variance from 1, as a logarithm; 0 without branches.
    """

    shift: float
    drift: float
    branch: float

    @property
    def total(self) -> float:
        """The sum: what networks are ranked by."""
        return self.shift + self.drift + self.branch


def score_table(table: pd.DataFrame) -> Score:
    """Return how far a run's signal is from a healthy one."""
    figures = key_figures(table)
    if figures.nonfinite is not None or math.isnan(figures.ratio):
        return Score(math.inf, math.inf, math.inf)
    branch = max((abs(_log(value)) for value in figures.residuals), default=0.0)
    return Score(figures.ratio, _drift(figures.starts, figures.ends, figures.lengths), branch)


def _drift(starts: Sequence[float], ends: Sequence[float], lengths: Sequence[int]) -> float:
    between = _log(max(starts)) - _log(min(starts)) if min(starts) > 0 else math.inf
    stages = zip(starts, ends, lengths, strict=True)
    within = max(max(_log(end / start / length), _log(start / end) if end > 0 else math.inf, 0.0)
                 if start > 0 else math.inf for start, end, length in stages)  # fmt: skip
    return between + within


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf

"""The curves of a signal that nothing is wrong with, in words: one sentence per statistic."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.blocks import all_finite, listed
from sppkit.diagnosis.layers import body, takes_mean_out
from sppkit.diagnosis.mean_shift import KEEPS, PASSES, holds_mean_at_zero
from sppkit.diagnosis.vanishing import AVERAGING
from sppkit.record.table import is_measured

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import pandas as pd

    from sppkit.curves.curves import Array, Curves

# A stage that has built up less than this has nothing to reset that a reader would see.
_SHOWS_RESET = 1.1
# A variance that moves by less is one number to three digits, or nearly.
_STAYS = 1.02
_SEEN = 5e-4
# Small maps and narrow networks raise the 47 % by up to a quarter; beyond that it is no yardstick.
_NEAR_BOUND = 0.6
# Healthy networks of 4 to 2048 channels are within 1.3 of theory (docs/gate-proof.md); borders and seeds add to that.
_OFF = 1.5
# Branches of one kind have one strength, from stage to stage; half as much again is another.
_UNLIKE = 1.5


def iter_descriptions(curves: Curves, told: Collection[str]) -> Iterator[tuple[str, str]]:
    """Describe the curves: a mark, ``good`` or ``remark``, and a sentence."""
    residual = curves.averaged.table.iloc[curves.judged]
    measured = {name for name in ("channel_squared_mean", "channel_variance") if _is_whole(residual, name)}
    # The mean is told as a share of the variance: beside a variance that is lost it means nothing.
    untold = not set(told) & ({"channel_squared_mean"} | ({"channel_variance"} if curves.layered else set()))
    if measured == {"channel_squared_mean", "channel_variance"} and untold:
        yield from (("good", text) for text in _iter_mean(curves))
    if "channel_variance" in measured - set(told):
        yield "good", _describe_variance(curves)
    joins = residual[residual["residual_variance"].notna()]
    if "residual_variance" not in told and is_measured(residual, "residual_variance") and len(joins):
        yield _describe_branch(joins, curves)


def _is_whole(residual: pd.DataFrame, name: str) -> bool:
    return len(residual) > 0 and is_measured(residual, name) and all_finite(residual[name])


def _iter_mean(curves: Curves) -> Iterator[str]:
    positive = curves.variance > 0
    if not positive.any():
        return
    ratio = np.where(positive, curves.mean / np.where(positive, curves.variance, 1.0), 0.0)
    judged = ratio[: max(1, body(curves))] if curves.layered else ratio
    worst = int(np.argmax(judged))
    where = f"({curves.unit} {curves.number(worst)})"
    if judged[worst] <= PASSES:
        yield f"The squared mean is at most {judged[worst]:.1%} of the variance {where}{_yardstick(curves, judged)}."
    else:
        excuse = _excuse(curves, judged, worst)
        yield f"The squared mean reaches {judged[worst]:.3g} times the variance {where}{excuse}."


def _yardstick(curves: Curves, ratio: Array) -> str:
    network, highest = curves.network, float(ratio.max())
    if network.known and holds_mean_at_zero(network):
        return ": the mean does not shift"
    bounded = network.centring and network.norm_first and network.activation == "relu" and not network.stored
    return "; a normalizer before ReLU holds it near 47%" if bounded and highest < _NEAR_BOUND else ""


def _excuse(curves: Curves, ratio: Array, worst: int) -> str:
    if curves.layered:
        return " and is taken out again: no mean shift builds up" if takes_mean_out(ratio) else ""
    if not curves.network.known:
        return f": no fault up to {KEEPS:.0f} times"
    count = curves.independent[curves.judged[worst]]
    return f", which is chance where a channel has {count:.0f} values"


def _describe_variance(curves: Curves) -> str:
    residual = curves.averaged.table.iloc[curves.judged]
    if curves.layered:  # a classifier's scale says nothing of the layers before it
        residual = residual.iloc[: max(1, body(curves))]
    variance = residual["channel_variance"]
    first, last, low, high = variance.iloc[0], variance.iloc[-1], variance.min(), variance.max()
    stages = [] if curves.layered or curves.network.post else _stage_ends(residual)
    built_up = [(end, following) for (start, end), (following, _) in pairwise(stages) if end > _SHOWS_RESET * start]
    if built_up and all(following < end for end, following in built_up):
        starts, ends = listed(start for start, _ in stages), listed(end for _, end in stages)
        return f"The variance resets: stages start at {starts} and end at {ends}."
    if len(variance) == 1:
        return f"The variance is {first:.3g}."
    if high < _STAYS * low:
        within = high / low - 1
        return f"The variance stays at {first:.3g}{f', within {within:.1%}' if within > _SEEN else ''}."
    between = "" if {first, last} == {low, high} else f", between {low:.3g} and {high:.3g}"
    where = f" at layer {residual['block'].iloc[-1]}" if curves.layered else ""
    return f"The variance goes from {first:.3g} to {last:.3g}{where}{between}{_averaging(curves)}."


def _stage_ends(residual: pd.DataFrame) -> list[tuple[float, float]]:
    groups = residual.groupby("stage", sort=False, dropna=False)["channel_variance"]
    return list(zip(groups.first(), groups.last(), strict=True))


def _averaging(curves: Curves) -> str:
    network = curves.network
    return f": {AVERAGING}" if network.averaging and network.white_input else ""


def _describe_branch(joins: pd.DataFrame, curves: Curves) -> tuple[str, str]:
    means = joins.groupby("stage", sort=False, dropna=False)["residual_variance"].mean()
    # With one block a stage there was nothing to average.
    averaged = " on average" if len(means) == 1 else " as stage means"
    how = "" if len(joins) == len(means) else averaged
    expected = curves.network.expected_residual
    of = " of Gaussian input" if not curves.network.white_input else ""
    against = "" if expected is None else f"; theory expects {expected:.3g}{of} without borders"
    what = "variance of the new features" if curves.appending else "residual variance"
    return _judge_branch(means, expected), f"The {what} is {listed(means)}{how}{against}."


def _judge_branch(means: pd.Series[float], expected: float | None) -> str:
    """Return ``good`` for branches as they should be, or at least of one strength."""
    low, high = float(means.min()), float(means.max())
    if expected is not None:
        return "good" if expected / _OFF <= low and high <= expected * _OFF else "remark"
    return "good" if high <= _UNLIKE * low else "remark"

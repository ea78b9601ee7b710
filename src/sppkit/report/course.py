"""The curves of a signal that nothing is wrong with, in words: one sentence per statistic."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.blocks import all_finite, listed
from sppkit.diagnosis.mean_shift import holds_mean_at_zero
from sppkit.table import is_measured

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import pandas as pd

    from sppkit.diagnosis.evidence import Evidence
    from sppkit.diagnosis.network import Network

# A stage that has built up less than this has nothing to reset that a reader would see.
_SHOWS_RESET = 1.1


def iter_courses(evidence: Evidence, told: Collection[str]) -> Iterator[str]:
    """Describe the curves.

    Args:
        evidence: The curves and what is known of the network.
        told: Statistics that a diagnosis has told about already.

    Yields:
        One sentence for each statistic that was measured, is finite, and is not in ``told``.
    """
    residual = evidence.residual
    measured = {name for name in ("channel_squared_mean", "channel_variance") if _is_whole(residual, name)}
    if measured == {"channel_squared_mean", "channel_variance"} and "channel_squared_mean" not in told:
        yield from _iter_mean(evidence)
    if "channel_variance" in measured - set(told):
        yield _describe_variance(residual)
    joins = residual[residual["residual_variance"].notna()]
    if "residual_variance" not in told and is_measured(residual, "residual_variance") and len(joins):
        yield _describe_branch(joins, evidence.network)


def _is_whole(residual: pd.DataFrame, name: str) -> bool:
    return len(residual) > 0 and is_measured(residual, name) and all_finite(residual[name])


def _iter_mean(evidence: Evidence) -> Iterator[str]:
    positive = evidence.variance > 0
    if not positive.any():
        return
    ratio = np.where(positive, evidence.mean / np.where(positive, evidence.variance, 1.0), 0.0)
    worst = int(np.argmax(ratio))
    yield (
        f"The squared mean is at most {ratio[worst]:.1%} of the variance (block {evidence.number(worst)})"
        f"{_yardstick(evidence.network)}."
    )


def _yardstick(network: Network) -> str:
    if network.known and holds_mean_at_zero(network):
        return ": the mean does not shift"
    if network.normalized and network.norm_first and network.activation == "relu" and network.mode != "eval":
        return "; a normalizer before ReLU holds it near 47%"
    return ""


def _describe_variance(residual: pd.DataFrame) -> str:
    variance = residual["channel_variance"]
    groups = residual.groupby("stage", sort=False, dropna=False)["channel_variance"]
    stages = list(zip(groups.first(), groups.last(), strict=True))
    built_up = [(end, following) for (start, end), (following, _) in pairwise(stages) if end > _SHOWS_RESET * start]
    if built_up and all(following < end for end, following in built_up):
        starts, ends = listed(start for start, _ in stages), listed(end for _, end in stages)
        return f"The variance resets: stages start at {starts} and end at {ends}."
    if len(variance) == 1:
        return f"The variance is {variance.iloc[0]:.3g}."
    return (
        f"The variance goes from {variance.iloc[0]:.3g} to {variance.iloc[-1]:.3g}, between {variance.min():.3g} "
        f"and {variance.max():.3g}."
    )


def _describe_branch(joins: pd.DataFrame, network: Network) -> str:
    means = joins.groupby("stage", sort=False, dropna=False)["residual_variance"].mean()
    # With one block a stage there was nothing to average.
    averaged = " on average" if len(means) == 1 else " as stage means"
    how = "" if len(joins) == len(means) else averaged
    expected = network.expected_residual
    against = "" if expected is None else f"; theory expects {expected:.3g} without borders"
    return f"The residual variance is {listed(means)}{how}{against}."

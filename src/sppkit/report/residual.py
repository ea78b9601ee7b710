"""Is the residual branch as strong as theory expects?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sppkit.report.blocks import all_finite, listed
from sppkit.report.fields import mapping_at, number_at, text_at
from sppkit.report.statement import Statement
from sppkit.report.variance import growth_per_block

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

# Seeds and finite maps move a stage's mean by a few per cent.
_TOLERANCE = 0.1
# Under half or over twice what is expected is another network than the one that was meant. Zero padding lowers the
# expectation: on 7x7 maps 0.82 of the taps are left, and the published curves keep 0.63 (alpha 1, 50 blocks a stage).
_FAR = 2.0
# On a 32x32 map a 3x3 convolution still loses 4 % of its taps to zero padding, on a 64x64 map 2 %.
_SMALL_MAP = 32
# A sag is monotone but for the scatter between stages.
_SCATTER = 1.03
# Without a number of theory: a branch that changes by this over the network does not keep the variance.
_RUNS_AWAY = 10.0


def state_residual(blocks: pd.DataFrame, record: Mapping[str, Any]) -> Statement:
    """Say whether the residual variance is what theory expects, or else how it goes.

    Args:
        blocks: One row per residual block with a measured branch.
        record: The run's record.

    Returns:
        A sentence.
    """
    measured = blocks["residual_variance"]
    means = blocks.groupby("stage", sort=False, dropna=False)["residual_variance"].agg(_mean)
    sits = f"The residual variance is {listed(means)}{_how(blocks, means)}"
    if not all_finite(means):
        return Statement("bad", f"{sits}.")
    expected = _expected(record)
    if expected is None:
        return _state_course(measured, sits)
    against = f"{sits}; theory expects {expected:.3g}"
    relative = means / expected
    if (relative - 1).abs().max() <= _TOLERANCE:
        return Statement("good", f"{against}.")
    network = mapping_at(record, "network")
    if relative.max() > _FAR or (relative < _kept_taps(blocks, network) / _FAR).any():
        return Statement("bad", f"{sits}, far {'above' if relative.max() > _FAR else 'below'} the {expected:.3g} that "
                         "theory expects.")  # fmt: skip
    if _sags_at_borders(blocks, relative, network):
        return Statement("note", f"{against} without borders: zero padding makes it sag on small maps.")
    return Statement("note", f"{against}.")


def _mean(values: pd.Series[float]) -> float:
    # Not skipping a lost one.
    return float(np.mean(values.to_numpy(dtype=float)))


def _how(blocks: pd.DataFrame, means: pd.Series[float]) -> str:
    if len(blocks) == len(means):  # one block a stage: there was nothing to average
        return ""
    return " on average" if len(means) == 1 else " as stage means"


def _expected(record: Mapping[str, Any]) -> float | None:
    network = mapping_at(record, "network")
    if text_at(record, "mode") == "eval" and text_at(network, "norm", "none") != "none":
        return None  # theory is of batch statistics
    expected = number_at(mapping_at(record, "expected"), "residual_variance")
    return expected if expected is not None and expected > 0 else None


def _state_course(measured: pd.Series[float], sits: str) -> Statement:
    first, last = measured.iloc[0], measured.iloc[-1]
    if measured.min() <= 0:
        return Statement("bad", f"{sits}: the branch is dead.")
    if not 1 / _RUNS_AWAY <= last / first <= _RUNS_AWAY:
        change = "grows" if last > first else "shrinks"
        return Statement(
            "bad", f"The residual variance {change} from {first:.3g} to {last:.3g}{growth_per_block(measured)}."
        )
    return Statement("note", f"{sits}.")


def _kept_taps(blocks: pd.DataFrame, network: Mapping[str, Any]) -> pd.Series[float]:
    """Return the share of a 3x3 convolution's taps that zero padding leaves on each stage's maps."""
    size = blocks.groupby("stage", sort=False, dropna=False)["height"].last().astype("float64")
    return (1 - 2 / (3 * size)) ** 2 if _is_padded(network) else 0 * size + 1


def _is_padded(network: Mapping[str, Any]) -> bool:
    # Only without a normalizer is what one block lost missing in the next.
    return text_at(network, "padding") == "zeros" and network.get("scaled") is True


def _sags_at_borders(blocks: pd.DataFrame, relative: pd.Series[float], network: Mapping[str, Any]) -> bool:
    small = blocks["height"].astype("float64").min() <= _SMALL_MAP
    falls = bool((relative.to_numpy()[1:] <= _SCATTER * relative.to_numpy()[:-1]).all())
    return _is_padded(network) and small and falls and bool(relative.max() <= 1 + _TOLERANCE)

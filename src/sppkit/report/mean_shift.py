"""Does the mean shift? The squared mean as a share of the variance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from sppkit.report.fields import counts_at, mapping_at, number_at, text_at
from sppkit.report.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping

# A network without mean shift shows less than 2 % at full width and 224 px (facts of Brock et al. 2021, figures 1 and
# 2, measured again); BatchNorm before ReLU has 0.3183/0.6817 = 47 % at any depth.
_NO_SHIFT = 0.1
# Means that outweigh the variance: the samples look more alike than different.
_SHIFT = 1.0
# The mean of n values is never exactly 0: its square is var/n, times up to 3.6 for values that are not independent
# (measured: nf-resnet alpha 1, n = 32 to 512, width 1/32 to 1/2), and a channel's mean behind an activation varies with
# its variance, which gives up to 0.6/channels at large n. Rounded up.
_PER_VALUE, _PER_CHANNEL = 4.0, 1.0


def state_mean(blocks: pd.DataFrame, record: Mapping[str, Any]) -> Statement | None:
    """Say whether the mean shifts.

    Args:
        blocks: One row per residual block, with finite squared means and variances.
        record: The run's record; the number of samples and the kind of network are taken from it.

    Returns:
        A sentence, or None where there is no variance to compare with.
    """
    variance = blocks["channel_variance"]
    if not variance.any():
        return None
    ratio = (blocks["channel_squared_mean"] / variance.replace(0, math.nan)).fillna(0)
    floor = _noise_floor(blocks, _samples(record))
    if (ratio > _SHIFT + floor).any():
        return _state_shift(blocks, ratio, floor)
    shifted = ratio.where(ratio > floor.clip(lower=_NO_SHIFT), 0)
    worst, where = _worst(blocks, shifted if shifted.any() else ratio)
    if not shifted.any():
        return Statement(
            "good", f"The mean does not shift: its square is at most {worst:.1%} of the variance ({where})."
        )
    text = f"The mean shifts: its square reaches {worst:.0%} of the variance ({where})"
    return Statement("note", f"{text}{_yardstick(mapping_at(record, 'network'))}.")


def _state_shift(blocks: pd.DataFrame, ratio: pd.Series[float], floor: pd.Series[float]) -> Statement:
    first = blocks[ratio > _SHIFT + floor].iloc[0]
    worst, where = _worst(blocks, ratio)
    return Statement(
        "bad",
        f"The mean shifts: its square passes the variance at block {first['block']} ({first['name']}) and reaches "
        f"{worst:.3g} times the variance ({where}).",
    )


def _worst(blocks: pd.DataFrame, ratio: pd.Series[float]) -> tuple[float, str]:
    place = int(ratio.to_numpy().argmax())
    return float(ratio.iloc[place]), f"block {blocks['block'].iloc[place]}"


def _noise_floor(blocks: pd.DataFrame, samples: float | None) -> pd.Series[float]:
    # Without a record nobody knows how many samples there were.
    if samples is None:
        return pd.Series(0.0, index=blocks.index)
    sizes = blocks[["height", "width"]].astype("float64").fillna(1.0)
    values = samples * (sizes["height"] * sizes["width"]).clip(lower=1)
    return _PER_VALUE / values + _PER_CHANNEL / blocks["channels"].astype("float64").fillna(math.inf).clip(lower=1)


def _samples(record: Mapping[str, Any]) -> float | None:
    described = mapping_at(record, "input")
    shape = counts_at(described, "batch_shape")
    if not shape or shape[0] < 1:
        return None
    return shape[0] * max(1.0, number_at(described, "batches") or 1.0)


def _yardstick(network: Mapping[str, Any]) -> str:
    weights = text_at(network, "weights")
    if text_at(network, "norm") == "bn" and weights == "none":
        if network.get("norm_first") is False:
            return "; BatchNorm behind the activation holds it near 0"
        if network.get("norm_first") is True and text_at(network, "activation") == "relu":
            return "; BatchNorm before ReLU holds it near 47%"
    if weights in {"ws", "centered-ws", "scaled-ws"}:
        return "; weights of zero mean hold it near 0"
    return ""

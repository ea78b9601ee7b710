"""A signal against theory: the table's own ``predicted_*`` columns, with the spread that theory gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.gate.chance import FALSE_ALARM, Estimate, chance_of, estimate, t_against
from sppkit.gate.finding import Finding
from sppkit.gate.quantities import mean_floor
from sppkit.gate.signal import PREDICTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.gate.policy import Policy
    from sppkit.gate.signal import Array, Signal

_SPREAD = "_spread"


def predicted_statistics(signal: Signal) -> list[str]:
    """Return the statistics that the table holds a prediction of.

    Args:
        signal: The signal.

    Returns:
        Their names.
    """
    return [name for name in signal.statistics if np.isfinite(signal.values(PREDICTED + name)).any()]


def iter_prediction_findings(signal: Signal, policy: Policy) -> Iterator[Finding]:
    """Yield where a statistic differs from its prediction by more than the tolerance and by more than chance.

    Args:
        signal: The signal.
        policy: The policy; ``predicted_<statistic>`` holds the tolerance.

    Yields:
        Findings.
    """
    for statistic in predicted_statistics(signal):
        predicted = _first(signal.values(PREDICTED + statistic))
        floor = mean_floor(signal) * _first(signal.values("channel_variance")) if statistic == _MEAN else 0.0
        found = estimate(signal.values(statistic) + floor, signal.stages, _prior(signal, statistic, predicted + floor))
        yield from _iter_off(signal, policy, statistic, found, predicted + floor)


_MEAN = "channel_squared_mean"


def _iter_off(signal: Signal, policy: Policy, statistic: str, found: Estimate, predicted: Array) -> Iterator[Finding]:
    usable = np.isfinite(predicted) & (predicted > 0) & np.isfinite(found.log)
    log = np.log(np.where(usable, predicted, 1.0))
    t, freedom = t_against(found, log)
    for place in np.flatnonzero(usable):
        allowed = policy.ratio(PREDICTED + statistic, signal.names[place])
        off = found.log[place] - log[place]
        chance = chance_of(float(t[place]), freedom, int(usable.sum()))
        if allowed is None or abs(off) <= np.log(allowed[0]) or chance >= FALSE_ALARM:
            continue
        ratio, level = allowed
        expected = float(predicted[place])
        yield Finding(
            statistic=statistic,
            name=signal.names[place],
            block=int(signal.blocks[place]),
            limit=expected * ratio if off > 0 else expected / ratio,
            expected=expected,
            found=float(found.values[place]),
            ratio=float(np.exp(off)),
            level=level,
            kind="prediction",
            seeds=len(signal.seeds),
            chance=chance,
            reason=f"theory, within a factor {ratio:g}",
        )


def _prior(signal: Signal, statistic: str, predicted: Array) -> Array:
    """Return the spread of the logarithm: theory's own (one absolute standard deviation), else the published one."""
    absolute = _first(signal.values(PREDICTED + statistic + _SPREAD))
    own = np.divide(absolute, predicted, out=np.full_like(predicted, np.nan), where=predicted > 0)
    return np.where(np.isfinite(own) & (own > 0), own, signal.spread(statistic))


def _first(values: Array) -> Array:
    # A prediction is the same for every seed; a seed that broke may lack it.
    known = np.isfinite(values)
    return np.where(known.any(axis=0), np.nan_to_num(values)[known.argmax(axis=0), np.arange(values.shape[1])], np.nan)

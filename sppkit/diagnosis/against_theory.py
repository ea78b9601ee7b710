"""Curves against theory: the table's own ``predicted_*`` columns, with the spread that theory gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.chance import FALSE_ALARM, Estimate, chance_of, estimate, t_against
from sppkit.curves.curves import PREDICTED
from sppkit.curves.laws import mean_floor
from sppkit.diagnosis.beyond_limits import Excess
from sppkit.diagnosis.limit import tolerance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.curves.curves import Array, Curves
    from sppkit.diagnosis.limit import Level, Limits

_SPREAD = "_spread"
_MEAN = "channel_squared_mean"
# docs/theory.md: the spreads of 12 to 24 seeds were 0.7 to 1.7 times the predicted ones.
_WIDER = 1.7
# docs/theory.md: below this share of the variance a squared mean counts as unpredicted.
_UNPREDICTED_SHARE = 0.02
# Times linear growth.
_EXPLODES = 2.0


def predicted_statistics(curves: Curves) -> list[str]:
    """Return the statistics that the table holds a prediction of."""
    return [name for name in curves.statistics if np.isfinite(curves.values(PREDICTED + name)).any()]


def why_not_judged(curves: Curves) -> str | None:
    """Say why a signal is not held against theory.

    Without a normalizer every block hands on, multiplied, what the blocks before it got wrong; only filters of one
    length (``scaled-ws``) on a signal that does not explode keep that small. Elsewhere theory's spread is a lower bound
    (docs/theory.md), and one seed is easily off by two.
    """
    if not predicted_statistics(curves):
        return "this run holds no prediction"
    network = curves.network
    acts = network.normalized and network.mode != "eval"
    scatters = network.weights != "scaled-ws" or _explodes(curves)
    if network.known and not acts and scatters:
        return "without a normalizer or scaled-ws seeds scatter too much"
    return None


def _explodes(curves: Curves) -> bool:
    # As the policy's growth: branches of one strength make v_k at most k v_1.
    variance = _first(curves.values(PREDICTED + "channel_variance"))[curves.blocks > 0]
    return bool((variance[1:] > _EXPLODES * np.arange(2, len(variance) + 1) * variance[:1]).any())


def iter_off_theory(curves: Curves, limits: Limits) -> Iterator[Excess]:
    """Yield where a statistic differs from its prediction by more than the tolerance and by more than chance."""
    for statistic in [] if why_not_judged(curves) else predicted_statistics(curves):
        floor = _floor(curves) if statistic == _MEAN else np.zeros(len(curves.blocks))
        expected = _first(curves.values(PREDICTED + statistic)) + floor
        found = estimate(curves.values(statistic) + floor, curves.stages, _prior(curves, statistic, expected))
        yield from _iter_off(curves, limits, statistic, found, expected)


def _iter_off(curves: Curves, limits: Limits, statistic: str, found: Estimate, expected: Array) -> Iterator[Excess]:
    usable = np.isfinite(expected) & (expected > 0) & np.isfinite(found.log)
    log = np.log(np.where(usable, expected, 1.0))
    t, freedom = t_against(found, log)
    for row in np.flatnonzero(usable):
        allowed = tolerance(limits, PREDICTED + statistic, curves.names[row])
        off = float(found.log[row] - log[row])
        chance = chance_of(float(t[row]), freedom, int(usable.sum()))
        if allowed is not None and abs(off) > np.log(allowed[0]) and chance < FALSE_ALARM:
            yield _excess(curves, statistic, int(row), off, allowed, chance)


def _excess(
    curves: Curves, statistic: str, row: int, off: float, allowed: tuple[float, Level], chance: float
) -> Excess:
    # Shown without the floor that they were compared above.
    expected = float(_first(curves.values(PREDICTED + statistic))[row])
    ratio, level = allowed
    return Excess(
        quantity=statistic,
        row=row,
        found=float(curves.values(statistic)[:, row].mean()),
        limit=expected * ratio if off > 0 else expected / ratio,
        expected=expected,
        ratio=float(np.exp(off)),
        level=level,
        chance=chance,
        reason=f"theory, within a factor {ratio:g}",
        kind="prediction",
    )


def _floor(curves: Curves) -> Array:
    # What noise alone has of a mean, by the variance that theory expects; the measured one where it expects none.
    variance = _first(curves.values(PREDICTED + "channel_variance"))
    known = np.where(np.isfinite(variance), variance, _first(curves.values("channel_variance")))
    return np.maximum(mean_floor(curves), _UNPREDICTED_SHARE) * known


def _prior(curves: Curves, statistic: str, predicted: Array) -> Array:
    """Return the spread of the logarithm: theory's own (one absolute standard deviation), but not below what is seen.

    Theory's is of first order in the width, and narrow layers scatter more.
    """
    absolute = _first(curves.values(PREDICTED + statistic + _SPREAD))
    own = np.divide(absolute, predicted, out=np.zeros_like(predicted), where=predicted > 0)
    return np.fmax(_WIDER * own, curves.spread(statistic))


def _first(values: Array) -> Array:
    # A prediction is the same for every seed; a seed that broke may lack it.
    known = np.isfinite(values)
    return np.where(known.any(axis=0), np.nan_to_num(values)[known.argmax(axis=0), np.arange(values.shape[1])], np.nan)

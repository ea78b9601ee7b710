"""A signal against theory: the table's own ``predicted_*`` columns, with the spread that theory gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.chance import FALSE_ALARM, Estimate, chance_of, estimate, t_against
from sppkit.curves.laws import mean_floor
from sppkit.curves.signal import PREDICTED
from sppkit.gate.verdict import Finding
from sppkit.record.read import text_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.curves.signal import Array, Signal
    from sppkit.gate.policy import Policy
    from sppkit.gate.verdict import Level

_SPREAD = "_spread"
_MEAN = "channel_squared_mean"
# docs/theory.md: the spreads of 12 to 24 seeds were 0.7 to 1.7 times the predicted ones.
_WIDER = 1.7
# docs/theory.md: below this share of the variance a squared mean counts as unpredicted.
_UNPREDICTED_SHARE = 0.02
# Times linear growth.
_EXPLODES = 2.0


def predicted_statistics(signal: Signal) -> list[str]:
    """Return the statistics that the table holds a prediction of.

    Args:
        signal: The signal.

    Returns:
        Their names.
    """
    return [name for name in signal.statistics if np.isfinite(signal.values(PREDICTED + name)).any()]


def why_not_judged(signal: Signal) -> str | None:
    """Say why a signal is not held against theory.

    Without a normalizer every block hands on, multiplied, what the blocks before it got wrong; only filters of one
    length (``scaled-ws``) on a signal that does not explode keep that small. Elsewhere theory's spread is a lower bound
    (docs/theory.md), and one seed is easily off by two.

    Args:
        signal: The signal.

    Returns:
        The reason in a few words, or None where it is.
    """
    if not predicted_statistics(signal):
        return "this run holds no prediction"
    acts = signal.normalized and text_at(signal.record, "mode") != "eval"
    scatters = text_at(signal.network, "weights") != "scaled-ws" or _explodes(signal)
    if signal.network and not acts and scatters:
        return "without a normalizer or scaled-ws seeds scatter too much"
    return None


def _explodes(signal: Signal) -> bool:
    # As the policy's growth: branches of one strength make v_k at most k v_1.
    variance = _first(signal.values(PREDICTED + "channel_variance"))[signal.blocks > 0]
    return bool((variance[1:] > _EXPLODES * np.arange(2, len(variance) + 1) * variance[:1]).any())


def iter_prediction_findings(signal: Signal, policy: Policy) -> Iterator[Finding]:
    """Yield where a statistic differs from its prediction by more than the tolerance and by more than chance.

    Args:
        signal: The signal.
        policy: The policy; ``predicted_<statistic>`` holds the tolerance.

    Yields:
        Findings.
    """
    for statistic in [] if why_not_judged(signal) else predicted_statistics(signal):
        floor = _floor(signal) if statistic == _MEAN else np.zeros(len(signal.blocks))
        expected = _first(signal.values(PREDICTED + statistic)) + floor
        found = estimate(signal.values(statistic) + floor, signal.stages, _prior(signal, statistic, expected))
        yield from _iter_off(signal, policy, statistic, found, expected)


def _iter_off(signal: Signal, policy: Policy, statistic: str, found: Estimate, expected: Array) -> Iterator[Finding]:
    usable = np.isfinite(expected) & (expected > 0) & np.isfinite(found.log)
    log = np.log(np.where(usable, expected, 1.0))
    t, freedom = t_against(found, log)
    for place in np.flatnonzero(usable):
        allowed = policy.ratio(PREDICTED + statistic, signal.names[place])
        off = float(found.log[place] - log[place])
        chance = chance_of(float(t[place]), freedom, int(usable.sum()))
        if allowed is not None and abs(off) > np.log(allowed[0]) and chance < FALSE_ALARM:
            yield _finding(signal, statistic, int(place), off, allowed, chance)


def _finding(
    signal: Signal, statistic: str, place: int, off: float, allowed: tuple[float, Level], chance: float
) -> Finding:
    # Shown without the floor that they were compared above.
    expected = float(_first(signal.values(PREDICTED + statistic))[place])
    ratio, level = allowed
    return Finding(
        statistic=statistic,
        name=signal.names[place],
        block=int(signal.blocks[place]),
        limit=expected * ratio if off > 0 else expected / ratio,
        expected=expected,
        found=float(signal.values(statistic)[:, place].mean()),
        ratio=float(np.exp(off)),
        level=level,
        kind="prediction",
        seeds=len(signal.seeds),
        chance=chance,
        reason=f"theory, within a factor {ratio:g}",
    )


def _floor(signal: Signal) -> Array:
    # What noise alone has of a mean, by the variance that theory expects; the measured one where it expects none.
    variance = _first(signal.values(PREDICTED + "channel_variance"))
    known = np.where(np.isfinite(variance), variance, _first(signal.values("channel_variance")))
    return np.maximum(mean_floor(signal), _UNPREDICTED_SHARE) * known


def _prior(signal: Signal, statistic: str, predicted: Array) -> Array:
    """Return the spread of the logarithm: theory's own (one absolute standard deviation), but not below what is seen.

    Theory's is of first order in the width, and narrow layers scatter more.
    """
    absolute = _first(signal.values(PREDICTED + statistic + _SPREAD))
    own = np.divide(absolute, predicted, out=np.zeros_like(predicted), where=predicted > 0)
    return np.fmax(_WIDER * own, signal.spread(statistic))


def _first(values: Array) -> Array:
    # A prediction is the same for every seed; a seed that broke may lack it.
    known = np.isfinite(values)
    return np.where(known.any(axis=0), np.nan_to_num(values)[known.argmax(axis=0), np.arange(values.shape[1])], np.nan)

"""What two runs are compared by: each quantity of either side at the blocks that both have.

A quantity is judged by the difference of its mean over seeds: of logarithms, so that x2 and x1/2 are as far from 1, or
of shares, which have no size of their own.

- ``<statistic>``: each statistic of the table; log.
- ``mean_share``: m / (m + v), squared mean over squared mean plus variance, which is the correlation of two unrelated
  samples. A squared mean that grows a hundredfold and stays a hundredth of the variance changes nothing; so the squared
  mean itself is judged only where it outweighs the variance, where the share says little.
- ``addition_gain``: (v_k - v_(k-1)) / r_k, what the addition takes of the branch's variance: s² for a branch that is
  scaled by s and independent of the skip; log. Only where the sum's variance feels the change.
- ``growth``: v_last / v_first, over the whole depth; log.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sppkit.curves.laws import mean_floor
from sppkit.curves.seed_spread import log_spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sppkit.curves.curves import Array, Curves
    from sppkit.curves.match_blocks import Matching

MEAN, VARIANCE, BRANCH = "channel_squared_mean", "channel_variance", "residual_variance"
# Stands for the logarithm of zero: far below any variance, and far above the smallest float.
_TINY = 1e-60
# Beyond this logarithm floats end.
_LARGEST = 700.0
# A change of the addition that moves the sum's variance by less is none that could be felt in it.
_FELT = 0.01
# Of what the addition brings, as a part of the sum's variance: below it, and where the addition takes variance away (a
# skip that is scaled down), asinh goes on where the logarithm ends.
_LEAST = _FELT / 4
# What a sum takes of a branch that is not scaled: all of it, and what the branch has in common with the skip.
_ADDS = (0.5, 2.0)
# Where a block's skip is projected, what its sum takes of the branch is known from the change of the sum alone, if what
# came before is the same to so many digits: then a change of the skip, too, looks like one of the addition, and only
# what is felt three times as much is one.
_SAME, _FELT_THERE = 1e-4, 0.03
_FEWEST = 2
# Where the squared mean is as large as the variance.
OUTWEIGHS = 0.5


@dataclass(frozen=True)
class Effect:
    """One quantity of two runs at their matched blocks.

    Attributes:
        name: The quantity, as a policy names it.
        scale: Whether ``new`` and ``base`` are logarithms or shares.
        new: Shape (seeds of the new run, matched blocks); nan where there is nothing to judge.
        base: Shape (seeds of the base, matched blocks).
        channels: C of the matched blocks.
        prior: Standard deviation over seeds that publications lead to expect, shape (matched blocks,); None where no
            spread is known, and only paired seeds say anything.
        shown: Means over seeds in their own units, where the logarithm's is another.
    """

    name: str
    scale: Literal["log", "share"]
    new: Array
    base: Array
    channels: Array
    prior: Array | None = None
    shown: tuple[Array, Array] | None = None

    @property
    def means(self) -> tuple[Array, Array]:
        """What people are shown of the new run and of the base, shape (matched blocks,)."""
        if self.shown is not None:
            return self.shown
        means = self.new.mean(axis=0), self.base.mean(axis=0)
        return means if self.scale == "share" else (_exp(means[0]), _exp(means[1]))


# docs/gate-proof.md: the squared mean scatters by sqrt(2/C).
_MEAN_SPREAD = 2.0


@dataclass(frozen=True)
class _Side:
    signal: Curves
    places: NDArray[np.int64]

    @property
    def channels(self) -> Array:
        """C of the matched blocks."""
        return self.signal.channels[self.places]

    def log(self, statistic: str) -> Array:
        logs: Array = np.log(np.maximum(self.signal.values(statistic)[:, self.places], _TINY))
        return logs

    def before(self, *, to_the_first: bool) -> Array:
        """The logarithm of the variance of the block before, in the whole run; nan at a new stage or width."""
        logs = np.log(np.maximum(self.signal.values(VARIANCE), _TINY))
        before = np.concatenate([np.full((len(logs), 1), np.nan), logs[:, :-1]], axis=1)
        size = np.stack([self.signal.channels, self.signal.per_channel, self.signal.stages])
        same = np.append(False, (np.diff(size, axis=1) == 0).all(axis=0))
        same[1:2] |= to_the_first
        return np.where(same, before, np.nan)[:, self.places]

    @property
    def adds_to_the_first(self) -> bool:
        """Whether the first block adds its branch to row 0: nothing projects it, as the sum says."""
        signal = self.signal
        size = np.stack([signal.channels, signal.per_channel])[:, :2]
        if signal.network.known or signal.blocks[:2].tolist() != [0, 1] or np.diff(size).any():
            return False
        (first, total), branch = signal.seed_mean(VARIANCE)[:2], signal.seed_mean(BRANCH)[1]
        return bool(_ADDS[0] * branch < total - first < _ADDS[1] * branch)


def iter_effects(new: Curves, base: Curves, matching: Matching) -> Iterator[Effect]:
    """Yield what two runs are compared by."""
    places, base_places = (np.array(side, dtype=np.int64) for side in zip(*matching.pairs, strict=True))
    sides = _Side(new, places), _Side(base, base_places)
    common = [name for name in new.compared if name in base.compared]
    for name in common:
        if name != MEAN:
            yield Effect(name, "log", sides[0].log(name), sides[1].log(name), sides[0].channels, _spread(sides, name))
    if {MEAN, VARIANCE} <= set(common):
        yield from _iter_mean_effects(*sides)
    if {BRANCH, VARIANCE} <= set(common):
        yield _addition(*sides)
    if VARIANCE in common and not (new.layered or base.layered):
        yield _growth(*sides)


def _iter_mean_effects(new: _Side, base: _Side) -> Iterator[Effect]:
    logs = [(side.log(MEAN), side.log(VARIANCE)) for side in (new, base)]
    shares = [_share(*pair) for pair in logs]
    middle = np.mean([share.mean(axis=0) for share in shares], axis=0)
    spread = np.sqrt(_MEAN_SPREAD / np.minimum(new.channels, base.channels))
    # dp = p (1 - p) d log(m/v); what n values and C channels have by chance of a mean that is none, they have or not.
    floor = np.maximum(mean_floor(new.signal)[new.places], mean_floor(base.signal)[base.places])
    yield Effect("mean_share", "share", shares[0], shares[1], new.channels, middle * (1 - middle) * spread + floor / 4)
    outweighs = np.maximum(shares[0].mean(axis=0), shares[1].mean(axis=0)) >= OUTWEIGHS
    means = [np.where(outweighs, mean, np.nan) for mean, _ in logs]
    yield Effect(MEAN, "log", means[0], means[1], new.channels, _spread((new, base), MEAN))


def _addition(new: _Side, base: _Side) -> Effect:
    parts = [_added(side, to_the_first=base.adds_to_the_first) for side in (new, base)]
    branches = [np.clip(side.log(BRANCH) - side.log(VARIANCE), -_LARGEST, _LARGEST) for side in (new, base)]
    projects, there = _at_projections(new, base, parts[1] * np.exp(-branches[1]))
    parts = [np.where(projects, other, part) for other, part in zip(there, parts, strict=True)]
    gains = [part * np.exp(-branch) for part, branch in zip(parts, branches, strict=True)]
    apart = np.abs(gains[0].mean(axis=0) - gains[1].mean(axis=0))
    changed = apart * np.exp(np.maximum(*(branch.mean(axis=0) for branch in branches)))
    felt = changed >= np.where(projects, _FELT_THERE, _FELT)
    logs = [
        np.where(felt, np.arcsinh(part / (2 * _LEAST)) + math.log(_LEAST) - branch, np.nan)
        for part, branch in zip(parts, branches, strict=True)
    ]
    means = gains[0].mean(axis=0), gains[1].mean(axis=0)
    return Effect("addition_gain", "log", logs[0], logs[1], new.channels, shown=means)


def _at_projections(new: _Side, base: _Side, gains: Array) -> tuple[NDArray[np.bool_], tuple[Array, Array]]:
    """Return where a block's skip is projected and what came before is the same, and what its sums take of branches.

    The base's sum takes what its others take, shape (matched blocks,); the new one's takes what it has more. Each as a
    part of the sum's variance, shape (seeds, matched blocks).
    """
    total, old = (np.exp(side.log(VARIANCE)) for side in (new, base))
    known = gains.mean(axis=0)[np.isfinite(gains).all(axis=0)]
    projects = np.zeros(old.shape[1], dtype=bool)
    if new.signal.seeds != base.signal.seeds or new.signal.network.known or len(known) < _FEWEST:
        return projects, (total, old)
    brought = float(np.median(known)) * np.exp(base.log(BRANCH))
    # A channel's mean is rounded as its values are: relative to their root mean square.
    means = (np.exp(side.log(MEAN) / 2) for side in (new, base))
    apart = np.maximum(np.abs(np.subtract(*means)) / np.sqrt(old), np.abs(total - old) / old).max(axis=0)
    follows = np.logical_and(*(np.diff(side.places, prepend=-2) == 1 for side in (new, base)))
    same = np.append(False, apart[:-1] <= _SAME)
    projects = follows & same & np.isnan(gains).all(axis=0) & np.isfinite(brought).all(axis=0) & (np.median(known) > 0)
    return projects, ((brought + total - old) / total, brought / old)


def _exp(logs: Array) -> Array:
    return np.exp(np.minimum(logs, _LARGEST))


def _added(side: _Side, *, to_the_first: bool) -> Array:
    part: Array = -np.expm1(side.before(to_the_first=to_the_first) - side.log(VARIANCE))
    return part


def _growth(new: _Side, base: _Side) -> Effect:
    logs = [side.log(VARIANCE) for side in (new, base)]
    growths = [np.full_like(log, np.nan) for log in logs]
    for growth, log in zip(growths, logs, strict=True):
        growth[:, -1] = log[:, -1] - log[:, 0] if log.shape[1] > 1 else np.nan
    return Effect("growth", "log", growths[0], growths[1], new.channels)


def _share(mean: Array, variance: Array) -> Array:
    # Overflow is a share of 0 or 1.
    share: Array = np.exp(-np.logaddexp(0.0, variance - mean))
    return share


def _spread(sides: tuple[_Side, _Side], statistic: str) -> Array:
    spread: Array = np.maximum(*(_expected_spread(side.signal, statistic)[side.places] for side in sides))
    return spread


def _expected_spread(signal: Curves, statistic: str) -> Array:
    # Of a network that nobody described the seeds must tell whether anything normalizes (``depth_spread``).
    forgets = signal.normalized or not signal.network.known
    return log_spread(statistic, signal.channels, signal.per_channel, normalized=forgets)

"""What every row should have, from a baseline, from theory, or from the laws of its kind of network; and what it has.

Of a block that adds its branch to its input, what the addition brings is expected: whatever came before it, a sound
block brings the same. So each row is judged by itself, and a fault is found in the rows that have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sppkit.curves.curves import PREDICTED, Array
from sppkit.curves.laws import added_scale, branch_level, mean_floor, starts
from sppkit.curves.match_blocks import match_sites
from sppkit.diagnosis.against_theory import why_not_judged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sppkit.curves.curves import Curves, Flags

_Three: TypeAlias = tuple[Array, Array, Array]
_COLUMNS = ("channel_squared_mean", "channel_variance", "residual_variance")
# Factors closer to 1 than this are none: seeds and small maps move a branch by as much. Of two runs with the same
# weights nearly all of that is gone.
_SAME, _SAME_WEIGHTS = 0.12, 0.03
# The squared mean's share of the second moment: by so much it moves before anybody should care (a tenth) and before it
# can be told from what a changed variance does to it.
_SHARE, _SHARE_SAME_WEIGHTS = 0.05, 0.02
_DEVIATIONS = 2.5
# What is seen at the row where two runs with the same weights begin to differ: smaller than a row may differ anywhere,
# and far above rounding. Only what is seen; a hypothesis, of a sum of independent parts, is no better than above.
_FINE, _SHARE_FINE = 1e-3, 5e-4
# First rows that differ by less, seed by seed, hold the same weights and the same input: rounding alone is below 1e-4.
_EQUAL = 1e-3
# How far apart the rows before one are already, as multiples of their root mean square.
_TIMES_BEFORE = 3.0
# BN-ReLU-Conv: (1/pi) / (1 - 1/pi). Where the architecture leaves no mean, less than 2 % of the variance.
_MEAN_AFTER_RELU, _NO_MEAN = 0.4669, 0.02
# Of the sums in a network that adds, so many take the same share of their branch, within this factor. It is 1 or small
# (alpha²): a ReLU after the addition leaves 0.34 to 0.68 of a branch, and its sums follow no such law.
_MOST, _ALIKE = 0.6, 1.6
_SMALL, _WHOLE = 0.25, (0.85, 1.15)


@dataclass(frozen=True)
class Comparison:
    """Rows as they are and as they should be, seed means, shape (B,); nan where nothing is known.

    Attributes:
        curves: The curves.
        row: The row that is asked about.
        same_weights: Whether both sides begin with the same weights.
        sides: How many sides were measured.
        fine: Whether small changes count, at the row where two runs with the same weights begin to differ.
        mean: Squared mean.
        variance: Variance.
        branch: Residual variance.
        expected_mean: What the squared mean should be.
        expected_variance: What the variance should be.
        expected_branch: What the residual variance should be.
        brought_mean: What the addition should bring to the squared mean; nan where a row is no addition to the row
            before it.
        brought_variance: What it should bring to the variance.
        share_error: By how much the squared mean's share may have moved by chance, from its changes seed by seed;
            infinite where sides have other seeds.
    """

    curves: Curves
    row: int
    same_weights: bool
    sides: int
    mean: Array
    variance: Array
    branch: Array
    expected_mean: Array
    expected_variance: Array
    expected_branch: Array
    brought_mean: Array
    brought_variance: Array
    share_error: Array
    fine: bool = False

    @cached_property
    def variance_before(self) -> Array:
        """The variance of the row before, as it is."""
        return np.append(np.nan, self.variance[:-1])

    @cached_property
    def mean_before(self) -> Array:
        """The squared mean of the row before, as it is."""
        return np.append(np.nan, self.mean[:-1])

    @cached_property
    def branch_factor(self) -> Array:
        """The residual variance over what it should be."""
        return _over(self.branch, self.expected_branch)

    @cached_property
    def variance_factor(self) -> Array:
        """The variance over what it should be."""
        return _over(self.variance, self.expected_variance)

    @cached_property
    def same(self) -> Array:
        """By which logarithm a factor must differ from 1."""
        seeds = len(self.curves.seeds)
        spread = _DEVIATIONS * self.curves.spread("residual_variance") * np.sqrt(self.sides / seeds)
        by_chance: Array = np.maximum(_SAME, spread)
        if not self.same_weights:
            return by_chance
        return np.minimum(by_chance, max(_SAME_WEIGHTS, self.apart_before))

    @cached_property
    def apart_before(self) -> float:
        """How far apart the variances before the row are already, as a logarithm, with some to spare."""
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(self.variance_factor[: self.row])
        known = logs[np.isfinite(logs)]
        return float(_TIMES_BEFORE * np.sqrt(np.mean(known**2))) if len(known) else 0.0

    @cached_property
    def shares_before(self) -> float:
        """The same of the squared mean's share."""
        now, due = share(self.mean, self.variance), share(self.expected_mean, self.expected_variance)
        apart = (now - due)[: self.row]
        known = apart[np.isfinite(apart)]
        return float(_TIMES_BEFORE * np.sqrt(np.mean(known**2))) if len(known) else 0.0

    @property
    def begins(self) -> bool:
        """Whether nothing before the row is another, so that the smallest change is this row's own."""
        return self.same_weights and self.apart_before < _FINE and self.shares_before < _SHARE_FINE

    @property
    def least(self) -> Array:
        """By which logarithm a factor must differ from 1 to be seen."""
        return np.full_like(self.variance, _FINE) if self.fine else self.same

    @property
    def share_least(self) -> Array:
        """By how much the squared mean's share must differ to be seen."""
        return np.full_like(self.variance, _SHARE_FINE) if self.fine else self.share_same

    @cached_property
    def share_same(self) -> Array:
        """By how much the squared mean's share of the second moment must differ."""
        if self.same_weights:
            return np.full_like(self.variance, max(_SHARE_SAME_WEIGHTS, self.apart_before / 4))
        seeds, part = len(self.curves.seeds), share(self.mean, self.variance)
        spread = _DEVIATIONS * self.curves.spread("channel_squared_mean") * np.sqrt(self.sides / seeds)
        by_chance: Array = np.maximum(_SHARE, np.nan_to_num(spread * part * (1 - part)) + mean_floor(self.curves))
        return by_chance


def share(mean: Array, variance: Array) -> Array:
    """Return the squared mean's share of the second moment: how alike unrelated samples are."""
    return _over(mean, mean + variance)


def compare(curves: Curves, base: Curves | None, row: int) -> Comparison | None:
    """Hold curves against what they should be."""
    own = _columns(curves, "")
    if base is not None:
        expected = _of_base(curves, base)
        alike, error = _begin_alike(curves, base), _share_error(curves, base)
        return _of_columns(curves, own, expected, row=row, same_weights=alike, sides=2, share_error=error)
    expected = _columns(curves, PREDICTED)
    if why_not_judged(curves) is None and np.isfinite(expected[1]).any():
        return _of_columns(curves, own, expected, row=row, same_weights=False, sides=1)
    return _of_laws(curves, own, row)


def _columns(curves: Curves, prefix: str) -> _Three:
    mean, variance, branch = (curves.seed_mean(prefix + name) for name in _COLUMNS)
    return mean, variance, branch


def _begin_alike(curves: Curves, base: Curves) -> bool:
    """Return whether the first rows have the same variance or the same mean in every seed: a draw has neither twice."""
    if curves.seeds != base.seeds:
        return False
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = [curves.values(name)[:, 0] / base.values(name)[:, 0] for name in _COLUMNS[:2]]
    return any(bool((np.abs(ratio - 1) < _EQUAL).all()) for ratio in ratios)


def _share_error(curves: Curves, base: Curves) -> Array:
    error, pairs = np.full(len(curves.blocks), np.inf), _pairs(curves, base)
    if curves.seeds == base.seeds and len(curves.seeds) > 1:
        sides = [share(*(side.values(name) for name in _COLUMNS[:2])) for side in (curves, base)]
        apart = sides[0][:, pairs[:, 0]] - sides[1][:, pairs[:, 1]]
        error[pairs[:, 0]] = _DEVIATIONS * apart.std(axis=0, ddof=1) / np.sqrt(len(apart))
    return error


def _pairs(curves: Curves, base: Curves) -> NDArray[np.intp]:
    sites = [list(zip(side.names, map(float, side.channels), strict=True)) for side in (curves, base)]
    return np.array(match_sites(*sites).pairs, dtype=np.intp).reshape(-1, 2)


def _of_base(curves: Curves, base: Curves) -> _Three:
    pairs = _pairs(curves, base)

    def matched(values: Array) -> Array:
        found = np.full(len(curves.blocks), np.nan)
        found[pairs[:, 0]] = values[pairs[:, 1]]
        return found

    mean, variance, branch = map(matched, _columns(base, ""))
    return mean, variance, branch


def _of_columns(
    curves: Curves,
    own: _Three,
    expected: _Three,
    *,
    row: int,
    same_weights: bool,
    sides: int,
    share_error: Array | None = None,
) -> Comparison:
    error = np.full(len(curves.blocks), np.inf) if share_error is None else share_error
    brought = [np.append(np.nan, np.diff(values)) for values in expected[:2]]
    adds = _additions(curves, brought[1], expected[2])
    brought_mean, brought_variance = (np.where(adds, values, np.nan) for values in brought)
    return Comparison(curves, row, same_weights, sides, *own, *expected, brought_mean, brought_variance, error)


def _additions(curves: Curves, brought: Array, branch: Array) -> Flags:
    """Return which rows add their branch to the row before: the variance rises by one share of it in most of them."""
    # In a model of somebody's own a stage may begin without a projection; its shapes tell.
    shapes = np.stack([curves.channels, curves.positions])
    plain = ~starts(curves) if curves.network.known else np.append(False, (np.diff(shapes) == 0).all(axis=0))
    inside = plain & (curves.blocks > 0) & np.append(False, np.diff(curves.blocks) == 1)
    taken = np.where(inside, _over(brought, branch), np.nan)
    known = taken[np.isfinite(taken)]
    usual = float(np.median(known)) if len(known) else 0.0
    scale = added_scale(curves)
    if not (0 < usual < _SMALL or _WHOLE[0] < usual / (1.0 if np.isnan(scale) else scale or 1.0) < _WHOLE[1]):
        return np.zeros_like(inside)
    with np.errstate(invalid="ignore"):
        alike = np.abs(np.log(np.maximum(taken, 1e-30) / usual)) < np.log(_ALIKE)
    additions: Flags = alike & bool(alike.sum() >= _MOST * len(known))
    return additions


def _of_laws(curves: Curves, own: _Three, row: int) -> Comparison | None:
    network, (_, variance, branch) = curves.network, own
    healthy = _over(branch, branch_level(curves.averaged)[0])
    if not np.isfinite(healthy).any():
        return None
    inside = ~starts(curves) & (curves.blocks > 0)
    part = _MEAN_AFTER_RELU if network.arch == "bn-relu-conv" and network.activation == "relu" else _NO_MEAN
    part = np.nan if network.norm_first and network.normalized and network.activation != "relu" else part
    brought = np.where(inside, added_scale(curves) * healthy, np.nan)
    expected = np.where(inside, np.append(np.nan, variance[:-1]) + brought, variance[curves.blocks == 1].mean())
    expected[curves.blocks < 2] = np.nan
    expected_mean = part * np.where(np.isfinite(expected), expected, variance)
    unknown = np.full_like(variance, np.inf)
    return Comparison(curves, row, False, 1, *own, expected_mean, expected, healthy, part * brought, brought, unknown)


def _over(a: Array, b: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio: Array = np.where(b > 0, a / b, np.nan)
    return ratio

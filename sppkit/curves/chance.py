"""Could seeds alone do this? Moderated t-statistics of log-ratios, and their probabilities.

Four seeds estimate a spread badly, and one not at all. So the spread that was seen is mixed with the published one,
weighted by degrees of freedom (Smyth 2004, "Linear models and empirical Bayes methods", section 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The published spread counts as much as nine seeds; on networks it was not measured on, four seeds of a spread twice as
# large still double it.
_PRIOR_FREEDOM = 8.0
# How probable it may be that chance alone does this somewhere in a network: one in a hundred for each statistic. The
# tolerance must be passed as well, so that false alarms are far rarer than that (docs/gate-proof.md measures them).
FALSE_ALARM = 1e-2
# A signal whose seeds scatter by more than a factor e is no better known than that.
_LARGEST_SPREAD = 1.0
# The spread of four seeds is seldom twice the true one: once in 500 (chi-square with 3 degrees of freedom).
_LARGEST_SCATTER = 2.0
# Stands for the logarithm of zero: far below any variance, and far above the smallest float.
_TINY = 1e-60


@dataclass(frozen=True)
class Estimate:
    """Logarithms of one positive quantity over seeds, block by block.

    Attributes:
        log: Mean over seeds of the logarithm, shape (blocks,); nan where there is nothing to judge.
        variance: Variance over seeds, averaged over each stage; 0 with one seed.
        prior: Variance that is expected from publications.
        seeds: How many seeds.
    """

    log: NDArray[np.float64]
    variance: NDArray[np.float64]
    prior: NDArray[np.float64]
    seeds: int

    @property
    def values(self) -> NDArray[np.float64]:
        """Geometric means, shape (blocks,)."""
        return np.where(self.log <= math.log(_TINY) + 1, 0.0, np.exp(self.log))


def estimate(values: NDArray[np.float64], groups: NDArray[np.int64], prior: NDArray[np.float64]) -> Estimate:
    """Return the mean logarithm of a quantity and how well it is known."""
    logs = np.log(np.maximum(values, _TINY))
    return Estimate(logs.mean(axis=0), _variance(logs, groups), prior**2, len(values))


def t_against(found: Estimate, log: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return the t-statistic of a quantity against fixed numbers, shape (blocks,)."""
    freedom = _PRIOR_FREEDOM + found.seeds - 1
    variance = (_PRIOR_FREEDOM * found.prior + (found.seeds - 1) * found.variance) / freedom
    return (found.log - log) / _root(variance / found.seeds), freedom


def error_between(
    new: NDArray[np.float64], base: NDArray[np.float64], prior: NDArray[np.float64], groups: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float]:
    """Return the standard error of the difference of two runs' means, were they two draws of one network.

    A fault may make seeds scatter, too: a block that lost its normalizer does. Then the new run's own spread would hide
    it, and counts no more than twice what the base and the published spread say.
    """
    freedoms = len(new) - 1, len(base) - 1
    own, its = (_averaged(_scatter(side), groups) for side in (new, base))
    known = (_PRIOR_FREEDOM * prior**2 + freedoms[1] * its) / (_PRIOR_FREEDOM + freedoms[1])
    own = np.minimum(own, _LARGEST_SCATTER**2 * known)
    freedom = _PRIOR_FREEDOM + sum(freedoms)
    variance = ((_PRIOR_FREEDOM + freedoms[1]) * known + freedoms[0] * own) / freedom
    return _root(variance * (1 / len(new) + 1 / len(base))), freedom


def deviate_of(chance: float, freedom: float, tests: int) -> float:
    """Return the t-statistic that any of several tests passes by chance alone with a probability.

    The inverse of ``chance_of``.

    >>> round(deviate_of(0.05, 10, 1), 2)
    2.23
    """
    deviate = -NormalDist().inv_cdf(min(0.5, chance / (2 * max(1, tests))))
    exponent = (deviate * (8 * freedom + 3) / (8 * freedom + 1)) ** 2 / freedom
    return math.sqrt(freedom * math.expm1(min(700.0, exponent)))


def chance_of(t: float, freedom: float, tests: int) -> float:
    """Return how probable it is that any of several tests is so far off, either way, by chance alone.

    Student's t as a normal deviate (Wallace 1959), and Bonferroni's bound for several tests.

    >>> round(chance_of(2.228, 10, 1), 3)
    0.05
    """
    if not math.isfinite(t):
        return 0.0 if math.isinf(t) else 1.0
    deviate = (8 * freedom + 1) / (8 * freedom + 3) * math.sqrt(freedom * math.log1p(t * t / freedom))
    return min(1.0, 2 * tests * NormalDist().cdf(-deviate))


def _variance(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    return _averaged(np.minimum(_scatter(values), _LARGEST_SPREAD**2), groups)


def _scatter(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.var(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])


def _averaged(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    known = np.isfinite(values)
    of = np.unique(groups, return_inverse=True)[1]
    total, count = np.bincount(of, np.where(known, values, 0.0)), np.bincount(of, known)
    averaged: NDArray[np.float64] = (total / np.maximum(count, 1))[of]
    return averaged


def _root(variance: NDArray[np.float64]) -> NDArray[np.float64]:
    # Without any spread whatever differs is no chance.
    return np.sqrt(np.maximum(variance, 1e-24))

"""What a normalizer divides a gradient by: the mean over channels of one over a channel's variance.

A channel is a normal draw with the covariances of its positions and samples. Its variance is a sum of independent
squares, one for each eigenvalue of the covariance matrix around the channel's mean.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sppkit.theory.signal import OTHER, SAME, mean_square_correlation

if TYPE_CHECKING:
    from sppkit.theory.arrays import Floats
    from sppkit.theory.signal import Batch, Signal

# Positions told apart up to which the eigenvalues are asked for: on larger maps two moments tell E 1/v to 1e-3.
MOST_POSITIONS = 64
# Of the logarithm of t: the integrand is analytic in a strip of pi around it and falls off at both ends, so that the
# trapezoidal rule is off by less than 1e-7.
_LOGARITHMS = np.arange(-18.0, 60.0, 0.5)
# An eigenvalue below this share of all is one of the directions that no channel has.
_NONE = 1e-12


def scatter_of_variance(signal: Signal, batch: Batch) -> float:
    """Return s of E 1/v = 1/((1 - s) E v), v the variance of a channel of a normal signal over one batch.

    Where all eigenvalues are alike, of K independent values, s is 2/(K - 1), the relative variance of v. Where a few
    stand out, as those of what all samples have in common near a border, s is less than that.

    Args:
        signal: The signal.
        batch: What v is taken over.

    Returns:
        s; 1 where 1/v has no mean.
    """
    if math.prod(signal.grid.shape) > MOST_POSITIONS:
        return 2 * mean_square_correlation(signal, batch)
    return 1 - 1 / mean_inverse(*_eigenvalues(signal, batch.samples))


def mean_inverse(eigenvalues: Floats, multiplicities: Floats) -> float:
    """Return E v E 1/v for a sum v of squares of independent normal numbers.

    1/v is the integral of exp(-t v) over t > 0, and E exp(-t v) the product of (1 + 2 t lambda)^(-1/2).

    Args:
        eigenvalues: lambda, of shape (n,): mean squares of the numbers.
        multiplicities: How many numbers have each, of the same shape.

    Returns:
        The mean; infinite for fewer than three numbers.
    """
    total = float(np.sum(multiplicities * eigenvalues))
    if not total > 0:
        return 1.0
    share = eigenvalues / total
    present = share > _NONE
    share, counts = share[present], multiplicities[present]
    if np.sum(counts) <= 2:
        return math.inf
    t = np.exp(_LOGARITHMS)
    logarithm = np.log1p(2 * t[:, None] * share) @ counts / 2
    step = float(_LOGARITHMS[1] - _LOGARITHMS[0])
    return step * float(np.sum(t * np.exp(-logarithm)))


def _eigenvalues(signal: Signal, samples: int) -> tuple[Floats, Floats]:
    """Return the eigenvalues of a channel's covariances around its mean, and how many there are of each.

    All samples are alike: what their mean over samples has is one matrix of positions, and what each has beside it the
    other one, N - 1 times.
    """
    grid = signal.grid
    number = (grid.weights * grid.size).ravel()
    where, root = grid.pairs.where[:-1, :-1], np.sqrt(number)
    same, other = (signal.pair(kind).take(where) for kind in (SAME, OTHER))
    # Positions of one class have their own squares beside what they have in common.
    own = signal.second.ravel() - same.diagonal()
    apart, together = same - other, same + (samples - 1) * other
    direction = root / math.sqrt(grid.size)
    found, counts = [own], [samples * (number - 1)]
    for matrix, times, centred in ((apart, samples - 1, False), (together, 1, True)):
        whole = matrix * np.outer(root, root) + np.diag(own)
        if centred:
            partners = whole @ direction
            whole = (
                whole
                - np.outer(partners, direction)
                - np.outer(direction, partners)
                + float(direction @ partners) * np.outer(direction, direction)
            )
        found.append(np.linalg.eigvalsh(whole))
        counts.append(np.full(len(number), float(times)))
    return np.maximum(0.0, np.concatenate(found)), np.concatenate(counts)

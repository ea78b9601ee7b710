"""What weights read: of each new position a row of old ones, some of which may lie outside."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sppkit.theory.arrays import Floats, Indices
    from sppkit.theory.gram.gram import Gram


def gather(gram: Gram, taps: Indices) -> Gram:
    """Average E x x' over what filters read, the same tap at both positions; outside, a signal is 0.

    Behind it, ``apply_weights`` multiplies with fan_in times the weights' mean square.

    Args:
        gram: The input.
        taps: Shape (taps, new positions), the sample changing slowest: positions of the input, -1 outside.

    Returns:
        What every filter sees, in the mean over its taps.
    """
    total = len(gram.mean)
    products, mean = np.zeros((total + 1, total + 1)), np.append(gram.mean, 0.0)  # the last one is outside
    products[:total, :total] = gram.products
    count = taps.shape[1]
    summed, means = np.zeros((count, count)), np.zeros(count)
    for tap in np.where(taps < 0, total, taps):
        summed += products[tap][:, tap]
        means += mean[tap]
    sizes = (gram.sizes[0], count // gram.sizes[0])
    return replace(gram, sizes=sizes, products=summed / len(taps), mean=means / len(taps))


def weigh(gram: Gram, weights: Floats) -> Gram:
    """Take sums of positions with known weights, as a pooling does: K <- A K A^T.

    Args:
        gram: The input.
        weights: A, of shape (new positions, positions), the sample changing slowest.

    Returns:
        The sums.
    """
    sizes = (gram.sizes[0], len(weights) // gram.sizes[0])
    return replace(gram, sizes=sizes, products=weights @ gram.products @ weights.T, mean=weights @ gram.mean)


def pick(gram: Gram, positions: Indices) -> Gram:
    """Take some positions, any of them any number of times; -1 is a 0.

    Args:
        gram: The input.
        positions: Of shape (new positions,), the sample changing slowest.

    Returns:
        The signal there.
    """
    sizes = (gram.sizes[0], len(positions) // gram.sizes[0])
    if np.all(positions >= 0):
        return gram.taken(positions, sizes)
    inside = gram.taken(np.maximum(positions, 0), sizes)
    return inside.times((positions >= 0).astype(float))

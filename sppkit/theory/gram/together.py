"""Normalizing several positions with all their channels together, as a layer norm of merged patches does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sppkit.theory.gram.gram import OutOfReachError

if TYPE_CHECKING:
    from sppkit.theory.arrays import Indices
    from sppkit.theory.gram.gram import Gram


def normalize_together(gram: Gram, which: Indices, epsilon: float) -> Gram:
    """Subtract the mean over all channels of a group of positions, and divide by the standard deviation over them.

    Args:
        gram: The input.
        which: The group of each position, of shape (positions,), counted from 0.
        epsilon: Added to the variance.

    Returns:
        The output.

    Raises:
        OutOfReachError: If there is nothing to divide by.
    """
    sizes = np.bincount(which)
    average = (np.bincount(which, gram.mean) / sizes)[which]
    products = gram.products - np.multiply.outer(average, gram.mean) - np.multiply.outer(gram.mean, average)
    products += np.multiply.outer(average, average)
    variance = (np.bincount(which, np.diagonal(products)) / sizes)[which] + epsilon
    if not np.all(variance > 0):
        raise OutOfReachError("a normalizer of a signal that is 0")
    factors = 1 / np.sqrt(variance)
    normalized = products * factors[:, None] * factors[None, :]
    return replace(gram, products=normalized, mean=(gram.mean - average) * factors, drift=0.0)

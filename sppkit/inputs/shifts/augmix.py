"""AugMix: a picture mixed with a mixture of chains of operations on it (Hendrycks et al. 2020, arXiv:1912.02781)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from sppkit.inputs.shifts.augmix_operations import ALL, NINE, draw_operation
from sppkit.inputs.shifts.eight_bits import to_image, to_picture
from sppkit.inputs.shifts.picture_by_picture import picture_by_picture

if TYPE_CHECKING:
    from sppkit.inputs.shifts.shift import Shift

# Of the released code for the two data sets.
SEVERITIES = {"cifar": 3.0, "imagenet": 1.0}
_LONGEST_CHAIN = 3
# Of the Dirichlet and the Beta distribution.
_ALPHA = 1.0


class Weights(NamedTuple):
    """How much of everything there is in the result.

    Attributes:
        chains: Of each chain in the mixture, shape (k,); they sum to 1.
        mixture: Of the mixture; the picture itself has the rest.
    """

    chains: np.ndarray
    mixture: np.float32


def augmix(
    set: Literal["cifar", "imagenet"] = "imagenet",  # noqa: A002 - what a user types
    severity: float | None = None,
    width: int = 3,
    depth: int = 0,
    operations: Literal["nine", "all"] = "nine",
) -> Shift:
    """Return ``(1 - m) x + m (w_1 chain_1(x) + ... + w_k chain_k(x))``, w ~ Dirichlet(1, ..., 1) and m ~ Beta(1, 1).

    The released code mixes normalized pictures; the weights are convex, so that it comes to the same.

    Args:
        set: Whose severity: 3 for ``cifar``, 1 for ``imagenet``.
        severity: The largest level of an operation, instead of the set's.
        width: Number of chains, k.
        depth: Operations in each chain; 0 draws 1, 2 or 3 for each.
        operations: The ``nine``, or ``all``: with colour, contrast, brightness and sharpness.

    Returns:
        The shift.
    """
    largest = SEVERITIES[set] if severity is None else severity
    known = NINE if operations == "nine" else ALL

    def one(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        weights = draw_weights(width, generator)
        image, mixture = to_image(picture), np.zeros_like(picture)
        for weight in weights.chains:
            changed = image
            for _ in range(depth or int(generator.integers(1, _LONGEST_CHAIN + 1))):
                changed = draw_operation(known, generator)(changed, largest, generator)
            mixture += weight * to_picture(changed)
        return (1 - weights.mixture) * picture + weights.mixture * mixture

    return picture_by_picture(one, "augmix", channels=(1, 3))


def draw_weights(width: int, generator: np.random.Generator) -> Weights:
    """Draw the weights of one picture, in float32 as the released code does."""
    chains = generator.dirichlet([_ALPHA] * width).astype(np.float32)
    return Weights(chains, np.float32(generator.beta(_ALPHA, _ALPHA)))

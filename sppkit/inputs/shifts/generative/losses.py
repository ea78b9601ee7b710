"""What the networks of a generative transformation are trained to: four terms, and what a discriminator learns.

Huang et al. 2018 (arXiv:1804.04732, section 4): |a - b| is the mean absolute difference over everything; the
adversarial terms are least squares (Mao et al. 2017, arXiv:1611.04076).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

RECONSTRUCTION_WEIGHT = 10.0


class Terms(NamedTuple):
    """The terms of a generator's loss, each a scalar.

    Attributes:
        reconstruction: |x - dec(c(x), s(x))|, pictures in [-1, 1].
        style: |z - s(dec(c, z))| for a drawn style z.
        content: |c - c(dec(c, z))| for the content c of a picture.
        adversarial: mean of (D(dec(c, z)) - 1)² over patches.
    """

    reconstruction: Tensor
    style: Tensor
    content: Tensor
    adversarial: Tensor

    def total(self) -> Tensor:
        """Return 10 · reconstruction + style + content + adversarial."""
        return RECONSTRUCTION_WEIGHT * self.reconstruction + self.style + self.content + self.adversarial


def absolute_difference(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of |a - b|."""
    return (a - b).abs().mean()


def adversarial(judged: Tensor) -> Tensor:
    """Return mean (D - 1)²: what a generator makes small, D being the judgement of its pictures."""
    return (judged - 1).square().mean()


def discrimination(real: Tensor, decoded: Tensor) -> Tensor:
    """Return mean (D(real) - 1)² + mean D(decoded)²: what a discriminator makes small."""
    return (real - 1).square().mean() + decoded.square().mean()

"""How far features move under a transformation, held against how far they are from another picture's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Spread:
    """Mean and scatter of feature vectors, merged batch by batch (Chan, Golub & LeVeque 1979) in float64.

    Attributes:
        samples: How many there were.
        mean: Their mean, shape (C,).
        scatter: Sum of squared distances from the mean.
    """

    samples: int
    mean: Tensor
    scatter: float

    @classmethod
    def of(cls, features: Tensor) -> Spread:
        """Return the spread of one batch.

        Args:
            features: Shape (N, C), float64.

        Returns:
            Its mean and scatter.
        """
        mean = features.mean(dim=0)
        return cls(len(features), mean, float((features - mean).square().sum()))

    def merge(self, other: Spread) -> Spread:
        """Return the spread of two batches together.

        Args:
            other: That of the other batch.

        Returns:
            That of both.
        """
        samples = self.samples + other.samples
        apart = other.mean - self.mean
        between = float(apart.square().sum()) * self.samples * other.samples / samples
        return Spread(samples, self.mean + apart * (other.samples / samples), self.scatter + other.scatter + between)


def distance_to_another(features: Tensor, spread: Spread) -> Tensor:
    """Return each picture's mean squared distance from another picture of the set, drawn uniformly.

    Σ_j ‖h_i - h_j‖² = N ‖h_i - μ‖² + Σ_j ‖h_j - μ‖², and picture i itself adds nothing to it, so that the mean over the
    N - 1 others is (N ‖h_i - μ‖² + scatter) / (N - 1).

    Args:
        features: h, shape (n, C), float64: some of the set's features.
        spread: Of the whole set of N pictures.

    Returns:
        Shape (n,).
    """
    from_mean = (features - spread.mean).square().sum(dim=1)
    return (spread.samples * from_mean + spread.scatter) / (spread.samples - 1)


def signal_to_shift(moved: Tensor, apart: Tensor) -> tuple[float, float]:
    """Return the signal-to-shift 1 - E‖h(Tx) - h(x)‖² / E‖h(x') - h(x)‖² and its standard error over pictures.

    1: the features do not see the transformation; 0: they move as far as to another picture; it can be negative. The
    error is that of a ratio of means, sd(moved - ratio · apart) / (√n · mean apart), the mean of all features taken as
    known; nan for one picture.

    Args:
        moved: ‖h(Tx) - h(x)‖² of each picture, averaged over the draws of T, shape (n,), float64.
        apart: ‖h(x') - h(x)‖² of each picture, averaged over x', as ``distance_to_another`` returns it, shape (n,).

    Returns:
        The number and its error.
    """
    ratio = moved.mean() / apart.mean()
    if len(moved) == 1:
        return float(1 - ratio), torch.nan
    error = (moved - ratio * apart).std() / (len(moved) ** 0.5 * apart.mean())
    return float(1 - ratio), float(error)

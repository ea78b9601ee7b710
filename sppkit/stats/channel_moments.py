"""What is kept of a signal: count, mean and squared deviations of every channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class ChannelMoments:
    """Moments of every channel of the signal seen so far.

    Attributes:
        count: Values per channel, n.
        nonfinite: Number of values that are nan or infinite: of all channels, or of each where it is on a device.
    """

    __slots__ = ("_m2", "_mean", "count", "nonfinite")

    def __init__(self, count: int, mean: Tensor, m2: Tensor, nonfinite: Tensor | int) -> None:
        """Keep what is given.

        Args:
            count: Values per channel.
            mean: Shape (C,), float64.
            m2: Sum of squared deviations from the mean, shape (C,), float64.
            nonfinite: Number of values that are not finite.
        """
        self.count, self.nonfinite = count, nonfinite
        self._mean, self._m2 = mean, m2

    @property
    def mean(self) -> Tensor:
        """Shape (C,), float64."""
        return self._mean

    @property
    def m2(self) -> Tensor:
        """Sum of squared deviations from the mean, shape (C,), float64."""
        return self._m2

    @property
    def is_cpu(self) -> bool:
        """Whether they are on the host."""
        return self._mean.is_cpu

    @property
    def mean_as_it_lies(self) -> Any:
        """The mean as a tensor, or as NumPy's array, of which a number is made with fewer calls."""
        return self._mean

    @property
    def m2_as_it_lies(self) -> Any:
        """The same of the squared deviations."""
        return self._m2

    @property
    def variance(self) -> Tensor:
        """The population variance m2 / n, shape (C,)."""
        return self.m2 / self.count

"""What a window along the axes of positions gathers: a convolution's filters, and the means of a pooling."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from sppkit.theory.arrays import Indices
    from sppkit.theory.gram.gram import Gram


class Window(NamedTuple):
    """A window, along each axis of positions.

    Attributes:
        kernel: Taps.
        stride: Between two windows.
        padding: On both sides.
        dilation: Between two taps.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def taps(self, axis: int, size: int) -> Indices:
        """Return the position under each tap.

        Args:
            axis: Which axis.
            size: Its length.

        Returns:
            Shape (taps, windows); -1 outside.
        """
        kernel, stride, padding, dilation = (item[axis] for item in self)
        windows = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        seen = np.arange(windows) * stride + np.arange(kernel)[:, None] * dilation - padding
        return np.where((seen >= 0) & (seen < size), seen, -1)


def convolve(gram: Gram, window: Window, sizes: tuple[int, ...]) -> Gram:
    """Average E x x' over the taps of a window, the same tap at both positions; outside the map it is 0.

    Behind it, ``apply_weights`` multiplies with fan_in times the weights' variance.

    Args:
        gram: The input.
        window: The window.
        sizes: Samples held, and the lengths of all axes of positions, those of 1 included.

    Returns:
        What every filter sees, in the mean over its taps.
    """
    held, total = sizes[0], len(gram.mean)
    # One position more, outside.
    products, mean = np.zeros((total + 1, total + 1)), np.append(gram.mean, 0.0)
    products[:total, :total] = gram.products
    taps = [window.taps(axis, size) for axis, size in enumerate(sizes[1:])]
    windows = [seen.shape[1] for seen in taps]
    count = held * int(np.prod(windows))
    summed, means = np.zeros((count, count)), np.zeros(count)
    for tap in product(*(range(len(seen)) for seen in taps)):
        flat, outside = np.arange(held), np.zeros(held, dtype=bool)
        for size, seen, index in zip(sizes[1:], taps, tap, strict=True):
            flat = (flat[:, None] * size + np.maximum(seen[index], 0)).reshape(-1)
            outside = (outside[:, None] | (seen[index] < 0)).reshape(-1)
        flat = np.where(outside, total, flat)
        summed += products[np.ix_(flat, flat)]
        means += mean[flat]
    number = int(np.prod(window.kernel))
    return replace(gram, sizes=(held, *windows), products=summed / number, mean=means / number)

"""Channel moments on the CPU without a compiler: float32 sums over short rows, float64 where they don't suffice.

Between two blocks of a network every call is a cold one, and the caches belong to the network: what counts is how few
calls there are and how little memory they touch. What is needed on the way is written to memory that is kept from
signal to signal.
"""

from __future__ import annotations

import functools
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sppkit.machine.mapped_memory import Pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# The fast path takes var = E x² - mean², which multiplies the rounding error of E x² by E x² / var. A float32 sum over
# a row of at most MAX_ROW values, in 8 or more lanes, adds 16 terms per lane: rounded half an ulp (6e-8) each, always
# in the same direction in the worst case, that is 5e-7 of the sum, and 2e-7 more for the square of a rounded root. Up
# to this amplification the variance is then good to 1e-5 in the worst case and to 1e-6 as a rule; channels beyond it
# are redone in float64. A BN-ReLU-Conv network (mean² = 0.47 var on average) has one such channel in a million.
MAX_AMPLIFICATION = 12.0
MAX_ROW = 128
MIN_ROW = 32
# Below this second moment the squares of float32 values lose digits to underflow (2^-126 / 2^-23 is about 2^-103).
MIN_SECOND_MOMENT = 2.0**-100
# float64 copies are made of at most this many values at a time: 32 MiB.
CHUNK = 2**22
# The shapes of more networks than anyone measures in one process at a time.
_MOST_SHAPES = 64
_FLOAT, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def torch_moments(x: Tensor, out: Floats) -> int:
    """Reduce a float32 signal to the mean and the squared deviations of every channel.

    Args:
        x: Shape (N, C, *space), float32, contiguous, on the CPU, without gradient.
        out: Shape (2, C): the means and the sums of squared deviations from them; overwritten.

    Returns:
        How many values are not finite.
    """
    samples, channels = x.shape[:2]
    length = x.numel() // (samples * channels)
    # What is not finite or overflows is found in the sums, and needs no warning from NumPy.
    with np.errstate(all="ignore"):
        sums = _sum_rows(x, samples, channels, length) if length >= MIN_ROW else _sum_samples(x, channels, length)
        return _from_sums(x, samples * length, sums, out)


def _from_sums(x: Tensor, count: int, sums: Floats, out: Floats) -> int:
    # Writes mean and m2, and returns how many values are not finite.
    total, squares = sums
    mean, m2 = out
    np.divide(total, count, mean)
    np.multiply(total, mean, m2)
    np.subtract(squares, m2, m2)
    # nan where a sum is nan or infinite, or all values are 0; such channels fail the comparison.
    share = np.divide(m2, squares, total)
    least = MIN_SECOND_MOMENT * count
    if np.minimum.reduce(share) >= 1 / MAX_AMPLIFICATION and np.minimum.reduce(squares) >= least:
        return 0
    bad = np.flatnonzero(~((share >= 1 / MAX_AMPLIFICATION) & (squares >= least)))
    return _redo(x.flatten(2).numpy() if x.ndim > 2 else x.numpy()[:, :, None], bad, out)


def _redo(x: NDArray[np.float32], channels: NDArray[np.intp], out: Floats) -> int:
    # From the definition, in float64; returns how many of the values are not finite.
    nonfinite = 0
    step = max(1, CHUNK // (x.shape[0] * x.shape[2]))
    for first in range(0, len(channels), step):
        part = channels[first : first + step]
        values = x[:, part].astype(np.float64)
        out[0, part] = mean = values.mean((0, 2))
        nonfinite += int(values.size - np.isfinite(values).sum())
        values -= mean[:, None]
        out[1, part] = np.square(values, values).sum((0, 2))
    return nonfinite


@dataclass(frozen=True)
class _Workspace:
    """Memory for the sums of signals of one shape: (*some, C, R), with R the rows of a channel, or its positions.

    Attributes:
        sums: Sums and roots of sums of squares, shape (2, *some, C, R) in float32.
        total: ``sums[0]``, as torch's tensor.
        roots: ``sums[1]``, as torch's tensor.
        doubles: Shape (2, C, R).
        ones: Shape (R,).
        channels: Shape (2, C).
    """

    sums: NDArray[np.float32]
    total: Tensor
    roots: Tensor
    doubles: Floats
    ones: Floats
    channels: Floats


class _Workspaces(threading.local):
    """Every thread has its own, by shape."""

    def __init__(self) -> None:
        self.by_shape: dict[tuple[int, ...], _Workspace] = {}


_workspaces = _Workspaces()


def _workspace(*shape: int) -> _Workspace:
    found = _workspaces.by_shape.get(shape)
    if found is None:
        if len(_workspaces.by_shape) >= _MOST_SHAPES:
            _workspaces.by_shape.clear()
        found = _workspaces.by_shape[shape] = _make_workspace(shape)
    return found


def _make_workspace(shape: tuple[int, ...]) -> _Workspace:
    *_some, channels, rows = shape
    pieces = Pieces(12 * math.prod(shape) + 2**16)
    sums = pieces.array((2, *shape), _FLOAT)
    doubles, per_channel = (pieces.array(each, _DOUBLE) for each in ((2, channels, rows), (2, channels)))
    total, roots = map(torch.from_numpy, sums)
    return _Workspace(sums, total, roots, doubles, np.ones(rows), per_channel)


def _sum_samples(x: Tensor, channels: int, length: int) -> Floats:
    # The sums over (N, C, L) and those of the squares, where rows are too short to be worth summing: over the samples
    # first, which torch sums pairwise.
    work = _workspace(channels, length)
    x = x.view(-1, channels, length)
    torch.sum(x, 0, out=work.total)
    torch.sum(x * x, 0, out=work.roots)
    np.copyto(work.doubles, work.sums)
    return np.matmul(work.doubles, work.ones, work.channels)


def _sum_rows(x: Tensor, samples: int, channels: int, length: int) -> Floats:
    # The same over rows: float32 within a row, float64 from then on.
    row = _row_length(length)
    rest = length % row
    if rest == 0:
        return _sum_equal_rows(x.view(samples, channels, length // row, row))
    x = x.view(samples, channels, length)
    whole, last = x[:, :, : length - rest], x[:, :, length - rest :]
    sums = _sum_equal_rows(whole.view(samples, channels, -1, row))
    # A copy, since both may have one shape, and so one memory.
    return sums.copy() + _sum_equal_rows(last.unsqueeze(2))


def _sum_equal_rows(rows: Tensor) -> Floats:
    # (N, C, R, length) to (2, C); samples first, along memory.
    work = _workspace(*rows.shape[:3])
    torch.sum(rows, 3, out=work.total)
    torch.linalg.vector_norm(rows, dim=3, out=work.roots)
    np.square(work.sums[1], work.sums[1])
    np.add.reduce(work.sums, 1, _DOUBLE, out=work.doubles)
    return np.matmul(work.doubles, work.ones, work.channels)


@functools.cache
def _row_length(length: int) -> int:
    # A divisor leaves no rest, which would cost two more passes; a row of few values costs more than its sum.
    divisors = [row for row in range(MIN_ROW, MAX_ROW + 1) if length % row == 0]
    return max(divisors, default=min(length, MAX_ROW))

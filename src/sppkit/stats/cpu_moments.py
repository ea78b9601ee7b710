"""Channel moments on the CPU: float32 sums over short rows, and float64 for the channels that they don't suffice for.

Between two blocks of a network every call is a cold one, and the caches belong to the network: what counts is how few
calls there are and how little memory they touch. Whatever is not returned is written to memory that is kept from signal
to signal, and what is returned to memory of its own: small arrays among the network's large ones would leave holes in
the heap that no activation fits into.
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

from sppkit.pages import Pieces, map_memory

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
# What is returned is cut from pieces of this many bytes.
_PIECE = 2**22
# The shapes of more networks than anyone measures in one process at a time.
_MOST_SHAPES = 64


def cpu_moments(x: Tensor) -> tuple[Floats, int]:
    """Reduce a float32 signal to the mean and the squared deviations of every channel.

    Args:
        x: Shape (N, C, *space), float32, contiguous, on the CPU, without gradient.

    Returns:
        Shape (2, C): the means and the sums of squared deviations from them; and how many values are not finite.
    """
    samples, channels = x.shape[:2]
    length = x.numel() // (samples * channels)
    # What is not finite or overflows is found in the sums, and needs no warning from NumPy.
    with np.errstate(all="ignore"):
        sums = _sum_rows(x, samples, channels, length) if length >= MIN_ROW else _sum_samples(x, channels, length)
        return _from_sums(x, samples * length, sums, _workspaces.kept.cut((2, channels), np.float64))


def _from_sums(x: Tensor, count: int, sums: Floats, out: Floats) -> tuple[Floats, int]:
    total, squares = sums
    mean, m2 = out
    np.divide(total, count, mean)
    np.multiply(total, mean, m2)
    np.subtract(squares, m2, m2)
    # nan where a sum is nan or infinite, or all values are 0; such channels fail the comparison.
    variance_share = m2 / squares
    least = MIN_SECOND_MOMENT * count
    if np.minimum.reduce(variance_share) >= 1 / MAX_AMPLIFICATION and np.minimum.reduce(squares) >= least:
        return out, 0
    good = (variance_share >= 1 / MAX_AMPLIFICATION) & (squares >= least)
    return out, _redo(x.flatten(2).numpy() if x.ndim > 2 else x.numpy()[:, :, None], np.flatnonzero(~good), out)


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
    """Memory for the sums of signals of one shape, twice each: as NumPy's array and as torch's tensor.

    Attributes:
        sums: Sums and roots of sums of squares, shape (2, N, C, R) in float32: of the rows, or of the samples.
        total: ``sums[0]``.
        roots: ``sums[1]``.
        ones: Shape (R,).
    """

    sums: NDArray[np.float32]
    total: Tensor
    roots: Tensor
    ones: Floats


class _Workspaces(threading.local):
    """Every thread has its own, by shape."""

    def __init__(self) -> None:
        self.by_shape: dict[tuple[int, ...], _Workspace] = {}
        self.kept = Pieces(_PIECE)


_workspaces = _Workspaces()


def _workspace(*shape: int) -> _Workspace:
    found = _workspaces.by_shape.get(shape)
    if found is None:
        if len(_workspaces.by_shape) >= _MOST_SHAPES:
            _workspaces.by_shape.clear()
        sums = map_memory(8 * math.prod(shape)).view(np.float32).reshape(2, *shape)
        found = _Workspace(sums, torch.from_numpy(sums[0]), torch.from_numpy(sums[1]), np.ones(shape[-1]))
        _workspaces.by_shape[shape] = found
    return found


def _sum_samples(x: Tensor, channels: int, length: int) -> Floats:
    # The sums over (N, C, L) and those of the squares, where rows are too short to be worth summing: over the samples
    # first, which torch sums pairwise.
    work = _workspace(channels, length)
    x = x.view(-1, channels, length)
    torch.sum(x, 0, out=work.total)
    torch.sum(x * x, 0, out=work.roots)
    return work.sums.astype(np.float64) @ work.ones


def _sum_rows(x: Tensor, samples: int, channels: int, length: int) -> Floats:
    # The same over rows: float32 within a row, float64 from then on.
    row = _row_length(length)
    rest = length % row
    if rest == 0:
        return _sum_equal_rows(x.view(samples, channels, length // row, row))
    x = x.view(samples, channels, length)
    whole, last = x[:, :, : length - rest], x[:, :, length - rest :]
    return _sum_equal_rows(whole.view(samples, channels, -1, row)) + _sum_equal_rows(last.unsqueeze(2))


def _sum_equal_rows(rows: Tensor) -> Floats:
    # (N, C, R, length) to (2, C); samples first, along memory.
    work = _workspace(*rows.shape[:3])
    torch.sum(rows, 3, out=work.total)
    torch.linalg.vector_norm(rows, dim=3, out=work.roots)
    np.square(work.sums[1], work.sums[1])
    sums: Floats = np.add.reduce(work.sums, 1, np.float64) @ work.ones
    return sums


@functools.cache
def _row_length(length: int) -> int:
    # A divisor leaves no rest, which would cost two more passes; a row of few values costs more than its sum.
    divisors = [row for row in range(MIN_ROW, MAX_ROW + 1) if length % row == 0]
    return max(divisors, default=min(length, MAX_ROW))

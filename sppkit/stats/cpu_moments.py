"""Channel moments on the CPU: compiled where sppkit was installed with a C compiler at hand, else by torch and NumPy.

Between two blocks of a network every call is a cold one, and the caches belong to the network: what counts is how few
calls there are and how little memory they touch. What is returned lies in memory of its own: small arrays among the
network's large ones would leave holes in the heap that no activation fits into.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch

from sppkit.machine.mapped_memory import Pieces
from sppkit.stats.channel_moments import ChannelMoments
from sppkit.stats.torch_moments import torch_moments

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

native: Callable[..., tuple[int, int]] | None
try:
    from sppkit.stats import native_moments
except ImportError:
    native = None
else:
    native = native_moments.channel_moments

# What is returned is cut from pieces of this many bytes.
_PIECE = 2**22


class _Kept(threading.local):
    """Every thread has its own."""

    def __init__(self) -> None:
        self.pieces = Pieces(_PIECE)


_kept = _Kept()


class StoredMoments(ChannelMoments):
    """Moments that lie in a piece of memory; there is an array or a tensor of them only while it is used."""

    __slots__ = ("_channels", "_piece", "_start")

    def __init__(self, count: int, channels: int, piece: NDArray[np.uint8], start: int, nonfinite: int) -> None:
        """Keep a place.

        Args:
            count: Values per channel.
            channels: C.
            piece: The memory.
            start: The byte at which shape (2, C) in float64 begins: mean and m2.
            nonfinite: Number of values that are not finite.
        """
        self.count, self.nonfinite = count, nonfinite
        self._channels, self._piece, self._start = channels, piece, start

    @property
    def mean(self) -> Tensor:
        """Shape (C,), float64."""
        return torch.from_numpy(self.mean_as_it_lies)

    @property
    def m2(self) -> Tensor:
        """Sum of squared deviations from the mean, shape (C,), float64."""
        return torch.from_numpy(self.m2_as_it_lies)

    @property
    def is_cpu(self) -> bool:
        """Whether they are on the host."""
        return True

    @property
    def mean_as_it_lies(self) -> NDArray[np.float64]:
        """The mean as NumPy's array."""
        return np.frombuffer(self._piece, np.float64, self._channels, self._start)

    @property
    def m2_as_it_lies(self) -> NDArray[np.float64]:
        """The squared deviations as NumPy's array."""
        return np.frombuffer(self._piece, np.float64, self._channels, self._start + 8 * self._channels)


def cpu_moments(x: Tensor) -> StoredMoments:
    """Reduce a signal to the mean and the squared deviations of every channel.

    Args:
        x: Shape (N, C, *space), float32 or shorter, on the CPU.

    Returns:
        The moments.
    """
    # Asked first, because a call that does nothing costs as much as one that does little.
    if x.dtype is not torch.float32:
        x = x.detach().float()
    channels = x.shape[1]
    count = x.numel() // channels
    piece, start = _kept.pieces.take(16 * channels)
    if native is None:
        lost = _without_compiler(x, np.frombuffer(piece, np.float64, 2 * channels, start).reshape(2, -1))
        return StoredMoments(count, channels, piece, start, lost)
    samples = x.shape[0]
    if not x.is_contiguous():
        x = x.detach()
        if x.movedim(1, -1).is_contiguous() and not x.is_neg():
            samples = count  # channels last, as torch calls it, and tokens: samples of one value per channel
        else:
            x = x.resolve_neg().contiguous()
    lost, _ = native(x.data_ptr(), samples, channels, count // samples, piece, start, torch.get_num_threads())
    return StoredMoments(count, channels, piece, start, lost)


def _without_compiler(x: Tensor, out: NDArray[np.float64]) -> int:
    # With autocast, sums could be taken in half precision.
    with torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else nullcontext():
        return torch_moments(x.detach().contiguous(), out)

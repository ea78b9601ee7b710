"""What a network returns, as numbers: what comes after its last row shows nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sppkit.stats.moments import channel_moments, merge_moments
from sppkit.stats.spp import channel_squared_mean, channel_variance

if TYPE_CHECKING:
    from sppkit.stats.channel_moments import ChannelMoments


class Output:
    """The channel moments of the first floating tensor of several outputs; of none where their shapes differ.

    Attributes:
        shape: Of one sample.
        sums_to_one: Whether the channels of every value are shares of 1, as behind a softmax.
    """

    def __init__(self) -> None:
        self.shape: list[int] = []
        self.sums_to_one = True
        self._moments: ChannelMoments | None = None
        self._usable = True

    def add(self, output: object) -> None:
        """Take one more output in."""
        tensor = _first(output)
        if tensor is None or tensor.ndim < 2 or tensor.numel() == 0:
            self._usable = False
            return
        # Of sequences and of scores the channels come last, of maps second.
        self.shape = list(tensor.shape[1:])
        channels_first = tensor.detach().movedim(-1 if tensor.ndim == 3 else 1, 1)
        self.sums_to_one &= _sums_to_one(channels_first)
        found = channel_moments(channels_first)
        if self._moments is not None and len(self._moments.mean) != len(found.mean):
            self._usable = False
            return
        self._moments = found if self._moments is None else merge_moments(self._moments, found)

    def numbers(self) -> dict[str, float]:
        """Return squared mean and variance; nothing where they are no numbers."""
        if not self._usable or self._moments is None or int(self._moments.nonfinite):
            return {}
        numbers = {
            "channel_squared_mean": float(channel_squared_mean(self._moments)),
            "channel_variance": float(channel_variance(self._moments)),
        }
        return {name: float(f"{value:.9g}") for name, value in numbers.items()}

    def described(self) -> dict[str, object]:
        """Return the same with the shape, and whether its channels sum to one."""
        numbers = self.numbers()
        return {**numbers, "shape": self.shape, "sums_to_one": self.sums_to_one} if numbers else {}


def _sums_to_one(values: Tensor) -> bool:
    if values.shape[1] < 2 or not bool((values >= 0).all()):
        return False
    # What rounding leaves of a sum of C shares.
    allowed = values.shape[1] * torch.finfo(values.dtype).eps
    return bool(((values.sum(1, dtype=torch.float64) - 1).abs() < allowed).all())


def _first(output: object) -> Tensor | None:
    if isinstance(output, Tensor):
        usable = output.is_floating_point() and output.layout is torch.strided and not output.is_nested
        return output if usable else None
    parts: Iterable[object] = ()
    if isinstance(output, Mapping):
        parts = output.values()
    elif isinstance(output, (tuple, list)):
        parts = output
    return next((found for part in parts if (found := _first(part)) is not None), None)

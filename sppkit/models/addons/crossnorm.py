"""CrossNorm: in train mode, channels swap their mean and deviation with those of another sample.

Tang et al. 2021, arXiv:2102.02811. An augmentation without parameters; in eval mode it does nothing. Random numbers are
drawn on the CPU, so that every device makes the same swap.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from sppkit.errors import UsageError
from sppkit.models.addons.statistics import instance_statistics

Crop = Literal["neither", "style", "content", "both"]
Channels = Literal["own", "permuted"]

# Of the released code: in the standard deviation, and the smallest share of a map that a crop may have.
_EPSILON = 1e-5
_SMALLEST_CROP = 0.1
# A box reaches half of its side, rounded down, to both sides of its centre: on a smaller map it would be empty.
_SMALLEST_SIDE = 3


class CrossNorm(nn.Module):
    """``(x - mean) / sd * other sd + other mean``, per channel of each sample.

    Attributes:
        instances: 2: the other statistics are the same channel's of another sample, by one permutation of the batch.
            1: another channel's of the same sample, by one permutation of the channels.
        channels: With two instances, whether the statistics are the same channel's (``own``) or another one's, by one
            permutation of the channels beside that of the batch (``permuted``, the released channel mode).
        crop: ``style`` takes the other statistics from a random box, ``content`` changes a random box only, ``both``
            does both, with two boxes. A box is the same for the whole batch.
        active: Whether it does anything. Networks are built with every unit active, so that its effect is seen; for
            training, ``activate`` chooses a few for each step.
    """

    def __init__(self, instances: int = 2, crop: Crop = "neither", channels: Channels = "own") -> None:
        super().__init__()
        self.instances = instances
        self.channels = channels
        self.crop = crop
        self.active = True

    def forward(self, x: Tensor) -> Tensor:
        """Swap statistics in train mode."""
        if not self.training or not self.active or (self.crop != "neither" and not can_crop(*x.shape[2:])):
            return x
        axes = (0, 1) if self.instances == 2 and self.channels == "permuted" else (0,) if self.instances == 2 else (1,)
        orders = [(axis, torch.randperm(x.shape[axis], device="cpu").to(x.device)) for axis in axes]
        other = x if self.crop in {"neither", "content"} else _cropped(x, draw_box(*x.shape[2:]))
        mean, deviation = instance_statistics(other, _EPSILON)
        for axis, order in orders:
            mean, deviation = mean.index_select(axis, order), deviation.index_select(axis, order)
        if self.crop in {"neither", "style"}:
            return _restyled(x, mean, deviation)
        box = draw_box(*x.shape[2:])
        y = x.clone()
        _cropped(y, box).copy_(_restyled(_cropped(x, box), mean, deviation))
        return y

    def extra_repr(self) -> str:
        """Name the mode."""
        return f"instances={self.instances}, crop={self.crop}, channels={self.channels}"


def activate(model: nn.Module, count: int = 2, probability: float = 0.5) -> int:
    """Choose which CrossNorm units of a network swap in the passes that follow: before each training step."""
    units = [module for module in model.modules() if isinstance(module, CrossNorm)]
    if not 1 <= count <= len(units):
        raise UsageError(f"{count} CrossNorm units can't be active: the model has {len(units)}.")
    any_active = bool(torch.rand((), device="cpu") < probability)
    chosen = torch.randperm(len(units), device="cpu")[: count if any_active else 0].tolist()
    for index, unit in enumerate(units):
        unit.active = index in chosen
    return len(chosen)


def can_crop(height: int, width: int) -> bool:
    """Return whether a map is large enough for a box; on a smaller one, nothing is swapped with a crop."""
    return min(height, width) >= _SMALLEST_SIDE


def draw_box(height: int, width: int) -> tuple[slice, slice]:
    """Draw a box that covers more than a tenth of a map.

    The share of the map is uniform in (0, 1) and so is the centre; the sides are the root of the share, and what lies
    outside the map is cut off. Drawn again until it is large enough, and has more than one position.
    """
    if not can_crop(height, width):
        raise ValueError(f"a map of {height}×{width} is too small to crop; it must be at least 3×3")
    while True:
        share, *centre = torch.rand(3, device="cpu").tolist()
        rows, columns = (_side(size, share, at) for size, at in zip((height, width), centre, strict=True))
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        if area > max(1.0, _SMALLEST_CROP * height * width):
            return rows, columns


def _side(size: int, share: float, at: float) -> slice:
    half, centre = int(size * share**0.5) // 2, int(size * at)
    return slice(max(centre - half, 0), min(centre + half, size))


def _cropped(x: Tensor, box: tuple[slice, slice]) -> Tensor:
    return x[:, :, box[0], box[1]]


def _restyled(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    own_mean, own_deviation = instance_statistics(x, _EPSILON)
    return ((x - own_mean) * (deviation / own_deviation) + mean).to(x.dtype)


def crossnorm(_size: int, instances: int = 2, crop: Crop = "neither", channels: Channels = "own") -> nn.Module:
    """Return CrossNorm of (N, C, H, W)."""
    return CrossNorm(instances, crop, channels)

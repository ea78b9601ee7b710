"""Pictures whose only nuisance is known, and generators that are small enough to be trained by a test."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sppkit.inputs.shifts.generative.sizes import PRESETS, SETTINGS, SIZES, Settings, Sizes

TINY: dict[str, Any] = {
    "features": 4,
    "residual_blocks": 1,
    "hidden": 8,
    "discriminator_features": 4,
    "batch_size": 4,
    "device": "cpu",
}


def bars(count: int = 64, size: int = 8, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """White bars, upright or lying, at a place of their own, on a background of any grey level from 0 to 0.5.

    Returns:
        Pictures (N, 1, size, size), their classes, and the grey levels.
    """
    draw = np.random.default_rng(seed)
    levels = draw.uniform(0, 0.5, count).astype(np.float32)
    pictures = np.broadcast_to(levels[:, None, None], (count, size, size)).copy()
    labels = np.arange(count) % 2
    for picture, label, place in zip(pictures, labels, draw.integers(1, size - 2, count), strict=True):
        picture[(slice(None), slice(place, place + 2)) if label else slice(place, place + 2)] = 1
    return torch.from_numpy(pictures)[:, None], torch.from_numpy(labels), torch.from_numpy(levels)


def chosen(preset: str = "small", shape: tuple[int, int, int] = (1, 8, 8), **given: Any) -> tuple[Sizes, Settings]:
    """Return the sizes and settings of a preset for a picture's shape, with changes."""
    values = {**PRESETS[preset], **dict(zip(("channels", "height", "width"), shape, strict=True)), "seed": 0, **given}
    return Sizes(**{name: values[name] for name in SIZES}), Settings(**{name: values[name] for name in SETTINGS})

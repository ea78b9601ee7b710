"""Pictures for tests of shifts, made of nothing but numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def smooth_pictures(count: int = 3, channels: int = 3, side: int = 16, *, seed: int = 0) -> Tensor:
    """Waves with some noise, float64 in [0.1, 0.9]: neither white nor flat, and no two pictures alike."""
    random = torch.Generator().manual_seed(seed)
    place = torch.linspace(0, 1, side, dtype=torch.float64)
    shape = (count, channels, 1, 1)
    turns = 6 * torch.rand(shape, generator=random, dtype=torch.float64)
    phase = 6 * torch.rand(shape, generator=random, dtype=torch.float64)
    strength = 0.1 + 0.2 * torch.rand(shape, generator=random, dtype=torch.float64)
    waves = strength * torch.sin(turns * place[:, None] + phase) * torch.cos(turns * place + phase)
    noise = 0.05 * torch.rand((count, channels, side, side), generator=random, dtype=torch.float64)
    level = 0.4 + 0.2 * torch.rand(shape, generator=random, dtype=torch.float64)
    return (level + waves + noise).clamp(0.1, 0.9)

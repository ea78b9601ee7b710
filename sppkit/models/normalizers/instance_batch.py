"""The IBN layer: instance normalization of some channels, batch normalization of the others.

Pan et al. 2018, arXiv:1807.09441, section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sppkit.models.normalizers.batch import batch_norm
from sppkit.models.normalizers.instance import instance_norm

# Half of the channels (Pan et al. 2018).
RATIO = 0.5


class InstanceBatchNorm(nn.Module):
    """Instance normalization of the first ``int(C * ratio)`` channels, batch normalization of the rest.

    The published ResNet splits into equal parts and so works only at ratio 1/2 and an even C; here the two parts have
    the sizes that the ratio says. At ratio 0 it is batch normalization, at 1 instance normalization.

    Attributes:
        instance: Normalizer of the first channels, or None.
        batch: Normalizer of the others, or None.
    """

    def __init__(self, channels: int, ratio: float = RATIO) -> None:
        super().__init__()
        # The margin keeps a ratio such as 0.29 of 100 channels, which is 28.999... in binary, from losing one.
        first = int(channels * ratio + 1e-9)
        self.sizes = [first, channels - first]
        self.instance = instance_norm(first) if first else None
        self.batch = batch_norm(channels - first) if first < channels else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalize both parts."""
        parts = zip(torch.split(x, self.sizes, dim=1), (self.instance, self.batch), strict=True)
        normalized = [norm(part) for part, norm in parts if norm is not None]
        return normalized[0] if len(normalized) == 1 else torch.cat(normalized, dim=1)


def instance_batch_norm(channels: int, ratio: float = RATIO) -> nn.Module:
    """Return the IBN layer of (N, C, H, W)."""
    return InstanceBatchNorm(channels, ratio)

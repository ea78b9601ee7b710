"""The independent-component layer: batch normalization, then dropout (Chen et al. 2019, arXiv:1905.05928)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from sppkit.models.normalizers.batch import EPSILON

# The rate reported for ResNets. The paper's theorem has the probability of keeping a unit, 1 - q.
DROP = 0.05


class IndependentComponent(nn.BatchNorm2d):
    """``dropout(batch_norm(x))``: the correlation of two channels is multiplied by 1 - q.

    Single values are dropped, not whole channels, and what is kept is divided by 1 - q, so that a channel has variance
    1/(1 - q) in train mode. In eval mode it is batch normalization. The names of its parameters are BatchNorm's.

    Attributes:
        drop: q.
    """

    def __init__(self, channels: int, drop: float = DROP) -> None:
        super().__init__(channels, eps=EPSILON)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """Normalize, and drop values in train mode."""
        y = super().forward(x)
        return functional.dropout(y, self.drop, training=True) if self.training and self.drop else y

    def extra_repr(self) -> str:
        """Name the drop rate beside torch's own description."""
        inherited: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{inherited}, drop={self.drop:g}"


def independent_component(channels: int, drop: float = DROP) -> nn.Module:
    """Return the independent-component layer of (N, C, H, W)."""
    return IndependentComponent(channels, drop)

"""The network: a stem and three residual blocks on 8 × 8 pictures, 0.2 million weights."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two 3 × 3 convolutions with BatchNorm, and what goes around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm0 = nn.BatchNorm2d(after)
        self.conv1 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        same = before == after and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm1(self.conv1(functional.relu(self.norm0(self.conv0(x)))))
        return functional.relu(self.skip(x) + branch)


class DigitNetwork(nn.Module):
    """From pictures (N, 1, H, W) in [0, 1] to logits."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.blocks = nn.Sequential(Block(32, 32, 1), Block(32, 64, 2), Block(64, 64, 1))
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))

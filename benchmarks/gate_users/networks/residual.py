"""Residual networks of convolutions: behind and before the activation, with BatchNorm, GroupNorm and without."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from benchmarks.gate_users.networks.network import Joined, run_all

Norm = Callable[[int], nn.Module]


def conv(incoming: int, outgoing: int, kernel: int = 3, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(incoming, outgoing, kernel, stride, kernel // 2, bias=bias)


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(4, channels)


class PostActivationBlock(Joined):
    """He et al. 2015: the activation stands behind the addition."""

    def __init__(self, incoming: int, outgoing: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = conv(incoming, outgoing, 3, stride)
        self.norm1 = norm(outgoing)
        self.act1 = nn.ReLU()
        self.conv2 = conv(outgoing, outgoing)
        self.norm2 = norm(outgoing)
        self.act2 = nn.ReLU()
        self.down: nn.Module = nn.Identity()
        if stride > 1 or incoming != outgoing:
            self.down = nn.Sequential(conv(incoming, outgoing, 1, stride), norm(outgoing))

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return self.act2(self.add(self.down(x), y))


class PreActivationBlock(Joined):
    """He et al. 2016: norm, activation, convolution."""

    def __init__(self, incoming: int, outgoing: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.norm1 = norm(incoming)
        self.act1 = nn.ReLU()
        self.conv1 = conv(incoming, outgoing, 3, stride)
        self.norm2 = norm(outgoing)
        self.act2 = nn.ReLU()
        self.conv2 = conv(outgoing, outgoing)
        self.down: nn.Module | None = None
        if stride > 1 or incoming != outgoing:
            self.down = conv(incoming, outgoing, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.norm1(x))
        skip = x if self.down is None else self.down(y)
        y = self.conv2(self.act2(self.norm2(self.conv1(y))))
        return self.add(skip, y)


class NormFreeBlock(Joined):
    """A residual block without normalizer whose branch is scaled by alpha; He's initialization."""

    def __init__(self, incoming: int, outgoing: int, stride: int, alpha: float) -> None:
        super().__init__()
        self.act1 = nn.ReLU()
        self.conv1 = conv(incoming, outgoing, 3, stride, bias=True)
        self.act2 = nn.ReLU()
        self.conv2 = conv(outgoing, outgoing, bias=True)
        self.alpha = alpha
        self.down: nn.Module = nn.Identity()
        if stride > 1 or incoming != outgoing:
            self.down = conv(incoming, outgoing, 1, stride, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.act1(x))
        y = self.conv2(self.act2(y))
        return self.add(self.down(x), y, self.alpha)


def he_normal(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class ResNet(nn.Module):
    """A stem of 3x3 and max-pooling, stages of two blocks, and a classifier."""

    def __init__(
        self, block: Callable[[int, int, int], nn.Module], stem: nn.Sequential, width: int, stages: int
    ) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList()
        incoming = width
        for stage in range(stages):
            outgoing = width * 2**stage
            for place in range(2):
                self.blocks.append(block(incoming, outgoing, 2 if place == 0 and stage else 1))
                incoming = outgoing
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(incoming, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = run_all(self.blocks, self.stem(x))
        return self.head(self.pool(x).flatten(1))


def post_activation_resnet() -> nn.Module:
    stem = nn.Sequential(conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
    return ResNet(lambda i, o, s: PostActivationBlock(i, o, s, nn.BatchNorm2d), stem, 16, 3)


def pre_activation_resnet() -> nn.Module:
    stem = nn.Sequential(conv(3, 16), nn.MaxPool2d(2))
    return ResNet(lambda i, o, s: PreActivationBlock(i, o, s, nn.BatchNorm2d), stem, 16, 2)


def group_norm_resnet() -> nn.Module:
    stem = nn.Sequential(conv(3, 16), group_norm(16), nn.ReLU(), nn.AvgPool2d(2))
    return ResNet(lambda i, o, s: PostActivationBlock(i, o, s, group_norm), stem, 16, 2)


def norm_free_resnet() -> nn.Module:
    model = ResNet(lambda i, o, s: NormFreeBlock(i, o, s, 0.2), nn.Sequential(conv(3, 32), nn.AvgPool2d(2)), 32, 2)
    he_normal(model)
    return model

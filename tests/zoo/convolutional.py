"""Convolutional networks: pre- and post-activation, scales, gates, projections, in-place operations."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.case import Row, Zoo, zoo


def conv(a: int, b: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(a, b, kernel, stride, kernel // 2, bias=False, groups=groups)


class Basic(nn.Module):
    def __init__(self, a: int, b: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(a, b, 3, stride), nn.BatchNorm2d(b)
        self.conv2, self.bn2 = conv(b, b), nn.BatchNorm2d(b)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(conv(a, b, 1, stride), nn.BatchNorm2d(b)) if a != b else None

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)

    def by_hand(self, x: Tensor) -> tuple[Tensor, Tensor]:
        branch = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return branch, branch + (x if self.downsample is None else self.downsample(x))


@zoo
class ResNetV1Basic(Zoo):
    """Post-activation, `out += identity`, ReLU in place, a projected shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.pool = (
            conv(3, 4),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.layer1 = nn.Sequential(Basic(4, 4), Basic(4, 4))
        self.layer2 = nn.Sequential(Basic(4, 6, 2), Basic(6, 6))
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(self.layer2(self.layer1(x)), 1), 1))

    def rows(self, x: Tensor) -> list[Row]:
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        rows: list[Row] = [("stem", None, x, 1)]
        for name, block in [*self.layer1.named_children(), *self.layer2.named_children()]:
            branch, out = block.by_hand(x)
            rows.append((f"layer{1 if len(rows) < 3 else 2}.{name}", branch, out, 1))
            x = torch.relu(out)
        return rows


@zoo
class ResNetV1WithoutPool(Zoo):
    """A projected first block right after a convolution, BatchNorm and ReLU that are not its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4), nn.ReLU())
        self.block = Basic(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.stem(x))

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        return [("stem", None, x, 1), ("block", *self.block.by_hand(x), 1)]


class PreActivation(nn.Module):
    def __init__(self, a: int, b: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(a), conv(a, b, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(b), conv(b, b, 3, stride)
        self.bn3, self.conv3 = nn.BatchNorm2d(b), conv(b, b, 1)
        self.shortcut = conv(a, b, 1, stride) if a != b else None

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(x), inplace=True)
        shortcut = self.shortcut(out) if self.shortcut is not None else x
        out = self.conv1(out)
        out = self.conv2(functional.relu(self.bn2(out)))
        out = self.conv3(functional.relu(self.bn3(out)))
        return shortcut + out

    def by_hand(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = torch.relu(self.bn1(x))
        branch = self.conv3(torch.relu(self.bn3(self.conv2(torch.relu(self.bn2(self.conv1(first)))))))
        return branch, branch + (x if self.shortcut is None else self.shortcut(first))


@zoo
class ResNetV2Bottleneck(Zoo):
    """Pre-activation bottlenecks; the first starts with BatchNorm and ReLU before both of its ways."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 4)
        self.blocks = nn.ModuleList([PreActivation(4, 8, 2), PreActivation(8, 8), PreActivation(8, 6)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return x

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        rows: list[Row] = [("stem", None, x, 1)]
        for index, block in enumerate(self.blocks):
            branch, x = block.by_hand(x)
            rows.append((f"blocks.{index}", branch, x, 1))
        return rows


class Wide(Zoo):
    """A stem and two convolutions whose way of being joined is the subclass's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv1, self.conv2 = conv(3, 4), conv(4, 4), conv(4, 4)

    def f(self, x: Tensor) -> Tensor:
        return self.conv2(torch.relu(self.conv1(x)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.join(x, self.f(x))

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        raise NotImplementedError

    def total(self, x: Tensor, branch: Tensor) -> Tensor:
        raise NotImplementedError

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        branch = self.f(x)
        return [("stem", None, x, 1), (type(self).__name__, branch, self.total(x, branch), 1)]


@zoo
class AlphaNumber(Wide):
    """A branch scaled by a number."""

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + 0.2 * branch

    total = join


@zoo
class AlphaInAdd(Wide):
    """`torch.add` with its own alpha."""

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        return torch.add(x, branch, alpha=0.2)

    def total(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + 0.2 * branch


@zoo
class AlphaParameter(Wide):
    """ReZero and SkipInit: a scalar parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.3))

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        return branch * self.alpha + x

    total = join


@zoo
class AddInPlace(Wide):
    """`x = x.add_(y)`: the skip's memory becomes the output's."""

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        x = x.add_(branch)
        return x.relu_()

    def total(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + branch


@zoo
class ScaledInPlace(Wide):
    """The branch is scaled in its own memory, and the sum is overwritten."""

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        branch *= 0.1
        branch += x
        return branch.zero_()

    def total(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + 0.1 * branch


@zoo
class AddOut(Wide):
    """The sum goes into memory that is given."""

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        return torch.add(x, branch, out=torch.empty(0))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)

    def total(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + branch


@zoo
class AddCMul(Wide):
    """A fused scale and sum."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((4, 1, 1), 0.7))

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        return torch.addcmul(x, branch, self.gain, value=0.5)

    def total(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + 0.5 * self.gain * branch


@zoo
class Lerp(Wide):
    """A weighted mean of skip and branch in one operation."""

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        return torch.lerp(x, branch, 0.25)

    def total(self, x: Tensor, branch: Tensor) -> Tensor:
        return 0.75 * x + 0.25 * branch


@zoo
class ScaledSum(Wide):
    """Both sides are scaled; the output is that of the sum, not of what is done to it."""

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        return (0.8 * x + 0.6 * branch) / 2

    def total(self, x: Tensor, branch: Tensor) -> Tensor:
        return 0.8 * x + 0.6 * branch


@zoo
class Highway(Wide):
    """A gate splits between skip and branch: g f(x) + (1 - g) x."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = conv(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = torch.sigmoid(self.gate(x))
        return gate * self.f(x) + (1 - gate) * x

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        gate, branch = torch.sigmoid(self.gate(x)), self.f(x)
        return [("stem", None, x, 1), ("Highway", branch, x + gate * (branch - x), 1)]


@zoo
class GatedBranch(Wide):
    """A gate on the branch alone belongs to the branch, like squeeze-and-excite."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = conv(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + torch.sigmoid(self.gate(x)) * self.f(x)

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        branch = torch.sigmoid(self.gate(x)) * self.f(x)
        return [("stem", None, x, 1), ("GatedBranch", branch, x + branch, 1)]


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class DropPath(nn.Module):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.keep = 1 - rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        mask = x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(self.keep)
        mask.div_(self.keep)
        return x * mask


@zoo
class SqueezeExciteBeforeJoin(Wide):
    """Residual variance is read after squeeze-and-excite."""

    def __init__(self) -> None:
        super().__init__()
        self.se = SqueezeExcite(4)

    def f(self, x: Tensor) -> Tensor:
        return self.se(super().f(x))

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + branch

    total = join


@zoo
class DroppedPath(Wide):
    """Residual variance is read before stochastic depth (which evaluation leaves out)."""

    mode = "eval"

    def __init__(self) -> None:
        super().__init__()
        self.se, self.drop = SqueezeExcite(4), DropPath(0.5)

    def f(self, x: Tensor) -> Tensor:
        return self.se(super().f(x))

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + self.drop(branch)

    total = join


@zoo
class InvertedResidual(Zoo):
    """MobileNet: depthwise convolutions between projections, a join only where the shape stays."""

    class Block(nn.Module):
        def __init__(self, a: int, b: int, stride: int) -> None:
            super().__init__()
            self.conv = nn.Sequential(
                conv(a, 2 * a, 1), nn.BatchNorm2d(2 * a), nn.ReLU6(inplace=True),
                conv(2 * a, 2 * a, 3, stride, groups=2 * a), nn.BatchNorm2d(2 * a), nn.ReLU6(inplace=True),
                conv(2 * a, b, 1), nn.BatchNorm2d(b),
            )  # fmt: skip
            self.joined = a == b and stride == 1

        def forward(self, x: Tensor) -> Tensor:
            return x + self.conv(x) if self.joined else self.conv(x)

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(3, 4), *(self.Block(*sizes) for sizes in ((4, 4, 1), (4, 6, 2), (6, 6, 1))))

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)

    def rows(self, x: Tensor) -> list[Row]:
        stem, first, down, second = self.features
        x = stem(x)
        branch = first.conv(x)
        joined = x + branch
        rows: list[Row] = [("stem", None, x, 1), ("features.1", branch, joined, 1)]
        x = down.conv(joined)
        branch = second.conv(x)
        return [*rows, ("features.3", branch, x + branch, 1)]


@zoo
class ConvNeXt(Zoo):
    """Depthwise convolution, then linear layers on (N, H, W, C), layer scale there, and back."""

    class Block(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.dwconv, self.norm = conv(channels, channels, 3, groups=channels), nn.LayerNorm(channels)
            self.pwconv1, self.pwconv2 = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)
            self.gamma = nn.Parameter(torch.linspace(0.1, 0.9, channels))

        def forward(self, x: Tensor) -> Tensor:
            y = self.dwconv(x).permute(0, 2, 3, 1)
            y = self.pwconv2(functional.gelu(self.pwconv1(self.norm(y))))
            y = self.gamma * y
            return x + y.permute(0, 3, 1, 2)

        def by_hand(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
            branch = self.pwconv2(functional.gelu(self.pwconv1(y))).permute(0, 3, 1, 2)
            return branch, x + self.gamma.view(-1, 1, 1) * branch

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = conv(3, 4, 2, 2), nn.Sequential(self.Block(4), self.Block(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.stem(x))

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        rows: list[Row] = [("stem", None, x, 1)]
        for index, block in enumerate(self.blocks):
            branch, x = block.by_hand(x)
            rows.append((f"blocks.{index}", branch, x, 1))
        return rows


@zoo
class ChannelsLastTensor(Zoo):
    """(N, H, W, C) throughout, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.fc1, self.fc2 = (
            conv(3, 6, 2, 2),
            nn.LayerNorm(6),
            nn.Linear(6, 12),
            nn.Linear(12, 6),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).permute(0, 2, 3, 1)
        return x + self.fc2(functional.gelu(self.fc1(self.norm(x))))

    def rows(self, x: Tensor) -> list[Row]:
        x = self.embed(x).permute(0, 2, 3, 1)
        branch = self.fc2(functional.gelu(self.fc1(self.norm(x))))
        return [("stem", None, x, 3), ("ChannelsLastTensor", branch, x + branch, 3)]


@zoo
class FeaturePyramid(Zoo):
    """A lateral 1x1 convolution is the shorter way, what comes down from above the longer."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = conv(3, 4), nn.Sequential(conv(4, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU())
        self.lateral1, self.lateral2 = conv(4, 5, 1), conv(6, 5, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        c1 = self.c1(x)
        p2 = self.lateral2(self.c2(c1))
        p1 = self.lateral1(c1) + functional.interpolate(p2, scale_factor=2, mode="nearest")
        return {"p1": p1, "p2": p2}

    def rows(self, x: Tensor) -> list[Row]:
        c1 = self.c1(x)
        down = self.lateral2(self.c2(c1)).repeat_interleave(2, 2).repeat_interleave(2, 3)
        return [("stem", None, c1, 1), ("FeaturePyramid", down, self.lateral1(c1) + down, 1)]


@zoo
class UNetAdditions(Zoo):
    """An encoder's features are added to the decoder's."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.down, self.mid = conv(3, 4), conv(4, 4, 3, 2), conv(4, 4)
        self.up, self.dec = nn.ConvTranspose2d(4, 4, 2, 2), conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        e = functional.relu(self.enc(x))
        d = self.up(functional.relu(self.mid(functional.relu(self.down(e)))))
        return self.dec(functional.relu(e + d))

    def rows(self, x: Tensor) -> list[Row]:
        e = functional.relu(self.enc(x))
        d = self.up(functional.relu(self.mid(functional.relu(self.down(e)))))
        return [("stem", None, e, 1), ("UNetAdditions", d, e + d, 1)]


@zoo
class UNetConcatenations(UNetAdditions):
    """The same, put beside one another."""

    kind = "concatenation"

    def __init__(self) -> None:
        super().__init__()
        self.dec = conv(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        e = functional.relu(self.enc(x))
        d = self.up(functional.relu(self.mid(functional.relu(self.down(e)))))
        return self.dec(torch.cat([e, d], dim=1))

    def rows(self, x: Tensor) -> list[Row]:
        (_, _, e, _), (_, d, _, _) = super().rows(x)
        return [("stem", None, e, 1), ("UNetConcatenations", d, torch.cat([e, d], 1), 1)]


@zoo
class DenseNet(Zoo):
    """Every layer's features are appended to what they were computed from."""

    kind = "concatenation"

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 4)
        self.layers = nn.ModuleList([
            nn.Sequential(nn.BatchNorm2d(a), nn.ReLU(inplace=True), conv(a, 2)) for a in (4, 6, 8)
        ])

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat((x, layer(x)), 1)
        return x

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        rows: list[Row] = [("stem", None, x, 1)]
        for number, layer in enumerate(self.layers, 1):
            new = layer(x)
            x = torch.cat((x, new), 1)
            rows.append((f"DenseNet#{number}", new, x, 1))
        return rows


@zoo
class ShuffleNet(Zoo):
    """Half of the channels go around: split, transform one half, put them side by side again."""

    kind = "concatenation"

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch = conv(3, 4), nn.Sequential(conv(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.stem(x).chunk(2, dim=1)
        out = torch.cat((a, self.branch(b)), dim=1)
        return functional.channel_shuffle(out, 2)

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        a, b = x[:, :2], self.branch(x[:, 2:])
        return [("stem", None, a, 1), ("ShuffleNet", b, torch.cat((a, b), 1), 1)]


@zoo
class RevNet(Zoo):
    """Two streams that are each other's branches."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.f, self.g = conv(3, 4), conv(2, 2), conv(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.chunk(self.stem(x), 2, 1)
        a = a + self.f(torch.relu(b))
        b = b + self.g(torch.relu(a))
        return torch.cat((a, b), 1)

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        a, b = x[:, :2], x[:, 2:]
        f = self.f(torch.relu(b))
        y = a + f
        g = self.g(torch.relu(y))
        return [("stem", None, a, 1), ("RevNet#1", f, y, 1), ("RevNet#2", g, b + g, 1)]


@zoo
class PartOfMemory(Zoo):
    """A part of a tensor is added to in place, then the whole of it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.f, self.head = conv(3, 4), conv(2, 2), conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x[:, :2] += self.f(torch.relu(x[:, :2]))
        return x + self.head(x)

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        part = x[:, :2]
        f = self.f(torch.relu(part))
        y = part + f
        whole = torch.cat((y, x[:, 2:]), 1)
        head = self.head(whole)
        return [
            ("stem", None, part, 1),
            ("PartOfMemory#1", f, y, 1),
            ("PartOfMemory#2", head, whole + head, 1),
        ]


@zoo
class RepVGG(Zoo):
    """Two linear ways of one length are one linear layer; beside the identity, their sum is the branch."""

    rejected = ("RepVGG~1",)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.dense, self.point = conv(3, 4), conv(4, 4), conv(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return torch.relu(self.dense(x) + self.point(x) + x)

    def rows(self, x: Tensor) -> list[Row]:
        x = torch.relu(self.stem(x))
        branch = self.dense(x) + self.point(x)
        return [("stem", None, x, 1), ("RepVGG", branch, branch + x, 1)]


@zoo
class Nested(Zoo):
    """A long skip around blocks that have their own, one of them projected."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = conv(3, 4), nn.Sequential(PreActivation(4, 4), PreActivation(4, 6), PreActivation(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.body(x)

    def rows(self, x: Tensor) -> list[Row]:
        start = x = self.stem(x)
        rows: list[Row] = [("stem", None, x, 1)]
        for index, block in enumerate(self.body):
            branch, x = block.by_hand(x)
            rows.append((f"body.{index}", branch, x, 1))
        return [*rows, ("Nested", x, start + x, 1)]


@zoo
class Res2Net(Zoo):
    """Inside the branch, parts of a signal are added to what came of the parts before: details of one block."""

    rejected = ("block~1", "block~2")

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv3 = conv(4, 6, 1), conv(6, 4, 1)
            self.convs = nn.ModuleList([conv(2, 2), conv(2, 2), conv(2, 2)])

        def forward(self, x: Tensor) -> Tensor:
            parts = torch.split(torch.relu(self.conv1(x)), 2, 1)
            done = []
            for part, layer in zip(parts, self.convs, strict=True):
                done.append(torch.relu(layer(part if not done else done[-1] + part)))
            out = self.conv3(torch.cat(done, 1))
            out += x
            return out

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = conv(3, 4), self.Block()

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.stem(x))

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        y = torch.relu(self.block.conv1(x))
        a = torch.relu(self.block.convs[0](y[:, :2]))
        b = torch.relu(self.block.convs[1](a + y[:, 2:4]))
        c = torch.relu(self.block.convs[2](b + y[:, 4:]))
        branch = self.block.conv3(torch.cat((a, b, c), 1))
        return [("stem", None, x, 1), ("block", branch, x + branch, 1)]


@zoo
class ResponseNormalization(Wide):
    """ConvNeXt V2's global response normalization adds a signal to itself, times its own norm: no branch."""

    rejected = ("ResponseNormalization~1",)

    def __init__(self) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(1, 4, 1, 1)), nn.Parameter(torch.ones(1, 4, 1, 1))

    def f(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv1(x))
        size = torch.linalg.vector_norm(y, dim=(2, 3), keepdim=True)
        y = y + torch.addcmul(self.beta, self.gamma, y * (size / (size.mean(1, keepdim=True) + 1e-6)))
        return self.conv2(y)

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + branch

    total = join


@zoo
class Overwritten(Zoo):
    """A part of a signal is set to zero, and another is put together in memory that was empty."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.f, self.g = conv(3, 4), conv(4, 4), conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x[:, 0] = 0.0
        branch = torch.zeros_like(x)
        branch[:, :2] = self.f(x)[:, :2]
        branch[:, 2:] = self.g(x)[:, 2:]
        return x + branch

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x) * torch.tensor([0.0, 1, 1, 1])[:, None, None]
        branch = torch.cat((self.f(x)[:, :2], self.g(x)[:, 2:]), 1)
        return [("stem", None, x, 1), ("Overwritten", branch, x + branch, 1)]


@zoo
class ManyAtOnce(Wide):
    """An operation on a list of tensors, which changes them and returns nothing: a part of the branch."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        branch = self.f(x)
        with torch.no_grad():
            torch._foreach_mul_([branch, branch.detach().clone()], 3.0)
        return x + branch

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        branch = 3 * self.f(x)
        return [("stem", None, x, 1), ("ManyAtOnce", branch, x + branch, 1)]

"""IBN-a in a user's ResNet: in the places of the published one, or with a warning in all."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

import sppkit

if TYPE_CHECKING:
    from sppkit.models.replace import Replacement

STAGES = (3, 4, 6, 3)


class Bottleneck(nn.Module):
    """As torchvision has it: the skip connection is registered last."""

    def __init__(self, incoming: int, width: int, stride: int) -> None:
        super().__init__()
        outgoing = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(incoming, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outgoing, 1, bias=False), nn.BatchNorm2d(outgoing)
        self.downsample = None
        if stride > 1 or incoming != outgoing:
            convolution = nn.Conv2d(incoming, outgoing, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(outgoing))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(y)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """The published layout, an eighth as wide."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
        incoming = 8
        for stage, blocks in enumerate(STAGES):
            width = 8 * 2**stage
            layers = [
                Bottleneck(4 * width if index else incoming, width, 1 if index or not stage else 2)
                for index in range(blocks)
            ]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
            incoming = 4 * width

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x


class Nested(nn.Module):
    """As transformers has it: stages that hold a list, the skip connection first, layers of their own."""

    def __init__(self) -> None:
        super().__init__()

        def layer(incoming: int, outgoing: int) -> nn.Sequential:
            parts = {"convolution": nn.Conv2d(incoming, outgoing, 3, padding=1), "norm": nn.GroupNorm(2, outgoing)}
            return nn.Sequential(OrderedDict(parts))

        def block(incoming: int, outgoing: int) -> nn.Module:
            return nn.ModuleDict({
                "shortcut": layer(incoming, outgoing),
                "layer": nn.Sequential(layer(incoming, outgoing), layer(outgoing, outgoing)),
            })

        stages = [nn.ModuleDict({"layers": nn.ModuleList([block(4, 4), block(4, 4)])}) for _ in range(2)]
        self.embedder, self.stages = layer(3, 4), nn.ModuleList(stages)


class PreActivation(nn.Module):
    """The normalizer of the block's input is another's: what follows the first convolution counts."""

    def __init__(self) -> None:
        super().__init__()

        def block() -> nn.Module:
            layers = [nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1)]
            return nn.ModuleDict(dict(zip(("norm1", "conv1", "norm2", "conv2"), layers, strict=True)))

        self.stages = nn.Sequential(nn.Sequential(block()), nn.Sequential(block(), block()))


def names(done: Replacement) -> list[str]:
    return [item.name for item in done.replaced]


def test_ibn_a_takes_the_first_of_thirteen_blocks_of_a_resnet_50() -> None:
    model = ResNet50()
    done = sppkit.replace_normalizers(model, "ibn-a", where="published")
    # Written from the description of the release: stages 1 to 3, behind the first 1x1 convolution.
    assert names(done) == [f"layer{stage}.{block}.bn1" for stage in (1, 2, 3) for block in range(STAGES[stage - 1])]
    assert len(done.replaced) == 13
    assert len(done.kept) == 53 - 13
    assert {item.reason for item in done.kept} == {"not chosen"}
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    output = model.layer1[0].bn1.double()(x)
    first, rest = x[:, :4], x[:, 4:]
    instance = (first - first.mean((2, 3), keepdim=True)) / (
        first.var((2, 3), correction=0, keepdim=True) + 1e-5
    ).sqrt()
    mean, variance = rest.mean((0, 2, 3), keepdim=True), rest.var((0, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(output, torch.cat([instance, (rest - mean) / (variance + 1e-5).sqrt()], dim=1))


def test_the_places_are_found_in_other_codes() -> None:
    assert names(sppkit.replace_normalizers(Nested(), "ibn-a", where="published")) == [
        f"stages.{stage}.layers.{block}.layer.0.norm" for stage in (0, 1) for block in (0, 1)
    ]
    assert names(sppkit.replace_normalizers(PreActivation(), "ibn-a", where="published")) == [
        "stages.0.0.norm2",
        "stages.1.0.norm2",
        "stages.1.1.norm2",
    ]
    named = sppkit.build_model("bn-relu-conv", stages=(1, 1, 1, 1), width=0.125)
    with pytest.raises(sppkit.UsageError, match=r"PreActivationResNet has 0\.\nGive where= a function"):
        sppkit.replace_normalizers(named, "ibn-a", where="published")


def test_all_places_are_warned_about() -> None:
    with pytest.warns(UserWarning, match="ibn-a was put in place of all 53 normalizers; .* where='published' chooses"):
        sppkit.replace_normalizers(ResNet50(), "ibn-a")
    sppkit.replace_normalizers(ResNet50(), "in")
    sppkit.replace_normalizers(ResNet50(), "ibn-a", where=lambda name, _: name.startswith("layer1"))


@pytest.mark.parametrize(
    ("norm", "where", "message"),
    [
        ("gn", "published", "where='published' means nothing for gn, which stands wherever batch normalization does"),
        ("ibn-a", "paper", "where must be a function, 'published' or None, not 'paper'"),
    ],
)
def test_refused(norm: str, where: str, message: str) -> None:
    model = ResNet50()
    with pytest.raises(sppkit.UsageError, match=message):
        sppkit.replace_normalizers(model, norm, where=where)  # type: ignore[arg-type]
    assert not any("InstanceBatch" in type(module).__name__ for module in model.modules())

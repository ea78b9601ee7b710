"""What is taken off a branch before its variance is read: its scale, and nothing that the branch computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

import sppkit

CHANNELS = 16


class Gate(nn.Module):
    """Squeeze-and-excite."""

    def __init__(self) -> None:
        super().__init__()
        self.fc0, self.fc1 = nn.Linear(CHANNELS, 4), nn.Linear(4, CHANNELS)

    def gate(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.fc1(F.relu(self.fc0(x.mean((2, 3))))))[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class DoubledGate(Gate):
    """The factor in the gate's own module, behind what it gates."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class Scale(nn.Module):
    """A module that does nothing but scale."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0.25


class DropPath(nn.Module):
    """Stochastic depth that divides the signal, not the mask."""

    def forward(self, x: Tensor) -> Tensor:
        return x.div(0.5) * torch.rand(len(x), 1, 1, 1).round()


class ScaledConvolution(nn.Conv2d):
    """A layer that multiplies as a part of what it computes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 3


class Block(nn.Module):
    """A residual block; how the branch enters the sum differs."""

    def __init__(self, enter: Callable[[Block, Tensor, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.skip_gain = nn.Parameter(torch.tensor(0.5))
        self.layer_scale = nn.Parameter(torch.full((CHANNELS, 1, 1), 0.3))
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.enter = enter

    def forward(self, x: Tensor) -> Tensor:
        return self.enter(self, x, self.conv(F.relu(x)))


# How the branch is joined, and what the branch is without its scale.
CASES: dict[str, tuple[Block, Callable[[Block, Tensor], Tensor]]] = {
    "published NFNets": (
        Block(lambda own, x, y: (2.0 * own.se(y)).mul_(own.skip_gain) * 0.2 + x, se=Gate()),
        lambda own, y: 2 * own.se(y),
    ),
    "NF-ResNets without a skip gain": (
        Block(lambda own, x, y: 2.0 * own.se(y) * 0.2 + x, se=Gate()),
        lambda own, y: 2 * own.se(y),
    ),
    "alpha in the sum": (
        Block(lambda own, x, y: torch.add(x, 2 * own.se(y), alpha=0.2), se=Gate()),
        lambda own, y: 2 * own.se(y),
    ),
    "no alpha": (Block(lambda own, x, y: x + 2 * own.se(y), se=Gate()), lambda own, y: 2 * own.se(y)),
    "twice the gate": (Block(lambda own, x, y: x + 2 * own.se.gate(y) * y, se=Gate()), lambda own, y: 2 * own.se(y)),
    "doubled inside": (Block(lambda own, x, y: own.se(y) * 0.2 + x, se=DoubledGate()), lambda own, y: own.se(y)),
    "alpha behind a gate": (Block(lambda own, x, y: x + 0.2 * own.se(y), se=Gate()), lambda own, y: own.se(y)),
    "a number": (Block(lambda _, x, y: x + 0.2 * y), lambda _, y: y),
    "two numbers": (Block(lambda _, x, y: x + 0.2 * (3 * y)), lambda _, y: 3 * y),
    "a quotient": (Block(lambda _, x, y: x + y / 4), lambda _, y: y),
    "a parameter, then a number": (Block(lambda own, x, y: x + 0.2 * (own.layer_scale * y)), lambda _, y: y),
    "a number, then a parameter": (Block(lambda own, x, y: x + own.layer_scale * (3 * y)), lambda _, y: y),
    "a module that scales": (Block(lambda own, x, y: x + own.scale(y), scale=Scale()), lambda _, y: y),
    "stochastic depth behind a gate": (
        Block(lambda own, x, y: x + 0.2 * own.drop(2 * own.se(y)), se=Gate(), drop=DropPath()),
        lambda own, y: 2 * own.se(y),
    ),
    "a layer that multiplies": (
        Block(lambda own, x, y: x + own.last(y), last=ScaledConvolution(CHANNELS, CHANNELS, 1)),
        lambda own, y: own.last(y),
    ),
    "a layer that multiplies, and alpha": (
        Block(lambda own, x, y: x + 0.2 * own.last(y), last=ScaledConvolution(CHANNELS, CHANNELS, 1)),
        lambda own, y: own.last(y),
    ),
}


@pytest.mark.parametrize("grad", ["no_grad", "enable_grad", "inference_mode"])
@pytest.mark.parametrize(("block", "branch"), CASES.values(), ids=CASES)
def test_scales_are_taken_off_and_nothing_else(block: Block, branch: Callable[..., Tensor], grad: str) -> None:
    x = torch.randn(8, CHANNELS, 9, 9, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = branch(block, block.conv(F.relu(x))).double().var((0, 2, 3), correction=0).mean()
    with sppkit.Probe(block) as probe, getattr(torch, grad)():
        block(x)
    assert probe.table()["residual_variance"].to_list()[1:] == [pytest.approx(float(expected), rel=1e-5)]


class PortedBlock(nn.Module):
    """A block of ``build_model`` as a user may have written it, with the operations of published NFNets."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        block = self.block
        y = prepared = block.activation0(x)
        for index in range(3):
            y = getattr(block, f"conv{index}")(y if index == 0 else getattr(block, f"activation{index}")(y))
        gate = torch.sigmoid(block.se.fc1(F.relu(block.se.fc0(y.mean((2, 3))))))
        y = 2.0 * (gate[:, :, None, None] * y)
        y.mul_(block.skip_gain)
        return y * block.alpha + (x if block.shortcut is None else block.shortcut(prepared))


@pytest.mark.parametrize("options", [{}, {"alpha": 1.0}, {"skip_gain": 0.5, "activation": "silu"}])
def test_a_named_network_and_the_same_code_of_a_user_have_one_table(options: dict) -> None:
    model = sppkit.build_model("nf-resnet", se=True, stages=(1, 2), width=0.25, **options)
    x = torch.randn(4, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    port = nn.Sequential(model.stem, model.stem_pool, *(PortedBlock(block) for block in model.blocks))
    named, ported = sppkit.measure(model, x), sppkit.measure(port, x)
    for column in ("channel_squared_mean", "channel_variance", "residual_variance"):
        np.testing.assert_allclose(ported[column], named[column], rtol=2e-5, atol=1e-6, err_msg=column)

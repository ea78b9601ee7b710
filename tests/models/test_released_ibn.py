"""IBN-b with SelfNorm, the papers' ablation pair, beside a float64 statement of the released network's blocks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

import sppkit
from sppkit.models.addons.crossnorm import CrossNorm

BLOCKS = {"stages": (2, 2, 1), "width": 0.125}


def over(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    mean, variance = x.mean(axes, keepdim=True), x.var(axes, correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def gated(x: Tensor, weight: Tensor) -> Tensor:
    mean = x.mean((2, 3))
    deviation = (x.flatten(2).var(2, correction=1) + 1e-12).sqrt()
    z = mean * weight[:, 0] + deviation * weight[:, 1]
    z = (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()
    return x * torch.sigmoid(z)[:, :, None, None]


def released(model: torch.nn.Module, x: Tensor) -> list[Tensor]:
    """Every block's output: a block ends in instance normalization or in SelfNorm, never in both.

    Instance normalization ends stages 1 and 2 of IBN-b; normalizers have scale 1 and offset 0, as drawn.
    """
    weights = {name: value.double() for name, value in model.state_dict().items()}
    batch = (0, 2, 3)
    x = F.max_pool2d(F.conv2d(x, weights["stem.weight"], stride=2, padding=3), 3, 2, 1)
    outputs = []
    block = 0
    for stage, blocks in enumerate(BLOCKS["stages"]):
        for position in range(blocks):
            name, stride = f"blocks.{block}", 2 if stage > 0 and position == 0 else 1
            prepared = F.relu(over(x, batch))
            skip = F.conv2d(prepared, weights[f"{name}.shortcut.weight"], stride=stride) if position == 0 else x
            y = F.conv2d(prepared, weights[f"{name}.conv0.weight"])
            y = F.conv2d(F.relu(over(y, batch)), weights[f"{name}.conv1.weight"], stride=stride, padding=1)
            x = skip + F.conv2d(F.relu(over(y, batch)), weights[f"{name}.conv2.weight"])
            closes = stage < 2 and position == blocks - 1
            x = over(x, (2, 3)) if closes else gated(x, weights[f"{name}.selfnorm.g.weight"])
            outputs.append(x)
            block += 1
    return outputs


def test_blocks_end_in_instance_normalization_or_selfnorm_as_released() -> None:
    model = sppkit.build_model("bn-relu-conv", norm="ibn-b", add_on="selfnorm@post", **BLOCKS).double()
    x = torch.randn(4, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = []
    for block in model.blocks:
        block.register_forward_hook(lambda *args: found.append(args[2].detach()))
    model(x)
    for output, expected in zip(found, released(model, x), strict=True):
        torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-10)  # double precision through five blocks


def test_ends_of_stages_keep_their_variance_and_other_places_keep_their_add_ons() -> None:
    x = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    model = sppkit.build_model("bn-relu-conv", norm="ibn-b", add_on="selfnorm@post", **BLOCKS)
    table = sppkit.measure(model, x)
    # Epsilon is 1e-5 of the variance. With a gate of 1/2 behind, it would be 1/4.
    assert table["channel_variance"][[2, 4]].to_list() == pytest.approx([1, 1], rel=1e-3)
    inside = sppkit.build_model("bn-relu-conv", norm="ibn-b", add_on="crossnorm@residual", **BLOCKS)
    assert sum(isinstance(module, CrossNorm) for module in inside.modules()) == 5
    behind = sppkit.build_model("bn-relu-conv", norm="ibn-b", add_on="crossnorm@post", **BLOCKS)
    assert sum(isinstance(module, CrossNorm) for module in behind.modules()) == 3


def test_an_add_on_that_no_block_has_is_refused() -> None:
    options = {"norm": "ibn-b", "stages": (1, 1), "width": 0.125}
    with pytest.raises(
        sppkit.UsageError, match="--add-on selfnorm@post stands nowhere: with --norm ibn-b a normalizer"
    ):
        sppkit.build_model("bn-relu-conv", add_on="crossnorm@pre+selfnorm@post", **options)
    sppkit.build_model("bn-relu-conv", add_on="crossnorm@pre", **options)
    sppkit.build_model("bn-relu-conv", norm="ibn-a", add_on="selfnorm@post", stages=(1, 1), width=0.125)

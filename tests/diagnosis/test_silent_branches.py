"""SkipInit and Fixup: branches that start silent, and what they do when they are heard."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import sppkit
from sppkit.config.resolve import resolve_config
from sppkit.measuring.run import run
from sppkit.models.memory import count_parameters
from sppkit.models.spec import build_spec


def test_skipinit_is_he_resnet_with_a_gain_of_zero_and_biases() -> None:
    x = torch.randn(2, 3, 32, 32)
    model = sppkit.build_model("skipinit", stages=(2, 2), width=0.125)
    heard = sppkit.build_model("skipinit", stages=(2, 2), width=0.125, skip_gain=1)
    he = sppkit.build_model("he-resnet", stages=(2, 2), width=0.125)
    assert torch.equal(heard(x), he(x))
    assert {float(block.skip_gain.detach()) for block in model.blocks} == {0.0}
    biases = {name for name in model.state_dict() if name.endswith("bias")}
    assert biases >= {"blocks.0.shortcut.bias", "blocks.0.conv2.bias"}
    assert "stem.bias" not in biases  # as in the release
    table = sppkit.measure(model, x)
    # An identity skip after each first block, and a branch that can be read although it is not added.
    assert table["channel_variance"].iloc[1] == table["channel_variance"].iloc[2]
    assert table["residual_variance"].iloc[1:].min() > 0


@pytest.mark.parametrize(("block", "convolutions"), [("bottleneck", 3), ("basic", 2)])
def test_fixup_scales_its_branches(block: str, convolutions: int) -> None:
    options = {"stages": (5, 3), "width": 0.25, "block": block}
    fixup = sppkit.build_model("fixup", **options)
    he = sppkit.build_model("he-resnet", **options)
    # L^(-1/(2m - 2)) on all but the last weight, L = 8 blocks: 8^(-1/4) and 8^(-1/2).
    scale = 8 ** (-1 / (2 * convolutions - 2))
    for index in range(convolutions - 1):
        scaled, plain = (getattr(model.blocks[6], f"conv{index}").weight for model in (fixup, he))
        torch.testing.assert_close(scaled, plain * scale)
    assert not getattr(fixup.blocks[6], f"conv{convolutions - 1}").weight.any()
    assert torch.equal(fixup.stem.weight, he.stem.weight)
    assert torch.equal(fixup.blocks[5].shortcut.weight, he.blocks[5].shortcut.weight)
    assert float(fixup.blocks[0].skip_gain.detach()) == 1
    table = sppkit.measure(fixup, torch.randn(2, 3, 32, 32))
    assert table["residual_variance"].iloc[1:].abs().max() == 0
    assert table["channel_variance"].iloc[1] == table["channel_variance"].iloc[5]


def test_fixup_is_heard_when_a_gain_is_given() -> None:
    options = {"stages": (4,), "width": 0.25}
    model = sppkit.build_model("fixup", skip_gain=0.5, **options)
    he = sppkit.build_model("he-resnet", **options)
    assert torch.equal(model.blocks[2].conv2.weight, he.blocks[2].conv2.weight)
    x = torch.randn(2, 64, 8, 8)
    block = model.blocks[2]
    branch = functional.conv2d(torch.relu(x), block.conv0.weight)
    branch = functional.conv2d(torch.relu(branch), block.conv1.weight, padding=1)
    branch = functional.conv2d(torch.relu(branch), block.conv2.weight)
    torch.testing.assert_close(block(x), x + 0.5 * branch)


def test_scalar_biases_stand_before_activation_and_convolution() -> None:
    block = sppkit.build_model("fixup", stages=(2,), width=0.25, skip_gain=1).blocks[1]
    with torch.no_grad():
        block.activation_bias0.value.fill_(0.3)
        block.conv_bias0.value.fill_(-0.2)
    seen = []
    block.conv0.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.randn(2, 64, 4, 4)
    block(x)
    torch.testing.assert_close(seen[0], torch.relu(x + 0.3) - 0.2)


@pytest.mark.parametrize("arch", ["skipinit", "fixup"])
def test_streaming_counts_and_refusals(arch: str) -> None:
    options = {"stages": (3, 2), "width": 0.125, "skip_gain": 1.0}
    tables = [
        run(resolve_config({"arch": arch, **options, "image_size": 32, "streaming": streaming})).table
        for streaming in ("on", "off")
    ]
    assert tables[0].equals(tables[1])
    parameters = sum(p.numel() for p in sppkit.build_model(arch, **options).parameters())
    assert count_parameters(build_spec(arch, options)) == parameters
    for option in ({"norm": "bn"}, {"alpha": 0.2}):
        with pytest.raises(sppkit.UsageError, match=f"means nothing for {arch}"):
            build_spec(arch, {"depth": 50, **option})


def test_fixup_can_not_be_balanced() -> None:
    with pytest.raises(sppkit.UsageError, match="fixup's scalar biases are shared"):
        build_spec("fixup", {"depth": 50, "enorm": True})
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    model = sppkit.build_model("skipinit", stages=(2, 1), width=0.125, skip_gain=0.7).double()
    torch.nn.init.normal_(model.blocks[0].conv1.bias)
    expected = model(x)
    sppkit.equi_normalize(model)
    assert (model(x) - expected).norm() / expected.norm() < 1e-10

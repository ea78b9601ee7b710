"""NF-RegNets against the published definition, written out once more."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import sppkit
from sppkit.config.options import ModelOptions, options
from sppkit.config.resolve import resolve_config
from sppkit.measuring.run import run
from sppkit.models.activations import activation_gain
from sppkit.models.memory import count_parameters
from sppkit.models.outline import outline
from sppkit.models.perturb import KINDS
from sppkit.models.regnet import VARIANTS, stage_widths
from sppkit.models.spec import build_spec

# Blocks per stage and channels at width 0.75, as published.
PUBLISHED = {
    "b0": ((1, 3, 6, 6), (36, 78, 156, 330)),
    "b1": ((2, 4, 7, 7), (36, 78, 156, 330)),
    "b2": ((2, 4, 8, 8), (42, 84, 174, 366)),
    "b3": ((2, 5, 9, 9), (42, 96, 186, 396)),
    "b4": ((2, 6, 11, 11), (48, 108, 216, 462)),
    "b5": ((3, 7, 14, 14), (60, 126, 252, 528)),
    "b6": ((3, 8, 16, 16), (66, 138, 282, 594)),
    "b7": ((4, 10, 19, 19), (72, 156, 312, 660)),
    "b8": ((4, 11, 22, 22), (78, 174, 342, 726)),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_widths_and_depths(variant: str) -> None:
    spec = build_spec("nf-regnet", {"variant": variant})
    assert (spec.stages, spec.widths) == PUBLISHED[variant]
    assert spec.stem_channels == spec.widths[0]
    assert (spec.activation, spec.weights, spec.alpha, spec.gain) == ("silu", "scaled-ws", 0.2, "exact")


def parameters_by_hand(variant: str) -> int:
    """Weights, and a gain and a bias per filter; a scalar gain per block."""

    def convolution(incoming: int, outgoing: int, kernel: int, groups: int = 1) -> int:
        return outgoing * (incoming // groups * kernel**2 + 2)

    stages, widths = PUBLISHED[variant]
    incoming, total = widths[0], convolution(3, widths[0], 3)
    expansion = 1.0
    for blocks, outgoing in zip(stages, widths, strict=True):
        for block in range(blocks):
            groups = int(incoming * expansion) // 8
            inner, hidden = 8 * groups, 4 * groups
            total += (
                convolution(incoming, inner, 1) + convolution(inner, inner, 3, groups) + convolution(inner, outgoing, 1)
            )
            total += inner * hidden + hidden + hidden * inner + inner + 1
            total += convolution(incoming, outgoing, 1) if block == 0 else 0
            incoming, expansion = outgoing, 2.25
    return total


@pytest.mark.parametrize("variant", VARIANTS)
def test_number_of_parameters(variant: str) -> None:
    assert count_parameters(build_spec("nf-regnet", {"variant": variant})) == parameters_by_hand(variant)


def twin(state: dict[str, Tensor], x: Tensor, stages: tuple[int, ...]) -> list[tuple[Tensor, Tensor | None]]:
    """Output and branch of every block, in float64."""
    state = {name: value.double() for name, value in state.items()}
    gain, alpha = activation_gain("silu"), 0.2

    def conv(name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        w = state[f"{name}.weight"]
        flat = w.flatten(1)
        flat = (flat - flat.mean(1, keepdim=True)) / torch.sqrt(flat.shape[1] * flat.var(1, correction=0, keepdim=True))
        return functional.conv2d(x, flat.view_as(w), stride=stride, padding=w.shape[-1] // 2, groups=groups)

    def act(x: Tensor) -> Tensor:
        return gain * x * torch.sigmoid(x)

    def halved(x: Tensor) -> Tensor:
        padded = functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), value=math.nan)
        n, c, h, w = padded.shape
        return padded.view(n, c, h // 2, 2, w // 2, 2).nanmean((3, 5))

    x = conv("stem", x.double(), 2)
    seen, index, expected = [(x, None)], 0, 1.0
    for blocks in stages:
        for position in range(blocks):
            name, stride = f"blocks.{index}", 2 if position == 0 else 1
            a = act(x) / math.sqrt(expected)
            shortcut = conv(f"{name}.shortcut", halved(a)) if position == 0 else x
            h = conv(f"{name}.conv0", a)
            h = conv(f"{name}.conv1", act(h), stride, h.shape[1] // 8)
            se = {key: state[f"{name}.se.{key}"] for key in ("fc0.weight", "fc0.bias", "fc1.weight", "fc1.bias")}
            hidden = torch.relu(h.mean((2, 3)) @ se["fc0.weight"].T + se["fc0.bias"])
            h = 2 * torch.sigmoid(hidden @ se["fc1.weight"].T + se["fc1.bias"])[:, :, None, None] * h
            h = conv(f"{name}.conv2", act(h))
            x = shortcut + alpha * h
            expected = (1.0 if position == 0 else expected) + alpha**2
            seen.append((x, h))
            index += 1
    return seen


@pytest.mark.parametrize("size", [64, 72])  # 72: maps of 9 and 5, which can't be halved evenly
def test_network_equals_its_definition(size: int) -> None:
    model = sppkit.build_model("nf-regnet", variant="b0", width=0.5)
    x = torch.randn(4, 3, size, size)
    table = sppkit.measure(model, x)
    for row, (output, branch) in zip(table.itertuples(), twin(model.state_dict(), x, (1, 3, 6, 6)), strict=True):
        assert (row.channels, row.height, row.width) == tuple(output.shape[1:])
        # float32 through 16 blocks.
        assert row.channel_variance == pytest.approx(float(output.var((0, 2, 3), correction=0).mean()), rel=1e-4)
        if branch is not None:
            assert row.residual_variance == pytest.approx(float(branch.var((0, 2, 3), correction=0).mean()), rel=1e-4)


def test_streaming_names_and_outline() -> None:
    options = {"arch": "nf-regnet", "variant": "b0", "width": 0.25, "image_size": 64, "batch_size": 2}
    on, off = (run(resolve_config({**options, "streaming": streaming})) for streaming in ("on", "off"))
    assert on.table.equals(off.table)
    assert on.record["expected"] == {"residual_variance": None}
    assert on.record["network"]["widths"] == list(stage_widths("b0", 0.25))
    rows = outline(build_spec("nf-regnet", {"variant": "b0"}), every=True)
    assert [row.stride for row in rows[1:6]] == [2, 2, 1, 1, 2]
    assert rows[2].channels == (36, 80, 80, 78)


def test_options_offer_what_there_is() -> None:
    offered = {name: option.choices for name, option in options(ModelOptions).items()}
    assert offered["variant"] == tuple(VARIANTS)
    assert offered["noise_kind"] == KINDS


REFUSED = {
    "no variant": ({}, "which size. Say --variant, one of b0, b1"),
    "unknown": ({"variant": "b9"}, "unknown --variant 'b9'"),
    "depth": ({"variant": "b0", "depth": 50}, "--depth means nothing for nf-regnet: --variant decides it"),
    "stem": ({"variant": "b0", "stem": "cifar"}, "--stem means nothing for nf-regnet"),
    "narrow": ({"variant": "b0", "width": 0.1}, "leaves 3 channels; the first block needs 8"),
    "balanced": ({"variant": "b0", "weights": "none", "enorm": True}, "a gate sees the scale"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refused(case: tuple[dict, str]) -> None:
    given, message = case
    with pytest.raises(sppkit.UsageError, match=message):
        build_spec("nf-regnet", given)
    with pytest.raises(sppkit.UsageError, match="--variant means nothing for nf-resnet"):
        build_spec("nf-resnet", {"variant": "b0", "depth": 50})

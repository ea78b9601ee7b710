"""Networks built with one fault receive its diagnosis, first and alone; healthy ones receive none."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import pytest
import torch

import sppkit
from sppkit.models.spec import describe
from sppkit.prediction.predict import borderless_residual_variance

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from torch import Tensor, nn

    from sppkit.models.resnet import PreActivationResNet, ResidualBlock

    Change = Callable[[PreActivationResNet], None]

SAMPLES, SIZE = 8, 64


def measured(
    arch: str,
    change: Change | None = None,
    *,
    size: int = SIZE,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    mode: Any = "train",
    **options: Any,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Build a network, change it behind its record's back, and measure it."""
    model = sppkit.build_model(
        arch, seed=seed, **({"depth": None if "stages" in options else 50, "width": 0.25} | options)
    )
    if change is not None:
        with torch.no_grad():
            change(model)
    x = torch.randn(SAMPLES, 3, size, size, generator=torch.Generator().manual_seed(seed)).to(dtype)
    run = {
        "network": describe(model.spec),
        "expected": {"residual_variance": borderless_residual_variance(model.spec)},
        "input": {"kind": "gaussian", "batch_shape": list(x.shape), "batches": 1},
        "mode": mode,
        "dtype": str(dtype).removeprefix("torch."),
    }
    return sppkit.measure(model.to(dtype), x, mode=mode, seed=seed), run


def without_factor(model: PreActivationResNet) -> None:
    for block in model.blocks:
        block.se.factor = 1.0


def zero_last(number: int) -> Change:
    return lambda model: model.blocks[number - 1].conv2.weight.zero_()


def raise_last(number: int, factor: float) -> Change:
    def change(model: PreActivationResNet) -> None:
        conv = model.blocks[number - 1].conv2
        # The scale of a standardized weight is its gain alone.
        (conv.gain if hasattr(conv, "gain") else conv.weight).mul_(factor)

    return change


def raw_shortcut(model: PreActivationResNet) -> None:
    """Project the block's input itself, as some published copies do, instead of the prepared one."""

    def forward(self: ResidualBlock, x: Tensor) -> Tensor:
        branch = self._run(self.before, 0, x)
        shortcut = x if self.shortcut is None else self.shortcut(x)
        for index in range(self.convolutions):
            branch = branch if index == 0 else self._run(self.before, index, branch)
            branch = self._run(("conv", *self.behind), index, branch)
        return torch.addcmul(shortcut, self.residual(branch), self.skip_gain, value=self.alpha)

    for block in model.blocks:
        block.forward = types.MethodType(forward, block)


def set_betas(model: PreActivationResNet, variances: list[float]) -> None:
    gain = sppkit.activation_gain("relu")
    for block, variance in zip(model.blocks, variances, strict=True):
        block.activation0.scale = gain / variance**0.5


def growing_beta(model: PreActivationResNet) -> None:
    set_betas(model, [1 + model.spec.alpha**2 * index for index in range(len(model.blocks))])


def no_beta(model: PreActivationResNet) -> None:
    set_betas(model, [1.0] * len(model.blocks))


def scaled_weights(factor: float) -> Change:
    def change(model: PreActivationResNet) -> None:
        for block in model.blocks:
            for name in ("conv0", "conv1", "conv2", "shortcut"):
                conv: nn.Module | None = getattr(block, name)
                if conv is not None:
                    conv.gain.mul_(factor)

    return change


def broken_weight(number: int) -> Change:
    return lambda model: model.blocks[number - 1].conv1.weight[0].fill_(torch.nan)


def biased(model: PreActivationResNet) -> None:
    for block in model.blocks[3:]:
        block.conv2.bias.fill_(0.5)


def weakened(model: PreActivationResNet) -> None:
    for block in model.blocks[7:]:
        block.conv1.gain.mul_(0.2)


# Name of the diagnosis, block where it begins, severity; then what is built.
FAULTS: dict[str, tuple[str, int, str, dict[str, Any]]] = {
    "mean shift": ("mean-shift", 1, "error", {"arch": "nf-resnet", "weights": "none"}),
    "mean shift, no pool": (
        "mean-shift", 8, "error", {"arch": "nf-resnet", "weights": "none", "stem": "no-pool", "padding": "circular"},
    ),
    "mean of a sigmoid": ("mean-shift", 1, "remark", {"arch": "bn-relu-conv", "activation": "sigmoid"}),
    "mean of channels behind ln": ("mean-shift", 3, "remark", {"arch": "bn-relu-conv", "norm": "ln"}),
    "mean at the border": ("mean-shift", 8, "remark", {"arch": "nf-resnet", "activation": "sigmoid"}),
    "biases": ("mean-shift", 7, "warning", {"arch": "nf-resnet", "padding": "circular", "change": biased}),
    "exploding": ("exploding-variance", 2, "error", {"arch": "he-resnet", "weights": "scaled-ws", "depth": 101}),
    "published weight standardization": (
        "exploding-variance", 2, "error", {"arch": "he-resnet", "weights": "ws", "stages": (1, 1, 1)},
    ),
    "vanishing": ("vanishing-variance", 4, "error", {"arch": "he-resnet", "weights": "scaled-ws", "gain": 0.1}),
    "raw shortcut, bn": ("no-reset", 4, "error", {"arch": "relu-bn-conv", "stem": "no-pool", "change": raw_shortcut}),
    "raw shortcut, nf": ("no-reset", 4, "error", {"arch": "nf-resnet", "alpha": 1.0, "change": raw_shortcut}),
    "raw shortcut, alpha 0.2": ("no-reset", 28, "error", {"arch": "nf-resnet", "depth": 200, "change": raw_shortcut}),
    "no beta": ("no-reset", 4, "error", {"arch": "nf-resnet", "alpha": 1.0, "change": no_beta}),
    "beta is never reset": ("no-reset", 5, "error", {"arch": "nf-resnet", "alpha": 1.0, "change": growing_beta}),
    "skip gain 0": ("dead-branch", 1, "remark", {"arch": "nf-resnet", "skip_gain": 0.0}),
    "skip gain 0, bn": ("dead-branch", 1, "remark", {"arch": "bn-relu-conv", "skip_gain": 0.0}),
    "last convolution 0": ("dead-branch", 6, "warning", {"arch": "bn-relu-conv", "change": zero_last(6)}),
    "last convolution 0, nf": ("dead-branch", 6, "warning", {"arch": "nf-resnet", "change": zero_last(6)}),
    "dominant branch": ("dominant-branch", 6, "warning", {"arch": "bn-relu-conv", "change": raise_last(6, 30)}),
    "dominant branch, nf": ("dominant-branch", 6, "warning", {"arch": "nf-resnet", "change": raise_last(6, 30)}),
    "large alpha": ("dominant-branch", 1, "warning", {"arch": "nf-resnet", "alpha": 10.0, "padding": "circular"}),
    "gain of 1": ("wrong-gain", 1, "error", {"arch": "nf-resnet", "gain": 1.0}),
    "gain off by sqrt 2": ("wrong-gain", 1, "error", {"arch": "nf-resnet", "gain": 1.712859 * 2**0.5}),
    "gain off by 2": ("wrong-gain", 1, "error", {"arch": "nf-resnet", "gain": 1.712859 * 2}),
    "gain off by 1/2": ("wrong-gain", 1, "error", {"arch": "nf-resnet", "gain": 1.712859 / 2}),
    "gain, one stage": ("wrong-gain", 1, "error", {"arch": "nf-resnet", "gain": 1.0, "stages": (6,)}),
    "gain, basic blocks": ("wrong-gain", 1, "error", {"arch": "nf-resnet", "gain": 1.0, "block": "basic"}),
    "gain, silu": ("wrong-gain", 1, "error", {"arch": "nf-resnet", "activation": "silu", "gain": 1.787187 * 2**0.5,
                                              "stem": "no-pool", "padding": "circular"}),
    "he and gain": ("wrong-gain", 1, "error", {"arch": "nf-resnet", "init": "he"}),
    "weights": ("wrong-gain", 1, "error", {"arch": "nf-resnet", "change": scaled_weights(1.4)}),
    "gate without factor": ("missing-se-factor", 1, "error", {"arch": "nf-resnet", "se": True,
                                                              "change": without_factor}),
    "gate without factor, alpha 1": ("missing-se-factor", 1, "error", {"arch": "nf-resnet", "se": True, "alpha": 1.0,
                                                                       "change": without_factor}),
    "border": ("border-sag", 8, "remark", {"arch": "nf-resnet"}),
    "border, alpha 1": ("border-sag", 4, "remark", {"arch": "nf-resnet", "alpha": 1.0, "size": 32}),
    "border, basic blocks": ("border-sag", 7, "remark", {"arch": "relu-bn-conv", "block": "basic"}),
    "float16 overflows": ("non-finite", 10, "error", {"arch": "nf-resnet", "dtype": torch.float16,
                                                      "change": raise_last(10, 3e5)}),
    "a weight is nan": ("non-finite", 6, "error", {"arch": "nf-resnet", "change": broken_weight(6)}),
    "weaker than described": ("unexpected-branch", 8, "warning", {"arch": "nf-resnet", "change": weakened}),
    "uncalibrated": ("mean-shift", 1, "error", {"arch": "bn-relu-conv", "mode": "eval"}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "block", "severity", "built"), FAULTS.values(), ids=FAULTS)
def test_a_fault_receives_its_diagnosis_alone(name: str, block: int, severity: str, built: dict[str, Any]) -> None:
    table, run = measured(**built)
    found = sppkit.diagnose(table, run)
    assert [item.name for item in found] == [name]
    assert (found[0].block, found[0].severity) == (block, severity)
    assert found[0].block_name == f"blocks.{block - 1}"
    assert found[0].worst_block >= block
    assert (found[0].found > found[0].limit) or (found[0].found < found[0].limit)


# What a table tells without its record: the same, or less.
WITHOUT_RECORD = {
    "mean shift": ["mean-shift"],
    "exploding": ["exploding-variance"],
    "vanishing": ["vanishing-variance"],
    "raw shortcut, bn": ["no-reset"],
    "raw shortcut, nf": ["no-reset"],
    "skip gain 0": ["dead-branch"],
    "last convolution 0": ["dead-branch"],
    "dominant branch": ["dominant-branch"],
    "dominant branch, nf": ["dominant-branch"],
    "gain off by 2": ["exploding-variance"],
    "gate without factor": [],
    "border": [],
    "a weight is nan": ["non-finite"],
}


@pytest.mark.parametrize(("fault", "names"), WITHOUT_RECORD.items(), ids=WITHOUT_RECORD)
def test_a_table_alone_tells_the_fault(fault: str, names: list[str]) -> None:
    table, _ = measured(**FAULTS[fault][3])
    assert [item.name for item in sppkit.diagnose(table)] == names


@pytest.mark.parametrize("depth", [14, 26, 50])
def test_he_resnet_explodes_first_and_shifts_its_mean_as_well(depth: int) -> None:
    table, run = measured("he-resnet", depth=depth)
    assert [item.name for item in sppkit.diagnose(table, run)] == ["exploding-variance", "mean-shift"]


def test_an_overflow_names_the_type_and_does_not_hide_why_the_signal_grew() -> None:
    table, run = measured("he-resnet", depth=200, width=0.125, size=32, padding="circular", dtype=torch.float16)
    found = sppkit.diagnose(table, run)
    assert [item.name for item in found][:2] == ["non-finite", "exploding-variance"]
    assert "float16 ends at 6.55e+04" in found[0].cause


# Every one of these is meant as it is. What is left may be a remark about borders.
HEALTHY: list[dict[str, Any]] = [
    *({"arch": arch, "width": 0.1, "seed": seed} for arch in ("bn-relu-conv", "relu-bn-conv") for seed in range(3)),
    *({"arch": "nf-resnet", "depth": depth, "width": 0.1, "size": 32} for depth in (14, 26, 101)),
    *({"arch": "nf-resnet", "activation": name} for name in ("silu", "gelu", "tanh", "sigmoid", "hardtanh", "elu")),
    *({"arch": "bn-relu-conv", "activation": name} for name in ("identity", "tanh", "softsign", "tanhshrink")),
    {"arch": "nf-resnet", "se": True},
    {"arch": "nf-resnet", "activation": "silu", "se": True, "size": 32},
    {"arch": "nf-resnet", "alpha": 1.0, "width": 0.1, "depth": 101},
    {"arch": "nf-resnet", "stochastic_depth": 0.5, "alpha": 1.0},
    {"arch": "nf-resnet", "block": "basic", "alpha": 0.5, "size": 32},
    {"arch": "nf-resnet", "weights": "centered-ws"},
    {"arch": "nf-resnet", "skip_gain": 0.5},
    {"arch": "nf-resnet", "padding": "circular", "stem": "cifar", "size": 32},
    {"arch": "bn-relu-conv", "se": True, "block": "basic", "size": 32},
    {"arch": "bn-relu-conv", "weights": "ws"},
    {"arch": "relu-bn-conv", "gain": 2.0, "skip_gain": -1.0},
    {"arch": "relu-bn-conv", "init": "he", "stem": "no-pool"},
    *({"arch": "bn-relu-conv", "norm": name} for name in ("ln", "gn", "in", "ibn-b", "bcn", "bkn", "ic")),
    *({"arch": "relu-bn-conv", "norm": name} for name in ("ln", "gn")),
    {"arch": "bn-relu-conv", "norm": "gn", "mode": "eval"},
    *({"arch": "bn-relu-conv", "add_on": f"selfnorm@{place}"} for place in ("residual", "identity", "post")),
    *({"arch": arch, "depth": 26} for arch in ("skipinit", "fixup")),
    *({"arch": "nf-regnet", "variant": "b0", "depth": None, "activation": name} for name in (None, "gelu", "relu")),
]


@pytest.mark.parametrize("built", HEALTHY, ids=lambda built: " ".join(map(str, built.values())))
def test_healthy_networks_raise_no_alarm(built: dict[str, Any]) -> None:
    table, run = measured(**built)
    assert [item.text for item in sppkit.diagnose(table, run) if item.severity != "remark"] == []
    assert [item.text for item in sppkit.diagnose(table) if item.severity != "remark"] == []


@pytest.mark.parametrize("arch", ["skipinit", "fixup"])
def test_branches_that_start_at_zero_are_published_and_meant(arch: str) -> None:
    found = sppkit.diagnose(*measured(arch, depth=26))
    assert [(item.name, item.severity) for item in found] == [("dead-branch", "remark"), ("mean-shift", "remark")]
    assert "--skip-gain 1" in found[0].remedy
    assert "no branch adds anything yet" in found[1].cause


def test_shortcuts_that_average_are_no_fault_and_hide_none() -> None:
    table, run = measured("nf-regnet", depth=None, variant="b0", size=96)
    found = sppkit.diagnose(table, run)
    assert {item.severity for item in found} == {"remark"}
    assert {item.name for item in found} <= {"mean-shift", "vanishing-variance"}  # the first at the border
    # Each of four transitions averages four positions: a thousandth is left where more of them follow each other.
    table["channel_variance"] *= [1.0 if stage < 4 else 0.1 for stage in table["stage"]]
    [found] = [item for item in sppkit.diagnose(table, run) if item.name == "vanishing-variance"]
    assert found.severity == "remark"
    assert "average 2x2 positions" in found.cause
    faulty = sppkit.diagnose(*measured("nf-regnet", depth=None, variant="b0", size=96, gain=1.0))
    assert (faulty[0].name, faulty[0].severity) == ("wrong-gain", "error")


def test_a_normalizer_without_stored_statistics_needs_no_calibration() -> None:
    table, run = measured("bn-relu-conv", norm="ln", size=32, mode="eval")
    assert "eval mode" not in "".join(item.text for item in sppkit.diagnose(table, run))


@pytest.mark.parametrize(("arch", "options"), [("bn-relu-conv", {}), ("relu-bn-conv", {}),
                                               ("nf-resnet", {"padding": "circular"})])  # fmt: skip
def test_without_borders_there_is_nothing_to_remark(arch: str, options: dict[str, Any]) -> None:
    assert sppkit.diagnose(*measured(arch, **options)) == []

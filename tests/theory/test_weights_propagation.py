"""Moments through actual weights: hand-computed cases, sampling where they are exact, and whole networks."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import sppkit
from sppkit import registry
from sppkit.models.activations import gaussian_moments, load_activation
from sppkit.prediction.weights_description import describe_module
from sppkit.theory.weights_propagation import (
    AveragePool,
    BatchNormalizer,
    Convolution,
    Drop,
    Field,
    Gate,
    MaxPool,
    Residual,
    batch_statistics,
    gaussian_field,
    propagate,
)
from sppkit.theory.weights_propagation_moments import moments_of_function, moments_of_largest

if TYPE_CHECKING:
    import pandas as pd

RNG = np.random.default_rng(0)


def field(channels: int = 3, height: int = 4, width: int = 5) -> Field:
    shape = (channels, height, width)
    return Field(RNG.normal(size=shape), RNG.uniform(0.1, 2.0, size=shape))


def sampled(given: Field, samples: int) -> torch.Tensor:
    """Independent Gaussians of the field's moments, shape (samples, C, H, W), float64."""
    noise = torch.randn(samples, *given.mean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.from_numpy(given.mean) + noise * torch.from_numpy(given.variance).sqrt()


def assert_agrees(found: Field, samples: torch.Tensor) -> None:
    """Within five standard errors of the mean, and of the variance: sqrt(fourth moment/n), sampled.

    A ReLU that hardly ever fires has a fourth moment that sampling does not see, and next to no variance: 1e-4.
    """
    n, mean = len(samples), samples.mean(dim=0)
    central = samples - mean
    variance = (central**2).mean(dim=0)
    error = ((central**4).mean(dim=0) / n).sqrt()
    assert (np.abs(found.mean - mean.numpy()) <= 5 * (variance / n).sqrt().numpy() + 1e-4).all()
    assert (np.abs(found.variance - variance.numpy()) <= 5 * error.numpy() + 1e-4).all()


# One layer on independent Gaussians is exact: sampling may differ by its own error only.
LAYERS: dict[str, nn.Module] = {
    "1x1": nn.Conv2d(3, 4, 1),
    "3x3, zeros": nn.Conv2d(3, 4, 3, padding=1, bias=False),
    "3x3, circular, stride 2": nn.Conv2d(3, 4, 3, stride=2, padding=1, padding_mode="circular"),
    "5x5 without padding": nn.Conv2d(3, 2, (4, 5)),
    "relu": nn.ReLU(),
    "tanh": nn.Tanh(),
    "conv on activations": nn.Sequential(nn.SiLU(), nn.Conv2d(3, 4, 3, padding=1)),
    "max-pool": nn.MaxPool2d(3, stride=2, padding=1),
    "average pool": nn.AdaptiveAvgPool2d(1),
    "stored statistics": nn.BatchNorm2d(3).eval(),
    "pool, flatten and linear": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(2), nn.Identity()),
}


@pytest.mark.parametrize("module", LAYERS.values(), ids=LAYERS)
def test_a_layer_on_independent_gaussians_is_what_sampling_gives(module: nn.Module) -> None:
    module = copy.deepcopy(module).double()
    if isinstance(module, nn.BatchNorm2d):
        module.running_mean += torch.tensor([1.0, -2.0, 0.5])
        module.running_var *= torch.tensor([4.0, 0.25, 9.0])
        module.weight.data.mul_(3)
        module.bias.data.add_(1)
    given = field()
    with torch.no_grad():
        out = module(sampled(given, 40_000))
        found = propagate(describe_module(module), given)
        assert_agrees(found, out.reshape(len(out), *found.mean.shape))


def test_a_linear_layer_is_a_sum() -> None:
    linear = nn.Linear(2, 1).double()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[2.0, -3.0]]))
        linear.bias.fill_(0.5)
    out = propagate(describe_module(linear), Field(np.array([1.0, 2.0]).reshape(2, 1, 1), np.array([[[1.0]], [[4.0]]])))
    assert (out.mean.item(), out.variance.item()) == (2 - 6 + 0.5, 4 * 1 + 9 * 4)


def test_a_convolution_by_hand() -> None:
    # A row of three taps (1, 2, 3) on a map of one row: at its left end the first tap sees nothing.
    weight = np.zeros((1, 1, 3, 3))
    weight[0, 0, 1] = 1.0, 2.0, 3.0
    given = Field(np.array([[[1.0, 10.0, 100.0]]]), np.array([[[1.0, 2.0, 3.0]]]))
    zeros = Convolution(weight, padding=1).propagate(given)
    assert zeros.mean.tolist() == [[[2 + 30, 1 + 20 + 300, 10 + 200]]]
    assert zeros.variance.tolist() == [[[4 + 18, 1 + 8 + 27, 2 + 12]]]
    circular = Convolution(weight, padding=1, circular=True).propagate(given)
    assert circular.mean.tolist() == [[[100 + 2 + 30, 321, 210 + 3]]]
    assert Convolution(weight, bias=np.array([7.0]), padding=1, stride=2).propagate(given).mean.tolist() == [
        [[39, 217]]
    ]


@pytest.mark.parametrize(("stride", "mode", "size"), [(1, "zeros", 7), (2, "zeros", 7), (2, "zeros", 8),
                                                      (2, "circular", 8), (1, "circular", 5)])  # fmt: skip
def test_convolutions_are_torchs(stride: int, mode: str, size: int) -> None:
    module = nn.Conv2d(3, 4, 3, stride=stride, padding=1, padding_mode=mode).double()
    given = field(3, size, size)
    out = propagate(describe_module(module), given)
    with torch.no_grad():
        assert np.allclose(out.mean, module(torch.from_numpy(given.mean)[None])[0].numpy(), rtol=1e-12, atol=1e-12)
        module.weight.square_()
        module.bias.zero_()
        variance = module(torch.from_numpy(given.variance)[None])[0].numpy()
    assert np.allclose(out.variance, variance, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(registry.ACTIVATIONS))
def test_moments_of_an_activation_are_those_of_the_adaptive_quadrature(name: str) -> None:
    activation = load_activation(name)
    mean, std = np.array([0.0, 0.7, -2.0, 1.0, 5.0]), np.array([1.0, 0.3, 3.0, 10.0, 1.0])
    found = moments_of_function(
        lambda x: activation.function(torch.from_numpy(x)).numpy(), mean, std**2, activation.kinks
    )
    for place, (a, b) in enumerate(zip(mean, std, strict=True)):
        exact = gaussian_moments(activation, mean=float(a), std=float(b))
        # 1e-6 of the standard deviation and of the variance (16 points a panel).
        assert found[0][place] == pytest.approx(exact.mean, abs=1e-6 * math.sqrt(exact.variance))
        assert found[1][place] == pytest.approx(exact.variance, rel=2e-6)


def test_a_constant_input_has_a_constant_output() -> None:
    mean, variance = moments_of_function(np.exp, np.array([[0.0, 1.0]]), np.zeros((1, 2)))
    assert np.allclose(mean, [[1, math.e]])
    assert np.allclose(variance, 0, atol=1e-25)


def test_the_larger_of_two_gaussians() -> None:
    # Clark 1961: E max = m1 Phi(a) + m2 Phi(-a) + t phi(a), a = (m1 - m2)/t, t² = v1 + v2.
    m1, v1, m2, v2 = 0.3, 2.0, -0.5, 0.7
    t = math.sqrt(v1 + v2)
    a = (m1 - m2) / t
    phi, below = math.exp(-a * a / 2) / math.sqrt(2 * math.pi), (1 + math.erf(a / math.sqrt(2))) / 2
    first = m1 * below + m2 * (1 - below) + t * phi
    second = (m1**2 + v1) * below + (m2**2 + v2) * (1 - below) + (m1 + m2) * t * phi
    mean, variance = moments_of_largest(np.array([[m1, m2], [m2, m1]]), np.array([[v1, v2], [v2, v1]]))
    assert mean == pytest.approx([first, first], rel=1e-10)
    assert variance == pytest.approx([second - first**2] * 2, rel=1e-9)


def test_the_largest_of_nine_and_of_fewer() -> None:
    means = np.zeros((2, 9))
    means[1, 1:] = -np.inf  # beyond the map
    mean, variance = moments_of_largest(means, np.ones((2, 9)))
    # Order statistics of nine N(0, 1): 1.48501316 (Harter 1961), 0.35735333 (Teichroew 1956).
    assert mean == pytest.approx([1.48501316, 0.0], abs=1e-8)
    assert variance == pytest.approx([0.35735333, 1.0], abs=1e-8)


def test_a_pool_of_constants_is_the_largest_of_them() -> None:
    out = MaxPool(2, 2, 0).propagate(Field(np.array([[[1.0, 5.0], [3.0, 2.0]]]), np.zeros((1, 2, 2))))
    assert out.mean.item() == pytest.approx(5.0, rel=1e-10)
    assert out.variance.item() == pytest.approx(0.0, abs=1e-15)


def test_batch_normalization_by_hand() -> None:
    # One channel, two positions with means 1 and 3 and variances 2 and 4: mean 2, variance 3 + 1.
    given = Field(np.array([[[1.0, 3.0]]]), np.array([[[2.0, 4.0]]]))
    out = BatchNormalizer(np.array([6.0]), np.array([10.0]), 0.0).propagate(given)
    assert out.mean.tolist() == [[[10 - 3, 10 + 3]]]
    assert out.variance.tolist() == [[[18.0, 36.0]]]


def test_what_is_dropped_gated_and_pooled_by_sampling() -> None:
    given = field()
    x = sampled(given, 200_000)
    kept = (torch.rand(len(x), generator=torch.Generator().manual_seed(1)) < 0.7).double()[:, None, None, None]
    assert_agrees(Drop(0.7).propagate(given), x * kept)
    # A gate of its own randomness, independent of what it multiplies.
    gate = Gate((AveragePool(),), factor=2.0)
    other = field(3, 1, 1)
    gates = sampled(other, len(x)).flip(0)

    class Fixed:
        def propagate(self, _field: Field) -> Field:
            return other

    assert_agrees(Gate((Fixed(),), factor=2.0).propagate(given), 2 * gates * x)
    assert gate.propagate(given).mean.shape == given.mean.shape


def test_a_join_adds_shortcut_and_scaled_branch() -> None:
    double = Convolution(np.full((1, 1, 1, 1), 2.0))
    given = Field(np.full((1, 1, 1), 3.0), np.full((1, 1, 1), 5.0))
    plain = Residual("b", 1, prepare=(double,), branch=(double,), factor=0.5)
    branch, output = plain.propagate_both(given)
    assert (branch.mean.item(), branch.variance.item()) == (12, 80)
    assert (output.mean.item(), output.variance.item()) == (3 + 6, 5 + 20)
    projected = Residual("b", 1, prepare=(double,), branch=(double,), shortcut=(double, double), behind=(Drop(0.5),))
    mean, variance = projected.propagate(given)
    assert (mean.item(), variance.item()) == (24 + 6, 320 + (80 + 144) / 2 - 36)


def test_statistics_of_a_batch_by_sampling() -> None:
    given = field(4, 3, 3)
    x = sampled(given, 5 * 20_000).reshape(20_000, 5, 4, 3, 3)
    means = x.mean(dim=(1, 3, 4))
    squared = (means**2).mean(dim=1)
    variance = (x.var(dim=(1, 3, 4), correction=0)).mean(dim=1)
    expected = batch_statistics(given, 5)
    for found, sample in zip(expected, (squared, variance), strict=True):
        assert abs(found - sample.mean().item()) < 5 * sample.std().item() / math.sqrt(len(sample))


def both(arch: str, change: Any = None, *, size: int = 64, mode: str = "train", **options: Any) -> pd.DataFrame:
    """Measured and predicted columns of one network, side by side."""
    model = sppkit.build_model(arch, **({"depth": 50, "width": 0.25} | options))
    if change is not None:
        with torch.no_grad():
            change(model)
    model.train(mode == "train")
    x = torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(0))
    predicted = sppkit.predict_from_weights(model, image_size=size, batch_size=8)
    columns = ["block", *(name for name in predicted.columns if name.startswith("predicted_"))]
    measured = sppkit.measure(model, x)
    assert predicted[["name", "channels", "height", "width"]].equals(measured[["name", "channels", "height", "width"]])
    return measured.merge(predicted[columns], on="block")


def ratios(table: pd.DataFrame, statistic: str) -> pd.Series[float]:
    return (table[f"predicted_{statistic}"] / table[statistic])[1:]


# What correlations do to a network of this width, as measured: how far the middle block is off, and the worst one.
NETWORKS: dict[str, tuple[dict[str, Any], float, float]] = {
    "bn-relu-conv": ({}, 0.02, 0.08),
    "relu-bn-conv": ({}, 0.02, 0.05),
    "nf-resnet": ({}, 0.04, 0.12),
    "nf-resnet, mean shift": ({"weights": "none"}, 0.04, 0.16),
    "nf-resnet, gates": ({"se": True}, 0.04, 0.12),
    "nf-resnet, dropped": ({"stochastic_depth": 0.5}, 0.04, 0.15),
    "he-resnet": ({}, 0.04, 0.12),
    "bn-relu-conv, basic": ({"block": "basic", "se": True}, 0.04, 0.12),
}


@pytest.mark.parametrize(("name", "options", "middle", "worst"), [(k, *v) for k, v in NETWORKS.items()], ids=NETWORKS)
def test_networks_show_what_their_weights_predict(
    name: str, options: dict[str, Any], middle: float, worst: float
) -> None:
    table = both(name.partition(",")[0], **options)
    for statistic in ("channel_variance", "residual_variance"):
        off = ratios(table, statistic) - 1
        assert abs(off.median()) < middle
        assert off.abs().max() < worst


@pytest.mark.parametrize("options", [{"arch": "bn-relu-conv"}, {"arch": "he-resnet"},
                                     {"arch": "nf-resnet", "weights": "none"}], ids=str)  # fmt: skip
def test_the_squared_mean_of_these_weights_is_predicted(options: dict[str, Any]) -> None:
    # Not on average over weights, which scatter by sqrt(2/channels) = 18 %: for these.
    assert ratios(both(**options), "channel_squared_mean").between(0.94, 1.1).all()


def trained(model: nn.Module) -> None:
    """Stand-in for training: every parameter moves away from what it was drawn as, each by its own factor."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 0:  # the skip gain
            parameter.fill_(0.4)
        elif name.endswith("bias"):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        else:
            per_filter = torch.rand(len(parameter), *[1] * (parameter.ndim - 1), generator=generator)
            parameter.mul_(1 + 0.5 * per_filter)


@pytest.mark.parametrize("arch", ["nf-resnet", "bn-relu-conv"])
def test_weights_that_are_not_initial_are_followed(arch: str) -> None:
    table = both(arch, trained)
    initial = both(arch)
    moved = (table["channel_variance"] / initial["channel_variance"])[1:]
    assert (moved - 1).abs().median() > 0.1
    assert (ratios(table, "channel_variance") - 1).abs().max() < 0.15


def test_eval_mode_takes_stored_statistics() -> None:
    table = both("bn-relu-conv", mode="eval", size=32)
    # Uncalibrated, the network has no normalizer: its variance doubles with every block.
    assert table["channel_variance"].iloc[-1] > 100
    assert (ratios(table, "channel_variance") - 1).abs().max() < 0.2


def test_a_prediction_leaves_the_model_alone() -> None:
    model = sppkit.build_model("bn-relu-conv", stages=(1, 1), width=0.125).eval()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    sppkit.predict_from_weights(model, image_size=32)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training
    assert torch.equal(state, torch.get_rng_state())


def test_the_table_has_the_columns_of_a_measured_one() -> None:
    predicted = sppkit.predict_from_weights(
        sppkit.build_model("nf-resnet", stages=(1,), width=0.125), image_size=32, seed=7
    )
    assert list(predicted["name"]) == ["stem", "blocks.0"]
    assert list(predicted["stage"]) == [0, 1]
    assert set(predicted["seed"]) == {7}
    assert predicted["channel_variance"].isna().all()
    assert predicted["predicted_residual_variance"].isna().tolist() == [True, False]


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "groups": (nn.Conv2d(4, 4, 3, groups=2), "groups and dilation must be 1"),
    "dilation": (nn.Conv2d(4, 4, 3, dilation=2), "groups and dilation must be 1"),
    "reflection": (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "padding zeros or circular"),
    "unequal strides": (nn.Conv2d(4, 4, 3, stride=(1, 2)), "stride and padding square"),
    "another slope": (nn.LeakyReLU(0.3), r"after LeakyReLU are not known; known are Conv2d"),
    "recurrent": (nn.LSTM(3, 3), "after LSTM are not known"),
    "ceil": (nn.MaxPool2d(3, ceil_mode=True), "its window must be square and whole"),
    "large pool": (nn.AdaptiveAvgPool2d(2), "for output size 1 only"),
}


@pytest.mark.parametrize(("module", "message"), REFUSED.values(), ids=REFUSED)
def test_unknown_moments_are_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(sppkit.UsageError, match=message):
        describe_module(module)


def test_only_named_architectures_are_predicted() -> None:
    with pytest.raises(sppkit.UsageError, match=r"needs a named architecture \(sppkit.build_model\), not Linear"):
        sppkit.predict_from_weights(nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(sppkit.UsageError, match="image-size must be a whole number of at least 1, not 0"):
        sppkit.predict_from_weights(sppkit.build_model("nf-resnet", stages=(1,), width=0.125), image_size=0)


def test_theory_needs_no_torch() -> None:
    code = "import sys, sppkit.theory.weights_propagation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_gaussian_noise() -> None:
    noise = gaussian_field((3, 2, 2))
    assert batch_statistics(noise, 5) == pytest.approx((1 / 20, 19 / 20))
    assert functional.relu(torch.from_numpy(noise.mean)).sum() == 0

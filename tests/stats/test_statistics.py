"""The further statistics against closed forms and slow twins that share none of their code."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from torch import Tensor, nn

import sppkit
from sppkit.measuring.reduce import load_statistic
from sppkit.models.normalizers.independent_component import IndependentComponent
from sppkit.registry import FURTHER_STATISTICS, STATISTICS
from sppkit.stats.enorm_gap import JunctionNorms, weight_norms

# Of one signal of channels; the others are of weights, two gradients, slopes and logits.
OTHER_ROLES = {"weights", "branch_gradient", "activation_slope", "attention"}
SIGNAL = tuple(name for name in FURTHER_STATISTICS if STATISTICS[name].role not in OTHER_ROLES)


def statistic(name: str, *batches: Tensor) -> float:
    """The statistic of the union of batches."""
    found = load_statistic(name)
    kept = found.reduction.reduce(batches[0])
    for batch in batches[1:]:
        kept = found.reduction.merge(kept, found.reduction.reduce(batch))
    value = found.value(kept)
    assert value.shape == ()
    return float(value)


# Slow twins: NumPy, channel by channel, all values of a channel in one list.


def rows(batches: tuple[Tensor, ...]) -> list[np.ndarray]:
    return [
        np.concatenate([np.asarray(batch[:, c].double()).ravel() for batch in batches])
        for c in range(batches[0].shape[1])
    ]


def twin_dead(batches: tuple[Tensor, ...]) -> float:
    return sum(all(value <= 0 for value in row) for row in rows(batches)) / batches[0].shape[1]


def twin_always_on(batches: tuple[Tensor, ...]) -> float:
    return sum(all(value > 0 for value in row) for row in rows(batches)) / batches[0].shape[1]


def twin_kurtosis(batches: tuple[Tensor, ...]) -> float:
    values = np.concatenate(rows(batches))
    return float(np.mean(values**4) / np.mean(values**2) ** 2)


def twin_stat_diff(batches: tuple[Tensor, ...]) -> float:
    means = [row.mean() for row in rows(batches)]
    return float(np.std(means) / np.mean([np.std(row) for row in rows(batches)]))


def twin_elimination(batches: tuple[Tensor, ...]) -> float:
    margins = [row.mean() / row.std() for row in rows(batches)]
    return float(np.quantile(margins, 0.05, method="inverted_cdf") - norm.ppf(1e-3))


def twin_style(batches: tuple[Tensor, ...]) -> float:
    shares = []
    for c, row in enumerate(rows(batches)):
        maps = [np.asarray(sample[c].double()) for batch in batches for sample in batch]
        between = sum(m.size * (m.mean() - row.mean()) ** 2 for m in maps) / row.size
        shares.append(between / row.var())
    return float(np.mean(shares))


def twin_correlation(batches: tuple[Tensor, ...]) -> float:
    table = np.abs(np.corrcoef(np.stack(rows(batches))))
    return float(table[~np.eye(len(table), dtype=bool)].mean())


def twin_second_moment(batches: tuple[Tensor, ...]) -> float:
    return float(np.mean([np.mean(row**2) for row in rows(batches)]))


def twin_squared_mean(batches: tuple[Tensor, ...]) -> float:
    return float(np.mean([np.mean(row) ** 2 for row in rows(batches)]))


def twin_equal(batches: tuple[Tensor, ...]) -> float:
    pairs = [(row.mean(), row.var()) for row in rows(batches)]
    alive = [pair for pair in pairs if pair[1] > 0]
    equal = [
        pair
        for i, pair in enumerate(alive)
        if any(np.allclose(pair, other, 1e-5) for other in alive[:i] + alive[i + 1 :])
    ]
    return len(equal) / max(1, len(alive))


TWINS: dict[str, Callable[[tuple[Tensor, ...]], float]] = {
    "dead_fraction": twin_dead,
    "always_on_fraction": twin_always_on,
    "stat_diff": twin_stat_diff,
    "elimination_distance": twin_elimination,
    "instance_style_share": twin_style,
    "equal_channels": twin_equal,
    "kurtosis": twin_kurtosis,
    "largest_absolute": lambda batches: max(float(np.abs(row).max()) for row in rows(batches)),
    "channel_correlation": twin_correlation,
    "gradient_second_moment": twin_second_moment,
    "gradient_squared_mean": twin_squared_mean,
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shifted(*shape: int, seed: int = 0) -> Tensor:
    """Channels of means from -3 to 3, samples with a style of their own, some channels always on or off."""
    drawn = normal(*shape, seed=seed) + normal(shape[0], shape[1], *[1] * (len(shape) - 2), seed=seed + 1)
    return drawn + torch.linspace(-3, 3, shape[1]).view(-1, *[1] * (len(shape) - 2))


def test_every_statistic_of_a_signal_has_a_twin() -> None:
    assert set(TWINS) == set(SIGNAL)


# Float64 sums, and for moments of float32 signals 1e-5 of a variance and 1e-6 of a deviation (docs/statistics.md).
@pytest.mark.parametrize("name", SIGNAL)
@pytest.mark.parametrize("shape", [(4, 24, 5, 7), (3, 24, 9), (30, 24), (2, 24, 3, 4, 5), (1, 40, 4, 4)], ids=str)
def test_agrees_with_its_twin(name: str, shape: tuple[int, ...]) -> None:
    x = shifted(*shape)
    assert statistic(name, x) == pytest.approx(TWINS[name]((x,)), rel=2e-5, abs=1e-9)


@pytest.mark.parametrize("name", SIGNAL)
@given(cuts=st.sets(st.integers(1, 9), max_size=4))
@settings(max_examples=15, deadline=None)
def test_any_split_into_batches_gives_the_same(name: str, cuts: set[int]) -> None:
    x = shifted(10, 22, 4, 3).double()
    edges = [0, *sorted(cuts), 10]
    parts = [x[a:b] for a, b in pairwise(edges)]
    # Sums in float64, in another order.
    assert statistic(name, *parts) == pytest.approx(TWINS[name]((x,)), rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("name", SIGNAL)
def test_batches_may_have_maps_of_other_sizes(name: str) -> None:
    batches = (shifted(3, 20, 4, 4).double(), shifted(5, 20, 7, 2, seed=5).double())
    assert statistic(name, *batches) == pytest.approx(TWINS[name](batches), rel=1e-11)


@pytest.mark.parametrize("name", SIGNAL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_reduced_in_full(name: str, dtype: torch.dtype) -> None:
    x = shifted(4, 20, 16, 16).to(dtype)
    assert statistic(name, x) == pytest.approx(statistic(name, x.double()), rel=2e-5, abs=1e-9)


@pytest.mark.parametrize("name", SIGNAL)
def test_autocast_and_gradients_change_nothing(name: str) -> None:
    x = shifted(4, 20, 16, 16)
    with torch.autocast("cpu"):
        assert statistic(name, x.requires_grad_()) == statistic(name, x.detach())


@pytest.mark.parametrize("name", SIGNAL)
def test_nan_is_never_dropped(name: str) -> None:
    x = shifted(4, 20, 4, 4)
    x[2, 7, 1, 1] = math.nan
    assert math.isnan(statistic(name, x))
    assert math.isnan(statistic(name, shifted(4, 20, 4, 4), x))


@pytest.mark.parametrize("name", ["stat_diff", "instance_style_share", "channel_correlation"])
def test_infinity_is_never_dropped(name: str) -> None:
    x = shifted(4, 20, 4, 4)
    x[2, 7, 1, 1] = math.inf
    assert not math.isfinite(statistic(name, x))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dead_fraction", 1),
        ("always_on_fraction", 0),
        ("stat_diff", 0),
        ("elimination_distance", -40 + 3.090232306),
        ("instance_style_share", 0),
        ("channel_correlation", 0),
    ],
)
def test_a_layer_that_is_dead_throughout(name: str, expected: float) -> None:
    assert statistic(name, torch.zeros(4, 6, 3, 3)) == pytest.approx(expected, abs=1e-9)


def test_channels_without_variance() -> None:
    x = torch.tensor([0.1, 0.1, 0.7]).view(1, 3, 1, 1).expand(4, 3, 5, 5)
    assert statistic("stat_diff", x) == math.inf  # they differ, and none of them varies
    assert statistic("elimination_distance", x) == pytest.approx(40 + 3.090232306)  # always on
    assert statistic("instance_style_share", x) == statistic("channel_correlation", x) == 0
    with_one_that_varies = torch.cat([x, normal(4, 1, 5, 5)], dim=1)
    assert statistic("channel_correlation", with_one_that_varies) == 0


def test_a_constant_channel_is_left_out_of_the_correlation() -> None:
    x = normal(8, 5, 8, 8)
    with_constant = torch.cat([x, torch.full((8, 1, 8, 8), 1e4)], dim=1)
    assert statistic("channel_correlation", with_constant) == pytest.approx(twin_correlation((x,)), rel=1e-12)


def test_one_channel() -> None:
    x = normal(4, 1, 8, 8)
    assert statistic("stat_diff", x) == statistic("channel_correlation", x) == 0


@pytest.mark.parametrize("name", SIGNAL)
def test_nothing_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tensors of the meta device have no values: to look at one on the host raises.
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)
    x = torch.empty(4, 24, 5, 7, device="meta")
    with pytest.raises(RuntimeError, match="meta"):
        x.sum().item()
    found = load_statistic(name)
    value = found.value(found.reduction.merge(found.reduction.reduce(x), found.reduction.reduce(x)))
    assert (found.combine([value, value]).shape, value.dtype) == ((), torch.float64)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", SIGNAL)
def test_cuda_agrees(name: str) -> None:
    x = shifted(4, 24, 16, 16)
    # The CPU sums float32 rows, CUDA float64 values.
    assert statistic(name, x.cuda()) == pytest.approx(statistic(name, x), rel=2e-5, abs=1e-9)


def test_kurtosis_of_what_is_known() -> None:
    assert statistic("kurtosis", torch.tensor([[-2.0, 2.0, -2.0]])) == 1
    sparse = torch.zeros(8, 4, 16)
    sparse[:, :, 0] = 5.0
    assert statistic("kurtosis", sparse[:4], sparse[4:]) == pytest.approx(16, rel=1e-12)
    # The standard error of a Gaussian's fourth moment over 2e6 values is sqrt(96 / 2e6) = 0.007.
    assert statistic("kurtosis", torch.randn(1000, 2000)) == pytest.approx(3, abs=0.03)
    assert math.isnan(statistic("kurtosis", torch.zeros(2, 3)))
    assert math.isnan(statistic("largest_absolute", torch.tensor([[1.0, math.nan]]), torch.ones(1, 2)))
    assert statistic("largest_absolute", torch.tensor([[1.0, -7.0]]), torch.full((1, 2), 6.0)) == 7


def test_equal_channels_are_counted_and_dead_ones_are_not() -> None:
    x = shifted(6, 10, 4, 4)
    assert statistic("equal_channels", x) == 0
    x[:, 7] = x[:, 2]
    assert statistic("equal_channels", x) == pytest.approx(2 / 10)
    x[:, 3] = 0  # of nine channels that vary
    assert statistic("equal_channels", x) == pytest.approx(2 / 9)
    assert statistic("equal_channels", x[:, :1].expand(-1, 5, -1, -1)) == 1
    assert statistic("equal_channels", torch.zeros(3, 4)) == statistic("equal_channels", x[:, :1]) == 0
    # Equal means are no equal channels, nor are equal variances.
    assert statistic("equal_channels", torch.stack((x[:, 0], 2 * x[:, 0] - x[:, 0].mean()), 1)) == 0
    assert statistic("equal_channels", torch.stack((x[:, 0], x[:, 0] + 1), 1)) == 0


# Closed forms.


@pytest.mark.parametrize("positions", [1, 5, 20])
def test_dead_and_always_on_fraction_of_gaussian_units(positions: int) -> None:
    # A unit is off at all of n independent positions with probability Phi(-m)^n, and on at all of them with Phi(m)^n.
    mean, channels = 0.4, 40_000
    x = torch.relu(normal(positions, channels) + mean)
    for name, expected in (("dead_fraction", norm.cdf(-mean)), ("always_on_fraction", norm.cdf(mean))):
        share = expected**positions
        spread = math.sqrt(share * (1 - share) / channels)
        assert statistic(name, x) == pytest.approx(share, abs=4 * spread + 1e-12), name


def test_eliminated_units_are_counted_exactly() -> None:
    # An offset of -10 deviations after batch normalization switches a unit off.
    norm_layer = nn.BatchNorm2d(20)
    with torch.no_grad():
        norm_layer.bias[:3] = -10
    y = norm_layer(normal(8, 20, 8, 8))
    assert statistic("dead_fraction", torch.relu(y)) == pytest.approx(3 / 20)
    # The fifth part of 20 channels is the first of them: beta / gamma = -10.
    assert statistic("elimination_distance", y) == pytest.approx(-10 + 3.090232306, rel=1e-4)


@pytest.mark.parametrize(("eliminated", "positive"), [(4, True), (5, False)])
def test_the_elimination_distance_changes_its_sign_at_a_twentieth(eliminated: int, positive: bool) -> None:
    margins = torch.full((100,), 0.5)
    margins[:eliminated] = -3.2
    x = torch.tensor([-1.0, 1.0]).view(2, 1) + margins  # deviation 1 around the margin
    assert (statistic("elimination_distance", x) > 0) is positive


def test_batch_normalized_units_are_at_a_distance_of_3() -> None:
    # The margin is beta / |gamma| whatever comes in; 1e-4 is the epsilon of the normalizer.
    y = nn.BatchNorm2d(32)(shifted(8, 32, 8, 8))
    assert statistic("elimination_distance", y) == pytest.approx(-norm.ppf(1e-3), rel=1e-4)


def test_stat_diff_and_margins_of_normalized_channels() -> None:
    # Means of spread S and equal deviations, normalized together: margins d_c have the spread S.
    spread = 2.0
    means = spread * normal(4096, seed=3)
    y = nn.GroupNorm(1, 4096)((normal(2, 4096, 64) + means[:, None]).view(2, 4096, 8, 8))
    assert statistic("stat_diff", y) == pytest.approx(spread, rel=0.05)  # 1/sqrt(2 C) of sampling, thrice
    # Phi^-1(1/20) / S from elimination: the 5 % quantile of N(0, S²); its sampling error is 0.1.
    assert statistic("elimination_distance", y) == pytest.approx(spread * norm.ppf(0.05) - norm.ppf(1e-3), abs=0.3)


def test_stat_diff_behind_relu_and_a_convolution() -> None:
    # 1/sqrt(pi - 1): the squared mean is 1/pi and the variance 1 - 1/pi of He weights times ReLU(N(0,1)).
    x = torch.relu(normal(8, 512, 16, 16))
    conv = nn.Conv2d(512, 1024, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(normal(1024, 512, 1, 1, seed=1) * math.sqrt(2 / 512))
        expected = 1 / math.sqrt(math.pi - 1)
        # Its spread over channels is 1/sqrt(2 C) = 2 %; that of the deviations less.
        assert statistic("stat_diff", conv(x)) == pytest.approx(expected, rel=0.07)
        conv.weight -= conv.weight.mean(1, keepdim=True)
        # Standardized: what is left is the mean over 2048 positions, 1/sqrt(2048), and what the inputs have left.
        assert statistic("stat_diff", conv(x)) < 0.05


def test_batch_normalization_leaves_no_stat_diff() -> None:
    assert statistic("stat_diff", nn.BatchNorm2d(24)(shifted(8, 24, 8, 8)).detach()) < 1e-5


def test_instance_style_share_behind_normalizers() -> None:
    x = shifted(8, 16, 6, 6)
    assert statistic("instance_style_share", x) > 0.4
    assert statistic("instance_style_share", nn.InstanceNorm2d(16)(x)) < 1e-10
    # Batch normalization is affine per channel, and the share does not see that.
    behind = nn.BatchNorm2d(16, eps=1e-12)(x)
    assert statistic("instance_style_share", behind) == pytest.approx(statistic("instance_style_share", x), rel=1e-4)


def test_instance_style_share_of_independent_values() -> None:
    # The mean over L values has 1/L of their variance, of which N samples show (N - 1)/N.
    samples, channels, length = 16, 2000, 25
    expected = (samples - 1) / samples / length * (1 - 1 / (samples * length))
    # A share's relative spread is sqrt(2/(N - 1)), over sqrt(C) channels: 0.8 %.
    assert statistic("instance_style_share", normal(samples, channels, length)) == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("shape", [(1, 8, 6, 6), (8, 8, 1, 1), (8, 8)], ids=str)
def test_instance_style_share_at_its_ends(shape: tuple[int, ...]) -> None:
    assert statistic("instance_style_share", normal(*shape)) == pytest.approx(0 if shape[0] == 1 else 1, abs=1e-15)


@pytest.mark.parametrize("drop", [0.05, 0.3])
def test_an_independent_component_layer_lowers_the_correlation(drop: float) -> None:
    # Chen et al. 2019: every correlation times 1 - q.
    common = normal(64, 1, 32, 32)
    x = math.sqrt(0.6) * common + math.sqrt(0.4) * normal(64, 6, 32, 32, seed=1)
    before = statistic("channel_correlation", x)
    torch.manual_seed(0)
    behind = statistic("channel_correlation", IndependentComponent(6, drop)(x))
    assert before == pytest.approx(0.6, abs=0.01)
    # One correlation of n = 65536 positions is known to 1/sqrt(n) = 0.4 %.
    assert behind == pytest.approx((1 - drop) * before, rel=0.015)


def test_the_correlation_of_independent_channels() -> None:
    # E |r| = sqrt(2 / (pi n)), averaged over 1225 pairs: 2 %.
    assert statistic("channel_correlation", normal(40, 50, 25)) == pytest.approx(
        math.sqrt(2 / (math.pi * 1000)), rel=0.08
    )


def test_copies_are_wholly_correlated() -> None:
    x = normal(4, 1, 8, 8)
    assert statistic("channel_correlation", torch.cat([x, -2 * x, 3 * x + 5], 1)) == pytest.approx(1, abs=1e-12)


# Weights.


def gap(writers: list[Tensor], readers: list[Tensor]) -> float:
    found: Any = load_statistic("enorm_gap")
    return float(found.value(JunctionNorms(tuple(map(weight_norms, writers)), tuple(map(weight_norms, readers)))))


def test_enorm_gap_against_a_search_over_all_scalings() -> None:
    first, second = normal(3, 5, seed=1).double(), normal(4, 3, seed=2).double()
    scales = torch.logspace(-2, 2, 200_001, dtype=torch.float64)
    # Each unit's scale is free, so the smallest sum is that of the smallest terms.
    squares = first.square().sum(1)[:, None] * scales**2 + second.square().sum(0)[:, None] / scales**2
    smallest = squares.min(1).values.sum()
    expected = (first.square().sum() + second.square().sum()) / smallest - 1
    assert gap([first], [second]) == pytest.approx(float(expected), rel=1e-6)


def test_enorm_gap_adds_up_writers_readers_and_positions() -> None:
    a, b = normal(6, 5, 3, 3), normal(6, 2, 1, 1, seed=1)
    flat = normal(10, 6 * 4, seed=2)
    joined = torch.cat([a.flatten(1), b.flatten(1)], 1)
    assert gap([a, b], [flat]) == pytest.approx(gap([joined], [flat.view(10, 6, 4).movedim(1, 0).flatten(1).T]))


def test_enorm_gap_leaves_dead_units_out() -> None:
    first, second = normal(3, 5), normal(4, 3, seed=1)
    first[1] = 0
    kept = [0, 2]
    assert gap([first], [second]) == pytest.approx(gap([first[kept]], [second[:, kept]]))
    assert gap([torch.zeros(3, 5)], [second]) == 0
    assert math.isnan(gap([torch.full((3, 5), math.nan)], [second]))


@pytest.mark.parametrize("arch", ["he-resnet", "bn-relu-conv"])
def test_equi_normalization_closes_the_gap(arch: str) -> None:
    model = sppkit.build_model(arch, stages=(2, 2), width=0.125)
    x = normal(2, 3, 32, 32)
    before = sppkit.measure(model, x, stats="enorm_gap")["enorm_gap"]
    assert before[1:].min() > 0.05
    assert math.isnan(before[0])
    sppkit.equi_normalize(model)
    assert sppkit.measure(model, x, stats="enorm_gap")["enorm_gap"].max() < 1e-6  # float32 weights

"""The backward recursion: closed forms, its parts against slow twins, and networks (docs/theory-gradient.md)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import sppkit
from sppkit.models.spec import build_spec
from sppkit.plot.spp import plot_spp
from sppkit.prediction.describe_network import describe_network
from sppkit.theory import inverse_variance
from sppkit.theory.activation import TwoSlopes
from sppkit.theory.backward import expected_gradients
from sppkit.theory.grid import Axis, Grid
from sppkit.theory.hermite import Smooth
from sppkit.theory.inverse_variance import mean_inverse, scatter_of_variance
from sppkit.theory.network import iter_expected
from sppkit.theory.passage import Normalization
from sppkit.theory.signal import OTHER, SAME, Batch, Signal, mean_square_correlation
from sppkit.theory.steps import activate, convolve, filters, normalize
from sppkit.theory.window import mean_over_taps, overlap_of_taps, sum_over_readers

if TYPE_CHECKING:
    import pandas as pd

R = math.pi / (math.pi - 1)
GRADIENT, PREDICTED = "gradient_second_moment", "predicted_gradient_second_moment"


def predicted(arch: str, **options: object) -> pd.DataFrame:
    return sppkit.predict(arch, **options).rename(columns={PREDICTED: "gradient"})


# Where nothing is finite: wide, no border, many values.
LIMIT = {"width": 64, "padding": "circular", "image_size": 64, "batch_size": 64}
# The factor less 1, times the variance in front of the block.
LAWS = {
    "bn-relu-conv": R**2,
    "relu-bn-conv": R**3,
    "nf-resnet": 0.2**2 * R**3,
}


@pytest.mark.parametrize(("arch", "law"), LAWS.items())
def test_the_closed_forms_are_the_limit(arch: str, law: float) -> None:
    table = predicted(arch, stages=(4, 4), stem="cifar", **LIMIT)
    gradient, variance = table["gradient"], table["predicted_channel_variance"]
    for block in (2, 3, 4, 6, 7, 8):
        # The stem's filters have 27 weights: their lengths are uneven by 2/27, and a share of that is left behind it.
        assert gradient[block - 1] / gradient[block] == pytest.approx(1 + law / variance[block - 1], rel=0.01)
    # Twice the channels on a quarter of the positions; branch and shortcut read what is prepared.
    first = {"bn-relu-conv": 1.0, "relu-bn-conv": R, "nf-resnet": R}[arch]
    added = 1 + (0.2**2 if arch == "nf-resnet" else 1) * R**2
    assert gradient[4] / gradient[5] == pytest.approx(2 / 4 * first * added / variance[4], rel=0.01)


def test_without_a_normalizer_every_block_doubles_it() -> None:
    gradient = predicted("he-resnet", stages=(5,), stem="cifar", **LIMIT)["gradient"]
    assert (gradient[1:5].to_numpy() / gradient[2:6].to_numpy()).tolist() == pytest.approx([2.0] * 4, rel=1e-12)
    assert gradient[5] == 1


def test_what_is_scaled_or_dropped_brings_less_back() -> None:
    options = {"stages": (3,), "stem": "cifar", **LIMIT}
    for more, share in (({"skip_gain": 0.5}, 0.25), ({"skip_gain": -1.0}, 1.0), ({"alpha": 0.4}, 4.0)):
        arch = "nf-resnet" if "alpha" in more else "he-resnet"
        plain, changed = predicted(arch, **options), predicted(arch, **options, **more)
        factor = [table["gradient"][2] / table["gradient"][3] - 1 for table in (plain, changed)]
        # NF divides by the variance that its alpha brings about.
        scale = [table["predicted_channel_variance"][2] if "alpha" in more else 1.0 for table in (plain, changed)]
        assert factor[1] * scale[1] == pytest.approx(share * factor[0] * scale[0], rel=2e-3)
    kept = predicted("nf-resnet", stochastic_depth=0.6, **options)
    plain = predicted("nf-resnet", **options)
    # Of three blocks with a final rate of 0.6, the third one drops 0.4 of the samples.
    factors = [table["gradient"][2] / table["gradient"][3] - 1 for table in (plain, kept)]
    assert factors[1] == pytest.approx(0.6 * factors[0], rel=0.01)


def test_slopes_are_integrals() -> None:
    z = np.linspace(-12, 12, 1_000_001)
    mass = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    variance = np.array([[0.3, 1.0], [4.0, 30.0]])

    def silu(x: np.ndarray) -> np.ndarray:
        return x / (1 + np.exp(-x))

    def silu_slope(x: np.ndarray) -> np.ndarray:
        s = 1 / (1 + np.exp(-x))
        return s * (1 + x * (1 - s))

    cases = [
        (Smooth(silu), silu, silu_slope),
        (Smooth(np.tanh), np.tanh, lambda x: 1 - np.tanh(x) ** 2),
        (TwoSlopes(1.0, 0.2), TwoSlopes(1.0, 0.2), lambda x: np.where(x > 0, 1.0, 0.2)),
        (Smooth(TwoSlopes(1.0, 0.2), (0.0,)), TwoSlopes(1.0, 0.2), lambda x: np.where(x > 0, 1.0, 0.2)),
    ]
    for activation, phi, slope in cases:
        found = activation.slopes(variance)
        for place in np.ndindex(2, 2):
            x = math.sqrt(variance[place]) * z
            square = slope(x) ** 2
            expected = [np.sum(mass * square * factor) for factor in (1.0, z, phi(x), phi(x) ** 2)]
            expected.insert(0, np.sum(mass * slope(x)))
            assert [moment[place] for moment in found] == pytest.approx(expected, rel=1e-5, abs=1e-9)
        at = np.array([-2.0, -0.4, 0.7, 3.0])
        assert activation.derivative(at) == pytest.approx(slope(at), rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize(("size", "reach"), [(7, 10), (8, 10), (30, 4), (31, 4)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 2), (7, 2)])
def test_what_reads_a_position_is_what_it_is_read_by(
    size: int, reach: int, kernel: int, stride: int, circular: bool
) -> None:
    """The sum over readers is the transpose of the mean over taps: position by position on a small map, and in all."""
    grid = Grid(Axis(size, circular, reach), Axis(size, circular, reach))
    output = Grid(*(axis.taps(kernel, stride).axis for axis in (grid.rows, grid.columns)))
    rng = np.random.default_rng(0)
    values, gradient = rng.random(grid.shape), rng.random(output.shape)
    back = sum_over_readers(gradient, grid, kernel, stride)
    if size <= 2 * reach + 2:
        there = mean_over_taps(values, grid, kernel, stride) * kernel**2
        assert np.sum(back * values) == pytest.approx(np.sum(gradient * there), rel=1e-12)
    # As many taps as there are; those of outer positions fall outside.
    weights = grid.weights * grid.size
    full = Axis(size, circular, size)
    taps = full.readers(kernel, stride)
    assert np.sum(weights * sum_over_readers(np.ones(output.shape), grid, kernel, stride)) == pytest.approx(
        taps.sum() ** 2, rel=1e-12
    )


def test_overlap_of_taps_counts() -> None:
    # On 2 x 2, of the three taps along an axis the outer ones are inside at one position of two.
    assert overlap_of_taps(Grid(Axis(2), Axis(2)), 3) == pytest.approx((1.5 / 2) ** 2)
    assert overlap_of_taps(Grid(Axis(2, circular=True), Axis(2, circular=True)), 3) == 1
    assert overlap_of_taps(Grid(Axis(5), Axis(5)), 1) == 1


@pytest.mark.parametrize("values", [8, 32])
def test_a_normalizer_of_few_normal_values_takes_as_much_as_it_adds(values: int) -> None:
    """E 1/v over what batch normalization's two projections leave, against autograd."""
    torch.manual_seed(0)
    x = torch.randn(values, 40_000, dtype=torch.float64, requires_grad=True)
    y = (x - x.mean(dim=0)) / x.std(dim=0, unbiased=False)
    (gradient,) = torch.autograd.grad(y, x, torch.randn_like(y))
    variance = x.var(dim=0, unbiased=False).mean().item()
    norm = Normalization.of(variance, 2 / (values - 1), values, 0.0, first=True, follows=0.0)
    expected = norm.inverse * (1 - 2 / norm.values)
    # 40,000 channels, whose 1/v² have a finite variance from 10 values on.
    assert gradient.square().mean().item() == pytest.approx(expected, rel=0.05 if values < 10 else 0.01)


@pytest.mark.parametrize("values", [3, 4, 9, 64, 5000])
def test_one_over_the_variance_of_independent_values(values: int) -> None:
    """Of n squares of one mean, E v E 1/v = n/(n - 2); two have no mean inverse."""
    assert mean_inverse(np.array([0.7]), np.array([float(values)])) == pytest.approx(values / (values - 2), rel=1e-6)
    assert mean_inverse(np.array([0.7, 0.0]), np.array([2.0, 9.0])) == math.inf


def behind_convolutions(axis: Axis, samples: int) -> Signal:
    """What a batch norm reads behind three rounds of a 3x3 convolution, a batch norm and ReLU."""
    grid = Grid(axis, axis, square=True)
    pairs = np.zeros(len(grid.pairs.ends.first))
    signal = Signal(grid, np.ones(grid.shape), np.zeros(grid.shape), {OTHER: pairs})
    for _ in range(3):
        signal = activate(normalize(signal, Batch(samples), 0.0), TwoSlopes(1.0, 0.0), 1.0)
        signal = convolve(signal, filters("none", c=2.0, fan_in=900), kernel=3)
    return signal


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_one_over_the_variance_of_correlated_values(size: int, circular: bool) -> None:
    """Against draws of the whole covariance matrix of a batch, which has no matrices of positions of its own."""
    samples = 12
    signal = behind_convolutions(Axis(size, circular), samples)
    where = signal.grid.pairs.where[:-1, :-1]
    same, other = (signal.pair(kind).take(where) for kind in (SAME, OTHER))
    np.fill_diagonal(same, signal.second.ravel())
    whole = np.kron(np.eye(samples), same - other) + np.kron(np.ones((samples, samples)), other)
    draws = np.random.default_rng(0).standard_normal((100_000, len(whole))) @ np.linalg.cholesky(whole).T
    variance = draws.var(axis=1)
    drawn = variance.mean() * (1 / variance).mean()
    # Four standard errors of the mean of v times that of 1/v: to first order of v + 1/v, v and 1/v over their means.
    error = 4 * (variance / variance.mean() + 1 / variance / (1 / variance).mean()).std() / math.sqrt(len(draws))
    assert drawn == pytest.approx(1 / (1 - scatter_of_variance(signal, Batch(samples))), rel=error)
    if size == 2 and not circular:
        # A few directions stand out, and two moments are too few.
        assert 1 / (1 - 2 * mean_square_correlation(signal, Batch(samples))) > drawn * (1 + 3 * error)


def test_on_large_maps_two_moments_tell_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where eigenvalues are not asked for, they would say the same to 1e-3; and alike positions count together."""
    monkeypatch.setattr(inverse_variance, "MOST_POSITIONS", 10**6)
    for axis in (Axis(9), Axis(16)):
        signal = behind_convolutions(axis, 8)
        two = 2 * mean_square_correlation(signal, Batch(8))
        assert scatter_of_variance(signal, Batch(8)) == pytest.approx(two, abs=1e-3)
    apart, together = (behind_convolutions(Axis(20, reach=reach), 8) for reach in (20, 7))
    assert together.grid.shape[0] < apart.grid.shape[0]
    found = scatter_of_variance(apart, Batch(8))
    assert scatter_of_variance(together, Batch(8)) == pytest.approx(found, rel=0.02)
    assert found > 1e-3


NETWORKS = [
    ("bn-relu-conv", {}),
    ("bn-relu-conv", {"padding": "circular"}),
    ("bn-relu-conv", {"se": True}),
    ("bn-relu-conv", {"activation": "gelu"}),
    ("bn-relu-conv", {"block": "basic", "stem": "cifar"}),
    ("relu-bn-conv", {}),
    ("relu-bn-conv", {"activation": "leaky_relu"}),
    ("nf-resnet", {"alpha": 1.0}),
    ("nf-resnet", {"se": True, "activation": "silu", "stochastic_depth": 0.5}),
    ("he-resnet", {"padding": "circular"}),
]
SEEDS = 4


@pytest.mark.parametrize(("arch", "options"), NETWORKS, ids=lambda item: str(item))
def test_networks_agree(arch: str, options: dict[str, object]) -> None:
    options = {"stages": (2, 2), "width": 0.5, **options}
    expected = sppkit.predict(arch, image_size=32, **options)
    found = []
    for seed in range(SEEDS):
        model = sppkit.build_model(arch, seed=seed, **options)
        x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        found.append(sppkit.measure(model, x, stats="gradient", seed=seed)[GRADIENT].to_numpy())
    apart = np.log(np.array(found).mean(axis=0) / expected[PREDICTED].to_numpy())
    error = (expected[f"{PREDICTED}_spread"] / expected[PREDICTED]).to_numpy() / math.sqrt(SEEDS)
    # The limits: 5 % with a normalizer, 10 % without one, and three standard errors.
    allowed = 0.05 if "bn" in arch else 0.1
    assert (np.abs(apart) < allowed + 3 * error).all()


def test_seeds_scatter_as_predicted() -> None:
    options = {"stages": (3, 3), "width": 0.25, "stem": "cifar"}
    expected = sppkit.predict("nf-resnet", image_size=16, alpha=1.0, **options)
    logs = []
    for seed in range(16):
        model = sppkit.build_model("nf-resnet", seed=seed, alpha=1.0, **options)
        x = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
        logs.append(np.log(sppkit.measure(model, x, stats="gradient", seed=seed)[GRADIENT].to_numpy()))
    spread = np.std(logs, axis=0, ddof=1)
    relative = (expected[f"{PREDICTED}_spread"] / expected[PREDICTED]).to_numpy()
    # It grows from the end to the input; sixteen seeds tell it to 18 %.
    assert (np.diff(relative) < 0).all()
    assert relative[-1] < 0.01
    assert spread[0] / relative[0] == pytest.approx(1, abs=0.6)


def test_seeds_scatter_on_the_positions_that_strides_meet() -> None:
    """At alpha 0.2 the gradient sits on one position of 16 after two strides, and ReLU halves what is counted."""
    options = {"stages": (1, 1, 1), "width": 0.5, "stem": "cifar"}
    expected = sppkit.predict("nf-resnet", image_size=16, batch_size=8, **options)
    logs = []
    for seed in range(32):
        model = sppkit.build_model("nf-resnet", seed=0, **options)
        x = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
        logs.append(np.log(sppkit.measure(model, x, stats="gradient", seed=seed)[GRADIENT].to_numpy()))
    spread = np.std(logs, axis=0, ddof=1)
    relative = (expected[f"{PREDICTED}_spread"] / expected[PREDICTED]).to_numpy()
    # 32 seeds tell it to 13 %, three times that; one network's own scatter is not in it.
    assert spread[:-1] / relative[:-1] == pytest.approx(1, abs=0.45)


@pytest.mark.parametrize("arch", ["bn-relu-conv", "nf-resnet", "he-resnet"])
def test_positions_far_from_the_border_count_as_one(arch: str) -> None:
    spec = build_spec(arch, {"stages": (4, 4), "stem": "no-pool"})
    network, batch = describe_network(spec, normalizes=spec.norm == "bn"), Batch(8)

    def gradients(reach: int) -> list[float]:
        rows = list(iter_expected(network, 104, 104, batch, reach=reach))
        return [curve.value for curve in expected_gradients([row.passage for row in rows[1:]], batch)]

    # Without a normalizer the border goes on inwards by two rows per block.
    assert gradients(10) == pytest.approx(gradients(26), rel=2e-3)


def test_nothing_is_predicted_where_a_few_values_decide() -> None:
    """Over two values on 1x1 maps a batch norm divides by variances near zero, whose inverse has no mean."""
    table = predicted("bn-relu-conv", stages=(1, 1), stem="cifar", image_size=2, batch_size=2)
    assert table["gradient"].notna().tolist() == [False, False, True]
    assert table["predicted_channel_variance"].notna().all()


def test_nothing_is_predicted_where_the_signal_is_lost() -> None:
    table = predicted("he-resnet", depth=1200, image_size=32)
    assert table["predicted_channel_variance"].isna().any()
    assert table["gradient"].isna().all()


def test_the_band_of_a_gradient_is_a_factor() -> None:
    table = sppkit.predict("nf-resnet", stages=(2, 2), image_size=32, stats="spp,gradient")
    axes = next(a for a in plot_spp(table).axes if a.get_title() == "gradient second moment")
    assert axes.get_yscale() == "log"
    band = next(part for part in axes.collections if "predicted" in str(part.get_label()))
    outline = band.get_paths()[0].vertices
    at = outline[outline[:, 0] == 1][:, 1]
    value, spread = table.loc[1, PREDICTED], table.loc[1, f"{PREDICTED}_spread"]
    sigma = math.sqrt(math.log1p((spread / value) ** 2))
    median = value * math.exp(-(sigma**2) / 2)
    assert [at.min(), at.max()] == pytest.approx([median * math.exp(-2 * sigma), median * math.exp(2 * sigma)])


def test_the_plot_of_a_prediction_has_a_gradient_only_where_asked() -> None:
    titles = [axes.get_title() for axes in plot_spp(sppkit.predict("nf-resnet", stages=(2,), image_size=32)).axes]
    assert "gradient second moment" not in titles

"""Each step of the recursion against sampling, a slow twin, or a closed form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from sppkit import registry
from sppkit.models.activations import gaussian_moments, load_activation
from sppkit.theory.activation import TwoSlopes
from sppkit.theory.grid import Axis, Grid
from sppkit.theory.hermite import Smooth
from sppkit.theory.pairs import Ends, distinct_pairs
from sppkit.theory.pool import max_pool, moments_of_largest
from sppkit.theory.signal import OTHER, SAME, Batch, Signal, squared_mean_and_variance
from sppkit.theory.steps import activate, convolve, drop, filters, normalize, squeeze_and_excite, white_noise

RELU = TwoSlopes(1.0, 0.0)
RNG = np.random.default_rng(0)


def smooth(name: str) -> Smooth:
    loaded = load_activation(name)
    return Smooth(lambda x: loaded.function(torch.from_numpy(x.copy())).numpy(), loaded.kinks)


def signal_of(kernel: np.ndarray, rows: int, columns: int, **kwargs) -> Signal:
    """Of a covariance between the positions of two samples, the second moments being 1 larger than its diagonal."""
    grid = Grid(Axis(rows, **kwargs), Axis(columns, **kwargs))
    second = 1 + np.diag(kernel).reshape(grid.shape)
    return Signal(grid, second, np.zeros(grid.shape), {OTHER: kernel[grid.pairs.ends]})


def kernel_of(signal: Signal, kind: str) -> np.ndarray:
    """Of every two positions, of shape (positions, positions)."""
    return signal.pair(kind)[signal.grid.pairs.where[:-1, :-1]]


def random_kernel(size: int) -> np.ndarray:
    factor = RNG.standard_normal((size, size))
    return factor @ factor.T / (2 * size)


# Two-dimensional trapezoidal rule, exact to rounding for what is smooth; a kink costs 1e-5, a jump 1e-3. The series of
# tanh, which has poles, converges slowly: 32 terms leave 1e-6 where the correlation is near 1; that of a jump leaves
# 0.6 % of E phi².
@pytest.mark.parametrize(("name", "tolerance"), [("silu", 1e-8), ("tanh", 1e-5), ("relu", 3e-5), ("leaky_relu", 3e-5),
                                                 ("relu6", 3e-5), ("selu", 3e-5), ("hardshrink", 1.2e-2)])  # fmt: skip
@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.3, 0.95, 0.999])
def test_products_of_an_activation(name: str, tolerance: float, rho: float) -> None:
    variance, ends = np.array([[1.0, 2.5]]), Ends(np.array([0]), np.array([1]))
    f = smooth(name)
    z = np.linspace(-9, 9, 2401)
    weight = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    v = math.sqrt(2.5) * (rho * z[:, None] + math.sqrt(1 - rho**2) * z)
    expected = (weight * f(z)) @ (f(v) @ weight)
    kinds = [f] if name not in {"relu", "leaky_relu"} else [f, TwoSlopes(1.0, 0.01 if name == "leaky_relu" else 0.0)]
    for kind in kinds:
        _, products = kind.transform(variance, {OTHER: np.array([rho * math.sqrt(2.5)])}, ends)
        assert products[OTHER].item() == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("name", sorted(set(registry.ACTIVATIONS) - {"hardshrink"}))
def test_moments_of_an_activation(name: str) -> None:
    loaded, d, h = load_activation(name), 1.7, 1e-3
    moments, _ = smooth(name).transform(np.array([[d]]), {})
    low, here, high = (gaussian_moments(loaded, std=math.sqrt(d * (1 + step))) for step in (-h, 0, h))
    assert moments.mean.item() == pytest.approx(here.mean, rel=1e-9, abs=1e-12)
    assert moments.second.item() == pytest.approx(here.second_moment, rel=1e-9)
    # Central differences: an error of order h².
    assert moments.mean_slope.item() == pytest.approx((high.mean - low.mean) / (2 * h), rel=1e-4, abs=1e-9)
    assert moments.mean_bend.item() == pytest.approx((high.mean + low.mean - 2 * here.mean) / h**2, rel=1e-3, abs=1e-6)
    seconds = [item.second_moment for item in (low, here, high)]
    assert moments.second_slope.item() == pytest.approx((seconds[2] - seconds[0]) / (2 * h), rel=1e-4)
    bend = (seconds[0] + seconds[2] - 2 * seconds[1]) / h**2
    assert moments.second_bend.item() == pytest.approx(bend, rel=1e-3, abs=1e-6)


def test_slopes_and_general_moments_agree() -> None:
    variance = np.array([[0.3, 4.0]])
    for name, slopes in (("relu", (1.0, 0.0)), ("leaky_relu", (1.0, 0.01)), ("identity", (1.0, 1.0))):
        closed, general = (f.transform(variance, {})[0] for f in (TwoSlopes(*slopes), smooth(name)))
        for one, other in zip(closed, general, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_many_variances_are_interpolated() -> None:
    variance = np.linspace(0.4, 1.3, 60).reshape(6, 10)
    f = smooth("silu")
    together, _ = f.transform(variance, {})
    alone = [f.transform(np.array([[v]]), {})[0].mean.item() for v in variance.ravel()]
    np.testing.assert_allclose(together.mean.ravel(), alone, rtol=1e-9)


def slow_convolution(kernel: np.ndarray, n: int, k: int, stride: int, circular: bool) -> np.ndarray:
    """Of a kernel between positions of an n x n map, by a loop over positions and taps."""
    m, half = (n - 1) // stride + 1, k // 2
    source = kernel.reshape(n, n, n, n)
    out = np.zeros((m, m, m, m))
    for y, x, v, u in itertools.product(range(m), repeat=4):
        for dy, dx in itertools.product(range(-half, half + 1), repeat=2):
            seen = [stride * p + d for p, d in ((y, dy), (x, dx), (v, dy), (u, dx))]
            if circular:
                seen = [p % n for p in seen]
            if all(0 <= p < n for p in seen):
                out[y, x, v, u] += source[tuple(seen)] / k**2
    return out


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize(("n", "k", "stride"), [(5, 3, 1), (6, 3, 2), (5, 3, 2), (5, 1, 2), (7, 7, 2)])
def test_convolution_against_a_loop(n: int, k: int, stride: int, circular: bool) -> None:
    kernel = random_kernel(n * n)
    signal = signal_of(kernel, n, n, circular=circular)
    output = convolve(signal, filters("none", c=2.0, fan_in=100), kernel=k, stride=stride)
    slow = slow_convolution(kernel, n, k, stride, circular).reshape((output.grid.size,) * 2)
    np.testing.assert_allclose(kernel_of(output, OTHER), 2 * slow, atol=1e-12)
    full = kernel + np.eye(n * n)
    expected = np.einsum("ijij->ij", slow_convolution(full, n, k, stride, circular))
    np.testing.assert_allclose(output.second, 2 * expected, atol=1e-12)


@pytest.mark.parametrize(
    ("weights", "rtol"), [("none", 0.02), ("centered-ws", 0.02), ("scaled-ws", 0.02), ("ws", 0.02)]
)
def test_weights_of_a_convolution_against_drawn_ones(weights: str, rtol: float) -> None:
    from sppkit.models import weights as parametrizations

    channels, c = 24, 2.0
    relu_mean, relu_second = 1 / math.sqrt(2 * math.pi), 0.5
    raw = torch.randn(4000, channels, 1, 1, generator=torch.Generator().manual_seed(0)) * (c / channels) ** 0.5
    function = {"none": "unchanged", "centered-ws": "centered_ws", "scaled-ws": "scaled_ws", "ws": "ws"}[weights]
    applied = getattr(parametrizations, function)(raw, torch.ones(4000), c)[:, :, 0, 0].double().numpy()
    inputs = np.maximum(RNG.standard_normal((channels, 4000)), 0)
    sampled = np.mean((applied @ inputs) ** 2)  # over 4000 filters and 4000 positions: 0.5 % of scatter
    law = filters(weights, c=c, fan_in=channels)
    expected = law.scale * (relu_second - (relu_mean**2 if law.centred else 0))
    assert sampled == pytest.approx(expected, rel=rtol)


def test_filters_of_one_length_make_less_than_a_gaussian() -> None:
    """The mean of |w a| over unit vectors w in n dimensions is sqrt(2/pi) over the mean of chi_n/sqrt(n)."""
    n = 20
    signal = signal_of(np.zeros((1, 1)), 1, 1)
    law = filters("scaled-ws", c=1.0, fan_in=n + 1)
    behind = convolve(signal, law)
    chi = math.sqrt(2 / n) * math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2))
    exact = 1 / math.sqrt(2 * math.pi) / chi
    from dataclasses import replace

    behind = replace(behind, scatter=replace(behind.scatter, jitter=0.0))
    assert activate(behind, RELU, 1.0).mean.item() == pytest.approx(exact, rel=1e-3)  # of second order: 1/n²


@pytest.mark.parametrize("variances", [(1.0,) * 9, (2.0,) * 4, (0.5, 1.0, 1.0, 2.0, 2.0, 3.0)])
def test_largest_of_several_normals(variances: tuple[float, ...]) -> None:
    drawn = (RNG.standard_normal((400_000, len(variances))) * np.sqrt(variances)).max(axis=1)
    for f in (lambda x: x, lambda x: np.maximum(x, 0)):
        mean, second = moments_of_largest(variances, f)
        sampled = f(drawn)
        assert mean == pytest.approx(sampled.mean(), abs=5 * sampled.std() / 600)
        assert second == pytest.approx((sampled**2).mean(), abs=5 * (sampled**2).std() / 600)


def test_max_pool_keeps_fewer_candidates_at_the_border() -> None:
    axis = Axis(8)
    signal = white_noise(axis, axis)
    pooled = max_pool(signal, lambda x: x)
    # The first window begins outside the map: 4 candidates in the corner, 6 at the edge; nothing is lost at the end.
    for at, count in (((0, 0), 4), ((0, 2), 6), ((2, 2), 9), ((3, 3), 9)):
        assert pooled.mean[at] == pytest.approx(moments_of_largest((1.0,) * count, lambda x: x)[0])


def draw(signal: Signal, samples: int, channels: int) -> np.ndarray:
    """Draw channels of a batch from a signal's covariances, of shape (channels, samples, positions)."""
    size = signal.grid.size
    other, same = kernel_of(signal, OTHER), kernel_of(signal, SAME)
    same = same + np.diag(signal.second.ravel() - np.diag(same))
    full = np.kron(np.ones((samples, samples)), other) + np.kron(np.eye(samples), same - other)
    factor = np.linalg.cholesky(full + 1e-12 * np.eye(len(full)))
    return (factor @ RNG.standard_normal((len(full), channels))).T.reshape(channels, samples, size)


def test_statistics_of_a_batch_against_drawn_channels() -> None:
    signal = signal_of(random_kernel(6), 2, 3)
    drawn = draw(signal, 3, 200_000)
    means = drawn.mean(axis=(1, 2))
    squared_mean, variance = squared_mean_and_variance(signal, Batch(3))
    assert squared_mean == pytest.approx((means**2).mean(), rel=0.01)  # sqrt(2/200000) = 0.3 %
    assert variance == pytest.approx(drawn.var(axis=(1, 2)).mean(), rel=0.01)


def test_normalization_against_drawn_channels() -> None:
    """With 4 x 6 values a channel's own variance scatters by 30 %: the mean over channels is what theory divides by."""
    signal = signal_of(random_kernel(6), 2, 3)
    drawn = draw(signal, 4, 200_000)
    centred = drawn - drawn.mean(axis=(1, 2), keepdims=True)
    normalized = centred / np.sqrt(centred.var(axis=(1, 2)).mean())
    output = normalize(signal, Batch(4), 0.0)
    np.testing.assert_allclose(output.second.ravel(), (normalized**2).mean(axis=(0, 1)), rtol=0.02)
    between = np.einsum("cp,cq->pq", normalized[:, 0], normalized[:, 1]) / len(normalized)
    np.testing.assert_allclose(kernel_of(output, OTHER), between, atol=0.02)
    assert squared_mean_and_variance(output, Batch(4)) == pytest.approx((0.0, 1.0), abs=1e-12)


def test_rectified_normalized_values_against_drawn_channels() -> None:
    """Few values of one length: E relu(x)² is still 1/2, its mean is above a Gaussian's."""
    signal = signal_of(np.zeros((4, 4)), 2, 2)
    drawn = draw(signal, 4, 200_000)
    normalized = (drawn - drawn.mean(axis=(1, 2), keepdims=True)) / drawn.std(axis=(1, 2), keepdims=True)
    output = activate(normalize(signal, Batch(4), 0.0), RELU, 1.0)
    assert output.mean.mean() == pytest.approx(np.maximum(normalized, 0).mean(), rel=2e-3)
    assert output.second.mean() == pytest.approx(0.5, rel=1e-9)


def test_squeeze_and_excite_against_drawn_gates() -> None:
    signal = signal_of(3 * np.ones((4, 4)), 2, 2)
    channels, hidden = 4000, 4000
    pooled = draw(signal, 2, channels).mean(axis=2)  # (channels, samples)
    inner = np.maximum(RNG.standard_normal((hidden, channels)) / math.sqrt(channels) @ pooled, 0)
    gate = 2 / (1 + np.exp(-RNG.standard_normal((channels, hidden)) / math.sqrt(hidden) @ inner))
    output = squeeze_and_excite(signal, 2.0)
    expected = (gate**2).mean(), (gate[:, 0] * gate[:, 1]).mean()
    found = output.second[0, 0] / signal.second[0, 0], output.pairs[OTHER].mean() / 3
    assert found == pytest.approx(expected, rel=0.03)  # the hidden layer's second moment: 2 %


def test_stochastic_depth_against_drawn_masks() -> None:
    signal = signal_of(random_kernel(4), 2, 2)
    kept = RNG.random((200_000, 2)) < 0.7
    output = drop(signal, 0.7)
    np.testing.assert_allclose(output.second, kept[:, 0].mean() * signal.second, rtol=0.01)
    np.testing.assert_allclose(output.pairs[SAME], kept[:, 0].mean() * signal.pairs[OTHER], rtol=0.01)
    np.testing.assert_allclose(output.pairs[OTHER], (kept[:, 0] & kept[:, 1]).mean() * signal.pairs[OTHER], rtol=0.01)
    assert drop(signal, 1.0) is signal


@pytest.mark.parametrize("side", [1, 2, 5])
def test_distinct_pairs_are_counted_by_orbits(side: int) -> None:
    """Burnside: the mean over the exchanges of how many of the n² pairs each leaves as it is.

    Of both ends n; of rows and columns those of two diagonal positions, side² = n; of all four a position with its own
    reflection, n.
    """
    n = side * side
    for square, count in ((False, (n * n + n) // 2), (True, (n * n + 3 * n) // 4)):
        pairs = distinct_pairs(side, side, square=square)
        assert len(pairs.ends.first) == count
        np.testing.assert_array_equal(pairs.where[pairs.ends], np.arange(count))
        where = pairs.where[:n, :n].reshape((side,) * 4)
        np.testing.assert_array_equal(where, where.transpose(2, 3, 0, 1))
        assert np.array_equal(where, where.transpose(1, 0, 3, 2)) == (square or side == 1)


@pytest.mark.parametrize("square", [False, True])
def test_means_over_distinct_pairs_against_all_positions(square: bool) -> None:
    grid = Grid(Axis(9, reach=3), Axis(9, reach=3), square)
    kernel = RNG.standard_normal((49, 49)).reshape((7,) * 4)
    kernel = kernel + kernel.transpose(2, 3, 0, 1)
    kernel = (kernel + kernel.transpose(1, 0, 3, 2)).reshape(49, 49)
    values = kernel[grid.pairs.ends]
    alike = [0, 1, 2, 3, 3, 3, 4, 5, 6]  # three of the nine rows are told apart from no other
    every = kernel.reshape((7,) * 4)[np.ix_(alike, alike, alike, alike)]
    np.testing.assert_allclose(grid.mean_over_pairs(values), every.mean(), rtol=1e-12)
    means = every.mean(axis=(2, 3))
    np.testing.assert_allclose(grid.mean_over_second(values)[np.ix_(alike, alike)], means, rtol=1e-12, atol=1e-12)

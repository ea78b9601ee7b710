"""Paired statistics against their definitions, sample by sample and channel by channel in float64."""

from __future__ import annotations

import math
from functools import reduce
from itertools import combinations

import pytest
import torch
from torch import Tensor

from sppkit.stats.paired import (
    correlation,
    deviation_shift,
    has_style,
    merge_pairs,
    pair_moments,
    signal_kept,
    style_shift,
)


def forms(count: int = 6, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A signal whose channels and samples differ in mean and deviation, and another form of it."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64)

    x = normal(count, 4, 5, 3) * normal(1, 4, 1, 1).exp() + normal(count, 4, 1, 1) + 3 * normal(1, 4, 1, 1)
    return x, 0.8 * x + 0.3 * normal(*x.shape) + 0.2 * normal(count, 4, 1, 1)


def test_style_shift_by_its_definition() -> None:
    x, y = forms()
    by_channel = []
    for c in range(4):
        variance = x[:, c].var(correction=0)
        by_channel.append(sum((y[n, c].mean() - x[n, c].mean()) ** 2 for n in range(6)) / 6 / variance)
    assert float(style_shift(pair_moments(x, y))) == pytest.approx(float(sum(by_channel)) / 4, rel=1e-12)


def test_deviation_shift_by_its_definition() -> None:
    x, y = forms()
    squares = [
        math.log(float(y[n, c].std(correction=0) / x[n, c].std(correction=0))) ** 2 for n in range(6) for c in range(4)
    ]
    found = deviation_shift(pair_moments(x, y))
    # The floor adds a hundred-thousandth of the mean square to every variance.
    assert float(found) == pytest.approx(sum(squares) / 24, rel=1e-3)  # type: ignore[arg-type]


def test_deviations_of_maps_that_are_flat() -> None:
    x, y = forms()
    x[:, 0], y[:, 0] = 0, 0  # off in both: nothing has changed
    x[:, 1], y[:, 1] = 2, 5  # flat in both, at another level
    y[:, 2] = 0  # switched off
    y[:, 3] = x[:, 3]
    found = float(deviation_shift(pair_moments(x, y)))  # type: ignore[arg-type]
    # Only channel 2 tells: of it is left the floor, √(1e-5 q / 2) of a deviation, q the mean square.
    squares = []
    for n in range(6):
        variance, square = float(x[n, 2].var(correction=0)), float(x[n, 2].square().mean())
        squares.append((math.log((variance + 0.5e-5 * square) / (0.5e-5 * square)) / 2) ** 2)
    assert found == pytest.approx(sum(squares) / 24, rel=1e-9)


def test_a_single_position_has_no_deviation() -> None:
    x, y = forms()
    pair = pair_moments(x[:, :, 0, 0], y[:, :, 0, 0])
    assert deviation_shift(pair) is None
    assert torch.equal(signal_kept(pair.maps), signal_kept(pair.pooled))


def kept_by_pairs(x: Tensor, y: Tensor) -> float:
    """1 - E‖y - x‖² / E‖x - x'‖², x' any other sample."""
    distance = [(y[n] - x[n]).square().sum() for n in range(len(x))]
    others = [(x[n] - x[m]).square().sum() for n, m in combinations(range(len(x)), 2)]
    return 1 - float(sum(distance) / len(distance) / (sum(others) / len(others)))


def test_signal_kept_by_all_pairs_of_samples() -> None:
    x, y = forms()
    pair = pair_moments(x, y)
    assert float(signal_kept(pair.maps)) == pytest.approx(kept_by_pairs(x, y), rel=1e-12)
    means = x.mean((2, 3)), y.mean((2, 3))
    assert float(signal_kept(pair.pooled)) == pytest.approx(kept_by_pairs(*means), rel=1e-12)


def test_correlation_over_samples() -> None:
    x, y = forms()
    centred = [(item - item.mean(0)).flatten() for item in (x, y)]
    expected = float(centred[0] @ centred[1] / centred[0].norm() / centred[1].norm())
    assert float(correlation(pair_moments(x, y).maps)) == pytest.approx(expected, rel=1e-12)


def test_nothing_changes_where_nothing_is_shifted() -> None:
    x, _ = forms()
    pair = pair_moments(x, x)
    assert float(style_shift(pair)) == 0
    assert float(deviation_shift(pair)) == 0  # type: ignore[arg-type]
    assert float(signal_kept(pair.maps)) == 1
    assert float(correlation(pair.maps)) == pytest.approx(1, abs=1e-15)


def test_another_sample_keeps_nothing() -> None:
    # Independent samples: E‖y - x‖² is E‖x - x'‖².
    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn(200, 4, 8, generator=random, dtype=torch.float64) for _ in range(2))
    # 200 distances of 32 values each: a standard error of √(2 / 6400).
    assert float(signal_kept(pair_moments(x, y).maps)) == pytest.approx(0, abs=5 * (2 / 6400) ** 0.5)


def test_an_affine_shift_is_correlated_and_not_kept() -> None:
    x, _ = forms()
    pair = pair_moments(x, 3 * x + 1)
    assert float(correlation(pair.maps)) == pytest.approx(1, abs=1e-12)
    assert float(signal_kept(pair.maps)) < 0


def test_batches_are_merged_exactly() -> None:
    x, y = forms(7)
    parts = [slice(0, 3), slice(3, 4), slice(4, 7)]
    merged = reduce(merge_pairs, [pair_moments(x[part], y[part]) for part in parts])
    whole = pair_moments(x, y)
    assert float(style_shift(merged)) == pytest.approx(float(style_shift(whole)), rel=1e-12)
    assert float(deviation_shift(merged)) == pytest.approx(float(deviation_shift(whole)), rel=1e-12)  # type: ignore[arg-type]
    for name in ("mean", "between", "within"):
        assert torch.allclose(getattr(merged.shifted, name), getattr(whole.shifted, name), rtol=1e-12)
    # What is another sample is taken from each batch, where pairs of the same batch are.
    distance = (y - x).square().sum() / 7
    others = [(x[n] - x[m]).square().sum() for part in ((0, 1, 2), (4, 5, 6)) for n, m in combinations(part, 2)]
    assert float(signal_kept(merged.maps)) == pytest.approx(1 - float(distance / (sum(others) / 6)), rel=1e-12)


def test_channels_are_taken_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = forms()
    whole = pair_moments(x, y)
    monkeypatch.setattr("sppkit.stats.paired._CHUNK", 100)  # one channel of 6 × 15 values
    parts = pair_moments(x, y)
    assert torch.allclose(parts.means, whole.means)
    assert torch.allclose(parts.clean.between, whole.clean.between)
    assert float(signal_kept(parts.maps)) == pytest.approx(float(signal_kept(whole.maps)), rel=1e-12)
    assert (parts.maps.samples, parts.maps.freedom) == (6, 5)


def test_style_that_is_only_rounding_is_none() -> None:
    x, y = (item.float() for item in forms())
    assert has_style(pair_moments(x, y))
    normalized = torch.nn.functional.instance_norm(x)
    assert not has_style(pair_moments(normalized, y))
    # A mean of a thousandth of a deviation is style.
    assert has_style(pair_moments(normalized + 1e-3 * torch.randn(6, 4, 1, 1), y))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_types_with_fewer_digits_round_by_more(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.nn.functional.instance_norm(torch.randn(6, 8, 16, 16, generator=random)).to(dtype)
    assert not has_style(pair_moments(x, x))
    assert has_style(pair_moments(x + torch.randn(6, 8, 1, 1, generator=random).to(dtype) / 10, x))


def test_lost_values_are_counted_and_not_hidden() -> None:
    x, y = forms()
    y[0, 0, 0, 0] = math.nan
    y[1, 1, 0, 0] = math.inf
    pair = pair_moments(x, y)
    assert pair.nonfinite == 2
    assert math.isnan(float(style_shift(pair)))
    assert has_style(pair)


def test_constant_channels_are_left_out() -> None:
    x, y = forms()
    x[:, 0] = 2.0
    expected = float(style_shift(pair_moments(x[:, 1:], y[:, 1:])))
    assert float(style_shift(pair_moments(x, y))) == pytest.approx(expected, rel=1e-12)

"""Divergences of distributions over classes, and distances of features, against their definitions written out."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from sppkit.stats.divergence import divergence, log_probabilities
from sppkit.stats.feature_distances import Spread, distance_to_another, signal_to_shift


def kl(p: list[float], q: list[float]) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def logits_of(p: list[float]) -> torch.Tensor:
    return torch.tensor([math.log(each) if each > 0 else -math.inf for each in p], dtype=torch.float64)


@pytest.mark.parametrize(
    ("p", "q"),
    [
        ([0.5, 0.5], [0.9, 0.1]),
        ([0.7, 0.2, 0.1], [0.1, 0.1, 0.8]),
        ([1.0, 0.0], [0.25, 0.75]),  # a class without probability counts nothing
        ([0.5, 0.5, 0.0], [0.5, 0.5, 0.0]),
    ],
)
def test_divergence_is_its_sum(p: list[float], q: list[float]) -> None:
    found = divergence(log_probabilities(logits_of(p) + 3.0), log_probabilities(logits_of(q) - 2.0))
    assert found.item() == pytest.approx(kl(p, q), rel=1e-14, abs=1e-15)


def test_divergence_is_infinite_where_q_rules_out_what_p_does_not() -> None:
    assert divergence(logits_of([0.5, 0.5]), logits_of([1.0, 0.0])).item() == math.inf


def test_tiny_divergences_are_no_rounding() -> None:
    # q = p (1 + h s) with s = (1, -1): KL = h^2 / 2 + O(h^4); in float32 the 5e-13 would be 0 or 1e-8.
    h = 1e-6
    log_p, log_q = logits_of([0.5, 0.5]), logits_of([0.5 + h / 2, 0.5 - h / 2])
    assert divergence(log_p, log_q).item() == pytest.approx(h * h / 2, rel=1e-3)


def test_float32_logits_are_turned_into_float64_first() -> None:
    logits = torch.tensor([[3.0, 1.0, -2.0]])
    exact = [math.exp(x) for x in (3.0, 1.0, -2.0)]
    expected = [math.log(x / math.fsum(exact)) for x in exact]
    assert log_probabilities(logits).dtype == torch.float64
    assert log_probabilities(logits)[0].tolist() == pytest.approx(expected, rel=1e-15)


def features(samples: int = 7, channels: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(5.0, 2.0, (samples, channels)))


def test_distance_to_another_is_the_mean_over_all_others() -> None:
    h = features()
    slow = [[float(((a - b) ** 2).sum()) for b in h] for a in h]
    expected = [sum(row) / (len(h) - 1) for row in slow]
    assert distance_to_another(h, Spread.of(h)).tolist() == pytest.approx(expected, rel=1e-13)


def test_spreads_are_merged() -> None:
    h = features()
    merged = Spread.of(h[:2]).merge(Spread.of(h[2:3])).merge(Spread.of(h[3:]))
    assert merged.samples == 7
    torch.testing.assert_close(merged.mean, h.mean(dim=0), rtol=1e-14, atol=0)
    assert merged.scatter == pytest.approx(float(((h - h.mean(dim=0)) ** 2).sum()), rel=1e-13)


def test_a_large_mean_does_not_drown_the_scatter() -> None:
    # Whole numbers around 2^30: exact in float64, while their squares are not.
    h = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64) + 2.0**30
    assert Spread.of(h[:1]).merge(Spread.of(h[1:])).scatter == 5.0


def test_signal_to_shift_is_one_less_a_ratio() -> None:
    moved, apart = torch.tensor([1.0, 3.0], dtype=torch.float64), torch.tensor([8.0, 24.0], dtype=torch.float64)
    assert signal_to_shift(moved, apart) == (0.875, 0.0)  # the same share of every picture: no error
    assert signal_to_shift(torch.zeros(2, dtype=torch.float64), apart)[0] == 1.0


def test_the_error_of_the_ratio_is_that_of_many_trials() -> None:
    generator = np.random.default_rng(0)

    def trial() -> tuple[float, float]:
        apart = torch.from_numpy(generator.gamma(20.0, 1.0, 100))
        moved = apart * torch.from_numpy(generator.gamma(4.0, 0.05, 100))
        return signal_to_shift(moved, apart)

    trials = np.array([trial() for _ in range(2000)])
    # The spread of 2000 trials is known to 1 / sqrt(4000) = 1.6 %; the linearization costs O(1 / n) = 1 %.
    assert trials[:, 1].mean() == pytest.approx(trials[:, 0].std(), rel=0.06)


def test_one_picture_has_no_error() -> None:
    value, error = signal_to_shift(torch.tensor([1.0]), torch.tensor([4.0]))
    assert value == float(1 - Fraction(1, 4))
    assert math.isnan(error)

"""Entropy and logits of attention, and saturated activations, against closed forms and slow twins in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy, norm
from torch import Tensor

from sppkit.measuring.reduce import load_statistic

STATISTICS = ("attention_entropy", "attention_logit_max")


def statistic(name: str, *batches: Tensor) -> float:
    found = load_statistic(name)
    kept = found.reduction.reduce(batches[0])
    for batch in batches[1:]:
        kept = found.reduction.merge(kept, found.reduction.reduce(batch))
    return float(found.value(kept))


def logits(*shape: int, spread: float = 2.0, seed: int = 0) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return spread * drawn


def masked(x: Tensor, value: float) -> Tensor:
    return x.masked_fill(torch.ones(x.shape[-2:], dtype=torch.bool).triu(1), value)


def twin_entropy(x: Tensor, allowed: np.ndarray) -> float:
    rows = zip(x.double().reshape(-1, x.shape[-1]).numpy(), allowed.reshape(-1, x.shape[-1]), strict=True)
    return float(np.mean([entropy(softmax(row[own])) / math.log(own.sum()) for row, own in rows if own.sum() > 1]))


@pytest.mark.parametrize("value", [-math.inf, -1e9, torch.finfo(torch.float32).min, -1e4, -100.0])
def test_agrees_with_scipy_over_the_keys_that_no_mask_hides(value: float) -> None:
    x = logits(3, 2, 7, 7)
    allowed = np.broadcast_to(np.tril(np.ones((7, 7), dtype=bool)), x.shape)
    assert statistic("attention_entropy", masked(x, value)) == pytest.approx(twin_entropy(x, allowed), rel=1e-12)
    assert statistic("attention_logit_max", masked(x, value)) == float(np.abs(x.numpy()[allowed]).max())


@pytest.mark.parametrize("spread", [30, 1e3, 1e5])
def test_large_logits_are_no_mask(spread: float) -> None:
    x = logits(2, 2, 9, 9, spread=spread)
    assert statistic("attention_entropy", x) == pytest.approx(twin_entropy(x, np.ones(x.shape, dtype=bool)), abs=1e-12)
    assert statistic("attention_logit_max", x) == float(x.abs().max())


def test_attention_that_is_uniform_and_attention_that_is_one_key() -> None:
    x = torch.zeros(2, 1, 5, 8)
    assert statistic("attention_entropy", x + 3) == pytest.approx(1, rel=1e-15)
    x[..., 4] = 1000
    assert statistic("attention_entropy", x) == 0
    # Two keys of weights p and 1 - p.
    two = torch.tensor([[[[0.0, 1.5]]]], dtype=torch.float64)
    p = 1 / (1 + math.exp(1.5))
    expected = -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    assert statistic("attention_entropy", two) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name", STATISTICS)
def test_batches_together_are_one(name: str) -> None:
    x = masked(logits(6, 3, 5, 5), -math.inf)
    assert statistic(name, x[:1], x[1:4], x[4:]) == pytest.approx(statistic(name, x), rel=1e-14)
    assert statistic(name, x, logits(1, 3, 2, 9)) > 0  # of another number of keys


def test_a_query_without_a_choice_is_left_out() -> None:
    x = masked(logits(1, 1, 2, 2), -math.inf)
    assert statistic("attention_entropy", x) == pytest.approx(statistic("attention_entropy", x[..., 1:, :]), rel=1e-14)
    assert math.isnan(statistic("attention_entropy", x[..., :1, :]))
    hidden = torch.cat([x, torch.full_like(x, -math.inf)], -2)  # padding: a row of which nothing is left
    assert statistic("attention_entropy", hidden) == pytest.approx(statistic("attention_entropy", x), rel=1e-14)


@pytest.mark.parametrize("name", STATISTICS)
def test_nan_is_never_dropped(name: str) -> None:
    x = logits(2, 2, 4, 4)
    x[1, 0, 2, 3] = math.nan
    assert math.isnan(statistic(name, x))
    assert math.isnan(statistic(name, logits(1, 2, 4, 4), x))


def test_the_flat_part_of_a_gaussian_tanh() -> None:
    # 1 - tanh(x)² < 0.05 beyond artanh(sqrt(0.95)).
    x = torch.from_numpy(norm.ppf((np.arange(100_000) + 0.5) / 100_000))
    expected = 2 * norm.sf(math.atanh(math.sqrt(0.95)))
    assert statistic("saturated_fraction", 1 - torch.tanh(x) ** 2) == pytest.approx(expected, abs=2e-5)


def test_counts_of_slopes_merge_and_keep_nan() -> None:
    assert statistic("saturated_fraction", torch.tensor([0.0, 0.049, 0.051, 1.0]), torch.ones(4)) == 0.25
    assert math.isnan(statistic("saturated_fraction", torch.ones(4), torch.tensor([math.nan])))

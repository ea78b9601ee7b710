"""Batch Kalman Normalization as released, beside a float64 statement of its rule, and what differs from ours."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

import sppkit
from sppkit.models.normalizers.kalman import BatchKalmanNorm, Moments

STAGES = (3, 2)
RELEASED = {"propagate": "reference", "stream": "predicted", "running": "biased"}


class Known(NamedTuple):
    """Mean and variance of every channel of every sub-batch."""

    mean: Tensor
    variance: Tensor


def seen(x: Tensor, size: int) -> Known:
    parts = x.unflatten(0, (-1, size)).transpose(1, 2).flatten(2)
    return Known(parts.mean(2), parts.var(2, correction=0))


def normalized(x: Tensor, predicted: Known | None, p: float, size: int) -> tuple[Tensor, Known]:
    own = fused = seen(x, size)
    if predicted is not None and (predicted.variance / own.variance).mean() < 100:
        mean = p * predicted.mean + (1 - p) * own.mean
        between = p * (1 - p) * (own.mean - predicted.mean) ** 2
        fused = Known(mean, p * predicted.variance + (1 - p) * own.variance + between)
    mean, variance = (value.repeat_interleave(size, 0)[:, :, None, None] for value in fused)
    return (x - mean) / (variance + 1e-5).sqrt(), fused


def carried(known: Known, weight: Tensor) -> Known:
    """Through ReLU of a normal variable, then through filters of independent channels."""
    deviation = known.variance.sqrt()
    a = known.mean / deviation
    density, below = torch.exp(-a.square() / 2) / math.sqrt(2 * math.pi), (1 + torch.erf(a / math.sqrt(2))) / 2
    mean = deviation * density + known.mean * below
    second = (known.mean.square() + known.variance) * below + known.mean * deviation * density
    return Known(mean @ weight.sum((2, 3)).T, (second - mean.square()) @ weight.square().sum((2, 3)).T)


def released(model: nn.Module, x: Tensor, p: float, size: int) -> tuple[list[Tensor], list[float]]:
    """Every block's output, and the mean of predicted over observed variance at every block but the first.

    The skip connection's moments are what was predicted for it plus what is predicted for the branch; what is observed
    never corrects them. What a convolution is told are the fused moments before normalization.
    """
    weights = {name: value.double() for name, value in model.state_dict().items()}
    x = F.max_pool2d(F.conv2d(x, weights["stem.weight"], stride=2, padding=3), 3, 2, 1)
    outputs, ratios, stream = [], [], None
    for block in range(sum(STAGES)):
        name, first = f"blocks.{block}", block in {0, STAGES[0]}
        stride = 2 if block == STAGES[0] else 1
        own = seen(x, size)
        if stream is not None:
            ratios.append(float((stream.variance / own.variance).mean()))
        y, fused = normalized(x, stream, p, size)
        prepared = branch = F.relu(y)
        skip, known = x, own if stream is None else stream
        if first:
            shortcut = weights[f"{name}.shortcut.weight"]
            skip, known = F.conv2d(prepared, shortcut, stride=stride), carried(fused, shortcut)
        told = known
        for index in range(3):
            if index > 0:
                y, fused = normalized(branch, told, p, size)
                branch = F.relu(y)
            weight = weights[f"{name}.conv{index}.weight"]
            told = carried(fused, weight)
            middle = index == 1
            branch = F.conv2d(branch, weight, stride=stride if middle else 1, padding=1 if middle else 0)
        x = skip + branch
        stream = Known(known.mean + told.mean, known.variance + told.variance)
        outputs.append(x)
    return outputs, ratios


def images(samples: int) -> Tensor:
    return torch.randn(samples, 3, 48, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def build(p: float, size: int, **settings: object) -> nn.Module:
    kw = {"p": p, "sub-batch": size, **settings}
    return sppkit.build_model("bn-relu-conv", norm="bkn", norm_kw=kw, stages=STAGES, width=0.25).double()


@pytest.mark.parametrize(("p", "size", "samples"), [(0.05, 8, 8), (0.9, 2, 8), (0.5, 4, 8)])
def test_the_released_rule_is_offered(p: float, size: int, samples: int) -> None:
    model, x = build(p, size, **RELEASED), images(samples)
    found: list[Tensor] = []
    for block in model.blocks:
        block.register_forward_hook(lambda *call: found.append(call[2].detach()))
    model(x)
    expected, _ = released(model, x, p, size)
    for output, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(output, wanted, rtol=1e-9, atol=1e-9)
    ours: list[Tensor] = []
    other = build(p, size, propagate="reference")
    for block in other.blocks:
        block.register_forward_hook(lambda *call: ours.append(call[2].detach()))
    other(x)
    # The first prediction for a stream is used in block 2, the first that corrects one goes into block 3.
    torch.testing.assert_close(ours[1], expected[1])
    assert (ours[2] - expected[2]).abs().max() > 1e-3


def test_uncorrected_predictions_run_away_from_what_is_observed() -> None:
    model, x = build(0.05, 8, **RELEASED), images(8)
    _, ratios = released(model, x, 0.05, 8)
    assert max(ratios) > 1.2
    assert min(ratios) > 0.9


@pytest.mark.parametrize("predicted", [None, Moments(torch.zeros(1, 2), torch.full((1, 2), 1e6))])
@pytest.mark.parametrize("size", [0, 4])
def test_the_running_variance_where_no_prediction_is_used(predicted: Moments | None, size: int) -> None:
    x = 3 * torch.randn(8, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    first = (x[: size or 8]).double()
    for running, correction in (("unbiased", 1), ("biased", 0)):
        norm = BatchKalmanNorm(2, p=0.5, sub_batch=size, running=running)  # type: ignore[arg-type]
        norm.fuse(x, predicted)
        # The moving average of a tenth, from 1; float32.
        wanted = 0.9 + 0.1 * first.var((0, 2, 3), correction=correction)
        torch.testing.assert_close(norm.running_var.double(), wanted, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(norm.running_mean.double(), 0.1 * first.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)


def test_with_a_prediction_the_running_variance_is_the_fused_one() -> None:
    x = torch.randn(8, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    norm = BatchKalmanNorm(2, p=0.5)
    _, fused = norm.fuse(x, Moments(torch.ones(1, 2), torch.full((1, 2), 2.0)))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * fused.variance[0])


@pytest.mark.parametrize(("setting", "legal"), [("stream", "corrected, predicted"), ("running", "unbiased, biased")])
def test_other_words_are_refused(setting: str, legal: str) -> None:
    words = ", ".join(sorted(legal.split(", ")))
    with pytest.raises(sppkit.UsageError, match=f"unknown --norm-kw {setting} 'both'.\nKnown: {words}"):
        build(0.05, 0, **{setting: "both"})

"""Details of released networks: where SkipInit has biases, and what BCN's weight standardization divides by."""

from __future__ import annotations

import math

import pytest
import torch

import sppkit
from sppkit.models.weights import ws


def test_skipinit_has_biases_in_its_blocks_alone() -> None:
    model = sppkit.build_model("skipinit", stages=(1, 1), width=0.125)
    biased = {name.removesuffix(".bias") for name, _ in model.named_parameters() if name.endswith(".bias")}
    assert biased == {f"blocks.{block}.{conv}" for block in (0, 1) for conv in ("shortcut", "conv0", "conv1", "conv2")}


@pytest.mark.parametrize("fan_in", [4608, 64])
def test_what_the_two_released_epsilons_leave_of_a_filter(fan_in: int) -> None:
    weight = math.sqrt(2 / fan_in) * torch.randn(512, fan_in, 1, 1, dtype=torch.float64)
    centred = weight - weight.mean(1, keepdim=True)
    released = centred / (weight.var(1, keepdim=True) + 1e-5).sqrt()
    found = ws(weight, torch.ones(512, dtype=torch.float64), 2.0)
    variance = 2 / fan_in
    # The spread of a filter's variance is a few percent, which changes what epsilon takes by as much.
    assert float(released.var(1).mean()) == pytest.approx(variance / (variance + 1e-5), rel=1e-3)
    assert float(found.var(1).mean()) == pytest.approx((1 + 1e-5 / math.sqrt(variance)) ** -2, rel=1e-3)
    if fan_in == 4608:  # what docs/normalizers/batch-channel.md says
        assert float(released.var(1).mean()) == pytest.approx(0.977, abs=1e-3)
        assert float(found.var(1).mean()) == pytest.approx(0.999, abs=1e-3)

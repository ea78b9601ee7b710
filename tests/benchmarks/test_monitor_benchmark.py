"""The benchmark of the monitor runs, and its ratios are those of steps."""

from __future__ import annotations

import torch

from benchmarks.monitor import gpt, measure_case


def test_ratios_are_of_steps_with_and_without_a_monitor() -> None:
    ratios = measure_case(gpt(32, 1), torch.randn(2, 8, 32), "spp", 2)
    assert list(ratios) == ["monitored", "unmonitored"]
    assert ratios["monitored"] > 0.5

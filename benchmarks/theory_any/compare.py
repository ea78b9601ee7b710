"""One network: how far the mean over seeds lies from what theory expects."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import sppkit

STATISTICS = ("channel_squared_mean", "channel_variance", "residual_variance")
# Relative deviations allowed on top of three standard errors, and those that no drawn curve may have.
NEAR = {"channel_squared_mean": 0.1, "channel_variance": 0.03, "residual_variance": 0.1}
OFF = 0.1


@dataclass(frozen=True)
class Outcome:
    """What became of one network.

    Attributes:
        rows: Rows of its table.
        predicted: Rows with a predicted variance.
        deviations: Largest relative deviation of each statistic.
        beyond: The same, three standard errors less.
        errors: Largest relative standard error.
        seconds: One prediction.
        reason: Where the curve ends, and why; None for nowhere.
    """

    rows: int
    predicted: int
    deviations: dict[str, float]
    beyond: dict[str, float]
    errors: dict[str, float]
    seconds: float
    reason: str | None

    @property
    def verdict(self) -> str:
        """In a word."""
        if not self.predicted:
            return "refused"
        if any(value > OFF for value in self.beyond.values()):
            return "off"
        near = all(self.beyond[name] <= NEAR[name] for name in self.beyond)
        kind = "predicted" if self.reason is None else "in part"
        return kind if near else f"{kind}, not near"


def compare(make: Callable[[], nn.Module], batch: Callable[[int], Tensor], seeds: int) -> Outcome:
    """Measure and predict a network under each seed."""
    measured = [sppkit.measure(_made(make, seed), batch(seed), seed=seed) for seed in range(seeds)]
    start = time.perf_counter()
    try:
        expected = [sppkit.predict(_made(make, seed), batch(seed), seed=seed) for seed in range(seeds)]
    except sppkit.UsageError as error:
        return Outcome(len(measured[0]), 0, {}, {}, {}, 0.0, str(error))
    seconds = (time.perf_counter() - start) / seeds
    deviations, beyond, errors = {}, {}, {}
    power = np.mean([table["channel_variance"].to_numpy(float) for table in measured], axis=0)
    for name in STATISTICS:
        values = np.stack([table[name].to_numpy(float) for table in measured])
        theory = np.stack([table[f"predicted_{name}"].to_numpy(float) for table in expected]).mean(axis=0)
        mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(seeds)
        # Behind a normalizer over the batch a squared mean is 0 but for rounding.
        there = ~np.isnan(theory) & (mean > 1e-6 * power)
        if there.any():
            off = np.abs(theory - mean)[there]
            deviations[name] = float((off / mean[there]).max())
            beyond[name] = float(((off - 3 * error[there]) / mean[there]).max())
            errors[name] = float((error / mean)[there].max())
    predicted = int(expected[0]["predicted_channel_variance"].notna().sum())
    reason = expected[0].attrs["theory"].get("reason")
    return Outcome(len(measured[0]), predicted, deviations, beyond, errors, seconds, reason)


def _made(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return make().train()

"""From the values at a network's sites to the cells of its rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from sppkit.lowering.values import Given, NotKnownError, Signal, Unknown
from sppkit.theory.gram.gram import squared_mean_and_variance
from sppkit.theory.gram.program import End

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from sppkit.lowering.trace import Tracer
    from sppkit.sites import Site
    from sppkit.theory.gram.gram import Gram

# Share of the second moment below which a variance is a small difference of large numbers, of which theory's small
# errors make large ones.
SMALLEST_SHARE = 0.05
ALIKE = "the signal is nearly the same at all positions, and its variance a small difference of large numbers"


# What theory says of each row.
COLUMNS = tuple(
    f"predicted_{name}{end}"
    for name in ("channel_squared_mean", "channel_variance", "residual_variance")
    for end in ("", "_spread")
)


class Expected(NamedTuple):
    """Statistics of one signal.

    Attributes:
        squared_mean: Channel squared mean.
        variance: Channel variance.
        squared_mean_spread: Its standard deviation from seed to seed.
        variance_spread: Its standard deviation from seed to seed.
    """

    squared_mean: float
    variance: float
    squared_mean_spread: float | None = None
    variance_spread: float | None = None


@dataclass(frozen=True)
class Kept:
    """What is kept of the signal at a site: a step, numbers, or why there are none."""

    step: int | None = None
    numbers: Expected | None = None
    end: Unknown | None = None


def keep(tracer: Tracer, site: Site, signal: Tensor) -> Kept:
    """Keep what theory knows of a signal, of which the channels are on axis 1."""
    value = tracer.value_of(signal)
    # No step of theory is an operation of the pass.
    with torch.utils._python_dispatch._disable_current_modes():  # noqa: SLF001
        if value is None or isinstance(value, Given):
            return Kept(numbers=_measured(signal))
        if isinstance(value, Unknown):
            return Kept(end=value)
        try:
            return Kept(step=_settled_step(tracer, value))
        except NotKnownError as error:
            return Kept(end=Unknown(site.name, f"statistics {error}"))


def _settled_step(tracer: Tracer, value: object) -> int:
    if not isinstance(value, Signal):
        raise NotKnownError("of numbers that are no signal")
    signal = tracer.builder.settled(value)
    same_place = bool((signal.places == signal.places[:, :1]).all())
    if not same_place or (signal.labels.shape[1] > 1 and bool((signal.labels[:, :1] == signal.labels[:, 1:]).all())):
        raise NotKnownError("over another axis than that of the channels")
    return signal.step


def _measured(signal: Tensor) -> Expected:
    rows = signal.detach().double().movedim(1, 0).flatten(1)
    return Expected(float(rows.mean(dim=1).square().mean()), float(rows.var(dim=1, correction=0).mean()))


def follow(tracer: Tracer, kept: Mapping[Site, Kept]) -> tuple[dict[Site, dict[str, float | None]], str | None]:
    """Follow the program to all sites.

    Returns:
        The cells of each site, none behind the end of what theory knows; and the end, in words.
    """
    wanted = {item.step: None for item in kept.values() if item.step is not None}
    grams: dict[int, Expected | End] = {}
    for step, value in tracer.builder.program.follow(wanted.keys()):
        grams[step] = value if isinstance(value, End) else _expected(value, tracer.builder.program.steps[step].where)
    cells: dict[Site, dict[str, float | None]] = {}
    end: str | None = None
    for site, item in kept.items():
        value = item.numbers or (grams[item.step] if item.step is not None else item.end)
        if isinstance(value, End) and value.why == ALIKE and site.role == "residual_branch":
            cells[site] = {}  # of a stream that is not, it ends nothing
            continue
        if not isinstance(value, Expected):
            end = end or f"{value.where}: {value.why}"  # type: ignore[union-attr]
        cells[site] = _cells(site, value) if isinstance(value, Expected) and end is None else {}
    return cells, end


def _expected(gram: Gram, where: str) -> Expected | End:
    squared_mean, variance = squared_mean_and_variance(gram)
    if not math.isfinite(squared_mean + variance):
        return End(where, "the signal is no longer finite")
    if variance < SMALLEST_SHARE * (variance + squared_mean):
        return End(where, ALIKE)
    # Of the C channels' means, normal numbers, the squares vary by 2/C.
    mean_drift = 2 / gram.channels + gram.drift
    return Expected(
        squared_mean, variance, squared_mean * math.sqrt(mean_drift), variance * math.sqrt(max(0.0, gram.drift))
    )


def _cells(site: Site, expected: Expected) -> dict[str, float | None]:
    if site.role == "residual_branch":
        return {
            "predicted_residual_variance": expected.variance,
            "predicted_residual_variance_spread": expected.variance_spread,
        }
    return {
        "predicted_channel_squared_mean": expected.squared_mean,
        "predicted_channel_squared_mean_spread": expected.squared_mean_spread,
        "predicted_channel_variance": expected.variance,
        "predicted_channel_variance_spread": expected.variance_spread,
    }

"""Which of the values that are drawn decide how far the y axis of a panel goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.plot.curves import finite_values
from sppkit.plot.scale import LOG_FROM_DECADES, dwarfs, needs_log
from sppkit.registry import STATISTICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from sppkit.plot.curves import Values

# Theory's band is this many standard deviations to either side: about 95 % of a normal distribution.
BAND_SPREADS = 2.0
# Beside a larger one, a squared mean below this share of its own variance is drawn as what it is: zero. A mean over
# N·H·W values is never less than about that (docs/statistics.md), and a logarithmic axis would show nothing but it.
NO_MEAN = 0.01
# Behind a normalizer the mean of float32 numbers is their rounding, 1e-7 of their size: its square counts as 0, or a
# logarithmic axis would show little but it.
ROUNDING = 1e-12
# Of several runs, so many may leave the panel for the others to be seen: each third one.
MOST_OFF = 3


def span(tables: Sequence[pd.DataFrame], statistic: str) -> tuple[Values, bool]:
    """Return the values that decide a panel's y axis."""
    stem, blocks = _values(tables, statistic)
    leaves_out = dwarfs(stem, blocks)
    values = blocks if leaves_out else np.concatenate([stem, blocks])
    if statistic == "channel_squared_mean":
        values = _without_noise(tables, values) if len(tables) > 1 else _with_yardstick(tables[0], values)
    return values, leaves_out


def off_axis(tables: Sequence[pd.DataFrame], statistic: str) -> frozenset[int]:
    """Return the runs that leave the panel upwards, so that the others can be told apart on a linear axis.

    Among many networks, one that explodes would press all others into one line.
    """
    largest = [float(np.nanmax(_values([table], statistic)[1], initial=0.0)) for table in tables]
    order = sorted(range(len(tables)), key=lambda index: -largest[index])
    for count in range(len(tables) // MOST_OFF + 1):
        off = frozenset(order[:count])
        values, _ = span([table for index, table in enumerate(tables) if index not in off], statistic)
        if not needs_log(values[np.isfinite(values)]):
            return off
    return frozenset()


def predicted_band(
    statistic: str, centre: Values, spread: Values, *, logarithmic: bool = False
) -> tuple[Values, Values]:
    """Return theory's band: of a gradient, whose deviations multiply, by a factor to either side of the median.

    So on a logarithmic axis, whatever it shows: the additive band of a spread of half the value ends at 0, and would
    fill the panel down to its edge.

    A lognormal number of mean m and standard deviation s has a logarithm of variance v = log(1 + s²/m²), and the median
    m exp(-v/2).
    """
    if STATISTICS[statistic].role != "block_gradient" and not logarithmic:
        return centre - BAND_SPREADS * spread, centre + BAND_SPREADS * spread
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        variance = np.log1p((spread / centre) ** 2)
        middle, half = centre * np.exp(-variance / 2), np.exp(BAND_SPREADS * np.sqrt(variance))
        return middle / half, middle * half


def _values(tables: Sequence[pd.DataFrame], statistic: str) -> tuple[Values, Values]:
    """Return everything that will be drawn at the stem, and at the other blocks."""
    stems, blocks = [], []
    for table in tables:
        at_stem = (table["block"] == 0).to_numpy()
        for values in _iter_drawn(table, statistic):
            stems.append(values[at_stem])
            blocks.append(values[~at_stem])
    return np.concatenate(stems), np.concatenate(blocks)


def _without_noise(tables: Sequence[pd.DataFrame], values: Values) -> Values:
    """Return the values without squared means that are noise, if a linear axis can then show the others."""
    largest = np.nanmax(values, initial=0.0)
    kept = []
    for table in tables:
        squared_mean = finite_values(table, "channel_squared_mean").to_numpy()
        variance = finite_values(table, "channel_variance").to_numpy()
        noise = (squared_mean < NO_MEAN * variance) & (squared_mean < NO_MEAN * largest)
        blocks = (table["block"] > 0).to_numpy()
        kept.append(squared_mean[blocks & ~noise & np.isfinite(squared_mean)])
    rest = np.append(np.concatenate(kept), largest)
    return values if needs_log(rest) else rest


def _with_yardstick(table: pd.DataFrame, values: Values) -> Values:
    """Return the values with the variance, beside which a squared mean is large or small, if a linear axis shows both.

    What is too small to be seen beside it is drawn as what it is: zero.
    """
    finite = values[np.isfinite(values)]
    variance = finite_values(table, "channel_variance").to_numpy(dtype=float)
    top = float(np.nanmax(variance, initial=0.0))
    if not finite.size or needs_log(finite) or needs_log(np.array([finite.max(), top])):
        return values
    seen: Values = np.append(np.where(finite < top / 10**LOG_FROM_DECADES, 0.0, finite), top)
    return seen


def _iter_drawn(table: pd.DataFrame, statistic: str) -> Iterator[Values]:
    predicted, spread = f"predicted_{statistic}", f"predicted_{statistic}_spread"
    measured = np.asarray(finite_values(table, statistic), dtype=float)
    if statistic == "channel_squared_mean":
        variance = np.asarray(finite_values(table, "channel_variance"), dtype=float)
        rounding = measured < ROUNDING * variance
        # Where there is nothing but rounding, it is what the panel shows.
        measured = measured if rounding.all() else np.where(rounding, 0.0, measured)
    yield measured
    if predicted in table:
        centre = np.asarray(finite_values(table, predicted), dtype=float)
        yield centre
        if spread in table:
            yield predicted_band(statistic, centre, np.asarray(finite_values(table, spread), dtype=float))[1]

"""The y axis of a panel: linear or logarithmic, its limits and its ticks, chosen by the values to be drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import (
    FixedLocator,
    Formatter,
    FuncFormatter,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Values = np.ndarray[Any, np.dtype[np.float64]]

# From here on a linear axis shows the small values as zero: 1/300 of the height is about one line width.
LOG_FROM_DECADES = 2.5
# A reference value is worth its room while the curve still fills a quarter of the height.
REFERENCE_ROOM = 0.25
TICKS = 6
MARGIN = 0.06  # of the axis, so that markers on the outermost values are whole
HAIR = 0.012  # of the axis, under a 0 that no value passes: 2 points, so that a line at 0 stands clear of the frame
# A stem beyond this would leave the blocks less than a third of a linear axis ...
STEM_RATIO = 3.0
# ... or, on a logarithmic one, less than half of the decades.
STEM_DECADES = 0.5
# Blocks that far below the stem hold a dead signal or the rounding of float32: then the fall itself is to be seen.
STEM_FALL = 1e6
HEADROOM = 0.22  # of the axis, for one line of text under the top edge
# Beyond these, differences on a linear axis overflow, or matplotlib takes the whole axis for one point.
LINEAR_RANGE = (1e-280, 1e300)
# The exponents of float64: 5e-324 (subnormal) to 1.8e308, rounded inwards so that 10**x is neither 0 nor infinite.
EXPONENTS = (-323.3, 308.25)


def scale_y(axes: Axes, values: Values, *, reference: float = 0.0, headroom: bool = False, log: bool = False) -> None:
    """Set scale, limits and ticks of the y axis for non-negative values.

    A linear axis starts at 0, so that a nearly constant curve looks constant; a logarithmic one spans the positive
    values.
    """
    finite = values[np.isfinite(values)]
    margin = HEADROOM if headroom else MARGIN
    if finite.size == 0:
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_locator(NullLocator())
    elif needs_log(finite) or (log and bool((finite > 0).any())):
        _scale_log(axes, finite[finite > 0], margin)
    else:
        _scale_linear(axes, _linear_top(float(finite.max()), reference), min(0.0, float(finite.min())), margin)


def needs_log(values: Values) -> bool:
    """Tell whether a linear axis would hide values: they span more than ``LOG_FROM_DECADES``, or leave float range."""
    positive = values[values > 0]
    if positive.size == 0 or values.min() < 0:  # what can be negative has no logarithm
        return False
    spans_decades = _decades(positive) > LOG_FROM_DECADES
    return bool(spans_decades or not LINEAR_RANGE[0] <= positive.max() <= LINEAR_RANGE[1])


def dwarfs(stem: Values, blocks: Values) -> bool:
    """Tell whether the stem's values, which belong to no block, would take most of the y axis from the blocks'.

    Behind a max-pool the stem's squared mean is 2.2, while a network without mean shift stays below 0.1.
    """
    stem, blocks = stem[np.isfinite(stem)], blocks[np.isfinite(blocks)]
    if not (stem.size and blocks.size):
        return False
    above, highest = float(stem.max()), float(blocks.max())
    if not STEM_RATIO * highest < above < STEM_FALL * highest:
        return False
    return not needs_log(blocks) or _decades(blocks) < STEM_DECADES * _decades(np.concatenate([stem, blocks]))


def _decades(values: Values) -> float:
    positive = values[values > 0]
    return float(np.log10(positive.max()) - np.log10(positive.min())) if positive.size else 0.0


def _linear_top(highest: float, reference: float) -> float:
    if highest >= REFERENCE_ROOM * reference:
        highest = max(highest, reference)
    return highest if highest > 0 else 1.0


def _scale_linear(axes: Axes, top: float, bottom: float, margin: float) -> None:
    span = top - bottom
    # Nothing is below 0 (no statistic is): then neither is the axis, but for a hair.
    axes.set_ylim(bottom - (MARGIN if bottom < 0 else HAIR) * span, top + margin * span)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=TICKS, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(_linear_formatter(top))


def _linear_formatter(top: float) -> Formatter:
    if not 1e-3 <= top < 1e4:  # written out, the labels would be longer than 6 characters
        return FuncFormatter(_format_scientific)
    return ScalarFormatter()  # which adds an offset beside an axis only if that is far from 0


def _format_scientific(value: float, _position: int | None = None) -> str:
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.5e}".split("e")
    return rf"${float(mantissa):g}\times10^{{{int(exponent)}}}$"


def _format_decade(value: float, _position: int | None = None) -> str:
    return rf"$10^{{{round(math.log10(value))}}}$"


def _scale_log(axes: Axes, positive: Values, margin: float) -> None:
    low, high = np.log10([positive.min(), positive.max()])
    if high - low < 1:  # as much as makes two whole decades, so that there are ticks
        low, high = math.floor(low), math.floor(high) + 1
    bottom, top = np.clip([low - MARGIN * (high - low), high + margin * (high - low)], *EXPONENTS)
    axes.set_yscale("log", nonpositive="mask")
    axes.set_ylim(10.0**bottom, 10.0**top)
    exponents = _tick_exponents(bottom, top)
    axes.yaxis.set_major_locator(FixedLocator([10.0**exponent for exponent in exponents]))
    axes.yaxis.set_major_formatter(FuncFormatter(_format_decade))
    axes.yaxis.set_minor_locator(FixedLocator(_minor_ticks(exponents, bottom, top)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _tick_exponents(bottom: float, top: float) -> list[int]:
    # Whole decades in steps of 1, 2, 5, 10, ...: matplotlib's own log ticks would step by 26 on the way to 1e180.
    ticks = MaxNLocator(nbins=TICKS, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1).tick_values(bottom, top)
    return [int(tick) for tick in ticks if bottom <= tick <= top]


def _minor_ticks(exponents: list[int], bottom: float, top: float) -> list[float]:
    if np.diff(exponents).max(initial=1) > 1:  # between ticks that are several decades apart there are no 2 ... 9
        return []
    ticks = (
        factor * 10.0**decade for decade in range(math.floor(bottom), exponents[-1] + 1) for factor in range(2, 10)
    )
    return [tick for tick in ticks if 10.0**bottom <= tick <= 10.0**top]

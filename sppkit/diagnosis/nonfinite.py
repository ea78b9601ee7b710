"""Values that are nan or infinite: the signal is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.result import Diagnosis

if TYPE_CHECKING:
    from sppkit.curves.curves import Curves

# The largest finite number of each compute type (IEEE 754; bfloat16 shares float32's exponent).
_LARGEST = {"float16": 65504.0, "bfloat16": 3.39e38, "float32": 3.40e38, "float64": 1.80e308}
# An overflow is the likely cause if the values would have passed the largest number within this factor: the largest of
# some million values lies 5 standard deviations out, and a branch may hold 20 times its output's size on the way.
_NEAR = 100.0


def find_nonfinite(curves: Curves) -> Diagnosis | None:
    """Find the first block that holds nan or infinite values; the limit is none at all."""
    blocks = curves.averaged.table
    broken = blocks[blocks["nonfinite"].fillna(0) > 0]
    if broken.empty:
        return None
    first, worst = broken.iloc[0], broken.iloc[int(broken["nonfinite"].to_numpy(dtype=float).argmax())]
    cause, remedy = explain_loss(curves, str(first["name"]), is_stem=bool(first["block"] == 0))
    return Diagnosis(
        name="non-finite",
        severity="error",
        block=int(first["block"]),
        block_name=str(first["name"]),
        worst_block=int(worst["block"]),
        statistic="nonfinite",
        found=float(worst["nonfinite"]),
        limit=0.0,
        expected=None,
        spread=None,
        fact=f"The signal is not finite from block {first['block']} ({first['name']}) on: "
        f"{len(broken)} of {len(blocks)} blocks hold nan or infinite values",
        cause=cause,
        remedy=remedy,
    )


def explain_loss(curves: Curves, name: str, *, is_stem: bool) -> tuple[str, str]:
    """Return why values were lost, and what to do."""
    (size, growth), dtype = _last_size(curves), curves.network.dtype
    largest = _LARGEST.get(dtype)
    if largest is not None and size * growth > largest / _NEAR:
        return (
            f"the values overflow: {dtype} ends at {largest:.3g}, and the last finite block's already have a root mean "
            f"square of {size:.3g}",
            "find out why they grow before taking a wider type: --dtype float32 shows the curve beyond this block",
        )
    if is_stem:
        return (
            "the input or the stem's weights hold such values, or the stem overflows",
            "look at the input's range first: Gaussian input tells whether it is to blame",
        )
    return (
        "its input is finite and far from overflowing, so that its own weights hold such values, or an operation in it "
        "divides by zero or overflows on the way",
        f"look at the parameters and the operations of {name}",
    )


def _last_size(curves: Curves) -> tuple[float, float]:
    """Return the root mean square of the values after the last finite block, and by which factor it last grew."""
    squares = np.where(np.isnan(curves.mean), 0.0, curves.mean) + np.where(
        np.isnan(curves.variance), 0.0, curves.variance
    )
    sizes = np.sqrt(squares[np.isfinite(squares)])
    if not len(sizes):
        return 0.0, 1.0
    return float(sizes[-1]), float(sizes[-1] / sizes[-2]) if len(sizes) > 1 and sizes[-2] > 0 else 1.0

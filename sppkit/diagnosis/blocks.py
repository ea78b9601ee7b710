"""The table as a judgement reads it: one row per block, seeds averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

# Longer lists are cut in their middle: a sentence with 200 stages in it is not read.
_MOST_LISTED = 6


def all_finite(values: pd.Series[float]) -> bool:
    """Return whether every value is a finite number."""
    return bool(np.isfinite(values.to_numpy(dtype=float)).all())


def listed(values: Iterable[float]) -> str:
    """Return numbers as they stand in a sentence.

    >>> listed([1, 2.0625, 1e9])
    '1, 2.06, 1e+09'
    >>> listed(range(200))
    '0, 1, 2, ..., 197, 198, 199'
    """
    words = [f"{value:.3g}" for value in values]
    half = _MOST_LISTED // 2
    return ", ".join(words if len(words) <= _MOST_LISTED else [*words[:half], "...", *words[-half:]])

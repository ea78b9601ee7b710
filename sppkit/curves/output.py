"""What a network returned, as numbers: the record of a run holds it, or the table that ``measure`` returned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sppkit.record.read import counts_at, mapping_at
from sppkit.record.table import OUTPUT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


# Axes of a sample of tokens' values: its position, and its channel.
_TOKENS = 2


class Output(NamedTuple):
    """What a network returned, averaged over seeds.

    Attributes:
        squared_mean: Mean over channels of their squared mean.
        variance: Mean over channels of their variance.
        sums_to_one: Whether its channels are shares of 1, as behind a softmax.
        channels: How many it has; 0 where that is not known.
    """

    squared_mean: float
    variance: float
    sums_to_one: bool
    channels: int

    @property
    def second_moment(self) -> float:
        """Mean of the squared values."""
        return self.squared_mean + self.variance


def read_output(record: Mapping[str, Any], table: pd.DataFrame) -> Output | None:
    """Return what is known of a network's output; None for nothing."""
    told = mapping_at(record, OUTPUT) or mapping_at({OUTPUT: table.attrs.get(OUTPUT)}, OUTPUT)
    mean, variance = (_average(told.get(name)) for name in ("channel_squared_mean", "channel_variance"))
    if mean is None or variance is None:
        return None
    shape = counts_at(told, "shape")  # of one sample; of tokens' scores the channels come last
    channels = shape[-1 if len(shape) == _TOKENS else 0] if shape else 0
    return Output(mean, variance, told.get("sums_to_one") is True, channels)


def _average(values: object) -> float | None:
    # A record is a file that anybody may have written.
    listed = values if isinstance(values, list) else [values]
    numbers = [float(item) for item in listed if isinstance(item, (int, float)) and not isinstance(item, bool)]
    if not numbers or len(numbers) < len(listed):
        return None
    average = float(np.mean(numbers))
    return average if np.isfinite(average) and average >= 0 else None

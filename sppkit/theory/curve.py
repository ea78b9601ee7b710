"""What is expected of one statistic at one block."""

from __future__ import annotations

import math
from typing import NamedTuple


class Curve(NamedTuple):
    """What is expected of one statistic.

    Attributes:
        value: Over many seeds.
        spread: Standard deviation from seed to seed.
    """

    value: float
    spread: float


# Of a signal that left the floats, or that few values decide on.
LOST = Curve(math.nan, math.nan)

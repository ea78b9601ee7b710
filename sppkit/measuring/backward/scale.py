"""By what a user's loss was multiplied before its backward pass, as mixed precision does."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


def read_scale(scale: Any) -> Callable[[], float] | None:
    """Return what tells the scale of a loss when a gradient of it arrives."""
    if scale is None:
        return None
    if callable(getattr(scale, "get_scale", None)):
        return lambda: float(scale.get_scale())
    if isinstance(scale, bool) or not isinstance(scale, Real) or not 0 < float(scale) < math.inf:
        raise UsageError(f"loss_scale must be a number of more than 0 or a GradScaler, not {scale!r:.60}.")
    number = float(scale)
    return lambda: number

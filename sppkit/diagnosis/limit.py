"""Bounds of one quantity at some or all blocks."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

Bound = Literal["max", "min"]
Level = Literal["error", "warn"]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Bounds of one quantity.

    Attributes:
        max: Largest value that passes.
        min: Smallest value that passes.
        ratio: Largest factor, up or down, from the baseline or the prediction that passes.
        sites: Patterns of block names (``blocks.1*``); all blocks where it is empty.
        level: ``error`` fails, ``warn`` is only said, ``off`` takes away what a preset says of the quantity.
        reason: Why it stands where it does.
    """

    max: float | None = None
    min: float | None = None
    ratio: float | None = None
    sites: tuple[str, ...] = ()
    level: str = "error"
    reason: str = ""

    def covers(self, name: str) -> bool:
        """Return whether a block is judged by this limit.

        Args:
            name: The block's name.

        Returns:
            Whether any pattern matches it.
        """
        return not self.sites or any(fnmatchcase(name, pattern) for pattern in self.sites)

    def limits_something(self) -> bool:
        """Return whether there is any bound.

        Returns:
            Whether a value could fail.
        """
        return self.max is not None or self.min is not None or self.ratio is not None

    def bounds(self) -> list[tuple[Bound, float]]:
        """Return the absolute bounds.

        Returns:
            Pairs of ``max`` or ``min`` and the bound.
        """
        pairs = (("max", self.max), ("min", self.min))
        return [(cast("Bound", kind), bound) for kind, bound in pairs if bound is not None]


Limits: TypeAlias = "Mapping[str, tuple[Limit, ...]]"


def tolerance(limits: Limits, quantity: str, block: str) -> tuple[float, Level] | None:
    """Return how far a statistic may be from what is expected at a block.

    Args:
        limits: By quantity.
        quantity: The statistic, or ``predicted_`` and its name.
        block: The block's name.

    Returns:
        The factor and the level, the last limit that covers the block winning; None where there is none.
    """
    fitting = [limit for limit in limits.get(quantity, ()) if limit.ratio is not None and limit.covers(block)]
    return (cast("float", fitting[-1].ratio), cast("Level", fitting[-1].level)) if fitting else None

"""Bounds of one quantity at some or all blocks."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, cast

Bound = Literal["max", "min"]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Bounds of one quantity.

    Attributes:
        max: Largest value that passes.
        min: Smallest value that passes.
        ratio: Largest factor, up or down, from the baseline or the prediction that passes.
        change: Largest difference, up or down, from the baseline that passes, of what is a share.
        sites: Patterns of block names (``blocks.1*``); all blocks where it is empty.
        level: ``error`` fails, ``warn`` is only said, ``off`` takes away what a preset says of the quantity.
        reason: Why it stands where it does.
    """

    max: float | None = None
    min: float | None = None
    ratio: float | None = None
    change: float | None = None
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
        return any(bound is not None for bound in (self.max, self.min, self.ratio, self.change))

    def bounds(self) -> list[tuple[Bound, float]]:
        """Return the absolute bounds.

        Returns:
            Pairs of ``max`` or ``min`` and the bound.
        """
        pairs = (("max", self.max), ("min", self.min))
        return [(cast("Bound", kind), bound) for kind, bound in pairs if bound is not None]

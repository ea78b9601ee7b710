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
        """Return whether a block is judged by this limit."""
        return not self.sites or any(fnmatchcase(name, pattern) for pattern in self.sites)

    def limits_something(self) -> bool:
        """Return whether there is any bound."""
        return any(bound is not None for bound in (self.max, self.min, self.ratio, self.change))

    def bounds(self) -> list[tuple[Bound, float]]:
        """Return the absolute bounds."""
        pairs = (("max", self.max), ("min", self.min))
        return [(cast("Bound", kind), bound) for kind, bound in pairs if bound is not None]


Limits: TypeAlias = "Mapping[str, tuple[Limit, ...]]"


def tolerance(
    limits: Limits, quantity: str, block: str, kind: Literal["ratio", "change"] = "ratio"
) -> tuple[float, Level] | None:
    """Return how far a statistic may be from what is expected at a block."""
    bounds = [(getattr(limit, kind), limit.level) for limit in limits.get(quantity, ()) if limit.covers(block)]
    fitting = [(cast("float", bound), cast("Level", level)) for bound, level in bounds if bound is not None]
    return fitting[-1] if fitting else None

"""A branch that is nowhere in memory by itself: the sum of signals that are made one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from sppkit.sites import Site


@dataclass
class Sums:
    """The sums of a forward pass that are not complete yet, and of how many terms."""

    _parts: dict[Site, tuple[Tensor, int]] = field(default_factory=dict)

    def add(self, site: Site, tensor: Tensor, terms: int) -> Tensor | None:
        """Take one term of a site; return the signal when all of its terms are there."""
        if terms == 1:
            return tensor
        part, taken = self._parts.pop(site, (None, 0))
        # A copy, since the first term may be changed in place before the next one is made.
        part = tensor.detach().clone() if part is None else part.add_(tensor.detach())
        if taken + 1 == terms:
            return part
        self._parts[site] = part, taken + 1
        return None

"""Two runs held against each other: what changed, by how much, and which test says so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sppkit.curves.effects import MEAN, OUTWEIGHS, iter_effects
from sppkit.curves.match_blocks import match
from sppkit.gate.paired import paired_effect, seeds_agree
from sppkit.gate.pairing import pair
from sppkit.gate.unpaired import FALSE_ALARM, KNOWN_ALARM, unpaired_effect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sppkit.curves.curves import Array, Curves
    from sppkit.curves.effects import Effect
    from sppkit.curves.match_blocks import Matching
    from sppkit.gate.pairing import Pairing
    from sppkit.gate.policy import Policy
    from sppkit.gate.verdict import Level


# A change begins where it is a hundredth of what matters: 0.2 % of a variance, a hundred times what rounding does.
_BEGINS = 0.01


@dataclass(frozen=True)
class Change:
    """One quantity at one block in two runs.

    Attributes:
        statistic: The quantity's name.
        place: The block's place in the new run.
        scale: Whether ``size`` is the logarithm of a ratio, or a difference of shares.
        found: In the new run; the geometric mean over seeds, or the mean of shares.
        expected: The same in the base.
        size: How far apart they are, by ``scale``.
        is_real: Whether the seeds show it: all of them, where they are paired, or beyond chance.
        chance: Probability that seeds alone do this anywhere in the network; None where seeds are paired, and chance
            plays no part.
    """

    statistic: str
    place: int
    scale: Literal["log", "share"]
    found: float
    expected: float
    size: float
    is_real: bool
    chance: float | None

    @property
    def ratio(self) -> float | None:
        """``found`` over ``expected``; None where that is no number."""
        return self.found / self.expected if self.expected > 0 and self.found >= 0 else None

    @property
    def is_better(self) -> bool:
        """Whether it is for the better: a mean that outweighed the variance shifts less."""
        is_less = self.statistic in {MEAN, "mean_share"} and self.size < 0
        return is_less and (self.statistic == MEAN or self.expected >= OUTWEIGHS)

    def limit(self, policy: Policy, name: str) -> tuple[float, Level] | None:
        """Return the largest size that passes at the block of a name, and the level; None where there is none."""
        if self.scale == "share":
            return policy.change(self.statistic, name)
        allowed = policy.ratio(self.statistic, name)
        return None if allowed is None else (math.log(allowed[0]), allowed[1])

    def part(self, policy: Policy, name: str) -> float:
        """Return how large it is, as a part of its limit; 0 where there is none."""
        limit = self.limit(policy, name)
        return abs(self.size) / limit[0] if limit is not None and limit[0] > 0 else 0.0

    def matters(self, policy: Policy, name: str) -> bool:
        """Tell whether it is real and beyond its limit."""
        limit = self.limit(policy, name)
        return limit is not None and self.is_real and abs(self.size) > limit[0]


@dataclass(frozen=True)
class Compared:
    """All that two runs show of each other.

    Attributes:
        new: One run.
        base: The other.
        matching: Which block is which.
        pairing: Which rows are paired.
        changes: Every quantity at every matched block, quantity by quantity.
        smallest: Log of the smallest ratio of variances that each unpaired block can show, shape (matched blocks,);
            nan where they are paired.
    """

    new: Curves
    base: Curves
    matching: Matching
    pairing: Pairing
    changes: tuple[Change, ...]
    smallest: Array

    def origin(self, policy: Policy) -> Change | None:
        """Return the largest change at the first block that paired seeds show to have changed at all."""
        names = self.new.names
        parts = [(item, item.part(policy, names[item.place])) for item in self.changes if item.chance is None]
        moved = [(item, part) for item, part in parts if item.is_real and part >= _BEGINS]
        first = min((item.place for item, _ in moved), default=None)
        return max(((part, item) for item, part in moved if item.place == first), default=(0.0, None), key=_first)[1]


def _first(pair: tuple[float, object]) -> float:
    return pair[0]


def compare(new: Curves, base: Curves) -> Compared:
    """Hold two runs against each other."""
    matching = match(new, base)
    pairing = pair(new, base, matching)
    effects = list(iter_effects(new, base, matching)) if matching.pairs else []
    forgets = new.normalized and base.normalized
    places = [place for place, _ in matching.pairs]
    # Where spreads grow from block to block, each has its own.
    groups = new.stages[places] if forgets else np.arange(len(places))
    judged = [_Judged(effect, pairing, groups, forgets=forgets) for effect in effects]
    changes = tuple(change for item in judged for change in item.iter_changes(matching))
    smallest = next((item.smallest for item in judged if item.effect.name == "channel_variance"), np.array([]))
    return Compared(new, base, matching, pairing, changes, smallest)


class _Judged:
    """An effect by the test that its blocks allow."""

    def __init__(self, effect: Effect, pairing: Pairing, groups: NDArray[np.int64], *, forgets: bool) -> None:
        self.effect = effect
        count = len(groups)
        self.is_paired = np.arange(count) < pairing.until
        unpaired = unpaired_effect(effect, groups, forgets=forgets)
        is_known = np.arange(count) >= pairing.known
        self.size = unpaired.size
        self.chance = np.where(is_known, unpaired.own_chance, unpaired.chance)
        self.is_real = self.chance < np.where(is_known, KNOWN_ALARM, FALSE_ALARM)
        if pairing.seeds:
            size, real = paired_effect(effect, pairing)
            if pairing.is_guess:
                # The rows themselves must say that chance has no part.
                self.is_paired |= seeds_agree(effect, pairing)
            self.size = np.where(self.is_paired, size, self.size)
            self.is_real = np.where(self.is_paired, real, self.is_real)
        self.smallest = np.where(self.is_paired, np.nan, unpaired.smallest)

    def iter_changes(self, matching: Matching) -> Iterator[Change]:
        """Yield the effect block by block."""
        found, expected = self.effect.means
        for at in np.flatnonzero(np.isfinite(self.size)):
            yield Change(
                self.effect.name,
                matching.pairs[at][0],
                self.effect.scale,
                float(found[at]),
                float(expected[at]),
                float(self.size[at]),
                bool(self.is_real[at]),
                None if self.is_paired[at] else float(self.chance[at]),
            )

"""The backward pass against the baseline's: faults that no forward value shows.

A gradient tells of what comes after a row. So the place of a fault is found from the end: block k, whose input gets
another gradient while its output's is the baseline's, given that both have the same weights, input and forward values.
Where forward values differ by more than they may, gradients differ as a consequence, and nothing is said of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sppkit.gate.compared import Change
from sppkit.gate.policy import Policy
from sppkit.gate.verdict import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.curves.curves import Array
    from sppkit.gate.compared import Compared
    from sppkit.gate.verdict import Level

GRADIENT, SHARE, FACTOR = "gradient_second_moment", "branch_gradient_share", "gradient_factor"
# Beside forward values that are equal to the last digits a gradient differs by what rounding does, ten times that of a
# row where it flips a ReLU's sign: a hundredth is a hundred times as much, in float32.
_EQUAL, _ROUNDINGS = math.log(1.01), 10.0
# Beside forward values that changed within their limits the policy's limit of a statistic without one stands: 1.2.
# A change begins where it is a tenth of the largest; half of it is one of its own, not what follows from another.
_PART, _OWN = 0.1, 0.5
# Stands for the logarithm of zero: far below any gradient, and far above the smallest float.
_TINY = 1e-60
_STANDARD_ERRORS = 2.0
_MOST = 2
# What changes a block's values within their limits, and its derivative by more.
_ANOTHER = (
    "its activation or {} is another, a bias or its input's mean moves where the activation has its slope, or a "
    "normalizer divides by another scale; or "
)
# What passes nothing back, in words.
_CUTS = "detached, computed under torch.no_grad(), or behind an operation without a derivative"


@dataclass(frozen=True)
class Backward:
    """What a backward pass shows of two runs, S shared seeds and M matched rows.

    Attributes:
        compared: Both runs, and which of their rows and seeds are paired.
        policy: What may change.
    """

    compared: Compared
    policy: Policy

    @property
    def why_not(self) -> str | None:
        """Why gradients can't be held against each other, in words; None if they can, empty where there are none."""
        new, base, pairing = self.compared.new, self.compared.base, self.compared.pairing
        if GRADIENT not in base.table or not np.isfinite(base.values(GRADIENT)).any():
            return ""
        if GRADIENT not in new.table:
            return "the baseline has one and it was not measured here (--stats spp,gradient)"
        places = [old for _, old in self.compared.matching.pairs]
        # A block that came or went gives every row before it another gradient.
        every = len(new.blocks) == len(base.blocks) == len(places)
        if not every or len(places) < 2 or places != sorted(places):
            return "the rows are not the baseline's"
        if not pairing.seeds or pairing.until < len(places):
            return f"{pairing.why or 'no seed in common'}; {pairing.remedy}"
        return None

    @cached_property
    def is_equal(self) -> bool:
        """Whether every forward value is the baseline's, within rounding."""
        return self.compared.pairing.first is None

    @cached_property
    def log_ratio(self) -> Array:
        """The logarithm of each row's gradient over the baseline's, shape (S, M); nan where either has none."""
        new, base = (np.log(np.maximum(values, _TINY)) for values in self.values(GRADIENT))
        # Of a value that no gradient comes back to on either side there is nothing to say.
        ratio: Array = np.where((new == base) & (base == math.log(_TINY)), np.nan, new - base)
        return ratio

    @cached_property
    def lost(self) -> list[int]:
        """Matched rows whose value has no gradient any more, though its forward value is there."""
        new, base = self.values(GRADIENT)
        sound = ~self.compared.new.nonfinite[:, self._rows].any(axis=0)
        return [int(at) for at in np.flatnonzero(np.isnan(new).all(axis=0) & np.isfinite(base).all(axis=0) & sound)]

    @cached_property
    def factor(self) -> Array:
        """How each block's factor differs, shape (S, M): its input's gradient over its output's; 0 at the first."""
        found = np.zeros_like(self.log_ratio)
        known = np.flatnonzero(np.isfinite(self.log_ratio).all(axis=0))
        # From the end on: what is known of a row is held against the next row that is known.
        found[:, known[1:]] = self.log_ratio[:, known[:-1]] - self.log_ratio[:, known[1:]]
        return found

    @cached_property
    def share(self) -> Array:
        """The logarithm of each branch's share over the baseline's, shape (S, M); 0 where either has none."""
        if SHARE not in self.compared.new.table or SHARE not in self.compared.base.table:
            return np.zeros_like(self.log_ratio)
        new, base = self.values(SHARE)
        # Below that a share is the rounding of a difference of two gradients.
        known = np.isfinite(new) & (base > 10 * self.compared.pairing.rounding**2)
        found: Array = np.where(known, np.log(np.maximum(new, _TINY)) - np.log(np.maximum(base, _TINY)), 0.0)
        return found

    def limit(self, name: str) -> tuple[float, Level] | None:
        """Return by how much the logarithm of a block's factor may change, and the level."""
        allowed = self.policy.ratio(FACTOR, name)
        if allowed is None:
            return None
        if FACTOR in self.policy.limits or not self.is_equal:
            return math.log(allowed[0]), allowed[1]
        return max(_EQUAL, _ROUNDINGS * self.compared.pairing.rounding), allowed[1]

    @cached_property
    def changed(self) -> list[int]:
        """Matched rows whose block passes another gradient back, by more than it may, in forward order."""
        limits = np.array([(self.limit(self.compared.new.names[row]) or (math.inf,))[0] for row in self._rows])
        factor, share = self._known(self.factor), self._known(self.share)
        # Of a signal that changed within its limits only what a block itself does is judged, not what adds up.
        beyond = self._known(np.nan_to_num(self.log_ratio)) if self.is_equal else factor
        if not (beyond > limits).any() and not (share > limits).any():
            return []
        least = _PART * max(factor.max(), share.max())
        felt = (factor >= np.maximum(least, limits * _PART if self.is_equal else limits)) | (share > limits)
        size = np.maximum(factor, share)
        first = int(np.flatnonzero(felt)[-1])
        return [int(at) for at in np.flatnonzero(felt) if at == first or size[at] > _OWN * size[first]]

    def _known(self, values: Array) -> Array:
        """Return the size of a difference that chance has no part in, shape (M,).

        Beside equal forward values every seed shows it, whatever its sign: a mask of other values is as large. Beside
        others the mean over seeds is beyond its standard errors.
        """
        if self.is_equal:
            smallest: Array = np.abs(values).min(axis=0)
            return smallest
        size: Array = np.abs(values.mean(axis=0))
        error = values.std(axis=0, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else np.zeros_like(size)
        return np.where(size > _STANDARD_ERRORS * error, size, 0.0)

    @cached_property
    def _rows(self) -> list[int]:
        return [place for place, _ in self.compared.matching.pairs]

    def values(self, statistic: str) -> tuple[Array, Array]:
        """Return a statistic of both runs, each of shape (S, M)."""
        sides = self.compared.new, self.compared.base
        rows = zip(*self.compared.matching.pairs, strict=True)
        new, base = (
            side.values(statistic)[np.ix_(seeds, np.array(places, dtype=np.int64))]
            for side, seeds, places in zip(sides, self.compared.pairing.places, rows, strict=True)
        )
        return new, base

    def iter_findings(self) -> Iterator[Finding]:
        """Yield where a backward pass parts from the baseline's: one finding, as far from the input as it begins."""
        if self.lost:
            yield self._lost(max(self.lost))
        elif self.changed:
            yield self._changed(max(self.changed))

    def _lost(self, at: int) -> Finding:
        name = self.compared.new.names[self._rows[at]]
        cause = (
            f"autograd keeps no record of the value of {name}: it is {_CUTS.partition(', or')[0].replace(', ', ' or ')}"
        )
        return self.finding(at, GRADIENT, float(np.mean(self.values(GRADIENT)[1][:, at])), None, cause)

    def _changed(self, at: int) -> Finding:
        name, (share, base_share) = self.compared.new.names[self._rows[at]], self._shares(at)
        others = [self.compared.new.names[self._rows[other]] for other in self.changed if other != at]
        more = f"; also in {', '.join(others[:_MOST])}" if others else ""
        more += f" and {len(others) - _MOST} more" if len(others) > _MOST else ""
        if base_share is not None and share is not None and self.share[:, at].any():
            cause = _of_branch(share / base_share, self._may_follow(at))
            return self.finding(at, SHARE, base_share, share, f"{cause}{self._beside}{more}")
        new, base = (_factor(values, at) for values in self.values(GRADIENT))
        ratio = new / base if base > 0 else math.inf
        without = base_share is not None and share is None
        cause = _of_block(name, ratio, self._may_follow(at), skip_is_lost=without)
        return self.finding(at, FACTOR, base, new, f"{cause}{self._beside}{more}")

    @property
    def _beside(self) -> str:
        return ", though every forward value is the baseline's" if self.is_equal else ", more than its signal changed"

    def _may_follow(self, at: int) -> str:
        """Return what else gives a block another derivative, where its own forward values are not the baseline's."""
        if self.compared.pairing.equal[at]:
            return ""
        tokens = self.compared.new.rows["width"].isna()[self._rows[at]]
        return _ANOTHER.format("attention's scale" if tokens else "padding")

    def _shares(self, at: int) -> tuple[float | None, float | None]:
        if SHARE not in self.compared.new.table or SHARE not in self.compared.base.table:
            return None, None
        new, base = (float(values[:, at].mean()) for values in self.values(SHARE))
        return (None if math.isnan(new) else new), (None if math.isnan(base) else base)

    def finding(self, at: int, statistic: str, expected: float, found: float | None, cause: str) -> Finding:
        """Return a finding at a matched row."""
        new, row = self.compared.new, self._rows[at]
        allowed = self.limit(new.names[row]) or (_EQUAL, "error")
        within = None if found is None else expected * math.exp(math.copysign(allowed[0], found - expected))
        return Finding(
            statistic=statistic,
            name=new.names[row],
            block=int(new.blocks[row]),
            limit=within,
            expected=expected,
            found=found,
            ratio=None if found is None or not expected > 0 else found / expected,
            level=allowed[1],
            cause=cause,
            kind="baseline",
            seeds=len(self.compared.pairing.seeds),
            reason=f"the baseline, within a factor {math.exp(allowed[0]):.3g}",
        )


def _factor(values: Array, at: int) -> float:
    """Return the geometric mean over seeds of what a block multiplies a gradient by."""
    before = next(other for other in range(at - 1, -1, -1) if np.isfinite(values[:, other]).all())
    logs = np.log(np.maximum(values[:, before], _TINY)) - np.log(np.maximum(values[:, at], _TINY))
    return 0.0 if (values[:, before] == 0).all() else float(np.exp(logs.mean()))


def _of_branch(ratio: float, other: str) -> str:
    if ratio == 0:
        return f"nothing comes back through its branch: it is {_CUTS}"
    what = f"what comes back through its branch is {ratio:.3g} times the baseline's"
    if ratio < 1:
        return (
            f"{what}: {other}a part of the branch is {_CUTS}, or a function or hook of its own scales the gradient down"
        )
    return f"{what}: {other}a function or hook of its own scales the gradient up, or nothing limits it any more"


def _of_block(name: str, ratio: float, other: str, *, skip_is_lost: bool) -> str:
    if ratio == 0:
        return f"nothing comes back through {name}: it is {_CUTS}"
    what = f"it passes {ratio:.3g} times the baseline's gradient back"
    if skip_is_lost:
        return f"{what}, and its skip is no identity to autograd any more: it is detached, or scaled on its way back"
    if ratio < 1:
        return f"{what}: {other}a part of it is {_CUTS}, or a function or hook of its own scales the gradient down"
    return f"{what}: {other}a function or hook of its own scales the gradient up, or nothing limits it any more"


def iter_backward(compared: Compared, policy: Policy) -> Iterator[Finding]:
    """Yield where the backward pass parts from the baseline's; nothing where forward values already do."""
    backward = Backward(compared, policy)
    if backward.why_not is None:
        yield from backward.iter_findings()


def iter_backward_tests(compared: Compared, policy: Policy, *, follows: bool) -> Iterator[str]:
    """Yield how gradients were compared, and why they were not; nothing where the baseline has none."""
    backward = Backward(compared, policy)
    why = backward.why_not
    if why:
        yield f"the gradient is not compared: {why}"
    elif why is None and follows:
        if backward.lost or backward.changed:
            yield "the gradient differs, too: it follows from the signal"
    elif why is None and not (backward.lost or backward.changed):
        yield f"the gradient: paired by seed, and the baseline's at every one of {len(compared.matching.pairs)} rows"


def iter_gradient_changes(compared: Compared) -> Iterator[Change]:
    """Yield every statistic of the gradient that both runs have, at every matched row; none of them is judged."""
    new, base, pairs = compared.new, compared.base, compared.matching.pairs
    for name in (item for item in new.gradients if item in base.gradients):
        found, expected = (np.log(np.maximum(side.values(name), _TINY)).mean(axis=0) for side in (new, base))
        for place, old in pairs:
            size = float(found[place] - expected[old])
            if math.isfinite(size):
                here, there = (
                    0.0 if log == math.log(_TINY) else math.exp(log) for log in (found[place], expected[old])
                )
                yield Change(name, place, "log", here, there, size, is_real=False, chance=None)


def iter_inexact(compared: Compared) -> Iterator[Finding]:
    """Yield where gradients cease to be the baseline's to nine digits, going backwards: at most one finding."""
    backward = Backward(compared, Policy("exact"))
    if backward.why_not is not None:
        return
    names = [name for name in (GRADIENT, SHARE) if name in compared.new.gradients and name in compared.base.gradients]
    pairs = {name: backward.values(name) for name in names}
    unlike = {
        at: name
        for name in names
        for at in range(len(compared.matching.pairs))
        if any(f"{a:.9g}" != f"{b:.9g}" for a, b in zip(*(side[:, at] for side in pairs[name]), strict=True))
    }
    if not unlike:
        return
    last = max(unlike)
    name = unlike[last]
    # A share is the block's own; a gradient is of the block behind it.
    at = last if name == SHARE else last + 1
    cause = "its backward pass is another one, to nine digits, though every forward value is the baseline's"
    new, base = (float(side[:, last].mean()) for side in pairs[name])
    yield replace(backward.finding(at, name, base, new, cause), kind="exact", reason="--exact: nothing may change")

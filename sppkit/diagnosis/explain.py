"""The likely cause of what is seen at a block, in words: only what the numbers imply, and all that they leave open.

Each cause is a hypothesis of what a block does to the curves. Where the numbers fit one, it is given; where they fit
several, all of them are. ``causes_in_words`` says what each hypothesis means.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.effects import BRANCH, VARIANCE
from sppkit.diagnosis import causes_in_words as words
from sppkit.diagnosis.expectation import Comparison, compare, share
from sppkit.diagnosis.left_open import takes_along
from sppkit.diagnosis.nonfinite import explain_loss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.curves.curves import Array, Curves, Flags

# Of a branch with less than a millionth of the sum's variance nothing is seen in the sum's seven digits (float32).
_DEAD = 1e-6
# A mean whose share of the second moment is the same to this did not move, as far as anybody can tell.
_STAYS = 0.03
# Beyond what rounding does to a statistic of float32.
_ROUNDING = 1e-4
# Two tensors of one variance, to so many digits in each seed, are one; and a share that keeps so many has not moved.
_IS, _SHARE_KEPT = 1e-4, 1e-3
# ReLU of a standard normal: the squared mean's share of its second moment, 1/pi, and its variance, 1/2 - 1/(2 pi).
_RELU_SHARE, _RELU_VARIANCE = 0.3183, 0.3408


def explain(curves: Curves, base: Curves | None, place: int, statistic: str) -> str:
    """Return the likely cause of what is seen at a block."""
    if statistic == "nonfinite" or curves.nonfinite[:, place].any():
        return explain_loss(curves, curves.names[place], is_stem=bool(curves.blocks[place] == 0))[0]
    if base is None and curves.network.stored:
        return "eval mode subtracts and divides by running statistics, which are not this signal's"
    # What is unknown is nan, and what is gone is 0: neither fits any hypothesis.
    with np.errstate(all="ignore"):
        seen = compare(curves, base, place)
        if seen is None:
            return ""
        # Where a change begins it may be small; nothing but this row can have made it.
        ways = [seen, replace(seen, fine=True)] if seen.begins else [seen]
        return next((cause for way in ways for cause in _iter_causes(way, place)), "")


def _iter_causes(seen: Comparison, row: int) -> Iterator[str]:
    if row == 0 or (seen.curves.blocks[row] == 0 and not seen.curves.layered):
        yield from _iter_input_causes(seen, row)
        return
    if seen.branch[row] <= _DEAD * seen.variance[row] and not seen.expected_branch[row] <= _DEAD * seen.variance[row]:
        yield words.DEAD
    if _moved(seen, seen.branch_factor)[row]:
        yield from _iter_branch_causes(seen, row)
    elif np.isfinite(seen.brought_variance[row]):
        yield from _iter_sum_causes(seen, row)
    yield from _iter_other_causes(seen, row)


def _iter_input_causes(seen: Comparison, row: int) -> Iterator[str]:
    scale = _moved(seen, seen.variance_factor)[row]
    if seen.variance[row] == 0 and seen.expected_variance[row] > 0:
        yield words.DEAD_INPUT
    elif scale and _keeps_share(seen, row):
        yield words.input_scale(seen, row)
    elif abs(words.share_change(seen, row)) > _ROUNDING or abs(seen.variance_factor[row] - 1) > _ROUNDING:
        yield words.another_input(seen, row)


def _iter_branch_causes(seen: Comparison, row: int) -> Iterator[str]:
    # The branch has another variance: it is scaled, with all that it brings, or its mean shifts as well.
    factor = seen.branch_factor
    added = np.isfinite(seen.brought_variance[row])
    scaled = _fits_scaled(seen, seen.mean_before, factor, seen.brought_mean, _sum(seen, factor))
    where = _where(seen, row, *_local(seen, factor))
    stays = abs(words.share_change(seen, row)) < (seen.share_same[row] if seen.same_weights else _STAYS)
    if scaled[row] if added else stays or _between(seen, row):
        # A sum of which the law is known tells what a scaled branch does to the mean; else both are left open.
        yield words.scaled_branch(seen, row, where, sure=bool(stays or (added and seen.same_weights)))
    else:
        yield words.shifted_branch(seen, row, where, scaled=not added and takes_along(seen, row))


def _iter_sum_causes(seen: Comparison, row: int) -> Iterator[str]:
    # The branch is sound: a mean is added to the sum, or the sum takes another share of the branch or of the skip.
    taken = (seen.variance - seen.variance_before) / seen.brought_variance
    kept = (seen.variance - seen.brought_variance) / seen.variance_before
    # Elsewhere a branch may follow what came before it, and brings as much more.
    moved = np.abs(seen.variance - _sum(seen, seen.branch_factor)) > seen.least * seen.variance
    mean = ~_fits(seen, seen.mean_before + seen.branch_factor * seen.brought_mean, seen.variance, seen.share_least)
    if not moved[row]:
        if mean[row]:
            yield words.added_mean(seen, row, _where(seen, row, mean))
        return
    where = _where(seen, row, moved)
    found = []
    if taken[row] >= 0 and _fits_scaled(seen, seen.mean_before, taken, seen.brought_mean, seen.variance)[row]:
        found.append(words.taken(seen, float(taken[row]), nothing=_adds_nothing(seen, row)))
    if (
        kept[row] >= -seen.same[row]
        and _fits_scaled(seen, seen.brought_mean, kept, seen.mean_before, seen.variance)[row]
    ):
        found.append(words.kept(float(kept[row])))
    yield words.another_sum(seen, row, where, [words.MISSING] if _equals_branch(seen, row) else found)


def _iter_other_causes(seen: Comparison, row: int) -> Iterator[str]:
    # No sum is known here: a layer, a stage's first block, a block that ends with an activation.
    mean, scale = _share_moved(seen), _moved(seen, seen.variance_factor)
    if _goes_on(seen, row):
        yield words.NO_RESET
    elif _is_branch_alone(seen, row):
        yield words.ALONE
    elif mean[row] and not scale[row]:
        yield words.added_mean(seen, row, _where(seen, row, mean))
    elif mean[row]:
        yield words.shifted_block(seen, row)
    elif scale[row] and seen.fine and seen.branch[row] > 0:
        yield words.another_sum(seen, row, "", [])
    elif scale[row] and (seen.branch[row] > 0 or _keeps_share(seen, row)):
        yield words.scaled_block(seen, row, _where(seen, row, scale))
    elif scale[row]:
        yield words.shifted_block(seen, row)


def _between(seen: Comparison, row: int) -> bool:
    """Return whether a scaled branch alone may move the mean's share so: no further than to its input's or its own.

    What a branch alone has is not measured: nothing in most networks, and what ReLU makes of that, where ReLU follows.
    """
    ends = [share(seen.expected_mean, seen.expected_variance)[row]]
    if not seen.curves.network.known and not seen.curves.layered:
        ends += [share(seen.mean_before, seen.variance_before)[row], _RELU_SHARE]
    now, allowed, known = share(seen.mean, seen.variance)[row], seen.share_same[row], [x for x in ends if x == x]
    return not known or not (now < min(known) - allowed or now > max(known) + allowed)


def _goes_on(seen: Comparison, row: int) -> bool:
    stages, scale = seen.curves.stages, seen.curves.network.branch_scale
    transition = stages[row] > 1 and stages[row] != stages[row - 1]
    if scale is None or not transition or not seen.variance_factor[row] > 1 + seen.same[row]:
        return False
    expected = seen.variance_before[row] + scale * seen.branch[row]
    return bool(abs(math.log(seen.variance[row] / expected)) < seen.same[row])


def _is_branch_alone(seen: Comparison, row: int) -> bool:
    """Return whether nothing but the branch is left: its variance, or what ReLU makes of it and its mean."""
    scale = seen.curves.network.branch_scale if seen.curves.network.known else 1.0
    if not seen.branch[row] > 0 or not _moved(seen, seen.variance_factor)[row] or not scale:
        return False
    branch = scale * seen.branch[row]
    was_more = seen.expected_variance[row] > (1 + 2 * seen.same[row]) * scale * seen.expected_branch[row]
    rectified = abs(math.log(seen.variance[row] / (_RELU_VARIANCE * branch))) < seen.same[row]
    alike = abs(share(seen.mean, seen.variance)[row] - _RELU_SHARE) < seen.share_same[row]
    return bool((was_more and _equals_branch(seen, row)) or (rectified and alike))


def _equals_branch(seen: Comparison, row: int) -> bool:
    """Return whether a sum is its branch, seed by seed: nothing but the branch has its variance to so many digits."""
    scale = seen.curves.network.branch_scale if seen.curves.network.known else 1.0
    sums, branches = (seen.curves.values(name)[:, row] for name in (VARIANCE, BRANCH))
    return bool(scale and (np.abs(sums - scale * branches) <= _IS * sums).all())


def _adds_nothing(seen: Comparison, row: int) -> bool:
    """Return whether a sum is what came before it, seed by seed."""
    sums, before = (seen.curves.values(VARIANCE)[:, at] for at in (row, row - 1))
    return bool((np.abs(sums - before) <= _IS * sums).all())


def _keeps_share(seen: Comparison, row: int) -> bool:
    """Return whether one signal took its mean along: a factor does so to the last digits, in every seed."""
    near = float(seen.share_same[row])
    if row == 0 or seen.same_weights:
        near = min(near, max(_SHARE_KEPT, float(seen.share_error[row]), seen.shares_before))
    return not abs(words.share_change(seen, row)) > near


def _sum(seen: Comparison, factor: Array | float) -> Array:
    total: Array = seen.variance_before + factor * seen.brought_variance
    return total


def _moved(seen: Comparison, factor: Array) -> Flags:
    moved: Flags = np.abs(np.log(factor)) > seen.least
    return moved


def _share_moved(seen: Comparison) -> Flags:
    return np.isfinite(seen.expected_mean) & ~_fits(seen, seen.expected_mean, seen.expected_variance, seen.share_least)


def _fits(seen: Comparison, mean: Array, variance: Array, within: Array | None = None) -> Flags:
    apart = np.abs(share(seen.mean, seen.variance) - share(np.maximum(mean, 0.0), variance))
    fits: Flags = apart <= (seen.share_same if within is None else within)
    return fits


def _fits_scaled(seen: Comparison, mean: Array, factor: Array, scaled: Array, variance: Array) -> Flags:
    """Return where a part whose variance is multiplied by a factor makes the sum's mean what it is.

    A mean that has nothing to do with the other part's is multiplied by the factor, and what both have in common, as
    where every block has the same bias, by its root.
    """
    ends = [mean + power * scaled for power in (factor, np.sqrt(np.maximum(factor, 0.0)))]
    now, shares = share(seen.mean, seen.variance), [share(np.maximum(end, 0.0), variance) for end in ends]
    fits: Flags = (now >= np.minimum(*shares) - seen.share_same) & (now <= np.maximum(*shares) + seen.share_same)
    return fits


def _local(seen: Comparison, factor: Array) -> list[Flags]:
    """Return where a branch is another by itself: by its variance, and by its variance over its input's.

    A normalizer takes its input's scale out of a branch, and without one the branch follows it. Where neither is known,
    only what both say is true.
    """
    network = seen.curves.network
    as_it_is, freed = _moved(seen, factor), _moved(seen, factor / np.append(1.0, seen.variance_factor[:-1]))
    if network.known:
        return [as_it_is if network.normalized else freed]
    return [as_it_is, freed]


def _where(seen: Comparison, row: int, *ways: Flags) -> str:
    """Return in which of the blocks that can tell it is seen, or nothing where two ways to tell disagree."""
    # What is small at this row is lost, further on, in what follows from it.
    told = {_place(seen, row, flags) for flags in ways}
    return told.pop() if len(told) == 1 and not seen.fine else ""


def _place(seen: Comparison, row: int, flags: Flags) -> str:
    curves = seen.curves
    able = np.isfinite(seen.variance_factor) & (curves.layered | (curves.blocks > 0))
    after = int(able[row + 1 :].sum())
    found = int((flags & able)[row + 1 :].sum())
    if not after:
        return ""
    if not found:
        return f", in this {curves.unit} alone"
    first = not able[:row].any()
    if found == after:
        return f", in every {curves.unit}" if first else f", from here on in every {curves.unit}"
    return f", here and in {found} of the {after} {curves.unit}s after it"

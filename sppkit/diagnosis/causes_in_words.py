"""What a hypothesis about a block says: the numbers that imply it, and every cause that they leave open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.expectation import share
from sppkit.diagnosis.factors_in_words import name_factor
from sppkit.diagnosis.left_open import may_attend, may_pad, may_pool, may_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sppkit.diagnosis.expectation import Comparison

DEAD = "the branch is dead: its last gain or weight is 0, or an activation lets nothing through"
DEAD_INPUT = (
    "the signal is dead from the first row on: a gain, a weight or a normalizer's weight is 0, or an activation lets "
    "nothing through"
)
NO_RESET = "the variance does not reset: the transition's shortcut is not projected from the normalized input"
ALONE = "the skip is missing: of branch and shortcut only the branch is left"
MISSING = "the skip is missing"
# A sum that keeps less than this of its skip, or of its branch, has lost it: seeds move either by a tenth.
_NOTHING = 0.12
# Of two signals of one variance that are the same, the sum has twice the variance that independent ones have.
_CORRELATED = 2.0
# What is shown as a change, and not as rounding.
_SEEN = 1e-3


def another_input(seen: Comparison, row: int) -> str:
    """Return words for a first row that is another, its mean as well as its variance or alone."""
    change = share_change(seen, row)
    mean = f", and {_shift(seen, row)}" if abs(change) > _SEEN else ""
    place = _begin(seen)
    if not place:
        return f"the input changed{mean}: its mean or its scale is another ({_told(seen, row)})"
    unknown = not (seen.curves.layered or seen.curves.network.known)
    offers = ["a bias", "weights", "their mean", *(["a normalizer", "the activation"] if unknown else [])]
    offers += ["the pooling"] if _pools_first(seen) else []
    offers += ["the padding"] if may_pad(seen, row, float(seen.variance_factor[row])) else []
    inside = f"{', '.join(offers[:-1])} or {offers[-1]}"
    return (
        f"the input or the {place} changed{mean} ({_told(seen, row)}): the input's mean or scale, or in the {place} "
        f"{inside}"
    )


def input_scale(seen: Comparison, row: int) -> str:
    """Return words for a first row of another variance, with the same share of the mean."""
    seen_there = f"variance ×{seen.variance_factor[row]:.3g}, and the mean with it"
    place = _begin(seen)
    if not place:
        return f"the input has another scale: {seen_there}"
    normalizer = ", or a normalizer" if not (seen.curves.layered or seen.curves.network.known) else ""
    return (
        f"the input or the {place} has another scale ({seen_there}): the input's, or that of weights or a gain in the "
        f"{place}{normalizer}"
    )


def scaled_branch(seen: Comparison, row: int, where: str, *, sure: bool) -> str:
    """Return words for a branch of another variance that brings no more of a mean than that explains."""
    factor = f"the branch's variance is ×{seen.branch_factor[row]:.3g} of what it should be"
    if sure:
        return f"{factor}{where}: {name_factor(seen, row)}{_or_input(seen)}"
    by_chance = "" if seen.same_weights else ", which seeds alone may do"
    told = "" if np.isnan(share_change(seen, row)) else f", and {_shift(seen, row)}{by_chance}"
    return f"{factor}{where}{told}: {_means(seen, row)}, or its scale{_or_input(seen)}"


def _or_input(seen: Comparison) -> str:
    """Return that a branch may follow its input, where no normalizer takes that one's scale out.

    What it should have is what it has of Gaussian noise; pictures may be weaker. A baseline has seen the same.
    """
    network = seen.curves.network
    follows = network.known and not network.normalized and not network.white_input
    return ", or the input is no noise of variance 1, and no normalizer takes its scale out" if follows and (
        seen.sides == 1
    ) else ""  # fmt: skip


def share_change(seen: Comparison, row: int) -> float:
    """Return by how much the squared mean's share of the second moment is more than it should be."""
    now, due = share(seen.mean, seen.variance)[row], share(seen.expected_mean, seen.expected_variance)[row]
    return float(now - due)


def shifted_branch(seen: Comparison, row: int, where: str, *, scaled: bool) -> str:
    """Return words for a branch of another variance whose mean is another by more than that explains, or may be."""
    factor = f"the branch's variance is ×{seen.branch_factor[row]:.3g}{where}"
    return f"{_shift(seen, row)}, and {factor}: {_means(seen, row)}{', or its scale' if scaled else ''}"


def shifted_block(seen: Comparison, row: int) -> str:
    """Return words for a block or layer whose mean and variance are others, without any law of how they add."""
    seen_there = f"{_shift(seen, row)}, and the variance is ×{seen.variance_factor[row]:.3g}"
    if seen.curves.layered or not seen.branch[row] > 0:
        return f"{seen_there}: {_means(seen, row)}"
    after = "an activation or a normalizer" if _may_normalize(seen) else "an activation"
    return (
        f"{seen_there}, while the branch is sound: {_bias(seen)}, or the shortcut, or {after} after the addition, is "
        f"another or missing{_factor(seen, row)}"
    )


def scaled_block(seen: Comparison, row: int, where: str) -> str:
    """Return words for a block or layer of another variance, with the same share of the mean."""
    factor = seen.variance_factor[row]
    if seen.curves.layered or not seen.branch[row] > 0:
        normalizer = (
            "a normalizer is missing or uses stored statistics (eval mode), or " if _may_normalize(seen) else ""
        )
        scale = f"the scale of its weights or gain{_surroundings(seen, row, factor)} is another"
        return f"the variance is ×{factor:.3g}{where}: {normalizer}{scale}"
    less = "missing or smaller, or the branch is scaled twice or dropped (stochastic depth, alpha, skip gain)"
    more = "larger, or the branch is added with a larger factor (alpha, skip gain)"
    if 1 < factor < _CORRELATED:
        more += ", or weights with a mean make the branch follow the shortcut"
    return (
        f"the branch is sound and the variance is ×{factor:.3g}{where}: the shortcut is {more if factor > 1 else less}"
    )


def added_mean(seen: Comparison, row: int, where: str) -> str:
    """Return words for a mean that comes without variance."""
    normalizer = ", or a normalizer stands elsewhere" if _may_normalize(seen) else ""
    weights = "weights have another mean, or an activation is another or has an offset"
    factor = float(seen.variance_factor[row])
    # A constant moves no variance at all; padding does.
    around = "" if _is_exact(factor) else _surroundings(seen, row, factor)
    offered = f"{_bias(seen)}, {weights}{normalizer}{_factor(seen, row)}{around and f'{around} is another'}"
    return f"{_shift(seen, row)}, and {_hardly(seen, row)}{where}: {offered}"


def another_sum(seen: Comparison, row: int, where: str, found: Sequence[str]) -> str:
    """Return words for a sound branch whose sum with the skip is another."""
    sound = f"the branch is sound, and its sum with the skip is not{where}"
    if seen.fine:
        # A branch that ends with a normalizer always has its variance; what changed in it is seen in this alone.
        found = [*found, "the branch goes along with the skip otherwise (other weights, another activation or a bias)"]
        found = found if len(found) > 1 else [*found, "the skip or the branch has another factor (alpha, skip gain)"]
        return f"{sound} (×{seen.variance_factor[row]:.4g}): {'; or '.join(found)}"
    if found:
        return f"{sound}: {'; or '.join(found)}"
    return (
        f"{sound}; {_shift(seen, row)}: the skip is missing or scaled, reads another tensor or has another mean, or a "
        "bias or an activation stands after the addition"
    )


def taken(seen: Comparison, factor: float, *, nothing: bool) -> str:
    """Return words for a sum that takes so much of its branch's variance, or nothing to the last digit."""
    if nothing:
        return "the branch is not added (a skip gain of 0, or stochastic depth drops it)"
    gain = "alpha or the skip gain is" if seen.curves.network.known else "a factor before the addition (alpha) is"
    less = " too small (scaled twice), or stochastic depth has dropped it for some samples"
    if factor < _NOTHING:
        less = " too small or 0, or stochastic depth drops it"
    return f"×{factor:.3g} of the branch's variance is added: {gain}{less if factor < 1 else ' too large'}"


def kept(factor: float) -> str:
    """Return words for a sum that keeps so much of its skip's variance."""
    lost = "the skip is missing or scaled" if factor < _NOTHING else "the skip is scaled"
    return f"×{factor:.3g} of the skip's variance is kept: {lost}, or reads another tensor"


def _shift(seen: Comparison, row: int) -> str:
    now = float(share(seen.mean, seen.variance)[row])
    due = float(share(seen.expected_mean, seen.expected_variance)[row])
    # As many digits as it takes to see it.
    digits = next((count for count in (2, 3, 4) if f"{now:.{count}g}" != f"{due:.{count}g}"), 5)
    way = "shifts" if now > due else "falls"
    return f"the mean {way}, from {due:.{digits}g} to {now:.{digits}g} of the second moment"


def _factor(seen: Comparison, row: int) -> str:
    scaled = ", or the branch, which has a mean, is added with another factor (alpha, stochastic depth)"
    return scaled if may_scale(seen, row) else ""


def _hardly(seen: Comparison, row: int) -> str:
    factor = float(seen.variance_factor[row])
    return "no variance with it" if _is_exact(factor) else f"hardly any variance with it (×{factor:.4g})"


def _is_exact(factor: float) -> bool:
    return not abs(np.log(factor)) > _SEEN


def _means(seen: Comparison, row: int) -> str:
    grew = seen.mean[row] * seen.expected_variance[row] > seen.expected_mean[row] * seen.variance[row]
    others = f"{'weights are not centred' if grew else 'weights are centred'}, {_bias(seen)}"
    around = _surroundings(seen, row, float((seen.variance_factor if seen.curves.layered else seen.branch_factor)[row]))
    around = f"{around} is another" if around else ""
    if not _may_normalize(seen):
        return f"{others}, or the activation is another or missing{around}"
    order = (
        "stands before the activation instead of after it"
        if grew
        else "stands after the activation instead of before it (BatchNorm and ReLU swapped)"
    )
    normalizer = f"a normalizer is missing, uses stored statistics (eval mode) or {order}"
    return f"{normalizer}; or {others}, or the activation is another or missing{around}"


def _surroundings(seen: Comparison, row: int, factor: float) -> str:
    """Return what else may be another in a row: its pooling, its padding, its attention."""
    offers = [(may_pool(seen, row), "its pooling"), (may_pad(seen, row, factor), "its padding")]
    offers.append((may_attend(seen, row), "attention's scale or mask"))
    return "".join(f", or {offer}" for may, offer in offers if may)


def _bias(seen: Comparison) -> str:
    return "a bias is not 0" if seen.sides == 1 else "a bias is another"


def _may_normalize(seen: Comparison) -> bool:
    return seen.curves.network.norm != "none"


def _pools_first(seen: Comparison) -> bool:
    network = seen.curves.network
    pictures = bool(seen.curves.rows["width"].notna()[0])
    return network.pooled if network.known else pictures and not seen.curves.layered


def _begin(seen: Comparison) -> str:
    """Return what stands before the first row beside the input; nothing where the row is the input."""
    if seen.curves.names[0] == "input":
        return ""
    return "first layer" if seen.curves.layered else "stem"


def _told(seen: Comparison, row: int) -> str:
    pairs = (("squared mean", seen.mean, seen.expected_mean), ("variance", seen.variance, seen.expected_variance))
    return ", ".join(f"{name} {due[row]:.3g} → {now[row]:.3g}" for name, now, due in pairs)

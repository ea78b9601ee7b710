"""What a network returns, against the baseline's: what comes after the last row shows nowhere else.

Judged only where every row is the baseline's, with the same weights and input: then what differs was changed after the
last of them. A change of weights that are read there (a head's) is one, too, and the verdict names them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sppkit.gate.against_baseline import iter_unlike_digits
from sppkit.gate.verdict import Finding
from sppkit.record.read import counts_at, mapping_at
from sppkit.record.table import OUTPUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sppkit.curves.curves import Array
    from sppkit.gate.compared import Compared
    from sppkit.gate.policy import Policy
    from sppkit.gate.verdict import Level

NAME = OUTPUT
_MEAN, _VARIANCE, _SHARE = "channel_squared_mean", "channel_variance", "mean_share"


def iter_output(compared: Compared, policy: Policy) -> Iterator[Finding]:
    """Yield that a network returns something else, though every row is the baseline's; nothing where it is unknown."""
    sides = _paired(compared)
    if sides is None:
        return
    (mean, variance), (base_mean, base_variance) = sides
    allowed, change = policy.ratio(_VARIANCE, NAME), policy.change(_SHARE, NAME)
    ratios = variance / base_variance
    if allowed is not None and _is_beyond(np.log(ratios), math.log(allowed[0])):
        ratio = float(np.exp(np.log(ratios).mean()))
        expected = float(np.exp(np.log(base_variance).mean()))
        within = expected * math.exp(math.copysign(math.log(allowed[0]), ratio - 1))
        reason = f"the baseline, within a factor {allowed[0]:g}"
        yield _finding(compared, _VARIANCE, expected, expected * ratio, within, allowed[1], reason)
        return
    share, base_share = mean / (mean + variance), base_mean / (base_mean + base_variance)
    if change is not None and _is_beyond(share - base_share, change[0]):
        expected, found = float(base_share.mean()), float(share.mean())
        within = expected + math.copysign(change[0], found - expected)
        yield _finding(compared, _SHARE, expected, found, within, change[1], f"the baseline, within {change[0]:g}")


def iter_inexact_output(compared: Compared) -> Iterator[Finding]:
    """Yield a number of what a network returns that is not the baseline's, to the nine digits that both hold."""
    sides = _paired(compared)
    for statistic, new, base in zip((_MEAN, _VARIANCE), *sides, strict=True) if sides is not None else ():
        yield from iter_unlike_digits(statistic, NAME, int(compared.new.blocks[-1]) + 1, zip(new, base, strict=True))


def _paired(compared: Compared) -> tuple[tuple[Array, Array], tuple[Array, Array]] | None:
    """Return squared mean and variance of both sides, shape (shared seeds,), where they can be held together."""
    pairing, new, base = compared.pairing, compared.new, compared.base
    every = len(new.blocks) == len(base.blocks) == len(compared.matching.pairs)
    if not every or not pairing.seeds or pairing.first is not None or pairing.until < len(new.blocks):
        return None
    # A head that was drawn anew has other scores by chance.
    weights = pairing.weights
    if weights is None or weights.redrawn or _shape(new.record) != _shape(base.record):
        return None
    found = []
    for side, places in ((new, pairing.places[0]), (base, pairing.places[1])):
        columns = [_column(side.record.get(NAME), name, len(side.seeds)) for name in (_MEAN, _VARIANCE)]
        mean, variance = (None if column is None else column[places] for column in columns)
        if mean is None or variance is None or not (variance > 0).all():
            return None
        found.append((mean, variance))
    return found[0], found[1]


def _column(output: object, name: str, seeds: int) -> Array | None:
    # A baseline is a file that anybody may have written.
    values = mapping_at({NAME: output}, NAME).get(name)
    if not isinstance(values, list) or len(values) != seeds:
        return None
    if not all(isinstance(value, float | int) and not isinstance(value, bool) and value >= 0 for value in values):
        return None
    column = np.array(values, dtype=np.float64)
    return column if np.isfinite(column).all() else None


def _shape(record: Mapping[str, Any]) -> list[int]:
    return counts_at(mapping_at(record, NAME), "shape")


def _is_beyond(changes: Array, limit: float) -> bool:
    # Weights and input are the same: every seed shows a change, with one sign, and chance has no part in it.
    return bool(abs(changes.mean()) > limit and (np.sign(changes) == np.sign(changes[0])).all())


def _finding(
    compared: Compared, statistic: str, expected: float, found: float, within: float, level: Level, reason: str
) -> Finding:
    new = compared.new
    return Finding(
        statistic=statistic,
        name=NAME,
        block=int(new.blocks[-1]) + 1,
        limit=within,
        expected=expected,
        found=found,
        ratio=found / expected if expected > 0 else None,
        level=level,
        kind="baseline",
        seeds=len(compared.pairing.seeds),
        cause=f"every row is the baseline's, and what the network returns is not: what comes after {new.names[-1]} "
        "changed, as a last activation or normalizer, a pool, or the weights or bias of a head",
        reason=reason,
    )

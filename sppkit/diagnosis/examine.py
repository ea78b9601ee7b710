"""One examination of one table: the rules and the limits of its kind of network, and the one fault that comes first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.laws import QUANTITIES
from sppkit.diagnosis.against_theory import iter_off_theory
from sppkit.diagnosis.beyond_limits import first_of, iter_beyond
from sppkit.diagnosis.explain import explain
from sppkit.diagnosis.result import Diagnosis, predicted
from sppkit.diagnosis.rules import apply_rules
from sppkit.diagnosis.unexpected_gradient import UNEXPECTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.beyond_limits import Excess
    from sppkit.diagnosis.limit import Limits

_ORDER = {"error": 0, "warning": 1, "remark": 2}
# What an excess is called, by its law or by the column that shows it.
_NAMES = {
    "growth": "exploding-variance",
    "variance_kept": "vanishing-variance",
    "channel_squared_mean": "mean-shift",
    "channel_variance": "unexpected-variance",
    "residual_variance": "unexpected-branch",
}
# Which law a rule judges: where a policy has another limit for it, the policy decides.
JUDGED_BY = {
    "mean-shift": "mean_shift",
    "exploding-variance": "growth",
    "vanishing-variance": "variance_kept",
    "no-reset": "reset",
    "unexpected-branch": "branch_level",
    "wrong-gain": "branch_level",
    "missing-se-factor": "branch_level",
    "dead-branch": "residual_variance",
    "dominant-branch": "addition",
    "non-finite": "nonfinite",
}
_FOLLOWS = "it follows from what begins at"


@dataclass(frozen=True)
class Examination:
    """What was found in one table.

    Attributes:
        excesses: Every quantity beyond its limit or off theory, at every block.
        diagnoses: Errors, then warnings, then remarks.
    """

    excesses: tuple[Excess, ...]
    diagnoses: tuple[Diagnosis, ...]

    @property
    def faults(self) -> list[Diagnosis]:
        """The diagnoses that are no remarks, the first bad block first."""
        return sorted(filter(is_fault, self.diagnoses), key=lambda item: item.block)


def examine(curves: Curves, limits: Limits) -> Examination:
    """Judge curves by the rules and by the limits of their kind of network.

    Where both see a fault, they see one: the rule's, if it begins no later than the first limit that is passed. A fault
    that begins later follows from it, and is told only where it is an error.
    """
    excesses = [*iter_beyond(curves, limits), *iter_off_theory(curves, limits)]
    found = [_with_cause(curves, diagnosis) for diagnosis in apply_rules(curves)]
    first = first_of(excesses)
    if first is not None:  # so is the gradient of a signal that is off theory
        found = [diagnosis for diagnosis in found if diagnosis.name != UNEXPECTED]
    begins = min((diagnosis.block for diagnosis in found if is_fault(diagnosis)), default=None)
    if first is not None and (begins is None or curves.blocks[first.row] < begins):
        worst = max(_like(excesses, first), key=lambda excess: excess.size)
        diagnosis = _of_excess(curves, first, worst)
        found = [diagnosis, *_iter_consequences(curves, found, diagnosis)]
    ordered = sorted(found, key=lambda item: _ORDER[item.severity])
    return Examination(tuple(excesses), tuple(ordered))


def is_fault(diagnosis: Diagnosis) -> bool:
    """Return whether a diagnosis says that something is wrong."""
    return diagnosis.severity != "remark"


def _iter_consequences(curves: Curves, found: list[Diagnosis], first: Diagnosis) -> Iterator[Diagnosis]:
    for diagnosis in found:
        # Where a fault was found, nothing of its kind is healthy but for a remark.
        same_fault = diagnosis.name == first.name or diagnosis.remedy == first.remedy
        if same_fault or (diagnosis.statistic == first.statistic and not is_fault(diagnosis)):
            continue
        if diagnosis.severity == "error" and not diagnosis.certain:
            yield replace(diagnosis, cause=f"{_FOLLOWS} {curves.unit} {first.block} ({first.block_name})")
        elif diagnosis.severity != "warning":
            yield diagnosis


def _with_cause(curves: Curves, diagnosis: Diagnosis) -> Diagnosis:
    if diagnosis.certain:
        return diagnosis
    row = int(np.flatnonzero(curves.blocks == diagnosis.block)[0])
    return replace(diagnosis, cause=explain(curves, None, row, diagnosis.statistic) or diagnosis.cause)


def _like(excesses: list[Excess], first: Excess) -> list[Excess]:
    return [
        item for item in excesses if (item.quantity, item.kind, item.level) == (first.quantity, first.kind, first.level)
    ]


def _of_excess(curves: Curves, first: Excess, worst: Excess) -> Diagnosis:
    column, found = _column(worst), worst.found
    if worst.kind == "policy" and worst.quantity in QUANTITIES:
        found = float(curves.seed_mean(column)[worst.row])
    expected, spread = predicted(curves, column, worst.row) if worst.kind == "prediction" else (None, None)
    return Diagnosis(
        name=_NAMES.get(first.quantity) or _NAMES.get(column, f"unexpected-{column.replace('_', '-')}"),
        severity="error" if first.level == "error" else "warning",
        block=int(curves.blocks[first.row]),
        block_name=curves.names[first.row],
        worst_block=int(curves.blocks[worst.row]),
        statistic=column,
        found=found,
        limit=worst.limit * found / worst.found if worst.found > 0 else worst.limit,
        expected=expected,
        spread=spread,
        fact=_fact(curves, first),
        cause=explain(curves, None, first.row, first.quantity),
        remedy=curves.network.calibrate
        if curves.network.stored
        else f"look at {curves.names[first.row]} and at what comes before it",
    )


def _column(excess: Excess) -> str:
    law = QUANTITIES.get(excess.quantity)
    return excess.quantity if law is None else law.spread


def _fact(curves: Curves, excess: Excess) -> str:
    law = QUANTITIES.get(excess.quantity)
    words = excess.quantity.replace("_", " ") if law is None else law.words
    where = f"from {curves.named(excess.row)} on" if excess.kind == "prediction" else f"at {curves.named(excess.row)}"
    if excess.kind == "prediction":
        return (
            f"The {words} is another than theory expects {where}: {excess.found:.3g} there, not {excess.expected:.3g}"
        )
    side = "above" if excess.found > excess.limit else "below"
    return f"The {words} is {excess.found:.3g} {where}, {side} the {excess.limit:.3g} of a healthy network"

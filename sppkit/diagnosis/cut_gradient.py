"""A gradient that is exactly 0: nothing comes back from the last row, past some row or through some branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.result import Diagnosis
from sppkit.record.read import mapping_at, text_at

if TYPE_CHECKING:
    from sppkit.curves.curves import Array, Curves
    from sppkit.diagnosis.result import Severity

_GRADIENT, _SHARE = "gradient_second_moment", "branch_gradient_share"
# The smallest number of a type that keeps all its digits: a gradient of less than a hundred times that may have gone to
# 0 by rounding.
_SMALLEST = {"float16": 6.1e-5}
_SMALLEST_OF_OTHERS = 1.2e-38
_ABOVE = 100.0
# What the record says of a last row of which there is no gradient to send back.
_CUT = "it is detached"
# A branch that does not depend on the signal (an embedding that is added) has no share in many blocks; one that was cut
# by mistake is an exception.
_FEW = 0.25


def find_cut_gradient(curves: Curves) -> Diagnosis | None:
    """Find the row from which on nothing comes back: every row before it has the gradient 0, none after it."""
    gradient, last = _over_seeds(curves, _GRADIENT), len(curves.blocks) - 1
    if np.isnan(gradient).all():
        return _find_cut_end(curves, last)
    silent = np.flatnonzero(gradient == 0)
    # Rows beside the way to the last one, as of a second tower, are no beginning of it.
    if not len(silent) or silent[-1] == last or len(silent) != silent[-1] + 1 or not _has_signal(curves, silent[-1]):
        return None
    begins = int(silent[-1]) + 1
    if not gradient[begins] > (_ABOVE * _smallest(curves)) ** 2:
        return None
    before = f"{curves.named(begins - 1)} and the {len(silent) - 1} rows before it" if len(silent) > 1 else (
        curves.named(begins - 1)
    )  # fmt: skip
    return _found(
        curves,
        "cut-gradient",
        "error" if curves.network.known else "warning",
        begins,
        _GRADIENT,
        float(gradient[begins]),
        fact=f"No gradient comes back to {before}: it ends in {curves.named(begins)}",
        cause="its input is detached, or it is computed under torch.no_grad() or without a derivative",
        remedy="let autograd see it, unless what is before it is not meant to be trained",
    )


def _find_cut_end(curves: Curves, last: int) -> Diagnosis | None:
    """Find a last row whose value autograd does not know, which the record tells."""
    if _CUT not in text_at(mapping_at(curves.record, "gradient"), "absent"):
        return None
    return _found(
        curves,
        "cut-gradient",
        "error" if curves.network.known else "warning",
        last,
        "channel_variance",
        float(curves.seed_mean("channel_variance")[last]),
        fact=f"No gradient comes back through {curves.named(last)}, the last row: its value can't be differentiated",
        cause="it is detached, computed under torch.no_grad() or by an operation without a derivative",
        remedy="let autograd see it, unless what is before it is not meant to be trained",
    )


def find_cut_branch(curves: Curves) -> Diagnosis | None:
    """Find a branch that has a signal and lets nothing back, where most others do."""
    if _SHARE not in curves.table:
        return None
    share, branch = _over_seeds(curves, _SHARE), _over_seeds(curves, "residual_variance")
    known, cut = np.isfinite(share), (share == 0) & (branch > 0)
    if not cut.any() or cut.sum() > _FEW * known.sum():
        return None
    begins, more = int(np.flatnonzero(cut)[0]), int(cut.sum()) - 1
    others = f" (nor in {more} more)" if more else ""
    return _found(
        curves,
        "cut-branch",
        "error" if curves.network.known else "warning",
        begins,
        _SHARE,
        0.0,
        fact=f"No gradient comes back through the branch of {curves.named(begins)}{others}, which has a signal",
        cause="it is detached, computed under torch.no_grad(), or ends in an operation without a derivative, such as a "
        "rounding without a straight-through estimator",
        remedy="let autograd see it, unless it is not meant to depend on its input",
    )


def _over_seeds(curves: Curves, column: str) -> Array:
    """Return a column where all seeds have it; the largest of them, so that a zero is one in all."""
    values: Array = curves.values(column).max(axis=0)
    return values


def _has_signal(curves: Curves, row: int) -> bool:
    return bool(not curves.nonfinite.any() and curves.seed_mean("channel_variance")[row] > 0)


def _smallest(curves: Curves) -> float:
    return _SMALLEST.get(text_at(curves.record, "dtype"), _SMALLEST_OF_OTHERS)


def _found(
    curves: Curves, name: str, severity: Severity, row: int, statistic: str, found: float, **words: str
) -> Diagnosis:
    number = int(curves.blocks[row])
    return Diagnosis(
        name=name,
        severity=severity,
        block=number,
        block_name=curves.names[row],
        worst_block=number,
        statistic=statistic,
        found=found,
        limit=0.0,
        expected=None,
        spread=None,
        fact=words["fact"],
        cause=words["cause"],
        remedy=words["remedy"],
    )

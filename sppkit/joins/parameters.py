"""Which parameters every row of a table was computed with, and which ones the model does not know."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from sppkit.joins.joins import Findings
    from sppkit.joins.observe import Observer


def with_parameters(findings: Findings, observer: Observer, model: nn.Module) -> Findings:
    """Return findings that hold the parameters that the pass has used: those that a model knows, and others."""
    own = {parameter: name for name, parameter in model.named_parameters()}
    known, foreign = [], []
    for parameter, (path, made) in observer.parameters.items():
        if parameter in own:
            known.append((own[parameter], made + 1))  # the operation that uses it makes the next signal
        else:
            foreign.append((path, parameter.numel()))
    return replace(findings, parameters=tuple(known), unregistered=tuple(foreign))


def parameters_by_block(findings: Findings) -> dict[int, list[str]]:
    """Return the names of those parameters that were first used since the row before was made, by block.

    Row 0 is the first join's input. What comes after the last row, a head, belongs to none.
    """
    first = findings.joins[0].input or findings.joins[0].skip
    zero = [] if findings.kind == "module" or first is None else [(first.order, 0)]
    start = 0 if findings.kind == "module" else 1
    rows = sorted([*zero, *((join.order, block) for block, join in enumerate(findings.joins, start))])
    ends = [order for order, _ in rows]
    shared: dict[int, list[str]] = {}
    for name, order in findings.parameters:
        row = bisect_left(ends, order)
        if row < len(rows):
            shared.setdefault(rows[row][1], []).append(name)
    return shared

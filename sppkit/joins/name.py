"""From an observed forward pass to what was found in it: names, places and reasons."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sppkit.joins.joins import Findings, Join, Rejected, Value
from sppkit.joins.parameters import with_parameters

if TYPE_CHECKING:
    from torch import nn

    from sppkit.joins.candidate import Candidate
    from sppkit.joins.graph import Frame, Node
    from sppkit.joins.observe import Observer


def tell(observer: Observer, name: str, model: nn.Module) -> Findings:
    """Return what was found in a forward pass of a model, whose class has a name.

    Residual additions are the rows; where there are none, concatenations that append features to their own input;
    where there are none of these either, the leaf modules in the order of their calls.
    """
    names = _Names(observer, name)
    additions = [item for item in observer.candidates if item.kind == "addition"]
    dense = [item for item in observer.candidates if item.kind == "concatenation" and item.accepted]
    rejected = tuple(names.rejected(item) for item in additions if not item.accepted)
    joined = [item for item in additions if item.accepted]
    if joined or dense:
        rows = joined or dense
        found = Findings(name, names.joins(rows), rows[0].kind, rejected, len(dense) if joined else 0)
        return with_parameters(found, observer, model)
    leaves = tuple(
        Join(names.call(frame), frame.path, "module", place(node), node.number)
        for frame, node, _ in observer.leaves
        if node is not None and node.key.call >= 0
    )
    skipped = tuple(f"{names.call(frame)} {what}" for frame, node, what in observer.leaves if node is None)
    return with_parameters(Findings(name, leaves, "module", rejected, 0, skipped), observer, model)


def place(node: Node, axis: int | None = None) -> Value:
    """Return a value as a place to listen at."""
    name = "input" if node.operation is None else node.operation.name
    return Value(node.key, node.shape, node.axis if axis is None else axis, name, node.number)


class _Names:
    """Names of joins: the module's path, and what tells several of one path apart."""

    def __init__(self, observer: Observer, model: str) -> None:
        self._calls = observer.calls
        self._model = model
        self._rejected: Counter[Frame] = Counter()

    def call(self, frame: Frame) -> str:
        call = f"@{frame.call}" if self._calls[frame.path] > 1 else ""
        return (frame.path or self._model) + call

    def joins(self, rows: list[Candidate]) -> tuple[Join, ...]:
        several = Counter(row.output.frame for row in rows)
        seen: Counter[Frame] = Counter()
        joins = []
        for row in rows:
            frame = row.output.frame
            seen[frame] += 1
            number = f"#{seen[frame]}" if several[frame] > 1 else ""
            joins.append(_join(row, self.call(frame) + number))
        return tuple(joins)

    def rejected(self, candidate: Candidate) -> Rejected:
        frame = candidate.output.frame
        self._rejected[frame] += 1
        name = f"{self.call(frame)}~{self._rejected[frame]}"
        return Rejected(name, _join(candidate, name), candidate.reason)


def _join(candidate: Candidate, name: str) -> Join:
    parts = {
        "input": candidate.input,
        "skip": candidate.skip,
        "branch": candidate.branch,
        "scaled_branch": candidate.scaled,
    }
    axes = {"branch": candidate.branch_axis, "scaled_branch": candidate.output.axis, "skip": candidate.output.axis}
    # What no operation makes, such as the sides of a fused product, can't be listened at.
    places = {
        role: place(node, axes.get(role)) if node is not None and node.key.call >= 0 else None
        for role, node in parts.items()
    }
    output = candidate.output
    beside = tuple(place(node, output.axis) for node in candidate.beside)
    return Join(
        name,
        output.frame.path,
        candidate.kind,
        place(output),
        output.number,
        beside=beside,
        reason=candidate.reason,
        layer=_last_layer(candidate),
        **places,
    )


def _last_layer(candidate: Candidate) -> str:
    """Return the path of the last module that a branch went through, other than that of the join."""
    node, first = candidate.branch, 0 if candidate.root is None else candidate.root.number
    while node is not None and node.number > first:
        if node.frame.path != candidate.output.frame.path:
            return node.frame.path
        node = max(node.parents, key=lambda parent: parent.number, default=None)
    return ""

"""What a forward pass computed from what: values, the operations that made them, and their nearest common origin.

Values are numbered in the order in which they were made, so an origin always has a smaller number than what was
computed from it. No signal is kept here, only shapes.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sppkit.joins.operations import Operation


class Key(NamedTuple):
    """Where in a forward pass a value is made; the same in every pass that takes the same way.

    Attributes:
        path: Qualified name of the innermost module that was being called; empty for the model itself.
        call: Which call of that module in this pass it was, from 1; 0 for an input of the model.
        step: Number of the operation in that call, counting those that depend on the input; of an input, its position.
        output: Which output of the operation.
    """

    path: str
    call: int
    step: int
    output: int = 0


@dataclass(eq=False, slots=True)
class Frame:
    """One call of a module.

    Attributes:
        path: Qualified name; empty for the model itself.
        kind: Name of the module's class.
        call: Number of the call, from 1.
        parent: The call that it happened in.
        internal: Whether it is a layer of torch's own, inside which no residual join is looked for.
        operations: How many operations have run in it.
        views: How many views of memory that was changed have been read in it.
        sums: How many additions of two signals have run in it.
        first: Number of the first value that was made after the call began.
        inner: Whether a module that it called has returned a signal.
    """

    path: str
    call: int
    parent: Frame | None
    internal: bool
    first: int
    operations: int = 0
    sums: int = 0
    views: int = 0
    inner: bool = False
    kind: str = ""


@dataclass(eq=False, slots=True)
class Node:
    """One value of a forward pass.

    Attributes:
        number: Later values have larger numbers.
        key: Where it was made.
        frame: The module call that made it.
        operation: What made it; None for an input of the model.
        parents: The floating-point signals it was computed from. Integers and truth values carry no signal on: an index
            or a mask that was computed from the input is not a way that the signal took.
        shape: Its shape.
        floating: Whether it is floating-point or complex.
        axis: Axis of its channels, or None where that could not be told.
        weighted: Whether the operation applied a weight: a matrix or filters that are no signal.
        factor: The number that a product multiplies by, or a sum its second side; None where there is none.
    """

    number: int
    key: Key
    frame: Frame
    operation: Operation | None
    parents: tuple[Node, ...]
    shape: tuple[int, ...]
    floating: bool
    axis: int | None = None
    weighted: bool = False
    factor: float | None = None


def largest(nodes: Iterable[Node | None]) -> Node | None:
    """Return the value with the most elements; the first of them, and None where there is no signal."""
    signals = (node for node in nodes if node is not None)
    return max(signals, key=lambda node: prod(node.shape), default=None)


def nearest_common(a: Node, b: Node) -> Node | None:
    """Return the latest value that both of two values were computed from; each counts as its own origin."""
    if a is b:
        return a
    marks = {a: 1, b: 2}
    heap = [(-a.number, 0, a), (-b.number, 1, b)]
    heapq.heapify(heap)
    while heap:
        node = heapq.heappop(heap)[2]
        if marks[node] == 3:
            return node
        for parent in node.parents:
            if parent not in marks:
                heapq.heappush(heap, (-parent.number, parent.key.output, parent))
            marks[parent] = marks.get(parent, 0) | marks[node]
    return None


def descends(node: Node, origin: Node) -> bool:
    """Return whether a value was computed from another; true of a value and itself."""
    return any(visited is origin for visited in _iter_back(node, origin.number))


def _iter_back(node: Node, first: int) -> Iterator[Node]:
    seen, stack = {node}, [node]
    while stack:
        current = stack.pop()
        yield current
        fresh = [parent for parent in current.parents if parent.number >= first and parent not in seen]
        seen.update(fresh)
        stack += fresh


@dataclass(slots=True)
class Way:
    """The operations between an origin and what was computed from it.

    Attributes:
        nodes: What they made, in order; without the origin.
        weights: The largest number of weights applied one behind the other.
    """

    nodes: list[Node] = field(default_factory=list)
    weights: int = 0


def way_between(origin: Node, end: Node) -> Way:
    """Return everything on the ways from one value to another."""
    depth = {origin: 0}
    way = Way()
    for node in sorted(_iter_back(end, origin.number), key=lambda node: node.number):
        before = [depth[parent] for parent in node.parents if parent in depth]
        if node is not origin and before:
            depth[node] = max(before) + node.weighted
            way.nodes.append(node)
    way.weights = depth.get(end, 0)
    return way

"""Scales and gates: what a branch is multiplied by on its way into the join, and what belongs to it.

Products with parameters, numbers and random masks change nothing that a residual variance should tell. But not every
product with a number is such a scale: the 2 behind squeeze-and-excite in an NFNet makes up for the gate, and is a part
of what the branch computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sppkit.joins.graph import Frame, Node

# What a norm that is written by hand divides by.
_ROOTS = frozenset({"rsqrt", "sqrt", "reciprocal", "linalg_vector_norm", "std"})


def strip(node: Node) -> tuple[Node, Node]:
    """Walk back from a value through its scales: products with numbers, parameters and random masks."""
    current = unscaled = node
    while current.operation is not None and len(current.parents) == 1:
        parent = current.parents[0]
        if _is_scale(current):
            unscaled = parent
        elif not (current.operation.view and _same_size(current, parent)):
            break
        current = parent
    return current, unscaled


def end_of_branch(scaled: Node, bare: Node, join: Node) -> Node:
    """Return the branch before its scale.

    Parameters and random masks are scales wherever they stand. A number is one where it is the last before the join in
    the module call that adds and does not make up for a gate, or in a module that does nothing but scale.

    Args:
        scaled: The branch as it enters the join.
        bare: The same without any factor.
        join: The sum.
    """
    if strip(scaled)[0] is not bare:  # a gate was taken off as well
        return bare
    current = end = scaled
    # A sum that multiplies has the last number in itself.
    spent = join.factor is not None
    while current is not bare:
        parent = current.parents[0]
        if _is_scale(current):
            if current.factor is not None:
                if not _is_outside(current, join.frame, spent=spent):
                    return end
                spent |= current.frame is join.frame
            end = parent
        current = parent
    return end


def _is_outside(node: Node, adding: Frame, *, spent: bool) -> bool:
    """Return whether a product with a number stands outside of what the branch computes."""
    if node.frame is adding:
        return not (spent or _makes_up_for_gate(node))
    current = node
    while current.frame is node.frame and len(current.parents) == 1:
        if not (_is_scale(current) or (current.operation is not None and current.operation.view)):
            return False
        current = current.parents[0]
    return current.number < node.frame.first


def _makes_up_for_gate(node: Node) -> bool:
    if node.factor is None or abs(node.factor) <= 1:
        return False
    gated = strip(node)[0]
    return any(gate_root(gate) is not None for _, gate in factors_of(gated))


def factors_of(node: Node) -> list[tuple[Node, Node]]:
    """Return a product's two factors in both orders; nothing of what is no product of two signals."""
    if node.operation is None or node.operation.name != "mul" or len(node.parents) != 2:
        return []
    first, second = node.parents
    return [(first, second), (second, first)]


def gate_root(node: Node) -> Node | None:
    """Return what a gate is the sigmoid or softmax of; None if it is no gate."""
    gated = False
    while node.operation is not None and len(node.parents) == 1:
        if not (node.operation.pointwise or node.operation.view or node.operation.softmax):
            break
        gated |= node.operation.gates
        node = node.parents[0]
    return node if gated else None


def _is_scale(node: Node) -> bool:
    operation, parent = node.operation, node.parents[0]
    if operation is None or not _same_size(node, parent):
        return False
    if "dropout" in operation.name:
        return True
    # The product with the weight of a norm is no scale of the branch.
    return operation.name in {"mul", "div"} and not _is_normalized(parent)


def _is_normalized(node: Node) -> bool:
    """Return whether a value was divided by its own root mean square or standard deviation, by hand."""
    while node.operation is not None and node.operation.view and len(node.parents) == 1:
        node = node.parents[0]
    if node.operation is None or node.operation.name not in {"mul", "div"} or len(node.parents) < 2:
        return False
    return any(_is_root(parent) for parent in node.parents)


def _is_root(node: Node) -> bool:
    while (
        node.operation is not None and (node.operation.view or node.operation.name == "add") and len(node.parents) == 1
    ):
        node = node.parents[0]
    return node.operation is not None and node.operation.name in _ROOTS


def _same_size(a: Node, b: Node) -> bool:
    size_a = size_b = 1
    for size in a.shape:
        size_a *= size
    for size in b.shape:
        size_b *= size
    return size_a == size_b

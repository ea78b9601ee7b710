"""Telling residual joins from other sums, and the branch from the skip, by where the summed values came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.joins.graph import descends, nearest_common, way_between
from sppkit.joins.scales import end_of_branch, factors_of, gate_root, strip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sppkit.joins.candidate import Candidate
    from sppkit.joins.graph import Node, Way

IDENTITY = "the skip is what the branch was computed from"
PARALLEL = "the skip already holds another branch of the same input"
PART = "the skip is a part of what the branch was computed from, unchanged"
PROJECTED = "both sides were computed from one signal: the branch is the longer way ({} weights, not {})"
APPENDED = "new features are put beside what they were computed from"

SAME = "a signal is added to itself"
UNRELATED = "the two sides come from different inputs"
ATTENUATED = "the longer side is the other side itself, times a gate"
ELEMENTWISE = "the longer side is a function of each element by itself"
EQUAL = "both sides are equally long ways from one signal: a sum of branches without a skip"
INNER = "it is itself a branch of the next join"
BESIDE = "another branch of the same input is added to it at once: the block has one row"
DETAIL = "it is a detail of a branch: the residual stream is not carried on through it"
FEWER_AXES = "one side has fewer axes than the other, and is added to each of its parts"
DIFFERENCE = "it is a difference, which may be no more than what is compared with what"
COMPLEX = "its numbers are complex"
SOFTMAX = "it goes into a softmax: these are scores"


def judge_sum(candidate: Candidate, a: Node, b: Node, joins: Mapping[Node, Candidate]) -> None:
    """Decide whether a sum is a residual join, and which side is which.

    Where one side was computed from the other (scales aside), the other is the skip. Where both were computed, the
    branch is the longer way from their nearest common origin; ways that are linear in it (projected shortcuts) are
    taken for the shorter ones.
    """
    bare_a, bare_b = _without_gate(a, b)
    origin = nearest_common(bare_a, bare_b)
    candidate.sides = a, b
    # What it would be if the user says that it is a join after all.
    _take(candidate, a, bare_a, b, bare_b)
    candidate.origin = origin
    if origin is None:
        candidate.reason = UNRELATED
    elif bare_a is bare_b:
        candidate.reason = SAME
    elif origin in {bare_a, bare_b}:
        _take(candidate, *((a, bare_a, b, bare_b) if origin is bare_a else (b, bare_b, a, bare_a)))
        _check_work(candidate, way_between(origin, bare_b if origin is bare_a else bare_a))
    elif (parallel := _find_parallel(bare_a, bare_b, joins)) is not None:
        _take(candidate, *((a, bare_a, b, bare_b) if parallel is bare_a else (b, bare_b, a, bare_a)))
        candidate.accepted, candidate.reason = True, PARALLEL
    else:
        _judge_ways(candidate, origin, (a, bare_a), (b, bare_b))
    if len(a.shape) != len(b.shape) and candidate.accepted:
        candidate.accepted, candidate.reason = False, FEWER_AXES
    _settle_axes(candidate)


def orient(candidate: Candidate, *, first_is_skip: bool) -> None:
    """Make a join of a sum of equally long ways, where it is known from elsewhere which side is which."""
    a, b = candidate.sides
    bare_a, bare_b = _without_gate(a, b)
    sides = ((a, bare_a), (b, bare_b)) if first_is_skip else ((b, bare_b), (a, bare_a))
    if candidate.origin is not None:
        _judge_sides(candidate, candidate.origin, *sides)
    _settle_axes(candidate)


def judge_concatenation(candidate: Candidate, operands: list[Node]) -> None:
    """Decide whether a concatenation appends features to what they were computed from, as in a DenseNet."""
    branch = max(operands, key=lambda node: node.number)
    for skip in operands:
        origin = nearest_common(skip, branch) if skip is not branch else None
        if origin is None or _mixes(way_between(origin, skip)) or not _mixes(way_between(origin, branch)):
            continue
        _take(candidate, skip, strip(skip)[0], branch, strip(branch)[0])
        candidate.accepted, candidate.reason = True, APPENDED
        _settle_axes(candidate)
        return
    candidate.reason = EQUAL


def is_detail(inner: Candidate, outer: Candidate) -> bool:
    """Return whether a sum is a detail of the branch of a join in the same module call.

    So is a sum of two branches that is the branch, and a sum with a part of a signal that was made on the branch,
    as in Res2Net.
    """
    if outer.scaled is None or outer.origin is None or inner.origin is None:
        return False
    if strip(outer.scaled)[0] is inner.output and not inner.identity and not inner.projected:
        return True
    if not inner.partial or inner.output.frame is not outer.output.frame:
        return False
    made_inside = inner.origin is not outer.origin and descends(inner.origin, outer.origin)
    return made_inside and descends(outer.scaled, inner.output)


def iter_scores(node: Node, joins: Mapping[Node, Candidate]) -> Iterator[Candidate]:
    """Yield every join whose output reaches a softmax without another layer or join between."""
    stack, seen = [node], {node}
    while stack:
        current = stack.pop()
        if current in joins:
            yield joins[current]
        if current in joins or current.operation is None or current.operation.mixes:
            continue
        fresh = [parent for parent in current.parents if parent not in seen]
        seen.update(fresh)
        stack += fresh


def block_input(candidate: Candidate, origin: Node) -> Node:
    """Return what the block of a join starts from.

    A block that normalizes and activates its input before both of its ways starts before these. Only within the
    module that the join happens in: outside of it they belong to what comes before.
    """
    frame, node = candidate.output.frame, origin
    if frame.parent is None:
        return node
    while node.number >= frame.first and len(node.parents) == 1 and node.operation is not None:
        if node.operation.mixes and not node.operation.normalizes:
            break
        node = node.parents[0]
    return node if node.number < frame.first else origin


def _take(candidate: Candidate, skip: Node, root: Node, branch: Node, bare: Node) -> None:
    candidate.skip, candidate.root, candidate.scaled = skip, root, branch
    candidate.branch, candidate.input = end_of_branch(branch, bare, candidate.output), _unscaled(skip, root)
    candidate.identity = True


def _unscaled(side: Node, bare: Node) -> Node:
    stripped, unscaled = strip(side)
    # Otherwise a gate was taken off as well.
    return unscaled if stripped is bare else bare


def _check_work(candidate: Candidate, way: Way) -> None:
    candidate.reason = ELEMENTWISE if not _mixes(way) else ATTENUATED if _is_multiple(candidate) else IDENTITY
    candidate.accepted = candidate.reason == IDENTITY


def _is_multiple(candidate: Candidate) -> bool:
    """Return whether the branch is the skip itself, times a gate and plus a bias: x + gamma * x * g(x) + beta."""
    node = candidate.scaled
    while node is not None and node.operation is not None and len(node.parents) == 1:
        if not (node.operation.view or node.operation.pointwise):
            return False
        node = node.parents[0]
    return node is not None and any(strip(value)[0] is candidate.root for value, _ in factors_of(node))


def _mixes(way: Way) -> bool:
    return any(node.operation is not None and node.operation.mixes for node in way.nodes)


def _find_parallel(a: Node, b: Node, joins: Mapping[Node, Candidate]) -> Node | None:
    """Return the side that is a join of which the other side's branch was computed from the same skip."""
    found = [side for side, other in ((a, b), (b, a)) if _shares_skip(side, other, joins)]
    return found[0] if len(found) == 1 else None


def _shares_skip(side: Node, other: Node, joins: Mapping[Node, Candidate]) -> bool:
    join = joins.get(side)
    while join is not None and join.root is not None and join.identity:
        if descends(other, join.root):
            return True
        before = joins.get(join.root)
        join = before if before is not None and before.output.frame is side.frame else None
    return False


def _judge_ways(candidate: Candidate, origin: Node, a: tuple[Node, Node], b: tuple[Node, Node]) -> None:
    # Shortest first: what is linear, then what has fewer weights.
    length_a, length_b = _length(way_between(origin, a[1])), _length(way_between(origin, b[1]))
    if length_a == length_b:
        candidate.reason = EQUAL
        return
    _judge_sides(candidate, origin, *((a, b) if length_a < length_b else (b, a)))


def _judge_sides(candidate: Candidate, origin: Node, skip: tuple[Node, Node], branch: tuple[Node, Node]) -> None:
    way_skip, way_branch = way_between(origin, skip[1]), way_between(origin, branch[1])
    _take(candidate, *skip, *branch)
    _check_work(candidate, way_branch)
    if not candidate.accepted:
        return
    candidate.identity = candidate.partial = not _mixes(way_skip)
    candidate.projected = all(_is_linear(node) for node in way_skip.nodes)
    if candidate.identity:
        candidate.reason = PART
    else:
        candidate.input = block_input(candidate, origin)
        candidate.reason = PROJECTED.format(way_branch.weights, way_skip.weights)


def _length(way: Way) -> tuple[bool, int]:
    return not all(_is_linear(node) for node in way.nodes), way.weights


def _is_linear(node: Node) -> bool:
    operation = node.operation
    if operation is None or operation.softmax:
        return False
    product = len(set(node.parents)) > 1 and not (operation.moves or operation.adds)
    return operation.linear and not product


def _without_gate(a: Node, b: Node) -> tuple[Node, Node]:
    """Strip both sides of their scales, and of a gate that splits between them: g * f(x) + (1 - g) * x."""
    bare_a, bare_b = strip(a)[0], strip(b)[0]
    for value_a, gate_a in factors_of(bare_a):
        for value_b, gate_b in factors_of(bare_b):
            if gate_root(gate_a) is gate_root(gate_b) is not None and value_a is not value_b:
                return strip(value_a)[0], strip(value_b)[0]
    return bare_a, bare_b


def _settle_axes(candidate: Candidate) -> None:
    """Give the join the skip's channel axis, and the branch's where that is not known; they are one stream."""
    if candidate.skip is None or candidate.scaled is None:
        return
    axis = candidate.skip.axis if candidate.skip.axis is not None else candidate.scaled.axis
    candidate.output.axis = axis
    if candidate.skip.axis is None:
        candidate.skip.axis = axis
    node, branch = candidate.scaled, candidate.branch
    # Back to the branch before its scale, as long as nothing is turned round.
    while branch is not None and node is not branch and _is_aligned(node):
        node = node.parents[0]
    if branch is None or (node is branch and len(branch.shape) == len(candidate.output.shape)):
        candidate.branch_axis = axis
    else:
        candidate.branch_axis = branch.axis
    if candidate.input is not None and candidate.input.axis is None and candidate.input.shape == candidate.output.shape:
        candidate.input.axis = axis


def _is_aligned(node: Node) -> bool:
    parent = node.parents[0]
    return node.axis == parent.axis and node.shape == parent.shape

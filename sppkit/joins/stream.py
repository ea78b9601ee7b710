"""The residual stream: what is carried on from the first block to the last, and the sums that continue it.

A sum is judged by itself when it is met; when the pass is over, all are seen together. From what the model returned the
stream is followed back, at each join along its skip. A join that is met on this way continues the stream. One that is
reached through a branch alone does not: it is a detail of that branch, unless it belongs to a stream of its own blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.joins.graph import descends
from sppkit.joins.judge import EQUAL, IDENTITY, PARALLEL, orient
from sppkit.joins.scales import strip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sppkit.joins.candidate import Candidate
    from sppkit.joins.graph import Node

# Module class, number of the sum in its call, sums in the call: the place of a sum in the code that makes it.
Role = tuple[str, int, int]


def settle_equal(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Judge sums of equally long ways as the same sums in other calls of the same code, where these can be told.

    What parts them is how far back the two sides meet, which differs from block to block where their mathematics does
    not. Where the others contradict each other, it stays as it is.
    """
    told: dict[Role, set[bool]] = {}
    sums = [candidate for candidate in candidates if len(candidate.sides) == 2]
    for candidate in sums:
        if candidate.accepted and not candidate.partial:
            told.setdefault(_role(candidate), set()).add(candidate.skip is candidate.sides[0])
    fresh = [item for item in sums if item.reason == EQUAL and len(told.get(_role(item), ())) == 1]
    for candidate in fresh:
        (first_is_skip,) = told[_role(candidate)]
        orient(candidate, first_is_skip=first_is_skip)
    return fresh


def off_stream(joins: Mapping[Node, Candidate], outputs: Iterable[Node]) -> list[Candidate]:
    """Return the joins that are no more than a detail of another's branch."""
    stream, seen = _follow(outputs, joins), _follow(outputs, {})
    main = [join for join in joins.values() if join.output in stream]
    if not main:  # what the model returned is not known
        return []
    roles = {_role(join) for join in main}
    # Of what no output was computed from, nothing can be said.
    inner = {output: join for output, join in joins.items() if output in seen and output not in stream}
    before = {output: _previous(join, inner) for output, join in inner.items()}
    chained = {id(join) for output, join in inner.items() if _is_chained(output, join, before)}
    return [
        join
        for join in inner.values()
        if id(join) not in chained and _role(join) not in roles and not _is_apart(join, main, stream)
    ]


def _follow(outputs: Iterable[Node], joins: Mapping[Node, Candidate]) -> set[Node]:
    """Return all that was carried on to the outputs, at each join along its skip alone."""
    stream: set[Node] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node in stream:
            continue
        stream.add(node)
        join = joins.get(node)
        stack += node.parents if join is None else _carried(join, joins)
    return stream


def _carried(join: Candidate, joins: Mapping[Node, Candidate]) -> Iterator[Node]:
    """Yield what a join carries on: its skip, and its branch where that holds a stream as well.

    So it does where neither side is linear in where they come from, a meeting of two streams; and where it is a
    sum itself, of which this one is the next term.
    """
    if join.skip is not None:
        yield join.skip
    meets = not (join.identity or join.projected)
    if join.scaled is not None and (meets or any(_comes_from_join(term, joins) for term in _iter_terms(join))):
        yield join.scaled


def _iter_terms(join: Candidate) -> Iterator[Node]:
    """Yield what a branch is the sum of, and the sums between, if it was summed up in the call of the join."""
    stack = [] if join.scaled is None else [strip(join.scaled)[0]]
    seen: set[Node] = set()
    while stack:
        node = stack.pop()
        if node.operation is not None and node.operation.adds and node.frame is join.output.frame:
            terms = {strip(parent)[0] for parent in node.parents} - seen
            seen |= terms
            yield from terms
            stack += terms


def _comes_from_join(node: Node | None, joins: Mapping[Node, Candidate]) -> bool:
    """Return whether a value is a join's output, but for activations and normalizers."""
    while node is not None and node not in joins:
        operation = node.operation
        passes = operation is not None and (operation.view or operation.pointwise or operation.normalizes)
        node = node.parents[0] if passes and len(node.parents) == 1 else None
    return node is not None


def _role(candidate: Candidate) -> Role:
    frame = candidate.output.frame
    return frame.kind, candidate.ordinal, frame.sums


def _previous(join: Candidate, inner: Mapping[Node, Candidate]) -> Candidate | None:
    """Return the join that one goes on from, with nothing between but layers that follow each other."""
    node = join.root if join.identity else join.origin
    while node is not None:
        if node in inner:
            return inner[node]
        node = node.parents[0] if len(node.parents) == 1 else None
    return None


def _is_chained(output: Node, join: Candidate, before: Mapping[Node, Candidate | None]) -> bool:
    """Return whether a join is one of several blocks that follow each other inside a branch."""
    first = join
    while (previous := before[first.output]) is not None:
        first = previous
    alone = before[output] is None and all(previous is not join for previous in before.values())
    return not alone and _is_block(first)


def _is_block(join: Candidate) -> bool:
    """Return whether what a join starts from came into its module from outside, as into a residual block."""
    frame, origin = join.output.frame, join.origin
    if frame.parent is None or origin is None:  # code without modules
        return join.reason in {IDENTITY, PARALLEL}
    return origin.number < frame.first and not join.partial


def _is_apart(join: Candidate, main: Sequence[Candidate], stream: set[Node]) -> bool:
    """Return whether a join belongs to a stream that begins elsewhere, as an encoder's does."""
    first = main[0].root
    if join.origin is None or first is None or any(strip(side)[0] in stream for side in join.sides):
        return False
    return not descends(join.origin, first)

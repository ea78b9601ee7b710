"""Branches of one input that are added one after the other: one block, however the code puts the brackets.

``x + a(x) + m(x)``, ``a(x) + (x + m(x))`` and ``x + (a(x) + m(x))`` are one mathematics. The first two have a sum more
that could be a join; where nothing else reads it, it is none, and its branch belongs to the join that goes on from it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sppkit.joins.judge import PARALLEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sppkit.joins.candidate import Candidate
    from sppkit.joins.graph import Node


def gather_beside(joins: Mapping[Node, Candidate], outputs: Iterable[Node]) -> list[Candidate]:
    """Make one join of each sum of several branches of one input; return the joins that it replaces."""
    following = [(join, joins[join.skip]) for join in joins.values() if join.skip is not None and join.skip in joins]
    parallel = [(join, before) for join, before in following if join.reason == PARALLEL and _is_beside(join, before)]
    if not parallel:
        return []
    readers = count_readers(outputs)
    replaced = []
    for join, before in parallel:
        if readers[before.output] == 1:
            _take_over(join, before)
            replaced.append(before)
    return replaced


def _is_beside(join: Candidate, before: Candidate) -> bool:
    """Return whether both branches can be listened to where one module call adds them."""
    terms = (join.scaled, before.scaled)
    heard = all(term is not None and term.key.call >= 0 and term.shape == join.output.shape for term in terms)
    return heard and before.output.frame is join.output.frame and before.output.key.call >= 0


def _take_over(join: Candidate, before: Candidate) -> None:
    if before.scaled is not None:
        join.beside = (*before.beside, before.scaled)
    # As they enter: of branches with scales of their own there is no sum without.
    join.branch, join.branch_axis = join.scaled, join.output.axis
    join.skip, join.root, join.input = before.skip, before.root, before.input
    join.identity, join.projected, join.partial = before.identity, before.projected, before.partial
    join.reason = before.reason


def count_readers(outputs: Iterable[Node]) -> Counter[Node]:
    """Return how many values were computed directly from each; what the model returns is read once more."""
    stack = list(outputs)
    readers, seen = Counter(stack), set(stack)
    while stack:
        parents = set(stack.pop().parents)
        readers.update(parents)
        stack += parents - seen
        seen |= parents
    return readers

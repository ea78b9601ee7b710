"""Which values of a network are the one before plus a branch, read off autograd's graph of one forward pass."""

from __future__ import annotations

import heapq
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from torch.autograd.graph import GradientEdge, Node


def joined_by_identity(values: Sequence[GradientEdge | None], ends: Collection[GradientEdge]) -> list[bool]:
    """Tell of every value whether it is the value before it, unchanged, plus what was computed from that alone.

    Then what comes back to the value before it, less what comes back to it, came through the branch. A value before it
    that anything else reads as well (a later branch, an auxiliary output) gets more than that, and does not count.
    """
    graph = _Graph(ends)
    joined = [
        before is not None and after is not None and _adds(before, after) and graph.leads_only_to(before, after.node)
        for before, after in pairwise(values)
    ]
    return [False, *joined][: len(values)]


def _adds(before: GradientEdge, after: GradientEdge) -> bool:
    """Return whether a value is the sum of the one before it, once and with the factor 1, and of something else."""
    first, found = before.node._sequence_nr(), 0  # noqa: SLF001 - torch's name
    # A sum may be one of sums, where several branches are added one after the other: the latest of them first, so that
    # how many times it counts is known when it is its turn.
    times = {after.node: 1}
    waiting = [(-after.node._sequence_nr(), id(after.node), after.node)]  # noqa: SLF001
    while waiting:
        node = heapq.heappop(waiting)[2]
        for summand, number in _iter_summands(node):
            if (summand, number) == (before.node, before.output_nr):
                found += times[node]
            elif summand is not None and summand._sequence_nr() > first:  # noqa: SLF001
                if summand not in times:
                    heapq.heappush(waiting, (-summand._sequence_nr(), id(summand), summand))  # noqa: SLF001
                times[summand] = times.get(summand, 0) + times[node]
    return found == 1


def _iter_summands(node: Node) -> Iterator[tuple[Node | None, int]]:
    """Yield what a value adds with the factor 1; nothing of what is no sum."""
    name, summands = node.name(), node.next_functions
    if name.startswith(("AddcmulBackward", "AddcdivBackward")):
        yield summands[0]  # the other two are factors
    elif name.startswith("AddBackward"):
        # The second one may be scaled.
        yield from summands if getattr(node, "_saved_alpha", 1) in {1, None} else summands[:1]


class _Graph:
    """What reads what, in the part of autograd's graph that a backward pass may reach."""

    def __init__(self, ends: Collection[GradientEdge]) -> None:
        self._ends = {(end.node, end.output_nr) for end in ends}
        # By output of a node, and by node. As long as it is held here, a node is one object.
        self._of_output: dict[tuple[Node, int], list[Node]] = defaultdict(list)
        self._of_node: dict[Node, list[Node]] = defaultdict(list)
        stack = [end.node for end in ends]
        self._seen = set(stack)
        while stack:
            reader = stack.pop()
            for node, number in _iter_read(reader):
                self._of_output[node, number].append(reader)
                self._of_node[node].append(reader)
                if node not in self._seen:
                    self._seen.add(node)
                    stack.append(node)
        self._end_nodes = {node for node, _ in self._ends}

    def leads_only_to(self, value: GradientEdge, join: Node) -> bool:
        """Return whether every way from a value to an end goes through a join."""
        if (value.node, value.output_nr) in self._ends:
            return False
        stack, seen = list(self._of_output[value.node, value.output_nr]), {join}
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            # What was made after the join leads past it, since it was not reached through it.
            if node in self._end_nodes or node._sequence_nr() > join._sequence_nr():  # noqa: SLF001 - torch's name
                return False
            seen.add(node)
            stack += self._of_node[node]
        return True


def _iter_read(reader: Node) -> Iterator[tuple[Node, int]]:
    return ((node, number) for node, number in reader.next_functions if node is not None)

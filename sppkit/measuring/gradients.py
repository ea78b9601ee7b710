"""The backward direction: the gradient with respect to the very values that the rows of a table describe."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from sppkit.streams import fill_normal

if TYPE_CHECKING:
    from collections.abc import Callable

    from sppkit.measuring.reduce import Kept, Reducer
    from sppkit.sites import GradientRole, Site


@dataclass
class _Value:
    """A block's output in one forward pass: where autograd made it, and what it looks like."""

    site: Site
    edge: GradientEdge | None
    shape: torch.Size
    axis: int
    like: Tensor
    gradient: Tensor | None = None


@dataclass
class Gradients:
    """Hear the gradient at every block's output, once per forward pass, and reduce it.

    The place in autograd's graph is noted when a value is made: what changes it in place afterwards, as an in-place
    ReLU behind an addition does, makes another value, whose gradient this is not.

    Attributes:
        reducer: The statistics.
        merge: Combines what is kept of one block over several passes.
        seed: Of the cotangent's stream.
        own_backward: Whether the user runs the backward pass; otherwise ``send_cotangent`` does.
        kept: What was kept, by role and block.
    """

    reducer: Reducer
    merge: Callable[[Kept, Kept], Kept]
    seed: int
    own_backward: bool = True
    kept: dict[tuple[GradientRole, int], Kept] = field(default_factory=dict)
    _values: list[_Value] = field(default_factory=list)
    _pending: list[tuple[Site, Tensor, int]] = field(default_factory=list)
    _passes: int = 0

    def begin_pass(self) -> None:
        """Forget the values of the pass before."""
        self._values, self._pending = [], []

    def note(self, site: Site, value: Tensor, axis: int) -> None:
        """Note a block's output, whose place in the graph may not be known before the next operation."""
        if site.role == "block_output":
            self._pending.append((site, value, axis))

    def settle(self) -> None:
        """Look up where autograd made the values that were noted, before anything changes them."""
        for site, value, axis in self._pending:
            edge = get_gradient_edge(value) if value.requires_grad else None
            like = torch.empty(0, dtype=value.dtype, device=value.device)
            self._values.append(_Value(site, edge, value.shape, axis, like))
        self._pending = []

    def send_cotangent(self) -> None:
        """Send white noise backwards from the last row's value, and reduce what arrives at every row.

        The noise is N(0, 1), from the stream ``cotangent/<pass>``. A value that nothing comes back to, as of a detached
        branch, has the gradient 0. Where the last row itself can't be differentiated, nothing is heard.
        """
        self.settle()
        number, self._passes = self._passes, self._passes + 1
        values, last = self._values, self._values[-1] if self._values else None
        if last is None or last.edge is None:
            return
        noise = np.empty(last.shape, dtype=np.float32)
        fill_normal(noise, self.seed, f"cotangent/{number}")
        cotangent = torch.from_numpy(noise).to(last.like)
        reached = [value for value in values if value.edge is not None]
        edges = [value.edge for value in reached]
        found = torch.autograd.grad([last.edge], edges, [cotangent], allow_unused=True)  # type: ignore[arg-type]
        for value, gradient in zip(reached, found, strict=True):
            value.gradient = gradient
        last.gradient = cotangent
        self._reduce_all()

    def end_pass(self) -> None:
        """Settle what the pass has left, and listen to the user's own backward pass: whenever it comes."""
        self.settle()
        if not self.own_backward:
            return
        # A value may refer to the next one, and no value to autograd's graph, which would refer to itself.
        after: _Value | None = None
        for value in reversed(self._values):
            if value.edge is None:
                after = None
                continue
            joined = after if after is not None and _is_skip(value.edge, after.edge) else None
            value.edge.node.register_prehook(partial(self._hear, value, joined, value.edge.output_nr))
            after = value
        for value in self._values:
            value.edge = None
        self._values = []

    def _hear(self, value: _Value, joined: _Value | None, number: int, gradients: tuple[Any, ...]) -> None:
        gradient = gradients[number]
        if gradient is None:
            return
        value.gradient = gradient.detach()
        self._reduce(value)
        if joined is not None and joined.gradient is not None:
            self._keep("branch_gradient", joined.site.block, (value.gradient, joined.gradient))
            joined.gradient = None

    def _reduce_all(self) -> None:
        before: _Value | None = None
        for value in self._values:
            gradient = self._reduce(value)
            if before is not None and before.gradient is not None and _is_skip(before.edge, value.edge):
                self._keep("branch_gradient", value.site.block, (before.gradient, gradient))
            before = value
        self._values = []

    def _reduce(self, value: _Value) -> Tensor:
        if value.gradient is None:  # nothing comes back to it
            value.gradient = value.like.new_zeros(()).expand(value.shape)
        self._keep("block_gradient", value.site.block, value.gradient.movedim(value.axis, 1))
        return value.gradient

    def _keep(self, role: GradientRole, block: int, heard: Any) -> None:
        if not self.reducer.names(role):
            return
        kept, earlier = self.reducer.reduce(role, heard), self.kept.get((role, block))
        self.kept[role, block] = kept if earlier is None else self.merge(earlier, kept)


def _is_skip(before: GradientEdge | None, after: GradientEdge | None) -> bool:
    """Return whether a value is a sum of the one before it and something else: joined by an identity."""
    if before is None or after is None:
        return False
    node, name = after.node, after.node.name()
    summands = node.next_functions
    if name.startswith(("AddcmulBackward", "AddcdivBackward")):
        summands = summands[:1]  # the other two are factors
    elif not name.startswith("AddBackward"):
        return False
    elif getattr(node, "_saved_alpha", 1) not in {1, None}:
        summands = summands[:1]  # the second one is scaled
    return (before.node, before.output_nr) in list(summands)

"""Hearing the gradient with respect to the very values that the rows of a table describe."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from sppkit.measuring.backward.cotangent import draw_cotangent
from sppkit.measuring.backward.identity_skip import joined_by_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import TypeAlias

    from torch.utils.hooks import RemovableHandle

    from sppkit.measuring.reduce import Kept, Reducer
    from sppkit.sites import GradientRole, Site

    # By what the user's loss was multiplied before its backward pass; asked when the gradient arrives.
    Scale: TypeAlias = Callable[[], float]

_CUT = (
    "the value of the last row, {!r}, can't be differentiated: it is detached, computed under torch.no_grad() or by an "
    "operation that has no derivative."
)


@dataclass(eq=False)
class _Value:
    """A block's output in one forward pass: where autograd made it, and what it looks like.

    A value that was made by no operation is held until the pass ends: it is only then that autograd tells its place.
    """

    site: Site
    axis: int
    shape: torch.Size
    like: Tensor
    view: bool
    edge: GradientEdge | None = None
    leaf: Tensor | None = None

    def locate(self) -> GradientEdge | None:
        if self.leaf is not None:
            with torch.enable_grad():
                self.edge = get_gradient_edge(self.leaf)
            self.leaf = None
        return self.edge

    def channels_first(self, gradient: Tensor) -> Tensor:
        return gradient.movedim(self.axis, 1)

    def without_gradient(self) -> Tensor | None:
        """Return the gradient of a value that nothing comes back to: 0, but for a view of what is read otherwise."""
        return None if self.view else self.like.new_zeros(()).expand(self.shape)


@dataclass
class _Branch:
    """A block that is joined by an identity, and the gradient at its output between its arrival and the input's."""

    block: int
    gradient: Tensor | None = None


@dataclass
class Gradients:
    """Hear the gradient at every block's output in the backward passes of a network, and reduce it.

    The place in autograd's graph is noted when a value is made: what changes it in place afterwards, as an in-place
    ReLU behind an addition does, makes another value, whose gradient this is not.

    Attributes:
        reducer: The statistics.
        merge: Combines what is kept of one block over several passes.
        seed: Of the cotangent's stream.
        scale: What the user's gradients are divided by.
        own_backward: Whether the user runs the backward pass; otherwise ``send_cotangent`` does.
        identities: Blocks that may be the row before plus their branch; None where only the graph tells.
        one_at_a_time: Whether gradients are reduced as they come and not held together.
        kept: What was kept, by role and block.
        reason: Why nothing was heard, or less than was asked for, in a sentence.
    """

    reducer: Reducer
    merge: Callable[[Kept, Kept], Kept]
    seed: int
    scale: Scale | None = None
    own_backward: bool = True
    identities: Collection[int] | None = None
    one_at_a_time: bool = False
    kept: dict[tuple[GradientRole, int], Kept] = field(default_factory=dict)
    reason: str | None = None
    _values: list[_Value] = field(default_factory=list)
    _pending: list[tuple[Site, Tensor, int]] = field(default_factory=list)
    _handles: list[RemovableHandle] = field(default_factory=list)
    _passes: int = 0

    def begin_pass(self) -> None:
        """Forget the values of the pass before; its backward pass may still come."""
        self._values, self._pending = [], []
        self._handles = [handle for handle in self._handles if handle.hooks_dict_ref() is not None]

    def note(self, site: Site, value: Tensor, axis: int) -> None:
        """Note a block's output, whose place in the graph may not be known before the next operation."""
        if site.role == "block_output":
            self._pending.append((site, value, axis))

    def settle(self) -> None:
        """Look up where autograd made the values that were noted, before anything changes them."""
        for site, value, axis in self._pending:
            like = torch.empty(0, dtype=value.dtype, device=value.device)
            noted = _Value(site, axis, value.shape, like, value._is_view())  # noqa: SLF001 - torch's own name for it
            if value.grad_fn is not None:
                noted.edge = GradientEdge(value.grad_fn, value.output_nr)
            elif value.requires_grad:
                noted.leaf = value
            self._values.append(noted)
        self._pending = []

    def end_pass(self, outputs: Iterable[Tensor]) -> None:
        """Listen to the backward passes that the user runs through this forward pass."""
        self.settle()
        if not self.own_backward:
            return
        edges = [value.locate() for value in self._values]
        ends = [GradientEdge(item.grad_fn, item.output_nr) for item in outputs if item.grad_fn is not None]
        self._listen(self._values, edges, self._joined(edges, ends))
        self._forget_places()

    def _listen(
        self, values: Sequence[_Value], edges: Sequence[GradientEdge | None], joined: Sequence[bool]
    ) -> _Branch | None:
        """Hear what comes back to each value; return the branch in front of the first."""
        # A block whose branch shows at the value before it, and the gradient at its output once that is there.
        after: _Branch | None = None
        for value, edge, is_joined in zip(reversed(values), reversed(edges), reversed(joined), strict=True):
            own = _Branch(value.site.block) if is_joined else None
            if edge is not None:
                hear = partial(self._hear, value, edge.output_nr, own, after)
                self._handles.append(edge.node.register_prehook(hear))
            after = own
        return after

    def _hear_in_turn(
        self, values: list[_Value], edges: list[GradientEdge | None], joined: list[bool], cotangent: Tensor
    ) -> None:
        """Reduce every gradient when it is there, and keep none: of a network whose blocks are all on the way."""
        after = self._listen(values[1:], edges[1:], joined[1:])
        gradients = self._differentiate([edges[0], edges[-1]], cotangent)
        if gradients:
            self._hear(values[0], 0, None, after, (gradients[0],))
        while self._handles:
            self._handles.pop().remove()
        self._forget_places()

    def close(self) -> None:
        """Stop listening to backward passes."""
        self.begin_pass()
        while self._handles:
            self._handles.pop().remove()

    def send_cotangent(self) -> None:
        """Send white noise backwards from the last row's value, and reduce what arrives at every row.

        The noise is N(0, 1), from the stream ``cotangent/<pass>``. A value that nothing comes back to, as of a detached
        branch, has the gradient 0. Where the last row itself can't be differentiated, nothing is heard and ``reason``
        says so.
        """
        self.settle()
        number, self._passes = self._passes, self._passes + 1
        values, edges = self._values, [value.locate() for value in self._values]
        if not values or self.reason is not None:
            return
        if edges[-1] is None:
            self.reason = _CUT.format(values[-1].site.name)
            return
        joined = self._joined(edges, [])
        cotangent = draw_cotangent(values[-1].shape, values[-1].like, self.seed, number)
        if self.one_at_a_time:
            self._hear_in_turn(values, edges, joined, cotangent)
            return
        gradients = self._differentiate(edges, cotangent)
        after: Tensor | None = None
        while gradients:  # each is given back as soon as the one before it is there
            index, gradient = len(gradients) - 1, gradients.pop()
            gradient = values[index].without_gradient() if gradient is None else gradient
            if gradient is not None:
                self._take(values[index], gradient)
            if gradient is not None and after is not None and joined[index + 1]:
                self._take_branch(values[index + 1].site.block, values[index], gradient, after)
            after = gradient
        self._forget_places()

    def _joined(self, edges: list[GradientEdge | None], outputs: list[GradientEdge]) -> list[bool]:
        ends = [*outputs, *(edge for edge in edges[-1:] if edge is not None)]
        joined = joined_by_identity(edges, ends)
        known = self.identities
        return [
            found and (known is None or v.site.block in known) for v, found in zip(self._values, joined, strict=True)
        ]

    def _differentiate(self, edges: list[GradientEdge | None], cotangent: Tensor) -> list[Tensor | None]:
        reached = [edge for edge in edges if edge is not None]
        try:
            found = iter(torch.autograd.grad(reached[-1:], reached, [cotangent], allow_unused=True))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # an operation without a derivative, or a value that was changed in place
            self.reason = f"the backward pass failed: {str(error).strip().splitlines()[0]}"
            return []
        gradients = [None if edge is None else next(found) for edge in edges]
        # What comes back to the last row is what was sent: the engine may have lent it to the branch.
        return [*gradients[:-1], cotangent]

    def _forget_places(self) -> None:
        # The graph is the user's: its memory goes when the user lets go of it.
        for value in self._values:
            value.edge = None
        self._values = []

    def _hear(
        self,
        value: _Value,
        number: int,
        own: _Branch | None,
        after: _Branch | None,
        gradients: tuple[Tensor | None, ...],
    ) -> None:
        """Take what a backward pass brings to a value, all ways together; the value after it came before."""
        gradient = gradients[number]
        if gradient is None:
            return
        gradient = self._unscaled(gradient.detach())
        with torch.no_grad():
            self._take(value, gradient)
            if after is not None and after.gradient is not None:
                self._take_branch(after.block, value, gradient, after.gradient)
        if after is not None:
            after.gradient = None
        if own is not None:
            own.gradient = gradient

    def _unscaled(self, gradient: Tensor) -> Tensor:
        if self.scale is None:
            return gradient
        # In half precision the quotient may underflow: that is what the scale is for.
        wide = gradient.float() if gradient.dtype.itemsize == 2 else gradient
        return wide / self.scale()

    def _take(self, value: _Value, gradient: Tensor) -> None:
        self._keep("block_gradient", value.site.block, value.channels_first(gradient))

    def _take_branch(self, block: int, value: _Value, before: Tensor, after: Tensor) -> None:
        if before.shape == after.shape and self.reducer.names("branch_gradient"):
            self._keep("branch_gradient", block, (value.channels_first(before), value.channels_first(after)))

    def _keep(self, role: GradientRole, block: int, heard: Any) -> None:
        kept, earlier = self.reducer.reduce(role, heard), self.kept.get((role, block))
        self.kept[role, block] = kept if earlier is None else self.merge(earlier, kept)

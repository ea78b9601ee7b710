"""What is known of an operation before it runs: what it changes, and whether it adds, moves, scales or mixes values."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch._ops import OpOverload
    from torch.utils._python_dispatch import TorchDispatchMode

# The result has the shape, but not the values, of what is handed in.
_INDEPENDENT = frozenset({
    "empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "randint_like",
    "new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided",
    "zero", "fill", "normal", "uniform", "bernoulli.float", "exponential", "random", "log_normal", "cauchy",
    "geometric",
})  # fmt: skip
# What the tensor held before does not count.
_OVERWRITING = _INDEPENDENT | {"copy", "set", "resize"}
# Neither arithmetic nor mixing: values are put elsewhere.
_MOVES = frozenset({
    "cat", "stack", "clone", "copy", "_to_copy", "roll", "flip", "index_select", "index", "gather", "constant_pad_nd",
    "_unsafe_view", "_reshape_copy", "repeat", "split_copy", "native_dropout", "_fused_dropout", "repeat_interleave",
    "slice_scatter", "select_scatter", "masked_select", "embedding", "contiguous", "lift_fresh", "pixel_shuffle",
    "pixel_unshuffle", "view_copy", "expand_copy", "tril", "triu", "slice_backward", "index_put",
})  # fmt: skip
# A value and its copy in another type or memory format.
_COPIES = frozenset({
    "clone",
    "_to_copy",
    "contiguous",
    "_unsafe_view",
    "_reshape_copy",
    "alias",
    "detach",
    "lift_fresh",
})
# Of the operations on each element, those that are linear in it.
_LINEAR = frozenset({
    "add", "sub", "rsub", "mul", "div", "neg", "positive", "where", "masked_fill", "addcmul", "addcdiv", "lerp", "copy",
    "clone", "_to_copy",
})  # fmt: skip
_SUMS = frozenset({"add", "addcmul", "addcdiv", "lerp", "addmm", "baddbmm", "_add_relu"})
_GATES = frozenset({"sigmoid", "_softmax", "softmax", "hardsigmoid", "rsub", "sub", "tanh"})


@dataclass(frozen=True, slots=True)
class Operation:
    """Facts about one operation of torch.

    Attributes:
        name: Its name without overload and without the underscore of its in-place form.
        written: Positions and names of the arguments that it changes.
        overwrites: Whether a changed argument's old values do not count.
        independent: Whether the result does not depend on the values of what is handed in.
        pointwise: Whether it maps each element by itself.
        view: Whether it returns the same memory in another shape, or the same values in another memory.
        moves: Whether it only puts values elsewhere.
        linear: Whether it is linear in each signal that is handed in.
        softmax: Whether it normalizes to probabilities.
        adds: Whether it may add two signals.
        composite: Whether it is made of other operations, which inference mode does not show by itself.
    """

    name: str
    written: tuple[int | str, ...]
    overwrites: bool
    independent: bool
    pointwise: bool
    view: bool
    moves: bool
    linear: bool
    softmax: bool
    adds: bool
    composite: bool

    @property
    def mixes(self) -> bool:
        """Whether values of different elements or weights meet in it, as in a convolution, a norm or a pooling."""
        return not (self.pointwise or self.view or self.moves)

    @property
    def normalizes(self) -> bool:
        """Whether it is a normalization layer."""
        return "norm" in self.name and self.mixes

    @property
    def gates(self) -> bool:
        """Whether it is one of those that a gate between 0 and 1 is made with."""
        return self.name in _GATES


@functools.cache
def operation_of(function: OpOverload) -> Operation:
    """Return what is known of an operation."""
    schema = function._schema  # noqa: SLF001 - torch documents no other way to an operation's arguments
    bare = schema.name.partition("::")[2]
    name = bare.removesuffix("_") if not bare.startswith("__") else bare
    written = [
        argument.name if argument.kwarg_only else position
        for position, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    pointwise = torch.Tag.pointwise in function.tags
    view = bool(function.is_view) or name in _COPIES
    independent = name in _INDEPENDENT or f"{name}.{schema.overload_name}" in _INDEPENDENT
    return Operation(
        name,
        tuple(written),
        overwrites=independent or name in _OVERWRITING or "out" in schema.overload_name,
        independent=independent,
        pointwise=pointwise and not view,
        view=view,
        moves=name in _MOVES,
        linear=not pointwise or name in _LINEAR,
        softmax="softmax" in name,
        adds=name in _SUMS,
        composite=function._can_decompose(),  # noqa: SLF001
    )


def run_in_parts(
    operation: Operation,
    function: OpOverload,
    mode: TorchDispatchMode,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    """Run a composite operation as those it is made of, which inference mode does not show by itself.

    Returns:
        What it returns; ``NotImplemented`` where it has to run as it is.
    """
    if not (operation.composite and torch.is_inference_mode_enabled()):
        return NotImplemented
    with mode:
        return function.decompose(*args, **kwargs)

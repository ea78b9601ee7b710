"""Which axis of a value holds its channels: told by the layer that made it, and followed through every reshaping."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sppkit.joins.graph import Node
    from sppkit.joins.operations import Operation

Shape = tuple[int, ...]

_LAST = frozenset({
    "addmm", "mm", "bmm", "baddbmm", "linear", "matmul", "embedding", "native_layer_norm", "layer_norm", "rms_norm",
    "_fused_rms_norm", "embedding_bag", "_embedding_bag", "_trilinear", "einsum", "mkldnn_rnn_layer",
})  # fmt: skip
_FIRST = ("conv", "batch_norm", "group_norm", "instance_norm", "max_pool", "avg_pool", "upsample", "col2im")


def channel_axis(operation: Operation, args: Sequence[Any], parents: Sequence[Node], shape: Shape) -> int | None:
    """Return the axis of the channels of an operation's result.

    A convolution and a batch norm put channels on axis 1, a linear layer, a layer norm and an embedding on the last
    axis; a view is followed; whatever else keeps the number of axes keeps the axis.
    """
    if len(shape) < 2:
        return None
    if operation.name in _LAST or "attention" in operation.name:
        return len(shape) - 1
    if any(part in operation.name for part in _FIRST):
        return 1
    told = [parent for parent in parents if parent.axis is not None]
    if not told:
        return None
    # Of operands with fewer values, such as gates, the axis says little.
    source = max(told, key=lambda parent: prod(parent.shape))
    return _follow(operation.name, args, source.shape, source.axis or 0, shape)


def _follow(name: str, args: Sequence[Any], before: Shape, axis: int, shape: Shape) -> int | None:
    if name in {"permute", "permute_copy"}:
        return [order % len(before) for order in args[1]].index(axis)
    if name in {"transpose", "t", "transpose_copy", "swapaxes"}:
        first, second = (item % len(before) for item in args[1:3]) if name != "t" else (0, len(before) - 1)
        return {first: second, second: first}.get(axis, axis)
    if name in {"select", "squeeze", "unsqueeze"} and len(args) > 1 and not isinstance(args[1], (list, tuple)):
        return _insert_or_remove(axis, args[1], before, shape)
    if len(before) == len(shape) and (before[axis] == shape[axis] or name not in _RESHAPES):
        return axis
    return _reshaped(before, axis, shape)


_RESHAPES = frozenset({"view", "_unsafe_view", "reshape", "_reshape_copy", "view_copy"})


def _insert_or_remove(axis: int, where: int, before: Shape, shape: Shape) -> int | None:
    where %= max(len(before), len(shape))
    if len(shape) > len(before):
        return axis + (where <= axis)
    if len(shape) == len(before):
        return axis
    return None if where == axis else axis - (where < axis)


def _reshaped(before: Shape, axis: int, shape: Shape) -> int | None:
    """Find the axis with the same values before it and the same length; else the one with the same after it."""
    ahead, behind = prod(before[:axis]), prod(before[axis + 1 :])
    for index, size in enumerate(shape):
        if size == before[axis] and prod(shape[:index]) == ahead:
            return index
    # Features become maps, as where a generator starts: (N, C) to (N, C', H, W), which is how torch orders maps.
    if len(before) == 2 and len(shape) > 3 and shape[0] == before[0]:
        return 1
    # A last axis stays last when others are merged into it or split off it.
    if axis == len(before) - 1:
        return len(shape) - 1
    for index in range(1, len(shape)):
        if prod(shape[index + 1 :]) == behind and prod(shape[:index]) >= ahead:
            return index
    return None

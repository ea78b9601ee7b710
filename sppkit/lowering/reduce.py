"""Means and norms: over channels, which makes a number of each position, and over positions, as a pooling does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sppkit.lowering.linear import unfolded
from sppkit.lowering.rows import by_sample, place_rows, single
from sppkit.lowering.values import NotKnownError, Numbers, Signal
from sppkit.theory.gram.gather import weigh

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sppkit.lowering.build import Builder
    from sppkit.lowering.call import Operation
    from sppkit.theory.arrays import Floats
    from sppkit.theory.gram.gram import Gram


def mean(operation: Operation, builder: Builder) -> Numbers | Signal:
    """Take the mean, or the sum, over axes."""
    signal = operation.signal(0)
    axes, keeps = _axes(operation, signal), bool(operation.argument(2, "keepdim", False))
    rows, labels = place_rows(signal, axes)
    factor = 1.0 if operation.name == "mean" else float(rows.shape[1])
    square = _square_factor(signal)
    if square is not None and not bool((labels == labels[:, :1]).all()):
        before = replace(signal, function=None)
        return _numbers(builder, before, axes, lambda gram: factor * square * gram.second, keeps=keeps)
    signal = builder.values(signal)
    if bool((labels == labels[:, :1]).all()):
        return _pooled(builder, signal, axes, factor, keeps=keeps)
    return _numbers(builder, signal, axes, lambda gram: factor * gram.mean, keeps=keeps)


def _square_factor(signal: Signal) -> float | None:
    """Return c where the function of a signal is c x², of which the mean is known whatever the signal's own is."""
    if signal.function is None:
        return None
    x = np.array([-2.0, -0.5, 0.0, 1.0, 3.0])
    y = signal.function(x)
    return float(y[3]) if np.allclose(y, y[3] * x**2, rtol=1e-9, atol=0.0) else None


def variance(operation: Operation, builder: Builder) -> Numbers:
    """Take the variance or the standard deviation over channels."""
    signal = builder.values(operation.signal(0))
    axes, keeps = _axes(operation, signal), bool(operation.kwargs.get("keepdim", False))
    root = 0.5 if operation.name == "std" else 1.0

    def apply(gram: Gram) -> Floats:
        return np.asarray((gram.second - gram.mean**2) ** root)

    return _numbers(builder, signal, axes, apply, keeps=keeps)


def norm(operation: Operation, builder: Builder) -> Numbers:
    """Take the Euclidean norm over channels."""
    signal = builder.values(operation.signal(0))
    if operation.argument(1, "ord", 2) != 2:
        raise NotKnownError("other than the Euclidean norm")
    axes, keeps = _axes(operation, signal, 2), bool(operation.argument(3, "keepdim", False))
    channels = int(np.prod([signal.places.shape[axis] for axis in axes]))
    return _numbers(builder, signal, axes, lambda gram: np.sqrt(channels * gram.second), keeps=keeps)


def _axes(operation: Operation, signal: Signal, position: int = 1) -> tuple[int, ...]:
    axes: Any = operation.argument(position, "dim")
    rank = signal.places.ndim
    if axes is None or (isinstance(axes, (list, tuple)) and not axes):
        return tuple(range(rank))
    return tuple(axis % rank for axis in (axes if isinstance(axes, (list, tuple)) else [axes]))


def _reduced(tensor: Tensor, axes: Sequence[int], *, keeps: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        tensor = tensor.narrow(axis, 0, 1) if keeps else tensor.select(axis, 0)
    return tensor


def _numbers(
    builder: Builder, signal: Signal, axes: tuple[int, ...], apply: Callable[[Gram], Floats], *, keeps: bool
) -> Numbers:
    rows, labels = place_rows(signal, axes)
    if single(rows) is None or not bool((torch.sort(labels, dim=1).values.diff(dim=1) != 0).all()):
        raise NotKnownError("over channels and positions together")
    places = _reduced(signal.places, axes, keeps=keeps)
    return Numbers(builder.step(apply, signal.step), signal.count, places)


def _pooled(builder: Builder, signal: Signal, axes: tuple[int, ...], factor: float, *, keeps: bool) -> Signal:
    rows, _ = place_rows(signal, axes)
    patterns, which = torch.unique(rows, dim=0, return_inverse=True)
    kept = [size for axis, size in enumerate(signal.places.shape) if axis not in axes]
    pooled, places = _weighed(builder, signal, patterns, torch.full(patterns.shape, factor / patterns.shape[1]))
    shape = kept if not keeps else [1 if axis in axes else size for axis, size in enumerate(signal.places.shape)]
    return replace(
        pooled, places=places[which].reshape(shape), labels=_reduced(signal.labels, axes, keeps=keeps).reshape(shape)
    )


def _weighed(builder: Builder, signal: Signal, columns: Tensor, weights: Tensor) -> tuple[Signal, Tensor]:
    """Return weighted sums of positions, and the position that each row became."""
    builder.check_size(len(columns))
    order = by_sample(columns, signal.count, builder.batch.held)
    matrix = torch.zeros(len(columns), signal.count + 1, dtype=torch.float64)
    outside = torch.where(columns < 0, signal.count, columns).long()
    matrix.scatter_add_(1, outside, weights.double().expand(columns.shape))
    weighing = matrix[order, : signal.count].numpy()
    found = builder.mapped(signal, lambda gram: weigh(gram, weighing), count=len(columns))
    return found, torch.argsort(order).to(torch.int32)


def average_pool(operation: Operation, builder: Builder) -> Signal:
    """Take the means of windows."""
    signal = builder.values(operation.signal(0))
    space = {"avg_pool1d": 1, "avg_pool2d": 2, "avg_pool3d": 3}[operation.name]
    kernel = _each(operation.args[1], space)
    stride = _each(operation.argument(2, "stride") or kernel, space)
    padding = _each(operation.argument(3, "padding") or [0], space)
    if operation.argument(4, "ceil_mode", False) or operation.argument(6, "divisor_override") is not None:
        raise NotKnownError("with windows of different sizes")
    grid = signal.places
    if not bool((grid == grid[:, :1]).all()):
        raise NotKnownError("of channels of different positions")
    columns = unfolded(grid[:, 0], kernel, stride, padding, (1,) * space, -1)
    inside = torch.full(columns.shape, float(columns.shape[1]))
    if not operation.argument(5, "count_include_pad", True):
        inside = (columns >= 0).sum(dim=1, keepdim=True).expand(columns.shape).double()
    pooled, places = _weighed(builder, signal, columns, 1 / inside)
    out = operation.shape
    labels = signal.labels[(slice(None), slice(None), *[slice(0, 1)] * space)].expand(out)
    return replace(pooled, places=places.reshape(out[0], 1, *out[2:]).expand(out), labels=labels)


def _each(numbers: Sequence[int], space: int) -> tuple[int, ...]:
    return tuple(numbers) * space if len(numbers) == 1 else tuple(numbers)


def adaptive_pool(operation: Operation, builder: Builder) -> Signal:
    """Take the means of windows that cover the map."""
    signal = builder.values(operation.signal(0))
    space = operation.args[0].shape[2:]
    target = operation.args[1]
    if any(size % wanted for size, wanted in zip(space, target, strict=True)):
        raise NotKnownError("with windows of different sizes")
    kernel = tuple(size // wanted for size, wanted in zip(space, target, strict=True))
    columns = unfolded(signal.places[:, 0], kernel, kernel, (0,) * len(kernel), (1,) * len(kernel), -1)
    if not bool((signal.places == signal.places[:, :1]).all()):
        raise NotKnownError("of channels of different positions")
    pooled, places = _weighed(builder, signal, columns, torch.full(columns.shape, 1 / columns.shape[1]))
    out = operation.shape
    labels = signal.labels[(slice(None), slice(None), *[slice(0, 1)] * len(space))].expand(out)
    return replace(pooled, places=places.reshape(out[0], 1, *out[2:]).expand(out), labels=labels)

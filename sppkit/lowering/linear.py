"""Layers of random weights: matrices, filters of every kind, and what they make of known numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sppkit.lowering.build import as_indices
from sppkit.lowering.rows import by_sample, check_channels, place_rows, single, taps_of
from sppkit.lowering.values import Given, NotKnownError, Signal, Source
from sppkit.lowering.weights import read_weights
from sppkit.theory.gram.gather import gather, weigh
from sppkit.theory.gram.gram import Gram
from sppkit.theory.gram.layers import Weights, apply_weights

if TYPE_CHECKING:
    from sppkit.lowering.build import Builder
    from sppkit.lowering.call import Operation


@dataclass(frozen=True, eq=False)
class Layer:
    """One application of weights.

    Attributes:
        weight: Shape (outputs, inputs of each).
        bias: Shape (outputs,), or None.
        identity: What tells the weights from others.
    """

    weight: Tensor
    bias: Tensor | None
    identity: object


def matrix_product(operation: Operation, builder: Builder) -> Signal:
    """Multiply a signal, or known numbers, with a matrix of weights."""
    shift = 1 if operation.name in {"addmm", "baddbmm", "_addmm_activation"} else 0
    bias: Any = operation.args[0] if shift else None
    if shift and (operation.value(0) is not None or bias.ndim > 1 or not _unscaled(operation)):
        raise NotKnownError("of such operands")
    left, right = operation.value(shift), operation.value(shift + 1)
    if right is None:
        weight, axis = operation.args[shift + 1], -1
        x, tensor = left, operation.args[shift]
    else:  # what is on the left are the weights: W X is (X' W')'
        weight, axis = operation.args[shift].mT, -2
        x, tensor = right, operation.args[shift + 1]
    if weight.ndim == 3:
        if not bool((weight == weight[:1]).all()):
            raise NotKnownError("with weights that differ from sample to sample")
        weight = weight[0]
    layer = Layer(weight.T, bias, identify(weight))
    if isinstance(x, Given):
        return _of_known(builder, layer, tensor, x, axis)
    if not isinstance(x, Signal):
        raise NotKnownError("of such operands")
    return _applied(builder, layer, x, axis)


def _unscaled(operation: Operation) -> bool:
    return bool(operation.kwargs.get("beta", 1) == 1 and operation.kwargs.get("alpha", 1) == 1)


def identify(weight: Tensor) -> object:
    """Return what tells weights from others: their values, so that copies of a layer are the same weights."""
    flat = weight.detach().reshape(-1).double()
    # The order of a transposed matrix's sum is another one.
    return flat.numel(), f"{float(flat.sum()):.9e}", f"{float(flat.abs().sum()):.9e}", float(flat[0])


def _applied(builder: Builder, layer: Layer, signal: Signal, axis: int) -> Signal:
    check_fresh(signal, layer.identity)
    signal = builder.values(signal)
    rows, labels = place_rows(signal, (axis,))
    shape = (*signal.places.movedim(axis, -1).shape[:-1], len(layer.weight))
    if bool((labels == labels[:, :1]).all()) and labels.shape[1] > 1:
        return _mixed(builder, layer, signal, axis)
    check_channels(labels, "weights")
    weights = read_weights(layer.weight, layer.bias, len(layer.weight))
    place = single(rows)
    if place is None:
        columns, _ = taps_of(rows)
        found = gathered(builder, signal, columns, weights)
        place = found.places
    else:
        if int(place.min()) < 0:
            raise NotKnownError("of a padded signal")
        found = replace(signal, step=builder.step(lambda gram: apply_weights(gram, weights), signal.step), parts=())
    places = place.to(torch.int32)[:, None].expand(len(rows), shape[-1]).reshape(shape)
    return _named(found, layer, places.movedim(-1, axis), axis, weights)


def check_fresh(signal: Signal, identity: object) -> None:
    """Check that weights were not used on the way to a signal already."""
    if identity in signal.weights:
        raise NotKnownError("with weights that are those of an earlier layer")


def _named(signal: Signal, layer: Layer, places: Tensor, axis: int, weights: Weights) -> Signal:
    """Return a signal with new channels along an axis."""
    size = places.shape[axis]
    names = torch.arange(size, dtype=torch.int32)
    labels = names.reshape([-1 if index == axis % places.ndim else 1 for index in range(places.ndim)])
    return replace(
        signal,
        places=places,
        labels=labels.expand(places.shape),
        sources={layer.identity: Source()},
        weights=signal.weights | {layer.identity},
        fan_in=weights.fan_in,
        parts=(),
        mixed=(),
        bent=None,
        function=None,
    )


def gathered(builder: Builder, signal: Signal, columns: Tensor, weights: Weights) -> Signal:
    """Apply weights to what they read at several positions.

    Args:
        builder: Where steps are added.
        signal: The input, its function applied.
        columns: Shape (outputs' positions, taps), -1 outside.
        weights: The weights.

    Returns:
        The output; ``places`` holds the position of each row.
    """
    builder.check_size(len(columns))
    order = by_sample(columns, signal.count, builder.batch.held)
    taps = as_indices(columns[order].T)
    step = builder.step(lambda gram: apply_weights(gather(gram, taps), weights), signal.step)
    return replace(signal, step=step, count=len(columns), places=torch.argsort(order), parts=())


def _mixed(builder: Builder, layer: Layer, signal: Signal, axis: int) -> Signal:
    """Mix positions with the actual weights, the same for all channels."""
    signal = builder.settled(signal)
    rows, labels = place_rows(signal, (axis,))
    patterns, which = torch.unique(rows, dim=0, return_inverse=True)
    if bool((rows == rows[:, :1]).all()) or patterns.unique().numel() != patterns.numel():
        raise NotKnownError("of such operands")
    read_weights(layer.weight, None, len(layer.weight))  # that they are independent
    weight = layer.weight.detach().double()
    outputs = len(weight)
    count = len(patterns) * outputs
    builder.check_size(count)
    matrix = torch.zeros(len(patterns), outputs, signal.count, dtype=torch.float64)
    matrix.scatter_(2, patterns.long()[:, None, :].expand(-1, outputs, -1), weight.expand(len(patterns), -1, -1))
    order = by_sample(patterns, signal.count, builder.batch.held)
    mixing = matrix[order].reshape(count, signal.count).numpy()
    bias = None if layer.bias is None else layer.bias.detach().double().repeat(len(patterns)).numpy()

    def apply(gram: Gram) -> Gram:
        mixed = weigh(gram, mixing)
        if bias is None:
            return mixed
        crossed = np.multiply.outer(mixed.mean, bias)
        more = crossed + crossed.T + np.multiply.outer(bias, bias)
        return replace(mixed, products=mixed.products + more, mean=mixed.mean + bias)

    start = torch.argsort(order)[which][:, None] * outputs
    shape = (*signal.places.movedim(axis, -1).shape[:-1], outputs)
    places = (start + torch.arange(outputs)).reshape(shape).movedim(-1, axis)
    channel = labels[:, :1].expand(-1, outputs).reshape(shape).movedim(-1, axis)
    found = builder.mapped(signal, apply, places=places.to(torch.int32), labels=channel, count=count)
    return replace(found, sources={layer.identity: Source()}, weights=found.weights | {layer.identity})


def _of_known(builder: Builder, layer: Layer, tensor: Tensor, given: Given, axis: int) -> Signal:
    """Apply weights to known numbers, of which every product is known."""
    rows = tensor.detach().double().movedim(axis, -1)
    samples = None if given.samples is None else given.samples.movedim(axis, -1).select(-1, 0).reshape(-1)
    shape = (*rows.shape[:-1], len(layer.weight))
    places, found = _known_signal(builder, layer, rows.reshape(-1, rows.shape[-1]), samples)
    places = places.to(torch.int32)[:, None].expand(-1, shape[-1]).reshape(shape).movedim(-1, axis)
    return _named(found, layer, places, axis, read_weights(layer.weight, layer.bias, shape[-1]))


def _known_signal(builder: Builder, layer: Layer, rows: Tensor, samples: Tensor | None) -> tuple[Tensor, Signal]:
    builder.check_size(len(rows))
    held = builder.batch.held
    order = torch.arange(len(rows)) if samples is None else torch.argsort(samples, stable=True)
    if len(rows) % held or (samples is None and held < builder.batch.samples):
        raise NotKnownError("of numbers of which it is not known which sample they belong to")
    weights = read_weights(layer.weight, layer.bias, len(layer.weight))
    numbers = rows[order].cpu().numpy()
    gram = Gram(
        (held, len(rows) // held),
        numbers @ numbers.T / numbers.shape[1],
        numbers.mean(axis=1),
        numbers.shape[1],
        builder.batch.samples,
    )
    step = builder.step(lambda: apply_weights(gram, weights))
    empty = torch.empty(0)
    return torch.argsort(order), Signal(step, len(rows), empty, empty, {}, frozenset(), weights.fan_in)


def convolution(operation: Operation, builder: Builder) -> Signal:
    """Apply filters."""
    _, weight, bias, stride, padding, dilation, transposed, more, groups = operation.args
    x, space = operation.value(0), weight.ndim - 2
    each = [_each(item, space) for item in (stride, padding, dilation, more)]
    windows = _Windows(each[0], each[1], each[2], each[3], tuple(weight.shape[2:]))
    if transposed:
        inputs, outputs = weight.shape[:2]
        matrix = weight.reshape(groups, inputs // groups, outputs, -1).transpose(1, 2).flatten(0, 1).flatten(1)
    else:
        matrix = weight.flatten(1)
    layer = Layer(matrix, bias, identify(weight))
    out = operation.shape
    if isinstance(x, Given):
        if transposed:
            raise NotKnownError("of known numbers")
        rows, samples = _known_rows(operation.args[0], x, windows)
        places, found = _known_signal(builder, layer, rows, samples)
    elif isinstance(x, Signal):
        check_fresh(x, layer.identity)
        signal = builder.values(x)
        columns = _columns(signal, windows, transposed=transposed)
        found = gathered(builder, signal, columns, read_weights(matrix, bias, out[1]))
        places = found.places
    else:
        raise NotKnownError("of such operands")
    grid = places.to(torch.int32).reshape(out[0], 1, *out[2:]).expand(out)
    return _named(found, layer, grid, 1, read_weights(matrix, bias, out[1]))


def _each(numbers: Any, space: int) -> tuple[int, ...]:
    return tuple(numbers) * space if len(numbers) == 1 else tuple(numbers)


@dataclass(frozen=True)
class _Windows:
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    more: tuple[int, ...]
    kernel: tuple[int, ...]


def _columns(signal: Signal, windows: _Windows, *, transposed: bool) -> Tensor:
    """Return the position under each tap, of shape (positions of the output, taps)."""
    grid = signal.places
    if not bool((grid == grid[:, :1]).all()):
        raise NotKnownError("of channels of different positions")
    grid = grid[:, 0]
    if transposed:
        grid = _spread_out(grid, windows)
        windows = replace(windows, stride=(1,) * len(windows.kernel), padding=(0,) * len(windows.kernel))
    return unfolded(grid, windows.kernel, windows.stride, windows.padding, windows.dilation, -1)


def unfolded(
    grid: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    outside: int,
) -> Tensor:
    """Return what windows on the last axes of a grid see, of shape (windows, taps)."""
    grid = functional.pad(grid, [side for item in reversed(padding) for side in (item, item)], value=outside)
    first = grid.ndim - len(kernel)
    for axis, (size, step, apart) in enumerate(zip(kernel, stride, dilation, strict=True), first):
        grid = grid.unfold(axis, apart * (size - 1) + 1, step)[..., ::apart]
    return grid.reshape(-1, int(np.prod(kernel)))


def _spread_out(grid: Tensor, windows: _Windows) -> Tensor:
    """Put zeros between and around the positions, as a transposed convolution does."""
    items = zip(windows.stride, windows.padding, windows.dilation, windows.more, windows.kernel, strict=True)
    for axis, (stride, padding, dilation, more, kernel) in enumerate(items, 1):
        size, border = grid.shape[axis], dilation * (kernel - 1) - padding
        wide = (size - 1) * stride + 1 + 2 * border + more
        if border < 0:
            raise NotKnownError("with so much padding")
        spread = grid.new_full([*grid.shape[:axis], wide, *grid.shape[axis + 1 :]], -1)
        grid = spread.index_copy_(axis, torch.arange(size) * stride + border, grid)
    return grid


def _known_rows(tensor: Tensor, given: Given, windows: _Windows) -> tuple[Tensor, Tensor | None]:
    """Return what filters see of known numbers, of shape (positions of the output, channels and taps)."""
    numbers = tensor.detach().double().cpu()
    batch, channels = numbers.shape[:2]
    rows = unfolded(numbers, windows.kernel, windows.stride, windows.padding, windows.dilation, 0)
    taps = rows.shape[1]
    rows = rows.reshape(batch, channels, -1, taps).transpose(1, 2).reshape(-1, channels * taps)
    if given.samples is None:
        return rows, None
    samples = given.samples.reshape(batch, -1)[:, :1].expand(batch, len(rows) // batch).reshape(-1)
    return rows, samples

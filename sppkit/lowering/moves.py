"""Operations that only put values elsewhere: places and channels of a signal are put there by the very operation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sppkit.lowering.values import Given, Mask, NotKnownError, Numbers, Part, Scores, Signal, Source
from sppkit.theory.gram.gram import Gram
from sppkit.theory.gram.positions import append

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sppkit.lowering.build import Builder
    from sppkit.lowering.call import Operation
    from sppkit.lowering.values import Value

MOVES = frozenset({
    "view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "transpose", "t", "squeeze", "unsqueeze", "expand",
    "select", "slice", "split", "split_with_sizes", "unbind", "narrow", "clone", "contiguous", "_to_copy", "detach",
    "alias", "flip", "roll", "index_select", "index", "repeat", "repeat_interleave", "as_strided", "unfold",
    "pixel_shuffle", "pixel_unshuffle", "lift_fresh", "constant_pad_nd", "view_as_real_copy", "swapaxes", "movedim",
    "unsafe_split", "unsafe_chunk", "chunk", "diagonal", "upsample_nearest2d", "reflection_pad2d", "replication_pad2d",
    "channel_shuffle", "gather",
})  # fmt: skip
_RESHAPES = frozenset({"view", "_unsafe_view", "reshape", "_reshape_alias"})
_COPIES = frozenset({"clone", "contiguous", "_to_copy", "detach", "alias", "lift_fresh"})
_ONLY_FLOATS = frozenset({"upsample_nearest2d", "reflection_pad2d", "replication_pad2d"})


def move(operation: Operation, builder: Builder) -> list[Value]:
    """Put the places and labels of a value where the operation puts the values.

    Returns:
        One value for each output.
    """
    value = operation.value(0)
    pads = operation.name == "constant_pad_nd"
    if pads and operation.argument(2, "value", 0) != 0:
        raise NotKnownError("with numbers other than 0")
    if isinstance(value, Signal):
        signal = builder.values(value) if pads else value
        moved = zip(_moved(operation, signal.places), _moved(operation, signal.labels), strict=True)
        found = [replace(signal, places=places, labels=labels) for places, labels in moved]
        if signal.parts and any(item.places.numel() != signal.places.numel() for item in found):
            raise NotKnownError("of a part of channels that were put beside others")
        return list(found)
    if isinstance(value, Numbers):
        return [replace(value, places=places) for places in _moved(operation, value.places)]
    if isinstance(value, Scores):
        return list(_move_scores(operation, value))
    if isinstance(value, Mask):
        return [value]
    raise NotKnownError("of such operands")


def move_given(operation: Operation, value: Given) -> list[Given]:
    """Keep track of the samples."""
    if value.samples is None:
        return [value]
    return [Given(samples) for samples in _moved(operation, value.samples)]


def _move_scores(operation: Operation, value: Scores) -> list[Scores]:
    cells = _moved(operation, value.cells)
    if any(item.numel() != value.cells.numel() for item in cells):
        raise NotKnownError("of a part of the scores")
    logits: Sequence[Tensor | None] = [None] if value.logits is None else _moved(operation, value.logits)
    return [replace(value, cells=item, logits=part) for item, part in zip(cells, logits, strict=True)]


def _moved(operation: Operation, tensor: Tensor) -> list[Tensor]:
    """Return what an operation makes of whole numbers in place of its first argument."""
    args, kwargs = list(operation.args[1:]), dict(operation.kwargs)
    if operation.name in _COPIES:
        return [tensor]
    if operation.name in _RESHAPES:
        return [tensor.reshape(operation.shape)]
    if operation.name == "constant_pad_nd":
        return [torch.constant_pad_nd(tensor, args[0], -1)]
    if operation.name in _ONLY_FLOATS:
        return [operation.function(tensor.double(), *args, **kwargs).to(tensor.dtype)]
    moved: Any = operation.function(tensor, *args, **kwargs)
    return list(moved) if isinstance(moved, (tuple, list)) else [moved]


def concatenated(operation: Operation, builder: Builder) -> Signal:
    """Put signals beside each other: their channels, or their positions."""
    tensors = operation.args[0]
    signals = [_as_signal(builder, operation, tensor) for tensor in tensors]
    joined = operation.name == "stack"
    axis = operation.argument(1, "dim", 0) % len(operation.shape)
    if joined:
        signals = [
            replace(signal, places=signal.places.unsqueeze(axis), labels=signal.labels.unsqueeze(axis))
            for signal in signals
        ]
    first = signals[0]
    same_step = all(signal.step == first.step and signal.function is first.function for signal in signals)
    if same_step:
        places = torch.cat([signal.places for signal in signals], axis)
        return replace(first, places=places, labels=torch.cat([signal.labels for signal in signals], axis))
    if _same_places(signals, axis):
        return _beside(builder, [builder.values(signal) for signal in signals], axis)
    return _behind(builder, [builder.settled(signal) for signal in signals], axis)


def _as_signal(builder: Builder, operation: Operation, tensor: Tensor) -> Signal:
    value = operation.find(tensor)
    if isinstance(value, Signal):
        return value
    if value is None and tensor.ndim == 3:
        return _known_tokens(builder, tensor)
    raise NotKnownError("of such operands")


def _known_tokens(builder: Builder, tensor: Tensor) -> Signal:
    """Return known tokens, such as a class token, of shape (samples, tokens, channels)."""
    held = builder.batch.held
    if tensor.shape[0] != held:
        raise NotKnownError("of such operands")
    rows = tensor.detach().double().reshape(-1, tensor.shape[-1]).cpu().numpy()
    gram = Gram((held, tensor.shape[1]), rows @ rows.T / rows.shape[1], rows.mean(axis=1), rows.shape[1], held)
    gram = replace(gram, samples=builder.batch.samples)
    places = torch.arange(len(rows)).reshape(*tensor.shape[:2], 1).expand(tensor.shape)
    labels = torch.arange(tensor.shape[-1]).expand(tensor.shape)
    step = builder.step(lambda: gram)
    return Signal(step, len(rows), places, labels, {object(): Source()}, frozenset(), tensor.shape[-1])


def _same_places(signals: list[Signal], axis: int) -> bool:
    """Say whether signals have the same position everywhere but along an axis, along which it does not change."""
    first = signals[0].places.select(axis, 0)
    return all(
        signal.count == signals[0].count
        and bool((signal.places.select(axis, 0) == first).all())
        and bool((signal.places == signal.places.narrow(axis, 0, 1)).all())
        for signal in signals
    )


def _beside(builder: Builder, signals: list[Signal], axis: int) -> Signal:
    places = torch.cat([signal.places for signal in signals], axis)
    weights = frozenset[object]().union(*(signal.weights for signal in signals))
    sizes = [int(torch.unique(signal.labels).numel()) for signal in signals]
    labels, sources = _labelled(signals, sizes)
    parts = tuple(
        part
        for signal, size in zip(signals, sizes, strict=True)
        for part in (signal.parts or (Part(signal.step, size),))
    )
    fan_in = min(signal.fan_in for signal in signals)
    step = builder.joined(parts)
    return Signal(step, signals[0].count, places, torch.cat(labels, axis), sources, weights, fan_in, parts=parts)


def _labelled(signals: list[Signal], sizes: list[int]) -> tuple[list[Tensor], dict[object, Source]]:
    """Return channels of their own for signals that are put beside each other, and what they are made of."""
    labels = [signal.labels for signal in signals]
    together = int(torch.unique(torch.cat([torch.unique(item) for item in labels])).numel())
    if together == sum(sizes) and all(signal.sources.keys() == signals[0].sources.keys() for signal in signals):
        return labels, dict(signals[0].sources)  # parts of one, in another order
    start = 0
    for index, item in enumerate(labels):
        labels[index] = item - int(item.min()) + start
        start = int(labels[index].max()) + 1
    # Channel c is no longer the weights' channel c.
    sources: dict[object, Source] = {}
    for signal in signals:
        sources |= {name: source.moved(signal.labels) for name, source in signal.sources.items()}
    return labels, sources


def _behind(builder: Builder, signals: list[Signal], axis: int) -> Signal:
    if any(signal.parts for signal in signals):
        raise NotKnownError("of channels that were put beside others")
    held = builder.batch.held
    each = [signal.count // held for signal in signals]
    total, starts = sum(each), [sum(each[:index]) for index in range(len(each))]
    builder.check_size(total * held)
    moved = [
        signal.places // own * total + start + signal.places % own
        for signal, own, start in zip(signals, each, starts, strict=True)
    ]
    places, labels = torch.cat(moved, axis), torch.cat([signal.labels for signal in signals], axis)
    join: Callable[..., Gram] = lambda *grams: append(  # noqa: E731
        [replace(gram, sizes=(held, len(gram.mean) // held)) for gram in grams], 1
    )
    step = builder.step(join, *(signal.step for signal in signals))
    sources: dict[object, Source] = {}
    for signal in signals:
        sources |= {name: replace(source, values=None) for name, source in signal.sources.items()}
    weights = frozenset().union(*(signal.weights for signal in signals))
    return Signal(step, total * held, places, labels, sources, weights, min(signal.fan_in for signal in signals))

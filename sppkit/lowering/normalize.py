"""Normalizers: over channels, over the batch, over each sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sppkit.lowering.build import as_indices
from sppkit.lowering.rows import place_rows, single
from sppkit.lowering.values import NotKnownError, Signal
from sppkit.theory.gram.layers import normalize_batch, normalize_channels, normalize_samples
from sppkit.theory.gram.together import normalize_together

if TYPE_CHECKING:
    from collections.abc import Callable

    from sppkit.lowering.build import Builder
    from sppkit.lowering.call import Operation
    from sppkit.theory.gram.gram import Gram


def over_channels(operation: Operation, builder: Builder) -> Signal:
    """Normalize every position (LayerNorm, RMSNorm), or every sample where the shape takes in all positions."""
    centred = operation.name == "native_layer_norm"
    shape, weight = operation.args[1], operation.argument(2, "weight")
    bias = operation.argument(3, "bias") if centred else None
    epsilon = operation.argument(4 if centred else 3, "eps")
    if epsilon is None:
        epsilon = torch.finfo(operation.args[0].dtype).eps
    signal = builder.values(operation.signal(0))
    rows, labels = place_rows(signal, tuple(range(-len(shape), 0)))
    if bool((labels == labels[:, :1]).all()):
        raise NotKnownError("over positions instead of channels")
    if single(rows) is not None:
        step = builder.step(lambda gram: normalize_channels(gram, epsilon, centred=centred), signal.step)
    elif centred:
        groups = as_indices(_groups(signal, rows))
        step = builder.step(lambda gram: normalize_together(gram, groups, epsilon), signal.step)
    else:
        raise NotKnownError("over several positions")
    return builder.affine(signal.whole(step), weight, bias)


def _groups(signal: Signal, rows: Tensor) -> Tensor:
    """Return the row that each position is in, where each is in one alone and has the same share of it."""
    which = torch.full((signal.count,), -1)
    which[rows] = torch.arange(len(rows))[:, None].expand(rows.shape)
    counts = torch.bincount(rows.reshape(-1), minlength=signal.count)
    if int(rows.min()) < 0 or not bool((which[rows] == torch.arange(len(rows))[:, None]).all()):
        raise NotKnownError("over several positions")
    if not bool((counts == counts[0]).all()) or int(counts[0]) == 0:
        raise NotKnownError("over several positions")
    return which


def _are_samples(builder: Builder, signal: Signal, rows: Tensor) -> bool:
    """Say whether every row has all positions of one sample, equally often."""
    each = signal.count // builder.batch.held
    first = torch.sort(rows, dim=1).values
    if rows.shape[1] % each or int(rows.min()) < 0:
        return False
    times = rows.shape[1] // each
    start = first[:, :1] // each * each
    return bool((first == start + torch.arange(each).repeat_interleave(times)).all())


def over_batch(operation: Operation, builder: Builder) -> Signal:
    """Normalize every channel over the batch; over each sample where an instance norm has put samples beside channels.

    Args:
        operation: ``native_batch_norm`` and its like.
        builder: Where steps are added.
    """
    weight, bias, mean, variance = (operation.args[index] for index in range(1, 5))
    training, epsilon = _batch_statistics(operation)
    signal = builder.settled(operation.signal(0))
    if not training:
        return _with_known_statistics(builder, signal, (weight, bias, mean, variance), epsilon)
    moved = signal.places.movedim(1, 0)
    rows = moved.reshape(moved.shape[0], -1)
    step: Callable[[Gram], Gram]
    if _are_all(rows, signal.count):
        step = lambda gram: normalize_batch(gram, epsilon)  # noqa: E731
    elif _are_samples(builder, signal, rows):
        step = lambda gram: normalize_samples(gram, epsilon, groups=None)  # noqa: E731
    else:
        raise NotKnownError("over a part of the positions")
    return builder.affine(builder.mapped(signal, step), weight, bias)


def _batch_statistics(operation: Operation) -> tuple[bool, float]:
    """Return whether the statistics are the batch's, and epsilon."""
    if operation.name == "cudnn_batch_norm" or operation.name == "miopen_batch_norm":
        return operation.args[5], operation.args[7]
    if operation.name == "_batch_norm_with_update":
        return True, operation.args[6]
    return operation.args[5], operation.args[7]


def _are_all(rows: Tensor, count: int) -> bool:
    first = torch.sort(rows[:1], dim=1).values
    times = rows.shape[1] // count
    if rows.shape[1] != times * count:
        return False
    return bool((rows == rows[:1]).all()) and bool((first[0] == torch.arange(count).repeat_interleave(times)).all())


def _with_known_statistics(
    builder: Builder, signal: Signal, given: tuple[Tensor | None, ...], epsilon: float
) -> Signal:
    weight, bias, mean, variance = given
    if mean is None or variance is None or bool(mean.any()) or not bool((variance == variance[0]).all()):
        raise NotKnownError("with running statistics, which are of the weights' own past")
    factor = float((variance[0].double() + epsilon) ** -0.5)
    return builder.affine(builder.mapped(signal, lambda gram: gram.scaled(factor)), weight, bias)


def over_groups(operation: Operation, builder: Builder) -> Signal:
    """Normalize groups of each sample's channels."""
    weight, bias = operation.args[1], operation.args[2]
    groups, epsilon = operation.args[6], operation.args[7]
    signal = builder.settled(operation.signal(0))
    if not bool((signal.places == signal.places[:, :1]).all()):
        raise NotKnownError("of channels of different positions")
    if not _are_samples(builder, signal, signal.places[:, 0].reshape(len(signal.places), -1)):
        raise NotKnownError("over a part of the positions")
    own = groups == signal.places.shape[1]  # every channel by itself

    def normalize(gram: Gram) -> Gram:
        return normalize_samples(gram, epsilon, groups=None if own else groups)

    step = builder.step(normalize, signal.step)
    return builder.affine(signal.whole(step), weight, bias)

"""Steps between positions: mixing with known weights, means, and putting positions side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sppkit.theory.arrays import Floats
    from sppkit.theory.gram.gram import Gram


def mix(gram: Gram, axis: int, matrix: Floats, bias: Floats | None = None) -> Gram:
    """Multiply with a known matrix along an axis of the positions: K <- A K A^T.

    Args:
        gram: The input.
        axis: Which axis.
        matrix: A, of shape (positions after, positions before).
        bias: Added to every channel, of shape (positions after,).

    Returns:
        The output.
    """
    sizes = tuple(len(matrix) if index == axis else size for index, size in enumerate(gram.sizes))
    rank = len(sizes)
    products = gram.products.reshape(*gram.sizes, *gram.sizes)
    for place in (axis, rank + axis):
        products = np.moveaxis(np.tensordot(products, matrix, axes=(place, 1)), -1, place)
    mean = np.moveaxis(np.tensordot(gram.mean.reshape(gram.sizes), matrix, axes=(axis, 1)), -1, axis).reshape(-1)
    output = replace(gram, sizes=sizes, products=products.reshape(len(mean), len(mean)), mean=mean)
    if bias is None:
        return output
    shape = [1] * rank
    shape[axis] = len(bias)
    offset = np.broadcast_to(bias.reshape(shape), sizes).reshape(-1)
    crossed = np.multiply.outer(mean, offset)
    more = crossed + crossed.T + np.multiply.outer(offset, offset)
    return replace(output, products=output.products + more, mean=mean + offset)


def append(parts: list[Gram], axis: int) -> Gram:
    """Put the positions of signals without covariance one behind the other along an axis.

    Args:
        parts: The signals.
        axis: Which axis.

    Returns:
        One signal.
    """
    rank, length = len(parts[0].sizes), sum(part.sizes[axis] for part in parts)
    sizes = tuple(length if index == axis else size for index, size in enumerate(parts[0].sizes))
    products, mean = np.zeros((*sizes, *sizes)), np.zeros(sizes)
    start = 0
    spans = []
    for part in parts:
        span = tuple(slice(start, start + part.sizes[axis]) if index == axis else slice(None) for index in range(rank))
        spans.append(span)
        mean[span] = part.mean.reshape(part.sizes)
        start += part.sizes[axis]
    for first, one in zip(spans, parts, strict=True):
        for second, other in zip(spans, parts, strict=True):
            block = one.products if first is second else np.multiply.outer(one.mean, other.mean)
            products[first + second] = block.reshape(*one.sizes, *other.sizes)
    total = int(np.prod(sizes))
    drift = sum((part.sizes[axis] / length) ** 2 * part.drift for part in parts)
    return replace(parts[0], sizes=sizes, products=products.reshape(total, total), mean=mean.reshape(-1), drift=drift)

"""Attention, in one operation or written out: products of queries and keys, a softmax, and a mean of values."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sppkit.lowering.build import as_indices, check_independent
from sppkit.lowering.rows import by_sample
from sppkit.lowering.values import Given, NotKnownError, Scores, Signal
from sppkit.theory.gram.attention import Attention, Pattern, attend
from sppkit.theory.gram.gather import pick

if TYPE_CHECKING:
    from sppkit.lowering.build import Builder
    from sppkit.lowering.call import Operation
    from sppkit.theory.gram.gram import Gram

# Weights below this are none: what a mask of large negative numbers leaves.
_NOTHING = 1e-12


def scores_of(operation: Operation, builder: Builder) -> Scores:
    """Multiply queries with keys: (batch and heads, queries, channels) with (batch and heads, channels, keys)."""
    shift = 1 if operation.name == "baddbmm" else 0
    query, key = builder.settled(operation.signal(shift)), builder.settled(operation.signal(shift + 1))
    if query.places.ndim != 3:
        raise NotKnownError("of two signals")
    key = replace(key, places=key.places.mT, labels=key.labels.mT)
    for side in (query, key):
        if not bool((side.places == side.places[..., :1]).all()):
            raise NotKnownError("of two signals")
    scores = _scores(query, key)
    return _with_logits(operation, scores) if shift else scores


def _with_logits(operation: Operation, scores: Scores) -> Scores:
    """Add what a product of queries and keys was added to, such as the distances between them."""
    if not operation.plain(0):
        raise NotKnownError("of two signals")
    beta, alpha = (float(operation.kwargs.get(name, 1)) for name in ("beta", "alpha"))
    logits = beta * operation.args[0].double().broadcast_to(scores.cells.shape) if beta else None
    return replace(scores, scale=alpha, logits=logits)


def _scores(query: Signal, key: Signal) -> Scores:
    shape = (*query.places.shape[:2], key.places.shape[1])
    return Scores(query, key, torch.arange(int(np.prod(shape))).reshape(shape))


def softmax(operation: Operation, _builder: Builder) -> Scores:
    """Take the softmax over the keys."""
    scores, axis = operation.value(0), operation.args[1]
    if not isinstance(scores, Scores) or scores.softmax:
        raise NotKnownError("of a signal")
    cells, keys = scores.cells, scores.key.places.shape[1]
    if cells.shape[axis] != keys or (keys > 1 and not bool((cells.diff(dim=axis) == 1).all())):
        raise NotKnownError("over something else than the keys")
    return replace(scores, softmax=True)


def masked(operation: Operation, _builder: Builder) -> Scores:
    """Fill scores with a known number where a known mask says so."""
    scores = operation.value(0)
    if not isinstance(scores, Scores) or scores.softmax or not operation.plain(1):
        raise NotKnownError("of a signal")
    mask, number = operation.args[1], float(operation.args[2])
    return _fill(scores, mask, number)


def chosen(operation: Operation, _builder: Builder) -> Scores:
    """Take scores where a known mask says so, and a known number elsewhere."""
    scores = operation.value(1)
    if not isinstance(scores, Scores) or scores.softmax or not operation.plain(0) or not operation.plain(2):
        raise NotKnownError("of a signal")
    other = operation.args[2]
    number = other.reshape(-1)[0] if isinstance(other, Tensor) else torch.tensor(float(other))
    return _fill(scores, ~operation.args[0], float(number))


def _fill(scores: Scores, mask: Tensor, number: float) -> Scores:
    if bool(mask.any()) and number > -1e3:
        raise NotKnownError("of scores with a number that lets them through")
    zeros = torch.zeros(scores.cells.shape, dtype=torch.float64)
    logits = (zeros if scores.logits is None else scores.logits).masked_fill(mask, -torch.inf)
    return replace(scores, logits=logits)


def weighted_values(operation: Operation, builder: Builder) -> Signal:
    """Take the mean of the values: (batch and heads, queries, keys) with (batch and heads, keys, channels)."""
    scores, value = operation.value(0), operation.signal(1)
    assert isinstance(scores, Scores)  # noqa: S101 - what it is called for
    cells = scores.cells.reshape(-1)
    if not scores.softmax or not bool((cells == torch.arange(len(cells))).all()):
        raise NotKnownError("of scores in another order")
    return _attended(builder, scores, builder.settled(value))


def whole_attention(operation: Operation, builder: Builder) -> Signal:
    """Take an attention that is one operation, of (batch, heads, positions, channels)."""
    query, key, value = (builder.settled(operation.signal(index)) for index in range(3))
    mask, keep, causal = _settings(operation)
    heads = query.places.shape[1]
    flat = [_flattened(item, heads) for item in (query, key, value)]
    scores = _scores(flat[0], flat[1])
    scale = operation.kwargs.get("scale")
    logits = None
    full = (*query.places.shape[:3], key.places.shape[2])
    if isinstance(mask, Tensor):
        numbers = mask.double() if mask.is_floating_point() else torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
        logits = numbers.double().broadcast_to(full).reshape(scores.cells.shape)
    if causal:
        later = torch.ones(full[2:], dtype=torch.bool).triu(1)
        logits = torch.zeros(scores.cells.shape, dtype=torch.float64).masked_fill(later, -torch.inf)
    scale = 1 / sqrt(query.places.shape[3]) if scale is None else scale
    attended = _attended(builder, replace(scores, logits=logits, softmax=True, scale=scale, keep=keep), flat[2])
    shape = operation.shape
    return replace(attended, places=attended.places.reshape(shape), labels=attended.labels.reshape(shape))


def _settings(operation: Operation) -> tuple[Tensor | None, float, bool]:
    """Return the mask, the share that dropout keeps, and whether a query sees only keys up to its own."""
    name = operation.name
    if "flash_attention_for_cpu" in name:
        mask, dropout, causal = operation.kwargs.get("attn_mask"), operation.argument(3, "dropout_p", 0.0), 4
    elif "flash" in name:
        mask, dropout, causal = None, operation.argument(3, "dropout_p", 0.0), 4
    else:  # efficient, cudnn
        mask, dropout, causal = operation.argument(3, "attn_bias"), operation.argument(5, "dropout_p", 0.0), 6
    if mask is not None and not (operation.find(mask) is None or isinstance(operation.find(mask), Given)):
        raise NotKnownError("with a mask that is a signal")
    return mask, 1 - dropout, bool(operation.argument(causal, "is_causal", False))


def _flattened(signal: Signal, heads: int) -> Signal:
    places, labels = signal.places, signal.labels
    if places.shape[1] != heads:
        times = heads // places.shape[1]
        places, labels = (tensor.repeat_interleave(times, dim=1) for tensor in (places, labels))
    if not bool((places == places[..., :1]).all()):
        raise NotKnownError("of channels of different positions")
    return replace(signal, places=places.flatten(0, 1), labels=labels.flatten(0, 1))


def _attended(builder: Builder, scores: Scores, value: Signal) -> Signal:
    query, key = scores.query, scores.key
    _check_apart(query, key, value)
    places = [side.places[:, :, 0] for side in (query, key, value)]
    if not bool((value.places == value.places[..., :1]).all()) or not _match(key, value):
        raise NotKnownError("of values that have no keys")
    batches, which = torch.unique(torch.cat(places, dim=1), dim=0, return_inverse=True)
    queries, keys = places[0].shape[1], places[1].shape[1]
    split = [part.reshape(-1) for part in batches.split([queries, keys, places[2].shape[1]], dim=1)]
    attention = Attention(
        scale=scores.scale,
        head=query.places.shape[2],
        pattern=_pattern(scores, which, len(batches)),
        fan_in=min(key.fan_in, value.fan_in),
        keep=scores.keep,
        batch=len(batches),
    )
    builder.check_size(len(split[0]))
    order = _order(builder, split[0], query.count)
    index = [as_indices(part) for part in split]
    last = as_indices(order)

    def apply(*grams: Gram) -> Gram:
        taken = [gram.taken(item, (len(item),)) for gram, item in zip(grams, index, strict=True)]
        found = attend(taken[0], taken[1], taken[2], attention)
        held = grams[0].sizes[0]
        return pick(replace(found, sizes=(held, len(found.mean) // held)), last)

    step = builder.step(apply, query.step, key.step, value.step)
    rank = torch.argsort(order).reshape(len(batches), queries)
    shape = (len(which), queries, value.places.shape[2])
    return Signal(
        step,
        len(split[0]),
        rank[which][:, :, None].to(torch.int32).expand(shape),
        value.labels[:, :1].expand(shape),
        {name: replace(source, values=None) for name, source in value.sources.items()},
        query.weights | key.weights | value.weights,
        value.fan_in,
        bent=builder.step(lambda: 1.0),
    )


def _check_apart(query: Signal, key: Signal, value: Signal) -> None:
    """Check that queries, keys and values have weights of their own."""
    for one, other in ((query, key), (query, value), (key, value)):
        check_independent(one, replace(other, labels=other.labels[:, :1], places=other.places[:, :1]))


def _match(key: Signal, value: Signal) -> bool:
    return (
        key.places.shape[:2] == value.places.shape[:2]
        and key.count == value.count
        and bool((key.places[..., 0] == value.places[..., 0]).all())
    )


def _order(builder: Builder, places: Tensor, count: int) -> Tensor:
    """Return the order of the outputs: that of the queries where each is there once, else that of their samples."""
    if len(places) == count and len(torch.unique(places)) == count:
        return torch.argsort(places)
    return by_sample(places[:, None], count, builder.batch.held)


def _pattern(scores: Scores, which: Tensor, batch: int) -> Pattern:
    """Return the mean weights of the keys, which are those that their known logits have."""
    heads, queries, keys = (
        scores.cells.numel() // (scores.query.places.shape[1] * scores.key.places.shape[1]),
        *(side.places.shape[1] for side in (scores.query, scores.key)),
    )
    if heads % batch or not bool((torch.bincount(which) == heads // batch).all()):
        raise NotKnownError("with different numbers of heads")
    if scores.logits is None:
        weights = torch.full((1, 1, queries, keys), 1 / keys, dtype=torch.float64)
    else:
        logits = scores.logits.reshape(heads, queries, keys)[torch.argsort(which, stable=True)]
        weights = torch.softmax(logits.reshape(batch, heads // batch, queries, keys), dim=-1)
        for axis in (0, 1):
            if bool((weights == weights.narrow(axis, 0, 1)).all()):
                weights = weights.narrow(axis, 0, 1)
    if not bool(torch.isfinite(weights).all()):
        raise NotKnownError("of queries that see no key")
    if queries == keys and weights.shape[:2] == (1, 1):
        even = torch.ones(queries, keys, dtype=torch.float64)
        for kind, allowed in (("full", even), ("causal", even.tril())):
            if bool(((weights[0, 0] - allowed / allowed.sum(dim=1, keepdim=True)).abs() < _NOTHING).all()):
                return Pattern(kind)
    return Pattern("known", weights.numpy())

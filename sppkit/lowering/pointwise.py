"""Operations on each element: functions of one signal, sums and products of several."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sppkit.lowering.build import Builder, check_independent, nothing
from sppkit.lowering.rows import covers, together
from sppkit.lowering.values import Given, Mask, NotKnownError, Numbers, Scores, Signal, Source
from sppkit.theory.gram.layers import add, drop, multiply, multiply_known

if TYPE_CHECKING:
    from collections.abc import Callable

    from sppkit.lowering.call import Operation
    from sppkit.lowering.values import Value
    from sppkit.theory.arrays import Floats
    from sppkit.theory.gram.gram import Gram

FUNCTIONS = frozenset({
    "relu", "gelu", "silu", "tanh", "sigmoid", "elu", "leaky_relu", "hardtanh", "hardswish", "hardsigmoid", "softplus",
    "mish", "abs", "pow", "square", "erf", "sin", "cos", "log_sigmoid_forward", "clamp", "clamp_min", "clamp_max",
    "threshold", "neg", "exp", "softshrink", "hardshrink", "relu6", "celu", "selu", "positive", "atan", "asinh",
    "log1p", "expm1", "sign", "rsqrt", "sqrt", "reciprocal",
})  # fmt: skip
# Of whose values nothing holds where they are not positive.
_ONLY_POSITIVE = frozenset({"rsqrt", "sqrt", "reciprocal", "log1p", "exp", "expm1"})
COMBINATIONS = frozenset({"add", "sub", "mul", "div", "rsub", "addcmul", "true_divide", "subtract", "multiply"})


def apply_function(operation: Operation, builder: Builder) -> Value:
    """Apply an elementwise function to a signal, or to numbers of each position."""
    value = operation.value(0)
    if any(isinstance(argument, Tensor) for argument in operation.args[1:]):
        raise NotKnownError("with a tensor for an argument")
    function = _function_of(operation)
    if isinstance(value, Numbers):
        return replace(value, step=builder.step(function, value.step))
    if not isinstance(value, Signal) or operation.name in _ONLY_POSITIVE:
        raise NotKnownError("of such operands")
    return _composed(value, function)


def _function_of(operation: Operation) -> Callable[[Floats], Floats]:
    args, kwargs, function = tuple(operation.args[1:]), dict(operation.kwargs), operation.function

    def apply(x: Floats) -> Floats:
        result: Any = function(torch.from_numpy(np.array(x, dtype=np.float64)), *args, **kwargs)
        return np.asarray((result[0] if isinstance(result, tuple) else result).numpy())

    return apply


def _composed(signal: Signal, outer: Callable[[Floats], Floats]) -> Signal:
    inner = signal.function
    return replace(signal, function=outer if inner is None else lambda x: outer(inner(x)))


def combine(operation: Operation, builder: Builder) -> Value:
    """Add, subtract, multiply or divide."""
    name = operation.name
    if name == "addcmul":
        return _sum_with_product(builder, operation)
    if name == "rsub":
        return _sum(builder, operation, 1, 0)
    if name in {"add", "sub", "subtract"}:
        return _sum(builder, operation, 0, 1)
    return _product(builder, operation)


def _sum_with_product(builder: Builder, operation: Operation) -> Value:
    """Add a product of two: a product, and then a sum with what it would have made."""
    whole, first, second = operation.args[:3]
    factor = operation.argument(3, "value", 1)
    made = (
        None
        if operation.plain(1) and operation.plain(2)
        else _product(builder, replace(operation, name="mul", args=(first, second)))
    )
    product = first * second if made is None else torch.empty(0)

    def find(tensor: Tensor) -> Value | None:
        return made if tensor is product else operation.find(tensor)

    summed = replace(operation, name="add", args=(whole, product, factor), kwargs={}, find=find)
    return _sum(builder, summed, 0, 1)


def _sum(builder: Builder, operation: Operation, first: int, second: int) -> Value:
    factor = float(operation.argument(2, "alpha", 1))
    if operation.name != "add":
        factor = -factor
    for here, other, scale, more in ((first, second, 1.0, factor), (second, first, factor, 1.0)):
        value = operation.value(here)
        if operation.plain(other) and value is not None:
            known = operation.args[other]
            if isinstance(value, Signal | Numbers | Scores):
                return _shifted(builder, _scaled(builder, value, scale), known, more)
    a, b = operation.value(first), operation.value(second)
    if not isinstance(a, Signal) or not isinstance(b, Signal):
        if isinstance(a, Signal) and isinstance(b, Numbers):
            return _less_mean(builder, a, b, factor)
        raise NotKnownError("of such operands")
    if _same(a, b):
        f, g = a.function or _identity, b.function or _identity
        return replace(a, function=lambda x: f(x) + factor * g(x))
    if a.places.shape == b.places.shape and factor == 1 and nothing in {a.function, b.function}:
        return b if a.function is nothing else a  # whatever was applied to it is known still
    return sum_of(builder, a, b if factor == 1 else _composed(b, lambda x: factor * x))


def _identity(x: Floats) -> Floats:
    return x


def _same(a: Signal, b: Signal) -> bool:
    """Say whether two signals are functions of one, of the same channel and position everywhere."""
    if a.step != b.step or a.places.shape != b.places.shape:
        return False
    return bool((a.places == b.places).all()) and bool((a.labels == b.labels).all())


def sum_of(builder: Builder, a: Signal, b: Signal) -> Signal:
    """Add two signals that have weights of their own."""
    a, b = _aligned(builder, builder.values(a), builder.values(b))
    check_independent(a, b)
    labels = together(a.labels, b.labels)
    same = bool((labels[0] == labels[1]).all())
    theirs = {name: source if same else _of_both(source.moved(b.labels), a, name) for name, source in b.sources.items()}
    step = builder.step(add, a.step, b.step)
    mixed = (*b.mixed, *(part.step for part in b.parts))
    total = replace(a.whole(step), labels=labels[0], sources={**a.sources, **theirs}, weights=a.weights | b.weights)
    return replace(total, mixed=(*total.mixed, *mixed), bent=_bent_of_sum(builder, a, b))


def _bent_of_sum(builder: Builder, a: Signal, b: Signal) -> int | None:
    """Add the step that makes the share of a sum which is a function of a Gaussian process."""
    sides = [side for side in (a, b) if side.bent is not None]

    def share(*values: Any) -> float:
        powers = [gram.power for gram in values[: len(sides)]]
        total = values[-1].power + values[-2].power
        bent = sum(power * part for power, part in zip(powers, values[len(sides) :], strict=False))
        return float(bent / total) if total > 0 else 0.0

    shares = [side.bent for side in sides if side.bent is not None]
    return builder.step(share, *(side.step for side in sides), *shares, a.step, b.step) if sides else None


def _of_both(source: Source, other: Signal, name: object) -> Source:
    """Return what two signals have of the same weights, of which the channels are not the same."""
    theirs = other.sources.get(name)
    if theirs is None:
        return source
    channels = (source.channels, theirs.moved(other.labels).channels)
    if channels[0] is None or channels[1] is None:
        return replace(source, channels=None)
    return replace(source, channels=torch.unique(torch.cat((channels[0], channels[1]))))


def _product_of(builder: Builder, a: Signal, b: Signal) -> Signal:
    a, b = _aligned(builder, builder.values(a), builder.values(b))
    check_independent(a, b)
    step = builder.step(multiply, a.step, b.step)
    sources = {name: Source(aligned=False) for name in {*a.sources, *b.sources}}
    labels = together(a.labels, b.labels)[0]
    total = replace(a.whole(step), labels=labels, sources=sources, weights=a.weights | b.weights)
    return replace(
        total, bent=builder.step(lambda: 1.0), mixed=(*total.mixed, *b.mixed, *(part.step for part in b.parts))
    )


def _aligned(builder: Builder, a: Signal, b: Signal) -> tuple[Signal, Signal]:
    """Bring two signals to the same positions."""
    first, second = together(a.places, b.places)
    if a.count == b.count and bool((first == second).all()):
        return replace(a, places=first), replace(b, places=first)
    if min(int(first.min()), int(second.min())) < 0:
        raise NotKnownError("of a padded signal")
    pairs, places = torch.unique(first.long() * b.count + second, return_inverse=True)
    builder.check_size(len(pairs))
    if len(pairs) % builder.batch.held:
        raise NotKnownError("between samples")
    moved = (
        builder.picked(side, positions, places) for side, positions in ((a, pairs // b.count), (b, pairs % b.count))
    )
    one, other = moved
    return one, other


def _scaled(builder: Builder, value: Signal | Numbers | Scores, factor: float) -> Signal | Numbers | Scores:
    if factor == 1:
        return value
    if isinstance(value, Scores):
        logits = None if value.logits is None else value.logits * factor
        if value.softmax:
            raise NotKnownError("of attention weights with a number")
        return replace(value, scale=value.scale * factor, logits=logits)
    if isinstance(value, Numbers):
        return replace(value, step=builder.step(lambda numbers: numbers * factor, value.step))
    return _composed(value, lambda x: factor * x)


def _shifted(builder: Builder, value: Signal | Numbers | Scores, known: Any, factor: float) -> Value:
    """Add known numbers, a factor before them."""
    number = _number(known)
    if isinstance(value, Scores):
        if value.softmax:
            raise NotKnownError("of attention weights with a number")
        more = torch.as_tensor(known).double() * factor
        logits = more.broadcast_to(value.cells.shape)
        return replace(value, logits=logits if value.logits is None else value.logits + logits)
    if isinstance(value, Numbers):
        if number is None:
            raise NotKnownError("of such operands")
        return replace(value, step=builder.step(lambda numbers: numbers + factor * number, value.step))
    if number is not None:
        return _composed(value, lambda x: x + factor * number)
    return builder.add_numbers(value, known.detach() * factor)


def _number(known: Any) -> float | None:
    """Return known numbers that are all the same as one."""
    if not isinstance(known, Tensor):
        return float(known)
    first = known.reshape(-1)[0]
    return float(first) if bool((known == first).all()) else None


def _check_places(signal: Signal, numbers: Numbers) -> None:
    shape = signal.places.shape
    same = signal.count == numbers.count and covers(shape, numbers.places.shape)
    if not same or not bool((signal.places == numbers.places.broadcast_to(shape)).all()):
        raise NotKnownError("with numbers of other positions")


def _less_mean(builder: Builder, signal: Signal, numbers: Numbers, factor: float) -> Signal:
    """Subtract a mean over channels, or add other numbers of the same positions."""
    signal = builder.values(signal)
    _check_places(signal, numbers)

    def apply(gram: Gram, more: Floats) -> Gram:
        shift = factor * more
        crossed = np.multiply.outer(gram.mean, shift)
        products = gram.products + crossed + crossed.T + np.multiply.outer(shift, shift)
        return replace(gram, products=products, mean=gram.mean + shift)

    return signal.whole(builder.step(apply, signal.step, numbers.step))


def _product(builder: Builder, operation: Operation) -> Value:
    divides = "div" in operation.name
    a, b = operation.value(0), operation.value(1)
    for value, other, position in ((a, b, 1), (b, a, 0)):
        if isinstance(value, Given) and isinstance(other, Mask):
            return value  # of known numbers those that are left are known, too
        if isinstance(value, Signal | Scores) and isinstance(other, Mask):
            return _dropped(builder, value, other, operation.args[position])
        if not operation.plain(position) or value is None or (divides and position == 0):
            continue
        if isinstance(value, Mask):
            number = float(operation.args[position])
            return replace(value, factor=value.factor / number if divides else value.factor * number)
        if isinstance(value, Signal | Numbers | Scores):
            return _times_known(builder, value, operation.args[position], divides=divides)
    return _product_of_both(builder, a, b, divides=divides)


def _product_of_both(builder: Builder, a: Value | None, b: Value | None, *, divides: bool) -> Value:
    if isinstance(a, Signal) and isinstance(b, Numbers):
        return _times_numbers(builder, a, b, divides=divides)
    if isinstance(a, Numbers) and isinstance(b, Signal) and not divides:
        return _times_numbers(builder, b, a, divides=False)
    if not isinstance(a, Signal) or not isinstance(b, Signal) or divides:
        raise NotKnownError("of such operands")
    if _same(a, b):
        f, g = a.function or _identity, b.function or _identity
        return replace(a, function=lambda x: f(x) * g(x))
    return _product_of(builder, a, b)


def _times_known(builder: Builder, value: Signal | Numbers | Scores, known: Any, *, divides: bool) -> Value:
    number = _number(known)
    if number is not None:
        return _scaled(builder, value, 1 / number if divides else number)
    if not isinstance(value, Signal):
        raise NotKnownError("of such operands")
    factors = known.detach().double()
    signal = builder.settled(value)
    rows = builder.known_rows(signal, 1 / factors if divides else factors)
    if len(rows) == 1:
        return builder.scale(signal, rows[0])
    products, mean = rows @ rows.T / rows.shape[1], rows.mean(axis=1)
    return builder.mapped(signal, lambda gram: multiply_known(gram, products, mean))


def _times_numbers(builder: Builder, signal: Signal, numbers: Numbers, *, divides: bool) -> Signal:
    """Multiply with numbers made of the channels, which leaves no more of the signal's own drift."""
    signal = builder.values(signal)
    _check_places(signal, numbers)

    def apply(gram: Gram, factors: Floats) -> Gram:
        return replace(gram.times(1 / factors if divides else factors), drift=0.0)

    return signal.whole(builder.step(apply, signal.step, numbers.step))


def _dropped(builder: Builder, value: Signal | Scores, mask: Mask, zeros: Tensor) -> Value:
    if abs(mask.factor * mask.keep - 1) > 1e-6:
        raise NotKnownError("with random zeros that keep no mean")
    if isinstance(value, Scores):
        if not value.softmax or zeros.shape != value.cells.shape:
            raise NotKnownError("with random zeros")
        return replace(value, keep=value.keep * mask.keep)
    if mask.keep == 1:
        return value
    if zeros.shape == value.places.shape:
        return builder.mapped(builder.values(value), lambda gram: drop(gram, mask.keep))
    if any(size != 1 for size in zeros.shape[2:]) or zeros.shape[0] != builder.batch.held:
        raise NotKnownError("with random zeros")
    return builder.mapped(builder.settled(value), lambda gram: _drop_samples(gram, mask.keep))


def _drop_samples(gram: Gram, keep: float) -> Gram:
    """Set whole samples, or whole channels of them, to 0: E x x' of one sample is divided by keep."""
    held, places = gram.sizes[0], len(gram.mean) // gram.sizes[0]
    products = gram.products.reshape(held, places, held, places).copy()
    each = np.arange(held)
    products[each, :, each] /= keep
    return replace(gram, products=products.reshape(gram.products.shape))

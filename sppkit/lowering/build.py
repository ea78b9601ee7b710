"""Adding theory's steps to a program, one signal at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from sppkit.lowering.rows import covers, together
from sppkit.lowering.values import Batch, NotKnownError, Part, Signal, Source, TooManyPositionsError
from sppkit.theory.gram.describe import describe_function
from sppkit.theory.gram.gather import pick
from sppkit.theory.gram.gram import Gram, OutOfReachError
from sppkit.theory.gram.layers import activate, add_known, concatenate, scale_channels
from sppkit.theory.gram.program import Program
from sppkit.theory.hermite import Smooth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from sppkit.theory.activation import Nonlinearity
    from sppkit.theory.arrays import Floats, Indices

    Step = Callable[..., Any]

# Of channels that are scaled differently a signal is a mixture of Gaussians: up to this variance of the factors over
# their mean square, functions of it are those of one.
LARGEST_MIXTURE = 0.05
# Share of E x² that may come from an activation, in front of another one: of relu(relu(u) + v) the variance is then 3 %
# too small.
LARGEST_BENT = 0.2


@dataclass
class Builder:
    """The steps of a network, and the samples that go through it."""

    batch: Batch
    program: Program = field(default_factory=Program)
    _done: WeakKeyDictionary[Signal, Signal] = field(default_factory=WeakKeyDictionary)

    def step(self, apply: Step, *inputs: int) -> int:
        """Add a step to the program, in the module that is called now."""
        return self.program.add(apply, *inputs, where=self.batch.module())

    def check_size(self, positions: int) -> None:
        """Check that a signal of so many positions fits."""
        if positions > self.batch.largest:
            raise TooManyPositionsError(positions)

    def mapped(self, signal: Signal, apply: Step, **changes: Any) -> Signal:
        """Return a signal after a step that treats every channel by itself."""
        if not signal.parts:
            return replace(signal, step=self.step(apply, signal.step), **changes)
        parts = tuple(Part(self.step(apply, part.step), part.channels) for part in signal.parts)
        return replace(signal, step=self.joined(parts), parts=parts, **changes)

    def joined(self, parts: tuple[Part, ...]) -> int:
        """Add the step that puts channels beside each other."""
        channels = [part.channels for part in parts]

        def join(*grams: Gram) -> Gram:
            return concatenate([replace(gram, channels=count) for gram, count in zip(grams, channels, strict=True)])

        return self.step(join, *(part.step for part in parts))

    def values(self, signal: Signal) -> Signal:
        """Return a signal whose function was applied."""
        if signal.function is None:
            return signal
        found = self._done.get(signal)
        if found is None:
            found = self._done[signal] = self._with_function_applied(signal, signal.function)
        return found

    def _with_function_applied(self, signal: Signal, function: Callable[[Floats], Floats]) -> Signal:
        if isinstance(describe_function(function), tuple):  # type: ignore[arg-type]
            return self.mapped(signal, applied(function), function=None)
        if signal.mixed:
            signal = replace(signal, step=self._alike(signal))
        if signal.bent is not None:
            bent = signal.bent
            checked = tuple(Part(self.step(_check_bent, part.step, bent), part.channels) for part in signal.parts)
            step = self.joined(checked) if checked else self.step(_check_bent, signal.step, bent)
            signal = replace(signal, step=step, parts=checked)
        return self.mapped(signal, applied(function), function=None, bent=self.step(lambda: 1.0))

    def _alike(self, signal: Signal) -> int:
        """Add the check that channels which were put beside each other are alike."""

        def check(gram: Gram, *parts: Gram) -> Gram:
            powers = [part.power for part in parts]
            if max(powers) > (1 + LARGEST_MIXTURE) * min(powers):
                raise OutOfReachError("an activation of channels of different scales")
            return gram

        return self.step(check, signal.step, *signal.mixed)

    def settled(self, signal: Signal) -> Signal:
        """Return a signal of which every position is there, as often as every other, and nothing lies outside."""
        signal = self.values(signal)
        places = signal.places.reshape(-1)
        if int(places.min()) < 0:
            raise NotKnownError("of a padded signal")
        counts = torch.bincount(places, minlength=signal.count)
        used = torch.nonzero(counts)[:, 0]
        if not bool((counts[used] == counts[used[0]]).all()):
            raise NotKnownError("of a signal of which some positions are there more often than others")
        if len(used) == signal.count:
            return signal
        fresh = torch.cumsum(counts > 0, dim=0) - 1
        if len(used) % self.batch.held:
            raise NotKnownError("of different positions in different samples")
        return self.picked(signal, used, fresh[signal.places])

    def picked(self, signal: Signal, positions: Tensor, places: Tensor, **changes: Any) -> Signal:
        """Return a signal at some of its positions, in the order of their samples."""
        self.check_size(len(positions))
        index = as_indices(positions)
        if len(index) == signal.count and np.array_equal(index, np.arange(len(index))):
            return replace(signal, places=places, **changes)
        return self.mapped(signal, lambda gram: pick(gram, index), places=places, count=len(index), **changes)

    def known_rows(self, signal: Signal, tensor: Tensor) -> Floats:
        """Return known numbers in the order of a settled signal's positions and channels.

        Returns:
            Shape (positions, channels), or (1, channels) where they are the same at all positions.
        """
        if not covers(signal.places.shape, tensor.shape):
            raise NotKnownError("with numbers of more elements than the signal")
        full = tensor.broadcast_to(signal.places.shape).reshape(-1)
        width = int(signal.labels.max()) + 1
        order = torch.argsort(signal.places.reshape(-1).long() * width + signal.labels.reshape(-1))
        rows = np.asarray(full[order].reshape(signal.count, -1).double().cpu().numpy())
        return rows[:1] if bool(np.all(rows == rows[:1])) else rows

    def add_numbers(self, signal: Signal, tensor: Tensor) -> Signal:
        """Add known numbers to a signal."""
        signal = self.settled(signal)
        rows = self.known_rows(signal, tensor)
        products, mean = rows @ rows.T / rows.shape[1], rows.mean(axis=1)
        if len(rows) == 1:
            square, average = float(products[0, 0]), float(mean[0])
            return self.mapped(signal, lambda gram: _shift(gram, square, average))
        source = {object(): Source(values=tensor.broadcast_to(signal.places.shape))}
        _check_apart(signal.sources, source)
        moved = self.mapped(signal, lambda gram: add_known(gram, products, mean))
        return replace(moved, sources={**signal.sources, **source})

    def scale(self, signal: Signal, factors: Floats) -> Signal:
        """Multiply every channel of a signal with a number of its own."""
        square, average = float(np.mean(factors**2)), float(np.mean(factors))
        if square > 0 and 1 - average**2 / square > LARGEST_MIXTURE:
            raise NotKnownError("with a scale that differs from channel to channel")
        return self.mapped(self.values(signal), lambda gram: scale_channels(gram, square, average))

    def affine(self, signal: Signal, weight: Tensor | None, bias: Tensor | None) -> Signal:
        """Multiply with a layer's weight and add its bias, one number for each channel."""
        if weight is not None and not bool(weight.any()) and (bias is None or not bool(bias.any())):
            return replace(self.values(signal), function=nothing)
        if weight is not None and not bool((weight == 1).all()):
            signal = self.scale(signal, weight.detach().double().cpu().numpy().reshape(-1))
        if bias is None or not bool(bias.any()):
            return signal
        numbers = bias.detach().double()
        square, average = float(numbers.square().mean()), float(numbers.mean())
        return self.mapped(signal, lambda gram: _shift(gram, square, average))


def nothing(x: Floats) -> Floats:
    """Return zeros, as a layer does whose weight is 0 at the start."""
    return np.zeros_like(x)


def applied(function: Nonlinearity | Callable[[Floats], Floats]) -> Callable[[Gram], Gram]:
    """Return the step of an elementwise function."""
    known = describe_function(function)  # type: ignore[arg-type]
    if isinstance(known, tuple):
        slope, offset = known
        return lambda gram: gram.scaled(slope).shifted(offset)
    activation = Smooth(function) if known is function else known

    def apply(gram: Gram) -> Gram:
        _check_finite(gram)
        return activate(gram, activation)

    return apply


def _check_bent(gram: Gram, share: float) -> Gram:
    if share > LARGEST_BENT:
        raise OutOfReachError("an activation of a sum of which much is an activation's output, and so is not Gaussian")
    return gram


def _check_finite(gram: Gram) -> None:
    if not np.isfinite(gram.products).all():
        raise OutOfReachError("the signal is no longer finite")


def _shift(gram: Gram, square: float, average: float) -> Gram:
    """Add a number of each channel, without covariance with the signal."""
    more = average * (gram.mean[:, None] + gram.mean[None, :]) + square
    return replace(gram, products=gram.products + more, mean=gram.mean + average)


def as_indices(positions: Tensor) -> Indices:
    """Return positions as theory takes them."""
    return np.asarray(positions.cpu().numpy()).astype(np.intp)


def check_independent(first: Signal, second: Signal) -> None:
    """Check that two signals have no weights in common that make the same channels of both."""
    shared = first.sources.keys() & second.sources.keys()
    if shared and not all(_differ(first, second, name) for name in shared):
        raise NotKnownError("of two signals that depend on each other")
    _check_apart(first.sources, second.sources)


def _differ(first: Signal, second: Signal, name: object) -> bool:
    """Say whether two signals have other channels of the same weights."""
    sources = first.sources[name], second.sources[name]
    if all(source.aligned for source in sources):
        labels = together(first.labels, second.labels)
        return not bool((labels[0] == labels[1]).any())
    mine, other = (source.moved(side.labels).channels for source, side in zip(sources, (first, second), strict=True))
    return mine is not None and other is not None and not bool(torch.isin(mine, other).any())


def _check_apart(first: Mapping[object, Source], second: Mapping[object, Source]) -> None:
    """Check that what is known in two signals is not the same numbers again."""
    for a in (source.values for source in first.values()):
        for b in (source.values for source in second.values()):
            if a is None or b is None:
                continue
            if a.shape != b.shape or _correlation(a, b) > 0.05 + 4 / a.numel() ** 0.5:
                raise NotKnownError("of two signals that hold the same known numbers")


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = (tensor.double() - tensor.double().mean() for tensor in (a, b))
    scale = float(a.norm() * b.norm())
    return abs(float((a * b).sum())) / scale if scale > 0 else 0.0

"""One layer each: from the covariances of its input to those of its output. docs/theory-any.md derives them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sppkit.theory.gram.gram import (
    Gram,
    OutOfReachError,
    mean_square_correlation,
    over_batch,
    squared_mean_and_variance,
)
from sppkit.theory.gram.shifted import activate_shifted
from sppkit.theory.hermite import Smooth

if TYPE_CHECKING:
    from sppkit.theory.activation import Nonlinearity
    from sppkit.theory.arrays import Floats


@dataclass(frozen=True)
class Weights:
    """A matrix of independent weights, and a bias.

    Attributes:
        square: Mean of the squared weights.
        fan_in: Weights that a channel of the output has.
        channels: Channels of the output.
        bias: Mean of the bias.
        bias_square: Mean of its square.
        centred: Whether the weights of every channel sum up to 0, as standardized ones do.
    """

    square: float
    fan_in: int
    channels: int
    bias: float = 0.0
    bias_square: float = 0.0
    centred: bool = False


def apply_weights(gram: Gram, weights: Weights) -> Gram:
    """Multiply with a random matrix, E y y' = fan_in * square * E x x' + E b².

    Centred weights see nothing of what all of their inputs have in common: (E x x' - m m') in place of E x x'.

    From seed to seed the variance of the C channels varies by 2/C times the mean square correlation; E x x' itself,
    over finitely many inputs, by 2/fan_in of that again.

    Args:
        gram: The input.
        weights: The matrix.

    Returns:
        The output.
    """
    factor = weights.fan_in * weights.square
    seen = gram.products - np.multiply.outer(gram.mean, gram.mean) if weights.centred else gram.products
    products = factor * seen + weights.bias_square
    output = replace(gram, products=products, mean=np.full_like(gram.mean, weights.bias), channels=weights.channels)
    own = 2 * (mean_square_correlation(output) + 1 / weights.fan_in) / weights.channels
    return replace(output, drift=gram.drift + own)


class _AllPairs:
    """Every position with every other, as the activations ask for it."""

    def product(self, values: Floats) -> Floats:
        flat = values.reshape(-1)
        if np.ptp(flat) <= 1e-12 * abs(flat[0]):  # behind a normalizer: one number for all
            return np.full((1, 1), flat[0] * flat[0])
        return np.multiply.outer(flat, flat)


def activate(gram: Gram, activation: Nonlinearity) -> Gram:
    """Apply an elementwise function: E phi(u) phi(v) of every two positions, by its Hermite series or closed form.

    A mean that all positions have in common, such as a bias, is put into the function; one that differs costs more.

    Args:
        gram: The input.
        activation: phi.

    Returns:
        The output.

    Raises:
        OutOfReachError: If the signal is no longer finite.
    """
    offset = float(gram.mean.mean())
    power = gram.power
    if not np.isfinite(power):
        raise OutOfReachError("the signal is no longer finite")
    if np.ptp(gram.mean) > 0.02 * np.sqrt(power):
        return activate_shifted(gram, activation)
    if abs(offset) > 1e-3 * np.sqrt(power):
        gram, activation = gram.shifted(-offset), Smooth(_Shifted(activation, offset))
    second = gram.second
    # The diagonal is known by itself; without it the series is short.
    pairs = gram.products.copy()
    np.fill_diagonal(pairs, 0.0)
    scale = np.clip(second, 0.0, None)
    at, products = activation.transform(scale[None, :], {"pairs": pairs}, _AllPairs())  # type: ignore[arg-type]
    found = np.asarray(np.broadcast_to(products["pairs"], gram.products.shape)).copy()
    np.fill_diagonal(found, at.second[0])
    output = replace(gram, products=found, mean=at.mean[0])
    slope, total = float(at.second_slope.mean()), output.power
    return replace(output, drift=gram.drift * (slope / total) ** 2 if total > 0 else 0.0)


@dataclass(frozen=True)
class _Shifted:
    activation: Nonlinearity
    offset: float

    def __call__(self, x: Floats) -> Floats:
        return self.activation(x + self.offset)


def add(first: Gram, second: Gram) -> Gram:
    """Add two signals without covariance, one of which has weights of its own.

    Args:
        first: One.
        second: The other.

    Returns:
        The sum.
    """
    crossed = np.multiply.outer(first.mean, second.mean)
    total = replace(
        first, products=first.products + second.products + crossed + crossed.T, mean=first.mean + second.mean
    )
    mine, its = (squared_mean_and_variance(part)[1] for part in (first, second))
    if not mine + its > 0:
        return total
    share, other = mine / (mine + its), its / (mine + its)
    both = 4 * share * other * mean_square_correlation(total) / total.channels
    return replace(total, drift=share**2 * first.drift + other**2 * second.drift + both)


def multiply(first: Gram, second: Gram) -> Gram:
    """Multiply two independent signals, channel by channel, as a gate does: E a b a' b' = E a a' E b b'.

    Args:
        first: One.
        second: The other.

    Returns:
        The product.
    """
    return replace(
        first,
        products=first.products * second.products,
        mean=first.mean * second.mean,
        drift=first.drift + second.drift,
    )


def concatenate(parts: list[Gram]) -> Gram:
    """Put the channels of independent signals beside each other.

    Args:
        parts: The signals.

    Returns:
        One signal, whose channels are a draw from all of them.
    """
    channels = sum(part.channels for part in parts)
    shares = [part.channels / channels for part in parts]
    return replace(
        parts[0],
        products=np.sum([share * part.products for share, part in zip(shares, parts, strict=True)], axis=0),
        mean=np.sum([share * part.mean for share, part in zip(shares, parts, strict=True)], axis=0),
        channels=channels,
        drift=sum(share**2 * part.drift for share, part in zip(shares, parts, strict=True)),
    )


def drop(gram: Gram, keep: float) -> Gram:
    """Set each value to 0 with probability 1 - keep and divide the others by keep.

    Args:
        gram: The input.
        keep: Share of the values that stay.

    Returns:
        The output: E x² over keep, everything else as it was.
    """
    products = gram.products.copy()
    np.fill_diagonal(products, gram.second / keep)
    return replace(gram, products=products)


def normalize_channels(gram: Gram, epsilon: float, *, centred: bool) -> Gram:
    """Divide every position by the root mean square, or the standard deviation, of its channels.

    Args:
        gram: The input.
        epsilon: Added to the variance.
        centred: Whether the mean over channels is subtracted (LayerNorm), or not (RMSNorm).

    Returns:
        The output.

    Raises:
        OutOfReachError: If there is nothing to divide by.
    """
    products = gram.products - np.multiply.outer(gram.mean, gram.mean) if centred else gram.products
    variance = np.diagonal(products) + epsilon
    if not np.all(variance > 0):
        raise OutOfReachError("a normalizer of a signal that is 0")
    factors = 1 / np.sqrt(variance)
    output = replace(
        gram,
        products=products * factors[:, None] * factors[None, :],
        mean=np.zeros_like(gram.mean) if centred else gram.mean * factors,
    )
    # What epsilon leaves of the drift.
    left = float(np.mean(epsilon / variance))
    return replace(output, drift=gram.drift * left**2)


def normalize_batch(gram: Gram, epsilon: float) -> Gram:
    """Subtract every channel's mean over the batch and divide by its standard deviation there.

    Args:
        gram: The input.
        epsilon: Added to the variance.

    Returns:
        The output.

    Raises:
        OutOfReachError: If there is nothing to divide by.
    """
    rows = over_batch(gram)
    products = gram.products - rows[:, None] - rows[None, :] + rows.mean()
    variance = float(np.diagonal(products).mean()) + epsilon
    if not variance > 0:
        raise OutOfReachError("a normalizer of a signal that is 0")
    # The deviation that every channel's own variance takes out is gone with it.
    return replace(gram, products=products / variance, mean=np.zeros_like(gram.mean), drift=0.0)


def normalize_samples(gram: Gram, epsilon: float, *, groups: int | None) -> Gram:
    """Normalize every sample by itself: each channel (InstanceNorm), or groups of them (GroupNorm).

    Args:
        gram: The input.
        epsilon: Added to the variance.
        groups: Number of groups; None for every channel by itself.

    Returns:
        The output.

    Raises:
        OutOfReachError: If there is nothing to divide by, or too few channels in a group.
    """
    held, places = gram.sizes[0], len(gram.mean) // gram.sizes[0]
    products = gram.products
    if groups is None:
        blocks = products.reshape(held, places, held, places)
        means = blocks.mean(axis=3)[np.arange(held), :, np.arange(held)]
        if not np.isfinite(means).all():
            raise OutOfReachError("the signal is no longer finite")
        row = blocks.mean(axis=3)  # of a position with the mean of each sample
        both = blocks.mean(axis=(1, 3))
        products = (blocks - row[:, :, :, None] - row.transpose(2, 0, 1)[:, None] + both[:, None, :, None]).reshape(
            products.shape
        )
        mean = np.zeros_like(gram.mean)
    else:
        average = np.repeat(gram.mean.reshape(held, places).mean(axis=1), places)
        mean = gram.mean - average
        products = products - np.multiply.outer(average, gram.mean) - np.multiply.outer(gram.mean, average)
        products = products + np.multiply.outer(average, average)
    variance = np.diagonal(products).reshape(held, places).mean(axis=1) + epsilon
    if not np.all(variance > 0):
        raise OutOfReachError("a normalizer of a signal that is 0")
    if groups is None and places < 4:
        raise OutOfReachError("an instance normalization over fewer than 4 positions")
    factors = np.repeat(1 / np.sqrt(variance), places)
    output = replace(gram, products=products * factors[:, None] * factors[None, :], mean=mean * factors)
    return replace(output, drift=0.0)


def scale_channels(gram: Gram, square: float, average: float) -> Gram:
    """Multiply every channel with a number of its own, the same at all positions.

    Args:
        gram: The input.
        square: Mean of the squared numbers.
        average: Mean of the numbers.

    Returns:
        The output.
    """
    return replace(gram, products=square * gram.products, mean=average * gram.mean)


def add_known(gram: Gram, products: Floats, mean: Floats) -> Gram:
    """Add numbers that are known, such as positions or a bias.

    Args:
        gram: The input.
        products: Their mean products over channels, of every two positions.
        mean: Their mean over channels.

    Returns:
        The sum.
    """
    known = Gram(gram.sizes, products, mean, gram.channels, gram.samples)
    return add(gram, known)


def multiply_known(gram: Gram, products: Floats, mean: Floats) -> Gram:
    """Multiply with numbers that are known, of which every channel has its own.

    Args:
        gram: The input.
        products: Their mean products over channels, of every two positions.
        mean: Their mean over channels.

    Returns:
        The product.
    """
    return replace(gram, products=gram.products * products, mean=gram.mean * mean)

"""Activations of signals whose mean over channels differs from position to position."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sppkit.theory.activation import correlation
from sppkit.theory.hermite import ORDER, sum_series

if TYPE_CHECKING:
    from sppkit.theory.activation import Nonlinearity
    from sppkit.theory.arrays import Floats
    from sppkit.theory.gram.gram import Gram
    from sppkit.theory.pairs import Ends

# Panels of the standard normal variable, a quarter wide: a kink inside one of their 8 points costs less than 1e-4.
_EDGES = np.linspace(-9.0, 9.0, 73)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_Z = (((_EDGES[1:] + _EDGES[:-1]) / 2)[:, None] + np.diff(_EDGES)[:, None] / 2 * _NODES).reshape(-1)
_DENSITY = (np.diff(_EDGES)[:, None] / 2 * _WEIGHTS).reshape(-1) * np.exp(-_Z * _Z / 2) / math.sqrt(2 * math.pi)


class _AllPairs:
    def product(self, values: Floats) -> Floats:
        flat = values.reshape(-1)
        return np.multiply.outer(flat, flat)


def activate_shifted(gram: Gram, activation: Nonlinearity) -> Gram:
    """Apply an elementwise function phi to normal numbers, of which each position has a mean and a variance of its own.

    With a_k = E phi(m + s z) h_k(z) of each position, E phi(u) phi(v) = sum_k a_k a_k' rho^k (Mehler's formula).

    Args:
        gram: The input.
        activation: phi.

    Returns:
        The output.
    """
    products = gram.products - np.multiply.outer(gram.mean, gram.mean)
    std = np.sqrt(np.clip(np.diagonal(products), 0.0, None))
    coefficients, second = _integrate(activation, gram.mean, std)
    pairs: Ends = _AllPairs()  # type: ignore[assignment]
    rho = correlation(products, np.multiply.outer(std, std))
    np.fill_diagonal(rho, 0.0)  # known by itself; without it the series is short
    found = sum_series(coefficients[:, None], second[None], rho, pairs)
    np.fill_diagonal(found, second)
    return replace(gram, products=found, mean=coefficients[0])


def _integrate(activation: Nonlinearity, mean: Floats, std: Floats) -> tuple[Floats, Floats]:
    """Return the coefficients, of shape (ORDER, positions), and E phi² of each position."""
    phi = np.asarray(activation((mean[:, None] + std[:, None] * _Z).reshape(-1))).reshape(len(mean), -1)
    before, hermite, rows = np.zeros_like(_Z), np.ones_like(_Z), np.empty((ORDER, len(_Z)))
    for k in range(ORDER):
        rows[k] = hermite * _DENSITY
        before, hermite = hermite, (_Z * hermite - math.sqrt(k) * before) / math.sqrt(k + 1)
    return rows @ phi.T, np.asarray((phi * phi) @ _DENSITY)

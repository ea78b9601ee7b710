"""Self-attention at initialization: scores that are nearly Gaussian, and what their softmax makes of the values.

Letters: scores s_ij = scale * q_i . k_j of heads of h channels, A the softmax of what is known of them (masks,
distances), which is their mean weight at initialization.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sppkit.theory.gram.gram import Gram, OutOfReachError

if TYPE_CHECKING:
    from sppkit.theory.arrays import Floats

# Variance of a query's scores, their common part left out, up to which the mean weights and the scatter around them
# describe a softmax; docs/theory-any.md has the error against sampling.
LARGEST_SCORES = 1.5
# Scatter below which (e^b - 1)/b is 1 in all its digits.
_SMALL = 1e-8


@dataclass(frozen=True)
class Pattern:
    """The mean weights of a query's keys.

    Attributes:
        kind: ``full`` (all keys alike), ``causal`` (all up to the query's own alike), or ``known``.
        weights: Where known, of shape (1 or batch, 1 or heads, queries, keys).
    """

    kind: str
    weights: Floats | None = None

    def average(self, values: Floats, head: int) -> Floats:
        """Average over keys.

        Args:
            values: Shape (batch, keys, more).
            head: Whose weights.

        Returns:
            Shape (batch, queries, more).
        """
        if self.kind == "full":
            return np.broadcast_to(values.mean(axis=1, keepdims=True), values.shape)
        if self.kind == "causal":
            return np.asarray(np.cumsum(values, axis=1) / np.arange(1, values.shape[1] + 1)[:, None])
        return np.asarray(np.matmul(self._of(head), values))

    def average_squares(self, values: Floats, head: int) -> Floats:
        """Sum over keys with the squared weights.

        Args:
            values: Shape (batch, keys, more).
            head: Whose weights.

        Returns:
            Shape (batch, queries, more).
        """
        if self.kind == "known":
            return np.asarray(np.matmul(self._of(head) ** 2, values))
        keys = values.shape[1]
        allowed = np.arange(1, keys + 1) if self.kind == "causal" else np.full(keys, keys)
        return self.average(values, head) / allowed[:, None]

    def _of(self, head: int) -> Floats:
        assert self.weights is not None  # noqa: S101 - what the kind says
        return self.weights[:, min(head, self.weights.shape[1] - 1)]

    @property
    def heads(self) -> int:
        """How many heads differ."""
        return 1 if self.weights is None else self.weights.shape[1]


@dataclass(frozen=True)
class Attention:
    """One attention.

    Attributes:
        scale: Of the scores.
        head: Channels of a head, h.
        pattern: Of the keys that are seen.
        fan_in: Channels that the keys and the values were computed from.
        keep: Share of the weights that dropout keeps.
        batch: How many of the flattened positions' leading ones are of different sequences.
    """

    scale: float
    head: int
    pattern: Pattern
    fan_in: int
    keep: float
    batch: int


def attend(query: Gram, key: Gram, value: Gram, attention: Attention) -> Gram:
    """Return the mean of the values under the softmax of the scores.

    Over random queries and keys, Cov(s_ij, s_i'j') = g K_jj' with g = scale² h E q_i q_i' and K_jj' = E k_j k_j'. To
    first order in the scores, a_ij = A_ij (1 + s_ij - sum_l A_il s_il), so that E y_i y_i' is A V A^T, V_jj' = E v_j
    v_j', and what the weights' scatter adds: g times the covariance of keys and values under A and A',

    sum_jj' A_ij A_i'j' K_jj' V_jj', less the products of the means over one side, plus that of the means over both.

    K and V come from one signal of d channels, whose own products scatter by 1/d, and always alike in both: that is
    added to K_jj' V_jj'. Higher orders in the scores make (e^b - 1)/b of a scatter b.

    Args:
        query: E q q' of all positions.
        key: E k k'.
        value: E v v'.
        attention: Scale, mask and sizes.

    Returns:
        The output, of the queries' positions and the values' channels.

    Raises:
        OutOfReachError: If the scores vary too much.
    """
    batch = attention.batch
    places, keys = len(query.mean) // batch, len(key.mean) // batch
    q = attention.scale**2 * attention.head * query.products.reshape(batch, places, batch, places)
    given = key.products, value.products, key.products * value.products, _noise(key, value, attention.fan_in)
    parts = [part.reshape(batch, keys, batch, keys) for part in given]
    heads = attention.pattern.heads
    total = sum((_attend_head(q, parts, attention, head) for head in range(heads)), np.zeros_like(q))
    products = (total / heads).reshape(batch * places, batch * places)
    means = [attention.pattern.average(value.mean.reshape(batch, keys, 1), head) for head in range(heads)]
    return replace(
        value, sizes=query.sizes, products=(products + products.T) / 2, mean=np.mean(means, axis=0).reshape(-1)
    )


def _noise(key: Gram, value: Gram, fan_in: int) -> Floats:
    """Return what the scatter of the input's products over finitely many channels adds to K V."""
    scale = np.sqrt(np.clip(key.second * value.second, 0.0, None))
    if fan_in == 0 or not np.any(scale):
        return np.zeros_like(key.products)
    roots = np.sqrt(np.clip(value.second, 1e-300, None))
    apart = np.clip(1 - value.products / np.multiply.outer(roots, roots), 0.0, None)
    noise = np.asarray(np.multiply.outer(scale, scale) * np.square(apart) / fan_in)
    np.fill_diagonal(noise, 0.0)
    return noise


def _attend_head(g: Floats, parts: list[Floats], attention: Attention, head: int) -> Floats:
    k, v = parts[:2]
    pattern = attention.pattern
    once_k, once_v, once_both, once_noise = (_over_first(part, pattern, head) for part in parts)
    twice_k, twice_v, twice_both, crossed, noise = (
        _over_second(part, pattern, head) for part in (once_k, once_v, once_both, once_k * once_v, once_noise)
    )
    scatter = twice_both - crossed - crossed.transpose(2, 3, 0, 1) + twice_k * twice_v
    output = twice_v + g * (scatter + noise)
    each = np.arange(len(k))
    own_k = pattern.average(_diagonal(k)[:, :, None], head)
    spread = (own_k + own_k.transpose(0, 2, 1)) / 2 - twice_k[each, :, each]
    b = g[each, :, each] * np.maximum(spread, 0.0)
    squares = pattern.average_squares(np.ones((len(k), k.shape[1], 1)), head)[:, :, 0]
    output[each, :, each] += g[each, :, each] * scatter[each, :, each] * (_higher_orders(b, squares) - 1)
    if attention.keep < 1:
        places = np.arange(b.shape[1])
        own = np.divide(b[:, places, places], 1 - squares, out=np.zeros_like(squares), where=squares < 1 - _SMALL)
        kept = pattern.average_squares(_diagonal(v)[:, :, None], head)[:, :, 0] * (
            1 + softmax_scatter(own, 1 / squares)
        )
        output[each[:, None], places, each[:, None], places] += (1 / attention.keep - 1) * kept
    return output


def _higher_orders(b: Floats, squares: Floats) -> Floats:
    """Return what higher orders in the scores make of the scatter: of its first order, b c of a correlation c.

    Args:
        b: Covariances of two queries' scores of one key, their means over keys left out; of shape (batch, queries,
            queries).
        squares: Sum of a query's squared mean weights, 1/n of n alike.

    Returns:
        The factor, of the shape of b.

    Raises:
        OutOfReachError: If the scores vary too much.
    """
    each = np.arange(b.shape[1])
    own = b[:, each, each]
    keys = 1 / squares
    of_one = np.divide(own, 1 - squares, out=np.zeros_like(own), where=squares < 1 - _SMALL)
    if not float(of_one.max()) <= LARGEST_SCORES:
        raise OutOfReachError(
            f"the scores of a query vary by {of_one.max():.2g}, and the theory of nearly even attention holds up to "
            f"{LARGEST_SCORES:g}"
        )
    ratio = np.divide(np.log1p(softmax_scatter(of_one, keys)), own, out=np.ones_like(own), where=own > _SMALL)
    root = np.sqrt(ratio)
    effective = b * root[:, :, None] * root[:, None, :]
    return np.divide(np.expm1(effective), b, out=np.ones_like(b), where=np.abs(b) > _SMALL)


# Nodes of the scores, of the integral over log t, and of the table that is interpolated between.
_SCORES, _SCORE_WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
_LOG_T = np.linspace(-18.0, 6.0, 241)
_VARIANCES = np.linspace(0.05, LARGEST_SCORES, 13)
_KEYS = np.concatenate((np.arange(1.0, 9.0), np.geomspace(10.0, 4096.0, 24)))


def softmax_scatter(variance: Floats, keys: Floats) -> Floats:
    """Return n E sum_j (a_j - 1/n)² of the softmax a of n independent normal scores.

    With 1/S² = the integral of t e^(-t S) over t > 0 and S = sum e^s_j, E sum a_j² is n times the integral of
    t L''(t) L(t)^(n-1), L(t) = E e^(-t e^s).

    Args:
        variance: Of the scores, any shape, up to ``LARGEST_SCORES``.
        keys: n, of the same shape; need not be whole.

    Returns:
        The same shape; e^variance - 1 for many keys.
    """
    table = _scatter_table()
    rows = np.clip((variance - _VARIANCES[0]) / (_VARIANCES[1] - _VARIANCES[0]), 0.0, len(_VARIANCES) - 1.0)
    columns = np.interp(np.log(np.clip(keys, 1.0, _KEYS[-1])), np.log(_KEYS), np.arange(len(_KEYS)))
    low, left = np.minimum(rows.astype(int), len(table) - 2), np.minimum(columns.astype(int), len(_KEYS) - 2)
    up, right = rows - low, columns - left
    above = (1 - right) * table[low + 1, left] + right * table[low + 1, left + 1]
    below = (1 - right) * table[low, left] + right * table[low, left + 1]
    # The table holds the ratio to e^variance - 1, which hardly changes.
    return np.asarray(((1 - up) * below + up * above) * np.expm1(variance))


@functools.cache
def _scatter_table() -> Floats:
    t = np.exp(_LOG_T)
    step, weights = _LOG_T[1] - _LOG_T[0], _SCORE_WEIGHTS / np.sqrt(2 * np.pi)
    table = np.empty((len(_VARIANCES), len(_KEYS)))
    for row, variance in enumerate(_VARIANCES):
        exponentials = np.exp(np.sqrt(variance) * _SCORES)
        decays = np.exp(-np.multiply.outer(t, exponentials))
        first, second = decays @ weights, decays @ (weights * exponentials**2)
        squares = _KEYS * np.sum(t[:, None] ** 2 * second[:, None] * first[:, None] ** (_KEYS - 1), axis=0) * step
        table[row] = (_KEYS * squares - 1) / np.expm1(variance)
    return table


def _over_first(products: Floats, pattern: Pattern, head: int) -> Floats:
    batch, keys = products.shape[:2]
    return pattern.average(products.reshape(batch, keys, -1), head).reshape(batch, -1, *products.shape[2:])


def _over_second(products: Floats, pattern: Pattern, head: int) -> Floats:
    return _over_first(products.transpose(2, 3, 0, 1), pattern, head).transpose(2, 3, 0, 1)


def _diagonal(products: Floats) -> Floats:
    batch, places = products.shape[:2]
    return np.diagonal(products.reshape(batch * places, -1)).reshape(batch, places)

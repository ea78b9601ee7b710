"""How much statistics differ from seed to seed: what stands in where a run has too few seeds to show it.

Measured over 24 to 72 seeds on pre-activation ResNets of 18 to 26 layers, C = 4 to 512 channels and n = 4 to 8192
values per channel: the spreads were at most 1.1 times these. The channel variance of a network with normalizers
scatters by 0.5 to 1 % at full width, without them by 2 to 3 %, the squared mean by sqrt(2/C) (9 % at 256 channels): the
forms below give these there, and more on narrow networks and small maps. ``docs/gate-proof.md`` shows how often they
are wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


_NARROW = 32.0


class _Form(NamedTuple):
    """Variance of the logarithm: ``a/C (1 + 32/C) + b/n``; narrow layers scatter more than 1/sqrt(C)."""

    a: float
    b: float


_NORMALIZED = {
    "channel_variance": _Form(0.15, 0.05),
    "residual_variance": _Form(0.3, 0.05),
    "channel_squared_mean": _Form(2.2, 0.1),
}
# Without a normalizer a block passes on what the blocks before it got wrong.
_FREE = {
    "channel_variance": _Form(0.25, 0.75),
    "residual_variance": _Form(0.9, 1.3),
    "channel_squared_mean": _Form(8.0, 1.0),
}


def log_spread(
    statistic: str, channels: NDArray[np.float64], values: NDArray[np.float64], *, normalized: bool
) -> NDArray[np.float64]:
    """Return the standard deviation, seed to seed, of the logarithm of a statistic, shape (blocks,).

    >>> bool(0.08 < log_spread("channel_squared_mean", np.array([256.0]), np.array([1e5]), normalized=True) < 0.1)
    True
    """
    forms = _NORMALIZED if normalized else _FREE
    form = forms.get(statistic, forms["residual_variance"])
    spread: NDArray[np.float64] = np.sqrt(form.a / channels * (1 + _NARROW / channels) + form.b / values)
    return spread

"""A gain that does not fit its activation: every layer multiplies the variance by the same wrong factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.factors import Factors, block_factors
from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Array, Curves
    from sppkit.curves.network import NetworkFacts
    from sppkit.diagnosis.result import Diagnosis

# A healthy activation and convolution multiply the variance by 0.8 to 1.17 (medians over a network: width 0.1 to 1, 32
# to 224 px, all homogeneous activations). A gain that is 14 % off multiplies it by 1.3, and a branch of three by 2.2.
_WRONG = 1.3
# Both estimates of the factor, from shortcuts and from branches, must agree to a half of its logarithm.
_AGREE = 0.5
# Of an activation that is not homogeneous, only what it does to a variance near 1 tells its gain: to one of 0.8 to 1.25
# the worst of them, tanh and softshrink, are 12 % off.
_NEAR_ONE = 1.25


def find_wrong_gain(curves: Curves) -> Diagnosis | None:
    """Find a scaled network each of whose layers multiplies the variance by more than 1.3 or less than 1/1.3.

    Shortcut and branch must tell the same story: q and q^n for the n convolutions of a branch.
    """
    factors = block_factors(curves)
    if factors is None or not _can_be_wrong(curves.network):
        return None
    per_layer = _per_layer(curves, factors)
    from_branch, from_shortcut = _median(per_layer), _median(trusted(curves, factors, factors.shortcut))
    # A network of one stage has no shortcut that tells; with squeeze-and-excite its branch alone tells nothing.
    single = np.isnan(from_shortcut) and not curves.network.se
    if not (_is_wrong(from_branch) and (single or _agree(from_branch, from_shortcut))):
        return None
    known = np.flatnonzero(np.isfinite(per_layer))
    # A gain is wrong from the first block on; a beta that is never reset is not.
    if not _agree(from_branch, float(per_layer[known[0]])):
        return None
    worst = int(known[np.argmax(np.abs(np.log(per_layer[known])))])
    bound = _WRONG ** (curves.network.convolutions * (1 if from_branch > 1 else -1))
    error = from_branch**0.5
    cause, remedy = _explain(curves.network, error)
    return diagnosed(
        curves,
        "wrong-gain",
        "error",
        begins=0,
        worst=worst,
        statistic="residual_variance",
        limit=float(curves.branch[worst] / factors.branch[worst] * bound),
        fact=f"Every activation with its convolution multiplies the variance by {from_branch:.3g} where it should keep "
        f"it: from {curves.at(0)} on, the branch by {_median(factors.branch):.3g}",
        cause=cause,
        remedy=remedy,
    )


def _can_be_wrong(network: NetworkFacts) -> bool:
    # The exact gain of an activation that is not homogeneous is right for a variance of 1 and for no other.
    return network.homogeneous or network.gain is not None or network.init == "he" or network.unit_weights


def _per_layer(curves: Curves, factors: Factors) -> Array:
    with np.errstate(invalid="ignore"):
        per_layer = np.where(factors.branch > 0, factors.branch, np.nan) ** (1 / curves.network.convolutions)
    return trusted(curves, factors, per_layer)


def trusted(curves: Curves, factors: Factors, values: Array) -> Array:
    """Return factors where they tell a gain: for inhomogeneous activations, at an input of variance near 1."""
    if curves.network.homogeneous:
        return values
    # The activation stands before the division by beta, so that it sees the input as it is.
    with np.errstate(invalid="ignore"):
        near = (curves.before <= _NEAR_ONE) & (curves.before >= 1 / _NEAR_ONE)
    return np.where(near & (factors.beta_squared <= _NEAR_ONE), values, np.nan)


def _median(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _is_wrong(factor: float) -> bool:
    return factor > _WRONG or factor < 1 / _WRONG  # neither, if it is nan


def _agree(a: float, b: float) -> bool:
    return _is_wrong(a) and b > 0 and abs(np.log(b / a)) < _AGREE * abs(np.log(a))


def _explain(network: NetworkFacts, error: float) -> tuple[str, str]:
    if network.unit_weights:
        return (
            f"--weights {network.weights} gives every weight unit variance, so that a convolution multiplies the "
            "variance by its fan-in",
            "take scaled-ws, which divides by the fan-in",
        )
    if network.gain is not None:
        return (
            f"the gain {network.gain:g} is {error:.3g} times the one that keeps the variance of {network.activation}",
            f"take --gain exact (`sppkit gain {network.activation}` shows it)",
        )
    if network.init == "he":
        return (
            "the weights' variance of 2/fan_in makes up for ReLU, and so does the gain after the activation",
            "take --init lecun (1/fan_in) with the exact gain, or --gain 1 with weights that are not centred",
        )
    return (
        f"activations times their gain are {error:.3g} times as large as they should be, or the weights are",
        f"multiply the gain by {1 / error:.3g}, or scale the weights so that a filter's squares sum to 1",
    )

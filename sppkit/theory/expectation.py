"""What a healthy signal of a given kind of network looks like at initialization."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.registry import normalizer_facts, weight_facts
from sppkit.theory.closed_forms import (
    residual_variance_behind_norm,
    residual_variance_normalizer_free,
    squeeze_excite_factor,
)

if TYPE_CHECKING:
    from sppkit.theory.activation import Nonlinearity


def expected_residual_variance(
    activation: Nonlinearity,
    *,
    norm: str,
    norm_first: bool,
    scaled: bool,
    weights: str,
    gain: float,
    c: float,
    se_factor: float | None,
    largest_variance: float = 1.0,
    pooled: bool = False,
    whole_branch: bool = True,
) -> float | None:
    """Return the residual variance that theory expects in every block, border effects left out.

    Args:
        activation: The activation.
        norm: Name of the normalizer.
        norm_first: Whether it comes before the activation.
        scaled: Whether the network scales its signal as NF-ResNets do.
        weights: Name of the weight parametrization.
        gain: Factor after every activation.
        c: Weight variance times fan_in.
        se_factor: Factor after the squeeze-and-excite gate, or None without one.
        largest_variance: The largest variance that a block of a scaled network expects at its input.
        pooled: Whether a 3x3 max-pool precedes the first block.
        whole_branch: Whether the skip connection adds all of alpha times the branch, as the expected variance supposes:
            skip gain 1 (or -1) and no stochastic depth.

    Returns:
        The residual variance, or None where there is no such number: without a normalizer and without scaling it
        changes from block to block, and so it does where scaling expects another variance than the activation or
        the skip connection leaves; published weight standardization makes it depend on fan_in.
    """
    gate = 1.0 if se_factor is None else squeeze_excite_factor(se_factor)
    filters = weight_facts(weights)
    # Removing the mean leaves c (1 - 1/fan_in) of what was drawn, which is c in the limit of many channels.
    if normalizer_facts(norm).theory == "batch" and filters.squares in {"drawn", "c"}:
        return gate * residual_variance_behind_norm(activation, norm_first=norm_first, gain=gain, c=c)
    if scaled and whole_branch and filters.centred and filters.squares in {"drawn", "c"}:
        value = residual_variance_normalizer_free(
            activation, gain=gain, c=c, largest_variance=largest_variance, pooled=pooled
        )
        return None if value is None else gate * value
    return None

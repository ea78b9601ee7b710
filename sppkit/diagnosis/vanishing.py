"""A variance of which nothing is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Array, Curves
    from sppkit.curves.network import NetworkFacts
    from sppkit.diagnosis.result import Diagnosis

# Networks that sag and still train keep a tenth of their variance, and the published curves a half (Brock et al. 2021,
# figure 2); a thousandth is no sag: 3 % of the signal's size.
_LEFT = 1e-3
# Of a network that nothing is known of this is slow, no more: of small ones that were trained (benchmarks/trainability,
# the kinds for fitting) three learnt that kept 9e-4 to 2e-7, none that kept 4e-8 or less.
_NOTHING_LEFT = 1e-7
# A tenth of the size is worth a word where averaging may be the reason.
_SEEN = 1e-2
AVERAGING = (
    "the shortcuts average 2x2 positions at every transition, which leaves a quarter of the variance where positions "
    "are independent, as in Gaussian input, and more in pictures"
)


def find_vanishing(curves: Curves) -> Diagnosis | None:
    """Find where the variance falls to a thousandth of what it was.

    Compared with the larger of the stem's and the first block's; with the first block's alone where a normalizer gives
    the blocks a scale of their own, and where nothing is known of the network. Where shortcuts may average positions,
    what is left is multiplied by the positions that the map has lost, each of which may have been independent.
    """
    variance, stem, network = curves.variance, curves.stem_variance, curves.network
    if not len(variance) or not np.isfinite(variance[0]):
        return None
    alone = network.normalized or network.averaging or not network.known or not np.isfinite(stem)
    before = variance[0] if alone else max(variance[0], stem)
    limit = _LEFT * before
    averaged = _averaged(curves)
    lost = np.flatnonzero(variance * averaged <= limit)
    if not len(lost) and (network.averaging or not network.known):
        limit = _SEEN * before
    passed = lost if len(lost) else np.flatnonzero(variance <= limit)
    if not len(passed):
        return None
    worst, begins = int(np.nanargmin(variance)), int(passed[0])
    kept = float((variance * averaged)[-1] / _new_stream(curves))
    serious = network.known or not network.initial or kept <= _NOTHING_LEFT * before
    cause, remedy = _explain(network) if len(lost) else _explain_sag(network)
    left = "thousandth" if limit < _SEEN * before else "hundredth"
    return diagnosed(
        curves,
        "vanishing-variance",
        ("error" if serious else "warning") if len(lost) else "remark",
        begins=begins,
        worst=worst,
        statistic="channel_variance",
        limit=float(limit),
        fact=f"The variance vanishes: from {before:.3g} it falls to {variance[worst]:.3g} at block "
        f"{curves.number(worst)}, and below a {left} at {curves.at(begins)}",
        cause=cause,
        remedy=remedy,
    )


def _new_stream(curves: Curves) -> float:
    """Return the largest fall at the start of a stage, as a factor: a class token begins a stream of its own there."""
    places = np.flatnonzero(curves.starts)[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        falls = curves.variance[places] / curves.variance[places - 1]
    return float(np.nanmin(falls, initial=1.0)) or 1.0


def _explain_sag(network: NetworkFacts) -> tuple[str, str]:
    if network.averaging:
        return AVERAGING, "measure with pictures (--input) to see the rest"
    return (
        "the map shrinks on the way: blocks that average independent positions leave so much, and so do weights that "
        "are too small for their fan-in",
        "harmless where blocks average; else draw weights of variance 1/(fan_in E f²)",
    )


def _averaged(curves: Curves) -> Array:
    if curves.network.known and not curves.network.averaging:
        return np.ones_like(curves.variance)
    positions = curves.map_sizes.prod(axis=0)
    averaged: Array = np.maximum(positions[0] / positions, 1.0)
    return averaged


def _explain(network: NetworkFacts) -> tuple[str, str]:
    if network.stored:
        return (
            "eval mode divides by running statistics that are larger than this signal's",
            network.calibrate,
        )
    if network.gain is not None:
        return (
            f"activations times {network.gain:g} and their convolutions pass on less variance than they receive",
            f"take --gain exact (`sppkit gain {network.activation}` shows it), which passes on all of it",
        )
    layers = "convolutions" if network.known else "layers"
    return (
        f"some {layers} pass on less variance than they receive: weights too small for their fan-in, an activation "
        "that saturates, or a shortcut that shrinks the signal at every transition",
        "initialize with variance 1/(fan_in E f²)"
        + (", or take scaled-ws with the activation's gain" if network.known else ", or normalize the blocks' input"),
    )

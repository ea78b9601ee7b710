"""A variance of which nothing is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.network import CALIBRATE

if TYPE_CHECKING:
    from sppkit.diagnosis.evidence import Evidence
    from sppkit.diagnosis.network import Network
    from sppkit.diagnosis.result import Diagnosis

# Networks that sag and still train keep a tenth of their variance, and the published curves a half (Brock et al. 2021,
# figure 2); a thousandth is no sag: 3 % of the signal's size.
_LEFT = 1e-3


def find_vanishing(evidence: Evidence) -> Diagnosis | None:
    """Find where the variance falls to a thousandth of what it was.

    Compared with the larger of the stem's and the first block's; with the first block's alone where a normalizer gives
    the blocks a scale of their own.

    Args:
        evidence: The curves and what is known of the network.

    Returns:
        The diagnosis, or None.
    """
    variance, stem = evidence.variance, evidence.stem_variance
    if not len(variance) or not np.isfinite(variance[0]):
        return None
    before = variance[0] if evidence.network.normalized or not np.isfinite(stem) else max(variance[0], stem)
    limit = _LEFT * before
    passed = np.flatnonzero(variance <= limit)
    if not len(passed):
        return None
    worst, begins = int(np.nanargmin(variance)), int(passed[0])
    cause, remedy = _explain(evidence.network)
    return evidence.diagnosis(
        "vanishing-variance",
        "error",
        begins=begins,
        worst=worst,
        statistic="channel_variance",
        limit=float(limit),
        fact=f"The variance vanishes: from {before:.3g} it falls to {variance[worst]:.3g} at block "
        f"{evidence.number(worst)}, and below a thousandth at {evidence.at(begins)}",
        cause=cause,
        remedy=remedy,
    )


def _explain(network: Network) -> tuple[str, str]:
    if network.normalized and network.mode == "eval":
        return (
            "eval mode divides by running statistics that are larger than this signal's",
            CALIBRATE,
        )
    if network.gain is not None:
        return (
            f"activations times {network.gain:g} and their convolutions pass on less variance than they receive",
            f"take --gain exact (`sppkit gain {network.activation}` shows it), which passes on all of it",
        )
    return (
        "some convolutions pass on less variance than they receive: weights too small for their fan-in, an activation "
        "that saturates, or a projected shortcut that shrinks the signal at every transition",
        "initialize with variance 1/(fan_in E f²), or take scaled-ws with the activation's gain",
    )

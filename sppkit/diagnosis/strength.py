"""Branches that are not as strong as theory expects, for no reason that another rule knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.factors import block_factors, kept_taps
from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Array, Curves
    from sppkit.diagnosis.result import Diagnosis

# Under half or over twice what is expected is another network than the one that was meant: seeds, width and borders
# move a healthy one's blocks by less (0.6 to 1.7 at width 0.1 and 32 px).
_FAR = 2.0
# Closed forms take Gaussian inputs. What a normalizer hands an activation is nearly Gaussian; tanhshrink makes 3.4
# times the variance out of the difference, and no other activation more than 2.
_FAR_UNLESS_HOMOGENEOUS = 4.0
# A variance of fewer values than this is itself a matter of chance, and of how few channels there are.
_VALUES = 100
# Five standard deviations of the prediction lie beyond any chance among some hundred blocks.
_DEVIATIONS = 5.0


def find_unexpected_branch(curves: Curves) -> Diagnosis | None:
    """Find branches with less than half or more than twice the variance that theory expects (a quarter, four times).

    Compared with the table's prediction where it has one (and five of its standard deviations, if those are more); else
    in a scaled network with the share that a block keeps of its input; else with the closed form of the record.
    """
    expected, spread = curves.prediction("residual_variance")
    predicted = bool(np.isfinite(expected).any())
    if not predicted:
        expected = _closed_form(curves)
    network = curves.network
    near = network.homogeneous or (predicted and not network.far_from_gaussian)
    times = _FAR if near else _FAR_UNLESS_HOMOGENEOUS
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(curves.branch > 0, curves.branch / expected, np.nan)
        significant = ~(np.abs(curves.branch - expected) <= _DEVIATIONS * spread)
        far = np.flatnonzero(
            ((ratio > times) | (ratio < 1 / times)) & significant & (curves.independent[curves.judged] >= _VALUES)
        )
    if not len(far):
        return None
    begins, worst = int(far[0]), int(far[np.argmax(np.abs(np.log(ratio[far])))])
    above = ratio[worst] > 1
    return diagnosed(
        curves,
        "unexpected-branch",
        "warning",
        begins=begins,
        worst=worst,
        statistic="residual_variance",
        limit=float(expected[worst] * (times if above else 1 / times)),
        fact=f"The residual variance is {curves.branch[worst]:.3g} at block {curves.number(worst)}, far "
        f"{'above' if above else 'below'} the {expected[worst]:.3g} that theory expects of it, and off by more than "
        f"{times:.0f} times from {curves.at(begins)} on ({len(far)} of {len(ratio)} blocks)",
        cause="the branch is another one than the record describes: other weights, another order of its layers, or one "
        "missing",
        certain=False,
        remedy=f"compare {curves.names[curves.judged[begins]]} with the block before it, layer by layer",
    )


def _closed_form(curves: Curves) -> Array:
    healthy, factors = curves.network.expected_residual, block_factors(curves)
    if healthy is None:
        return np.full(len(curves.branch), np.nan)
    if factors is None:
        return healthy * kept_taps(curves)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected: Array = curves.branch / factors.branch * healthy
    return expected

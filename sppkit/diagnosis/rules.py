"""All rules on one table, and which of their findings are mere consequences of another."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sppkit.diagnosis.alike_positions import find_alike_positions
from sppkit.diagnosis.border import find_border_sag
from sppkit.diagnosis.branch import find_dead_branch, find_dominant_branch
from sppkit.diagnosis.cut_gradient import find_cut_branch, find_cut_gradient
from sppkit.diagnosis.drowned_input import find_drowned_input
from sppkit.diagnosis.equal_units import find_equal_units
from sppkit.diagnosis.exploding import find_exploding
from sppkit.diagnosis.faint_branches import find_faint_branches
from sppkit.diagnosis.gain import find_wrong_gain
from sppkit.diagnosis.gradient_growth import find_gradient_growth
from sppkit.diagnosis.identical_samples import find_identical_samples
from sppkit.diagnosis.layers import find_exploding_layers, find_layers_mean_shift, find_vanishing_layers
from sppkit.diagnosis.loud_output import find_loud_output
from sppkit.diagnosis.mean_shift import find_mean_shift
from sppkit.diagnosis.no_gradient import find_no_gradient
from sppkit.diagnosis.nonfinite import find_nonfinite
from sppkit.diagnosis.probabilities import find_probabilities
from sppkit.diagnosis.reset import find_no_reset, find_wrong_reset
from sppkit.diagnosis.saturation import find_saturated_activations, find_saturated_attention
from sppkit.diagnosis.squeeze_excite import find_missing_factor
from sppkit.diagnosis.strength import find_unexpected_branch
from sppkit.diagnosis.unexpected_gradient import UNEXPECTED, find_unexpected_gradient
from sppkit.diagnosis.unregistered import find_unregistered
from sppkit.diagnosis.vanishing import find_vanishing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.result import Diagnosis

# From the fault that explains most to the one that explains least; each finder gives one diagnosis or none.
_FINDERS = (
    find_nonfinite,
    find_wrong_gain,
    find_missing_factor,
    find_vanishing,
    find_dead_branch,
    find_faint_branches,
    find_wrong_reset,
    partial(find_dominant_branch, few=True),
    find_exploding,
    partial(find_dominant_branch, few=False),
    find_no_reset,
    find_mean_shift,
    find_unexpected_branch,
    find_border_sag,
    find_identical_samples,
    find_drowned_input,
    find_alike_positions,
    find_equal_units,
    find_saturated_attention,
    find_saturated_activations,
    find_loud_output,
    find_probabilities,
    find_unregistered,
    find_no_gradient,
    find_gradient_growth,
    find_cut_gradient,
    find_cut_branch,
    find_unexpected_gradient,
)
# Of networks without residual joins.
_LAYER_FINDERS = (
    find_nonfinite,
    find_identical_samples,
    find_drowned_input,
    find_vanishing_layers,
    find_exploding_layers,
    find_loud_output,
    find_probabilities,
    find_unregistered,
    find_layers_mean_shift,
    find_alike_positions,
    find_equal_units,
    find_saturated_attention,
    find_saturated_activations,
    find_no_gradient,
    find_gradient_growth,
    find_cut_gradient,
)
_SCALE = frozenset({
    "dominant-branch", "exploding-variance", "vanishing-variance", "no-reset", "unexpected-branch", "border-sag",
    "loud-output",
})  # fmt: skip
# What a fault brings about after the block where it begins, and what is no fault of its own there.
_CONSEQUENCES: dict[str, frozenset[str]] = {
    "non-finite": frozenset({"border-sag"}),
    "wrong-gain": _SCALE,
    "missing-se-factor": _SCALE,
    "dead-branch": frozenset({"vanishing-variance", "unexpected-branch", "border-sag"}),
    "dominant-branch": _SCALE,
    "no-reset": _SCALE,
    "exploding-variance": _SCALE,
    "vanishing-variance": _SCALE - {"loud-output"} | {"dead-branch"},
    "mean-shift": frozenset({"unexpected-branch", "border-sag"}),
    "unexpected-branch": frozenset({"border-sag"}),
    "no-gradient": frozenset({"cut-gradient"}),
}


def apply_rules(curves: Curves) -> list[Diagnosis]:
    """Return what the rules find."""
    finders = _LAYER_FINDERS if curves.layered else _FINDERS
    found = [diagnosis for find in finders if (diagnosis := find(curves)) is not None]
    return _without_consequences(curves, found)


def _without_consequences(curves: Curves, found: Iterable[Diagnosis]) -> list[Diagnosis]:
    kept: list[Diagnosis] = []
    for diagnosis in found:
        if not any(_explains(curves, earlier, diagnosis) for earlier in kept):
            kept.append(diagnosis)
    return kept


def _explains(curves: Curves, earlier: Diagnosis, later: Diagnosis) -> bool:
    # What is healthy but for a remark is no longer that where a fault was found, wherever it begins.
    follows = later.worst_block >= earlier.block or later.severity == "remark"
    same_fault = later.remedy == earlier.remedy
    # Of a signal that is another, or a gradient that is cut, nothing was expected.
    if later.name == UNEXPECTED and earlier.severity != "remark":
        return True
    # Where nothing is left of what tells inputs apart, what is left are the biases, which are no shift of a mean; and
    # beside an explosion it does not matter.
    if curves.layered and earlier.name in {"vanishing-variance", "exploding-variance", "identical-samples"}:
        return earlier.severity == "error" or later.severity != "error"
    return same_fault or (follows and later.name in _CONSEQUENCES.get(earlier.name, frozenset()))

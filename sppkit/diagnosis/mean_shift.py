"""Mean shift: the squared mean as a share of the variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.laws import mean_floor
from sppkit.diagnosis.branch import adds_nothing
from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Array, Curves
    from sppkit.curves.network import NetworkFacts
    from sppkit.diagnosis.result import Diagnosis, Severity

# The squared mean outweighs the variance: two samples look more alike than different. Brock et al. 2021, figure 2,
# show it for the network with mean shift and for no other; BatchNorm before ReLU stays at 0.3183/0.6817 = 0.47.
PASSES = 1.0
# What keeps a mean without being sick: a ReLU after the addition makes of the signal a reflected random walk, whose
# squared mean is (2/pi)/(1 - 2/pi) = 1.75 times its variance, and layer or group normalization leaves each channel its
# own mean, up to 4.2 times the variance (measured: bn-relu-conv with ln, depth 26 to 200, 64 and 96 px; 2.4 in vision
# transformers of 12 to 48 layers with Xavier's initialization). 5 is beyond both.
KEEPS = 5.0
# Where the architecture holds the mean at zero, a tenth is already too much: at full width and 224 px the published
# curves stay below 2 %.
CENTRED_PASSES = 0.1
# On maps this small, zero padding leaves centred weights a part of the activation's mean: up to 0.84 of the variance
# for the sigmoids, whose mean is 2.4 standard deviations, on maps of 4x4 and less (measured, width 0.25).
_SMALL_MAP = 8


def find_mean_shift(curves: Curves) -> Diagnosis | None:
    """Find where the squared mean passes the variance, or a tenth of it where the architecture keeps it at zero."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio = np.where(curves.variance > 0, curves.mean / curves.variance, np.nan)
    floor = mean_floor(curves, independent=True)[curves.judged]
    bound = (PASSES if curves.network.known else KEEPS) + floor
    passed = np.flatnonzero(ratio > bound)
    if len(passed):
        return _diagnose(curves, ratio, int(passed[0]), bound, serious=True)
    limit = np.maximum(CENTRED_PASSES, floor)
    # A tenth of the variance is what the mean of a few dozen pictures leaves by itself.
    if holds_mean_at_zero(curves.network) and curves.network.white_input:
        passed = np.flatnonzero(ratio > limit)
        if len(passed):
            return _diagnose(curves, ratio, int(passed[0]), limit, serious=False)
    return None


def holds_mean_at_zero(network: NetworkFacts) -> bool:
    """Return whether a network's last operation before the addition leaves no mean, at large width."""
    if network.centred:
        return True
    return network.centring and network.norm_first is False


def _diagnose(curves: Curves, ratio: Array, begins: int, limit: Array, *, serious: bool) -> Diagnosis:
    worst = int(np.nanargmax(ratio))
    where = f"at {curves.at(begins)}"
    if serious:
        times = "the variance" if curves.network.known else f"{KEEPS:.0f} times the variance"
        fact = f"The squared mean passes {times} {where} and reaches {ratio[worst]:.3g} times the variance"
    else:
        fact = f"The squared mean passes {limit[begins]:.0%} of the variance {where} and reaches {ratio[worst]:.0%}"
    if curves.network.known or not curves.network.initial or adds_nothing(curves):
        cause, remedy = _explain(curves, by_border=not serious and _is_by_border(curves, begins))
    else:
        cause, remedy = _UNKNOWN
    certain = cause != _ADDED_LATER
    return diagnosed(
        curves,
        "mean-shift",
        _severity(curves, begins, serious=serious),
        begins=begins,
        worst=worst,
        statistic="channel_squared_mean",
        limit=float(limit[worst] * curves.variance[worst]),
        fact=fact if worst == begins else f"{fact} at block {curves.number(worst)}",
        cause=cause,
        remedy=remedy,
        certain=certain,
    )


_UNKNOWN = (
    "block by block something adds a mean: activations of positive mean with weights of non-zero mean, or biases",
    "centred weights (scaled weight standardization) or a normalizer over the batch remove it",
)


def _severity(curves: Curves, begins: int, *, serious: bool) -> Severity:
    network = curves.network
    if not serious:
        return "remark" if _is_by_border(curves, begins) else "warning"
    # What has been trained has shown that it can be.
    if network.takes_mean_out or _keeps_means(network) or not network.initial or adds_nothing(curves):
        return "remark"
    # Of networks that nothing is known of, ones with 940 times the variance learnt, and ones with 25 times did not
    # (benchmarks/trainability): the ratio alone does not tell; its course does (``identical_samples``).
    return "error" if network.known else "warning"


def _keeps_means(network: NetworkFacts) -> bool:
    return network.leaves_means and network.norm_first is True


def _is_by_border(curves: Curves, begins: int) -> bool:
    return (
        curves.network.centred
        and curves.network.zero_padding
        and bool(curves.map_sizes.min(axis=0)[begins] <= _SMALL_MAP)
    )


_ADDED_LATER = (
    "the architecture keeps the mean of every branch small, so that something adds one later, as a bias does, or the "
    "shortcut never loses its own"
)


def _explain(curves: Curves, *, by_border: bool) -> tuple[str, str]:
    return _by_state(curves) or _by_structure(curves.network, by_border=by_border) or _by_activation(curves.network)


def _by_state(curves: Curves) -> tuple[str, str] | None:
    network = curves.network
    if network.stored:
        return (
            "in eval mode the normalizer subtracts its running mean, which is not this signal's",
            network.calibrate,
        )
    if not network.initial:
        return (
            "trained weights: a few channels with large means are common, and the later layers have learnt with them",
            "compare with the same network at its initialization to see whether training or the architecture shifts it",
        )
    if adds_nothing(curves):
        return (
            f"no branch adds anything yet, so that this is the mean of the stem, of {_name(network)} and its pooling, "
            "which shortcuts with weights of non-zero mean hand on",
            "no fault by itself: training starts from it and opens the branches later",
        )
    return None


def _by_structure(network: NetworkFacts, *, by_border: bool) -> tuple[str, str] | None:
    if _keeps_means(network):
        return (
            f"{network.norm} subtracts a mean over several channels and leaves each channel the rest of its own, to "
            f"which {_name(network)} and weights with non-zero mean add in every block",
            "networks with it train so; a normalizer after the activation (relu-bn-conv) or centred weights "
            "(--weights centered-ws) take the mean out",
        )
    if by_border:
        return (
            f"centred weights remove the mean of {_name(network)} but where zero padding takes some of them away, and "
            "on maps this small that is nearly everywhere",
            "a larger --image-size lessens it, and --padding circular removes it",
        )
    if holds_mean_at_zero(network) or (network.centring and not network.takes_mean_out):
        return (
            _ADDED_LATER,
            "look at what stands between the last convolution or normalizer and the addition, and at the shortcuts",
        )
    if network.takes_mean_out:
        return (
            f"{_name(network)} after the normalizer has a mean larger than its standard deviation, and the weights "
            "hand it on",
            "the next block's normalizer takes it out again; the order of relu-bn-conv, or centred weights, avoid it",
        )
    return None


def _by_activation(network: NetworkFacts) -> tuple[str, str]:
    shift = f"this is the mean shift of {_name(network)} followed by weights with non-zero mean"
    if network.scaled:
        return shift, "scaled-ws removes it (predicted 0.00)"
    if network.norm == "none":
        return shift, "centred weights (--weights centered-ws) or a normalizer after the activation remove it"
    return shift, "centred weights (scaled weight standardization) or a normalizer after the activation remove it"


def _name(network: NetworkFacts) -> str:
    if not network.activation:
        return "an activation with positive mean"
    return "ReLU" if network.activation == "relu" else network.activation

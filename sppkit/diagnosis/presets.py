"""The limits of each kind of network: what a healthy one shows, whatever options produced it.

The gap between a limit and what a healthy network shows is what seeds, small maps and narrow layers need;
``docs/gate-proof.md`` shows what they do to networks of 4 to 2048 channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.curves.curves import PREDICTED
from sppkit.diagnosis.branch import adds_nothing
from sppkit.diagnosis.limit import Limit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.limit import Limits

_FINITE = Limit(max=0, reason="a signal that is not finite carries nothing")
# A fault that matters moves a variance by a quarter or more: a slope of LeakyReLU, a fifth of alpha. A mean over four
# paired seeds scatters by 1 to 4 % around that, and is caught all the same with a limit a little below.
_RATIO = 1.2
_RATIO_REASON = "a change of a quarter matters, and is seen from a fifth on"
_COMMON: dict[str, tuple[Limit, ...]] = {
    "nonfinite": (_FINITE,),
    "channel_variance": (
        Limit(max=1e6, reason="a million leaves half precision 1/15 of its range"),
        Limit(min=1e-6, reason="below it the epsilon of normalizers (1e-5) is larger than the signal"),
        Limit(ratio=_RATIO, reason=_RATIO_REASON),
    ),
    "residual_variance": (Limit(ratio=_RATIO, reason=_RATIO_REASON),),
    "channel_squared_mean": (
        Limit(ratio=1.6, reason="judged where it outweighs the variance, and moves a share of 1/2 by 0.12"),
    ),
    "mean_share": (
        Limit(change=0.08, reason="a tenth more of the signal that all samples share matters; seen a little below"),
    ),
    "addition_gain": (Limit(ratio=_RATIO, reason=_RATIO_REASON),),
    "growth": (Limit(ratio=_RATIO, reason=_RATIO_REASON),),
    "predicted_channel_variance": (
        Limit(ratio=1.3, reason="healthy networks of 4 to 2048 channels are within 1.2, beyond chance"),
    ),
    "predicted_residual_variance": (
        Limit(ratio=1.3, reason="healthy networks of 4 to 2048 channels are within 1.2, beyond chance"),
    ),
    "predicted_channel_squared_mean": (
        Limit(
            ratio=2.0,
            reason="theory is of independent channels; the means of narrow layers are not: up to 1.6, beyond chance",
        ),
    ),
}

_RESIDUAL: dict[str, tuple[Limit, ...]] = _COMMON | {
    "growth": (
        *_COMMON["growth"],
        Limit(max=2, reason="branches of one strength add up: v_k is at most k times v_1"),
    ),
    "addition": (Limit(min=0.85, max=1.18, reason="skip and branch are independent: their variances add up"),),
}

_NORMALIZED: dict[str, tuple[Limit, ...]] = _RESIDUAL | {
    "branch_level": (
        Limit(min=0.75, max=1.33, reason="a normalizer sets the branch's scale; sqrt(2) in its gain is a factor 2"),
    ),
    "reset": (Limit(min=0.5, max=1.6, reason="each stage starts where the first one did"),),
}

PRESETS: dict[str, Mapping[str, tuple[Limit, ...]]] = {
    "bn-relu-conv": _NORMALIZED
    | {
        "mean_shift": (
            Limit(
                max=0.9,
                reason="(1/pi) / (1 - 1/pi) = 0.47 after BatchNorm and ReLU at any depth, up to 0.75 in narrow layers",
            ),
        ),
    },
    "relu-bn-conv": _NORMALIZED
    | {
        "mean_shift": (Limit(max=0.15, reason="BatchNorm after ReLU leaves no mean: less than 2 % at full width"),),
    },
    "nf-resnet": _RESIDUAL
    | {
        "mean_shift": (
            Limit(
                max=0.3,
                reason="weights of zero mean leave no mean: less than 2 % at full width, and what zero "
                "padding brings in on small maps",
            ),
        ),
        "branch_level": (
            Limit(
                min=0.6,
                max=1.7,
                reason="gain and beta keep the variance; one forgotten gain of ReLU is 0.34, one twice 2.93",
            ),
        ),
        "reset": (
            Limit(max=1.6, reason="each stage starts where the first one did"),
            Limit(min=0.1, reason="zero padding makes stages sag, on maps of a few pixels to a fifth"),
        ),
    },
    "any": _COMMON
    | {
        "channel_variance": (
            Limit(
                max=3e6, reason="of 379 small networks that were trained three learnt beyond, and some thirty did not"
            ),
            Limit(
                min=1e-6, level="warn", reason="below it the epsilon of normalizers (1e-5) is larger than the signal"
            ),
            Limit(min=1e-38, reason="float32 holds no smaller number in full (1.2e-38): nothing is left"),
            *(limit for limit in _COMMON["channel_variance"] if limit.ratio is not None),
        ),
        "mean_shift": (
            Limit(
                max=10,
                level="warn",
                reason="a ReLU after the addition leaves 1.75 times the variance, post-norm blocks up to 5.3",
            ),
        ),
        "growth": (
            *_COMMON["growth"],
            Limit(max=10, level="warn", reason="branches of unequal strength add up; this is ten times linear growth"),
        ),
        "variance_kept": (
            Limit(min=1e-3, level="warn", reason="all but a thousandth of the signal is lost among the branches"),
        ),
    },
}
# A network that is meant to explode is judged like any residual network: it fails, and says so.
PRESETS["he-resnet"] = {**PRESETS["any"], **_RESIDUAL, "reset": _NORMALIZED["reset"]}
# Nothing is normalized, and nothing added at initialization: what holds for any network.
PRESETS["skipinit"] = PRESETS["fixup"] = PRESETS["any"]
# Its shortcuts are pooled by averages, which take most of the variance of independent pixels at every transition.
PRESETS["nf-regnet"] = {name: limits for name, limits in PRESETS["nf-resnet"].items() if name != "reset"}


def preset_of(arch: str) -> str:
    """Return the preset of an architecture.

    >>> preset_of("nf-resnet"), preset_of("")
    ('nf-resnet', 'any')
    """
    return arch if arch in PRESETS else "any"


def limits_of(curves: Curves) -> Limits:
    """Return the limits of the kind of network that these curves are of."""
    return fit(PRESETS[preset_of(curves.network.arch)], curves)


def fit(limits: Limits, curves: Curves) -> Limits:
    """Return limits without what a preset states for another normalizer, activation or weights than the record's."""
    own, fitting = PRESETS[preset_of(curves.network.arch)], dict(_iter_fitting(curves))
    return {
        name: fitting.get(name, several) if several == own.get(name) else several for name, several in limits.items()
    }


def _iter_fitting(curves: Curves) -> Iterator[tuple[str, tuple[Limit, ...]]]:
    network = curves.network
    if network.activation and not network.homogeneous:
        # Closed forms take Gaussian inputs, and an exact gain is right for a variance of 1.
        yield from ((name, () if network.scaled else (_NEARLY_GAUSSIAN,)) for name in ("branch_level", "reset"))
    if network.far_from_gaussian:
        yield from ((name, ()) for name in _COMMON if name.startswith(PREDICTED))
    if (network.normalized and not network.centring) or network.unit_weights:
        # Each channel, or each width, has a scale of its own.
        yield from (("branch_level", ()), ("reset", ()))
    if network.post or network.add_on:
        yield from ((name, ()) for name in ("branch_level", "addition", "reset"))
    if not network.initial:
        # Training moves means and branches, and has shown that it can be so.
        yield from ((name, ()) for name in ("mean_shift", "branch_level", "reset", "addition"))
    else:
        yield from _iter_means(curves)


def _iter_means(curves: Curves) -> Iterator[tuple[str, tuple[Limit, ...]]]:
    network = curves.network
    several = network.leaves_means
    if adds_nothing(curves) or (network.arch == "bn-relu-conv" and network.takes_mean_out):
        yield "mean_shift", ()
    elif several and network.arch in _MEANS_OF_SEVERAL:
        yield "mean_shift", (_MEANS_OF_SEVERAL[network.arch],)
    elif network.arch == "nf-resnet" and network.zero_padding and network.activation and not network.homogeneous:
        yield "mean_shift", (_AT_BORDERS,)


_NEARLY_GAUSSIAN = Limit(
    min=0.25, max=4, reason="what a normalizer hands an activation is nearly Gaussian: tanhshrink makes 3.4 of that"
)
_MEANS_OF_SEVERAL = {
    "bn-relu-conv": Limit(
        max=30,
        reason="layer and group normalization leave each channel a mean of its own: up to 4.2 times the variance, and "
        "25 on maps of one position",
    ),
    "relu-bn-conv": Limit(
        max=1, reason="layer and group normalization take out the mean of several channels, not of each"
    ),
}
_AT_BORDERS = Limit(
    max=1, reason="on small maps zero padding leaves centred weights a part of a large mean: up to 0.84"
)

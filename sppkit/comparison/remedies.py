"""The standard remedies for a sick signal: what each changes, what it does, and where it was published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sppkit.models.spec import DEFAULT_ALPHA
from sppkit.registry import normalizer_facts, weight_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sppkit.models.spec import ModelSpec

    # Option name to its new value; None takes the architecture's own default.
    Changes = Mapping[str, object]


@dataclass(frozen=True)
class Remedy:
    """One thing to try on a network.

    Attributes:
        name: What it is called.
        effect: What it does to the signal.
        source: Where it was published.
        changes: Returns the options to change for a network, or None where the remedy has nothing to change.
        recommended: Whether it may be advised. One that flattens the curve without carrying a signal, or only shows
            where a sag comes from, is tried for insight.
    """

    name: str
    effect: str
    source: str
    changes: Callable[[ModelSpec], Changes | None]
    recommended: bool = True


def _centre_and_scale(spec: ModelSpec) -> Changes:
    own = {"weights": None, "init": None, "gain": None}
    return own if spec.scaled else {"weights": "scaled-ws", "init": "lecun", "gain": "exact"}


def _normalize_behind_relu(spec: ModelSpec) -> Changes | None:
    # The order's own initialization: with 2/fan_in its residual variance would be 2.
    takes_mean = normalizer_facts(spec.norm).removes in {"channel", "several"}
    return {"arch": "relu-bn-conv", "init": None} if spec.arch == "bn-relu-conv" and takes_mean else None


def _normalize(spec: ModelSpec) -> Changes | None:
    if spec.scaled or spec.norm != "none":
        return None
    return {"arch": "bn-relu-conv"} if spec.arch == "he-resnet" else {"norm": None}


def _leave_out_normalizer(spec: ModelSpec) -> Changes | None:
    return None if spec.scaled else {"arch": "nf-resnet", "norm": None, "weights": None, "init": None, "gain": None}


def _centre(spec: ModelSpec) -> Changes | None:
    return {"weights": "centered-ws"} if spec.weights == "none" else None


def _standardize(spec: ModelSpec) -> Changes | None:
    return {"weights": "ws"} if spec.weights == "none" and spec.norm != "none" else None


def _exact_gain(spec: ModelSpec) -> Changes | None:
    filters = weight_facts(spec.weights)
    keep = filters.centred and filters.squares in {"drawn", "c"}
    return {"init": "lecun", "gain": "exact"} if keep else None


def _he_weights(spec: ModelSpec) -> Changes | None:
    return {"init": "he", "gain": 1.0} if spec.weights == "none" and spec.norm == "none" else None


def _published_alpha(spec: ModelSpec) -> Changes | None:
    return {"alpha": None} if spec.scaled and spec.alpha > DEFAULT_ALPHA else None


def _unit_skip_gain(spec: ModelSpec) -> Changes | None:
    return {"skip_gain": None} if abs(spec.skip_gain) > 1 else None


def _no_pool(spec: ModelSpec) -> Changes | None:
    carries_mean = weight_facts(spec.weights).centred is False and spec.norm == "none"
    return {"stem": "no-pool"} if carries_mean and spec.stem == "imagenet" else None


def _silent_branches(spec: ModelSpec) -> Changes | None:
    return {"skip_gain": 0.0} if spec.skip_gain != 0 else None


def _circular_padding(spec: ModelSpec) -> Changes | None:
    return {"padding": "circular"} if spec.padding == "zeros" and spec.norm == "none" else None


# In the order in which equal scores are listed: what changes least of the network comes first.
REMEDIES = (
    Remedy(
        "scaled weight standardization",
        "filters of zero mean carry no mean on, and with the activation's exact gain a layer keeps the variance",
        "Brock, De & Smith 2021, section 4",
        _centre_and_scale,
    ),
    Remedy(
        "exact gain",
        "1/std of the activation of N(0,1) restores what the activation takes from the variance",
        "Brock, De & Smith 2021, section 4 and appendix D",
        _exact_gain,
    ),
    Remedy(
        "alpha 0.2",
        "a smaller step per block: the variance of a stage grows by alpha² a block",
        "Brock, De & Smith 2021, section 4",
        _published_alpha,
    ),
    Remedy(
        "skip gain 1",
        "a branch that is added as it is",
        "He et al. 2016, Identity Mappings in Deep Residual Networks",
        _unit_skip_gain,
    ),
    Remedy(
        "He weights",
        "weights of variance 2/fan_in keep the second moment after ReLU",
        "He et al. 2015, Delving Deep into Rectifiers",
        _he_weights,
    ),
    Remedy(
        "centred weights",
        "each filter's mean is subtracted, so that ReLU's mean is not carried on",
        "Huang et al. 2017, Centered Weight Normalization",
        _centre,
    ),
    Remedy(
        "weight standardization",
        "filters of zero mean and unit variance, which need a normalizer after them",
        "Qiao et al. 2019, Weight Standardization",
        _standardize,
    ),
    Remedy(
        "ReLU before the normalizer",
        "it takes ReLU's mean out before the convolution can carry it on",
        "Brock, De & Smith 2021, section 3",
        _normalize_behind_relu,
    ),
    Remedy(
        "no max-pool",
        "the largest of nine Gaussian values has mean 1.485, which uncentred weights carry on",
        "David & Nagaraja 2003, Order Statistics",
        _no_pool,
    ),
    Remedy(
        "BatchNorm",
        "every branch starts from unit variance, whatever the skip connections have added up",
        "Ioffe & Szegedy 2015; De & Smith 2020",
        _normalize,
    ),
    Remedy(
        "NF-ResNet",
        "divides by the expected variance instead of the measured one, with scaled weight standardization",
        "Brock, De & Smith 2021, section 4",
        _leave_out_normalizer,
    ),
    Remedy(
        "skip gain 0 (SkipInit)",
        "branches are silent until training opens them: flat at initialization, and nothing is seen of them",
        "De & Smith 2020, SkipInit",
        _silent_branches,
        recommended=False,
    ),
    Remedy(
        "circular padding",
        "no border: shows how much of a sag is zero padding's doing",
        "Brock, De & Smith 2021, figure 2",
        _circular_padding,
        recommended=False,
    ),
)

"""The members of the family: each a set of defaults for one pre-activation ResNet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What makes one member of the family: order of operations, normalizer, and the defaults of its options.

    Attributes:
        norm: Normalizer by default.
        norm_first: Normalizer before the activation (BN-ReLU-Conv) or after it (ReLU-BN-Conv).
        choosable_norm: Whether ``--norm`` may replace the normalizer.
        scaled: Normalizer-free signal scaling: ``alpha``, ``beta``, stochastic depth, factor 2 after
            squeeze-and-excite.
        weights: Weight parametrization by default.
        init: Weight variance by default, c/fan_in with c = 2 (``he``) or 1 (``lecun``).
        gain: Factor after every activation by default.
        skip_gain: Scalar gain on every branch by default.
        bias: Whether convolutions have a bias whatever their weights are.
        fixup: Fixup's weights and scalar biases.
        activation: Activation by default, if not that of all others.
        has_variants: Whether ``--variant`` says how deep and wide it is, instead of ``--depth`` and the like.
    """

    norm: str
    norm_first: bool = True
    choosable_norm: bool = False
    scaled: bool = False
    weights: str = "none"
    init: str = "he"
    gain: float | str = 1.0
    skip_gain: float = 1.0
    bias: bool = False
    fixup: bool = False
    activation: str | None = None
    has_variants: bool = False


BN_RELU_CONV = Architecture(norm="bn", choosable_norm=True)
# 1/fan_in: the residual variance of 1 that Brock et al. 2021 print for this order needs it; with 2/fan_in it is 2.
RELU_BN_CONV = Architecture(norm="bn", norm_first=False, choosable_norm=True, init="lecun")
NF_RESNET = Architecture(norm="none", scaled=True, weights="scaled-ws", init="lecun", gain="exact")
NF_REGNET = Architecture(
    norm="none",
    scaled=True,
    weights="scaled-ws",
    init="lecun",
    gain="exact",
    activation="silu",
    has_variants=True,
)
HE_RESNET = Architecture(norm="none")
# De & Smith 2020, arXiv:2002.10444, section 3.
SKIPINIT = Architecture(norm="none", skip_gain=0.0, bias=True)
# Zhang et al. 2019, arXiv:1901.09321, section 4: its scalar biases replace those of the convolutions.
FIXUP = Architecture(norm="none", fixup=True)

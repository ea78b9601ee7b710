"""From options to a complete description of one network; needs no torch.

An architecture is a set of defaults for one pre-activation ResNet. An option that would mean nothing for it is
refused rather than ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from sppkit import registry
from sppkit.config.options import MOST_BLOCKS, ModelOptions, options, parse_values
from sppkit.errors import UsageError
from sppkit.models.addons.settings import read_add_on_settings
from sppkit.models.enorm_settings import read_enorm_settings
from sppkit.models.layout import stage_layout
from sppkit.models.normalizers.settings import read_settings
from sppkit.models.refusals import refuse_combinations, refuse_lost_add_ons, refuse_meaningless
from sppkit.models.regnet import GROUP, VARIANTS, bottleneck_width, stage_widths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sppkit.models.architecture import Architecture

WHICH_NETWORK = (
    f"which network? Say --arch NAME, one of {', '.join(registry.ARCHITECTURES)},\n"
    "or --model SPEC for one of your own, as timm:resnet50 or path/file.py:factory."
)
# Brock et al. 2021, section 4: the branch's scale in NF-ResNets.
DEFAULT_ALPHA = 0.2
STEM_CHANNELS = 64
# A bottleneck block's output has four times the channels of its 3x3 convolution (He et al. 2016).
EXPANSION = {"bottleneck": 4, "basic": 1}


_AS_GIVEN = ("block", "activation", "norm_kw", "add_on", "add_on_kw", "enorm", "enorm_kw", "padding", "se", "variant")
# The words of --order, and those of its values where the normalizer comes before the activation.
_OPERATIONS = {"ic": "norm", "relu": "activation", "conv": "conv"}
_NORM_FIRST = frozenset({"ic-conv-relu"})


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One network, with nothing left to decide.

    Attributes:
        stages: Blocks per stage.
        stem_channels: Channels after the stem; the bottleneck width of stage s (from 0) is this times 2^s.
        order: Order of operations where it is not the architecture's own, for instance ``"ic-conv-relu"``.
        add_on: Add-ons and their positions, as ``crossnorm@post+selfnorm@post``, or None.
        add_on_kw: Settings of the add-ons as ``key=value,...``, or None.
        noise: Strength of the noise on the weights.
        noise_kind: ``"multiplicative"``, ``"additive-max"`` or ``"additive-std"``.
        enorm: Whether the weights are balanced.
        enorm_kw: Settings of the balancing as ``key=value,...``, or None.
        norm_kw: Settings of the normalizer as ``key=value,...``, or None.
        gain: ``"exact"`` (one over the standard deviation of the activation of N(0,1)) or a number.
        alpha: Scale of the residual branch; 1 outside NF-ResNets.
        bias: Whether convolutions have a bias whatever their weights are.
        fixup: Whether branches have Fixup's weights and scalar biases.
        variant: Which NF-RegNet it is, or None.
        widths: Channels at the output of each stage of an NF-RegNet, or None.
        silent: Whether the last convolution of each branch starts at 0.
    """

    arch: str
    stages: tuple[int, ...]
    stem_channels: int
    block: str
    activation: Any
    norm: str
    norm_kw: str | None
    order: str | None
    add_on: str | None
    add_on_kw: str | None
    norm_first: bool
    scaled: bool
    weights: str
    init: str
    noise: float
    noise_kind: str
    enorm: bool
    enorm_kw: str | None
    padding: Literal["zeros", "circular"]
    stem: str
    gain: float | str
    alpha: float
    se: bool
    skip_gain: float
    stochastic_depth: float
    bias: bool
    fixup: bool
    silent: bool
    variant: str | None
    widths: tuple[int, ...] | None

    @property
    def operations(self) -> tuple[str, ...]:
        """The order of ``norm``, ``activation``, ``conv`` and Fixup's scalar biases in a branch."""
        if self.fixup:
            return ("activation_bias", "activation", "conv_bias", "conv")
        if self.order is not None:
            return tuple(_OPERATIONS[word] for word in self.order.split("-"))
        return ("norm", "activation", "conv") if self.norm_first else ("activation", "norm", "conv")

    @property
    def clean_training(self) -> bool:
        """Whether train mode has no noise, so that running statistics are those of the clean network."""
        noiseless = registry.normalizer_facts(self.norm).noiseless
        return noiseless is not None and noiseless in read_settings(self.norm, self.norm_kw).items()

    @property
    def textbook(self) -> bool:
        """Whether the network is one that theory describes: its own order, no add-ons, no noise, weights as drawn."""
        changed = (self.add_on, self.noise, self.variant, self.order, self.norm_kw, self.fixup, self.enorm)
        return not any(changed)

    @property
    def weight_scale(self) -> float:
        """C in the weight variance c/fan_in: 2 (``he``) or 1 (``lecun``)."""
        return 2.0 if self.init == "he" else 1.0

    def branch_scale(self, index: int, convolutions: int) -> float:
        """Return what the weight variance of one of a branch's convolutions is multiplied by."""
        if index == convolutions - 1:
            return 0.0 if self.silent else 1.0
        return float(sum(self.stages) ** (-1 / (convolutions - 1))) if self.fixup else 1.0

    @property
    def se_factor(self) -> float:
        """What the squeeze-and-excite gate is multiplied by: 2 in NF-ResNets, else 1."""
        return 2.0 if self.scaled else 1.0


def build_spec(arch: object, given: Mapping[str, object]) -> ModelSpec:
    """Resolve options to a complete description."""
    if not isinstance(arch, str) or not arch:
        raise UsageError(WHICH_NETWORK)
    kind: Architecture = registry.resolve("architecture", arch)
    values = parse_values(ModelOptions, {name: value for name, value in given.items() if value is not None})
    refuse_meaningless(arch, kind, values)
    chosen = ModelOptions(**_with_variant(kind, values))
    widths = stage_widths(chosen.variant, chosen.width) if chosen.variant is not None else None
    norm = chosen.norm or kind.norm
    read_settings(norm, chosen.norm_kw)
    read_add_on_settings(chosen.add_on, chosen.add_on_kw)
    read_enorm_settings(chosen.enorm_kw)
    refuse_combinations(norm, chosen)
    spec = ModelSpec(
        arch=arch,
        norm=norm,
        stages=_stages(chosen),
        stem_channels=_stem_channels(chosen.width) if widths is None else _check_widths(widths, chosen.width),
        stem=chosen.stem if widths is None else "regnet",
        widths=widths,
        **_order(kind, chosen),
        **_branch_scales(kind, chosen),
        **_weight_defaults(kind, chosen),
        **{name: getattr(chosen, name) for name in _AS_GIVEN},
        **{name: getattr(kind, name) for name in ("scaled", "bias", "fixup")},
    )
    refuse_lost_add_ons(norm, spec.add_on, spec.stages)
    if spec.enorm:
        _refuse_enorm(spec)
    return spec


def non_default(arch: str, given: Mapping[str, object]) -> dict[str, object]:
    """Return the given options that change the network: the ones a file name should carry."""
    given = {name: value for name, value in given.items() if value is not None}
    spec = build_spec(arch, given)
    rest = {name: {key: value for key, value in given.items() if key != name} for name in given}
    return {
        name: given[name]
        for name in options(ModelOptions)
        if name in given and name not in {"depth", "stages", "variant"} and _differs(arch, rest[name], spec)
    }


def _differs(arch: str, given: Mapping[str, object], spec: ModelSpec) -> bool:
    try:
        return build_spec(arch, given) != spec
    except UsageError:  # what was left out is what gave another option its meaning
        return True


def describe(spec: ModelSpec) -> dict[str, object]:
    """Return a JSON-ready description of a network."""
    values = {item.name: getattr(spec, item.name) for item in fields(spec)}
    widths = None if spec.widths is None else list(spec.widths)
    return values | {"activation": _name(spec.activation), "stages": list(spec.stages), "widths": widths}


def refuse_rescaling(spec: ModelSpec) -> None:
    """Refuse a network whose hidden units can't be rescaled without changing what it computes."""
    scale_behind = spec.operations == ("activation", "norm", "conv") and spec.norm != "none"
    one_scale = registry.normalizer_facts(spec.norm).one_scale
    lacks = "has not" if one_scale is False else "is not known to have"
    homogeneous = registry.activation_facts(spec.activation).slopes is not None
    reasons = (
        (spec.weights != "none", f"--weights {spec.weights} gives every filter a scale of its own"),
        (spec.add_on is not None or (spec.se and spec.norm == "none"), "a gate sees the scale of what it gates"),
        (spec.norm != "none" and not one_scale, f"{spec.norm} {lacks} one scale for every channel"),
        (spec.fixup, "fixup's scalar biases are shared by all units of a layer"),
        (spec.operations[-1] != "conv", f"in the order {spec.order} no scale precedes a convolution"),
        (not scale_behind and not homogeneous, f"{_name(spec.activation)} does not commute with scaling, as relu does"),
    )
    for applies, reason in reasons:
        if applies:
            raise UsageError(reason)


def _name(activation: Any) -> str:
    return getattr(activation, "__name__", str(activation)) if callable(activation) else activation


def _refuse_enorm(spec: ModelSpec) -> None:
    try:
        refuse_rescaling(spec)
    except UsageError as error:
        raise UsageError(f"--enorm can't be exact here: {error}.") from None


def _order(kind: Architecture, chosen: ModelOptions) -> dict[str, Any]:
    norm_first = kind.norm_first if chosen.order is None else chosen.order in _NORM_FIRST
    own = "ic-relu-conv" if kind.norm_first else "relu-ic-conv"
    return {"order": None if chosen.order == own else chosen.order, "norm_first": norm_first}


def _branch_scales(kind: Architecture, chosen: ModelOptions) -> dict[str, Any]:
    return {
        "alpha": _or(chosen.alpha, DEFAULT_ALPHA if kind.scaled else 1.0),
        "skip_gain": _or(chosen.skip_gain, kind.skip_gain),
        # A skip gain that was given is there to let the branch be seen.
        "silent": kind.fixup and chosen.skip_gain is None,
        "stochastic_depth": chosen.stochastic_depth or 0.0,
    }


def _weight_defaults(kind: Architecture, chosen: ModelOptions) -> dict[str, Any]:
    weights = chosen.weights or kind.weights
    init, gain = kind.init, kind.gain
    if kind.scaled and weights == "none":
        # Without weight standardization the published network falls back to He's initialization, which holds the
        # gain of ReLU in the weights (the "NF, He init" curve of Brock et al. 2021, figure 2).
        init, gain = "he", 1.0
    noise = {"noise": chosen.noise or 0.0, "noise_kind": chosen.noise_kind or "multiplicative"}
    return {"weights": weights, "init": chosen.init or init, "gain": _or(chosen.gain, gain), **noise}


def _with_variant(kind: Architecture, values: Mapping[str, Any]) -> dict[str, Any]:
    # What an architecture with variants has decided.
    if not kind.has_variants:
        return dict(values)
    if "variant" not in values:
        raise UsageError(f"which size? Say --variant, one of {', '.join(VARIANTS)}.")
    decided = {"stages": VARIANTS[values["variant"]].stages, "se": True}
    return {"activation": kind.activation, **values, **decided}


def _check_widths(widths: tuple[int, ...], width: float) -> int:
    if bottleneck_width(widths[0], first=True) == 0:
        raise UsageError(
            f"--width {width:g} leaves {widths[0]} channels; the first block needs {GROUP}, a group of its convolution."
        )
    return widths[0]


def _stages(chosen: ModelOptions) -> tuple[int, ...]:
    if chosen.stages is not None:
        if sum(chosen.stages) > MOST_BLOCKS:
            raise UsageError(f"--stages must have at most {MOST_BLOCKS} blocks together, not {sum(chosen.stages)}.")
        return chosen.stages
    if chosen.depth is None:
        raise UsageError("how deep? Say --depth N (50, 101, 152, 200, 288, 600 or any other) or --stages 3,4,6,3.")
    return stage_layout(chosen.depth, chosen.block)


def _stem_channels(width: float) -> int:
    channels = round(STEM_CHANNELS * width)
    if channels < 1:
        raise UsageError(
            f"--width {width:g} leaves no channel: the stem has round(64 * width). Take at least {1 / STEM_CHANNELS:g}."
        )
    return channels


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value

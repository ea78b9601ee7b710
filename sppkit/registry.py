"""Every name a user can type, and where its implementation lives.

Plain dicts from a name to an import string and a line of help: listing, shell completion and the closest match to a
misspelt name need no torch. A new normalizer, activation or statistic is one new file and one new line here.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


# An error message shows so much of a name.
_SHOWN = 60
# So many names can still be read at a glance; all the models of a library can't.
_MOST_LISTED = 40


class Entry(NamedTuple):
    """A registered name's implementation, as ``package.module:attribute``, and one line of help."""

    target: str
    summary: str


class StatisticEntry(NamedTuple):
    """A statistic: its implementation, one line of help, and where it is measured.

    The role is that of a site (``sppkit.sites``): one statistic can be measured in two places under two names. Only
    what is ``default`` is measured without being asked for.
    """

    target: str
    summary: str
    role: str
    default: bool = False


ARCHITECTURES: dict[str, Entry] = {
    "bn-relu-conv": Entry(
        "sppkit.models.spec:BN_RELU_CONV", "pre-activation ResNet in its usual order: BatchNorm, ReLU, convolution"
    ),
    "relu-bn-conv": Entry(
        "sppkit.models.spec:RELU_BN_CONV", "ReLU before BatchNorm: the branch's input has zero mean, so no mean shift"
    ),
    "nf-resnet": Entry(
        "sppkit.models.spec:NF_RESNET", "Normalizer-Free ResNet: alpha, beta and scaled weight standardization"
    ),
    "nf-regnet": Entry(
        "sppkit.models.spec:NF_REGNET", "Normalizer-Free RegNet B0 to B5 (--variant): grouped, gates inside the branch"
    ),
    "he-resnet": Entry(
        "sppkit.models.spec:HE_RESNET", "bn-relu-conv with its normalizer removed: the variance explodes"
    ),
    "skipinit": Entry(
        "sppkit.models.spec:SKIPINIT", "he-resnet whose branches start silent, behind a gain of 0 (De & Smith 2020)"
    ),
    "fixup": Entry(
        "sppkit.models.spec:FIXUP",
        "he-resnet with smaller weights in the branches and 0 at their end (Zhang et al. 2019)",
    ),
}

_NORMALIZERS = "sppkit.models.normalizers"
NORMALIZERS: dict[str, Entry] = {
    "bcn": Entry(
        f"{_NORMALIZERS}.batch_channel:batch_channel_norm", "Batch-Channel: over the batch, then within each sample"
    ),
    "bcn-est": Entry(
        f"{_NORMALIZERS}.batch_channel:estimated_batch_channel_norm", "bcn by running estimates, for micro-batches"
    ),
    "bkn": Entry(
        f"{_NORMALIZERS}.kalman:batch_kalman_norm", "Batch Kalman: bn mixed with what the layers before predict"
    ),
    "bn": Entry(f"{_NORMALIZERS}.batch:batch_norm", "batch normalization over batch and space"),
    "gn": Entry(f"{_NORMALIZERS}.group:group_norm", "group normalization: 32 groups of channels, each sample alone"),
    "ibn-a": Entry(
        f"{_NORMALIZERS}.instance_batch:instance_batch_norm", "IBN-Net a: half in, half bn behind the first convolution"
    ),
    "ibn-b": Entry(f"{_NORMALIZERS}.instance:instance_norm", "IBN-Net b: bn, and in behind stages 1 and 2"),
    "ic": Entry(
        f"{_NORMALIZERS}.independent_component:independent_component", "independent component: bn, then dropout"
    ),
    "in": Entry(f"{_NORMALIZERS}.instance:instance_norm", "instance normalization: each channel of each sample"),
    "ln": Entry(f"{_NORMALIZERS}.layer:layer_norm", "layer normalization: each sample over channels and space"),
    "noise-aware-bn": Entry(
        f"{_NORMALIZERS}.noise_aware:noise_aware_batch_norm", "bn with statistics taken under noisy weights"
    ),
    "none": Entry(f"{_NORMALIZERS}.none:no_norm", "no normalizer"),
}

ADD_ONS: dict[str, Entry] = {
    # In the order in which they run where they share a position.
    "crossnorm": Entry(
        "sppkit.models.addons.crossnorm:crossnorm", "samples swap the mean and deviation of their channels (train mode)"
    ),
    "selfnorm": Entry(
        "sppkit.models.addons.selfnorm:selfnorm", "a gate per channel and sample, from its mean and deviation"
    ),
}

WEIGHTS: dict[str, Entry] = {
    "none": Entry("sppkit.models.weights:unchanged", "the weight itself, N(0, c/fan_in)"),
    "ws": Entry("sppkit.models.weights:ws", "weight standardization: zero mean, unit variance per filter"),
    "centered-ws": Entry("sppkit.models.weights:centered_ws", "subtracts each filter's mean only"),
    "scaled-ws": Entry(
        "sppkit.models.weights:scaled_ws", "zero mean, squares of a filter sum to c (Brock et al. 2021)"
    ),
}

_TORCH = "sppkit.models.activations"
ACTIVATIONS: dict[str, Entry] = {
    "celu": Entry(f"{_TORCH}:celu", "continuously differentiable ELU, alpha 1"),
    "elu": Entry(f"{_TORCH}:elu", "exponential linear unit, alpha 1"),
    "gelu": Entry(f"{_TORCH}:gelu", "x times the normal distribution function"),
    "gelu-tanh": Entry(f"{_TORCH}:gelu_tanh", "GELU in its tanh approximation"),
    "hardshrink": Entry(f"{_TORCH}:hardshrink", "x where |x| > 0.5, else 0"),
    "hardsigmoid": Entry(f"{_TORCH}:hardsigmoid", "piecewise linear sigmoid"),
    "hardswish": Entry(f"{_TORCH}:hardswish", "x times hardsigmoid"),
    "hardtanh": Entry(f"{_TORCH}:hardtanh", "clamped to [-1, 1]"),
    "identity": Entry(f"{_TORCH}:identity", "no activation: the linear network of the paper's ablation"),
    "leaky_relu": Entry(f"{_TORCH}:leaky_relu", "ReLU with slope 0.01 below zero"),
    "log-sigmoid": Entry(f"{_TORCH}:log_sigmoid", "logarithm of the sigmoid"),
    "mish": Entry(f"{_TORCH}:mish", "x tanh(softplus(x))"),
    "relu": Entry(f"{_TORCH}:relu", "max(x, 0)"),
    "relu6": Entry(f"{_TORCH}:relu6", "ReLU clamped at 6"),
    "selu": Entry(f"{_TORCH}:selu", "scaled ELU of self-normalizing networks"),
    "sigmoid": Entry(f"{_TORCH}:sigmoid", "logistic function"),
    "silu": Entry(f"{_TORCH}:silu", "x sigmoid(x), also called swish"),
    "softplus": Entry(f"{_TORCH}:softplus", "log(1 + exp(x))"),
    "softshrink": Entry(f"{_TORCH}:softshrink", "x moved towards 0 by 0.5, else 0"),
    "softsign": Entry(f"{_TORCH}:softsign", "x / (1 + |x|)"),
    "swish": Entry(f"{_TORCH}:silu", "another name of silu"),
    "tanh": Entry(f"{_TORCH}:tanh", "hyperbolic tangent"),
    "tanhshrink": Entry(f"{_TORCH}:tanhshrink", "x - tanh(x)"),
}

_STATS = "sppkit.stats"
STATISTICS: dict[str, StatisticEntry] = {
    "channel_squared_mean": StatisticEntry(
        f"{_STATS}.spp:CHANNEL_SQUARED_MEAN",
        "mean over channels of the squared channel mean, at the block output",
        "block_output",
        default=True,
    ),
    "channel_variance": StatisticEntry(
        f"{_STATS}.spp:CHANNEL_VARIANCE",
        "mean over channels of the channel variance, at the block output",
        "block_output",
        default=True,
    ),
    "residual_variance": StatisticEntry(
        f"{_STATS}.spp:CHANNEL_VARIANCE",
        "the same variance at the end of the residual branch",
        "residual_branch",
        default=True,
    ),
    "dead_fraction": StatisticEntry(
        f"{_STATS}.dead_fraction:DEAD_FRACTION", "channels that are never positive, behind activations", "activation"
    ),
    "always_on_fraction": StatisticEntry(
        f"{_STATS}.always_on_fraction:ALWAYS_ON_FRACTION",
        "channels that are always positive, behind activations",
        "activation",
    ),
    "elimination_distance": StatisticEntry(
        f"{_STATS}.elimination_distance:ELIMINATION_DISTANCE",
        "how far units are from being off for all data, before activations",
        "activation_input",
    ),
    "stat_diff": StatisticEntry(
        f"{_STATS}.stat_diff:STAT_DIFF",
        "spread of the channel means in standard deviations, before normalizers",
        "normalizer_input",
    ),
    "instance_style_share": StatisticEntry(
        f"{_STATS}.instance_style_share:INSTANCE_STYLE_SHARE",
        "share of the variance that lies between samples, at the block output",
        "block_output",
    ),
    "channel_correlation": StatisticEntry(
        f"{_STATS}.channel_correlation:CHANNEL_CORRELATION",
        "mean absolute correlation of two channels, at the block output",
        "block_output",
    ),
    "gradient_second_moment": StatisticEntry(
        f"{_STATS}.gradient:GRADIENT_SECOND_MOMENT",
        "mean square of the gradient with respect to the block output",
        "block_gradient",
    ),
    "gradient_squared_mean": StatisticEntry(
        f"{_STATS}.gradient:GRADIENT_SQUARED_MEAN",
        "mean over channels of its squared channel mean",
        "block_gradient",
    ),
    "branch_gradient_share": StatisticEntry(
        f"{_STATS}.gradient:BRANCH_GRADIENT_SHARE",
        "what comes back through the branch over the gradient at the block output",
        "branch_gradient",
    ),
    "enorm_gap": StatisticEntry(
        f"{_STATS}.enorm_gap:ENORM_GAP", "how far the weights are from equi-normalized ones", "weights"
    ),
}
# What a run measures unless it is told otherwise: the three of a Signal Propagation Plot.
DEFAULT_STATISTICS = tuple(name for name, entry in STATISTICS.items() if entry.default)
FURTHER_STATISTICS = tuple(name for name, entry in STATISTICS.items() if not entry.default)
# What a backward pass is for.
GRADIENT_STATISTICS = tuple(name for name, entry in STATISTICS.items() if entry.role.endswith("_gradient"))
# Names for several at once.
STATISTIC_GROUPS: dict[str, tuple[str, ...]] = {
    "spp": DEFAULT_STATISTICS,
    "gradient": GRADIENT_STATISTICS,
    "all": tuple(STATISTICS),
}

KINDS: dict[str, Mapping[str, Entry | StatisticEntry]] = {
    "architecture": ARCHITECTURES,
    "normalizer": NORMALIZERS,
    "add-on": ADD_ONS,
    "weight parametrization": WEIGHTS,
    "activation": ACTIVATIONS,
    "statistic": STATISTICS,
}


def resolve(kind: str, name: str) -> Any:
    """Import what a name stands for.

    Args:
        kind: A key of ``KINDS``, for instance ``"activation"``.
        name: A registered name of that kind.

    Returns:
        The registered object.

    Raises:
        UsageError: If the name is unknown; the text gives the closest match and the list.
    """
    module, _, attribute = KINDS[kind][check_name(kind, name, KINDS[kind])].target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def check_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return ``name`` if it is known.

    Args:
        kind: What the name is, for the message.
        name: What the user typed.
        known: Every legal name.

    Returns:
        ``name``.

    Raises:
        UsageError: If it is not among ``known``; the text gives the closest match and the list.

    >>> check_name("architecture", "nf-resnt", ARCHITECTURES)
    Traceback (most recent call last):
    sppkit.errors.UsageError: unknown architecture 'nf-resnt'; did you mean 'nf-resnet'?
    Known: bn-relu-conv, fixup, he-resnet, nf-regnet, nf-resnet, relu-bn-conv, skipinit.
    """
    names = sorted(known)
    if name in names:
        return name
    # Spelling with dashes or underscores should not hide a match; half of the letters must fit ("bm" finds "bn").
    spelled = {known_name.replace("_", "-"): known_name for known_name in names}
    # No name is as long as what an error message shows of it.
    typed = str(name)[:_SHOWN]
    close = difflib.get_close_matches(typed.lower().replace("_", "-"), spelled, n=1, cutoff=0.5)
    match = f"; did you mean {spelled[close[0]]!r}?" if close else "."
    listed = ", ".join(names) if len(names) <= _MOST_LISTED else f"{len(names)} names"
    raise UsageError(f"unknown {kind} {typed!r}{match}\nKnown: {listed}.")

"""Every statistic, and where it is measured."""

from __future__ import annotations

from sppkit.registry.entries import StatisticEntry

_HOME = "sppkit.stats"
STATISTICS: dict[str, StatisticEntry] = {
    "channel_squared_mean": StatisticEntry(
        f"{_HOME}.spp:CHANNEL_SQUARED_MEAN",
        "mean over channels of the squared channel mean, at the block output",
        "block_output",
        default=True,
    ),
    "channel_variance": StatisticEntry(
        f"{_HOME}.spp:CHANNEL_VARIANCE",
        "mean over channels of the channel variance, at the block output",
        "block_output",
        default=True,
    ),
    "residual_variance": StatisticEntry(
        f"{_HOME}.spp:CHANNEL_VARIANCE",
        "the same variance at the end of the residual branch",
        "residual_branch",
        default=True,
    ),
    "dead_fraction": StatisticEntry(
        f"{_HOME}.dead_fraction:DEAD_FRACTION", "channels that are never positive, after activations", "activation"
    ),
    "always_on_fraction": StatisticEntry(
        f"{_HOME}.always_on_fraction:ALWAYS_ON_FRACTION",
        "channels that are always positive, after activations",
        "activation",
    ),
    "elimination_distance": StatisticEntry(
        f"{_HOME}.elimination_distance:ELIMINATION_DISTANCE",
        "how far units are from being off for all data, before activations",
        "activation_input",
    ),
    "saturated_fraction": StatisticEntry(
        f"{_HOME}.saturated_fraction:SATURATED_FRACTION",
        "share of values in the flat part of a bounded activation",
        "activation_slope",
    ),
    "attention_entropy": StatisticEntry(
        f"{_HOME}.attention_entropy:ATTENTION_ENTROPY",
        "entropy of attention's weights over that of uniform ones",
        "attention",
    ),
    "attention_logit_max": StatisticEntry(
        f"{_HOME}.attention_logit_max:ATTENTION_LOGIT_MAX",
        "largest absolute logit of attention",
        "attention",
    ),
    "stat_diff": StatisticEntry(
        f"{_HOME}.stat_diff:STAT_DIFF",
        "spread of the channel means in standard deviations, before normalizers",
        "normalizer_input",
    ),
    "instance_style_share": StatisticEntry(
        f"{_HOME}.instance_style_share:INSTANCE_STYLE_SHARE",
        "share of the variance that lies between samples, at the block output",
        "block_output",
    ),
    "equal_channels": StatisticEntry(
        f"{_HOME}.equal_channels:EQUAL_CHANNELS",
        "share of channels that are the same as another one, at the block output",
        "block_output",
    ),
    "kurtosis": StatisticEntry(
        f"{_HOME}.kurtosis:KURTOSIS",
        "fourth moment over the squared second one, at the block output: 3 for Gaussian values",
        "block_output",
    ),
    "largest_absolute": StatisticEntry(
        f"{_HOME}.largest_absolute:LARGEST_ABSOLUTE", "largest absolute value, at the block output", "block_output"
    ),
    "channel_correlation": StatisticEntry(
        f"{_HOME}.channel_correlation:CHANNEL_CORRELATION",
        "mean absolute correlation of two channels, at the block output",
        "block_output",
    ),
    "gradient_second_moment": StatisticEntry(
        f"{_HOME}.gradient:GRADIENT_SECOND_MOMENT",
        "mean square of the gradient with respect to the block output",
        "block_gradient",
    ),
    "gradient_squared_mean": StatisticEntry(
        f"{_HOME}.gradient:GRADIENT_SQUARED_MEAN",
        "mean over channels of its squared channel mean",
        "block_gradient",
    ),
    "branch_gradient_share": StatisticEntry(
        f"{_HOME}.gradient:BRANCH_GRADIENT_SHARE",
        "what comes back through the branch over the gradient at the block output",
        "branch_gradient",
    ),
    "enorm_gap": StatisticEntry(
        f"{_HOME}.enorm_gap:ENORM_GAP", "how far the weights are from equi-normalized ones", "weights"
    ),
}
# Of a training step, of the parameters that a block computes with: what a Monitor alone can take.
TRAINING_STATISTICS: dict[str, StatisticEntry] = {
    "weight_norm": StatisticEntry(f"{_HOME}.norms:norm", "norm of a block's parameters before the step", "parameters"),
    "weight_gradient_norm": StatisticEntry(
        f"{_HOME}.norms:norm", "norm of the gradient with respect to them", "parameters"
    ),
    "update_to_weight": StatisticEntry(
        f"{_HOME}.norms:update_to_weight", "norm of what the step changed in them, over theirs", "parameters"
    ),
}
# What a run measures unless it is told otherwise: the three of a Signal Propagation Plot.
DEFAULT_STATISTICS = tuple(name for name, entry in STATISTICS.items() if entry.default)
FURTHER_STATISTICS = tuple(name for name, entry in STATISTICS.items() if not entry.default)
# What a backward pass is for.
GRADIENT_STATISTICS = tuple(name for name, entry in STATISTICS.items() if entry.role.endswith("_gradient"))
# What the verdict on a network of the user's own takes beside what was asked for. The forward curves say how large a
# signal is; these say what it tells apart, and what comes back.
HEALTH_STATISTICS = ("instance_style_share", "equal_channels", "gradient_second_moment", "branch_gradient_share")
# Names for several at once.
STATISTIC_GROUPS: dict[str, tuple[str, ...]] = {
    "spp": DEFAULT_STATISTICS,
    "gradient": GRADIENT_STATISTICS,
    "all": tuple(STATISTICS),
}

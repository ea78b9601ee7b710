"""A variance that grows from block to block by a factor, instead of by a term."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Curves
    from sppkit.curves.network import NetworkFacts
    from sppkit.diagnosis.result import Diagnosis

# Blocks that each add a branch of variance 1 reach 1 + k after k of them, 51 after 50, and a transition resets that
# (Brock et al. 2021, section 3). Ten times beyond is no such growth: after 50 blocks it is 5 % a block, compounded.
_BEYOND_LINEAR = 10.0
# Where nothing makes the growth linear, linear growth itself is the limit: networks that keep to it start from 2, not
# from 1, and reach half of it.
_BEYOND_UNSCALED = 1.0
# Of a network that nothing is known of: of small ones that were trained (benchmarks/trainability), four of five learnt
# in spite of such growth, with one or two settings of five, as long as it ended before this.
_TOO_LARGE = 3e6


def find_exploding(curves: Curves) -> Diagnosis | None:
    """Find where the variance is ten times beyond linear growth: 10 (1 + d step) v, d blocks in the longest stage.

    v is the variance after the first block, where nothing is known of the network at least 1 and at least that of its
    first two branches (attention and MLP of a transformer); ``step`` is (alpha skip_gain)², at least 1. In a network
    that has neither normalizer nor beta the factor is 1.
    """
    variance, network = curves.variance, curves.network
    if not len(variance) or not variance[0] > 0:
        return None
    longest = int(np.diff(np.flatnonzero(np.append(curves.starts, True))).max())
    scale = network.branch_scale
    first = variance[0] if network.known and not network.normalized else max(1.0, variance[0])
    if not network.known:
        first = max(first, *np.nan_to_num(curves.branch[:2], posinf=0.0))
    times = _BEYOND_UNSCALED if network.unscaled else _BEYOND_LINEAR
    limit = times * (1 + longest * max(1.0, scale or 1.0)) * first
    passed = np.flatnonzero(variance > limit)
    if not len(passed):
        return None
    worst = int(np.nanargmax(variance))
    cause, remedy = _explain(network)
    return diagnosed(
        curves,
        "exploding-variance",
        "error" if network.initial and (network.known or variance[worst] > _TOO_LARGE) else "warning",
        begins=_begin(curves, int(passed[0])),
        worst=worst,
        statistic="channel_variance",
        limit=float(limit),
        fact=f"The variance explodes: it reaches {variance[worst]:.3g} at block {curves.number(worst)}, "
        f"{growth_per_block(curves, worst):.3g} times per block, and passes {_name(times)} linear growth leaves, "
        f"{limit:.3g}, at {curves.at(int(passed[0]))}",
        cause=cause,
        remedy=remedy,
    )


def growth_per_block(curves: Curves, last: int) -> float:
    """Return by which factor the variance changes from block to block, the first one left out."""
    first, found = curves.variance[0], curves.variance[last]
    return float((found / first) ** (1 / max(1, last))) if first > 0 and found > 0 else float("nan")


def _begin(curves: Curves, passed: int) -> int:
    """Return where the growth begins: the block after the last one that was no larger than the first."""
    larger = curves.variance[:passed] > curves.variance[0]
    return int(np.flatnonzero(~larger)[-1]) + 1


def _explain(network: NetworkFacts) -> tuple[str, str]:
    if network.stored and network.clean:
        return "eval mode divides by the statistics of the clean network, and its weights are noisy", network.calibrate
    if network.stored:
        ran = "no warm-up batch has" if not network.warmup else f"{network.warmup:.0f} warm-up batches have"
        return (
            f"eval mode divides by running statistics, and {ran} brought them to this signal's",
            network.calibrate,
        )
    if network.norm == "none" and network.unit_weights:
        return (
            f"--weights {network.weights} gives every weight unit variance, so that a convolution multiplies the "
            "variance by its fan-in",
            "take scaled-ws, which divides by the fan-in, or put a normalizer after every convolution",
        )
    if network.unscaled:
        return (
            "without a normalizer a branch is as strong as its input, so that every addition doubles the second moment",
            "a normalizer, or NF-ResNet's alpha and beta (--arch nf-resnet), makes the growth linear",
        )
    if network.gain is not None and network.scaled:
        return (
            f"activations times {network.gain:g} and weights of variance {_variance(network)} do not keep the variance",
            f"take --gain exact (`sppkit gain {network.activation}` shows it)",
        )
    stored = "; or it divides by stored statistics that are not this signal's" if network.mode == "eval" else ""
    return (
        "every block multiplies the variance where it should add to it: its branch follows the scale of its input and "
        f"returns as much or more{'' if network.known else stored}",
        "normalize the branch's input, or divide it by its expected standard deviation and scale the branch down",
    )


def _name(times: float) -> str:
    return "what" if times == 1 else f"{times:.0f} times what"


def _variance(network: NetworkFacts) -> str:
    return "2/fan_in" if network.init == "he" else "1/fan_in"

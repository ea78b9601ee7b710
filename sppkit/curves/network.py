"""What a run's record says about its network, as far as a diagnosis needs it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sppkit.config.options import RunConfig
from sppkit.models.scaling import iter_expected_variance
from sppkit.record.read import counts_at, mapping_at, number_at, text_at
from sppkit.registry import activation_facts, normalizer_facts, weight_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

# What to do about a normalizer in eval mode whose running statistics are not this signal's.
_CALIBRATE = "run more batches in train mode first (--warmup 50), or measure with --mode train"
# Convolutions of a block's branch.
_CONVOLUTIONS = {"bottleneck": 3, "basic": 2}


@dataclass(frozen=True)
class NetworkFacts:
    """Optional facts about the measured network; a field that the record lacks has its neutral value.

    Attributes:
        known: Whether the record describes the network at all.
        arch: Name of the architecture; empty where unknown.
        norm: Name of the normalizer, ``none`` for none, empty where unknown.
        norm_first: Whether it stands before the activation; None where unknown.
        scaled: Whether the signal is scaled by alpha and beta, as in NF-ResNets.
        weights: Name of the weight parametrization.
        init: ``he`` or ``lecun``.
        activation: Name of the activation.
        gain: The factor after the activations, None where it is the exact one or unknown.
        zero_padding: Whether 3x3 convolutions see zeros beyond the map.
        pooled: Whether a max-pool precedes the first block.
        se: Whether the branch ends with squeeze-and-excite.
        convolutions: Of one branch.
        stages: Blocks per stage; empty where unknown.
        alpha: Scale of the branch, skip gain left out.
        skip_gain: Initial skip gain.
        stochastic_depth: Rate at which samples lose the branch of the last block.
        silent: Whether every branch starts at 0, as SkipInit's and Fixup's do.
        averaging: Whether shortcuts average neighbouring positions, as those of NF-RegNets do.
        post: Whether something works on the sum of shortcut and branch, so that the output is another signal.
        add_on: What else works on the signal inside of blocks; empty for nothing.
        initial: Whether the parameters have their initial values: no checkpoint was loaded.
        mode: ``train``, ``eval``, or empty.
        clean: Whether stored statistics are those of the network without the noise on its weights.
        warmup: Batches before the measured ones.
        dtype: Name of the compute type.
        samples: How many samples were measured; where unknown, as many as are measured by default.
        white_input: Whether neighbouring positions of the input are independent, as in Gaussian noise.
        expected_residual: The residual variance that closed forms expect; None where there is none.
    """

    known: bool
    arch: str
    norm: str
    norm_first: bool | None
    scaled: bool
    weights: str
    init: str
    activation: str
    gain: float | None
    zero_padding: bool
    pooled: bool
    se: bool
    convolutions: int
    stages: tuple[int, ...]
    alpha: float
    skip_gain: float
    stochastic_depth: float
    silent: bool
    averaging: bool
    post: bool
    add_on: str
    initial: bool
    mode: str
    clean: bool
    warmup: float
    dtype: str
    samples: float
    white_input: bool
    expected_residual: float | None

    @property
    def normalized(self) -> bool:
        """Whether a normalizer gives the branch's input a scale of its own."""
        return self.norm not in {"", "none"}

    @property
    def stored(self) -> bool:
        """Whether the normalizer divides by what it has stored instead of by this signal's statistics."""
        return self.mode == "eval" and self.normalized and normalizer_facts(self.norm).running

    @property
    def calibrate(self) -> str:
        """What makes stored statistics this signal's."""
        return "take those of the noisy network: --norm-kw statistics=calibrated" if self.clean else _CALIBRATE

    @property
    def centring(self) -> bool:
        """Whether the normalizer takes each channel's own mean out, which layer and group normalization do not."""
        return self.normalized and normalizer_facts(self.norm).removes == "channel"

    @property
    def takes_mean_out(self) -> bool:
        """Whether the next block's normalizer takes out a mean that is larger than the standard deviation.

        Of ReLU and its kin, after a normalizer, it stays below that.
        """
        first = self.centring and self.norm_first is True and not self.stored
        return first and bool(self.activation) and not self.homogeneous

    @property
    def unscaled(self) -> bool:
        """Whether nothing, neither a normalizer nor beta, keeps the branch from following its input's scale."""
        return self.norm == "none" and not self.scaled

    @property
    def centred(self) -> bool:
        """Whether every filter's weights sum to zero."""
        return weight_facts(self.weights).centred is True

    @property
    def leaves_means(self) -> bool:
        """Whether the normalizer takes out a mean of several channels, and leaves each the rest of its own."""
        return normalizer_facts(self.norm).removes == "several"

    @property
    def unit_weights(self) -> bool:
        """Whether every weight has unit variance, so that a convolution multiplies the variance by its fan-in."""
        return weight_facts(self.weights).squares == "fan-in"

    @property
    def homogeneous(self) -> bool:
        """Whether what the activation does to a variance is the same for every variance."""
        return activation_facts(self.activation).slopes is not None

    @property
    def far_from_gaussian(self) -> bool:
        """Whether the activation makes much out of the little by which a normalizer's output is not Gaussian."""
        return activation_facts(self.activation).far_from_gaussian

    @property
    def branch_scale(self) -> float | None:
        """What the skip connection multiplies the branch's variance by; None where unknown."""
        if not self.known or not self.initial:
            return None
        # Beyond 1e100 the square would leave the floats, and no signal would be left to judge.
        return min(abs(self.alpha * self.skip_gain), 1e100) ** 2

    def expected_input_variance(self) -> list[float]:
        """Return the variance that each block of a scaled network divides by: beta squared."""
        return list(iter_expected_variance(self.stages, min(abs(self.alpha), 1e100))) if self.scaled else []

    def kept_samples(self) -> list[float]:
        """Return the share of samples whose branch is kept, per block."""
        total = sum(self.stages)
        rate = self.stochastic_depth if self.mode != "eval" else 0.0
        return [1 - rate * index / total for index in range(total)]


def read_network(record: Mapping[str, Any], blocks: int) -> NetworkFacts:
    """Collect what a record says."""
    network, inputs = mapping_at(record, "network"), mapping_at(record, "input")
    mode, norm, initial = text_at(record, "mode"), text_at(network, "norm"), not _is_trained(record)
    stages = tuple(counts_at(network, "stages"))
    return NetworkFacts(
        known=bool(network),
        arch=_word(record, "arch") or _word(network, "arch"),
        norm=norm,
        norm_first=network["norm_first"] if isinstance(network.get("norm_first"), bool) else None,
        scaled=network.get("scaled") is True,
        weights=text_at(network, "weights"),
        init=text_at(network, "init"),
        activation=_word(network, "activation"),
        gain=number_at(network, "gain"),
        zero_padding=text_at(network, "padding") == "zeros",
        pooled=text_at(network, "stem", "imagenet") == "imagenet",
        se=network.get("se") is True,
        convolutions=_CONVOLUTIONS.get(text_at(network, "block"), 3),
        stages=stages if sum(stages) == blocks and min(stages, default=0) > 0 else (),
        alpha=_or(number_at(network, "alpha"), 1.0),
        skip_gain=_or(number_at(network, "skip_gain"), 1.0),
        stochastic_depth=_or(number_at(network, "stochastic_depth"), 0.0),
        silent=initial and (number_at(network, "skip_gain") == 0 or network.get("silent") is True),
        averaging=text_at(network, "variant") != "",
        post=_follows_addition(norm) or "@post" in text_at(network, "add_on"),
        add_on=text_at(network, "add_on"),
        initial=initial,
        mode=mode,
        clean=_is_clean(network),
        warmup=_or(number_at(record, "warmup"), 0.0),
        dtype=_word(record, "dtype"),
        samples=_samples(record),
        white_input=text_at(inputs, "kind", "gaussian") == "gaussian" and "shift" not in inputs,
        # Closed forms are of initial weights and of batch statistics.
        expected_residual=_expected(record) if initial and not (mode == "eval" and norm not in {"", "none"}) else None,
    )


def stage_positions(stages: tuple[int, ...]) -> list[int]:
    """Return each block's place in its stage, from 0, which projects its shortcut.

    >>> stage_positions((1, 3))
    [0, 0, 1, 2]
    """
    return list(itertools.chain.from_iterable(range(blocks) for blocks in stages))


def _word(record: Mapping[str, Any], key: str) -> str:
    # Both stand in sentences, and a control character could command the terminal that shows them.
    value = text_at(record, key)
    return value if value.isprintable() else ""


def _is_clean(network: Mapping[str, Any]) -> bool:
    setting = normalizer_facts(text_at(network, "norm")).noiseless
    noisy = _or(number_at(network, "noise"), 0.0) > 0
    return noisy and setting is not None and "=".join(setting) in text_at(network, "norm_kw").split(",")


def _is_trained(record: Mapping[str, Any]) -> bool:
    given = mapping_at(mapping_at(record, "options"), "checkpoint").get("value")
    # What timm and torchvision call it; torchvision's names are those of an enumeration: DEFAULT, IMAGENET1K_V2.
    keywords = mapping_at(mapping_at(record, "model"), "kw")
    published = str(keywords.get("weights")).rpartition(".")[2].isupper()
    pretrained = published or keywords.get("pretrained") not in (None, False)
    return given is not None or record.get("checkpoint") is not None or pretrained


def _follows_addition(norm: str) -> bool:
    placement = normalizer_facts(norm).placement
    return placement is not None and placement.place == "addition"


def _expected(record: Mapping[str, Any]) -> float | None:
    expected = number_at(mapping_at(record, "expected"), "residual_variance")
    return expected if expected is not None and expected > 0 else None


def _samples(record: Mapping[str, Any]) -> float:
    described = mapping_at(record, "input")
    first, *_ = *counts_at(described, "batch_shape"), RunConfig.batch_size
    used = number_at(described, "samples_used")
    counted = used if used is not None else float(min(first, 2**53)) * _or(number_at(described, "batches"), 1.0)
    return max(1.0, counted)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value

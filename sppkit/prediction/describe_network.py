"""A named architecture in the terms of theory: spec -> the network that the recursion follows."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from sppkit.models.places import INPUT_CHANNELS, KERNELS, STEMS, iter_places
from sppkit.models.scaling import iter_expected_variance
from sppkit.registry import activation_facts
from sppkit.theory.activation import TwoSlopes
from sppkit.theory.hermite import Smooth
from sppkit.theory.network import Block, Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.models.activations import Activation
    from sppkit.models.spec import ModelSpec
    from sppkit.theory.activation import Nonlinearity
    from sppkit.theory.arrays import Floats

# Batch normalization's epsilon, as in models.normalizers.batch.
_EPSILON = 1e-5


def describe_network(spec: ModelSpec, *, normalizes: bool) -> Network:
    """Describe a network to the recursion; ``normalizes`` is false where running statistics are 0 and 1."""
    activation, gain = activation_of(spec)
    kernel, stride = STEMS[spec.stem]
    return Network(
        blocks=tuple(_iter_blocks(spec, gain)),
        stem_kernel=kernel,
        stem_stride=stride,
        stem_pool=spec.stem == "imagenet",
        input_channels=INPUT_CHANNELS,
        stem_channels=spec.stem_channels,
        activation=activation,
        normalizes=normalizes,
        norm_first=spec.norm_first,
        epsilon=_EPSILON,
        weights=spec.weights,
        c=spec.weight_scale,
        circular=spec.padding == "circular",
        gate=spec.se_factor if spec.se else None,
    )


def _iter_blocks(spec: ModelSpec, gain: float) -> Iterator[Block]:
    kernels, total = KERNELS[spec.block], sum(spec.stages)
    variances = iter_expected_variance(spec.stages, spec.alpha)
    for index, (stage, position, channels) in enumerate(iter_places(spec)):
        beta = math.sqrt(next(variances)) if spec.scaled else 1.0
        yield Block(
            channels=channels,
            kernels=kernels,
            stride=2 if position == 0 and stage > 0 else 1,
            projects=position == 0,
            scales=(gain / beta, *[gain] * (len(kernels) - 1)),
            branch_gain=spec.alpha * spec.skip_gain,
            keep=1 - spec.stochastic_depth * index / total,
        )


def activation_of(spec: ModelSpec) -> tuple[Nonlinearity, float]:
    """Return a network's activation and the factor behind it; refuse what no theory knows."""
    slopes = activation_facts(spec.activation).slopes
    if slopes is not None:  # with their closed forms nothing needs torch
        known = TwoSlopes(*slopes)
        of_unit, _ = known.transform(np.ones((1, 1)), {})
        exact = 1 / math.sqrt((of_unit.second - of_unit.mean**2).item())
        return known, exact if spec.gain == "exact" else float(spec.gain)
    from sppkit.models.activations import activation_gain, gaussian_moments, load_activation

    loaded = load_activation(spec.activation)
    gaussian_moments(loaded)  # refuses what is no elementwise function of finite variance
    gain = activation_gain(loaded) if spec.gain == "exact" else float(spec.gain)
    return Smooth(functools.partial(_apply, loaded), loaded.kinks), gain


def _apply(activation: Activation, x: Floats) -> Floats:
    import torch

    with torch.no_grad(), torch.device("cpu"):
        y: Floats = activation.function(torch.from_numpy(x.copy())).numpy()
    return y

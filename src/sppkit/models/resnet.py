"""The pre-activation ResNet that every named architecture is a variant of.

One block: ``output = shortcut + alpha * skip_gain * branch``, where the branch is a chain of (prepare, convolve) and
*prepare* is the activation with the normalizer before it, behind it, or without one. The first block of each stage
projects its shortcut, from the prepared input (He et al. 2016, arXiv:1603.05027; Brock et al. 2021, App. E).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sppkit import registry
from sppkit.activations import activation_gain, load_activation
from sppkit.models.layers import Convolution, ScaledActivation, SqueezeExcite, StochasticDepth
from sppkit.models.places import INPUT_CHANNELS, KERNELS, STEMS, iter_places
from sppkit.models.scaling import iter_expected_variance
from sppkit.sites import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.models.spec import ModelSpec


class ResidualBlock(nn.Module):
    """One pre-activation block, bottleneck or basic.

    Children ``norm{k}``, ``activation{k}`` and ``conv{k}`` prepare and convolve in turn; ``residual`` marks the end of
    the branch, where the residual variance is read.
    """

    def __init__(
        self,
        spec: ModelSpec,
        channels: tuple[int, ...],
        *,
        activations: tuple[ScaledActivation, ...],
        stride: int,
        projects: bool,
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.convolutions = len(channels) - 1
        self.norm_first = spec.norm_first
        self.alpha = spec.alpha
        self.shortcut: Convolution | None = (
            _convolution(spec, channels[0], channels[-1], 1, stride) if projects else None
        )
        self._add_branch(spec, channels, activations, stride)
        self.se = SqueezeExcite(channels[-1], spec.se_factor) if spec.se else None
        self.residual = nn.Identity()
        self.stochastic_depth = StochasticDepth(drop_rate) if drop_rate else None
        self.initial_skip_gain = spec.skip_gain
        self.skip_gain = nn.Parameter(torch.empty(()))

    def _add_branch(
        self, spec: ModelSpec, channels: tuple[int, ...], activations: tuple[ScaledActivation, ...], stride: int
    ) -> None:
        build_norm = registry.resolve("normalizer", spec.norm)
        kernels = KERNELS[spec.block]
        layers = zip(pairwise(channels), activations, kernels, strict=True)
        for index, ((incoming, outgoing), activation, kernel) in enumerate(layers):
            takes_stride = index == kernels.index(3)
            conv = _convolution(spec, incoming, outgoing, kernel, stride if takes_stride else 1)
            self.add_module(f"norm{index}", build_norm(incoming))
            self.add_module(f"activation{index}", activation)
            self.add_module(f"conv{index}", conv)

    def reset_parameters(self) -> None:
        """Set the skip gain to its initial value."""
        nn.init.constant_(self.skip_gain, self.initial_skip_gain)

    def _prepare(self, index: int, x: Tensor) -> Tensor:
        norm, activation = getattr(self, f"norm{index}"), getattr(self, f"activation{index}")
        if norm is not None and self.norm_first:
            x = norm(x)
        prepared: Tensor = activation(x)
        return norm(prepared) if norm is not None and not self.norm_first else prepared

    def forward(self, x: Tensor) -> Tensor:
        """Add the scaled branch to the shortcut.

        Args:
            x: Shape (N, C, H, W).

        Returns:
            Shape (N, C', H', W').
        """
        prepared = self._prepare(0, x)
        shortcut = x if self.shortcut is None else self.shortcut(prepared)
        branch = prepared
        for index in range(self.convolutions):
            branch = getattr(self, f"conv{index}")(branch if index == 0 else self._prepare(index, branch))
        if self.se is not None:
            branch = self.se(branch)
        branch = self.residual(branch)
        if self.stochastic_depth is not None:
            branch = self.stochastic_depth(branch)
        # shortcut + alpha * skip_gain * branch in one pass over memory.
        return torch.addcmul(shortcut, branch, self.skip_gain, value=self.alpha)


class PreActivationResNet(nn.Module):
    """Stem and residual blocks of one ``ModelSpec``; no classifier, which no statistic reads.

    The output is the last block's, shape (N, C, H, W).
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        kernel, stride = STEMS[spec.stem]
        self.stem = _convolution(spec, INPUT_CHANNELS, spec.stem_channels, kernel, stride)
        self.stem_pool = nn.MaxPool2d(3, stride=2, padding=1) if spec.stem == "imagenet" else nn.Identity()
        self.blocks = nn.ModuleList(_iter_blocks(spec))

    def forward(self, x: Tensor) -> Tensor:
        """Run the stem and every block.

        Args:
            x: Shape (N, 3, H, W).

        Returns:
            Shape (N, C, H', W').
        """
        x = self.stem_pool(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return x

    def signal_sites(self) -> list[Site]:
        """Return the stem's output, and the branch and output of every block.

        Returns:
            Sites in execution order; block 0 is the stem behind its pooling.
        """
        sites = [Site(0, 0, "stem", "block_output", "stem_pool")]
        stages = [stage for stage, blocks in enumerate(self.spec.stages, 1) for _ in range(blocks)]
        for block, stage in enumerate(stages, 1):
            name = f"blocks.{block - 1}"
            sites.append(Site(block, stage, name, "residual_branch", f"{name}.residual"))
            sites.append(Site(block, stage, name, "block_output", name))
        return sites


def _iter_blocks(spec: ModelSpec) -> Iterator[ResidualBlock]:
    total = sum(spec.stages)
    variances = iter_expected_variance(spec.stages, spec.alpha)
    activation = load_activation(spec.activation)
    gain = activation_gain(activation) if spec.gain == "exact" else float(spec.gain)
    convolutions = len(KERNELS[spec.block])
    for index, (stage, position, channels) in enumerate(iter_places(spec)):
        beta = next(variances) ** 0.5 if spec.scaled else 1.0
        # beta is what the input's standard deviation should be: only the first activation sees the input.
        scales = (gain / beta, *[gain] * (convolutions - 1))
        yield ResidualBlock(
            spec,
            channels,
            activations=tuple(ScaledActivation(activation, scale) for scale in scales),
            stride=2 if position == 0 and stage > 0 else 1,
            projects=position == 0,
            # The published schedule: from 0 at the first block; the full rate would be at block number `total`.
            drop_rate=spec.stochastic_depth * index / total,
        )


def _convolution(spec: ModelSpec, incoming: int, outgoing: int, kernel: int, stride: int) -> Convolution:
    parametrization = None if spec.weights == "none" else registry.resolve("weight parametrization", spec.weights)
    return Convolution(
        incoming,
        outgoing,
        kernel,
        stride=stride,
        padding_mode=spec.padding,
        parametrization=parametrization,
        c=spec.weight_scale,
    )

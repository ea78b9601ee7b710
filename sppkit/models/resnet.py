"""The pre-activation ResNet that every named architecture is a variant of: a stem, and blocks in stages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from sppkit.models.activations import activation_gain, load_activation
from sppkit.models.addons.settings import on_images, read_add_on_settings
from sppkit.models.block import ResidualBlock, build_convolution
from sppkit.models.layers import ScaledActivation
from sppkit.models.places import INPUT_CHANNELS, KERNELS, STEMS, iter_places, stride_of
from sppkit.models.scaling import iter_expected_variance
from sppkit.registry import load, normalizer_facts, resolve
from sppkit.sites import Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sppkit.models.spec import ModelSpec


class PreActivationResNet(nn.Module):
    """Stem and residual blocks of one ``ModelSpec``; no classifier, which no statistic reads.

    The output is the last block's, shape (N, C, H, W).
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.input_add_ons = on_images(spec.add_on)
        for name in self.input_add_ons:
            settings = read_add_on_settings(spec.add_on, spec.add_on_kw)[name]
            self.add_module(name, resolve("add-on", name)(INPUT_CHANNELS, **settings))
        kernel, stride = STEMS[spec.stem]
        # SkipInit's biases are those of its blocks (De & Smith 2020, as released).
        self.stem = build_convolution(replace(spec, bias=False), INPUT_CHANNELS, spec.stem_channels, kernel, stride)
        self.stem_pool = nn.MaxPool2d(3, stride=2, padding=1) if spec.stem == "imagenet" else nn.Identity()
        self.block_class = _block_class(spec)
        self.blocks = nn.ModuleList(_iter_blocks(spec))

    def forward(self, x: Tensor) -> Tensor:
        """Run the stem and every block, shape (N, C, H', W')."""
        for name in self.input_add_ons:
            x = getattr(self, name)(x)
        return self.run_blocks(self.stem_pool(self.stem(x)), self.blocks)

    def run_blocks(self, x: Tensor, blocks: Iterable[nn.Module]) -> Tensor:
        """Run blocks that follow each other."""
        beside = self.block_class.beside()
        for block in blocks:
            x = block(x, *beside)
        return x

    def signal_sites(self) -> list[Site]:
        """Return the stem's output, and the branch and output of every block."""
        sites = [Site(0, 0, "stem", "block_output", "stem_pool")]
        stages = [stage for stage, blocks in enumerate(self.spec.stages, 1) for _ in range(blocks)]
        for block, stage in enumerate(stages, 1):
            name = f"blocks.{block - 1}"
            sites.append(Site(block, stage, name, "residual_branch", f"{name}.residual"))
            sites.append(Site(block, stage, name, "block_output", name))
        return sites


def _block_class(spec: ModelSpec) -> type[ResidualBlock]:
    own = normalizer_facts(spec.norm).block
    return ResidualBlock if own is None else cast("type[ResidualBlock]", load(own))


def _iter_blocks(spec: ModelSpec) -> Iterator[ResidualBlock]:
    total = sum(spec.stages)
    variances = iter_expected_variance(spec.stages, spec.alpha)
    activation = load_activation(spec.activation)
    gain = activation_gain(activation) if spec.gain == "exact" else float(spec.gain)
    convolutions = len(KERNELS[spec.block])
    kind = _block_class(spec)
    for index, (stage, position, channels) in enumerate(iter_places(spec)):
        beta = next(variances) ** 0.5 if spec.scaled else 1.0
        # beta is what the input's standard deviation should be: only the first activation sees the input.
        scales = (gain / beta, *[gain] * (convolutions - 1))
        yield kind(
            spec,
            channels,
            activations=tuple(ScaledActivation(activation, scale) for scale in scales),
            stage=stage,
            stride=stride_of(spec, stage, position),
            projects=position == 0,
            closes_stage=position == spec.stages[stage] - 1,
            # The published schedule: from 0 at the first block; the full rate would be at block number `total`.
            drop_rate=spec.stochastic_depth * index / total,
        )

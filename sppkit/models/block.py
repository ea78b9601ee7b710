"""The pre-activation residual block that the named architectures are made of.

``output = shortcut + alpha * skip_gain * branch``, where the branch is a chain of (prepare, convolve) and *prepare* is
the activation with the normalizer before it, after it, or without one; the independent-component layer has orders of
its own. The first block of each stage projects its shortcut, from the prepared input (He et al. 2016, arXiv:1603.05027;
Brock et al. 2021, App. E).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sppkit import registry
from sppkit.models.addons.settings import positions, read_add_on_settings, stands_at
from sppkit.models.layers import Convolution, ScalarBias, ScaledActivation, SqueezeExcite, StochasticDepth
from sppkit.models.normalizers.placement import branch_norm, normalizes_output
from sppkit.models.normalizers.settings import read_settings
from sppkit.models.places import KERNELS
from sppkit.models.regnet import GROUP, SE_RATIO

if TYPE_CHECKING:
    from sppkit.models.spec import ModelSpec


class ResidualBlock(nn.Module):
    """One pre-activation block, bottleneck or basic.

    Children ``norm{k}``, ``activation{k}`` and ``conv{k}`` prepare and convolve in turn, in the order of
    ``spec.operations``; ``residual`` marks the end of the branch, where the residual variance is read.
    """

    def __init__(
        self,
        spec: ModelSpec,
        channels: tuple[int, ...],
        *,
        activations: tuple[ScaledActivation, ...],
        stage: int,
        stride: int,
        projects: bool,
        closes_stage: bool,
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.convolutions = len(channels) - 1
        self.norm_first = spec.norm_first
        position = spec.operations.index("conv")
        self.before, self.behind = spec.operations[:position], spec.operations[position + 1 :]
        self.alpha = spec.alpha
        self.shortcut: Convolution | None = (
            build_convolution(spec, channels[0], channels[-1], 1, 1 if spec.variant else stride) if projects else None
        )
        self._add_branch(spec, channels, activations, stage, stride)
        # NF-RegNets have the gate before the last convolution, and pool instead of stepping over what is skipped.
        self.gates_inside = spec.variant is not None
        gated, ratio = (channels[-2], SE_RATIO) if self.gates_inside else (channels[-1], 0.25)
        self.se = SqueezeExcite(gated, spec.se_factor, ratio) if spec.se else None
        self.shortcut_pool = _halve() if self.gates_inside and stride > 1 else None
        self.residual = nn.Identity()
        self.stochastic_depth = StochasticDepth(drop_rate) if drop_rate else None
        self.initial_skip_gain = spec.skip_gain
        self.skip_gain = nn.Parameter(torch.empty(()))
        normalized = normalizes_output(spec.norm, stage, closes_stage=closes_stage)
        self.output_norm = _build_norm(spec, spec.norm, channels[-1]) if normalized else None
        self._add_add_ons(spec, channels, projects=projects)

    def _add_branch(
        self,
        spec: ModelSpec,
        channels: tuple[int, ...],
        activations: tuple[ScaledActivation, ...],
        stage: int,
        stride: int,
    ) -> None:
        kernels = KERNELS[spec.block]
        layers = zip(pairwise(channels), activations, kernels, strict=True)
        for index, ((incoming, outgoing), activation, kernel) in enumerate(layers):
            takes_stride = index == kernels.index(3)
            step, scale = stride if takes_stride else 1, spec.branch_scale(index, self.convolutions)
            conv = build_convolution(spec, incoming, outgoing, kernel, step, scale)
            normalized = outgoing if "norm" in self.behind else incoming
            self.add_module(f"norm{index}", _build_norm(spec, branch_norm(spec.norm, stage, index), normalized))
            self.add_module(f"activation{index}", activation)
            self.add_module(f"conv{index}", conv)
            if spec.fixup:
                self.add_module(f"activation_bias{index}", ScalarBias())
                self.add_module(f"conv_bias{index}", ScalarBias())

    def _add_add_ons(self, spec: ModelSpec, channels: tuple[int, ...], *, projects: bool) -> None:
        # Where the block projects, branch and shortcut share what prepares them: "pre" then means after it.
        self.projects = projects
        self.positions = stands_at(positions(spec.add_on), normalized=self.output_norm is not None)
        settings = read_add_on_settings(spec.add_on, spec.add_on_kw)
        for name, place in self.positions.items():
            size = channels[0] if place == "pre" else channels[-1]
            self.add_module(name, registry.resolve("add-on", name)(size, **settings[name]))

    @staticmethod
    def beside() -> tuple[object, ...]:
        """Return what one forward pass carries from block to block beside the signal: nothing."""
        return ()

    def reset_parameters(self) -> None:
        """Set the skip gain to its initial value."""
        nn.init.constant_(self.skip_gain, self.initial_skip_gain)

    def _run(self, operations: tuple[str, ...], index: int, x: Tensor) -> Tensor:
        for operation in operations:
            module = getattr(self, f"{operation}{index}")
            x = x if module is None else module(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Add the scaled branch to the shortcut, shape (N, C', H', W')."""
        branch = self._run(self.before, 0, x if self.projects else self._add_on("pre", x))
        shortcut = x
        if self.shortcut is not None:
            shortcut = self.shortcut(branch if self.shortcut_pool is None else self.shortcut_pool(branch))
        if self.projects:
            branch = self._add_on("pre", branch)
        for index in range(self.convolutions):
            if self.gates_inside and index == self.convolutions - 1 and self.se is not None:
                branch = self.se(branch)
            branch = branch if index == 0 else self._run(self.before, index, branch)
            branch = self._run(("conv", *self.behind), index, branch)
        return self._join(shortcut, branch)

    def _add_on(self, position: str, x: Tensor) -> Tensor:
        for name, place in self.positions.items():
            if place == position:
                x = getattr(self, name)(x)
        return x

    def _join(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        if self.se is not None and not self.gates_inside:
            branch = self.se(branch)
        branch = self.residual(self._add_on("residual", branch))
        if self.stochastic_depth is not None:
            branch = self.stochastic_depth(branch)
        # shortcut + alpha * skip_gain * branch in one pass over memory.
        output = torch.addcmul(self._add_on("identity", shortcut), branch, self.skip_gain, value=self.alpha)
        return self._add_on("post", output if self.output_norm is None else self.output_norm(output))


def build_convolution(
    spec: ModelSpec, incoming: int, outgoing: int, kernel: int, stride: int, scale: float = 1.0
) -> Convolution:
    """Return a convolution with the network's padding and weight parametrization."""
    parametrization = None if spec.weights == "none" else registry.resolve("weight parametrization", spec.weights)
    return Convolution(
        incoming,
        outgoing,
        kernel,
        stride=stride,
        groups=outgoing // GROUP if spec.variant is not None and kernel > 1 and incoming == outgoing else 1,
        padding_mode=spec.padding,
        parametrization=parametrization,
        c=spec.weight_scale * scale,
        bias=spec.bias,
        noise=(spec.noise, spec.noise_kind) if spec.noise else None,
        noise_in_training=not spec.clean_training,
    )


def _halve() -> nn.Module:
    # An odd map keeps its last row and column, as "SAME" padding does that is left out of the average.
    return nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)


def _build_norm(spec: ModelSpec, norm: str, channels: int) -> nn.Module | None:
    settings = read_settings(norm, spec.norm_kw) if norm == spec.norm else {}
    module: nn.Module | None = registry.resolve("normalizer", norm)(channels, **settings)
    return module

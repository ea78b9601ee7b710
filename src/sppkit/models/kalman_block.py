"""The residual block of a network with Batch Kalman Normalization: it carries moments beside the signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sppkit.models.block import ResidualBlock
from sppkit.models.moments import through_activation, through_convolution
from sppkit.models.normalizers.kalman import Moments

if TYPE_CHECKING:
    from torch import Tensor

    from sppkit.models.normalizers.kalman import BatchKalmanNorm


@dataclass
class SideChannel:
    """What one forward pass carries from block to block.

    Attributes:
        stream: The estimated moments of the stream, or None before the first block.
    """

    stream: Moments | None = None


class KalmanBlock(ResidualBlock):
    """A residual block whose normalizers are told what the layers before them predict.

    The skip connection adds its moments to those of the branch as if the two were independent.
    """

    def forward(self, x: Tensor, channel: SideChannel | None = None) -> Tensor:
        """Add the scaled branch to the shortcut, and carry the moments along.

        Args:
            x: Shape (N, C, H, W).
            channel: The side channel of this forward pass; changed in place. Without one, and in eval mode, the
                normalizers are batch normalizations.

        Returns:
            Shape (N, C', H', W').
        """
        if channel is None or not self.training:
            return super().forward(x)
        branch, carried, stream = self._prepare_with(0, x, channel.stream)
        shortcut = x
        if self.shortcut is not None:
            shortcut, stream = self.shortcut(branch), through_convolution(carried, self.shortcut)
        for index in range(self.convolutions):
            if index > 0:
                branch, carried, _ = self._prepare_with(index, branch, carried)
            convolution = getattr(self, f"conv{index}")
            branch, carried = convolution(branch), through_convolution(carried, convolution)
        channel.stream = self._add(stream, carried)
        return self._join(shortcut, branch)

    def _prepare_with(self, index: int, x: Tensor, predicted: Moments | None) -> tuple[Tensor, Moments, Moments]:
        """Return the prepared signal, the moments that are predicted for it, and those estimated for x itself."""
        norm: BatchKalmanNorm = getattr(self, f"norm{index}")
        activation = getattr(self, f"activation{index}")
        if self.norm_first:
            y, fused = norm.fuse(x, predicted)
            return activation(y), through_activation(norm.passed_on(fused), activation), fused
        known = norm.observe(x) if predicted is None else predicted
        behind = None if predicted is None else through_activation(predicted, activation)
        y, fused = norm.fuse(activation(x), behind)
        return y, norm.passed_on(fused), known

    def _add(self, stream: Moments, branch: Moments) -> Moments:
        scale = self.alpha * self.skip_gain.to(stream.mean)
        return Moments(stream.mean + scale * branch.mean, stream.variance + scale.square() * branch.variance)

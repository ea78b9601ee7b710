"""The residual block of a network with Batch Kalman Normalization: it carries moments beside the signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sppkit.models.block import ResidualBlock
from sppkit.models.moments import through_activation, through_convolution, through_sample
from sppkit.models.normalizers.kalman import Moments

if TYPE_CHECKING:
    from torch import Tensor

    from sppkit.models.layers import Convolution, ScaledActivation
    from sppkit.models.normalizers.kalman import BatchKalmanNorm

    # The moments of a signal and the activation, if any, that it still has to go through.
    _Told = tuple[Moments, ScaledActivation | None]


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

    @staticmethod
    def beside() -> tuple[object, ...]:
        """Return the side channel of one forward pass."""
        return (SideChannel(),)

    def forward(self, x: Tensor, channel: SideChannel | None = None) -> Tensor:
        """Add the scaled branch to the shortcut, and carry the moments along, shape (N, C', H', W')."""
        if channel is None or not self.training:
            return super().forward(x)
        branch, told, stream = self._prepare_with(0, x, channel.stream)
        shortcut = x
        if self.shortcut is not None:
            shortcut, stream = self.shortcut(branch), self._predict(told, self.shortcut, branch)
        carried = stream
        for index in range(self.convolutions):
            if index > 0:
                branch, told, _ = self._prepare_with(index, branch, carried)
            convolution = getattr(self, f"conv{index}")
            carried = self._predict(told, convolution, branch)
            branch = convolution(branch)
        channel.stream = self._add(stream, carried)
        return self._join(shortcut, branch)

    def _prepare_with(self, index: int, x: Tensor, predicted: Moments | None) -> tuple[Tensor, _Told, Moments]:
        """Return the prepared signal, what the convolution after it is told, and the moments estimated for x."""
        norm: BatchKalmanNorm = getattr(self, f"norm{index}")
        activation = getattr(self, f"activation{index}")
        if self.norm_first:
            y, fused = norm(x, predicted)
            return activation(y), (norm.passed_on(fused), activation), norm.known_of(predicted, fused)
        known = norm.observe(x) if predicted is None else predicted
        behind = None if predicted is None else through_activation(predicted, activation)
        y, fused = norm(activation(x), behind)
        return y, (norm.passed_on(fused), None), known

    def _predict(self, told: _Told, convolution: Convolution, x: Tensor) -> Moments:
        moments, activation = told
        if self.get_submodule("norm0").prediction == "sampled":
            return through_sample(moments, activation, convolution, tuple(x.shape[2:]))
        behind = moments if activation is None else through_activation(moments, activation)
        return through_convolution(behind, convolution)

    def _add(self, stream: Moments, branch: Moments) -> Moments:
        scale = self.alpha * self.skip_gain.to(stream.mean)
        return Moments(stream.mean + scale * branch.mean, stream.variance + scale.square() * branch.variance)

"""The networks of a generative transformation: encoders of content and of style, a decoder, a discriminator.

Written from the descriptions in Huang et al. 2018 (arXiv:1804.04732, appendix B.2) and Zhou et al. 2022
(arXiv:2203.09739). Values of pictures lie in [-1, 1]. No network draws a number: ``initialize`` sets the weights.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sppkit.inputs.shifts.generative.sizes import DOUBLINGS
from sppkit.streams import fill_normal

if TYPE_CHECKING:
    from sppkit.inputs.shifts.generative.sizes import Sizes

# torch's default, added to every variance that is divided by.
EPSILON = 1e-5
# Leaky ReLU of the discriminator.
SLOPE = 0.2


def adaptive_instance_norm(x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Give each channel of each sample a new mean and standard deviation.

    y = scale · (x - m) / sqrt(v + 1e-5) + offset, m and v being mean and variance (dividing by n) of each channel of
    each sample over space (Huang & Belongie 2017, arXiv:1703.06868, equation 8).

    Args:
        x: Maps, shape (N, C, H, W).
        scale: Shape (N, C).
        offset: Shape (N, C).

    Returns:
        Maps of the same shape.
    """
    return scale[:, :, None, None] * functional.instance_norm(x, eps=EPSILON) + offset[:, :, None, None]


class Convolution(nn.Module):
    """A convolution with bias whose border mirrors the map."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        if self.padding:
            x = functional.pad(x, (self.padding,) * 4, mode="reflect")
        return functional.conv2d(x, self.weight, self.bias, self.stride)


class Linear(nn.Module):
    """A linear layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply and add."""
        return functional.linear(x, self.weight, self.bias)


class LayerNorm(nn.Module):
    """Normalizes each sample over channels and space, with a scale and an offset per channel.

    Behind an upsampling, instance normalization would take out the means and deviations that the style has set.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels))
        self.offset = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize."""
        return functional.group_norm(x, 1, self.scale, self.offset, EPSILON)


def widths(features: int, count: int, doublings: int) -> list[int]:
    """Return the channels behind the first convolution and behind each of ``count`` further ones.

    >>> widths(64, 4, doublings=2)
    [64, 128, 256, 256, 256]
    """
    return [features * 2 ** min(index, doublings) for index in range(count + 1)]


class ContentEncoder(nn.Module):
    """From a picture (N, C, H, W) to its content, a map of H / 2^d x W / 2^d that instance norm has freed of style."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        channels = widths(sizes.features, sizes.downsamplings, sizes.downsamplings)
        self.first = Convolution(sizes.channels, channels[0], 7, padding=3)
        self.halvings = nn.ModuleList(
            Convolution(before, after, 4, stride=2, padding=1) for before, after in pairwise(channels)
        )
        self.blocks = nn.ModuleList(ResidualBlock(channels[-1]) for _ in range(sizes.residual_blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Encode."""
        for convolution in (self.first, *self.halvings):
            x = functional.relu(functional.instance_norm(convolution(x), eps=EPSILON))
        for block in self.blocks:
            x = block(x)
        return x


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), each norm with its scales and offsets, (N, 2, C), if there are any."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = Convolution(channels, channels, 3, padding=1)
        self.conv1 = Convolution(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, affine: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Add the branch."""
        if affine is None:
            y = functional.relu(functional.instance_norm(self.conv0(x), eps=EPSILON))
            return x + functional.instance_norm(self.conv1(y), eps=EPSILON)
        first, second = affine
        y = functional.relu(adaptive_instance_norm(self.conv0(x), first[:, 0], first[:, 1]))
        return x + adaptive_instance_norm(self.conv1(y), second[:, 0], second[:, 1])


class StyleEncoder(nn.Module):
    """From a picture to its style z, shape (N, style); without normalization, which would take the style out."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        channels = widths(sizes.features, sizes.style_downsamplings, DOUBLINGS)
        self.first = Convolution(sizes.channels, channels[0], 7, padding=3)
        self.halvings = nn.ModuleList(
            Convolution(before, after, 4, stride=2, padding=1) for before, after in pairwise(channels)
        )
        self.last = Linear(channels[-1], sizes.style)

    def forward(self, x: Tensor) -> Tensor:
        """Encode."""
        for convolution in (self.first, *self.halvings):
            x = functional.relu(convolution(x))
        style: Tensor = self.last(x.mean((2, 3)))
        return style


class Decoder(nn.Module):
    """From a content and a style to a picture: the style sets scale and offset of every adaptive instance norm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        channels = widths(sizes.features, sizes.downsamplings, sizes.downsamplings)[::-1]
        self.blocks = nn.ModuleList(ResidualBlock(channels[0]) for _ in range(sizes.residual_blocks))
        self.affine_shape = (sizes.residual_blocks, 2, 2, channels[0])
        hidden = sizes.hidden
        self.styles = nn.ModuleList((
            Linear(sizes.style, hidden),
            Linear(hidden, hidden),
            Linear(hidden, math.prod(self.affine_shape)),
        ))
        self.doublings = nn.ModuleList(Convolution(before, after, 5, padding=2) for before, after in pairwise(channels))
        self.norms = nn.ModuleList(LayerNorm(after) for after in channels[1:])
        self.last = Convolution(channels[-1], sizes.channels, 7, padding=3)

    def affine(self, style: Tensor) -> Tensor:
        """Return scales and offsets, shape (N, blocks, norms of a block, 2, channels)."""
        first, second, last = self.styles
        flat: Tensor = last(functional.relu(second(functional.relu(first(style)))))
        return flat.view(-1, *self.affine_shape)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Decode."""
        x = content
        for block, affine in zip(self.blocks, self.affine(style).unbind(1), strict=True):
            x = block(x, affine.unbind(1))
        for convolution, norm in zip(self.doublings, self.norms, strict=True):
            x = functional.relu(norm(convolution(functional.interpolate(x, scale_factor=2, mode="nearest"))))
        return torch.tanh(self.last(x))


class Networks(nn.Module):
    """The encoders and the decoder of one domain."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.content, self.style, self.decode = ContentEncoder(sizes), StyleEncoder(sizes), Decoder(sizes)


class Discriminator(nn.Module):
    """From a picture to one number per patch: near 1 for a real one, near 0 for a decoded one (least squares)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        count = sizes.discriminator_layers
        inputs = [sizes.channels, *widths(sizes.discriminator_features, count - 1, count)]
        self.halvings = nn.ModuleList(
            Convolution(before, after, 4, stride=2, padding=1) for before, after in pairwise(inputs)
        )
        self.last = Convolution(inputs[-1], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Judge."""
        for convolution in self.halvings:
            x = functional.leaky_relu(convolution(x), SLOPE)
        return self.last(x)  # type: ignore[no-any-return]


def initialize(module: nn.Module, seed: int, prefix: str, std: float | None = None) -> None:
    """Draw each weight from its own stream, ``git/<prefix>.<parameter name>``; scales become 1, the others 0.

    The variance of weights is std² or, without one, 2/fan_in (He et al. 2015), which suits ReLU.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() == 1:
                parameter.fill_(float(name.endswith("scale")))
                continue
            drawn = np.empty(tuple(parameter.shape), np.float32)
            scale = math.sqrt(2 / parameter[0].numel()) if std is None else std
            fill_normal(drawn, seed, f"git/{prefix}.{name}", scale)
            parameter.copy_(torch.from_numpy(drawn))

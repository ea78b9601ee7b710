"""Amplitude-Phase Recombination: the phases of one picture, the amplitudes of another (Chen et al. 2021).

arXiv:2108.08487. Letters: F the discrete Fourier transform, x a picture, y its partner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from sppkit.shifts.shift import PairShift

Axes = Literal["chw", "hw"]
_DIMENSIONS = {"chw": (-3, -2, -1), "hw": (-2, -1)}


def amplitude_of_partner(axes: Axes = "chw", probability: float = 1.0) -> PairShift:
    """Return APR-P: ``Re F⁻¹(|F(y)| e^{i arg F(x)})``.

    Args:
        axes: What F is taken over: channels, height and width together, as in the released code, or height and width
            of every channel by itself. Then every channel has exactly its partner's mean (up to the sign) and variance.
        probability: That a picture is shifted at all; the released code draws once per batch, with 0.6 or 0.5.

    Returns:
        The shift. Its values are not clipped, as in the released code, and can leave [0, 1].
    """

    def shift(pictures: Tensor, generators: Sequence[np.random.Generator], /, partners: Tensor) -> Tensor:
        chosen = torch.tensor([generator.random() < probability for generator in generators])
        mixed = recombine(amplitudes=partners, phases=pictures, axes=axes)
        return torch.where(chosen[:, None, None, None], mixed, pictures)

    return shift


def recombine(*, amplitudes: Tensor, phases: Tensor, axes: Axes) -> Tensor:
    """Return the pictures with the amplitude spectrum of some and the phase spectrum of others.

    Args:
        amplitudes: Shape (N, C, H, W).
        phases: The same shape.
        axes: What the transform is taken over.

    Returns:
        Shape (N, C, H, W).
    """
    dimensions = _DIMENSIONS[axes]
    amplitude = torch.fft.fftn(amplitudes, dim=dimensions).abs()
    phase = torch.fft.fftn(phases, dim=dimensions).angle()
    mixed: Tensor = torch.fft.ifftn(torch.polar(amplitude, phase), dim=dimensions).real
    return mixed

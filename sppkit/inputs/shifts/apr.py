"""Amplitude-Phase Recombination: the phases of one picture, the amplitudes of another (Chen et al. 2021).

arXiv:2108.08487. Letters: F the discrete Fourier transform, x a picture, y its partner (or another form of it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from sppkit.inputs.shifts.augmix_operations import NINE, draw_operation
from sppkit.inputs.shifts.eight_bits import FULL, to_image
from sppkit.inputs.shifts.picture_by_picture import picture_by_picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image
    from torch import Tensor

    from sppkit.inputs.shifts.shift import PairShift, Shift

Axes = Literal["chw", "hw"]
# Of the released code: the largest level of an operation.
_SEVERITY = 3.0
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


def amplitude_of_own_form(axes: Axes = "chw", overflow: Literal["clip", "wrap"] = "clip") -> Shift:
    """Return APR-S: amplitudes and phases of two forms of the same picture, which AugMix's operations make.

    One operation is always applied. With probability ½ that is all; else a copy gets a second one, and the amplitudes
    of either are put to the phases of the other, which way round with probability ½.

    Args:
        axes: As for ``amplitude_of_partner``.
        overflow: ``clip`` to [0, 1]; or ``wrap`` around 256 grey levels, as the released code does by casting to bytes,
            to reproduce it: on photographs 3 to 5 % of the values, by 43 to 52 levels in the root mean square of all.

    Returns:
        The shift.
    """

    def one(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        first = draw_operation(NINE, generator)(to_image(picture), _SEVERITY, generator)
        if generator.random() < 0.5:
            return _levels(first).numpy() / FULL
        second = draw_operation(NINE, generator)(first, _SEVERITY, generator)
        forms = [_levels(first), _levels(second)]
        amplitudes, phases = forms if generator.random() < 0.5 else reversed(forms)
        mixed = recombine(amplitudes=amplitudes[None], phases=phases[None], axes=axes)[0].numpy()
        # A cast to bytes rounds towards zero.
        clips = overflow == "clip"
        levels: np.ndarray = np.rint(np.clip(mixed, 0, FULL)) if clips else np.trunc(mixed) % (FULL + 1)
        return levels / FULL

    return picture_by_picture(one, "apr-s", channels=(1, 3))


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


def _levels(image: Image.Image) -> Tensor:
    # Grey levels in float64, (C, H, W).
    values = np.atleast_3d(np.asarray(image, np.float64))
    return torch.from_numpy(np.moveaxis(values, -1, 0).copy())

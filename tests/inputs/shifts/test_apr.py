"""Amplitude-Phase Recombination against what the Fourier transform says of it, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from pictures import smooth_pictures
from sppkit.inputs.shifts.apr import Axes, amplitude_of_own_form, amplitude_of_partner, recombine
from sppkit.streams import keyed_generator

if TYPE_CHECKING:
    import numpy as np

AXES: tuple[Axes, ...] = ("chw", "hw")
DIMENSIONS = {"chw": (1, 2, 3), "hw": (2, 3)}
# A few hundred additions of float64 numbers of size 1 and below.
CLOSE = {"rtol": 0.0, "atol": 1e-12}
ORDER = [1, 2, 0]


def generators(count: int) -> list[np.random.Generator]:
    return [keyed_generator(0, str(index)) for index in range(count)]


@pytest.mark.parametrize("axes", AXES)
def test_a_picture_with_itself_is_itself(axes: Axes) -> None:
    x = smooth_pictures()
    assert torch.allclose(recombine(amplitudes=x, phases=x, axes=axes), x, **CLOSE)


@pytest.mark.parametrize("axes", AXES)
def test_amplitudes_are_the_partners_and_phases_the_pictures(axes: Axes) -> None:
    x = smooth_pictures()
    partner = x[ORDER]
    mixed, own, other = (
        torch.fft.fftn(item, dim=DIMENSIONS[axes])
        for item in (recombine(amplitudes=partner, phases=x, axes=axes), x, partner)
    )
    assert torch.allclose(mixed.abs(), other.abs(), **CLOSE)
    # As complex numbers: -pi and pi are one phase. Where there is no amplitude there is none.
    assert torch.allclose(mixed, other.abs() * own / own.abs(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("axes", AXES)
def test_the_mean_square_is_the_partners(axes: Axes) -> None:  # Parseval
    x = smooth_pictures()
    mixed = recombine(amplitudes=x[ORDER], phases=x, axes=axes)
    assert torch.allclose(mixed.square().mean((1, 2, 3)), x[ORDER].square().mean((1, 2, 3)), **CLOSE)
    assert torch.allclose(mixed.mean((1, 2, 3)), x[ORDER].mean((1, 2, 3)), **CLOSE)


def test_per_channel_mean_and_variance_are_the_partners() -> None:
    x = smooth_pictures()
    mixed = recombine(amplitudes=x[ORDER], phases=x, axes="hw")
    assert torch.allclose(mixed.mean((2, 3)), x[ORDER].mean((2, 3)), **CLOSE)
    assert torch.allclose(mixed.var((2, 3)), x[ORDER].var((2, 3)), **CLOSE)
    # And so a permutation leaves the channels of the whole batch what they are.
    assert torch.allclose(mixed.mean((0, 2, 3)), x.mean((0, 2, 3)), **CLOSE)
    assert torch.allclose(mixed.var((0, 2, 3)), x.var((0, 2, 3)), **CLOSE)


def test_channels_are_mixed_where_they_are_transformed_together() -> None:
    x = smooth_pictures()
    mixed = recombine(amplitudes=x[ORDER], phases=x, axes="chw")
    assert (mixed.mean((2, 3)) - x[ORDER].mean((2, 3))).abs().max() > 0.01


def test_a_channel_without_a_mean_keeps_none() -> None:
    x = smooth_pictures()
    x = x - x.mean((2, 3), keepdim=True)
    mixed = recombine(amplitudes=x[ORDER], phases=x, axes="hw")
    assert mixed.mean((2, 3)).abs().max() < 1e-14


def test_a_picture_is_shifted_or_not_by_its_own_coin() -> None:
    x = smooth_pictures(40, side=4)
    never, often, always = (
        amplitude_of_partner(probability=chance)(x, generators(40), partners=x.roll(1, 0)) for chance in (0, 0.7, 1)
    )
    assert torch.equal(never, x)
    shifted = (often != x).flatten(1).any(1)
    # 40 coins of 0.7: 28 ± 2.9, and five deviations are 14.
    assert 14 <= int(shifted.sum()) < 40
    assert torch.equal(often[shifted], always[shifted])
    assert torch.equal(often[~shifted], x[~shifted])


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("channels", [1, 3])
def test_forms_of_one_picture_are_whole_grey_levels(axes: Axes, channels: int) -> None:
    x = smooth_pictures(12, channels).float()
    shifted = amplitude_of_own_form(axes)(x, generators(12))
    assert shifted.shape == x.shape
    assert torch.allclose(shifted * 255, (shifted * 255).round(), rtol=0, atol=1e-4)
    assert shifted.min() >= 0
    assert shifted.max() <= 1
    assert (shifted != x).flatten(1).any(1).sum() > 8


def test_wrapping_and_clipping_differ_only_beyond_the_levels() -> None:
    x = smooth_pictures(24)
    clipped, wrapped = (amplitude_of_own_form(overflow=how)(x, generators(24)) for how in ("clip", "wrap"))
    difference = (wrapped - clipped) * 255
    # A cast rounds towards zero where clipping rounds to the nearest level.
    inside = difference.abs() <= 1 + 1e-4
    assert inside.double().mean() > 0.9
    # Below 0 a wrapped value comes back from the top, and above 255 from the bottom.
    assert bool(((clipped[~inside] == 0) | (clipped[~inside] == 1)).all())
    assert bool((~inside).any())

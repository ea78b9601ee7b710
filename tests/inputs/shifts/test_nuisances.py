"""Nuisances against their definitions written out slowly: bicubic rotation, one grey level, boxes of pixels."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import scipy.stats
import torch

from sppkit.inputs.shifts.nuisances.background import background
from sppkit.inputs.shifts.nuisances.dilate import dilate
from sppkit.inputs.shifts.nuisances.rotate import rotate
from sppkit.streams import keyed_generator


class Fixed:
    """A generator whose next draws are given, and which says what was asked of it."""

    def __init__(self, *values: float) -> None:
        self.values, self.asked = list(values), []

    def uniform(self, low: float, high: float) -> float:
        self.asked.append((low, high))
        return self.values.pop(0)

    def random(self) -> float:
        return self.values.pop(0)

    def integers(self, low: int, high: int, *, endpoint: bool) -> int:
        assert endpoint
        self.asked.append((low, high))
        return int(self.values.pop(0))


def generators(count: int) -> list[np.random.Generator]:
    return [keyed_generator(0, f"test/{index}") for index in range(count)]


def picture(channels: int = 1, height: int = 9, width: int = 9) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).random((1, channels, height, width), dtype=np.float32))


def cubic(x: float) -> float:
    """Keys' kernel with a = -1, which Pillow turns pictures by (it shrinks them by a = -1/2)."""
    x = abs(x)
    if x < 1:
        return x**3 - 2 * x**2 + 1
    return -(x**3) + 5 * x**2 - 8 * x + 4 if x < 2 else 0.0


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """Rotation counterclockwise about the centre of the picture, pixel by pixel, edges repeated, outside 0."""
    height, width = image.shape
    angle = math.radians(degrees)
    out = np.zeros_like(image, dtype=np.float64)
    for row in range(height):
        for column in range(width):
            right, up = column + 0.5 - width / 2, height / 2 - (row + 0.5)
            x = width / 2 + right * math.cos(angle) + up * math.sin(angle)
            y = height / 2 + right * math.sin(angle) - up * math.cos(angle)
            if not (0 <= x < width and 0 <= y < height):
                continue
            left, top = math.floor(x - 0.5), math.floor(y - 0.5)
            out[row, column] = sum(
                image[min(max(top + i, 0), height - 1), min(max(left + j, 0), width - 1)]
                * cubic(y - 0.5 - (top + i))
                * cubic(x - 0.5 - (left + j))
                for i in range(-1, 3)
                for j in range(-1, 3)
            )
    return out


@pytest.mark.parametrize("angle", [37.0, -120.5, 12.25])
def test_rotation_is_bicubic_about_the_centre(angle: float) -> None:
    shown = picture()
    moved = rotate()(shown, [Fixed(angle)])
    expected = np.clip(turned(shown[0, 0].double().numpy(), angle), 0, 1)
    # Pillow keeps the coordinates as float64 and the pixels as float32.
    np.testing.assert_allclose(moved[0, 0].numpy(), expected, atol=2e-6)


def test_a_quarter_turn_moves_pixels_and_nothing_else() -> None:
    shown = picture(channels=3)
    assert torch.equal(rotate()(shown, [Fixed(90.0)]), shown.rot90(1, (2, 3)))
    assert torch.equal(rotate()(shown, [Fixed(0.0)]), shown)


def test_rotation_takes_every_angle_unless_told() -> None:
    every, few = Fixed(1.0), Fixed(1.0)
    rotate()(picture(), [every])
    rotate(degrees=30)(picture(), [few])
    assert (every.asked, few.asked) == ([(-180.0, 180.0)], [(-30, 30)])


def test_what_bicubic_overshoots_is_cut() -> None:
    edge = torch.zeros(1, 1, 9, 9)
    edge[..., 4:] = 1.0
    assert turned(edge[0, 0].double().numpy(), 20.0).max() > 1.01
    moved = rotate()(edge, [Fixed(20.0)])
    assert (float(moved.min()), float(moved.max())) == (0.0, 1.0)


def test_background_exchanges_one_grey_level_and_leaves_the_rest() -> None:
    shown = torch.tensor([0.0, 1 / 255, 0.5, 1.0]).reshape(1, 1, 2, 2)
    drawn = Fixed(51)
    assert background()(shown, [drawn]).flatten().tolist() == pytest.approx([0.2, 1 / 255, 0.5, 1.0], abs=1e-7)
    assert drawn.asked == [(0, 99)]
    white = background(value=255, darkest=200, brightest=255)(shown, [Fixed(204)])
    assert white.flatten().tolist() == pytest.approx([0.0, 1 / 255, 0.5, 0.8], abs=1e-7)


def test_a_pixel_is_background_in_all_channels_or_not_at_all() -> None:
    red = torch.tensor([[0.5, 0.0], [0.0, 0.0], [0.0, 0.0]]).reshape(1, 3, 1, 2)
    moved = background()(red, [Fixed(51)])
    assert moved.reshape(3, 2).T.tolist() == [[0.5, 0.0, 0.0], [pytest.approx(0.2)] * 3]


def test_backgrounds_are_uniform() -> None:
    black = torch.zeros(2000, 1, 1, 1)
    levels = (background(brightest=9)(black, generators(2000)).flatten() * 255).round().int()
    counts = Counter(levels.tolist())
    assert set(counts) == set(range(10))
    assert scipy.stats.chisquare(list(counts.values())).pvalue > 1e-3


def boxed(image: np.ndarray, side: int, pick: object) -> np.ndarray:
    height, width = image.shape
    before = side // 2
    out = np.empty_like(image)
    for row in range(height):
        for column in range(width):
            rows = slice(max(0, row - before), row - before + side)
            columns = slice(max(0, column - before), column - before + side)
            out[row, column] = pick(image[rows, columns])
    return out


@pytest.mark.parametrize("side", [2, 3, 4])
def test_dilation_takes_the_largest_in_a_box(side: int) -> None:
    shown = picture(channels=2, height=6, width=5)
    moved = dilate()(shown, [Fixed(0.59, side)])
    for channel in range(2):
        assert np.array_equal(moved[0, channel].numpy(), boxed(shown[0, channel].numpy(), side, np.max))


@pytest.mark.parametrize("side", [1, 2, 3])
def test_erosion_takes_the_smallest(side: int) -> None:
    shown = picture(height=6, width=5)
    moved = dilate(erosion=3)(shown, [Fixed(0.6, side)])
    assert np.array_equal(moved[0, 0].numpy(), boxed(shown[0, 0].numpy(), side, np.min))


def test_the_published_shares_of_boxes() -> None:
    """A single bright pixel grows to k x k; one in three stays as it is, or goes."""
    dot = torch.zeros(5000, 1, 9, 9)
    dot[:, :, 4, 4] = 1.0
    sizes = Counter(dilate()(dot, generators(5000)).sum(dim=(1, 2, 3)).int().tolist())
    expected = {4: 0.2, 9: 0.2, 16: 0.2, 1: 0.2, 0: 0.2}  # 0.6 / 3 each, and 0.4 / 2 each
    assert set(sizes) == set(expected)
    frequencies = [sizes[size] for size in expected]
    assert scipy.stats.chisquare(frequencies, [5000 * share for share in expected.values()]).pvalue > 1e-3


@pytest.mark.parametrize("make", [rotate, background, dilate], ids=lambda make: make.__name__)
def test_a_picture_is_changed_by_its_own_generator_alone(make) -> None:
    shown = torch.cat([picture(), picture().flip(-1), picture().flip(-2)])
    shown[:, :, :3] = 0.0
    before = shown.clone()
    together = make()(shown, generators(3))
    alone = make()(shown[1:2], generators(3)[1:2])
    assert torch.equal(together[1:2], alone)
    assert torch.equal(shown, before)
    assert together.dtype == shown.dtype

"""Corruptions: their constants against the published tables, and every kind against another statement of it."""

from __future__ import annotations

import colorsys
import math
from io import BytesIO

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image

from pictures import smooth_pictures
from sppkit.errors import UsageError
from sppkit.inputs.shifts.corruptions.blur import (
    defocus_blur,
    enlarged,
    gaussian_blur,
    glass_blur,
    motion_filter,
    zoom_blur,
)
from sppkit.inputs.shifts.corruptions.digital import elastic_transform, jpeg_compression, pixelate
from sppkit.inputs.shifts.corruptions.filters import correlate, gaussian_filter, sample
from sppkit.inputs.shifts.corruptions.kinds import KINDS, corruption
from sppkit.inputs.shifts.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from sppkit.inputs.shifts.corruptions.style import brightness, contrast, saturate
from sppkit.inputs.shifts.corruptions.weather import fog, plasma, snow
from sppkit.registry.shifts import CORRUPTIONS
from sppkit.streams import keyed_generator

X = smooth_pictures(1, side=24)[0].numpy()
FLAT = np.full((3, 200, 200), 0.5)


RANDOM = {
    "gaussian-noise", "shot-noise", "impulse-noise", "speckle-noise", "glass-blur", "motion-blur", "snow", "fog",
    "elastic-transform",
}  # fmt: skip


def drawn() -> np.random.Generator:
    return keyed_generator(0, "test")


# The tables of the facts that this was written from, by column: severities 1 to 5.
PUBLISHED = {
    ("gaussian-noise", "cifar"): [0.04, 0.06, 0.08, 0.09, 0.10],
    ("gaussian-noise", "imagenet"): [0.08, 0.12, 0.18, 0.26, 0.38],
    ("shot-noise", "cifar"): [500, 250, 100, 75, 50],
    ("shot-noise", "imagenet"): [60, 25, 12, 5, 3],
    ("impulse-noise", "cifar"): [0.01, 0.02, 0.03, 0.05, 0.07],
    ("impulse-noise", "imagenet"): [0.03, 0.06, 0.09, 0.17, 0.27],
    ("speckle-noise", "cifar"): [0.06, 0.10, 0.12, 0.16, 0.20],
    ("speckle-noise", "imagenet"): [0.15, 0.20, 0.35, 0.45, 0.60],
    ("gaussian-blur", "cifar"): [0.4, 0.6, 0.7, 0.8, 1],
    ("gaussian-blur", "imagenet"): [1, 2, 3, 4, 6],
    ("brightness", "cifar"): [0.05, 0.10, 0.15, 0.20, 0.30],
    ("brightness", "imagenet"): [0.1, 0.2, 0.3, 0.4, 0.5],
    ("contrast", "cifar"): [0.75, 0.5, 0.4, 0.3, 0.15],
    ("contrast", "imagenet"): [0.4, 0.3, 0.2, 0.1, 0.05],
    ("jpeg-compression", "cifar"): [80, 65, 58, 50, 40],
    ("jpeg-compression", "imagenet"): [25, 18, 15, 10, 7],
    ("pixelate", "cifar"): [0.95, 0.9, 0.85, 0.75, 0.65],
    ("pixelate", "imagenet"): [0.6, 0.5, 0.4, 0.3, 0.25],
    ("fog", "cifar"): [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
    ("fog", "imagenet"): [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    ("saturate", "cifar"): [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
    ("saturate", "imagenet"): [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
    ("defocus-blur", "cifar"): [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
    ("defocus-blur", "imagenet"): [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
    ("glass-blur", "cifar"): [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
    ("glass-blur", "imagenet"): [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    ("motion-blur", "cifar"): [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
    ("motion-blur", "imagenet"): [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
}


@pytest.mark.parametrize(("kind", "chosen"), PUBLISHED)
def test_constants(kind: str, chosen: str) -> None:
    rows = [row if isinstance(row, tuple) else (row,) for row in PUBLISHED[kind, chosen]]
    assert list(getattr(KINDS[kind], chosen)) == rows


def test_every_kind_is_listed_and_has_five_severities() -> None:
    assert set(CORRUPTIONS.legal) == set(KINDS)
    assert {len(constants) for kind in KINDS.values() for constants in (kind.cifar, kind.imagenet)} == {5}
    assert not set(CORRUPTIONS.refused) & set(KINDS)


def test_zoom_factors_are_the_published_ones() -> None:
    # From 1 to 1.05, 1.10, ... by 0.01 to 0.03; the rounding of arange adds the end where it does so for NumPy.
    ends = {
        name: [round(end - step, 6) for end, step in getattr(KINDS["zoom-blur"], name)]
        for name in ("cifar", "imagenet")
    }
    assert ends["cifar"] == [1.05, 1.10, 1.15, 1.20, 1.25]
    assert ends["imagenet"] == [1.10, 1.15, 1.19, 1.24, 1.28]
    assert [step for _, step in KINDS["zoom-blur"].imagenet] == [0.01, 0.01, 0.02, 0.02, 0.03]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [8, 32])
def test_every_kind_stays_in_range_and_follows_its_generator(kind: str, side: int) -> None:
    x = smooth_pictures(2, side=side).float()
    shift = corruption(kind, 5, "cifar")
    once, again, other = (shift(x, [keyed_generator(seed, str(index)) for index in range(2)]) for seed in (0, 0, 1))
    assert once.dtype == x.dtype
    assert once.shape == x.shape
    assert 0 <= float(once.min()) <= float(once.max()) <= 1
    assert torch.equal(once, again)
    assert not torch.equal(once, x)
    assert torch.equal(once, other) == (kind not in RANDOM)


def test_a_worse_severity_is_farther_away() -> None:
    x = smooth_pictures(4, side=32)
    for kind in set(KINDS) - {"saturate", "elastic-transform", "glass-blur"}:  # theirs change direction, or in kind
        distances = [
            float((corruption(kind, severity)(x, [keyed_generator(0, str(i)) for i in range(4)]) - x).square().mean())
            for severity in (1, 5)
        ]
        assert distances[0] < distances[1], kind


def test_noise_has_its_moments() -> None:
    # 120,000 values: the standard error of a deviation is 0.2 %, of a mean 0.0006; five of them.
    noisy = gaussian_noise(FLAT, drawn(), 0.2)
    assert noisy.std() == pytest.approx(0.2, rel=0.011)
    assert noisy.mean() == pytest.approx(0.5, abs=0.003)
    counted = shot_noise(FLAT, drawn(), 12)
    assert counted.std() == pytest.approx(math.sqrt(0.5 / 12), rel=0.011)  # Poisson: variance λ / c²
    assert np.allclose(counted * 12, np.rint(counted * 12))
    assert speckle_noise(FLAT, drawn(), 0.3).std() == pytest.approx(0.15, rel=0.011)
    salted = impulse_noise(FLAT, drawn(), 0.09)
    assert (salted != 0.5).mean() == pytest.approx(0.09, rel=0.05)
    assert set(np.unique(salted)) == {0, 0.5, 1}
    assert (salted == 1).sum() / (salted != 0.5).sum() == pytest.approx(0.5, abs=0.025)


@pytest.mark.parametrize("deviation", [0.4, 1.0, 6.0])
def test_gaussian_blur_is_scipys(deviation: float) -> None:
    expected = scipy.ndimage.gaussian_filter(X, (0, deviation, deviation), mode="nearest", truncate=4)
    assert np.allclose(gaussian_blur(X, drawn(), deviation), expected, atol=1e-12)


def test_gaussian_filter_of_displacements_is_scipys() -> None:
    expected = scipy.ndimage.gaussian_filter(X, (0, 2.4, 2.4), mode="reflect", truncate=3)
    assert np.allclose(gaussian_filter(X, 2.4, "symmetric", 3), expected, atol=1e-12)


@pytest.mark.parametrize(("radius", "rim"), [(0.3, 0.4), (1.5, 0.1), (6, 0.5), (10, 0.5)])
def test_defocus_is_a_disk(radius: float, rim: float) -> None:
    spot = np.zeros((1, 51, 51))
    spot[0, 25, 25] = 1
    made = defocus_blur(spot, drawn(), radius, rim)[0]
    reach = max(8, int(radius))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (rows**2 + columns**2 <= radius**2).astype(float)
    taps = np.exp(-0.5 * (np.arange(-2, 3) / rim) ** 2) if radius > 8 else np.exp(-0.5 * (np.arange(-1, 2) / rim) ** 2)
    expected = scipy.ndimage.convolve(disk / disk.sum(), np.outer(taps, taps) / taps.sum() ** 2, mode="mirror")
    assert np.allclose(made, np.pad(expected, 25 - reach), atol=1e-12)
    # The largest disk touches its grid, and by the mirror there is 1 % more of it, in the released code as well.
    assert made.sum() == pytest.approx(1, abs=0.011 if radius > 8 else 1e-12)


def test_correlation_is_scipys() -> None:
    kernel = np.random.default_rng(0).random((5, 5))
    expected = np.stack([scipy.ndimage.correlate(channel, kernel, mode="mirror") for channel in X])
    assert np.allclose(correlate(X, kernel, "reflect"), expected, atol=1e-12)


@pytest.mark.parametrize(("border", "mode"), [("edge", "nearest"), ("symmetric", "reflect"), ("reflect", "mirror")])
def test_values_between_pixels_are_scipys(border: str, mode: str) -> None:
    places = np.random.default_rng(0).uniform(-30, 60, (2, 40, 40))
    expected = np.stack([scipy.ndimage.map_coordinates(channel, places, order=1, mode=mode) for channel in X])
    assert np.allclose(sample(X, *places, border), expected, atol=1e-12)  # type: ignore[arg-type]


def test_motion_along_a_row_is_a_one_sided_mean() -> None:
    weights = np.exp(-0.5 * (np.arange(7) / 2) ** 2)
    weights /= weights.sum()
    expected = np.zeros_like(X)
    for step, weight in enumerate(weights):
        expected += weight * X[:, :, np.minimum(np.arange(24) + step, 23)]
    assert np.allclose(motion_filter(X, 3, 2, angle=0), expected, atol=1e-12)
    turned = motion_filter(X.swapaxes(1, 2), 3, 2, angle=90).swapaxes(1, 2)
    assert np.allclose(turned, expected, atol=1e-12)


def test_zoom_is_scipys() -> None:
    for factor in (1.0, 1.1, 1.33, 2.5):
        kept = math.ceil(24 / factor)
        first = (24 - kept) // 2
        zoomed = scipy.ndimage.zoom(X[:, first : first + kept, first : first + kept], (1, factor, factor), order=1)
        trim = (zoomed.shape[1] - 24) // 2
        assert np.allclose(enlarged(X, factor), zoomed[:, trim : trim + 24, trim : trim + 24], atol=1e-12)
    factors = np.arange(1, 1.16, 0.01)
    expected = (X + sum(enlarged(X, float(factor)) for factor in factors)) / (len(factors) + 1)
    assert np.allclose(zoom_blur(X, drawn(), 1.16, 0.01), expected)


def test_glass_takes_values_from_near_pixels() -> None:
    # Without blur, every value of 8 bits comes from at most two pixels away; rows before the last come first.
    values = np.arange(400, dtype=float).reshape(1, 20, 20) % 251 / 255
    made = np.rint(glass_blur(values, drawn(), 0.01, 2, 1) * 255)
    before = np.floor(values * 255 + 1e-9)
    near = np.stack([np.roll(before, (down, right), (1, 2)) for down in range(-2, 3) for right in range(-2, 3)])
    inner = (slice(None), slice(5, 15), slice(5, 15))
    assert (made != before)[inner].any()
    # A pixel that was passed before may hand on what it has taken: twice as far at most, in two steps.
    far = np.stack([np.roll(before, (d, r), (1, 2)) for d in range(-20, 21) for r in range(-20, 21)])
    assert (far == made).any(0)[inner].all()
    assert ((near == made).any(0) | (made == before))[inner].mean() > 0.5


def test_plasma_goes_from_0_to_1_and_is_smoother_with_more_decay() -> None:
    rough, smooth = (plasma(50, drawn(), decay) for decay in (1.4, 3))
    assert rough.shape == (64, 64)
    steps = []
    for heights in (rough, smooth):
        assert heights.min() == 0
        assert heights.max() == 1
        steps.append(np.abs(np.diff(heights, axis=0)).mean())
    assert steps[1] < 0.6 * steps[0]


def test_fog_is_clouds_brought_back_into_range() -> None:
    made = fog(X, drawn(), 1.5, 2)
    clouds = plasma(24, drawn(), 2)[:24, :24]
    assert np.allclose(made, (X + 1.5 * clouds) * X.max() / (X.max() + 1.5))


def test_snow_without_flakes_only_whitens() -> None:
    made = snow(X, drawn(), 0.1, 0.0, 1, 0.5, 8, 3, 0.7)  # all noise is below the threshold
    grey = 0.299 * X[0] + 0.587 * X[1] + 0.114 * X[2]
    assert np.allclose(made, 0.7 * X + 0.3 * np.maximum(X, grey * 1.5 + 0.5))
    flakes = snow(X, drawn(), 0.5, 0.3, 2, 0.5, 8, 3, 1.0) - X
    assert flakes.max() > 0.2
    # The flakes and the same turned by half: the sum is its own half turn.
    assert np.allclose(flakes, flakes[:, ::-1, ::-1])


def pixels() -> np.ndarray:
    values = np.random.default_rng(0).random((3, 40))
    values[:, :3] = [[0.0, 0.4, 1.0]] * 3  # black, grey, white
    return values.reshape(3, 8, 5)


def by_colorsys(x: np.ndarray, change: object) -> np.ndarray:
    made = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in x.reshape(3, -1).T]  # type: ignore[operator]
    return np.array(made).T.reshape(x.shape)


@pytest.mark.parametrize("offset", [0.1, 0.5])
def test_brightness_is_added_to_the_value(offset: float) -> None:
    expected = by_colorsys(pixels(), lambda h, s, v: (h, s, min(1, v + offset)))
    assert np.allclose(brightness(pixels(), drawn(), offset), expected, atol=1e-12)


@pytest.mark.parametrize(("factor", "offset"), [(0.1, 0), (2, 0), (5, 0.1), (20, 0.2)])
def test_saturation_is_scaled(factor: float, offset: float) -> None:
    expected = by_colorsys(pixels(), lambda h, s, v: (h, min(1, s * factor + offset), v))
    assert np.allclose(saturate(pixels(), drawn(), factor, offset), expected, atol=1e-12)


def test_contrast_is_a_change_of_style_only() -> None:
    made = contrast(X, drawn(), 0.2)
    assert np.allclose(made.mean((1, 2)), X.mean((1, 2)))
    assert np.allclose(made.std((1, 2)), 0.2 * X.std((1, 2)))
    standardized = [(item - item.mean((1, 2), keepdims=True)) / item.std((1, 2), keepdims=True) for item in (made, X)]
    assert np.allclose(*standardized)


def test_jpeg_and_pixelate_are_pillows() -> None:
    image = Image.fromarray(np.rint(np.moveaxis(X, 0, -1) * 255).astype(np.uint8))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=15)
    assert np.array_equal(
        np.rint(np.moveaxis(jpeg_compression(X, drawn(), 15), 0, -1) * 255), np.asarray(Image.open(buffer))
    )
    made = pixelate(X, drawn(), 0.25)
    blocks = np.rint(X * 255).reshape(3, 6, 4, 6, 4).mean((2, 4))  # 24 pixels to 6: means of 4 by 4
    assert np.allclose(made * 255, blocks.repeat(4, 1).repeat(4, 2), atol=1.01)  # rounded twice, after rows and columns


def test_an_elastic_transform_without_strength_and_jitter_is_none() -> None:
    assert np.allclose(elastic_transform(X, drawn(), 0, 2, 0), X, atol=1e-12)

    # Points that all move alike move the picture, bilinear: by half a pixel it is the mean of two.
    class Half:
        def uniform(self, low: float, high: float, size: tuple[int, ...]) -> np.ndarray:
            return np.tile((high, 0.0), (3, 1)) if size == (3, 2) else np.zeros(size)

    moved = elastic_transform(X, Half(), 0, 2, 0.5)  # type: ignore[arg-type]
    assert np.allclose(moved[:, :, 1:], (X[:, :, 1:] + X[:, :, :-1]) / 2, atol=1e-12)


def test_what_needs_colour_refuses_grey() -> None:
    grey = torch.rand(2, 1, 8, 8)
    with pytest.raises(UsageError, match="--shift corruption:saturate is for pictures of 3 channels; these have 1"):
        corruption("saturate", 1)(grey, [drawn(), drawn()])
    with pytest.raises(UsageError, match="jpeg-compression is for pictures of 1 or 3 channels; these have 4"):
        corruption("jpeg-compression", 1)(torch.rand(1, 4, 8, 8), [drawn()])
    assert corruption("snow", 1)(grey, [drawn(), drawn()]).shape == grey.shape

"""AugMix: its weights, its operations, and the mixture against one that is made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from pictures import smooth_pictures
from sppkit.inputs.shifts.augmix import augmix, draw_weights
from sppkit.inputs.shifts.augmix_operations import ALL, NINE
from sppkit.inputs.shifts.eight_bits import from_bytes, to_bytes, to_image, to_picture
from sppkit.streams import keyed_generator


def photo() -> Image.Image:
    return to_image(smooth_pictures(1, side=30)[0].numpy())


def test_weights_are_convex_and_uniform() -> None:
    drawn = [draw_weights(3, keyed_generator(0, str(index))) for index in range(2000)]
    chains = np.stack([weights.chains for weights in drawn])
    mixtures = np.array([weights.mixture for weights in drawn])
    assert chains.dtype == mixtures.dtype == np.float32
    assert chains.min() >= 0
    assert np.allclose(chains.sum(1), 1, atol=1e-6)  # three float32 roundings
    assert 0 <= mixtures.min() <= mixtures.max() <= 1
    # Dirichlet(1, 1, 1): mean 1/3, variance 1/18; Beta(1, 1) is uniform. Five standard errors of 2000 draws.
    assert np.allclose(chains.mean(0), 1 / 3, atol=5 * (1 / 18 / 2000) ** 0.5)
    assert np.isclose(mixtures.mean(), 1 / 2, atol=5 * (1 / 12 / 2000) ** 0.5)
    assert np.isclose(mixtures.var(), 1 / 12, atol=5 * (1 / 180 / 2000) ** 0.5)


def test_there_are_nine_operations_and_four_more() -> None:
    assert list(NINE) == [
        "autocontrast", "equalize", "posterize", "rotate", "solarize", "shear-x", "shear-y", "translate-x",
        "translate-y",
    ]  # fmt: skip
    assert list(ALL.keys() - NINE.keys())
    assert ALL.keys() - NINE.keys() == {"color", "contrast", "brightness", "sharpness"}


class Fixed:
    """A generator whose every draw is known."""

    def __init__(self, level: float, coin: float) -> None:
        self.level, self.coin = level, coin

    def uniform(self, low: float, high: float) -> float:
        assert low == 0.1
        return min(self.level, high)

    def random(self) -> float:
        return self.coin


@pytest.mark.parametrize(
    ("name", "level", "expected"),
    [
        ("posterize", 3, lambda image: ImageOps.posterize(image, 3)),  # 4 - int(1.2) bits
        ("posterize", 1, lambda image: ImageOps.posterize(image, 4)),
        ("solarize", 3, lambda image: ImageOps.solarize(image, 180)),  # 256 - int(76.8)
        ("rotate", 3, lambda image: image.rotate(9, resample=Image.Resampling.BILINEAR)),
        ("translate-x", 3, lambda image: moved(image, right=-3)),  # int(30 / 3 * 0.3) of 30 pixels
        ("translate-y", 2, lambda image: moved(image, down=-2)),
        ("autocontrast", 3, ImageOps.autocontrast),
        ("equalize", 3, ImageOps.equalize),
    ],
)
def test_operations_at_a_known_level(name: str, level: float, expected: object) -> None:
    image = photo()
    made = ALL[name](image, 10, Fixed(level, 0.0))  # type: ignore[arg-type]
    assert np.array_equal(np.asarray(made), np.asarray(expected(image)))  # type: ignore[operator]


def moved(image: Image.Image, *, right: int = 0, down: int = 0) -> Image.Image:
    # Into a black picture, by whole pixels.
    made = Image.new(image.mode, image.size)
    made.paste(image, (right, down))
    return made


def test_the_coin_turns_a_direction_around() -> None:
    one, other = (ALL["translate-x"](photo(), 10, Fixed(3, coin)) for coin in (0.2, 0.8))  # type: ignore[arg-type]
    assert np.array_equal(np.asarray(one), np.asarray(moved(photo(), right=-3)))
    assert np.array_equal(np.asarray(other), np.asarray(moved(photo(), right=3)))


def test_shear_moves_rows_in_proportion_to_their_height() -> None:
    ramp = np.tile(np.arange(30, dtype=np.uint8) * 8, (30, 1))[..., None].repeat(3, -1)
    made = np.asarray(ALL["shear-x"](from_bytes(ramp), 10, Fixed(10, 0.0)), float)  # type: ignore[arg-type]
    # x is taken from x + 0.3 (y + 1/2), less half a pixel of Pillow's own, on a ramp of 8 levels a pixel.
    assert np.allclose(made[10, 5:15, 0] - ramp[10, 5:15, 0], 8 * 0.3 * 10.5, atol=1)


def test_without_operations_that_change_anything_the_mixture_is_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sppkit.inputs.shifts.augmix.NINE", {"none": lambda image, *_: image})
    x = torch.from_numpy(to_picture(photo()))[None]
    shifted = augmix()(x, [keyed_generator(0, "a")])
    assert torch.allclose(shifted, x, rtol=0, atol=1e-6)


def test_the_mixture_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sppkit.inputs.shifts.augmix.NINE", {"invert": lambda image, *_: ImageOps.invert(image)})
    x = to_picture(photo())
    shifted = augmix(depth=1, width=2)(torch.from_numpy(x)[None], [keyed_generator(0, "a")])[0].numpy()
    weights = draw_weights(2, keyed_generator(0, "a"))
    # Both chains are 1 - x, and weights sum to 1.
    assert np.allclose(shifted, (1 - weights.mixture) * x + weights.mixture * (1 - x), atol=1e-6)


@pytest.mark.parametrize(("chosen", "most"), [("imagenet", 1.0), ("cifar", 3.0)])
def test_severity_of_the_two_sets(chosen: str, most: float, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def spy(image: Image.Image, severity: float, *_: object) -> Image.Image:
        seen.append(severity)
        return image

    monkeypatch.setattr("sppkit.inputs.shifts.augmix.NINE", {"spy": spy})
    x = torch.rand(20, 3, 4, 4)
    augmix(chosen)(x, [keyed_generator(0, str(index)) for index in range(20)])  # type: ignore[arg-type]
    assert set(seen) == {most}
    # Three chains of 1, 2 or 3 operations: 20 pictures have 60 to 180 of them, 120 ± 6.
    assert 90 < len(seen) < 150


def test_eight_bits_there_and_back() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    picture = to_picture(from_bytes(values))
    assert picture.shape == (1, 16, 16)
    assert np.array_equal(to_bytes(picture), values)
    assert to_bytes(np.array([[[-0.1, 1.2]]])).ravel().tolist() == [0, 255]

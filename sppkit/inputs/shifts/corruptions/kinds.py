"""Every kind of corruption, and the constants of its five severities in both published sets.

From the released code of both sets (hendrycks/robustness). Sizes in pixels are of pictures of 32 px (``cifar``) and
224 px (``imagenet``), and stay what they are in others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from sppkit.inputs.shifts.corruptions import blur, digital, noise, style, weather
from sppkit.inputs.shifts.picture_by_picture import picture_by_picture

if TYPE_CHECKING:
    from collections.abc import Callable

    from sppkit.inputs.shifts.shift import Shift

    Constants = tuple[tuple[float, ...], ...]

DataSet = Literal["cifar", "imagenet"]


class Kind(NamedTuple):
    """One kind of corruption.

    Attributes:
        corrupt: From a picture, its random numbers and the constants of a severity to the corrupted picture, whose
            values may leave [0, 1].
        cifar: The constants of the severities 1 to 5 in CIFAR-C.
        imagenet: And in ImageNet-C.
        channels: Numbers of channels that it knows what to do with; any, if there are none.
    """

    corrupt: Callable[..., np.ndarray]
    cifar: Constants
    imagenet: Constants
    channels: tuple[int, ...] = ()


def _each(*numbers: float) -> Constants:
    return tuple((number,) for number in numbers)


KINDS: dict[str, Kind] = {
    "gaussian-noise": Kind(
        noise.gaussian_noise, _each(0.04, 0.06, 0.08, 0.09, 0.10), _each(0.08, 0.12, 0.18, 0.26, 0.38)
    ),
    "shot-noise": Kind(noise.shot_noise, _each(500, 250, 100, 75, 50), _each(60, 25, 12, 5, 3)),
    "impulse-noise": Kind(
        noise.impulse_noise, _each(0.01, 0.02, 0.03, 0.05, 0.07), _each(0.03, 0.06, 0.09, 0.17, 0.27)
    ),
    "speckle-noise": Kind(
        noise.speckle_noise, _each(0.06, 0.10, 0.12, 0.16, 0.20), _each(0.15, 0.20, 0.35, 0.45, 0.60)
    ),
    "gaussian-blur": Kind(blur.gaussian_blur, _each(0.4, 0.6, 0.7, 0.8, 1), _each(1, 2, 3, 4, 6)),
    "defocus-blur": Kind(
        blur.defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "glass-blur": Kind(
        blur.glass_blur,
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion-blur": Kind(
        blur.motion_blur,
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "zoom-blur": Kind(
        blur.zoom_blur,
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    "snow": Kind(
        weather.snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    "fog": Kind(
        weather.fog,
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "brightness": Kind(style.brightness, _each(0.05, 0.10, 0.15, 0.20, 0.30), _each(0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": Kind(style.contrast, _each(0.75, 0.5, 0.4, 0.3, 0.15), _each(0.4, 0.3, 0.2, 0.1, 0.05)),
    "saturate": Kind(
        style.saturate,
        ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        channels=(3,),
    ),
    "elastic-transform": Kind(
        digital.elastic_transform,
        tuple((32 * a, 32 * b, 32 * c) for a, b, c in (
            (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)
        )),
        # 244 is what the released code has.
        tuple((244 * a, 244 * b, 244 * c) for a, b, c in (
            (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)
        )),
    ),
    "pixelate": Kind(
        digital.pixelate, _each(0.95, 0.9, 0.85, 0.75, 0.65), _each(0.6, 0.5, 0.4, 0.3, 0.25), channels=(1, 3)
    ),
    "jpeg-compression": Kind(
        digital.jpeg_compression, _each(80, 65, 58, 50, 40), _each(25, 18, 15, 10, 7), channels=(1, 3)
    ),
}  # fmt: skip


def corruption(
    kind: str,
    severity: int,
    set: DataSet = "imagenet",  # noqa: A002 - what a user types
) -> Shift:
    """Return a corruption, clipped to [0, 1].

    Args:
        kind: A name of ``KINDS``.
        severity: From 1 to 5.
        set: Whose constants.

    Returns:
        The shift.
    """
    chosen = KINDS[kind]
    constants = (chosen.cifar if set == "cifar" else chosen.imagenet)[severity - 1]

    def one(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        corrupted: np.ndarray = chosen.corrupt(picture.astype(np.float64), generator, *constants)
        return corrupted.clip(0, 1)

    return picture_by_picture(one, f"corruption:{kind}", channels=chosen.channels)

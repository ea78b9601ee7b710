"""What storing and transforming pictures does to them: JPEG, large pixels, elastic deformation.

Every function takes a picture x, (C, H, W) in float64 with values in [0, 1], and the picture's random numbers.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sppkit.inputs.shifts.corruptions.filters import gaussian_filter, sample
from sppkit.inputs.shifts.eight_bits import to_image, to_picture

if TYPE_CHECKING:
    from numpy.random import Generator

    from sppkit.inputs.shifts.corruptions.arrays import Array

# The Gaussian that smooths displacements is cut off at so many deviations.
_TRUNCATE = 3


def jpeg_compression(x: Array, _generator: Generator, quality: int) -> Array:
    """Compress by JPEG and decompress."""
    buffer = BytesIO()
    to_image(x).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        return to_picture(image)


def pixelate(x: Array, _generator: Generator, share: float) -> Array:
    """Reduce both sides to a share of them and enlarge them again, by a box filter."""
    image = to_image(x)
    small = (max(1, int(image.width * share)), max(1, int(image.height * share)))
    return to_picture(image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX))


def elastic_transform(x: Array, generator: Generator, strength: float, smoothness: float, jitter: float) -> Array:
    """Move three points at random, the picture affinely with them, and then every pixel by smooth noise."""
    height, width = x.shape[1:]
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    moved = sample(x, *_affine_places(height, width, generator, jitter), "reflect")
    right, down = (
        gaussian_filter(generator.uniform(-1, 1, (1, height, width)), smoothness, "symmetric", _TRUNCATE)[0] * strength
        for _ in range(2)
    )
    return sample(moved, rows + down, columns + right, "symmetric")


def _affine_places(height: int, width: int, generator: Generator, jitter: float) -> tuple[Array, Array]:
    # Where each pixel comes from: the inverse of the map that takes three points to where they are moved.
    middle, reach = np.array((height // 2, width // 2), float), min(height, width) // 3
    points = np.array([middle + reach, middle + np.array((reach, -reach)), middle - reach])
    targets = points + generator.uniform(-jitter, jitter, points.shape)
    ones = np.ones((3, 1))
    back = np.linalg.solve(np.hstack([targets, ones]), points)  # [x y 1] back = where it was
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    places: Array = np.stack([x, y, np.ones_like(x)], -1).astype(float) @ back
    return places[..., 1], places[..., 0]

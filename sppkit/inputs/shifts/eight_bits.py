"""Between a picture with values in [0, 1] and Pillow's image of 8 bits, for what is defined on such images."""

from __future__ import annotations

import numpy as np
from PIL import Image

# The largest value of 8 bits.
FULL = 255


def to_image(picture: np.ndarray) -> Image.Image:
    """Return a picture, shape (C, H, W) with one channel or three, as an image; values are rounded and clipped."""
    return from_bytes(to_bytes(picture))


def to_picture(image: Image.Image) -> np.ndarray:
    """Return an image as a picture, float32 (C, H, W)."""
    values = np.asarray(image, np.float32) / np.float32(FULL)
    return np.ascontiguousarray(np.moveaxis(np.atleast_3d(values), -1, 0))


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Return a picture (C, H, W) as bytes (H, W, C), rounded and clipped."""
    return np.moveaxis(np.rint(np.clip(picture, 0, 1) * FULL).astype(np.uint8), 0, -1)


def from_bytes(values: np.ndarray) -> Image.Image:
    """Return bytes (H, W, C) as an image."""
    return Image.fromarray(np.ascontiguousarray(values[..., 0] if values.shape[-1] == 1 else values))

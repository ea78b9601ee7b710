"""The operations that AugMix draws from, on 8-bit images (Hendrycks et al. 2020, arXiv:1912.02781).

Each draws its level l ~ U(0.1, severity) anew, and those that have a direction its sign by a fair coin; ``int``
truncates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageEnhance, ImageOps

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Operation = Callable[[Image.Image, float, np.random.Generator], Image.Image]

_LEAST_LEVEL = 0.1
# At level 10: degrees, shear, share of the side, bits, and the range of solarize and of the enhancements.
_DEGREES, _SHEAR, _SHARE, _BITS, _VALUES, _FACTOR = 30, 0.3, 1 / 3, 4, 256, 1.8


def _level(severity: float, generator: np.random.Generator) -> float:
    return float(generator.uniform(_LEAST_LEVEL, severity)) / 10


def _signed(value: float, generator: np.random.Generator) -> float:
    return -value if generator.random() > 0.5 else value


def _autocontrast(image: Image.Image, _severity: float, _generator: np.random.Generator) -> Image.Image:
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, _severity: float, _generator: np.random.Generator) -> Image.Image:
    return ImageOps.equalize(image)


def _posterize(image: Image.Image, severity: float, generator: np.random.Generator) -> Image.Image:
    return ImageOps.posterize(image, _BITS - int(_level(severity, generator) * _BITS))


def _solarize(image: Image.Image, severity: float, generator: np.random.Generator) -> Image.Image:
    return ImageOps.solarize(image, _VALUES - int(_level(severity, generator) * _VALUES))


def _rotate(image: Image.Image, severity: float, generator: np.random.Generator) -> Image.Image:
    degrees = int(_level(severity, generator) * _DEGREES)
    return image.rotate(_signed(degrees, generator), resample=Image.Resampling.BILINEAR)


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR)


def _shear_x(image: Image.Image, severity: float, generator: np.random.Generator) -> Image.Image:
    return _affine(image, (1, _signed(_level(severity, generator) * _SHEAR, generator), 0, 0, 1, 0))


def _shear_y(image: Image.Image, severity: float, generator: np.random.Generator) -> Image.Image:
    return _affine(image, (1, 0, 0, _signed(_level(severity, generator) * _SHEAR, generator), 1, 0))


def _translate_x(image: Image.Image, severity: float, generator: np.random.Generator) -> Image.Image:
    pixels = int(_level(severity, generator) * image.width * _SHARE)
    return _affine(image, (1, 0, _signed(pixels, generator), 0, 1, 0))


def _translate_y(image: Image.Image, severity: float, generator: np.random.Generator) -> Image.Image:
    pixels = int(_level(severity, generator) * image.height * _SHARE)
    return _affine(image, (1, 0, 0, 0, 1, _signed(pixels, generator)))


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    def operation(image: Image.Image, severity: float, generator: np.random.Generator) -> Image.Image:
        return kind(image).enhance(_level(severity, generator) * _FACTOR + 0.1)

    return operation


NINE: dict[str, Operation] = {
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "posterize": _posterize,
    "rotate": _rotate,
    "solarize": _solarize,
    "shear-x": _shear_x,
    "shear-y": _shear_y,
    "translate-x": _translate_x,
    "translate-y": _translate_y,
}
# The further ones overlap with the corruptions that AugMix is tested on.
ALL: dict[str, Operation] = {
    **NINE,
    "color": _enhance(ImageEnhance.Color),
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
}


def draw_operation(operations: dict[str, Operation], generator: np.random.Generator) -> Operation:
    """Return one of the operations, each with the same probability."""
    return list(operations.values())[int(generator.integers(len(operations)))]

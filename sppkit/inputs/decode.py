"""One picture file to one array with values in [0, 1].

The file is a stranger's: nothing of it is run, and its declared size is checked before its pixels are unpacked.
"""

from __future__ import annotations

import functools
import struct
import warnings
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sppkit.errors import UsageError
from sppkit.machine.error_text import short_reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Mean and standard deviation of ImageNet's training pixels in [0, 1], red, green, blue: the numbers of
# fb.resnet.torch (2016) that torchvision and timm have used since.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# 0..65535 onto 0..255: 65535 = 257 * 255.
SIXTEEN_TO_EIGHT_BITS = 257

# Formats that Pillow lists but can't or should not decode: EPS runs Ghostscript, a PostScript interpreter, on the file;
# MPEG is only recognized; the others need a handler that an application installs.
UNSAFE_OR_UNREADABLE = frozenset({"EPS", "MPEG", "BUFR", "GRIB", "HDF5", "WMF"})

# What Pillow's decoders raise on damaged files; UnidentifiedImageError is an OSError.
DECODING_ERRORS = (
    OSError, ValueError, SyntaxError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, MemoryError,
    NotImplementedError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # fmt: skip


@functools.cache
def picture_extensions() -> dict[str, str]:
    """Return the file extensions that are taken for pictures."""
    known = Image.registered_extensions().items()
    readable = {end: name for end, name in known if name in Image.OPEN and name not in UNSAFE_OR_UNREADABLE}
    return readable | {".mpo": "JPEG"}  # several pictures in one file, the first of which is read as a JPEG


def mean_and_std(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation that pictures are normalized by.

    One channel takes the mean over the three colours of each, as timm does (``adapt_to_chs`` in data/loader.py).

    >>> mean_and_std(1)
    ((0.449,), (0.226,))
    """
    if channels == len(MEAN):
        return MEAN, STD
    return (round(sum(MEAN) / 3, 6),), (round(sum(STD) / 3, 6),)


def check_picture(path: Path) -> None:
    """Read a picture's header, not its pixels."""
    with opened(path):
        pass


def decode_picture(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Decode, turn upright, convert, resize and crop one picture, and bring its values to [0, 1]."""
    channels, height, width = shape
    with opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        pixels = np.asarray(cover(to_channels(upright, channels), height, width), np.float32)
    return (pixels.reshape(height, width, channels) / np.float32(255)).transpose(2, 0, 1)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture, and say whose fault it is when Pillow stumbles inside the ``with`` block."""
    formats = sorted(set(picture_extensions().values()))
    try:
        with warnings.catch_warnings():
            # Pillow's remarks on odd metadata would tell the user nothing; its remark on a huge picture is a refusal.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats) as image:
                yield image
    except DECODING_ERRORS as error:
        raise UsageError(f"can't read the picture {path}: {_reason(error)}.\n{_remedy(error)}") from error


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Convert a picture to 8-bit grey or RGB.

    Sixteen-bit grey is scaled, where Pillow's own conversion clips. Transparency is dropped, as torchvision's and
    timm's loaders do: the colour below a transparent pixel is seen.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose range isn't known")
    if image.mode.startswith("I"):
        image = _from_sixteen_bits(image)
    return image.convert("L" if channels == 1 else "RGB")


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    # Pillow reads 16-bit grey as I;16 or I, by format and version; I could also hold 32 bits.
    values = np.asarray(image)
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise ValueError("its pixels are 32-bit integers, whose range isn't known")
    return Image.fromarray(np.rint(values / SIXTEEN_TO_EIGHT_BITS).astype(np.uint8))


def cover(image: Image.Image, height: int, width: int) -> Image.Image:
    """Resize a picture to just cover height x width, antialiased bicubic, and crop its centre.

    The crop is taken in the coordinates of the original (pixels beside it still enter the filter), which gives the
    pixels of resizing and then cropping without ever holding the resized picture: a strip of 30000x1 would otherwise
    become one of 6720000x224.
    """
    scale = max(height / image.height, width / image.width)
    # max: rounding must not make the resized picture a pixel too small.
    resized_width, resized_height = max(width, round(image.width * scale)), max(height, round(image.height * scale))
    left, top = (resized_width - width) // 2, (resized_height - height) // 2
    x, y = image.width / resized_width, image.height / resized_height  # original pixels per resized pixel
    box = (left * x, top * y, min(image.width, (left + width) * x), min(image.height, (top + height) * y))
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box)


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it isn't in a format that Pillow knows"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"it has more than {Image.MAX_IMAGE_PIXELS} pixels, Pillow's limit for files that may be malicious"
    return short_reason(error) or type(error).__name__


def _remedy(error: BaseException) -> str:
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return "Shrink it, or take it out of --input."
    return "Replace it, or take it out of --input."

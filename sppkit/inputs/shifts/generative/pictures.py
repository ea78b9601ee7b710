"""Pictures to train on, and their classes, checked before any work."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sppkit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_AXES = 4
_CHANNELS = (1, 3)


def check_pictures(given: Tensor | ArrayLike) -> Tensor:
    """Return pictures as float32 in [0, 1]; whole numbers of 8 bits are divided by 255."""
    pictures = torch.as_tensor(given if isinstance(given, Tensor) else np.asarray(given))
    shape = "×".join(map(str, pictures.shape)) or "a single number"
    if pictures.dim() != _AXES or 0 in pictures.shape or pictures.shape[1] not in _CHANNELS:
        raise UsageError(f"pictures must be (N, C, H, W) with C = 1 or 3 and at least one of them, not {shape}.")
    if pictures.dtype == torch.uint8:
        return pictures.float() / 255
    if not pictures.is_floating_point():
        raise UsageError(f"pictures must be uint8, or floating-point numbers from 0 to 1, not {pictures.dtype}.")
    if not (pictures.min() >= 0 and pictures.max() <= 1):  # NaN passes neither
        raise UsageError(
            f"values of pictures must lie from 0 to 1; these go from {pictures.min():.3g} to {pictures.max():.3g}."
        )
    return pictures.detach().float().cpu()


def check_labels(given: Tensor | ArrayLike | None, samples: int) -> NDArray[np.int64]:
    """Return one class per picture; without labels, one for all of them."""
    if given is None:
        return np.zeros(samples, np.int64)
    labels = np.asarray(given.cpu() if isinstance(given, Tensor) else given)
    if labels.shape != (samples,) or labels.dtype.kind not in "iu":
        shape = "×".join(map(str, labels.shape)) or "a single number"
        raise UsageError(
            f"labels must be whole numbers, one for each of the {samples} pictures, not {labels.dtype} of {shape}."
        )
    return labels.astype(np.int64)


def digest(pictures: Tensor, labels: NDArray[np.int64]) -> str:
    """Return the SHA-256 of pictures and labels, by which a resumed training knows its own."""
    whole = hashlib.sha256(repr(tuple(pictures.shape)).encode())
    whole.update(pictures.numpy().tobytes())
    whole.update(labels.tobytes())
    return whole.hexdigest()

"""Pictures with a class each: a folder per class, an array with labels beside it, or tensors.

Pictures are in [0, 1] and not normalized: what is done to them happens before a network's own normalization.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sppkit.errors import UsageError
from sppkit.streams import keyed_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Labels = npt.NDArray[np.int64]

# As many values as an error message lists.
_SHOWN = 5
_LARGEST_LEVEL = 255
_PICTURE_AXES = 4
FEWEST_CLASSES = 2


@dataclass(frozen=True)
class Labelled:
    """Pictures and their classes.

    Attributes:
        labels: The class of each picture, shape (N,).
        read: From positions to these pictures, shape (n, C, H, W), float32 (float64 where they were given so).
        shape: (C, H, W).
        names: Name of each class, where classes have names; the class is the position.
        description: JSON-ready: where they are from.
        in_unit_range: Whether all values are in [0, 1].
    """

    labels: Labels
    read: Callable[[Sequence[int]], Tensor]
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    description: dict[str, Any] | None = None
    in_unit_range: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, positions: Sequence[int]) -> Labelled:
        """Return some of the pictures."""
        chosen = np.asarray(positions)
        return replace(self, labels=self.labels[chosen], read=lambda rows: self.read([int(i) for i in chosen[rows]]))


def from_tensors(pictures: object, labels: object) -> Labelled:
    """Return labelled pictures that Python holds, as ``picture_tensor`` takes them."""
    tensor = picture_tensor(pictures)
    in_range = bool(tensor.min() >= 0) and bool(tensor.max() <= 1)
    known = check_labels(labels, len(tensor))
    return Labelled(known, lambda rows: tensor[torch.as_tensor(rows)], tuple(tensor.shape[1:]), in_unit_range=in_range)


def picture_tensor(pictures: object) -> Tensor:
    """Return a tensor or array of pictures, (N, C, H, W) or (N, H, W), as (N, C, H, W); uint8 is divided by 255."""
    tensor = _as_tensor(pictures)
    if tensor.ndim == _PICTURE_AXES - 1:
        tensor = tensor[:, None]
    if tensor.ndim != _PICTURE_AXES or 0 in tensor.shape:
        raise UsageError(f"pictures must have the shape (N, C, H, W) or (N, H, W), not {tuple(tensor.shape)}.")
    if tensor.dtype == torch.uint8:
        tensor = tensor.float() / _LARGEST_LEVEL
    if tensor.dtype in {torch.float16, torch.bfloat16}:  # too coarse for what is done to a picture
        tensor = tensor.float()
    if not tensor.is_floating_point():
        raise UsageError(f"pictures must be floating-point numbers in [0, 1] or uint8, not {tensor.dtype}.")
    if not bool(torch.isfinite(tensor).all()):
        raise UsageError("pictures hold values that are nan or infinite.")
    return tensor


def check_labels(labels: object, pictures: int | None = None, what: str = "labels") -> Labels:
    """Return classes as whole numbers from 0, one for each picture, of two classes at least."""
    values = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    if values.ndim != 1:
        hint = " One-hot rows become classes by .argmax(1)." if values.ndim == 2 else ""
        raise UsageError(f"{what} must be one class per picture, shape (N,), not {values.shape}.{hint}")
    if pictures is not None and len(values) != pictures:
        raise UsageError(
            f"there are {pictures} pictures and {len(values)} {what}; every picture needs one, in the same order."
        )
    wrong = values  # texts, truth values, objects
    if values.dtype.kind in "iuf":
        wrong = values[~np.isfinite(values) | (values != np.floor(values)) | (values < 0)]
    if len(wrong):
        shown = ", ".join(map(str, wrong[:_SHOWN].tolist()))
        raise UsageError(f"{what} must be whole numbers from 0, the positions of the network's outputs, not {shown}.")
    classes = values.astype(np.int64)
    if len(np.unique(classes)) < FEWEST_CLASSES:
        found = f"only class {classes[0]}" if len(classes) else "no picture"
        raise UsageError(f"{what} hold {found}; a classifier is measured on two classes at least.")
    return classes


def choose_per_class(labelled: Labelled, most: int, seed: int) -> Labelled:
    """Return at most so many pictures of each class, drawn from the stream ``per-class/<class>``, in their order."""
    chosen: list[int] = []
    for label in np.unique(labelled.labels):
        positions = np.flatnonzero(labelled.labels == label)
        if len(positions) > most:
            drawn = keyed_generator(seed, f"per-class/{label}").permutation(len(positions))[:most]
            positions = positions[np.sort(drawn)]
        chosen += positions.tolist()
    return labelled.at(sorted(chosen))


def _as_tensor(pictures: object) -> Tensor:
    if isinstance(pictures, Tensor):
        return pictures.detach().cpu()
    if isinstance(pictures, np.ndarray) and pictures.dtype.kind in "uif":
        return torch.from_numpy(np.ascontiguousarray(pictures))
    raise UsageError(f"pictures must be a tensor or an array of numbers, not {type(pictures).__name__}.")

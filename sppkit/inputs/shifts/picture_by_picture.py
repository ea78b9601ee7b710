"""A shift made of a function of a single picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from sppkit.inputs.shifts.shift import Shift

    # From a picture, (C, H, W), and its random numbers to what becomes of it.
    One = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def picture_by_picture(one: One, name: str, *, channels: tuple[int, ...] = ()) -> Shift:
    """Return the shift that does the same to every picture.

    Args:
        one: What it does. It must not change the array that it gets.
        name: What the shift is called in a message.
        channels: Numbers of channels that it knows what to do with; any, if there are none.

    Returns:
        The shift.
    """

    def shift(pictures: Tensor, generators: Sequence[np.random.Generator], /) -> Tensor:
        if channels and pictures.shape[1] not in channels:
            known = " or ".join(map(str, channels))
            raise UsageError(f"--shift {name} is for pictures of {known} channels; these have {pictures.shape[1]}.")
        if not len(pictures):
            return pictures.clone()
        pairs = zip(pictures.numpy(force=True), generators, strict=True)
        made = [torch.from_numpy(np.ascontiguousarray(one(picture, generator))) for picture, generator in pairs]
        return torch.stack(made).to(pictures)

    return shift

"""A trained transformation: from pictures and styles to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sppkit.errors import UsageError
from sppkit.inputs.shifts.generative.file import read_networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sppkit.inputs.shifts.generative.file import Header
    from sppkit.inputs.shifts.generative.networks import Networks
    from sppkit.inputs.shifts.shift import Shift

# A mean of 0 to 1 may be off by rounding where pictures were computed.
_SLACK = 1e-4


class Generator:
    """A trained generative transformation T(x) = dec(c(x), z), z ~ N(0, I).

    Attributes:
        header: What its file says of it: sizes, settings, steps, classes.
        networks: Encoders and decoder, in eval mode; they need no gradient.
    """

    def __init__(self, header: Header, networks: Networks) -> None:
        self.header, self.networks = header, networks

    @classmethod
    def read(cls, path: str | Path) -> Generator:
        """Read a file of ``sppkit git train``, finished or not."""
        return cls(*read_networks(Path(path)))

    @property
    def style(self) -> int:
        """How many numbers a style has."""
        return self.header.sizes.style

    @torch.no_grad()
    def transform(self, pictures: Tensor, styles: Tensor) -> Tensor:
        """Give pictures (N, C, H, W) in [0, 1] the styles (N, style)."""
        self.check(pictures)
        networks = self.networks.to(pictures.device)
        content = networks.content(2 * pictures.float() - 1)
        decoded = networks.decode(content, styles.to(pictures.device))
        return ((decoded + 1) / 2).to(pictures.dtype)  # type: ignore[no-any-return]

    @torch.no_grad()
    def reconstruct(self, pictures: Tensor) -> Tensor:
        """Decode the pictures' own contents with their own styles."""
        self.check(pictures)
        x = 2 * pictures.float() - 1
        networks = self.networks.to(pictures.device)
        return ((networks.decode(networks.content(x), networks.style(x)) + 1) / 2).to(pictures.dtype)  # type: ignore[no-any-return]

    def shift(self, pictures: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """Give each picture a style that its own generator of random numbers draws."""
        drawn = [generator.standard_normal(self.style, dtype=np.float32) for generator in generators]
        return self.transform(pictures, torch.from_numpy(np.stack(drawn)))

    def check(self, pictures: Tensor) -> None:
        """Refuse pictures that the generator was not trained on the like of."""
        sample, trained = tuple(pictures.shape[1:]), self.header.sizes.picture
        if pictures.dim() != len(("samples", "channels", "height", "width")) or not pictures.is_floating_point():
            raise UsageError(
                f"pictures must be floating-point numbers of the shape (N, C, H, W), not {pictures.dtype} of "
                f"{tuple(pictures.shape)}."
            )
        if sample != trained:
            raise UsageError(
                f"the generator was trained on {_told(trained)}, not on {_told(sample)}.{_remedy(trained)}"
            )
        if pictures.numel() and not (pictures.min() >= -_SLACK and pictures.max() <= 1 + _SLACK):
            raise UsageError(
                f"values of pictures must lie from 0 to 1, as they are before normalization; these go from "
                f"{pictures.min():.3g} to {pictures.max():.3g}."
            )


def _told(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
    return f"{kind} pictures of {height}×{width}"


def _remedy(shape: tuple[int, ...]) -> str:
    return f"\nGive such pictures (--shape {','.join(map(str, shape))}), or train one on yours: sppkit git train."


def generative(file: str) -> Shift:
    """Return the shift that a generator's file holds."""
    return Generator.read(file).shift

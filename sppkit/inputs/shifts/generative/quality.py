"""What a trained transformation has learned, in numbers: of pictures it is given, not of its losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from sppkit.streams import keyed_generator

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from sppkit.inputs.shifts.generative.generator import Generator

# Pictures and styles that are looked at; each picture is decoded with each style.
_PICTURES, _STYLES = 64, 16


class Quality(NamedTuple):
    """What a transformation does to pictures, values in [0, 1].

    Attributes:
        reconstruction: Mean of |x - dec(c(x), s(x))| over pixels.
        style_recovered: 1 - Σ (z - s(dec(c, z)))² / Σ (z - mean z)², over all pictures and styles: 1 where the style
            encoder reads every drawn style back from what was decoded; 0, or less, where it reads nothing.
        style_effect: Root of the mean, over pictures and pixels, of the variance over styles: how much a style changes
            a picture; 0 where the decoder ignores it.
        content_effect: The same over pictures with one style: how much pictures differ for other reasons.
    """

    reconstruction: float
    style_recovered: float
    style_effect: float
    content_effect: float


@torch.no_grad()
def measure_quality(generator: Generator, pictures: Tensor, seed: int = 0) -> Quality:
    """Decode up to 64 pictures, drawn by the seed, with 16 styles each."""
    draw = keyed_generator(seed, "git/quality")
    rows = draw.permutation(len(pictures))[:_PICTURES]
    x = pictures[torch.from_numpy(np.sort(rows))]
    styles = torch.from_numpy(draw.standard_normal((_STYLES, generator.style), dtype=np.float32))
    decoded = torch.stack([generator.transform(x, z.expand(len(x), -1)) for z in styles]).double().cpu()
    read = torch.stack([generator.networks.style(2 * y.to(x) - 1) for y in decoded]).double().cpu()
    z = styles.double()[:, None].expand_as(read)
    lost = (z - read).square().sum() / (z - z.mean((0, 1))).square().sum()
    return Quality(
        reconstruction=float((x - generator.reconstruct(x)).abs().mean()),
        style_recovered=float(1 - lost),
        style_effect=float(decoded.var(0, correction=0).mean().sqrt()),
        content_effect=float(decoded.var(1, correction=0).mean().sqrt()),
    )


def draw_grid(
    generator: Generator, pictures: Tensor, labels: NDArray[np.int64], *, rows: int, styles: int, seed: int = 0
) -> NDArray[np.float32]:
    """Return pictures of different classes, each as it is, rebuilt, and in some styles: (rows, 2 + styles, C, H, W)."""
    draw = keyed_generator(seed, "git/grid")
    _, first = np.unique(labels, return_index=True)
    chosen = first[np.linspace(0, len(first) - 1, min(rows, len(first))).round().astype(int)]
    x = pictures[torch.from_numpy(chosen)]
    z = torch.from_numpy(draw.standard_normal((styles, generator.style), dtype=np.float32))
    columns = [x, generator.reconstruct(x), *(generator.transform(x, style.expand(len(x), -1)) for style in z)]
    return torch.stack(columns, 1).float().cpu().numpy()

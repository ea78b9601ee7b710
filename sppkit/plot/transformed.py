"""Pictures in rows, each as it is, as it is reconstructed, and with some styles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from sppkit.plot.save import styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Inches of one picture, of the gap between them, and of the titles above.
_SIDE, _GAP, _TITLES = 0.62, 0.06, 0.44


def plot_transformed(pictures: NDArray[np.floating], columns: Sequence[str], title: str) -> Figure:
    """Draw a grid of pictures, shape (rows, columns, C, H, W), values in [0, 1]; a column's name may be empty."""
    rows, count = pictures.shape[:2]
    width, height = count * (_SIDE + _GAP) + _GAP, rows * (_SIDE + _GAP) + _TITLES
    with styled():
        figure = Figure(figsize=(width, height))
        figure.text(_GAP / width, 1 - 0.08 / height, title, va="top", weight="bold", size=9.5)
        for row in range(rows):
            for column in range(count):
                left, bottom = _GAP + column * (_SIDE + _GAP), (rows - 1 - row) * (_SIDE + _GAP) + _GAP
                axes = figure.add_axes((left / width, bottom / height, _SIDE / width, _SIDE / height))
                axes.set_axis_off()
                picture = np.clip(pictures[row, column], 0, 1).transpose(1, 2, 0)
                axes.imshow(picture.repeat(3, 2) if picture.shape[2] == 1 else picture, interpolation="nearest")
                if row == 0 and columns[column]:
                    axes.set_title(columns[column], size=7.5, pad=2, loc="left")
    return figure

"""The published NF-RegNets: widths and depths of each variant; needs no torch.

Brock et al. 2021, arXiv:2101.08692, appendix C; the numbers are those of the released ``nf_regnet_params``.
"""

from __future__ import annotations

from typing import NamedTuple

# Stage widths are these times 0.75, rounded down.
WIDTH = 0.75
# The bottleneck is 2.25 times as wide as the block's *input*, but no wider in the very first block.
EXPANSION = 2.25
# Channels of one group of the 3x3 convolution; the bottleneck is rounded down to whole groups.
GROUP = 8
# Hidden width of squeeze-and-excite, relative to the bottleneck whose end it stands at.
SE_RATIO = 0.5


class Variant(NamedTuple):
    """Widths and numbers of blocks of the four stages."""

    widths: tuple[int, ...]
    stages: tuple[int, ...]


VARIANTS = {
    "b0": Variant((48, 104, 208, 440), (1, 3, 6, 6)),
    "b1": Variant((48, 104, 208, 440), (2, 4, 7, 7)),
    "b2": Variant((56, 112, 232, 488), (2, 4, 8, 8)),
    "b3": Variant((56, 128, 248, 528), (2, 5, 9, 9)),
    "b4": Variant((64, 144, 288, 616), (2, 6, 11, 11)),
    "b5": Variant((80, 168, 336, 704), (3, 7, 14, 14)),
    # Not in the paper; in the same released table.
    "b6": Variant((88, 184, 376, 792), (3, 8, 16, 16)),
    "b7": Variant((96, 208, 416, 880), (4, 10, 19, 19)),
    "b8": Variant((104, 232, 456, 968), (4, 11, 22, 22)),
}


def stage_widths(variant: str, width: float) -> tuple[int, ...]:
    """Return the channels at the output of each stage.

    >>> stage_widths("b0", 1.0)
    (36, 78, 156, 330)
    """
    return tuple(int(pattern * WIDTH * width) for pattern in VARIANTS[variant].widths)


def bottleneck_width(incoming: int, *, first: bool) -> int:
    """Return the width between a block's convolutions.

    >>> bottleneck_width(36, first=True), bottleneck_width(36, first=False)
    (32, 80)
    """
    return GROUP * (int(incoming * (1 if first else EXPANSION)) // GROUP)

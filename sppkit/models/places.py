"""Where the blocks of a network stand and how large their convolutions are; needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.models.regnet import bottleneck_width
from sppkit.models.spec import EXPANSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.models.spec import ModelSpec

INPUT_CHANNELS = 3
# Kernel sizes of a block's convolutions; the stride sits on the first 3x3 convolution.
KERNELS = {"bottleneck": (1, 3, 1), "basic": (3, 3)}
# Kernel and stride of the stem's convolution.
STEMS = {"imagenet": (7, 2), "no-pool": (7, 2), "cifar": (3, 1), "regnet": (3, 2)}


def iter_places(spec: ModelSpec) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Yield where each block stands and how wide it is."""
    incoming = spec.stem_channels
    for stage, blocks in enumerate(spec.stages):
        inner = spec.stem_channels * 2**stage
        outgoing = inner * EXPANSION[spec.block]
        for position in range(blocks):
            if spec.widths is not None:
                inner = bottleneck_width(incoming, first=stage == 0 and position == 0)
                outgoing = spec.widths[stage]
            yield stage, position, (incoming, *[inner] * (len(KERNELS[spec.block]) - 1), outgoing)
            incoming = outgoing


def stride_of(spec: ModelSpec, stage: int, position: int) -> int:
    """Return the stride of a block."""
    return 2 if position == 0 and (stage > 0 or spec.variant is not None) else 1

"""Channel moments on the CPU in one pass; compiled where sppkit is installed, if there is a C compiler."""

import numpy as np
from numpy.typing import NDArray

def channel_moments(
    address: int,
    samples: int,
    channels: int,
    length: int,
    out: NDArray[np.uint8],
    start: int,
    threads: int,
    /,
) -> tuple[int, int]:
    """Reduce a contiguous float32 signal of shape (samples, channels, length).

    Args:
        address: Where it lies.
        samples: N.
        channels: C.
        length: Values of a channel in a sample.
        out: Memory that is written to.
        start: The byte of it at which shape (2, C) in float64 begins: the means, and the sums of squared deviations
            from them.
        threads: How many torch uses; its own are used, where they are OpenMP's.

    Returns:
        How many values are not finite, and how many channels were read again because one pass was not enough.

    Raises:
        ValueError: If the signal is empty, or its moments don't fit there.
    """

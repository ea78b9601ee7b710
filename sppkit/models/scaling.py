"""The expected variance that an NF-ResNet divides by."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def iter_expected_variance(stages: Sequence[int], alpha: float) -> Iterator[float]:
    """Yield the variance that each block expects at its input: beta squared.

    It starts at 1, grows by alpha² per block, and is reset to 1 by the projected shortcut of each stage's first block,
    which still divides by the variance that the stage before it has built up (Brock et al. 2021, section 4.1, and the
    published nf_resnet.py).

    >>> list(iter_expected_variance((2, 2), alpha=1.0))
    [1.0, 2.0, 3.0, 2.0]
    """
    variance = 1.0
    for blocks in stages:
        for position in range(blocks):
            yield variance
            variance = (1.0 if position == 0 else variance) + alpha**2

"""A signal in float64, a piece at a time: for statistics that no cheaper sum gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

# Copies are made of about this many values at a time: 32 MiB.
_CHUNK = 2**22


def iter_doubles(x: Tensor) -> Iterator[Tensor]:
    """Yield a signal in float64, a few samples at a time.

    Args:
        x: Shape (N, C, *space), any floating type.

    Yields:
        Shape (n, C, L) with L the number of positions; on x's device, for MPS, which has no float64, on the CPU.
    """
    flat = x.detach().reshape(x.shape[0], x.shape[1], -1)
    samples = max(1, _CHUNK // flat[0].numel())
    for first in range(0, flat.shape[0], samples):
        part = flat[first : first + samples]
        yield double(part)


def double(x: Tensor) -> Tensor:
    """Return a signal in float64; for MPS, which has none, on the CPU."""
    return (x.cpu() if x.device.type == "mps" else x).double()

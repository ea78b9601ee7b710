"""Memory outside of the heap, in huge pages where the kernel has them.

A fresh page costs more than drawing the numbers that fit into it; a huge one stands for 512 of them.
"""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of the start of every array: a line of the caches, and what vector instructions like best.
ALIGNMENT = 64
# Not shared with processes that are forked from this one, where that is a choice.
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


def map_memory(size: int) -> NDArray[np.uint8]:
    """Return memory of its own, zeroed, freed with the last array that is cut from it, shape (size,)."""
    memory = mmap.mmap(-1, size, **_PRIVATE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)


class Pieces:
    """Arrays that are cut one after the other from pieces of memory, each freed when the last of its arrays is."""

    def __init__(self, size: int) -> None:
        """Take nothing yet."""
        self._size = size
        self._piece = np.empty(0, np.uint8)
        self._next = 0

    def take(self, size: int) -> tuple[NDArray[np.uint8], int]:
        """Return a place, whose bytes are still to be set.

        An array has its shape on the heap, and a tensor all that describes it, small things that stay where large ones
        come and go; what is kept for long keeps its place instead.
        """
        if size > self._size:
            return map_memory(size), 0
        start = self._next
        if start + size > self._piece.size:
            self._piece, start = map_memory(self._size), 0
        self._next = -(-(start + size) // ALIGNMENT) * ALIGNMENT
        return self._piece, start

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array whose values are still to be set."""
        size = math.prod(shape) * dtype.itemsize
        piece, start = self.take(size)
        return piece[start : start + size].view(dtype).reshape(shape)

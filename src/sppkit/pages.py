"""Memory outside of the heap, in huge pages where the kernel has them.

A fresh page costs more than drawing the numbers that fit into it; a huge one stands for 512 of them.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of the start of every array: a line of the caches, and what vector instructions like best.
_ALIGNMENT = 64
# Not shared with processes that are forked from this one, where that is a choice.
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


def map_memory(size: int) -> NDArray[np.uint8]:
    """Return memory of its own, zeroed, freed with the last array that is cut from it.

    Args:
        size: In bytes, at least 1.

    Returns:
        Shape (size,).
    """
    memory = mmap.mmap(-1, size, **_PRIVATE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)


class Pieces:
    """Arrays that are cut one after the other from pieces of memory, each freed when the last of its arrays is."""

    def __init__(self, size: int) -> None:
        """Take nothing yet.

        Args:
            size: Bytes of a piece; an array that is larger has one of its own.
        """
        self._size = size
        self._rest = np.empty(0, np.uint8)

    def cut(self, shape: tuple[int, ...], dtype: type[np.number[Any]]) -> NDArray[Any]:
        """Return an array whose values are still to be set.

        Args:
            shape: Its shape.
            dtype: Its type.

        Returns:
            The array, C-contiguous.
        """
        needed = int(np.prod(shape)) * np.dtype(dtype).itemsize
        taken = -(-needed // _ALIGNMENT) * _ALIGNMENT
        if taken > self._size:
            return map_memory(taken)[:needed].view(dtype).reshape(shape)
        if self._rest.size < taken:
            self._rest = map_memory(self._size)
        array, self._rest = self._rest[:needed], self._rest[taken:]
        return array.view(dtype).reshape(shape)

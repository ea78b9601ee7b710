"""What is asked of the allocator and of the garbage collector, most of it by the command, a process that ends soon.

By default a forward pass spends up to a third of its time in getting memory back that it has just given away, and
imports a fifth of theirs in looking for garbage where there is none.
"""

from __future__ import annotations

import ctypes
import gc
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# From glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
# Bytes of what is mapped for itself where memory counts.
_LARGE, _SMALL = 2**22, 2**18
# What has been asked of the allocator so far.
_asked: list[Callable[[int, int], int]] = []
# Objects that are new before Python looks for garbage; by default 700.
_NEW_OBJECTS = 50_000


def collect_rarely() -> None:
    """Let this process look for garbage less often: torch alone makes 150,000 objects that stay."""
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


@contextmanager
def no_collection() -> Iterator[None]:
    """Look for no garbage while many objects are made that stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """Look for garbage only among what is made in the meantime, not in what imports have left: a fifth of a second.

    Does nothing where the program has set objects aside itself, which could not be told from these afterwards.
    """
    own = gc.get_freeze_count() == 0
    if own:
        gc.freeze()
    try:
        yield
    finally:
        if own:
            gc.unfreeze()


def keep_freed_memory() -> None:
    """Let this process keep what it frees, and take it in huge pages.

    An activation is freed when the next one is there, and glibc returns its memory to the kernel, which hands it out
    again page by page, zeroed. Does nothing where the C library is another one; what the user has set in the
    environment stays. To be called before torch is imported.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch: huge pages for its tensors
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS; Windows
        return
    _asked.append(mallopt)
    mallopt(_TRIM_THRESHOLD, -1)  # never
    mallopt(_MMAP_MAX, 0)  # nothing is mapped, and so unmapped, for itself
    mallopt(_TOP_PAD, 2**26)


def give_blocks_back(*, small: bool) -> None:
    """Take most of that back, for a network that is streamed because memory counts more than time.

    Activations of 25 MB leave holes in a heap that nothing is returned from: up to twice what is in use. Where a graph
    is kept, its small parts lie between signals of any size that come and go, and the heap grows with every block:
    ``small`` gives these back, too. Does nothing unless ``keep_freed_memory`` was called: the allocator of a program
    that imports sppkit is its own.
    """
    for mallopt in _asked:
        mallopt(_MMAP_MAX, 2**16)  # glibc's default
        mallopt(_MMAP_THRESHOLD, _SMALL if small else _LARGE)

"""Random numbers keyed by name: the same (seed, name) gives the same numbers on every machine and in every network.

A weight drawn from one shared stream changes whenever any layer before it changes. Here every parameter and every
input batch has a stream of its own, so the same block has the same weights in every variant of a network, blocks can
be drawn in parallel or one at a time, and a refactoring does not redraw anything.
"""

from __future__ import annotations

import hashlib

import numpy as np

# Written into every record: another name here means other numbers, and so other baselines.
STREAM_NAME = "pcg64-sha256-normal32"


def keyed_generator(seed: int, name: str) -> np.random.Generator:
    """Return the generator of one (seed, name) pair.

    PCG64 seeded with the SHA-256 digest of ``"<seed>/<name>"``, read as a big-endian integer.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def fill_normal(out: np.ndarray, seed: int, name: str, std: float = 1.0) -> None:
    """Overwrite an array with N(0, std²) draws of one stream, in C order.

    Drawn in float32 and scaled in place, so no second array is held. NumPy releases the interpreter's lock while it
    draws: several arrays can be filled by threads, with the same result for any number of them.

    >>> a = np.empty((2, 2), np.float32)
    >>> fill_normal(a, seed=0, name="stem.weight")
    >>> b = np.empty(4, np.float32)
    >>> fill_normal(b, seed=0, name="stem.weight")
    >>> bool((a.ravel() == b).all())
    True
    """
    keyed_generator(seed, name).standard_normal(dtype=np.float32, out=out)
    if std != 1.0:
        out *= np.float32(std)


def fill_uniform(out: np.ndarray, seed: int, name: str, bound: float) -> None:
    """Overwrite an array with draws from [-bound, bound) of one stream, in C order."""
    keyed_generator(seed, name).random(dtype=np.float32, out=out)
    out *= np.float32(2 * bound)
    out -= np.float32(bound)

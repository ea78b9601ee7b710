"""The random states of torch, NumPy and Python: what they are, and how the model's own randomness is seeded."""

from __future__ import annotations

import random
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# NumPy's old generator takes no larger seed.
_NUMPY_SEEDS = 2**32


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every global random state while the context is open, and restore it."""
    with ExitStack() as restore:
        for set_state, state in iter_random_states():
            restore.callback(set_state, state)
        seed_torch(seed)
        np.random.seed(seed % _NUMPY_SEEDS)  # noqa: NPY002 - the global one, from which a network may draw
        random.seed(seed)
        yield


def seed_torch(seed: int) -> None:
    """Seed the generators that torch draws from, on the CPU and on every accelerator in use."""
    # torch.manual_seed would also queue this seed for a GPU that is not in use yet, where it can't be taken back.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def iter_random_states() -> Iterator[tuple[Callable[[Any], object], object]]:
    """Yield every global random state that a forward pass may draw from."""
    yield torch.set_rng_state, torch.get_rng_state()
    yield np.random.set_state, np.random.get_state(legacy=False)  # noqa: NPY002 - the global one
    yield random.setstate, random.getstate()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        yield torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        yield torch.mps.set_rng_state, torch.mps.get_rng_state()

"""Leaving no trace on a user's model."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Restore what a forward pass may change: buffers, every module's training flag, and all random states.

    Restored also when the body raises, bit for bit.

    Args:
        model: The model that is run inside.

    Yields:
        Nothing.
    """
    flags = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    states = _random_states()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
        with torch.no_grad():
            for module, name, buffer, saved in buffers:
                buffer.copy_(saved)
                setattr(module, name, buffer)
        _restore_random_states(states)


def _random_states() -> tuple[object, ...]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    return torch.get_rng_state(), cuda, np.random.get_state(), random.getstate()  # noqa: NPY002 - the global one


def _restore_random_states(states: tuple[object, ...]) -> None:
    cpu, cuda, numpy_state, python_state = states
    torch.set_rng_state(cpu)  # type: ignore[arg-type]
    if cuda is not None:
        torch.cuda.set_rng_state_all(cuda)  # type: ignore[arg-type]
    np.random.set_state(numpy_state)  # type: ignore[arg-type]  # noqa: NPY002
    random.setstate(python_state)  # type: ignore[arg-type]

"""The factory that ``--model`` names: a network of the benchmark, a fault planted in it or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from benchmarks.gate_users.networks import NETWORKS

# What is done to the next network instead of building it alone. No argument of the factory: a fault must not show in
# the run's options, where no regression does.
Plant = Callable[[Callable[[], nn.Module]], nn.Module]
_PLANTED: list[Plant] = []


@contextmanager
def planted(plant: Plant | None) -> Iterator[None]:
    """Have the factory make faulty networks."""
    before = list(_PLANTED)
    _PLANTED[:] = [] if plant is None else [plant]
    try:
        yield
    finally:
        _PLANTED[:] = before


def build(network: str) -> nn.Module:
    """Make a network, as the user's factory does."""
    make = NETWORKS[network].build
    return _PLANTED[0](make) if _PLANTED else make()

"""``--reinit keyed``: a network's own initialization, each parameter drawn from the stream of its name.

A network that draws its weights from one shared stream gets other weights everywhere when one layer is added or two
lines change places. Here every draw keeps its distribution (normal, uniform, truncated, orthogonal, whatever the
network's own code asks for, and constants stay constants), but torch's generator is seeded before it from the keyed
stream of (seed, qualified parameter name). A parameter that keeps name, shape and initialization keeps its values.

The name of a parameter is not known while it is drawn, so the network is made twice: first to see which draw ends in
which parameter, also by way of other tensors, then with the generator seeded for each draw.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sppkit.errors import UsageError
from sppkit.measuring.forward.random_state import seed_torch
from sppkit.streams import keyed_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn

_SEEDS = 2**63


def make_keyed(make: Callable[[], nn.Module], seed: int) -> tuple[nn.Module, list[str]]:
    """Make a network whose random parameters depend only on the seed, their names and their own initialization."""
    before = _foreign_states()
    keys = _find_keys(make)
    notes = [] if _foreign_states() == before else [_FOREIGN]
    with _Keyed(keys, seed) as keyed:
        model = make()
    if keyed.drawn != len(keys):
        raise UsageError(
            f"--reinit keyed: {type(model).__name__} makes {len(keys)} draws the first time and {keyed.drawn} the "
            "second.\nLeave --reinit out: the network itself is then seeded as a whole."
        )
    return model, notes


def _find_keys(make: Callable[[], nn.Module]) -> list[str | None]:
    # A function of its own, so that the first network is gone before the second one is made.
    watch = _Watch()
    with watch:
        model = make()
    return watch.keys(model)


_FOREIGN = (
    "the network also draws from NumPy's or Python's random numbers while it is made; --reinit keyed keys torch's "
    "draws only, so that those still depend on their order."
)


class _Draw(NamedTuple):
    storage: int
    offset: int


# A draw without memory: on the meta device.
_NOWHERE = _Draw(0, 0)


class _Watch(TorchDispatchMode):
    """Follow every random draw into the tensors that are computed from it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._draws: list[_Draw] = []
        # By the address of a tensor's memory: the draws that went into it.
        self._origins: dict[int, set[int]] = {}
        # Memory that were given back could be another tensor's a moment later.
        self._kept: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        origins = set().union(*(self._origins.get(_address(item), ()) for item in _tensors((args, kwargs))))
        written = list(_tensors(result))
        if _is_random(func):
            origins.add(len(self._draws))
            place = _Draw(_address(written[0]), int(written[0].storage_offset())) if written else _NOWHERE
            self._draws.append(place)
        for item in written if origins else ():
            self._kept.append(item.untyped_storage())
            self._origins.setdefault(_address(item), set()).update(origins)
        return result

    def keys(self, model: nn.Module) -> list[str | None]:
        """Name the stream of each draw.

        A draw straight into a parameter, or into a part of it, starts the stream of that place anew, so that a second
        initialization replaces the first. Draws that reach it by way of other tensors are numbered.
        """
        owners: dict[int, str] = {}
        numbered: Counter[str] = Counter()
        straight: dict[int, str] = {}
        for name, tensor in chain(model.named_parameters(), model.named_buffers()):
            straight.setdefault(_address(tensor), name)
            for draw in self._origins.get(_address(tensor), ()):
                owners.setdefault(draw, name)
        return [_key(draw, owners.get(index), straight, numbered) for index, draw in enumerate(self._draws)]


class _Keyed(TorchDispatchMode):
    """Seed torch's generator before each draw from the stream that its key names."""

    def __init__(self, keys: list[str | None], seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._keys = keys
        self._seed = seed
        self.drawn = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _is_random(func):
            key = self._keys[self.drawn] if self.drawn < len(self._keys) else None
            self.drawn += 1
            if key is not None:
                self._reseed(key, kwargs or {})
        return func(*args, **(kwargs or {}))

    def _reseed(self, key: str, kwargs: Mapping[str, Any]) -> None:
        value = int(keyed_generator(self._seed, key).integers(_SEEDS))
        own = kwargs.get("generator")
        if isinstance(own, torch.Generator):
            own.manual_seed(value)
        else:
            seed_torch(value)


def _key(draw: _Draw, owner: str | None, straight: Mapping[int, str], numbered: Counter[str]) -> str | None:
    if owner is None:
        return None
    if straight.get(draw.storage) == owner:
        return owner if draw.offset == 0 else f"{owner}[{draw.offset}]"
    numbered[owner] += 1
    return f"{owner}#{numbered[owner]}"


def _is_random(func: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags


def _tensors(tree: object) -> Iterator[torch.Tensor]:
    return (item for item in tree_leaves(tree) if isinstance(item, torch.Tensor) and _address(item))


def _address(tensor: torch.Tensor) -> int:
    # 0 where there is no memory: an empty tensor, or one on the meta device.
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else 0


def _foreign_states() -> tuple[str, object]:
    return repr(np.random.get_state(legacy=False)), random.getstate()  # noqa: NPY002 - the global one

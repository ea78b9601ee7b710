"""A kind of fault: how it is planted at four strengths, and what may be said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn

from benchmarks.gate_users.networks.network import Network

Build = Callable[[], nn.Module]
# Does something to a built model and its blocks at a strength; returns at how many places.
Mutate = Callable[[nn.Module, Sequence[Any], Any], int]
# In how many blocks: one, two, three, and all of them, where there are more than three.
COUNTS = (1, 2, 3, 99)


class NotApplicableError(Exception):
    """A network has no place for a fault."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        kind: What is done, for the report.
        plant: Makes the faulty network of a factory, a network's description and a strength.
        strengths: The four, ascending in effect.
        concepts: What of ``causes.CONCEPTS`` a cause may name.
        redraws: Whether other weights are drawn, so that nothing is paired.
    """

    kind: str
    plant: Callable[[Build, Network, Any], nn.Module]
    strengths: tuple[Any, ...]
    concepts: tuple[str, ...]
    redraws: bool = False


class Place(NamedTuple):
    """A module and where it hangs."""

    parent: nn.Module
    name: str
    module: Any

    def put(self, module: nn.Module) -> None:
        self.parent._modules[self.name] = module


def in_place(mutate: Mutate) -> Callable[[Build, Network, Any], nn.Module]:
    """Return a planter that changes the built model and leaves its other weights."""

    def plant(build: Build, network: Network, strength: Any) -> nn.Module:
        model = build()
        if not mutate(model, network.blocks(model), strength):
            raise NotApplicableError
        return model

    return plant


def in_some(mutate: Callable[[Any], int]) -> Mutate:
    """Return a mutation of so many blocks, around the middle one."""

    def mutate_some(_model: nn.Module, blocks: Sequence[Any], count: int) -> int:
        return sum(mutate(block) for block in some(blocks, count))

    return mutate_some


def some(items: Sequence[Any], count: int) -> Sequence[Any]:
    """Return so many items around the middle one, all of them where there are fewer."""
    first = max(0, len(items) // 2 - count // 2)
    return items[first : first + count] if count < len(items) else items


def middle(blocks: Sequence[Any]) -> Any:
    return blocks[len(blocks) // 2]


def iter_places(root: nn.Module, names: frozenset[str]) -> Iterator[Place]:
    """Yield the modules whose class has one of these names, in the order of their definition."""
    for parent in list(root.modules()):
        for name, module in list(parent.named_children()):
            if type(module).__name__ in names:
                yield Place(parent, name, module)


ACTIVATIONS = frozenset({"ReLU", "GELU", "SiLU", "Tanh", "LeakyReLU", "NewGELUActivation", "GELUActivation"})
NORMS = frozenset({"BatchNorm2d", "GroupNorm", "LayerNorm", "BatchNormAct2d", "LayerNorm2d"})
WEIGHTED = frozenset({"Conv2d", "Linear", "Conv1D"})


def replace_each(root: nn.Module, names: frozenset[str], make: Callable[[Any], nn.Module]) -> int:
    places = list(iter_places(root, names))
    for place in places:
        place.put(make(place.module))
    return len(places)


def change_each(root: nn.Module, names: frozenset[str], change: Callable[[Any], None]) -> int:
    places = list(iter_places(root, names))
    for place in places:
        change(place.module)
    return len(places)


def in_blocks(blocks: Sequence[Any], change: Callable[[Any], int]) -> int:
    return sum(change(block) for block in blocks)

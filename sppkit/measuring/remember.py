"""What was found in a model before, so that the next measurement of it does not have to look again."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import nn

    from sppkit.joins.joins import Findings

# Names and shapes only; gone with the model.
_found: WeakKeyDictionary[nn.Module, Findings] = WeakKeyDictionary()


def recall(model: nn.Module) -> Findings | None:
    """Return what was found in a model the last time, if anything."""
    try:
        return _found.get(model)
    except TypeError:  # a class that compares by value can't be looked up
        return None


def remember(model: nn.Module, found: Findings | None) -> None:
    """Remember what was found in a model."""
    if found is not None:
        try:
            _found[model] = found
        except TypeError:
            return


class Once:
    """Batches, of which the first can be had again as long as there was no second."""

    def __init__(self, batches: Iterable[object]) -> None:
        self._batches = iter(batches)
        self._first: list[object] = []

    def __iter__(self) -> Iterator[object]:
        """Yield the batches."""
        for number, batch in enumerate(self._batches):
            self._first = [batch] if number == 0 else []
            yield batch

    def again(self) -> Iterator[object]:
        """Return the batches from the start."""
        return chain(self._first, self._batches)

"""Looking at several passes of a network before they are measured, because they take different ways."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from sppkit.joins.name import tell
from sppkit.joins.union import Ways, unite
from sppkit.measuring.find import Finder

if TYPE_CHECKING:
    from torch import Tensor

    from sppkit.joins.graph import Key
    from sppkit.joins.joins import Findings
    from sppkit.joins.observe import Observer

T = TypeVar("T")


@dataclass
class Survey(Finder[T]):
    """Every pass in the context is observed, and nothing is heard."""

    _passes: list[Findings] = field(default_factory=list)
    _corrected: list[Findings] = field(default_factory=list)

    def united(self) -> Ways:
        """Return what the passes had."""
        return unite(self._passes, self._corrected)

    def _prepare(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Look in the pass itself."""

    def _hear(self, key: Key, tensor: Tensor) -> None:
        """Keep nothing."""

    def _conclude(self, observer: Observer) -> None:
        found = tell(observer, self._name, self.model)
        self._passes.append(found)
        self._corrected.append(found if self.correct is None else self.correct(found, observer))

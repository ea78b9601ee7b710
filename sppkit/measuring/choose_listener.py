"""How a model is listened to: at the sites that it declares, or at residual joins that are found."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sppkit.joins.corrections import correct, load_corrections
from sppkit.measuring.declared_sites import as_network, declared_sites
from sppkit.measuring.find import Finder
from sppkit.measuring.listen import Listener
from sppkit.sites import DeclaresSites

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from sppkit.sites import Site

T = TypeVar("T")


def choose_listener(
    model: nn.Module,
    reduce: Callable[[Site, Tensor], T],
    merge: Callable[[T, T], T],
    on_site: Callable[[Site], None] | None,
    sites: str | Path | Mapping[str, Any] | None,
) -> tuple[Listener[T] | Finder[T], bool]:
    """Return what listens to a model, and whether what it finds is corrected."""
    corrections = None if sites is None else load_corrections(sites)
    declares = isinstance(as_network(model), DeclaresSites)
    if corrections is None and declares:
        return Listener(model, declared_sites(model), reduce, merge, on_site), False
    corrected = partial(correct, corrections=corrections or ())
    return Finder(model, [], reduce, merge, on_site, correct=corrected), bool(corrections)

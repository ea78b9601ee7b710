"""What is left of a picture at each block: its channels' means, heard at the sites that sppkit finds in any model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from sppkit.measuring.choose_listener import choose_listener
from sppkit.measuring.find import Finder
from sppkit.measuring.listen import Listener

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from sppkit.sites import Site


class Features(NamedTuple):
    """One batch at one site.

    Attributes:
        pooled: Mean of each channel of each picture, shape (N, C), float64.
        second_moment: Mean square of the signal itself, which tells a pooled feature from rounding.
        resolution: Relative spacing of the numbers that the signal was computed in.
    """

    pooled: Tensor
    second_moment: float
    resolution: float


Heard = Listener[Features | None] | Finder[Features | None]


def block_listener(model: nn.Module, sites: str | Path | Mapping[str, Any] | None) -> Heard:
    """Return what listens to the blocks of a model; each pass replaces what was heard in the one before."""
    return choose_listener(model, _pool, _latest, None, sites)[0]


def block_features(listener: Heard) -> dict[Site, Features]:
    """Return what was heard in the last pass; a site that it did not reach still holds an earlier one's."""
    listener.check_complete()
    latest = max(heard.number for heard in listener.heard.values())
    fresh = {site: heard.value for site, heard in listener.heard.items() if heard.number == latest}
    return {site: value for site, value in fresh.items() if value is not None}


def _pool(site: Site, signal: Tensor) -> Features | None:
    if site.role != "block_output":
        return None
    rows = signal.detach().flatten(2) if signal.ndim > 2 else signal.detach()[..., None]
    # float32 sums are exact to 1e-7, whose square is what a distance of features is off by; half precision is not.
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    second_moment = float(torch.linalg.vector_norm(rows)) ** 2 / rows.numel()
    return Features(rows.mean(dim=2).cpu().double(), second_moment, torch.finfo(signal.dtype).eps)


def _latest(_earlier: Features | None, later: Features | None) -> Features | None:
    return later

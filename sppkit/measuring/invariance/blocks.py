"""Block by block: how far the pooled features of each picture move, and how far they are from another picture's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from sppkit.measuring.invariance.features import block_features, block_listener
from sppkit.stats.feature_distances import Spread, distance_to_another

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from sppkit.measuring.invariance.features import Features
    from sppkit.sites import Site

# Pooled features that vary from picture to picture by less than this share of the signal's mean square are what
# rounding left of a constant: behind instance norm every channel of every picture has one mean.
_LEAST_SHARE = 1e-10


@dataclass
class BlockDistances:
    """One site over all pictures.

    Attributes:
        spread: Mean and scatter of the pooled features of the pictures as they are.
        power: Mean square of the signal, summed over pictures.
        floor: Share of the power below which features do not tell pictures apart.
        usable: Whether the signal is one row per picture, in every pass.
        apart: Mean ‖h(x') - h(x)‖² over the other pictures x', shape (n,) per batch.
        moved: ‖h(Tx) - h(x)‖², averaged over draws, shape (n,) per batch.
    """

    spread: Spread
    power: float
    floor: float
    usable: bool = True
    apart: list[Tensor] = field(default_factory=list)
    moved: list[Tensor] = field(default_factory=list)

    @property
    def is_flat(self) -> bool:
        """Whether pictures differ by no more than rounding, so that there is nothing to compare."""
        return self.spread.scatter <= self.floor * self.power * len(self.spread.mean)


class BlockMeter:
    """Distances at every block: one round over all pictures for their spread, and another beside the transformed ones.

    It is told when a pass has ended: ``survey`` after each clean one of the first round; then, for every batch,
    ``begin_batch`` after the clean pass and ``compare`` after each transformed one.
    """

    def __init__(self, model: nn.Module, sites: str | Path | Mapping[str, Any] | None) -> None:
        self.listener = block_listener(model, sites)
        self.distances: dict[Site, BlockDistances] = {}
        self.surveyed = 0
        self._clean: dict[Site, Features] = {}

    def survey(self, pictures: int) -> None:
        """Take the spread of the pictures of a clean pass."""
        self.surveyed += pictures
        for site, heard in block_features(self.listener).items():
            usable = len(heard.pooled) == pictures
            new = BlockDistances(
                Spread.of(heard.pooled), heard.second_moment * pictures, max(_LEAST_SHARE, heard.resolution**2), usable
            )
            known = self.distances.setdefault(site, new)
            if known is not new:
                known.spread, known.power = known.spread.merge(new.spread), known.power + new.power
                known.usable &= usable

        for known in self.distances.values():
            known.usable &= known.spread.samples == self.surveyed

    def begin_batch(self) -> None:
        """Keep the features of a clean pass, which those of the next passes are compared with."""
        self._clean = {site: heard for site, heard in block_features(self.listener).items() if self._is_usable(site)}
        for site, heard in self._clean.items():
            known = self.distances[site]
            known.apart.append(distance_to_another(heard.pooled, known.spread))
            known.moved.append(torch.zeros(len(heard.pooled), dtype=torch.float64))

    def compare(self, draws: int) -> None:
        """Add what one of ``draws`` transformations of the batch moved."""
        moved = block_features(self.listener)
        for site, clean in self._clean.items():
            if site not in moved:  # this picture took another way
                self.distances[site].usable = False
                continue
            step = (moved[site].pooled - clean.pooled).square().sum(dim=1)
            self.distances[site].moved[-1] += step / draws

    def _is_usable(self, site: Site) -> bool:
        return self.distances[site].usable

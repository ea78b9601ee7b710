"""Listening to passes whose batches hold every sample in several forms: as it is, and then shifted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch

from sppkit.errors import MeasurementError
from sppkit.measuring.choose_listener import choose_listener
from sppkit.measuring.find import Finder
from sppkit.stats.moments import channel_moments, merge_moments
from sppkit.stats.paired import PairMoments, merge_pairs, pair_moments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from torch import nn

    from sppkit.joins.joins import Findings
    from sppkit.measuring.collect import Heard
    from sppkit.sites import Site
    from sppkit.stats.channel_moments import ChannelMoments


class KeptForms(NamedTuple):
    """What is kept of one site.

    Attributes:
        pairs: Of a block's output: for each shift, the samples as they are beside their shifted form.
        branch: Of the end of a branch: each form by itself, the first one unshifted.
    """

    pairs: tuple[PairMoments, ...] = ()
    branch: tuple[ChannelMoments, ...] = ()


class PairedProbe:
    """A probe of a network in eval mode, where no sample depends on what else stands in its batch.

    Attributes:
        forms: Forms of every sample: 1 and the number of shifts.
        samples: Samples of the batch that is passing; whoever feeds the network says how many.
        gradients: None: only the forward direction is heard.
    """

    gradients = None

    def __init__(
        self,
        model: nn.Module,
        forms: int,
        *,
        on_site: Callable[[Site], None] | None = None,
        sites: str | Path | Mapping[str, Any] | None = None,
    ) -> None:
        self.forms, self.samples = forms, 0
        self._listener, self._corrected = choose_listener(model, self._reduce, _merge, on_site, sites)
        self._input: tuple[tuple[PairMoments, ...], torch.Size] | None = None

    def __enter__(self) -> Self:
        self._listener.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.__exit__(kind, error, trace)

    @property
    def last(self) -> Site | None:
        """The last site that was reached."""
        return self._listener.last

    @property
    def raised(self) -> Exception | None:
        """What ``on_site`` raised, if it did."""
        return self._listener.raised

    @property
    def findings(self) -> Findings | None:
        """What was found in the first forward pass; None for a model that declares its sites."""
        return self._listener.findings if isinstance(self._listener, Finder) else None

    @property
    def heard(self) -> dict[Site, Heard[KeptForms]]:
        """What was kept, by site."""
        self._listener.check_complete()
        return self._listener.heard

    @property
    def input(self) -> tuple[tuple[PairMoments, ...], torch.Size]:
        """What was kept of the input itself, as of a block's output, and its shape."""
        if self._input is None:
            raise MeasurementError("no batch was seen.")
        return self._input

    def trust(self) -> None:
        """Find the joins with a few samples; where the pass has others, it raises an ``OtherWayError``."""
        if isinstance(self._listener, Finder) and not self._corrected:
            self._listener.trusts = True

    def begin_batch(self, batch: torch.Tensor) -> None:
        """Take the input itself, before it passes."""
        self.samples = len(batch) // self.forms
        pairs = self._pairs(batch)
        if self._input is not None:
            pairs = tuple(map(merge_pairs, self._input[0], pairs))
        self._input = pairs, batch.shape

    def _pairs(self, signal: torch.Tensor) -> tuple[PairMoments, ...]:
        clean, *shifted = torch.split(signal, self.samples)
        return tuple(pair_moments(clean, form) for form in shifted)

    def _reduce(self, site: Site, signal: torch.Tensor) -> KeptForms:
        if len(signal) != self.forms * self.samples:
            raise MeasurementError(
                f"the first axis of {site.path!r} has {len(signal)} entries where the batch has "
                f"{self.forms * self.samples} samples: shifted samples can't be told from the others there."
            )
        if site.role == "block_output":
            return KeptForms(pairs=self._pairs(signal))
        return KeptForms(branch=tuple(map(channel_moments, torch.split(signal, self.samples))))


def _merge(a: KeptForms, b: KeptForms) -> KeptForms:
    return KeptForms(tuple(map(merge_pairs, a.pairs, b.pairs)), tuple(map(merge_moments, a.branch, b.branch)))

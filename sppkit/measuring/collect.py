"""What is kept of a network's signals: one reduction per site, merged over forward passes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor

from sppkit.errors import MeasurementError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from sppkit.measuring.backward.gradients import Gradients
    from sppkit.sites import Site

T = TypeVar("T")


@dataclass(slots=True)
class Heard(Generic[T]):
    """What was heard at a site.

    Attributes:
        value: What was kept of its signals.
        shape: That of the last one, with the channels on axis 1.
        number: The forward pass that it came from.
        passes: How many there were.
    """

    value: T
    shape: torch.Size
    number: int
    passes: int = 1


@dataclass
class Collector(Generic[T]):
    """The values of every site of a network, reduced as they come and never kept.

    The reduction is handed in: this class knows no statistic.

    Attributes:
        model: The network to listen to.
        sites: Where to listen.
        reduce: From a site and its output, with the channels on axis 1, to what is kept of it.
        merge: Combines what is kept of one site over several forward passes.
        on_site: Called after each site, for instance to show progress.
        heard: What was kept, by site.
        last: The last site that was reached.
        raised: What ``on_site`` raised, if it did.
        gradients: Hears the backward direction, where that is asked for.
        training: Whether it listens to a training: layers may be skipped, and passes of an evaluation do not count.
    """

    model: nn.Module
    sites: Sequence[Site]
    reduce: Callable[[Site, Tensor], T]
    merge: Callable[[T, T], T]
    on_site: Callable[[Site], None] | None = None
    heard: dict[Site, Heard[T]] = field(default_factory=dict)
    last: Site | None = None
    raised: Exception | None = None
    gradients: Gradients | None = None
    training: bool = False
    # Whether the outermost call that is open counts.
    _counts: bool = True
    # How many calls of the model are open (a model may call itself), and the number of the outermost one.
    _depth: int = 0
    _number: int = 0

    def check_complete(self) -> None:
        """Check that every site was reached."""
        silent = [site for site in self.sites if site not in self.heard]
        if silent:
            raise MeasurementError(
                f"{len(silent)} of {len(self.sites)} sites were never reached, the first at {silent[0].path!r}.\n"
                "Call the model itself (not .forward) inside the probe, and probe it before torch.compile."
            )

    @property
    def discovers(self) -> bool:
        """Whether the pass that runs is only looked at, and nothing is measured in it."""
        return not self._counts

    def forget(self) -> None:
        """Begin anew, with what was found of the network."""
        self.heard = {}
        if self.gradients is not None:
            self.gradients.kept = {}

    def _is_counted(self) -> bool:
        return not self.training or (self.model.training and torch.is_grad_enabled())

    def axis_of(self, signal: Tensor) -> int | None:  # noqa: ARG002 - hooks alone don't tell
        """Return the axis of a signal's channels while a forward pass runs, or None where that is not known."""
        return None

    def _hear_at(self, site: Site, output: object) -> None:
        """Take what is at a site, forward and, where asked for, backward."""
        signal = check_signal(output, site)
        self._take(site, signal)
        if self.gradients is not None and isinstance(output, Tensor):
            self.gradients.note(site, output, channel_axis(site, output))

    def _take(self, site: Site, signal: Tensor) -> None:
        heard = self.heard.get(site)
        if heard is None:
            self.heard[site] = Heard(self.reduce(site, signal), signal.shape, self._number)
        else:
            self._check_again(site, heard, signal)
            heard.value = self.merge(heard.value, self.reduce(site, signal))
            heard.shape, heard.number = signal.shape, self._number
            heard.passes += 1
        self.last = site
        if self.on_site is not None:
            self._tell(self.on_site, site)

    def _has_fired(self, site: Site) -> bool:
        heard = self.heard.get(site)
        return heard is not None and heard.number == self._number

    def _check_again(self, site: Site, heard: Heard[T], signal: Tensor) -> None:
        if heard.number == self._number:
            raise MeasurementError(
                f"site {site.name!r} fired twice in one forward pass: its module {site.path!r} is called more than "
                "once.\nDeclare a module that is called once, for instance an nn.Identity where the signal is."
            )
        if heard.shape[1] != signal.shape[1]:
            raise MeasurementError(
                f"the output of {site.path!r} had {heard.shape[1]} channels and has {signal.shape[1]} now; batches can "
                "be merged only where the channels are the same."
            )

    def _tell(self, on_site: Callable[[Site], None], site: Site) -> None:
        try:
            on_site(site)
        except Exception as error:
            self.raised = error
            raise


def check_signal(output: object, site: Site) -> Tensor:
    """Return a site's signal with its channels on axis 1, shape (N, C, ...)."""
    if not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim < 2:
        found = f"shape {tuple(output.shape)}, {output.dtype}" if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(
            f"the output of {site.path!r} must be a floating-point tensor of shape (N, C, ...), not {found}."
        )
    if output.numel() == 0:
        raise MeasurementError(f"the output of {site.path!r} has shape {tuple(output.shape)}: no values to measure.")
    return _channels_first(output, site)


def channel_axis(site: Site, signal: Tensor) -> int:
    """Return the axis of a site's channels; the last one of (N, T, C) unless the site says otherwise."""
    if site.channel_axis is None:
        return 2 if signal.ndim == 3 else 1
    return site.channel_axis


def _channels_first(signal: Tensor, site: Site) -> Tensor:
    axis = channel_axis(site, signal)
    if axis == 1:
        return signal
    if not 1 <= abs(axis) < signal.ndim:
        raise UsageError(
            f"channel_axis {axis} of {site.path!r} does not fit its output of shape {tuple(signal.shape)}: from 1 to "
            f"{signal.ndim - 1}, or from -{signal.ndim - 1} to -1."
        )
    return signal.movedim(axis, 1)

"""Listening to a network: forward hooks that reduce each site's signal at once and keep only the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from sppkit.errors import MeasurementError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from torch.utils.hooks import RemovableHandle

    from sppkit.sites import Site

T = TypeVar("T")


@dataclass
class Listener(Generic[T]):
    """Reduce the output of every site while the context is open.

    A signal is reduced inside the hook, before anything can overwrite it, and never kept. The reduction is handed in:
    this class knows no statistic.

    Attributes:
        model: The network to listen to.
        sites: Where to listen.
        reduce: From a site and its output to what is kept of it.
        merge: Combines what is kept of one site over several forward passes.
        on_site: Called after each site, for instance to show progress.
        values: What was kept, by site.
        shapes: Shape of each site's output.
        last: The last site that was reached.
    """

    model: nn.Module
    sites: Sequence[Site]
    reduce: Callable[[Site, Tensor], T]
    merge: Callable[[T, T], T]
    on_site: Callable[[Site], None] | None = None
    values: dict[Site, T] = field(default_factory=dict)
    shapes: dict[Site, torch.Size] = field(default_factory=dict)
    last: Site | None = None
    _handles: list[RemovableHandle] = field(default_factory=list)

    def __enter__(self) -> Self:
        for site in self.sites:
            module = self.model.get_submodule(site.path)
            self._handles.append(module.register_forward_hook(self._hook(site)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._handles:
            self._handles.pop().remove()

    def check_complete(self) -> None:
        """Check that every site was reached.

        Raises:
            MeasurementError: If one was not, as happens when a model was compiled before it was probed.
        """
        silent = [site for site in self.sites if site not in self.values]
        if silent:
            raise MeasurementError(
                f"{len(silent)} of {len(self.sites)} sites were never reached, the first at {silent[0].path!r}.\n"
                "Call the model itself (not .forward) inside the probe, and probe it before torch.compile."
            )

    def _hook(self, site: Site) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def reduce_output(_module: nn.Module, _inputs: tuple[object, ...], output: object) -> None:
            signal = _check_signal(output, site)
            value = self.reduce(site, signal)
            self.values[site] = self.merge(self.values[site], value) if site in self.values else value
            self.shapes[site] = signal.shape
            self.last = site
            if self.on_site is not None:
                self.on_site(site)

        return reduce_output


def _check_signal(output: object, site: Site) -> Tensor:
    if not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim < 2:
        found = f"shape {tuple(output.shape)}, {output.dtype}" if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(
            f"the output of {site.path!r} must be a floating-point tensor of shape (N, C, ...), not {found}."
        )
    return output

"""Listening to a network: forward hooks that reduce each site's signal at once and keep only the result."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import torch
from torch import Tensor

from sppkit.errors import MeasurementError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from sppkit.sites import Site

    Hook = Callable[[nn.Module, tuple[object, ...], object], None]

T = TypeVar("T")


@dataclass
class Listener(Generic[T]):
    """Reduce the output of every site while the context is open.

    A signal is reduced inside the hook, before anything can overwrite it, and never kept. The reduction is handed in:
    this class knows no statistic.

    What counts is what happens inside a call of the model: gradient checkpointing runs blocks again in the backward
    pass, and that is not another forward pass. The context can be entered again after it was left: what comes then is
    merged with what came before.

    Attributes:
        model: The network to listen to.
        sites: Where to listen.
        reduce: From a site and its output, with the channels on axis 1, to what is kept of it.
        merge: Combines what is kept of one site over several forward passes.
        on_site: Called after each site, for instance to show progress.
        values: What was kept, by site.
        shapes: Shape of each site's output, with the channels on axis 1.
        last: The last site that was reached.
        raised: What ``on_site`` raised, if it did.
    """

    model: nn.Module
    sites: Sequence[Site]
    reduce: Callable[[Site, Tensor], T]
    merge: Callable[[T, T], T]
    on_site: Callable[[Site], None] | None = None
    values: dict[Site, T] = field(default_factory=dict)
    shapes: dict[Site, torch.Size] = field(default_factory=dict)
    last: Site | None = None
    raised: Exception | None = None
    _handles: list[RemovableHandle] = field(default_factory=list)
    # How many calls of the model are open (a model may call itself), and the sites that fired in the outermost one.
    _depth: int = 0
    _fired: set[Site] = field(default_factory=set)

    def __enter__(self) -> Self:
        if self._handles:
            raise UsageError("this probe is listening already; leave its context before you enter it again.")
        modules = [self.model.get_submodule(site.path) for site in self.sites]
        try:
            self._register(modules)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth = 0
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

    def _register(self, modules: Sequence[nn.Module]) -> None:
        self._handles.append(self.model.register_forward_pre_hook(self._begin_pass, prepend=True))
        for site, module in zip(self.sites, modules, strict=True):
            self._handles.append(module.register_forward_hook(self._hook(site)))
        # Behind the sites' hooks, because the model's own output may be a site; also after a pass that raised.
        self._handles.append(self.model.register_forward_hook(self._end_pass, always_call=True))

    def _begin_pass(self, _model: nn.Module, _inputs: object) -> None:
        if self._depth == 0:
            self._fired.clear()
        self._depth += 1

    def _end_pass(self, _model: nn.Module, _inputs: object, _output: object) -> None:
        self._depth = max(0, self._depth - 1)  # it was not counted if another library's hook raised before ours

    def _hook(self, site: Site) -> Hook:
        def reduce_output(_module: nn.Module, _inputs: tuple[object, ...], output: object) -> None:
            if self._depth > 0:
                self._take(site, _check_signal(output, site))

        return _uncompiled(reduce_output)

    def _take(self, site: Site, signal: Tensor) -> None:
        if site in self._fired:
            raise MeasurementError(
                f"site {site.name!r} fired twice in one forward pass: its module {site.path!r} is called more than "
                "once.\nDeclare a module that is called once, for instance an nn.Identity where the signal is."
            )
        known = self.shapes.get(site)
        if known is not None and known[1] != signal.shape[1]:
            raise MeasurementError(
                f"the output of {site.path!r} had {known[1]} channels and has {signal.shape[1]} now; batches can be "
                "merged only where the channels are the same."
            )
        value = self.reduce(site, signal)
        self.values[site] = value if known is None else self.merge(self.values[site], value)
        self.shapes[site] = signal.shape
        self._fired.add(site)
        self.last = site
        if self.on_site is not None:
            self._tell(self.on_site, site)

    def _tell(self, on_site: Callable[[Site], None], site: Site) -> None:
        try:
            on_site(site)
        except Exception as error:
            self.raised = error
            raise


def _uncompiled(hook: Hook) -> Hook:
    # What compiles a model would compile the hooks into it, and break at the first number that they look at. Where it
    # was never imported, nothing is compiled yet, and importing it takes seconds.
    return torch.compiler.disable(hook) if "torch._dynamo" in sys.modules else hook  # type: ignore[no-untyped-call]


def _check_signal(output: object, site: Site) -> Tensor:
    if not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim < 2:
        found = f"shape {tuple(output.shape)}, {output.dtype}" if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(
            f"the output of {site.path!r} must be a floating-point tensor of shape (N, C, ...), not {found}."
        )
    if output.numel() == 0:
        raise MeasurementError(f"the output of {site.path!r} has shape {tuple(output.shape)}: no values to measure.")
    return _channels_first(output, site)


def _channels_first(signal: Tensor, site: Site) -> Tensor:
    axis = site.channel_axis
    if axis is None:
        axis = 2 if signal.ndim == 3 else 1
    if axis == 1:
        return signal
    if not 1 <= abs(axis) < signal.ndim:
        raise UsageError(
            f"channel_axis {axis} of {site.path!r} does not fit its output of shape {tuple(signal.shape)}: from 1 to "
            f"{signal.ndim - 1}, or from -{signal.ndim - 1} to -1."
        )
    return signal.movedim(axis, 1)

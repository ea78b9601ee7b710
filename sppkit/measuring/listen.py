"""Listening to a network at the sites that it declares: forward hooks that reduce each site's signal at once."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeVar

import torch

from sppkit.errors import UsageError
from sppkit.joins.operands import iter_tensors
from sppkit.measuring.collect import Collector
from sppkit.measuring.find_modules import find_modules
from sppkit.measuring.forward.compiled import run_uncompiled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from sppkit.sites import Site

    Hook = Callable[[nn.Module, tuple[object, ...], object], None]

T = TypeVar("T")
H = TypeVar("H")


@dataclass
class Listener(Collector[T]):
    """Reduce the output of every declared site while the context is open.

    A signal is reduced inside the hook, before anything can overwrite it, and never kept.

    What counts is what happens inside a call of the model: gradient checkpointing runs blocks again in the backward
    pass, and that is not another forward pass. The context can be entered again after it was left: what comes then is
    merged with what came before.
    """

    _handles: list[RemovableHandle] = field(default_factory=list)
    _eager: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        if self._handles:
            raise UsageError("this probe is listening already; leave its context before you enter it again.")
        modules = find_modules(self.model, [site.path for site in self.sites])
        try:
            self._eager.enter_context(run_uncompiled())
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
        self._eager.close()
        if self.gradients is not None:
            self.gradients.close()

    def _register(self, modules: Sequence[nn.Module]) -> None:
        self._handles.append(self.model.register_forward_pre_hook(self._begin_pass, prepend=True))
        for site, module in zip(self.sites, modules, strict=True):
            self._handles.append(module.register_forward_hook(self._hook(site)))
        # Behind the sites' hooks, because the model's own output may be a site; also after a pass that raised.
        self._handles.append(self.model.register_forward_hook(self._end_pass, always_call=True))

    def _begin_pass(self, _model: nn.Module, _inputs: object) -> None:
        if self._depth == 0:
            self._counts = self._is_counted()
            self._number += 1
            if self._counts and self.gradients is not None:
                self.gradients.begin_pass()
        self._depth += 1

    def _end_pass(self, _model: nn.Module, _inputs: object, output: object) -> None:
        self._depth = max(0, self._depth - 1)  # it was not counted if another library's hook raised before ours
        if self._depth == 0 and self._counts and self.gradients is not None:
            self.gradients.end_pass(iter_tensors(output))

    def _hook(self, site: Site) -> Hook:
        def reduce_output(_module: nn.Module, _inputs: tuple[object, ...], output: object) -> None:
            if self._depth > 0 and self._counts:
                self._hear_at(site, output)
                if self.gradients is not None:
                    self.gradients.settle()

        return uncompiled(reduce_output)


def uncompiled(hook: H) -> H:
    """Return a hook that what compiles a model leaves alone."""
    # It would be compiled into the model, and break at the first number that it looks at. Where the compiler was never
    # imported, nothing is compiled yet, and importing it takes seconds.
    return torch.compiler.disable(hook) if "torch._dynamo" in sys.modules else hook  # type: ignore[no-untyped-call]

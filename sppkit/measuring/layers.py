"""Listening to the layers inside a network's blocks: what activations and normalizers take and return, and weights.

A layer belongs to the block whose output is the first to be made after the layer was called; no model has to declare
its layers. What is called behind the last block belongs to none.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from sppkit.measuring.layer_kinds import is_activation, is_normalizer, usual_axis
from sppkit.measuring.listen import uncompiled
from sppkit.measuring.operations import OperationListener

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import TracebackType

    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from sppkit.measuring.collect import Collector
    from sppkit.sites import LayerRole

T = TypeVar("T")
# Heard as operations, not at modules.
_OPERATIONS: frozenset[LayerRole] = frozenset({"activation_slope", "attention"})


class CalledLayer(NamedTuple):
    """One place that is listened to: the call of a module within its block, counted from 1."""

    block: int
    role: LayerRole
    path: str
    call: int


class _Entry(NamedTuple, Generic[T]):
    """What was kept of one layer, and at how many positions of each sample its signal was."""

    role: LayerRole
    path: str
    positions: int
    kept: T


class _Row(list[_Entry[T]], Generic[T]):
    """The layers of one block in one forward pass, in order."""


@dataclass
class LayerListener(Generic[T]):
    """Reduce the signals of layers while the context is open; whoever listens to the blocks says when one ends.

    Attributes:
        model: The network.
        roles: What to listen to.
        reduce: From a role and a tensor, a signal with the channels on axis 1 or a weight, to what is kept of it.
        merge: Combines what is kept of one layer over several forward passes.
        blocks: What listens to the blocks.
        weighted: Modules whose weight is reduced when they are called, for the role ``weights``.
        kept: What was kept.
    """

    model: nn.Module
    roles: Collection[LayerRole]
    reduce: Callable[[LayerRole, Tensor], T]
    merge: Callable[[T, T], T]
    blocks: Collector[Any]
    weighted: Collection[str] = ()
    kept: dict[CalledLayer, T] = field(default_factory=dict)
    _handles: list[RemovableHandle] = field(default_factory=list)
    _depth: int = 0
    # The block that is running, those that have ended, and the calls that are open, of activations and of normalizers.
    _row: _Row[T] = field(default_factory=_Row)
    _ended: dict[int, tuple[_Row[T], int]] = field(default_factory=dict)
    _open: dict[LayerRole, list[_Row[T]]] = field(default_factory=dict)
    _operations: OperationListener | None = None

    def __enter__(self) -> Self:
        try:
            self._register()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth = 0
        self._stop_operations(None, None, None)
        while self._handles:
            self._handles.pop().remove()

    def end_block(self, block: int, output: Tensor) -> None:
        """Note that the output of a block was made: what was called since the last one belongs to it."""
        self._ended[block], self._row = (self._row, _positions(output)), _Row()

    @property
    def _listens(self) -> bool:
        return self._depth > 0 and not self.blocks.discovers

    def _register(self) -> None:
        self._handles.append(self.model.register_forward_pre_hook(self._begin_pass))
        for path, module in self.model.named_modules():
            if path in self.weighted and "weights" in self.roles:
                self._listen(module, path, self._take_weight, None)
            if is_normalizer(module) and "normalizer_input" in self.roles:
                self._listen(module, path, self._enter_normalizer, self._leave_normalizer)
            elif is_activation(module) and {"activation", "activation_input"} & set(self.roles):
                self._listen(module, path, self._enter_activation, self._leave_activation)
        if _OPERATIONS & set(self.roles):
            # Modes are left in the order opposite to that in which they were entered: this one before the blocks' own.
            self._handles.append(
                self.model.register_forward_hook(self._stop_operations, always_call=True, prepend=True)
            )
        self._handles.append(self.model.register_forward_hook(self._end_pass, always_call=True))

    def _listen(
        self, module: nn.Module, path: str, enter: Callable[..., None], leave: Callable[..., None] | None
    ) -> None:
        def before(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            if self._listens:
                enter(module, path, next(iter((*args, *kwargs.values())), None))

        def behind(module: nn.Module, _inputs: object, output: object) -> None:
            if self._listens and leave is not None:
                leave(module, path, output)

        self._handles.append(module.register_forward_pre_hook(uncompiled(before), with_kwargs=True))
        if leave is not None:
            self._handles.append(module.register_forward_hook(uncompiled(behind), always_call=True))

    def _begin_pass(self, _model: nn.Module, _inputs: object) -> None:
        if self._depth == 0:
            self._row, self._ended, self._open = _Row(), {}, {"activation": [], "normalizer_input": []}
            if _OPERATIONS & set(self.roles) and not self.blocks.discovers:
                self._operations = OperationListener(self._hear_operation)
                self._operations.__enter__()  # type: ignore[no-untyped-call]
        self._depth += 1

    def _stop_operations(self, _model: object, _inputs: object, _output: object) -> None:
        if self._depth <= 1 and self._operations is not None:
            operations, self._operations = self._operations, None
            operations.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def _hear_operation(self, role: LayerRole, signal: Any) -> Callable[[], None] | None:
        if role not in self.roles:
            return None
        positions, kept = _positions(signal) if isinstance(signal, Tensor) else 1, self.reduce(role, signal)
        return lambda: self._row.append(_Entry(role, "", positions, kept))

    def _end_pass(self, _model: nn.Module, _inputs: object, output: object) -> None:
        self._depth = max(0, self._depth - 1)
        if self._depth > 0 or output is None:  # a pass that raised says nothing
            return
        for block, (row, positions) in self._ended.items():
            calls: Counter[tuple[LayerRole, str]] = Counter()
            for role, path, own, value in row:
                calls[role, path] += 1
                # In a block of maps, what has a single position was pooled, and belongs to a gate.
                if own > 1 or positions == 1 or role in {"weights", "attention"}:
                    layer = CalledLayer(block, role, path, calls[role, path])
                    self.kept[layer] = value if layer not in self.kept else self.merge(self.kept[layer], value)

    def _enter_normalizer(self, module: nn.Module, path: str, signal: object) -> None:
        # A normalizer may be made of others: the outermost is the one that counts.
        if not self._open["normalizer_input"]:
            self._take(self._row, "normalizer_input", module, path, signal)
        self._open["normalizer_input"].append(self._row)

    def _leave_normalizer(self, _module: nn.Module, _path: str, _output: object) -> None:
        if self._open["normalizer_input"]:
            self._open["normalizer_input"].pop()

    def _enter_activation(self, module: nn.Module, path: str, signal: object) -> None:
        # Before it runs, which may be in place.
        if not self._open["activation"]:
            self._take(self._row, "activation_input", module, path, signal)
        self._open["activation"].append(self._row)

    def _leave_activation(self, module: nn.Module, path: str, output: object) -> None:
        # In a table of leaf modules its own row may have ended with the operation inside of it.
        opened = self._open["activation"]
        row = opened.pop() if opened else self._row
        if not opened:
            self._take(row, "activation", module, path, output)

    def _take_weight(self, module: nn.Module, path: str, _signal: object) -> None:
        with torch.no_grad(), _disable_current_modes():
            self._row.append(_Entry("weights", path, 1, self.reduce("weights", module.get_parameter("weight"))))

    def _take(self, row: _Row[T], role: LayerRole, module: nn.Module, path: str, signal: Any) -> None:
        if role not in self.roles or not _is_signal(signal):
            return
        axis = self.blocks.axis_of(signal)
        # An observer of operations would take what the statistics compute for a part of the network.
        with torch.no_grad(), _disable_current_modes():
            first = signal.movedim(usual_axis(module, signal.ndim) if axis is None else axis, 1)
            row.append(_Entry(role, path, _positions(first), self.reduce(role, first)))


def _positions(signal: Tensor) -> int:
    return prod(signal.shape[2:])


def _is_signal(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1 and value.numel() > 0

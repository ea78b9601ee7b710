"""Which module calls return or are handed the values of a network's residual joins."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sppkit.joins.beside import count_readers
from sppkit.joins.name import tell
from sppkit.joins.observe import Observer
from sppkit.joins.operands import iter_tensors
from sppkit.measuring.find_modules import is_internal, iter_paths
from sppkit.measuring.forward.device import check_values, find_target
from sppkit.measuring.forward.in_parts import seen_in_parts
from sppkit.measuring.forward.preserve import preserved
from sppkit.measuring.forward.random_state import seed_torch
from sppkit.measuring.forward.run_model import call_model, explain_failure

if TYPE_CHECKING:
    from torch import nn

    from sppkit.joins.graph import Key
    from sppkit.joins.joins import Findings


@dataclass(eq=False)
class ModuleCall:
    """One call of a module in an observed pass.

    Attributes:
        path: Qualified name; empty for the model itself.
        number: Which call of it in the pass, from 1.
        parent: The call that it happened in.
        received: Where its first argument was made; None if that is no signal.
        returned: Where what it returned was made.
    """

    path: str
    number: int
    parent: ModuleCall | None
    received: Key | None = None
    returned: Key | None = None

    def is_inside(self, path: str, number: int) -> bool:
        """Return whether a call of another module encloses this one."""
        call = self.parent
        while call is not None:
            if (call.path, call.number) == (path, number):
                return True
            call = call.parent
        return False


@dataclass
class ObservedCalls:
    """What one pass showed.

    Attributes:
        findings: The joins.
        calls: Every call of a module, in the order in which they began.
        readers: How many values were computed directly from each, or returned by the model.
    """

    findings: Findings
    calls: list[ModuleCall]
    readers: dict[Key, int]


def observe_calls(model: nn.Module, batch: object, seed: int) -> ObservedCalls:
    """Run a model once on a batch, observed, and leave no trace."""
    check_values(model)
    recorder = _Recorder(Observer(lambda _key, _tensor: None))
    device = find_target(model, None)
    with ExitStack() as stack:
        stack.enter_context(preserved(model, attributes=True))
        stack.enter_context(seen_in_parts())
        stack.enter_context(torch.no_grad())
        recorder.listen(model, stack)
        seed_torch(seed)
        try:
            output = call_model(model, batch, device)
        except Exception as error:  # whatever a model raises
            raise explain_failure(error, "while its joins were looked for") from error
        finally:
            recorder.stop()
    observer = recorder.observer
    ends = [node for tensor in iter_tensors(output) if (node := observer.node_of(tensor)) is not None]
    counted = count_readers(ends)
    observer.finish(output)
    readers = {node.key: count for node, count in counted.items()}
    return ObservedCalls(tell(observer, type(model).__name__, model), recorder.calls, readers)


@dataclass
class _Recorder:
    observer: Observer
    calls: list[ModuleCall] = field(default_factory=list)
    _open: list[ModuleCall] = field(default_factory=list)
    _running: bool = False

    def listen(self, model: nn.Module, stack: ExitStack) -> None:
        paths = dict(iter_paths(model))
        for module, path in [(model, ""), *paths.items()]:
            kind = f"{type(module).__module__}.{type(module).__qualname__}"
            entering = _Entering(self, path, kind, internal=is_internal(module))
            # What the module is handed behind other hooks, and what it returns before them, are what code of ours sees.
            stack.callback(module.register_forward_pre_hook(entering, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(self.leave, always_call=True).remove)

    def enter(self, path: str, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, internal: bool) -> None:
        if not self._running:
            self.observer.start((args, kwargs))
            self.observer.__enter__()  # type: ignore[no-untyped-call]
            self._running = True
        elif path:
            self.observer.enter(path, kind, internal=internal)
        number = self.observer.calls[path] if path else 1
        call = ModuleCall(path, number, self._open[-1] if self._open else None, self._made(args[:1]))
        self.calls.append(call)
        self._open.append(call)

    def leave(self, _module: nn.Module, _args: object, output: object) -> None:
        call = self._open.pop()
        call.returned = self._made(output)
        if call.path:
            self.observer.leave(call.path, output)
        else:
            self.stop()

    def stop(self) -> None:
        if self._running:
            self._running = False
            self.observer.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def _made(self, value: object) -> Key | None:
        first = value[0] if isinstance(value, tuple) and value else value
        node = self.observer.node_of(first) if isinstance(first, Tensor) else None
        return None if node is None else node.key


@dataclass
class _Entering:
    recorder: _Recorder
    path: str
    kind: str
    internal: bool

    def __call__(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.recorder.enter(self.path, self.kind, args, kwargs, internal=self.internal)

"""Observing a forward pass: every dispatched operation, what it was computed from, and in which module."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sppkit.joins.aliases import Memory, check_observable, is_whole
from sppkit.joins.beside import gather_beside
from sppkit.joins.candidate import Candidate
from sppkit.joins.channel_axis import channel_axis
from sppkit.joins.graph import Frame, Key, Node, largest, way_between
from sppkit.joins.judge import (
    BESIDE,
    COMPLEX,
    DETAIL,
    DIFFERENCE,
    INNER,
    SOFTMAX,
    is_detail,
    iter_scores,
    judge_concatenation,
    judge_sum,
)
from sppkit.joins.operands import (
    given,
    in_words,
    is_signal,
    is_strided,
    is_weight,
    iter_arguments,
    iter_outputs,
    iter_tensors,
    iter_unreturned,
    number_in,
)
from sppkit.joins.operations import Operation, operation_of, run_in_parts
from sppkit.joins.stream import off_stream, settle_equal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch._ops import OpOverload

    Take = Callable[[Key, Tensor], None]


_SLICE = operation_of(torch.ops.aten.slice.Tensor)


class Observer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """One forward pass, seen operation by operation; of signals, nothing is kept but shapes and origins.

    Attributes:
        before_each: Called before each operation, when autograd knows where the values so far come from.
        take: Called with every signal at the moment it is made, before anything can overwrite it.
        frames: The module calls that are open, the model's own first.
        candidates: Sums and concatenations of signals, in order.
        joins: Those of them that are residual joins, by output.
        outputs: The last signal that each module returned, by path.
        leaves: The calls of modules that called no other, and the signal that they returned.
        signals: How many signals were made.
        parameters: Every parameter that a gradient would reach, with the path of the module that used it first and how
            many signals had been made by then.
    """

    def __init__(self, take: Take) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.take = take
        self.before_each: Callable[[], None] | None = None
        self.frames: list[Frame] = [Frame("", 1, None, internal=False, first=0)]
        self.candidates: list[Candidate] = []
        self.joins: dict[Node, Candidate] = {}
        self.outputs: dict[str, list[Node]] = {}
        self.leaves: list[tuple[Frame, Node | None, str]] = []
        self.signals = 0
        self.parameters: dict[nn.Parameter, tuple[str, int]] = {}
        self.calls: Counter[str] = Counter()
        self._memory = Memory(self._view_of, self._state_of)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # The base class would import the compiler, which takes seconds. Who uses this class keeps compiled code out.
        return False

    def start(self, inputs: object) -> None:
        """Note the model's inputs, which all signals come from."""
        for index, tensor in enumerate(iter_tensors(inputs)):
            if tensor.layout is not torch.strided:
                continue
            check_observable(tensor)
            if self._memory.known(tensor) is None:
                node = self._make(Key("", 0, index), None, (), tensor)
                self._memory.show(tensor, node)
                self.take(node.key, tensor)

    def enter(self, path: str, kind: str, *, internal: bool) -> None:
        """Note that a module of a class is called."""
        parent = self.frames[-1]
        self.calls[path] += 1
        self.frames.append(
            Frame(path, self.calls[path], parent, internal or parent.internal, first=self.signals + 1, kind=kind)
        )

    def leave(self, path: str, output: object) -> None:
        """Note that a module returned or raised."""
        # A call that another library's hook broke off may have been left open.
        while len(self.frames) > 1:
            frame = self.frames.pop()
            if frame.path == path:
                self._note_output(frame, output)
                return

    def finish(self, output: object) -> None:
        """Note what the model returned."""
        del self.frames[1:]
        self._note_output(self.frames[0], output)
        found = [self._memory.find(tensor) for tensor in iter_tensors(output) if tensor.layout is torch.strided]
        for candidate in settle_equal(self.candidates):
            if candidate.accepted:
                self.joins[candidate.output] = candidate
        outputs = [node for node in found if node is not None]
        for join in off_stream(self.joins, outputs):
            self._drop(join, DETAIL)
        for join in gather_beside(self.joins, outputs):
            self._drop(join, BESIDE)

    def axis_of(self, tensor: Tensor) -> int | None:
        """Return the axis of the channels of a signal that was made in this pass."""
        node = self._memory.known(tensor) if tensor.layout is torch.strided else None
        return None if node is None else node.axis

    def node_of(self, tensor: Tensor) -> Node | None:
        """Return the value that a tensor holds; None of what was not computed from the input."""
        return self._memory.find(tensor) if tensor.layout is torch.strided else None

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        operation = operation_of(func)
        result = run_in_parts(operation, func, self, args, kwargs)
        if result is not NotImplemented:
            return result
        tensors = [tensor for tensor in iter_arguments(args, kwargs) if is_strided(tensor)]
        before = [self._memory.find(tensor) for tensor in tensors]
        self._note_parameters(tensors, before)
        if self.before_each is not None:
            self.before_each()
        result = func(*args, **kwargs)
        if any(node is not None for node in before):
            self._record(operation, args, kwargs, list(zip(tensors, before, strict=True)), result)
        return result

    def _note_parameters(self, tensors: Sequence[Tensor], before: Sequence[Node | None]) -> None:
        if torch.is_grad_enabled():  # what the user's own code runs without gradients is not meant to be trained
            for tensor, node in zip(tensors, before, strict=True):
                # The metaclass's own check takes as long as an operation.
                if node is None and type(tensor) is nn.Parameter and tensor.requires_grad:
                    self.parameters.setdefault(tensor, (self.frames[-1].path, self.signals))

    def _record(
        self,
        operation: Operation,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        operands: list[tuple[Tensor, Node | None]],
        result: object,
    ) -> None:
        frame = self.frames[-1]
        frame.operations += 1
        written = [args[at] if isinstance(at, int) else kwargs.get(at) for at in operation.written if given(at, args)]
        read = [
            (tensor, node)
            for tensor, node in operands
            if not (operation.overwrites and any(tensor is target for target in written))
        ]
        parents = () if operation.independent else tuple(node for _, node in read if node is not None)
        if not parents:
            self._overwrite(written, Key(frame.path, frame.call, frame.operations), operation)
            return
        weighted = operation.mixes and any(node is None and is_weight(tensor) for tensor, node in read)
        for index, output in enumerate([*iter_outputs(result), *iter_unreturned(result, written)]):
            if not is_strided(output):
                continue
            changed = any(output is target for target in iter_outputs(written))
            if not changed and self._memory.known(output) is not None:
                continue
            node = self._make(Key(frame.path, frame.call, frame.operations, index), operation, parents, output)
            node.weighted, node.factor = weighted, number_in(operation.name, args, kwargs)
            node.axis = channel_axis(operation, args, [parent for parent in parents if parent.floating], node.shape)
            if index == 0:
                self._judge(node, operation, read, args)
            if changed:
                self._memory.change(output, node)
            else:
                self._memory.show(output, node)
            check_observable(output)
            self.take(node.key, output)

    def _overwrite(self, written: Sequence[object], key: Key, operation: Operation) -> None:
        """Note that what is no signal was written over a signal, or over a part of one."""
        for target in written:
            if not isinstance(target, Tensor) or not self._memory.holds(target):
                continue
            if is_whole(target):
                self._memory.forget(target)
                continue
            before = self._memory.find(target)
            self._memory.change(target, self._make(key, operation, () if before is None else (before,), target))

    def _make(self, key: Key, operation: Operation | None, parents: tuple[Node, ...], tensor: Tensor) -> Node:
        floating = tensor.is_floating_point() or tensor.is_complex()
        signals = tuple(dict.fromkeys(parent for parent in parents if parent.floating)) if floating else ()
        self.signals += 1
        return Node(self.signals, key, self.frames[-1], operation, signals, tuple(tensor.shape), floating)

    def _view_of(self, state: Node, tensor: Tensor) -> Node:
        # A part of memory that was changed through another part: no operation makes it, so it is taken when it is read.
        frame = self.frames[-1]
        frame.views += 1
        node = self._make(Key(frame.path, frame.call, -frame.views), _SLICE, (state,), tensor)
        node.axis = state.axis if state.axis is not None and len(state.shape) == tensor.ndim else None
        self.take(node.key, tensor)
        return node

    def _state_of(self, state: Node, change: Node) -> Node:
        # Of the whole memory there is no tensor at hand, so it can't be listened at.
        self.signals += 1
        parents = tuple(item for item in (state, change) if item.floating)
        return dataclasses.replace(state, number=self.signals, key=Key("", -1, self.signals), parents=parents)

    def _judge(
        self,
        node: Node,
        operation: Operation,
        read: list[tuple[Tensor, Node | None]],
        args: Sequence[Any],
    ) -> None:
        if operation.softmax and node.parents:
            for join in list(iter_scores(node.parents[0], self.joins)):
                if not join.identity:
                    self._drop(join, SOFTMAX)
        frame = self.frames[-1]
        if frame.internal or len(node.shape) < 2 or not node.floating:
            return
        if operation.adds:
            sides = self._sides(operation, node, args, {id(tensor): found for tensor, found in read})
            if sides is not None:
                frame.sums += 1
                candidate = Candidate(node, "addition", frame.sums)
                judge_sum(candidate, *sides, self.joins)
                if any(tensor.is_complex() for tensor, _ in read):
                    candidate.accepted, candidate.reason = False, COMPLEX
                self._keep(candidate)
        elif operation.name == "sub":
            self._note_difference(node, operation, read, args)
        elif operation.name == "cat":
            self._judge_concatenation(node, args)

    def _note_difference(
        self, node: Node, operation: Operation, read: list[tuple[Tensor, Node | None]], args: Sequence[Any]
    ) -> None:
        """List ``x - f(x)`` where f has weights among what is no join, so that the user can make it one."""
        sides = self._sides(operation, node, args, {id(tensor): found for tensor, found in read})
        if sides is None:
            return
        candidate = Candidate(node, "addition", 0)
        judge_sum(candidate, *sides, self.joins)
        weighted = any(way_between(candidate.origin, side).weights for side in sides) if candidate.origin else False
        if candidate.accepted and weighted:
            candidate.accepted, candidate.reason = False, DIFFERENCE
            self._keep(candidate)

    def _sides(
        self,
        operation: Operation,
        node: Node,
        args: Sequence[Any],
        found: Mapping[int, Node | None],
    ) -> tuple[Node, Node] | None:
        """Return the two signals that are added, if both are signals and one has the shape of the sum."""
        operands = [found.get(id(argument)) for argument in args]
        if len(operands) < 2:
            return None
        a, b = operands[:2]
        if operation.name in {"addcmul", "addcdiv"}:
            b = largest(operands[1:3])
        elif operation.name in {"addmm", "baddbmm"} and a is not None:
            factors = tuple(item for item in operands[1:3] if item is not None)
            # The product is nowhere in memory by itself.
            product = operation_of(torch.ops.aten.mm.default)
            b = Node(node.number, Key("", -1, node.number), node.frame, product, factors, node.shape, True)
            b.weighted = node.weighted or len(factors) == 1
        if a is None or b is None or not a.floating or not b.floating:
            return None
        return (a, b) if a.shape and b.shape and node.shape in {a.shape, b.shape} else None

    def _judge_concatenation(self, node: Node, args: Sequence[Any]) -> None:
        operands = [found for tensor in args[0] if (found := self._memory.find(tensor)) is not None and found.floating]
        axis = next((operand.axis for operand in operands if operand.axis is not None), None)
        dimension = args[1] % len(node.shape) if len(args) > 1 else 0
        if len(operands) == len(args[0]) > 1 and dimension == (1 if axis is None else axis):
            candidate = Candidate(node, "concatenation", 1 + sum(c.output.frame is node.frame for c in self.candidates))
            judge_concatenation(candidate, operands)
            node.axis = dimension
            self._keep(candidate)

    def _keep(self, candidate: Candidate) -> None:
        self.candidates.append(candidate)
        if not candidate.accepted or candidate.scaled is None:
            return
        if candidate.kind == "addition":
            self.joins[candidate.output] = candidate
            for inner in [join for join in self._recent(candidate) if is_detail(join, candidate)]:
                self._drop(inner, INNER)

    def _recent(self, outer: Candidate) -> Iterator[Candidate]:
        """Yield the joins since a later join's sides parted."""
        for join in reversed(self.joins.values()):
            if outer.origin is None or join.output.number <= outer.origin.number:
                return
            if join is not outer:
                yield join

    def _drop(self, join: Candidate, reason: str) -> None:
        join.accepted, join.reason = False, reason
        del self.joins[join.output]

    def _note_output(self, frame: Frame, output: object) -> None:
        tensors = list(iter_tensors(output))
        found = [(tensor, self._memory.find(tensor)) for tensor in tensors if tensor.layout is torch.strided]
        signals = [node for tensor, node in found if node is not None and is_signal(tensor)]
        if signals and frame.parent is not None:
            frame.parent.inner = True
        if signals:
            self.outputs.setdefault(frame.path, []).append(signals[0])
        if not frame.inner:
            self.leaves.append((frame, signals[0] if signals else None, in_words(tensors)))

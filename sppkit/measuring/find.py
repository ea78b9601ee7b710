"""Finding a network's residual joins by observing a forward pass, and listening to them in the passes themselves."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Self, TypeVar

import torch
from torch import Tensor

from sppkit.errors import MeasurementError, UsageError
from sppkit.joins.joins import Findings
from sppkit.joins.name import tell
from sppkit.joins.observable import check_observable
from sppkit.joins.observe import Observer
from sppkit.joins.operands import iter_tensors
from sppkit.joins.plan import Plan, plan_sites
from sppkit.measuring.collect import Collector
from sppkit.measuring.copy_arguments import copied, few_samples, have_grown
from sppkit.measuring.find_modules import WRAPPER, is_internal, iter_paths
from sppkit.measuring.forward.device import check_values
from sppkit.measuring.forward.in_parts import check_capture, seen_in_parts
from sppkit.measuring.forward.preserve import preserved
from sppkit.measuring.other_way import OtherWayError, WaysDifferError
from sppkit.measuring.sums import Sums
from sppkit.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from sppkit.joins.graph import Key
    from sppkit.joins.union import Ways

T = TypeVar("T")


@dataclass
class Finder(Collector[T]):
    """Find the residual joins of the first forward pass in the context, and reduce the signals at them in every pass.

    Before the first pass, the model is run once on a copy of its arguments, observed and with everything restored
    after it; the random states too, so that the pass itself takes the same way. Every later pass is observed again
    and must have the same joins.

    With ``trusts`` the first look costs less: it is taken at a few samples, or at none where ``known`` says what an
    earlier pass of the same code had. The pass itself must then turn out to have just that; else an ``OtherWayError``
    asks for another try without.

    Compiled models run without their compiled code inside, and torch's fused transformer layers in their parts: what
    is inside of either can't be seen.

    Attributes:
        correct: Changes what was found; the user's own corrections.
        trusts: Whether whoever runs the model can run it again.
        known: What an earlier pass had, not corrected.
        ways: What each pass will have, where that is known from passes with the same states.
        findings: What was found; None before the first pass.
        spoiled: Why what was heard can't be told apart, where training skips layers.
    """

    correct: Callable[[Findings, Observer], Findings] | None = None
    trusts: bool = False
    known: Findings | None = None
    ways: Ways | None = None
    findings: Findings | None = None
    spoiled: str | None = None
    _first: Findings = field(default_factory=lambda: Findings("", (), "module"))
    _plan: Plan = field(default_factory=Plan)
    _paths: dict[nn.Module, str] = field(default_factory=dict)
    _observer: Observer | None = None
    _stack: ExitStack = field(default_factory=ExitStack)
    _open: bool = False
    # Whether the joins were found just now, on a copy of the very arguments of the pass that is open.
    _fresh: bool = False
    # Whether they are taken for granted until the pass that is open has shown them.
    _granted: bool = False
    # How many times the samples that were looked at it has.
    _times: float = 1.0
    _sums: Sums = field(default_factory=Sums)

    def __enter__(self) -> Self:
        if self._open:
            raise UsageError("this probe is listening already; leave its context before you enter it again.")
        hooks = self.model._forward_pre_hooks.values()  # noqa: SLF001 - torch has no other way to ask
        if any(isinstance(getattr(hook, "__self__", None), Finder) for hook in hooks):
            raise UsageError(
                "another probe is finding the joins of this model already, and would count this one's pass as well.\n"
                "Leave its context first."
            )
        check_observable(self.model)
        check_values(self.model)
        self._open = True
        with ExitStack() as stack:
            stack.callback(self._close)
            stack.enter_context(seen_in_parts())
            for handle in self._iter_hooks():
                stack.callback(handle.remove)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def check_complete(self) -> None:
        """Check that there was a forward pass and that every site was reached."""
        if self.findings is None:
            raise MeasurementError(
                f"no forward pass of {type(self.model).__name__} was seen.\n"
                "Call the model itself (not .forward) inside the probe."
            )
        super().check_complete()

    @property
    def discovers(self) -> bool:
        """Whether the pass that runs is only looked at, and nothing is measured in it."""
        return self.findings is None or not self._counts

    def axis_of(self, signal: Tensor) -> int | None:
        """Return the axis of a signal's channels while a forward pass runs, or None where that is not known."""
        return None if self._observer is None else self._observer.axis_of(signal)

    def _iter_hooks(self) -> Iterator[RemovableHandle]:
        yield self.model.register_forward_pre_hook(self._begin_pass, prepend=True, with_kwargs=True)
        self._paths = dict(iter_paths(self.model))
        for module in self._paths:
            yield module.register_forward_pre_hook(self._enter, prepend=True)
            yield module.register_forward_hook(self._leave, always_call=True)
        # Behind hooks that change what the model returns; also after a pass that raised.
        yield self.model.register_forward_hook(self._end_pass, always_call=True)

    def _close(self) -> None:
        self._depth, self._open = 0, False
        self._stop()
        if self.gradients is not None:
            self.gradients.close()

    def _stop(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None and observer in torch.utils._python_dispatch._get_current_dispatch_mode_stack():  # noqa: SLF001
            observer.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def _begin_pass(self, _model: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        if torch.compiler.is_compiling():
            raise UsageError("the model was compiled inside the probe: compile it before, or not at all.")
        self._depth += 1
        if self._depth > 1 or self._observer is not None:
            return
        self._counts = self._is_counted()
        if not self._counts:
            return
        check_capture()
        self._prepare(args, kwargs)
        self._number += 1
        self._sums = Sums()  # a pass that raised may have left a part
        observer = Observer(self._hear)
        if self.gradients is not None:
            self.gradients.begin_pass()
            observer.before_each = self.gradients.settle
        observer.start((args, kwargs))
        self._observer = observer
        observer.__enter__()  # type: ignore[no-untyped-call]

    def _prepare(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Find out where to listen in the pass that begins."""
        if self.ways is not None:
            self._first, self._plan = self.ways.passes[self._number], self.ways.plans[self._number]
            self.sites, self.findings = self.ways.plan.sites, self.ways.whole
            self._grant_identities()
        elif self.findings is None:
            self._granted = self.trusts and self._find_quickly(args, kwargs)
            if not self._granted:
                self._discover(args, kwargs)
                self._fresh = True

    def _end_pass(self, _model: nn.Module, _inputs: object, output: object) -> None:
        self._depth = max(0, self._depth - 1)
        observer = self._observer
        if self._depth > 0 or observer is None:
            return
        self._stop()
        if output is None:  # it raised, or returned nothing
            return
        observer.finish(output)
        if self.gradients is not None:
            self.gradients.end_pass(iter_tensors(output))
        self._conclude(observer)

    def _conclude(self, observer: Observer) -> None:
        self._check_same(tell(observer, self._name, self.model))

    @property
    def _name(self) -> str:
        return type(getattr(self.model, WRAPPER, self.model)).__name__

    def _find_quickly(self, args: tuple[object, ...], kwargs: dict[str, object]) -> bool:
        if self.known is not None:
            self._first = self.known
            self._listen_at(self.known)
            return True
        few, self._times = few_samples((args, kwargs))
        with suppress(Exception):  # whatever a model raises of a batch so small
            self._discover(*few)
        return self.findings is not None

    def forget(self) -> None:
        """Begin anew, with what was found of the network."""
        super().forget()
        self.spoiled = None

    def _discover(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        self._first, found = self._look(args, kwargs, skipping=True)
        if self.training:
            # Layers that training skips at random are all there in an evaluation.
            whole, corrected = self._look(args, kwargs, skipping=False)
            first, all_of_them = self._first.places, whole.places
            if first.items() < all_of_them.items() or (self._first.kind == "module") > (whole.kind == "module"):
                self._first, found = whole, corrected
        if not found.joins:
            raise MeasurementError(
                f"nothing to measure was seen in a forward pass of {self._name}: no module returned a floating-point "
                "tensor of shape (N, C, ...) that was computed from the input."
            )
        self._listen_at(found)

    def _look(
        self, args: tuple[object, ...], kwargs: dict[str, object], *, skipping: bool
    ) -> tuple[Findings, Findings]:
        """Run the model observed, with everything restored; return what was found, and the same corrected."""
        self._observer = observer = Observer(lambda _key, _tensor: None)
        with preserved(self.model, attributes=True):
            if not skipping:
                self.model.eval()
            own_args, own_kwargs = copied((args, kwargs), {})
            observer.start((own_args, own_kwargs))
            try:
                with observer:
                    output = self.model(*own_args, **own_kwargs)
            except Exception:
                self.last = _last_seen(observer, self._name)
                raise
            finally:
                self._observer = None
            observer.finish(output)
            first = tell(observer, self._name, self.model)
            return first, first if self.correct is None else self.correct(first, observer)

    def _listen_at(self, found: Findings) -> None:
        self._plan = plan_sites(found)
        self.sites, self.findings = self._plan.sites, found
        self._grant_identities()

    def _grant_identities(self) -> None:
        if self.gradients is not None:
            self.gradients.identities = self._plan.identities

    def _hear(self, key: Key, tensor: Tensor) -> None:
        for site in self._plan.at.get(key, ()):
            signal = self._sums.add(site, tensor, self._plan.terms.get(site, 1))
            if signal is not None:
                self._hear_at(site, signal)

    def _check_granted(self, found: Findings) -> None:
        self._granted = False
        same = plan_sites(found) == self._plan and all(self._has_fired(site) for site in self.sites)
        if not same or not (self.known is not None or have_grown(self._first, found, self._times)):
            raise OtherWayError("this forward pass took another way than one of the same code before.")
        self._first = self.findings = found

    def _check_same(self, found: Findings) -> None:
        if self._granted:
            self._check_granted(found)
            return
        fresh, self._fresh = self._fresh, False
        if fresh:
            self._check_shapes(found)
        expected, seen = ([(join.name, join.output.key) for join in item.joins] for item in (self._first, found))
        if expected == seen and all(self._has_fired(site) for site in self._plan.sites):
            return
        if self.training:
            self._allow_skipped(found)
            return
        other = next((a for a, b in zip_longest(expected, seen) if a != b and a), ("the last one",))[0]
        raise WaysDifferError(
            f"this forward pass took another way than the first: it has {len(seen)} rows where the first has "
            f"{len(expected)}, and they differ from {other!r} on.\n"
            "Give sppkit.measure all batches in a list, or measure in eval mode if layers are skipped at random."
        )

    def _allow_skipped(self, found: Findings) -> None:
        # A training is never stopped; what can't be told apart is not recorded.
        all_skipped = found.kind == "module" != self._first.kind
        expected, seen = self._first.places, {} if all_skipped else found.places
        other = next((name for name, place in seen.items() if expected.get(name) != place), None)
        if other is not None:
            self.spoiled = (
                f"it took another way than the first pass, from {other!r} on; layers that are skipped at random can be "
                "followed where each adds its branch in a module of its own"
            )

    def _check_shapes(self, found: Findings) -> None:
        for first, join in zip(self._first.joins, found.joins, strict=False):
            if first.name == join.name and first.output.shape != join.output.shape:
                raise MeasurementError(
                    f"{self._name} keeps something from one forward pass to the next: on the same input {join.name!r} "
                    f"had the shape {first.output.shape} and then {join.output.shape}.\n"
                    "Let it start anew in every pass, for instance without its cache."
                )

    def _enter(self, module: nn.Module, _inputs: object) -> None:
        if self._observer is not None:
            kind = f"{type(module).__module__}.{type(module).__qualname__}"
            self._observer.enter(self._paths[module], kind, internal=is_internal(module))

    def _leave(self, module: nn.Module, _inputs: object, output: object) -> None:
        if self._observer is not None:
            self._observer.leave(self._paths[module], output)


def _last_seen(observer: Observer, name: str) -> Site | None:
    """Return the last module that returned a signal before a forward pass failed."""
    done = [frame.path or name for frame, node, _ in observer.leaves if node is not None]
    return Site(0, None, done[-1], "block_output", done[-1]) if done else None

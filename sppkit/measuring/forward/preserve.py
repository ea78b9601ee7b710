"""Leaving no trace on a user's model."""

from __future__ import annotations

import functools
import operator
from collections import Counter, OrderedDict, defaultdict, deque
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sppkit.errors import MeasurementError
from sppkit.machine.allocator import no_collection
from sppkit.measuring.forward.device import registered
from sppkit.measuring.forward.random_state import iter_random_states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


@contextmanager
def preserved(model: nn.Module, *, attributes: bool = False) -> Iterator[None]:
    """Restore what a forward pass may change; also when it raises, and each part also when another part fails.

    In this order:

    - the random states of torch (CPU, and a GPU that is in use), NumPy and Python;
    - with ``attributes``, what is set on modules beside parameters and buffers, such as counters and caches: the
      attributes themselves, what built-in containers among them hold, at any depth, and the values of tensors; and
      every module's hooks;
    - which parameters, buffers and submodules every module has (what was registered, replaced or deleted inside is
      undone: the very same tensors are back), and its training flag;
    - the values, shape and memory of every buffer, bit for bit;
    - the memory that every parameter lies in, so that a model moved to another device inside comes home without a copy,
      and its ``requires_grad``;
    - gradients: set aside inside, where every ``.grad`` is None, so what a backward pass leaves is dropped.

    A parameter whose *values* were changed in place is refused, because its old values are not kept: that would double
    the memory of the model. Such a change is seen by the tensor's version counter, which a change through ``.data``
    passes by, and which inference tensors don't have.

    Not restored: what an object of a class that is no built-in container changes in itself, and anything outside the
    model.
    """
    with ExitStack() as restore:
        with no_collection():
            _keep(restore, model, attributes=attributes)
        yield


# Of thousands of modules each is visited once before and once after: what takes time is less to look at them than to
# get them into the cache, which the forward pass has filled with other things.
def _keep(restore: ExitStack, model: nn.Module, *, attributes: bool) -> None:
    # The stack undoes in reverse order: what is entered last is restored first.
    modules = list(model.modules())
    parameters = [
        (item, item.data, item.requires_grad, item.grad, _version(item)) for item in registered(modules, "_parameters")
    ]
    restore.push(functools.partial(_refuse_changes, model, parameters))
    restore.callback(_each, _restore_parameter, parameters)
    for parameter, *_ in parameters:
        parameter.grad = None
    restore.callback(_each, _restore_buffer, [_keep_buffer(buffer) for buffer in registered(modules, "_buffers")])
    restore.callback(_each, _restore_module, [_keep_module(module, attributes=attributes) for module in modules])
    if attributes:
        containers, tensors = _find_state(modules)
        restore.callback(_each, _restore_container, [(value, value.copy()) for value in containers])
        restore.callback(_each, _restore_buffer, [_keep_buffer(tensor) for tensor in tensors])
    restore.callback(_each, _restore_state, list(iter_random_states()))


# What torch itself keeps on every module: ``preserved`` and the hooks' own handles see to it.
_TORCHS_OWN = frozenset(vars(nn.Module()))
_UNCHANGEABLE = frozenset({int, float, bool, str, type(None)})
_CONTAINERS = frozenset({list, deque, set, dict, OrderedDict, defaultdict, Counter})


def _find_state(modules: Iterable[nn.Module]) -> tuple[list[Any], list[Tensor]]:
    """Find the containers and plain tensors in what modules carry, each once."""
    containers: list[Any] = []
    tensors: list[Tensor] = []
    stack: list[Any] = []
    seen = set()
    for module in modules:
        own = vars(module)
        stack += [own[name] for name in own.keys() - _TORCHS_OWN if type(own[name]) not in _UNCHANGEABLE]
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if type(value) is Tensor and not value.is_nested:
            tensors.append(value)
        elif type(value) in _CONTAINERS:
            containers.append(value)
            stack += value.values() if isinstance(value, dict) else value
        elif isinstance(value, tuple):
            stack += [item for item in value if type(item) not in _UNCHANGEABLE]
    return containers, tensors


def _restore_container(value: Any, saved: Any) -> None:
    value.clear()
    if isinstance(value, (list, deque)):
        value.extend(saved)
    else:
        value.update(saved)


def _each(restore: Callable[..., object], kept: Iterable[tuple[Any, ...]]) -> None:
    """Restore one thing after the other, and raise what went wrong first only when all was tried."""
    first: Exception | None = None
    for things in kept:
        try:
            restore(*things)
        except Exception as error:  # whatever torch raises # noqa: BLE001
            first = first or error
    if first is not None:
        raise first


def _restore_state(set_state: Callable[[object], object], state: object) -> None:
    set_state(state)


def _refuse_changes(
    model: nn.Module, kept: list[tuple[Any, ...]], _kind: object, error: BaseException | None, _trace: object
) -> None:
    first = next((parameter for parameter, *_, version in kept if _version(parameter) != version), None)
    if first is None:
        return
    # By now every module has the parameters again that it had.
    changed = next((name for name, parameter in model.named_parameters() if parameter is first), "?")
    text = (
        f"the forward pass changed the parameter {changed!r} in place, and its old values are not kept.\n"
        "Measure a copy instead: copy.deepcopy(model)."
    )
    if error is None:
        raise MeasurementError(text)
    error.add_note(text)


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version  # noqa: SLF001 - torch documents no other name for it


def _restore_parameter(
    parameter: nn.Parameter, view: Tensor, requires_grad: bool, gradient: Tensor | None, _version: int | None
) -> None:
    _restore_memory(parameter, view)
    if parameter.requires_grad != requires_grad:  # inference tensors refuse even the value that they have
        parameter.requires_grad_(requires_grad)
    parameter.grad = gradient


def _keep_buffer(buffer: Tensor) -> tuple[Any, ...]:
    # A second tensor on the same memory: it keeps the shape when the buffer is resized, and writing through it does
    # not count as a change, which would spoil a backward pass of the user's that is still to come.
    view = buffer.data
    if view.layout is not torch.strided:
        return buffer, view, view.clone(), None, 0
    storage = view.untyped_storage()
    return buffer, view, _distinct(view).clone(), storage, storage.nbytes()


def _restore_buffer(
    buffer: Tensor, view: Tensor, values: Tensor, storage: torch.UntypedStorage | None, size: int
) -> None:
    if storage is None:
        buffer.data = values
        return
    _restore_memory(buffer, view)
    if storage.nbytes() != size:
        storage.resize_(size)
    if view.is_inference() == torch.is_inference_mode_enabled():
        _distinct(view).copy_(values)
        return
    # A tensor that was made in inference mode can be written to only there; entering it takes longer than the copy.
    with torch.inference_mode(view.is_inference()):
        _distinct(view).copy_(values)


def _distinct(view: Tensor) -> Tensor:
    """Return an expanded tensor without its repetitions: memory that is there several times can't be written to."""
    strides = view.stride()
    if 0 not in strides:
        return view
    return view[tuple(slice(1) if stride == 0 else slice(None) for stride in strides)]


def _restore_memory(tensor: Tensor, view: Tensor) -> None:
    if not _is_same_memory(tensor, view):
        tensor.data = view


def _is_same_memory(tensor: Tensor, view: Tensor) -> bool:
    if tensor.is_cpu and view.is_cpu and tensor.layout is view.layout is torch.strided:  # the quick way
        return tensor.is_set_to(view) and tensor.dtype is view.dtype
    return _memory(tensor) == _memory(view)


def _memory(tensor: Tensor) -> tuple[object, ...]:
    what = tensor.device, tensor.dtype, tensor.shape
    return (*what, tensor.stride(), tensor.data_ptr()) if tensor.layout is torch.strided else what


_REGISTRIES = "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"
# Hooks go with the attributes: what installs its own in the first forward pass remembers in an attribute that it did.
_HOOKS = tuple(name for name, value in vars(nn.Module()).items() if "hooks" in name and isinstance(value, dict))
_hooks = operator.itemgetter(*_HOOKS)


def _keep_module(module: nn.Module, *, attributes: bool) -> tuple[Any, ...]:
    own = vars(module)
    # Most registries are empty, and a new container for each of them takes time. Compiled code registers nothing, and
    # its registries can't be written to.
    names = () if isinstance(module, torch.jit.ScriptModule) else _REGISTRIES
    saved = [(name, own[name].copy() if own[name] else ()) for name in names]
    if not attributes or not names:
        return module, module.training, own.copy() if attributes else None, saved, None
    hooks = [item.copy() for item in _hooks(own)] if any(_hooks(own)) else ()
    return module, module.training, own.copy(), saved, hooks


def _restore_module(
    module: nn.Module,
    training: bool,
    attributes: dict[str, Any] | None,
    saved: Iterable[tuple[str, Any]],
    hooks: Sequence[Any] | None,
) -> None:
    own = vars(module)
    if attributes is not None:
        own.clear()
        own.update(attributes)
    for name, entries in saved:
        registry = own[name]
        if registry or entries:
            registry.clear()
            registry.update(entries)
    if hooks is not None and (hooks or any(_hooks(own))):
        for registry, entries in zip(_hooks(own), hooks or ((),) * len(_HOOKS), strict=True):
            registry.clear()
            registry.update(entries)
    if module.training != training:  # setting an attribute of a module takes longer than looking
        module.training = training

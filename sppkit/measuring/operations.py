"""Listening to operations that are no modules of their own: bounded activations, and the logits of attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from sppkit.joins.operands import iter_outputs
from sppkit.joins.operations import operation_of, run_in_parts
from sppkit.stats.doubles import double

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch._ops import OpOverload

    from sppkit.sites import LayerRole

    # From a role and a signal to what notes it for the block that is open then; None where nobody listens.
    Take = Callable[[LayerRole, Any], Callable[[], None] | None]

_FUSED = frozenset({
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
})
_SOFTMAX = frozenset({"_softmax", "_safe_softmax"})
# What weights may pass through on the way to the values that they weigh.
_PASSES = frozenset({"native_dropout", "mul", "div", "_to_copy", "clone", "_unsafe_view", "_reshape_copy"})
_PRODUCTS = frozenset({"bmm", "mm", "baddbmm"})


class OperationListener(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hear operations while the context is open, each before anything can overwrite what it returns.

    A softmax counts as attention where its weights, of one query a row, are then multiplied by values.
    """

    def __init__(self, take: Take) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._take = take
        # By the memory that holds them: weights, how many keys a row has, and what notes them.
        self._weights: dict[StorageWeakRef, tuple[int, Callable[[], None]]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # The base class would import the compiler, which takes seconds; compiled code runs uncompiled meanwhile.
        return False

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        operation = operation_of(func)
        result = run_in_parts(operation, func, self, args, kwargs)
        if result is not NotImplemented:
            return result
        given = _bind(func, args, kwargs)
        # An observer of operations would take what is computed here for a part of the network.
        with torch.no_grad(), _disable_current_modes():
            before = self._before(operation.name, given)
        result = func(*args, **kwargs)
        self._behind(operation.name, given, before, result)
        return result

    def _before(self, name: str, given: Mapping[str, Any]) -> Callable[[], None] | None:
        if name in _FUSED:
            return self._take("attention", iter_fused_logits(given))
        if name in _SOFTMAX:
            logits = given["self"]
            if logits.ndim > 2 and given["dim"] % logits.ndim == logits.ndim - 1 and logits.numel():
                return self._take("attention", iter(logits))
        elif name in SLOPES:
            return self._take("activation_slope", SLOPES[name](given))
        return None

    def _behind(self, name: str, given: Mapping[str, Any], noted: Callable[[], None] | None, result: object) -> None:
        if name in _SOFTMAX:
            if noted is not None and isinstance(result, Tensor):
                self._weights[_memory(result)] = (result.shape[-1], noted)
        elif noted is not None:
            noted()
        elif name in _PRODUCTS:
            self._multiply(given)
        elif name in _PASSES:
            self._pass_on(given, result)

    def _multiply(self, given: Mapping[str, Any]) -> None:
        left = given.get("batch1", given["self"])
        ref = _memory(left)
        keys, noted = self._weights.get(ref, (0, None))
        # Turned round, each row weighs something else: softmax over channels in linear attention.
        if noted is not None and left.shape[-1] == keys and left.stride(-1) == 1:
            del self._weights[ref]
            noted()

    def _pass_on(self, given: Mapping[str, Any], result: object) -> None:
        source = next((value for value in given.values() if isinstance(value, Tensor)), None)
        made = next(iter(iter_outputs(result)), None)
        if source is None or not isinstance(made, Tensor):
            return
        found = self._weights.get(_memory(source))
        if found is not None and made.numel() == source.numel():
            self._weights[_memory(made)] = found


def _memory(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def _bind(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    names = [argument.name for argument in func._schema.arguments]  # noqa: SLF001 - torch documents no other way
    return dict(zip(names, args, strict=False)) | dict(kwargs)


def iter_fused_logits(given: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield softmax's input of an attention that never writes it down.

    Args:
        given: The operation's arguments, by name.

    Yields:
        Float64, one sample at a time, shape (heads, queries, keys); masks at -inf, or as they are added.
    """
    query, key = given["query"], given["key"]
    scale = 1 / math.sqrt(query.shape[-1]) if given.get("scale") is None else given["scale"]
    mask = next((given[name] for name in ("attn_mask", "attn_bias") if given.get(name) is not None), None)
    for sample in range(len(query)):
        # Several heads of queries may share one of keys.
        keys = key[sample].repeat_interleave(query.shape[1] // key.shape[1], 0)
        logits = scale * (double(query[sample]) @ double(keys).mT)
        if mask is not None:
            own = mask.to(logits.device).expand(*query.shape[:3], -1)[sample]
            logits = logits.masked_fill(~own, -math.inf) if own.dtype is torch.bool else logits + own
        if given.get("is_causal"):
            logits = logits.masked_fill(torch.ones_like(logits, dtype=torch.bool).triu(1), -math.inf)
        yield logits


def _hard_tanh(given: Mapping[str, Any]) -> Tensor:
    # Torch's relu6 is one from 0 to 6; below 0 it is off as ReLU is, and not saturated.
    lower, upper = given.get("min_val", -1), given.get("max_val", 1)
    x: Tensor = given["self"]
    steep: Tensor = (x < upper) & ((x > lower) | (lower == 0))
    return steep.to(x).where(~x.isnan(), x)


def _hard_sigmoid(given: Mapping[str, Any]) -> Tensor:
    x: Tensor = given["self"]
    return (x.abs() < 3).to(x).where(~x.isnan(), x)


# |f'| over its largest value: 1 for tanh, at 0, and 1/4 for sigmoid.
SLOPES: dict[str, Callable[[Mapping[str, Any]], Tensor]] = {
    "tanh": lambda given: 1 - torch.tanh(given["self"]) ** 2,
    "sigmoid": lambda given: 4 * torch.sigmoid(given["self"]) * torch.sigmoid(-given["self"]),
    "hardtanh": _hard_tanh,
    "hardsigmoid": _hard_sigmoid,
}

"""Following an observed forward pass, operation by operation, as steps of theory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from sppkit.joins.operands import iter_arguments, iter_outputs, iter_tensors
from sppkit.joins.operations import operation_of
from sppkit.lowering.attention import chosen, masked, scores_of, softmax, weighted_values, whole_attention
from sppkit.lowering.call import Operation
from sppkit.lowering.linear import convolution, matrix_product
from sppkit.lowering.moves import MOVES, concatenated, move, move_given
from sppkit.lowering.normalize import over_batch, over_channels, over_groups
from sppkit.lowering.pointwise import COMBINATIONS, FUNCTIONS, apply_function, combine
from sppkit.lowering.reduce import adaptive_pool, average_pool, mean, norm, variance
from sppkit.lowering.values import Given, Mask, NotKnownError, Scores, Signal, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch._ops import OpOverload

    from sppkit.lowering.build import Builder
    from sppkit.lowering.values import Value

    Handler = Callable[[Operation, Builder], Value]

_PRODUCTS = frozenset({"mm", "addmm", "bmm", "baddbmm", "_addmm_activation"})
_HANDLERS: dict[str, Handler] = {
    "convolution": convolution,
    "native_layer_norm": over_channels,
    "_fused_rms_norm": over_channels,
    "native_batch_norm": over_batch,
    "_native_batch_norm_legit": over_batch,
    "cudnn_batch_norm": over_batch,
    "_batch_norm_with_update": over_batch,
    "native_group_norm": over_groups,
    "mean": mean,
    "sum": mean,
    "var": variance,
    "std": variance,
    "linalg_vector_norm": norm,
    "avg_pool1d": average_pool,
    "avg_pool2d": average_pool,
    "avg_pool3d": average_pool,
    "_adaptive_avg_pool2d": adaptive_pool,
    "_adaptive_avg_pool3d": adaptive_pool,
    "_softmax": softmax,
    "_safe_softmax": softmax,
    "masked_fill": masked,
    "where": chosen,
    "cat": concatenated,
    "stack": concatenated,
    "bernoulli": lambda operation, _: Mask(float(operation.args[1])),
    **dict.fromkeys(COMBINATIONS, combine),
    **dict.fromkeys(FUNCTIONS, apply_function),
}
# Of these nothing but the shape of what they are given counts.
_SHAPES = frozenset({
    "empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "new_empty", "new_zeros",
    "new_ones", "new_full", "new_empty_strided", "empty", "zeros", "ones", "full", "arange",
})  # fmt: skip


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows every operation whose operands come from the input.

    Attributes:
        follows: Whether to; set by who runs the model.
        first: The first operation that theory does not know.
    """

    def __init__(self, builder: Builder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.builder = builder
        self.follows: Callable[[], bool] = lambda: True
        self.first: Unknown | None = None
        self._values = WeakTensorKeyDictionary()
        # Memory of which a part was changed, by its address, which the reference keeps from other memory.
        self._spoiled: dict[int, tuple[StorageWeakRef, Unknown]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def start(self, inputs: object) -> None:
        """Note the model's inputs."""
        for tensor in iter_tensors(inputs):
            samples = None
            if tensor.ndim > 0 and tensor.shape[0] == self.builder.batch.held:
                samples = torch.arange(len(tensor), dtype=torch.int32)
                samples = samples.reshape(-1, *[1] * (tensor.ndim - 1)).expand(tensor.shape)
            self._note(tensor, Given(samples))

    def value_of(self, tensor: Tensor) -> Value | None:
        """Return what is known of a tensor; None where it comes from no input."""
        _, spoiled = self._spoiled.get(_address(tensor), (None, None))
        if tensor not in self._values:
            return spoiled
        value, versions = self._values[tensor]
        if tensor._version not in versions and not isinstance(value, Given):  # noqa: SLF001
            return Unknown(self.builder.batch.module(), "a signal that was changed in place through another view")
        return spoiled or value

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not self.follows():
            return func(*args, **kwargs)
        facts = operation_of(func)
        tensors = list(iter_arguments(args, kwargs))
        found = {id(tensor): self.value_of(tensor) for tensor in tensors}
        result = func(*args, **kwargs)
        operation = Operation(facts.name, func, args, kwargs, result, lambda tensor: found.get(id(tensor)))
        values = [value for value in found.values() if value is not None]
        if facts.name == "bernoulli" and len(args) > 1:
            values = [Mask(1.0)]
        if facts.name in _SHAPES or not values or not any(True for _ in iter_outputs(result)):
            return result
        written = [args[at] if isinstance(at, int) else kwargs.get(at) for at in facts.written]
        self._record(operation, values, [item for item in written if isinstance(item, Tensor)])
        return result

    def _record(self, operation: Operation, values: list[Value], written: list[Tensor]) -> None:
        outputs = list(iter_outputs(operation.result))
        # No step of theory is an operation of the pass.
        with torch.utils._python_dispatch._disable_current_modes():  # noqa: SLF001
            made = self._make(operation, values, len(outputs))
        for output, value in zip(outputs, made, strict=False):
            if output.is_floating_point() or isinstance(value, Given):
                changed = any(output is target for target in written)
                if changed and not isinstance(value, Given | Mask) and not _is_whole(output):
                    where = self.builder.batch.module()
                    memory = StorageWeakRef(output.untyped_storage())  # type: ignore[no-untyped-call]
                    spoiled = Unknown(where, f"{operation.name} into a part of a tensor")
                    self._spoiled[_address(output)] = memory, spoiled
                self._note(output, value, changed=changed)

    def _note(self, tensor: Tensor, value: Value, *, changed: bool = False) -> None:
        # The counter of changes goes up when the operation that is followed has returned; of one that runs beneath
        # autograd it does not.
        now = tensor._version  # noqa: SLF001 - torch has no other name for it
        self._values[tensor] = value, {now, now + changed}

    def _make(self, operation: Operation, values: list[Value], outputs: int) -> list[Value]:
        for value in values:
            if isinstance(value, Unknown):
                return [value] * outputs
        try:
            made = self._follow(operation, values)
        except NotKnownError as error:
            return [self._unknown(f"{operation.name} {error}")] * outputs
        except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError):
            # Of arguments that were not thought of: torch has thousands of overloads.
            return [self._unknown(f"{operation.name} of such arguments")] * outputs
        return made if len(made) == outputs else [*made, *[self._unknown(operation.name)] * (outputs - len(made))]

    def _unknown(self, why: str) -> Unknown:
        unknown = Unknown(self.builder.batch.module(), why)
        self.first = self.first or unknown
        return unknown

    def _follow(self, operation: Operation, values: list[Value]) -> list[Value]:
        name = operation.name
        given = all(isinstance(value, Given) for value in values)
        if given and not _applies_weights(operation):
            return list(_given(operation))
        if name in MOVES:
            return move(operation, self.builder)
        if name in _PRODUCTS:
            return [self._product(operation)]
        if "attention" in name and "scaled_dot_product" in name:
            return [whole_attention(operation, self.builder)]
        handler = _HANDLERS.get(name)
        if handler is None:
            raise NotKnownError("is not known")
        return [handler(operation, self.builder)]

    def _product(self, operation: Operation) -> Value:
        shift = 0 if operation.name in {"mm", "bmm"} else 1
        left, right = operation.value(shift), operation.value(shift + 1)
        if operation.name == "bmm" and isinstance(left, Scores):
            return weighted_values(operation, self.builder)
        if operation.name in {"bmm", "baddbmm"} and isinstance(left, Signal) and isinstance(right, Signal):
            return scores_of(operation, self.builder)
        return matrix_product(operation, self.builder)


def _applies_weights(operation: Operation) -> bool:
    """Say whether an operation multiplies known numbers with weights, which makes a signal of them."""
    if operation.name == "convolution":
        return operation.value(1) is None
    if operation.name in _PRODUCTS:
        shift = 0 if operation.name in {"mm", "bmm"} else 1
        return operation.value(shift) is None or operation.value(shift + 1) is None
    return False


def _given(operation: Operation) -> list[Given]:
    """Return numbers computed from the input, of which it may still be known which sample they belong to."""
    values = [value for value in map(operation.value, range(len(operation.args))) if isinstance(value, Given)]
    shape = operation.shape
    outputs = len(list(iter_outputs(operation.result)))
    first = values[0] if values else Given(None)
    if operation.name in MOVES and isinstance(operation.value(0), Given):
        return move_given(operation, first)
    if operation.name == "embedding" and first.samples is not None:
        first = Given(first.samples.unsqueeze(-1).expand(shape))
    for value in (first, *values):
        if value.samples is not None and value.samples.shape == shape:
            return [value] * outputs
    return [Given(None)] * outputs


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - stays that of this memory while it is referred to


def _is_whole(tensor: Tensor) -> bool:
    return tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()

"""The tensors in what models and operations are given and return."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sppkit.joins.aliases import check_observable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def iter_tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors in what a model takes or returns."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from iter_tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from iter_tensors(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from iter_tensors(getattr(value, field.name))


def iter_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield the tensors that an operation is given, those in lists included."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            for item in value:
                if isinstance(item, Tensor):
                    yield item


def iter_outputs(result: object) -> Iterator[Tensor]:
    """Yield the tensors that an operation returns."""
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, (list, tuple)):
        for item in result:
            yield from iter_outputs(item)


def iter_unreturned(result: object, written: Sequence[object]) -> Iterator[Tensor]:
    """Yield what an operation changes in place without returning it, as those on lists of tensors do."""
    returned = [id(tensor) for tensor in iter_outputs(result)]
    for target in iter_outputs(written):
        if id(target) not in returned:
            yield target


def given(at: int | str, args: Sequence[Any]) -> bool:
    """Say whether an operation was given the argument at a position; by name it may have been left out."""
    return isinstance(at, str) or at < len(args)


def number_in(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float | None:
    """Return the number that a product multiplies by, or that a sum multiplies its second side by."""
    if name in {"mul", "div"}:
        numbers = [value for value in args[:2] if isinstance(value, (int, float))]
        if not numbers:
            return None
        number = float(numbers[0])
        return number if name == "mul" else 1 / number if number else None
    number = kwargs.get({"add": "alpha", "addcmul": "value", "addcdiv": "value"}.get(name, ""), 1)
    return None if number == 1 else float(number)


def is_signal(tensor: Tensor) -> bool:
    """Say whether a module's output is one that statistics can be taken of."""
    return tensor.is_floating_point() and tensor.ndim > 1 and tensor.numel() > 0


def is_strided(tensor: Tensor) -> bool:
    """Say whether a tensor lies in plain memory; a nested one is refused."""
    if tensor.is_nested:  # of which not even the layout can be asked
        check_observable(tensor)
    return tensor.layout is torch.strided


def is_weight(tensor: Tensor) -> bool:
    """Say whether a tensor that comes from no input can be a weight: a scalar or a bias mixes nothing."""
    return tensor.is_floating_point() and tensor.ndim > 1


def in_words(tensors: Sequence[Tensor]) -> str:
    """Say what a module returned of which no statistics can be taken."""
    if not tensors:
        return "returns no tensor"
    return f"returns shape {tuple(tensors[0].shape)}, {tensors[0].dtype}"

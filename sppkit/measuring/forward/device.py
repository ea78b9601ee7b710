"""Where a model runs: whether it has values at all, and moving it to another device."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import is_lazy

from sppkit.errors import MeasurementError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn


def check_values(model: nn.Module) -> None:
    """Check that every parameter and buffer of a model has values."""
    if not any(is_lazy(tensor) or tensor.is_meta for tensor in _tensors(model)):
        return
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(tensor):
            raise UsageError(
                f"{name!r} of {type(model).__name__} has no values yet: it is lazy, and the first forward pass would "
                "give it a shape for good.\nRun the model once yourself before you measure it."
            )
        if tensor.is_meta:
            raise UsageError(
                f"{name!r} of {type(model).__name__} has no values: it is on the meta device.\n"
                "Give the model its memory (to_empty) and its weights before you measure it."
            )


def find_target(model: nn.Module, device: object) -> torch.device:
    """Return where a model is to run."""
    if device is None:
        first = next(chain(model.parameters(), model.buffers()), None)
        return torch.device("cpu") if first is None else first.device
    target = parse_device(device)
    homes = sorted({str(parameter.device) for parameter in model.parameters()})
    if len(homes) > 1:
        raise UsageError(
            f"the model lies on several devices ({', '.join(homes)}); device={str(target)!r} would tear it apart.\n"
            "Leave device out, or move the model to one device yourself."
        )
    return target


def parse_device(device: object) -> torch.device:
    """Return a device of this machine."""
    usable = usable_devices()
    parsed = _parsed(device)
    if parsed is not None and parsed.type == "cpu":
        return torch.device("cpu")
    if parsed is not None and str(parsed) == parsed.type and f"{parsed.type}:0" in usable:
        parsed = torch.device(parsed.type, torch.accelerator.current_device_index())
    if parsed is None or str(parsed) not in usable:
        raise UsageError(f"there is no device {device!r} here; usable: {', '.join(usable)}.")
    return parsed


def usable_devices() -> list[str]:
    """Return the devices of this machine that torch can compute on."""
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None or not torch.accelerator.is_available():
        return ["cpu"]
    return ["cpu", *(f"{accelerator.type}:{index}" for index in range(torch.accelerator.device_count()))]


def wake(device: torch.device) -> None:
    """Start CUDA before its random state is to be saved; a seed that the user set earlier takes effect here."""
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]


def move(model: nn.Module, device: torch.device) -> None:
    """Move a model; ``preserved`` brings it home, also from a move that failed half-way."""
    if all(tensor.device == device for tensor in _tensors(model)):
        return
    try:
        model.to(device)
    except Exception as error:  # whatever a device or a model's own ``to`` raises
        fact = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MeasurementError(f"the model can't be moved to {str(device)!r}: {fact}") from error


def registered(modules: Iterable[nn.Module], registry: str) -> list[Any]:
    """Collect what modules have registered, each tensor once; torch's own iterators take longer, for names."""
    found = (tensor for module in modules for tensor in getattr(module, registry).values())
    return list({id(tensor): tensor for tensor in found if tensor is not None}.values())


def _tensors(model: nn.Module) -> list[Any]:
    modules = list(model.modules())
    return [*registered(modules, "_parameters"), *registered(modules, "_buffers")]


def _parsed(device: Any) -> torch.device | None:
    try:
        parsed: torch.device = torch.device(device)
    except (RuntimeError, TypeError):  # no device's name, or nothing that could be one
        return None
    return parsed

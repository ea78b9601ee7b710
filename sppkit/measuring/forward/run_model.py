"""Running a network on a batch: the batch's form, the mode, and an error that says how far the network came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from sppkit import registry
from sppkit.errors import MeasurementError, SppkitError, UsageError
from sppkit.inputs.call import Call
from sppkit.joins.operands import iter_tensors

if TYPE_CHECKING:
    from sppkit.sites import Site

Mode = Literal["train", "eval"]

_FORMS = "a tensor, a mapping (passed as keywords), a tuple whose first element is passed, or an sppkit.Call"


def iter_batches(inputs: object, name: str = "inputs") -> Iterator[object]:
    """Return the batches of any accepted form of input."""
    if isinstance(inputs, (Tensor, Mapping, tuple, Call)):
        return iter((inputs,))
    if isinstance(inputs, np.ndarray):
        raise UsageError(f"{name} must hold tensors, not a NumPy array: torch.from_numpy makes one of it.")
    if isinstance(inputs, Iterable) and not isinstance(inputs, (str, bytes)):
        return iter(inputs)
    raise UsageError(
        f"{name} must be a tensor, a mapping, a tuple, an sppkit.Call, or an iterable of these, not "
        f"{type(inputs).__name__}."
    )


def call_model(model: nn.Module, batch: object, device: torch.device) -> object:
    """Run a model on one batch, moved to a device, and return what it returns."""
    if isinstance(batch, (tuple, list)):
        batch = _first(batch)
    if isinstance(batch, Mapping):
        call = Call.by_name(batch)
    elif isinstance(batch, Tensor):
        if batch.numel() == 0:
            raise UsageError(f"the batch of shape {tuple(batch.shape)} is empty: there is nothing to measure in it.")
        call = Call(batch)
    elif isinstance(batch, Call):
        call = batch
    else:
        raise UsageError(f"a batch must be {_FORMS}, not {_kind(batch)}.")
    moved = call.mapped(partial(_moved, device=device))
    with _unchanged(iter_tensors((moved.arguments, moved.keywords))), _runs(model, moved.method):
        own = moved.mapped(_differentiable)
        return model(*own.arguments, **own.keywords)


@contextmanager
def _runs(model: nn.Module, method: str) -> Iterator[None]:
    """Let a call of the model run another method than ``forward``: the hooks of a module are heard where it is called.

    Where that method calls the model itself, as a training step does, ``forward`` runs.
    """
    if method == "forward":
        yield
        return
    run = getattr(model, method, None)
    if not callable(run):
        registry.check_name(f"method of {type(model).__name__}:", method, _methods(model))
        raise UsageError(f"{type(model).__name__}.{method} can't be called.")
    own = vars(model)
    before = {"forward": own["forward"]} if "forward" in own else {}

    def restore() -> None:
        own.pop("forward", None)
        own.update(before)

    def run_once(*arguments: object, **keywords: object) -> object:
        restore()
        return run(*arguments, **keywords)

    own["forward"] = run_once
    try:
        yield
    finally:
        restore()


def _methods(model: nn.Module) -> list[str]:
    """Return the names of what the classes of a model define beyond a module's own."""
    own = (name for kind in type(model).__mro__ if kind not in nn.Module.__mro__ for name in vars(kind))
    return [name for name in dict.fromkeys(own) if not name.startswith("_") and callable(getattr(model, name, None))]


def _differentiable(value: Tensor) -> Tensor:
    """Return an input that autograd follows; where nothing is differentiated, the very tensor."""
    if not torch.is_grad_enabled() or not value.is_floating_point():
        return value
    own = value.clone() if value.is_inference() else value.detach()
    return own.requires_grad_().clone()  # no leaf, which a model might not change in place


@contextmanager
def _unchanged(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Put back what a model writes into its own input, as an in-place activation at its start does."""
    # Sparse tensors and those of inference mode don't count their changes.
    counted = [item for item in tensors if item.layout is torch.strided and not item.is_inference()]
    saved = [(item, item._version, item.clone()) for item in counted]  # noqa: SLF001 - torch has no other name for it
    try:
        yield
    finally:
        for item, version, values in saved:
            if item._version != version:  # noqa: SLF001
                item.data.copy_(values)


def check_mode(mode: object) -> None:
    """Check the name of a mode."""
    if mode is not None and not (isinstance(mode, str) and mode in {"train", "eval"}):
        raise UsageError(f"mode must be 'train', 'eval' or None, not {mode!r}.")


def set_mode(model: nn.Module, mode: Mode | None) -> None:
    """Set train or eval mode; ``preserved`` restores the modules' own flags."""
    check_mode(mode)
    if mode is not None:
        model.train(mode == "train")


def reached(site: Site | None) -> str:
    """Say how far a forward pass came."""
    return f"after {site.name}" if site is not None else "before the first block"


def explain_failure(error: Exception, where: str) -> SppkitError:
    """Turn an exception of the forward pass into one that says how far it came."""
    if isinstance(error, SppkitError):
        return error
    fact = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return MeasurementError(f"the forward pass failed {where}: {fact}")


def _first(batch: tuple[object, ...] | list[object]) -> object:
    if not batch:
        raise UsageError("a batch given as a tuple must not be empty; its first element is passed to the model.")
    return batch[0]


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return "a NumPy array (torch.from_numpy makes a tensor of it)"
    return type(value).__name__


def _moved(value: Tensor, device: torch.device) -> Tensor:
    if value.is_nested:
        raise UsageError("the input is a nested tensor, which has no one shape: pad it to one length.")
    if value.is_meta:
        raise UsageError("the input is on the meta device: it has a shape but no values to measure.")
    # Of a sparse tensor it can't be asked.
    dense = value.layout is torch.strided
    if dense and value.is_floating_point() and not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        raise UsageError(f"the input has {bad} of {value.numel()} values that are not finite; clean it first.")
    return value.to(device)

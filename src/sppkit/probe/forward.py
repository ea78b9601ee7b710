"""Running a network on a batch: the batch's form, the mode, the numerics, and an error that says how far it came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from sppkit.errors import MeasurementError, SppkitError, UsageError

if TYPE_CHECKING:
    from sppkit.sites import Site

Mode = Literal["train", "eval"]


def iter_batches(inputs: object) -> Iterator[object]:
    """Yield the batches of any accepted form of input.

    Args:
        inputs: One batch (a tensor, a mapping that is passed as keywords, or a tuple whose first element is passed),
            or a list or other iterable of batches.

    Yields:
        One batch at a time.

    Raises:
        UsageError: If it is none of these.
    """
    if isinstance(inputs, (Tensor, Mapping, tuple)):
        yield inputs
    elif isinstance(inputs, Iterable) and not isinstance(inputs, (str, bytes)):
        yield from inputs
    else:
        raise UsageError(
            f"inputs must be a tensor, a mapping, a tuple, or an iterable of these, not {type(inputs).__name__}."
        )


def call_model(model: nn.Module, batch: object, device: torch.device) -> None:
    """Run a model on one batch, moved to a device; the output is dropped.

    Args:
        model: The model.
        batch: A tensor, a mapping (passed as keywords), or a tuple or list whose first element is passed.
        device: Where the model is.
    """
    if isinstance(batch, (tuple, list)):
        batch = _first(batch)
    if isinstance(batch, Mapping):
        model(**{name: _moved(value, device) for name, value in batch.items()})
    else:
        model(_moved(batch, device))


def set_mode(model: nn.Module, mode: Mode | None) -> None:
    """Set train or eval mode; ``preserved`` restores the modules' own flags.

    Args:
        model: The model.
        mode: ``"train"``, ``"eval"``, or None to keep the flags as they are.

    Raises:
        UsageError: For another mode.
    """
    if mode not in {None, "train", "eval"}:
        raise UsageError(f"mode must be 'train', 'eval' or None, not {mode!r}.")
    if mode is not None:
        model.train(mode == "train")


@contextmanager
def full_float32() -> Iterator[None]:
    """Switch off TF32, which CUDA convolutions use by default: float32 means float32 here.

    Yields:
        Nothing.
    """
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def explain_failure(error: Exception, last: Site | None) -> SppkitError:
    """Turn an exception of the forward pass into one that names the last site reached.

    Args:
        error: What the model raised.
        last: The last site reached, or None.

    Returns:
        The exception to raise from ``error``.
    """
    if isinstance(error, SppkitError):
        return error
    where = f"behind {last.name}" if last is not None else "before the first block"
    fact = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return MeasurementError(f"the forward pass failed {where}: {fact}")


def _first(batch: tuple[object, ...] | list[object]) -> object:
    if not batch:
        raise UsageError("a batch given as a tuple must not be empty; its first element is passed to the model.")
    return batch[0]


def _moved(value: object, device: torch.device) -> object:
    if not isinstance(value, Tensor):
        return value
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        raise UsageError(f"the input has {bad} of {value.numel()} values that are not finite; clean it first.")
    return value.to(device)

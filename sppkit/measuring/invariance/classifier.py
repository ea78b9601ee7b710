"""A network as a classifier: one distribution over classes for each picture, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sppkit.errors import MeasurementError, UsageError
from sppkit.measuring.forward.run_model import call_model, explain_failure
from sppkit.stats.divergence import log_probabilities

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    # From pictures as a network takes them to log p(class | picture).
    Answer = Callable[[Tensor], Tensor]

# One picture's log-probabilities beside another neighbour: kernels of another order of sums differ by 1e-6 in float32
# and by 1e-2 in half precision, batch statistics by 0.1 and more.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
_COARSE = 0.1
_FEWEST = 2
# Half precision rounds a sum of probabilities by so much.
_SUM_OF_PROBABILITIES = 5e-3


def classify(model: nn.Module, pictures: Tensor, device: torch.device) -> Tensor:
    """Return log p(class | picture), shape (N, K), float64, on the CPU."""
    try:
        output = call_model(model, pictures, device)
    except Exception as error:  # whatever a model raises
        raise explain_failure(error, f"on pictures of shape {tuple(pictures.shape)}") from error
    return log_probabilities(_logits(output, len(pictures), type(model).__name__).cpu())


def check_classifier(model: nn.Module, answer: Answer, pictures: Tensor, largest: int) -> None:
    """Refuse a network that lacks the largest class of the pictures, or answers to two of them not one by one.

    That is, one whose answer to the first of two different pictures depends on the second, or on chance.
    """
    log_p = answer(pictures)
    if largest >= log_p.shape[1]:
        raise UsageError(
            f"there are pictures of class {largest}, and {type(model).__name__} has {log_p.shape[1]} outputs, of the "
            f"classes 0 to {log_p.shape[1] - 1}.\nIs it another data set's network, or do the labels begin at 1?"
        )
    beside_another = log_p[0]
    beside_itself = answer(pictures[:1].repeat(2, 1, 1, 1))[0]
    both = torch.isfinite(beside_another) & torch.isfinite(beside_itself)
    moved = float((beside_another - beside_itself)[both].abs().max()) if both.any() else 0.0
    scale = max(1.0, float(beside_itself[both].abs().max())) if both.any() else 1.0
    if moved > _TOLERANCE.get(pictures.dtype, _COARSE) * scale:
        raise UsageError(
            f"{type(model).__name__} answers differently to the same picture in another batch, in eval mode: its "
            f"log-probabilities move by {moved:.2g}.\nIt normalizes by the batch (track_running_stats=False?) or is "
            "random; invariance can be measured of a function of one picture."
        )


def _logits(output: object, pictures: int, name: str) -> Tensor:
    logits = _find_logits(output)
    if logits is None or logits.ndim != 2 or len(logits) != pictures or not logits.is_floating_point():
        found = f"shape {tuple(logits.shape)}, {logits.dtype}" if logits is not None else type(output).__name__
        raise UsageError(
            f"{name} must return logits of shape (pictures, classes), here ({pictures}, K), not {found}.\n"
            "Wrap it in a module that returns them: one number per class, before the softmax."
        )
    if logits.shape[1] < _FEWEST:
        raise UsageError(
            f"{name} returns one number per picture; a classifier of two classes needs two: torch.cat([0 * z, z], 1)."
        )
    if bool(logits.isnan().any()) or bool((logits == torch.inf).any()):
        raise MeasurementError(f"{name} returned logits that are nan or infinite; there is no distribution to compare.")
    if bool((logits >= 0).all()) and bool(((logits.sum(dim=1) - 1).abs() < _SUM_OF_PROBABILITIES).all()):
        raise UsageError(
            f"{name} returns probabilities, which sum to 1; logits are needed, or the logarithm of these.\n"
            "Take the softmax out of it: one number per class, before the softmax."
        )
    return logits


def _find_logits(output: object) -> Tensor | None:
    """Return the logits of what a model returns: a tensor, a tuple that begins with one, or what has ``logits``."""
    if isinstance(output, (tuple, list)) and output:
        output = getattr(output, "logits", output[0])  # a named tuple may have a field of that name
    elif isinstance(output, Mapping):
        output = output.get("logits")
    else:
        output = getattr(output, "logits", output)
    return output if isinstance(output, Tensor) else None

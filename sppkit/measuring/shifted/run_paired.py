"""Running a network on paired batches: calibrated, in eval mode, and leaving no trace."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from sppkit.errors import UsageError
from sppkit.joins.operands import iter_tensors
from sppkit.measuring.forward.calibrate import averaging
from sppkit.measuring.forward.feed import feed, warm_up
from sppkit.measuring.forward.full_precision import full_float32
from sppkit.measuring.forward.preserve import preserved
from sppkit.measuring.forward.random_state import seed_torch
from sppkit.measuring.forward.run_model import call_model, explain_failure, set_mode
from sppkit.measuring.other_way import OtherWayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import nn

    from sppkit.inputs.batches import Batch
    from sppkit.measuring.shifted.paired_probe import PairedProbe

T = TypeVar("T")

# By so much of the largest value, the same sample may differ between two batches: sums of another order, over a deep
# network. Where samples influence each other, they differ by as much as they are.
_ALIKE, _ALIKE_IN_HALF = 0.01, 0.2


def run_paired(
    probe: PairedProbe,
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    seed: int,
    warmup: Iterable[object] = (),
) -> None:
    """Run a model on batches that hold every sample in all its forms, inside a probe.

    First the samples of the first batch pass alone, as they are: what comes out must be what comes out of them beside
    the shifted ones, or it would not be known what the shift did.
    """
    with preserved(model), full_float32(), torch.no_grad():
        seed_torch(seed)
        with averaging(model):
            warm_up(model, warmup, device)
        set_mode(model, "eval")
        remaining = iter(batches)
        first = next(remaining, None)
        if first is None:
            raise UsageError("there is no batch to measure: the inputs are empty.")
        _check_samples(first, probe.forms)
        check = _Independence(_leading(_pass(model, _leading_batch(first, probe.forms), device)), probe.forms)
        with probe:
            feed(model, _told(chain((first,), remaining), probe), device, probe, check)


def twice_if_needed(once: Callable[..., T]) -> T:
    """Run a network whose joins are found with a few samples, and with all of them where the pass has other ones."""
    with suppress(OtherWayError):
        return once(trusts=True)
    return once(trusts=False)


class _Independence:
    """Check, at the first output, that samples do not influence each other."""

    def __init__(self, alone: Tensor | None, forms: int) -> None:
        self._alone, self._forms = alone, forms

    def __call__(self, output: object) -> None:
        alone, self._alone = self._alone, None
        beside = None if alone is None else _leading(output)
        if alone is None or beside is None or len(beside) != self._forms * len(alone):
            return
        beside = beside[: len(alone)].to(alone)
        largest = float(alone.abs().amax()) if alone.numel() else 0.0
        limit = _ALIKE if alone.dtype in {torch.float32, torch.float64} else _ALIKE_IN_HALF
        if float((beside - alone).abs().amax()) > limit * largest:
            raise UsageError(
                "in eval mode, this network returns something else for the same samples when others stand beside them: "
                "it normalizes by the batch, or is random. What a shift does to it can't be told from that.\n"
                "Let it use running statistics (track_running_stats=True), and no randomness in eval mode."
            )


def _pass(model: nn.Module, batch: Batch, device: torch.device) -> object:
    try:
        return call_model(model, batch, device)
    except Exception as error:  # whatever a model raises
        raise explain_failure(error, "on the unshifted samples") from error


def _leading(output: object) -> Tensor | None:
    # The first tensor of floating-point numbers that a model returns.
    return next((item for item in iter_tensors(output) if item.is_floating_point() and item.ndim > 0), None)


def _leading_batch(batch: Batch, forms: int) -> Batch:
    if isinstance(batch, Mapping):
        return {name: value[: len(value) // forms] for name, value in batch.items()}
    return batch[: len(batch) // forms]


def pictures_in(batch: Batch) -> Tensor:
    """Return the pictures of a batch, which may be handed over by the name of an argument."""
    return next(iter(batch.values())) if isinstance(batch, Mapping) else batch


def _check_samples(first: Batch, forms: int) -> None:
    if len(pictures_in(first)) // forms < 2:
        raise UsageError(
            "how far a shift moves a signal is measured by how far two samples are from each other: give two pictures "
            "or more, and --batch-size 2 or more."
        )


def _told(batches: Iterable[Batch], probe: PairedProbe) -> Iterator[Batch]:
    for batch in batches:
        probe.begin_batch(pictures_in(batch))
        yield batch

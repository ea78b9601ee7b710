"""The signal of the user's own network, on the user's own pictures, under shifts of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sppkit.config.parsers import parse_seed
from sppkit.config.shifts import parse_shift, shift_options
from sppkit.errors import UsageError
from sppkit.inputs.shifts.apply_shift import apply_shift
from sppkit.measuring.forward.calibrate import batches_needed
from sppkit.measuring.forward.device import check_values, find_target, move, wake
from sppkit.measuring.forward.preserve import preserved
from sppkit.measuring.forward.run_model import iter_batches
from sppkit.measuring.shifted.paired_probe import PairedProbe
from sppkit.measuring.shifted.run_paired import run_paired, twice_if_needed
from sppkit.measuring.shifted.tabulate import iter_shift_rows
from sppkit.record.shift_table import build_shift_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from torch import Tensor, nn

    from sppkit.config.shifts import ChosenShift


def measure_shift(
    model: nn.Module,
    inputs: object,
    shifts: Sequence[str] | str,
    *,
    normalize: Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    warmup: int | None = None,
    sites: str | Path | Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Push pictures through a model as they are and shifted, and return what the shift does to its signal.

    The model runs in eval mode, on each batch together with its shifted forms, and is left as it was. Running
    statistics that are still at their initial 0 and 1 are calibrated first, on the pictures as they are.

    Args:
        model: A network whose samples do not influence each other in eval mode.
        inputs: One batch of pictures, (N, C, H, W) with values in [0, 1], or an iterable of batches; two pictures or
            more in each. ``apr-p`` and ``crossnorm`` pair those of one batch.
        shifts: One shift or several, as they are typed after ``--shift``.
        normalize: From pictures to what the model takes; as they are, if None.
        seed: Seed of what is random in the shifts and the model, and the table's ``seed`` column.
        device: Where to run; where the model is, if None.
        warmup: Batches to calibrate uncalibrated running statistics with, at least as many as there are; as many as
            there are, if None.
        sites: As for ``Probe``.

    Returns:
        One row per shift and block, and one for the input (block -1), columns as in
        ``sppkit.record.shift_table.SHIFT_COLUMNS``; docs/shift.md defines them.

    Raises:
        UsageError: If the model, the pictures, a shift or an option can't be used.
        MeasurementError: If the forward pass fails.
    """
    chosen = [parse_shift(text) for text in shift_options("shift", list(shifts) if _are_several(shifts) else shifts)]
    pictures, seed = list(_iter_pictures(inputs)), parse_seed("seed", seed)
    target = find_target(model, device)
    check_values(model)
    wake(target)
    calibrating = batches_needed(model, max(len(pictures), warmup or 0)) if pictures else 0
    prepare = normalize or _unchanged

    def once(*, trusts: bool) -> PairedProbe:
        probe = PairedProbe(model, 1 + len(chosen), sites=sites)
        if trusts:
            probe.trust()
        warming = (prepare(pictures[number % len(pictures)]) for number in range(calibrating))
        run_paired(
            probe, model, _iter_paired(pictures, chosen, prepare, seed), device=target, seed=seed, warmup=warming
        )
        return probe

    with preserved(model, attributes=True):
        if device is not None:  # else it stays where it is
            move(model, target)
        probe = twice_if_needed(once)
    return build_shift_table(iter_shift_rows(probe, chosen, seed))


def _iter_paired(
    pictures: Sequence[Tensor], shifts: Sequence[ChosenShift], prepare: Callable[[Tensor], Tensor], seed: int
) -> Iterator[Tensor]:
    first = 0
    for batch in pictures:
        forms = [batch, *(apply_shift(batch, chosen.text, seed=seed, first=first) for chosen in shifts)]
        yield torch.cat([prepare(form) for form in forms])
        first += len(batch)


def _unchanged(pictures: Tensor) -> Tensor:
    return pictures


def _are_several(shifts: object) -> bool:
    return not isinstance(shifts, str) and isinstance(shifts, (list, tuple))


def _iter_pictures(inputs: object) -> Iterator[Tensor]:
    for batch in iter_batches(inputs):
        picture = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
        if not isinstance(picture, torch.Tensor):
            raise UsageError(f"a batch of pictures must be a tensor (N, C, H, W), not {type(picture).__name__}.")
        yield picture

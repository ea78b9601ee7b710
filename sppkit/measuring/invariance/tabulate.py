"""From a question to a classifier to its answers, and from these to tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from sppkit.config.parsers import parse_seed, whole_number
from sppkit.errors import UsageError
from sppkit.inputs.shifts.nuisance import choose_nuisance
from sppkit.measuring.declared_sites import as_network
from sppkit.measuring.invariance.estimate import ask
from sppkit.stats.feature_distances import signal_to_shift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt
    from torch import nn

    from sppkit.inputs.shifts.nuisance import Nuisance
    from sppkit.measuring.invariance.blocks import BlockMeter
    from sppkit.measuring.invariance.estimate import OnPass, Responses
    from sppkit.measuring.invariance.pictures import Pictures

    Sizes = Mapping[int, int] | Sequence[int]

_MOST_DRAWS = 1_000_000
_BLOCK_COLUMNS = (
    *("block", "stage", "name", "channels", "class", "samples"),
    *("signal_to_shift", "signal_to_shift_se"),
)


def measure_invariance(
    model: nn.Module,
    pictures: Pictures,
    *,
    nuisance: str | Callable[..., torch.Tensor],
    draws: int,
    seed: int,
    device: object = None,
    meter: BlockMeter | None = None,
    on_pass: OnPass | None = None,
) -> tuple[Responses, Nuisance]:
    """Ask a classifier, and check that the question made sense; return its answers and the nuisance."""
    chosen = choose_nuisance(nuisance)
    if not chosen.any_values and not pictures.labelled.in_unit_range:
        raise UsageError(
            f"the nuisance {chosen.text} is for pictures in [0, 1], and these have other values.\n"
            "Give them before normalization, and normalize=(mean, standard deviation)."
        )
    responses = ask(
        as_network(model),
        pictures,
        chosen,
        draws=whole_number(1, _MOST_DRAWS)("draws", draws),
        seed=parse_seed("seed", seed),
        device=device,
        meter=meter,
        on_pass=on_pass,
    )
    if chosen.registered and not responses.is_moved:
        raise UsageError(
            f"the nuisance {chosen.text} changed none of the {len(pictures.labelled)} pictures: there is nothing to be "
            "invariant to.\nIs its setting that of these pictures, as background:value=255 for white paper?"
        )
    return responses, chosen


def tabulate_classes(
    responses: Responses, labels: npt.NDArray[np.int64], train_sizes: Sizes | None = None
) -> pd.DataFrame:
    """Return one row per class, columns as ``invariance`` describes them."""
    rows = [_class_row(responses, torch.from_numpy(labels), int(label)) for label in np.unique(labels)]
    table = pd.DataFrame(rows)
    if train_sizes is not None:
        table["train_size"] = pd.array(_sizes(train_sizes, table["class"].tolist()), dtype="Int64")
    return table


def tabulate_blocks(meter: BlockMeter, labels: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Return one row per block, for all pictures and for each class, as ``invariance_by_block`` describes them."""
    table = pd.DataFrame(_iter_block_rows(meter, labels), columns=_BLOCK_COLUMNS)
    return table.astype({"stage": "Int64", "class": "Int64"})


def _class_row(responses: Responses, labels: torch.Tensor, label: int) -> dict[str, Any]:
    own = labels == label
    likeliest = responses.log_p[own].argmax(dim=1)
    divergences = responses.divergence[own]
    agrees = (responses.likeliest[own] == likeliest[:, None]).double()
    return {
        "class": label,
        "samples": int(own.sum()),
        "ekld": float(divergences.mean()),
        "ekld_se": _error(divergences.mean(dim=1)),
        "ekld_median": float(np.median(divergences.numpy())),
        "consistency": float(agrees.mean()),
        "consistency_se": _error(agrees.mean(dim=1)),
        "confidence": float(responses.log_p[own].exp().amax(dim=1).mean()),
        "accuracy": float((likeliest == label).double().mean()),
        "transformed_accuracy": float((responses.likeliest[own] == label).double().mean()),
    }


def _error(by_picture: torch.Tensor) -> float:
    """Return the standard error of a mean over pictures; one picture has none."""
    return float(by_picture.std()) / len(by_picture) ** 0.5 if len(by_picture) > 1 else float("nan")


def _iter_block_rows(meter: BlockMeter, labels: npt.NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    groups = [(None, np.ones(len(labels), bool))] + [(int(label), labels == label) for label in np.unique(labels)]
    for site, found in sorted(meter.distances.items(), key=lambda item: item[0].block):
        comparable = found.usable and not found.is_flat
        moved, apart = (torch.cat(parts) if comparable else None for parts in (found.moved, found.apart))
        for label, own in groups:
            value = error = float("nan")
            if moved is not None and apart is not None:
                rows = torch.from_numpy(own)
                value, error = signal_to_shift(moved[rows], apart[rows])
            yield {
                "block": site.block,
                "stage": site.stage,
                "name": site.name,
                "channels": len(found.spread.mean),
                "class": label,
                "samples": int(own.sum()),
                "signal_to_shift": value,
                "signal_to_shift_se": error,
            }


def _sizes(sizes: Sizes, classes: Sequence[int]) -> list[int]:
    by_class = dict(sizes) if isinstance(sizes, Mapping) else dict(enumerate(sizes))
    missing = [label for label in classes if label not in by_class]
    if missing:
        raise UsageError(
            f"no number of training examples is given for class {missing[0]}, of which there are pictures."
        )
    return [int(by_class[label]) for label in classes]

"""How far a classifier answers alike to what should not matter: eKLD, consistency, and where it arises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from sppkit.config.parsers import parse_seed, whole_number
from sppkit.errors import UsageError
from sppkit.inputs.labelled import from_tensors
from sppkit.measuring.declared_sites import as_network
from sppkit.measuring.invariance.blocks import BlockMeter
from sppkit.measuring.invariance.estimate import ask
from sppkit.measuring.invariance.pictures import Pictures, read_normalization
from sppkit.shifts.nuisance import choose_nuisance
from sppkit.stats.feature_distances import signal_to_shift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from torch import nn

    from sppkit.measuring.invariance.estimate import OnPass, Responses
    from sppkit.shifts.nuisance import Nuisance

    Sizes = Mapping[int, int] | Sequence[int]
    Normalize = tuple[float | Sequence[float], float | Sequence[float]]

_MOST_DRAWS = 1_000_000
_BATCH = 64


def invariance(
    model: nn.Module,
    inputs: object,
    labels: object,
    *,
    nuisance: str | Callable[..., torch.Tensor],
    draws: int = 8,
    seed: int = 0,
    train_sizes: Sizes | None = None,
    normalize: Normalize | None = None,
    batch_size: int = _BATCH,
    device: str | torch.device | None = None,
) -> pd.DataFrame:
    """Measure class by class how far a classifier's answer moves under a nuisance: its eKLD and its consistency.

    eKLD(c) = E over pictures x of class c, E over T of KL(p(·|x) ‖ p(·|Tx)), in nats (Zhou et al. 2022,
    arXiv:2203.09739): 0 if and only if the answers ignore T. x and Tx are always the same picture, where the released
    code compares with another picture of the class. The model is run in eval mode, and left as it was.

    Args:
        model: A classifier: from pictures to logits (N, K), or something whose ``logits`` these are.
        inputs: Pictures before any normalization, in [0, 1], shape (N, C, H, W) or (N, H, W); uint8 is divided by 255.
        labels: Their classes, positions of the model's outputs, shape (N,).
        nuisance: A name with its settings (``sppkit list nuisances``; any shift will do), or a function of n pictures
            and n ``numpy.random.Generator`` that returns the pictures transformed.
        draws: Transformations per picture.
        seed: Seed of the transformations: draw d of picture i has the stream ``nuisance/<name>/<d>/<i>``.
        train_sizes: Training examples per class, by class or in the classes' order, for the column ``train_size``.
        normalize: (mean, standard deviation) that the model's input is normalized by, a number or one per channel.
        batch_size: Pictures at a time; it changes no number but by rounding.
        device: Where to run; where the model is, if None.

    Returns:
        One row per class: ``class``, ``samples``, ``ekld``, its standard error over pictures ``ekld_se`` (not over
        draws, which share a picture), the median of the divergences ``ekld_median``, the share of (x, T) with one and
        the same likeliest class ``consistency`` and its error ``consistency_se``, the mean largest probability of the
        pictures as they are ``confidence`` (classifiers compare at like confidence only), the shares of right answers
        ``accuracy`` and ``transformed_accuracy``, and ``train_size`` where sizes were given.

    Raises:
        UsageError: If pictures, labels, model and nuisance do not go together, or the model's answer to one picture
            depends on the others in its batch, as with batch statistics.
        MeasurementError: If its forward pass fails.
    """
    pictures = _pictures(inputs, labels, normalize, batch_size)
    responses, _ = measure_invariance(model, pictures, nuisance=nuisance, draws=draws, seed=seed, device=device)
    return tabulate_classes(responses, pictures.labelled.labels, train_sizes)


def invariance_by_block(
    model: nn.Module,
    inputs: object,
    labels: object,
    *,
    nuisance: str | Callable[..., torch.Tensor],
    draws: int = 8,
    seed: int = 0,
    normalize: Normalize | None = None,
    batch_size: int = _BATCH,
    device: str | torch.device | None = None,
    sites: str | Path | Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Measure block by block how far a network's features move under a nuisance, of all pictures and of each class.

    With h the channel means of a block's output, 1 - E‖h(Tx) - h(x)‖² / E‖h(x') - h(x)‖², x' another of the pictures:
    1 where T does not reach, 0 where it moves the features as far as to another picture.

    Args:
        model: As for ``invariance``; its blocks are found as ``measure`` finds them.
        inputs: As for ``invariance``.
        labels: As for ``invariance``.
        nuisance: As for ``invariance``.
        draws: As for ``invariance``.
        seed: As for ``invariance``.
        normalize: As for ``invariance``.
        batch_size: As for ``invariance``.
        device: As for ``invariance``.
        sites: Corrections of what is found, as for ``measure``.

    Returns:
        One row per block and class, and one per block of all pictures, whose ``class`` is absent: ``block, stage,
        name, channels, class, samples, signal_to_shift, signal_to_shift_se``. Absent where there is nothing to
        compare: features that do not tell pictures apart, as behind instance norm, or one row for several pictures.

    Raises:
        UsageError: As for ``invariance``.
        MeasurementError: As for ``invariance``.
    """
    pictures = _pictures(inputs, labels, normalize, batch_size)
    meter = BlockMeter(as_network(model), sites)
    measure_invariance(model, pictures, nuisance=nuisance, draws=draws, seed=seed, device=device, meter=meter)
    return tabulate_blocks(meter, pictures.labelled.labels)


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
    if chosen.registered and not pictures.labelled.in_unit_range:
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
    table = pd.DataFrame(_iter_block_rows(meter, labels))
    return table.astype({"stage": "Int64", "class": "Int64"})


def _pictures(inputs: object, labels: object, normalize: Normalize | None, batch_size: object) -> Pictures:
    labelled = from_tensors(inputs, labels)
    normalization = read_normalization(normalize, labelled.shape[0])
    return Pictures(labelled, normalization, whole_number(1)("batch_size", batch_size))


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

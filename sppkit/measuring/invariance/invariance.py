"""How far a classifier answers alike to what should not matter: eKLD, consistency, and where it arises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sppkit.config.parsers import whole_number
from sppkit.inputs.labelled import from_tensors
from sppkit.measuring.declared_sites import as_network
from sppkit.measuring.invariance.blocks import BlockMeter
from sppkit.measuring.invariance.pictures import Pictures, computed_in, read_normalization
from sppkit.measuring.invariance.tabulate import measure_invariance, tabulate_blocks, tabulate_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    import torch
    from torch import nn

    from sppkit.measuring.invariance.tabulate import Sizes

    Normalize = tuple[float | Sequence[float], float | Sequence[float]]

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
    pictures = _pictures(as_network(model), inputs, labels, normalize, batch_size)
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
    pictures = _pictures(as_network(model), inputs, labels, normalize, batch_size)
    meter = BlockMeter(as_network(model), sites)
    measure_invariance(model, pictures, nuisance=nuisance, draws=draws, seed=seed, device=device, meter=meter)
    return tabulate_blocks(meter, pictures.labelled.labels)


def _pictures(
    model: nn.Module, inputs: object, labels: object, normalize: Normalize | None, batch_size: object
) -> Pictures:
    labelled = from_tensors(inputs, labels)
    normalization = read_normalization(normalize, labelled.shape[0])
    return Pictures(labelled, normalization, whole_number(1)("batch_size", batch_size), computed_in(model))

"""The curves that follow from a network's own weights, without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sppkit.config.parsers import whole_number
from sppkit.errors import UsageError
from sppkit.models.places import INPUT_CHANNELS
from sppkit.models.resnet import PreActivationResNet
from sppkit.prediction.weights_description import describe_resnet
from sppkit.record.table import build_table
from sppkit.theory.weights_propagation import Place, batch_statistics, gaussian_field, iter_places

if TYPE_CHECKING:
    import pandas as pd


def predict_from_weights(
    model: PreActivationResNet, *, image_size: int = 224, batch_size: int = 8, seed: int = 0
) -> pd.DataFrame:
    """Predict a network's curves on Gaussian input from the weights that it has, drawn, trained or loaded.

    Mean and variance of every channel at every position are propagated through the actual weights, normalizers and
    activations, as if channels and positions were independent Gaussians: what the measurement shows beyond that is what
    correlations do. Takes as long as a forward pass of a few samples in float64.

    Args:
        model: A named architecture; its training flags decide whose statistics normalizers take. It is only read.
        image_size: Side of the input, N(0, 1) noise.
        batch_size: Samples; a mean over few values is not zero.
        seed: What the table's ``seed`` column says.

    Returns:
        One row per block: the first columns as in a measured table, its statistics empty, then
        ``predicted_channel_squared_mean``, ``predicted_channel_variance`` and ``predicted_residual_variance``.

    Raises:
        UsageError: If the model is none of the named architectures, or a part of it has no known moments.

    >>> from sppkit.models.build import build_model
    >>> model = build_model("nf-resnet", stages=(1,), width=0.25, stem="no-pool", padding="circular")
    >>> predicted = predict_from_weights(model, image_size=16)
    >>> print(f"{predicted['predicted_residual_variance'][1]:.2f}")
    1.00
    """
    if not isinstance(model, PreActivationResNet):
        raise UsageError(
            f"predict_from_weights needs a named architecture (sppkit.build_model), not {type(model).__name__}."
        )
    size, samples = whole_number(1)("image_size", image_size), whole_number(1)("batch_size", batch_size)
    with torch.no_grad():
        stem, blocks = describe_resnet(model)
        places = list(iter_places(stem, blocks, gaussian_field((INPUT_CHANNELS, size, size))))
    return build_table(_row(seed, block, place, samples) for block, place in enumerate(places))


def _row(seed: int, block: int, place: Place, samples: int) -> dict[str, Any]:
    channels, height, width = place.output.mean.shape
    output = batch_statistics(place.output, samples)
    branch = None if place.branch is None else batch_statistics(place.branch, samples).variance
    return {
        "seed": seed,
        "block": block,
        "stage": place.stage,
        "name": place.name,
        "channels": channels,
        "height": height,
        "width": width,
        "nonfinite": 0,
        "predicted_channel_squared_mean": output.squared_mean,
        "predicted_channel_variance": output.variance,
        "predicted_residual_variance": branch,
    }

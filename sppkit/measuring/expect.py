"""The one way to theory's curves: of a named architecture, or of any network and its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sppkit.errors import UsageError
from sppkit.prediction.predict import predict as predict_architecture

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn


def predict(network: str | nn.Module = "", inputs: object = None, *, arch: str = "", **options: Any) -> pd.DataFrame:
    """Predict a network's curves: of a named architecture, or of any network that theory knows.

    ``predict("nf-resnet", depth=50)`` is that of a named architecture under Gaussian input, with the options of
    ``build_model`` and ``image_size``, ``shape``, ``batch_size``, ``batches``, ``mode``, ``stats``; nothing is run.

    ``predict(model, inputs)`` runs the model once on one batch, as ``measure`` does, to see its operations, and follows
    the covariance of the signal through them, from the values of the input and the moments of the weights
    (docs/theory-any.md). Where theory knows no more, the rows are empty from there on, and ``table.attrs["theory"]``
    says at which module and why. The model is left as it was.

    Args:
        network: The name of an architecture, or a network.
        inputs: For a network: one batch, as for ``measure``.
        arch: The name of an architecture, by name.
        **options: For a network ``mode``, ``seed``, ``device`` and ``sites``, as for ``measure``.

    Returns:
        The rows that ``measure`` has, with ``predicted_<statistic>`` and ``predicted_<statistic>_spread``, the standard
        deviation that is expected from seed to seed; the measured columns are empty.

    Raises:
        UsageError: For an unknown name, an illegal value, or a network of which theory can predict nothing: the text
            names the first module and operation that it does not know.

    >>> table = predict("bn-relu-conv", stages=(2, 2), padding="circular")
    >>> [f"{value:.2f}" for value in table["predicted_residual_variance"][1:]]
    ['0.68', '0.68', '0.68', '0.68']
    """
    network = network or arch
    if isinstance(network, str):
        if inputs is not None:
            raise UsageError(
                f"inputs mean nothing for {network!r}: a named architecture is predicted under Gaussian input."
            )
        return predict_architecture(network, **options)
    if inputs is None:
        raise UsageError("predict of a network needs a batch: sppkit.predict(model, inputs).")
    # They need torch, which a named architecture does not.
    from sppkit.measuring.declared_sites import as_network
    from sppkit.measuring.predicted_network import predict_network

    return predict_network(as_network(network), inputs, **options)

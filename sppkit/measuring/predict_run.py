"""A configured prediction of a network of the user's: its table, and the record of how it came about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from sppkit.measuring.own_network import OwnNetwork
from sppkit.measuring.predicted_network import predict_network
from sppkit.measuring.run import cast_batch, choose_device
from sppkit.record.write import versions

if TYPE_CHECKING:
    import pandas as pd

    from sppkit.config.resolve import Resolved
    from sppkit.measuring.forward.run_model import Mode


def predict_run(resolved: Resolved, *, explains: bool = False) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Make the network and its input, and predict its curves.

    Args:
        resolved: The configuration, with a network of the user's.
        explains: Whether to say what each module makes of the signal, in ``table.attrs["parts"]``.

    Returns:
        The table and the record.
    """
    config = resolved.config
    device, dtype = choose_device(config.device), getattr(torch, config.dtype)
    source = OwnNetwork(resolved)
    with source.prepared(config.seed, device, None) as (model, inputs):
        batches = [cast_batch(batch, dtype) for batch in inputs.batches()]
        table = predict_network(
            model, batches, mode=cast("Mode", config.mode), seed=config.seed, sites=config.sites, explains=explains
        )
    record = {
        **source.describe(),
        "input": inputs.description,
        "mode": config.mode,
        "seeds": [config.seed],
        "device": str(device),
        "dtype": config.dtype,
        "theory": {"measured": False} | table.attrs["theory"],
        "versions": versions(),
        "options": resolved.described(),
    }
    return table, record

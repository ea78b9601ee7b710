"""Models whose forward pass can't be observed, or not as a whole: refused by name."""

from __future__ import annotations

import torch
from torch import nn

from sppkit.errors import UsageError


def check_observable(model: nn.Module) -> None:
    """Check that a model's forward pass can be observed."""
    for path, module in model.named_modules():
        reason = _unobservable(module)
        if reason is not None:
            where = f"{path!r} of {type(model).__name__}" if path else f"the model ({type(model).__name__})"
            raise UsageError(f"{where} {reason}")
    for path, parameter in model.named_parameters():
        if type(parameter.data).__name__ == "DTensor" or type(parameter).__name__ == "DTensor":
            raise UsageError(
                f"{path!r} of {type(model).__name__} is sharded over several processes (a DTensor).\n"
                "Measure the whole model on one device."
            )


def _unobservable(module: nn.Module) -> str | None:
    if isinstance(module, torch.jit.ScriptModule):
        return "is compiled by TorchScript, which can't be seen into.\nMeasure the network that it was made from."
    if type(module).__name__ == "FullyShardedDataParallel":
        return "is sharded over several processes.\nMeasure the whole model on one device."
    if isinstance(module, nn.DataParallel) and len(module.device_ids) > 1:
        return "is run by a thread per device, where it can't be seen.\nMeasure its .module."
    return None

"""Noise on the weights, as analog hardware has it: the weights that are used are not those that were stored.

Letters: W is a layer's weights, xi ~ N(0, 1) one number per weight, eta the strength. One seed gives one noise.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from sppkit.config.parsers import one_of, parse_seed, real_number
from sppkit.errors import UsageError
from sppkit.models.layers import Convolution
from sppkit.models.perturb import KINDS, perturb
from sppkit.streams import fill_normal

if TYPE_CHECKING:
    from collections.abc import Iterator

# Within float32 with room for a signal.
_LARGEST = 1e30
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@contextmanager
def weight_noise(model: nn.Module, eta: float, kind: str = "multiplicative", *, seed: int = 0) -> Iterator[nn.Module]:
    """While the context is open, let every convolution and linear layer of a model have noisy weights.

    The weights are back afterwards, bit for bit. Biases and normalizers are clean. Each layer's noise is keyed by
    (seed, name of the layer): it is that of ``build_model(..., noise=eta)`` with the same seed.

    Args:
        model: Any model, on the CPU or a device.
        eta: Strength, at least 0.
        kind: ``multiplicative``, W (1 + eta xi); ``additive-max``, W + eta max|W| xi; or ``additive-std``,
            W + eta std(W) xi, with the maximum and deviation of the layer.
        seed: Seed of the noise.

    Yields:
        The model.

    Raises:
        UsageError: If an argument is illegal, the model has no such layer, or one whose weights are standardized when
            they are used.
    """
    eta, kind = real_number(0, _LARGEST)("eta", eta), one_of(*KINDS)("kind", kind)
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, _LAYERS)]
    if not layers:
        raise UsageError("there are no weights to add noise to: the model has no linear or convolutional layer.")
    for name, layer in layers:
        if isinstance(layer, Convolution) and layer.parametrization is not None:
            raise UsageError(f"{name} standardizes its weights when it uses them; say build_model(..., noise={eta:g}).")
    stored = [(layer.weight, layer.weight.detach().clone()) for _, layer in layers]
    try:
        for name, layer in layers:
            _perturb_layer(layer, name, eta, kind, parse_seed("seed", seed))
        yield model
    finally:
        with torch.no_grad():
            for weight, clean in stored:
                weight.copy_(clean)


@torch.no_grad()
def _perturb_layer(layer: nn.Module, name: str, eta: float, kind: str, seed: int) -> None:
    weight = layer.get_parameter("weight")
    noise = torch.empty(weight.shape, dtype=torch.float32, device="cpu")
    fill_normal(noise.numpy(), seed, f"{name}.noise" if name else "noise")
    weight.copy_(perturb(weight, noise.to(weight), eta, kind))

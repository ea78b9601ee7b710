"""Which modules are activations and which are normalizers, and where the channels of their signals are."""

from __future__ import annotations

from torch import nn

from sppkit.models.layers import ScaledActivation
from sppkit.models.normalizers.affine import own_layers

# Sigmoid and its like are left out: in today's networks they are gates, which are positive by design.
_ACTIVATIONS = (
    *(nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.Mish, nn.PReLU, nn.ReLU),
    *(nn.ReLU6, nn.RReLU, nn.SELU, nn.SiLU, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink),
    *(nn.Threshold, ScaledActivation),
)
# Libraries' own classes; importing them to know them would take seconds.
_ACTIVATION_HOMES = frozenset({"timm.layers.activations", "timm.layers.activations_me", "transformers.activations"})
_GATES = ("sigmoid", "softmax")
_ACROSS = (nn.LayerNorm, nn.RMSNorm)
_NORMALIZERS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, *_ACROSS),
)


def is_activation(module: nn.Module) -> bool:
    """Return whether a module is an activation: of torch, of this library, of timm or of transformers."""
    kind = type(module)
    if isinstance(module, _ACTIVATIONS):
        return True
    return kind.__module__ in _ACTIVATION_HOMES and not any(gate in kind.__name__.lower() for gate in _GATES)


def is_normalizer(module: nn.Module) -> bool:
    """Return whether a module is a normalizer of torch or of this library, or a class made of one of them."""
    return isinstance(module, (*_NORMALIZERS, *own_layers()))


def usual_axis(module: nn.Module, axes: int) -> int:
    """Return the axis of the channels in what a module takes and returns, where nothing better is known."""
    if is_normalizer(module):
        # timm's LayerNorm2d is a LayerNorm of (N, C, H, W).
        return axes - 1 if isinstance(module, _ACROSS) and not type(module).__name__.endswith("2d") else 1
    return 2 if axes == 3 else 1

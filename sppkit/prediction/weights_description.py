"""From modules with their weights to the layers that moments are propagated through: NumPy arrays, no torch behind."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from sppkit.errors import UsageError
from sppkit.models import layers as ours
from sppkit.models.activations import Activation, load_activation
from sppkit.registry import ACTIVATIONS
from sppkit.theory import weights_propagation as theory

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from sppkit.models.block import ResidualBlock
    from sppkit.models.resnet import PreActivationResNet
    from sppkit.theory.weights_propagation_moments import Floats

    Layers = tuple[theory.Layer, ...]

# torch's elementwise modules whose defaults are a registered activation.
_ACTIVATIONS: dict[type[nn.Module], str] = {
    getattr(nn, entry.module): name for name, entry in ACTIVATIONS.items() if entry.module is not None
}


class Description(NamedTuple):
    """A residual network as moments see it."""

    stem: Layers
    blocks: tuple[theory.Residual, ...]


def describe_resnet(model: PreActivationResNet) -> Description:
    """Describe a named architecture with the weights that it has: drawn, trained or loaded."""
    stages = [stage for stage, blocks in enumerate(model.spec.stages, 1) for _ in range(blocks)]
    blocks = zip(model.blocks, stages, strict=True)
    return Description(
        (*describe_module(model.stem), *describe_module(model.stem_pool)),
        tuple(
            _describe_block(cast("ResidualBlock", block), f"blocks.{index}", stage)
            for index, (block, stage) in enumerate(blocks)
        ),
    )


@functools.singledispatch
def describe_module(module: nn.Module) -> Layers:
    """Describe a module by layers with known moments."""
    if type(module) in _ACTIVATIONS and repr(module) == repr(type(module)()):
        return (_activation(load_activation(_ACTIVATIONS[type(module)]), 1.0),)
    known = "Conv2d, Linear, BatchNorm, MaxPool2d, AdaptiveAvgPool2d(1), Flatten, activations and sequences of these"
    raise UsageError(
        f"the moments after {type(module).__name__} are not known; known are {known}.\n"
        "Measure the model instead: sppkit.measure(model, inputs)."
    )


@describe_module.register(nn.Sequential)
def _(module: nn.Sequential) -> Layers:
    return tuple(layer for child in module for layer in describe_module(child))


@describe_module.register(nn.Conv2d)
def _(module: nn.Conv2d) -> Layers:
    return _describe_convolution(module, module.weight)


@describe_module.register(ours.Convolution)
def _(module: ours.Convolution) -> Layers:
    return _describe_convolution(module, module.effective_weight())


def _describe_convolution(module: nn.Conv2d, weight: Tensor) -> Layers:
    plain = module.groups == 1 and set(module.dilation) == {1} and module.padding_mode in {"zeros", "circular"}
    if not plain or len({*module.stride}) > 1 or len({*module.padding}) > 1:
        raise UsageError(
            f"the moments after {module!r} are not known: groups and dilation must be 1, stride and padding square, "
            "and the padding zeros or circular."
        )
    bias = None if module.bias is None else _array(module.bias)
    circular = module.padding_mode == "circular"
    return (theory.Convolution(_array(weight), bias, module.stride[0], int(module.padding[0]), circular),)


@describe_module.register(nn.Linear)
def _(module: nn.Linear) -> Layers:
    bias = cast("Tensor | None", module.bias)
    # A map of one position.
    weight = _array(module.weight)[:, :, None, None]
    return (theory.Convolution(weight, None if bias is None else _array(bias)),)


@describe_module.register(nn.BatchNorm1d)
@describe_module.register(nn.BatchNorm2d)
def _(module: nn.BatchNorm2d) -> Layers:
    stored = None
    if not module.training and module.running_mean is not None and module.running_var is not None:
        stored = _array(module.running_mean), _array(module.running_var)
    ones = np.ones(module.num_features)
    scale, offset = (_array(module.weight), _array(module.bias)) if module.affine else (ones, 0 * ones)
    return (theory.BatchNormalizer(scale, offset, module.eps, stored),)


@describe_module.register(nn.MaxPool2d)
def _(module: nn.MaxPool2d) -> Layers:
    sizes = module.kernel_size, module.stride, module.padding, module.dilation
    if not all(isinstance(size, int) for size in sizes) or module.dilation != 1 or module.ceil_mode:
        raise UsageError(
            f"the moments after MaxPool2d({module.extra_repr()}) are not known: its window must be square and whole."
        )
    return (theory.MaxPool(*cast("tuple[int, int, int]", sizes[:3])),)


@describe_module.register(nn.AdaptiveAvgPool2d)
def _(module: nn.AdaptiveAvgPool2d) -> Layers:
    if module.output_size not in {1, (1, 1)}:
        raise UsageError("the moments after AdaptiveAvgPool2d are known for output size 1 only.")
    return (theory.AveragePool(),)


@describe_module.register(nn.Identity)
@describe_module.register(nn.Flatten)
def _(_module: nn.Module) -> Layers:
    return ()


@describe_module.register(ours.ScaledActivation)
def _(module: ours.ScaledActivation) -> Layers:
    return (_activation(module.activation, module.scale),)


@describe_module.register(ours.SqueezeExcite)
def _(module: ours.SqueezeExcite) -> Layers:
    relu, sigmoid = (_activation(load_activation(name), 1.0) for name in ("relu", "sigmoid"))
    gates = (theory.AveragePool(), *describe_module(module.fc0), relu, *describe_module(module.fc1), sigmoid)
    return (theory.Gate(gates, module.factor),)


@describe_module.register(ours.StochasticDepth)
def _(module: ours.StochasticDepth) -> Layers:
    return (theory.Drop(1 - module.rate),) if module.training and module.rate else ()


def _describe_block(block: ResidualBlock, name: str, stage: int) -> theory.Residual:
    prepared = [_prepare(block, index) for index in range(block.convolutions)]
    convolutions = [describe_module(getattr(block, f"conv{index}")) for index in range(block.convolutions)]
    branch = list(convolutions[0])
    for prepare, convolve in zip(prepared[1:], convolutions[1:], strict=True):
        branch += [*prepare, *convolve]
    gate = () if block.se is None else describe_module(block.se)
    return theory.Residual(
        name,
        stage,
        prepare=prepared[0],
        branch=(*branch, *gate),
        shortcut=None if block.shortcut is None else describe_module(block.shortcut),
        behind=() if block.stochastic_depth is None else describe_module(block.stochastic_depth),
        factor=block.alpha * float(block.skip_gain),
    )


def _prepare(block: ResidualBlock, index: int) -> Layers:
    norm, activation = getattr(block, f"norm{index}"), describe_module(getattr(block, f"activation{index}"))
    normalize = () if norm is None else describe_module(norm)
    return (*normalize, *activation) if block.norm_first else (*activation, *normalize)


def _activation(activation: Activation, scale: float) -> theory.ActivationLayer:
    return theory.ActivationLayer(_on_arrays(activation.function), scale, activation.kinks)


def _on_arrays(function: Callable[[Tensor], Tensor]) -> Callable[[Floats], Floats]:
    def on_array(x: Floats) -> Floats:
        y: Floats = function(torch.from_numpy(x)).numpy()
        return y

    return on_array


def _array(values: Tensor) -> Floats:
    array: Floats = values.detach().to("cpu", torch.float64).numpy()
    return array

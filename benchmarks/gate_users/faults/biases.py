"""Faults that shift a mean: biases, weights with a mean, the input's mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gate_users.faults.fault import (
    NORMS,
    WEIGHTED,
    Fault,
    NotApplicableError,
    change_each,
    in_blocks,
    in_place,
    iter_places,
    middle,
)


def set_bias(layer: Any, value: float) -> None:
    channels = layer.weight.shape[1 if type(layer).__name__ == "Conv1D" else 0]
    if layer.bias is None:
        layer.bias = nn.Parameter(torch.zeros(channels))
    layer.bias.data.add_(value)


def _layers(_model: nn.Module, blocks: Any, value: float) -> int:
    return in_blocks(blocks, lambda block: change_each(block, WEIGHTED, lambda layer: set_bias(layer, value)))


def last_layer(block: Any) -> Any:
    """Return the block's last weighted layer that is not its shortcut's."""
    places = [place for place in iter_places(block, WEIGHTED) if place.name != "down" and place.parent is not
              getattr(block, "down", None)]  # fmt: skip
    if not places:
        raise NotApplicableError
    return places[-1].module


def _layer(_model: nn.Module, blocks: Any, value: float) -> int:
    set_bias(last_layer(middle(blocks)), value)
    return 1


def _norms(_model: nn.Module, blocks: Any, value: float) -> int:
    return in_blocks(blocks, lambda block: change_each(block, NORMS, lambda norm: norm.bias.data.fill_(value)))


def _norms_of_one(_model: nn.Module, blocks: Any, value: float) -> int:
    return change_each(middle(blocks), NORMS, lambda norm: norm.bias.data.fill_(value))


def _add_mean(layer: Any, share: float) -> None:
    layer.weight.data.add_(share * layer.weight.data.std())


def _weights(_model: nn.Module, blocks: Any, share: float) -> int:
    return in_blocks(blocks, lambda block: change_each(block, WEIGHTED, lambda layer: _add_mean(layer, share)))


def _weights_of_one(_model: nn.Module, blocks: Any, share: float) -> int:
    _add_mean(last_layer(middle(blocks)), share)
    return 1


def _uniform(_model: nn.Module, blocks: Any, width: float) -> int:
    weight = last_layer(middle(blocks)).weight.data
    # A generator of its own: the global stream's place is the paired network's.
    weight.copy_(width * torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)))
    return 1


def _input(shift: float, scale: float) -> Any:
    def change(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0] * scale + shift, *inputs[1:])

    return change


def _is_fed_pictures(model: nn.Module) -> bool:
    return not any(isinstance(module, nn.Embedding) for module in model.modules())


def _shift_input(model: nn.Module, _blocks: Any, shift: float) -> int:
    if _is_fed_pictures(model):
        model.register_forward_pre_hook(_input(shift, 1.0))
    return int(_is_fed_pictures(model))


def _scale_input(model: nn.Module, _blocks: Any, scale: float) -> int:
    if _is_fed_pictures(model):
        model.register_forward_pre_hook(_input(0.0, scale))
    return int(_is_fed_pictures(model))


_MEAN = ("mean", "bias")
_CENTRED = ("mean", "bias", "weights", "centred")
FAULTS = [
    Fault("a bias in all convolutions and linears", in_place(_layers), (0.02, 0.1, 0.3, 1.0), _MEAN),
    Fault("a bias in one layer", in_place(_layer), (0.1, 0.3, 1.0, 3.0), _MEAN),
    Fault("a bias in all normalizers", in_place(_norms), (0.05, 0.15, 0.4, 1.0), _MEAN),
    Fault("a bias in one block's normalizers", in_place(_norms_of_one), (0.1, 0.3, 1.0, 3.0), _MEAN),
    Fault("mean s·std in all weights", in_place(_weights), (0.02, 0.05, 0.15, 0.5), _CENTRED),
    Fault("mean s·std in one layer's weights", in_place(_weights_of_one), (0.05, 0.15, 0.5, 1.5), _CENTRED),
    Fault("uniform [0, s] weights in one layer", in_place(_uniform), (0.05, 0.15, 0.4, 1.0),
          (*_CENTRED, "scale", "factor")),
    Fault("the input's mean shifts", in_place(_shift_input), (0.1, 0.3, 1.0, 3.0), (*_MEAN, "input", "stem")),
    Fault("the input is scaled", in_place(_scale_input), (1.1, 1.3, 2.0, 255.0),
          ("input", "stem", "scale", "factor")),
]  # fmt: skip

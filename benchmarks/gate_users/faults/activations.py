"""Faults of activations: a constant, a factor, another function, none, two."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from benchmarks.gate_users.faults.fault import (
    ACTIVATIONS,
    COUNTS,
    Fault,
    in_blocks,
    in_place,
    in_some,
    middle,
    replace_each,
)


class Affine(nn.Module):
    """An activation, scaled and shifted."""

    def __init__(self, inner: nn.Module, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.inner, self.scale, self.shift = inner, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.inner(x) + self.shift


def _shift_all(_model: nn.Module, blocks: Any, c: float) -> int:
    return in_blocks(blocks, lambda block: replace_each(block, ACTIVATIONS, lambda act: Affine(act, shift=c)))


def _shift_one(_model: nn.Module, blocks: Any, c: float) -> int:
    return replace_each(middle(blocks), ACTIVATIONS, lambda act: Affine(act, shift=c))


def _scale_all(_model: nn.Module, blocks: Any, factor: float) -> int:
    return in_blocks(blocks, lambda block: replace_each(block, ACTIVATIONS, lambda act: Affine(act, factor)))


def _scale_one(_model: nn.Module, blocks: Any, factor: float) -> int:
    return replace_each(middle(blocks), ACTIVATIONS, lambda act: Affine(act, factor))


def _leak(_model: nn.Module, blocks: Any, slope: float) -> int:
    rectified = frozenset({"ReLU", "LeakyReLU"})
    return in_blocks(blocks, lambda block: replace_each(block, rectified, lambda _act: nn.LeakyReLU(slope)))


def _other(made: type[nn.Module], *of: str) -> Any:
    return in_some(lambda block: replace_each(block, frozenset(of), lambda _act: made()))


_C = (0.02, 0.1, 0.3, 1.0)
_FACTORS = (1.1, 1.3, 2.0, 4.0)
_MEAN = ("mean", "bias", "activation")
_OTHER = ("activation", "gain")
FAULTS = [
    Fault("activation + c in every block", in_place(_shift_all), _C, _MEAN),
    Fault("activation + c in one block", in_place(_shift_one), _C, _MEAN),
    Fault("activation × s in every block", in_place(_scale_all), _FACTORS, ("activation", "gain", "scale", "factor")),
    Fault("activation × s in one block", in_place(_scale_one), _FACTORS, ("activation", "gain", "scale", "factor")),
    Fault("GELU made ReLU", in_place(_other(nn.ReLU, "GELU", "NewGELUActivation")), COUNTS, (*_OTHER, "mean")),
    Fault("ReLU made GELU", in_place(_other(nn.GELU, "ReLU")), COUNTS, (*_OTHER, "mean")),
    Fault("ReLU or GELU made SiLU", in_place(_other(nn.SiLU, "ReLU", "GELU")), COUNTS, (*_OTHER, "mean")),
    Fault("the activation made tanh", in_place(_other(nn.Tanh, "ReLU", "GELU", "LeakyReLU")), COUNTS,
          (*_OTHER, "mean gone")),
    Fault("LeakyReLU's slope for ReLU's", in_place(_leak), (0.05, 0.1, 0.2, 0.5), (*_OTHER, "mean gone")),
    Fault("an activation missing", in_place(_other(nn.Identity, *ACTIVATIONS)), COUNTS, (*_OTHER, "mean gone")),
    Fault("an activation doubled", in_place(in_some(
        lambda block: replace_each(block, ACTIVATIONS, lambda act: nn.Sequential(act, act)))), COUNTS, _OTHER),
]  # fmt: skip

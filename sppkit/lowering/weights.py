"""Reading a layer's weights: their moments, and whether they are the independent draws that theory is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sppkit.lowering.values import NotKnownError
from sppkit.theory.gram.layers import Weights

if TYPE_CHECKING:
    from torch import Tensor

# How far the products of two rows may be from those of independent draws, over these; below, 8 standard errors of
# what a small matrix of independent draws shows.
_NEAR = 0.15
_STANDARD_ERRORS = 8.0
# Mean square of the rows' sums, over that of independent draws, below which they are 0 but for rounding.
_CENTRED = 1e-6
# Rows of one norm let the variances of channels scatter less, by 2/inputs, than independent draws do. Where they are
# centred, too, nothing else may be left of a squared mean: with 147 inputs theory's was 70 % too large.
_FEWEST_STANDARDIZED = 2048
# Rows of which the products are looked at.
_ROWS = 512


def read_weights(weight: Tensor, bias: Tensor | None, channels: int) -> Weights:
    """Return what theory needs of a matrix of weights.

    Args:
        weight: Shape (outputs, inputs of each).
        bias: Shape (outputs,), or None.
        channels: Outputs, of all groups.

    Returns:
        Mean square, fan-in, and the moments of the bias.

    Raises:
        NotKnownError: If the weights are no independent draws.
    """
    weight = weight.detach().to("cpu", torch.float64)
    square = float(weight.square().mean())
    if not torch.isfinite(weight).all():
        raise NotKnownError("with weights that are not finite")
    centred = False
    if square > 0:
        _check_mean(weight, square)
        _check_rows(weight, square)
        centred = _are_centred(weight, square)
        _check_products(weight, square, centred=centred)
    if centred and weight.shape[1] < _FEWEST_STANDARDIZED:
        raise NotKnownError(
            f"with standardized weights over {weight.shape[1]} inputs, which scatter less than draws do"
        )
    if bias is None:
        return Weights(square, weight.shape[1], channels, centred=centred)
    numbers = bias.detach().to("cpu", torch.float64)
    return Weights(
        square, weight.shape[1], channels, float(numbers.mean()), float(numbers.square().mean()), centred=centred
    )


def _are_centred(weight: Tensor, square: float) -> bool:
    """Say whether every row sums up to 0, as standardized weights do; else check that the sums are those of draws."""
    outputs, inputs = weight.shape
    ratio = float(weight.sum(dim=1).square().mean()) / (inputs * square)
    if ratio < _CENTRED:
        return True
    if abs(ratio - 1) > _NEAR + _STANDARD_ERRORS * (2 / outputs) ** 0.5:
        raise NotKnownError("with weights whose rows' sums are not those of independent draws")
    return False


def _check_mean(weight: Tensor, square: float) -> None:
    """Check that the weights' mean is 0: of all inputs alike, it would make all outputs alike."""
    outputs, inputs = weight.shape
    if inputs * float(weight.mean()) ** 2 > square * max(0.05, 16 / outputs):
        raise NotKnownError("with weights whose mean is not 0")


def _check_rows(weight: Tensor, square: float) -> None:
    """Check that all rows have the same norm, up to chance."""
    outputs, inputs = weight.shape
    if outputs < 2:
        return
    norms = weight.square().mean(dim=1) / square
    kurtosis = float((weight / square**0.5).pow(4).mean())
    chance = max(kurtosis - 1, 0.0) / inputs
    if float(norms.var()) > chance * (1 + _STANDARD_ERRORS / outputs**0.5) + 0.05:
        raise NotKnownError("with weights of different scales in different rows")


def _check_products(weight: Tensor, square: float, *, centred: bool) -> None:
    """Check E (w_i . w_j)² = n E(w²)² of two different rows of n weights, or of two columns where they are longer.

    Orthogonal rows have 0, equal ones n times as much. A number that is near chance for the shorter side says little of
    weights that hardly overlap; what it misses there changes little.
    """
    rows = weight if weight.shape[0] <= weight.shape[1] else weight.T
    count, length = rows[:_ROWS].shape
    if count < 2:
        return
    products = rows[:_ROWS] @ rows[:_ROWS].T
    off = float(products.square().sum() - products.diagonal().square().sum()) / (count * (count - 1))
    # Rows that sum up to 0 let each column be that of the others, by one of their number less one.
    shared = length / (len(rows) - 1) if centred and rows is not weight else 0.0
    ratio = off / ((length + shared**2) * square**2)
    if abs(ratio - 1) > _NEAR + _STANDARD_ERRORS / count:
        raise NotKnownError(
            f"with weights that are no independent draws (the products of two rows are {ratio:.2f} times as large)"
        )

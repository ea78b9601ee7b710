"""Rows of positions: what each output of an operation reads, told from the places of what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sppkit.lowering.values import NotKnownError

if TYPE_CHECKING:
    from torch import Tensor

    from sppkit.lowering.values import Signal


def together(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return two tensors expanded to the shape that they have together."""
    shape = torch.Size(torch.broadcast_shapes(first.shape, second.shape))  # type: ignore[no-untyped-call]
    return first.broadcast_to(shape), second.broadcast_to(shape)


def covers(shape: torch.Size, other: torch.Size) -> bool:
    """Say whether a tensor of another shape can be expanded to a shape."""
    aligned = zip(reversed(shape), reversed(other), strict=False)
    return len(other) <= len(shape) and all(small in {1, large} for large, small in aligned)


def single(rows: Tensor) -> Tensor | None:
    """Return the one position of each row, or None where a row has several."""
    first = rows[:, :1]
    return first[:, 0] if bool((rows == first).all()) else None


def taps_of(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the different columns of a matrix of places, and which of them each column is."""
    columns, which = torch.unique(rows, dim=1, return_inverse=True)
    return columns, which


def check_channels(rows: Tensor, what: str) -> None:
    """Check that every row reads the same channels."""
    if not bool((rows == rows[:1]).all()):
        raise NotKnownError(f"{what} of channels that differ from row to row")


def place_rows(signal: Signal, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return places and labels as matrices, with some axes of the tensor in their columns."""
    rank = signal.places.ndim
    columns = [axis % rank for axis in axes]
    order = [axis for axis in range(rank) if axis not in columns] + columns
    width = 1
    for axis in columns:
        width *= signal.places.shape[axis]
    return (
        signal.places.permute(order).reshape(-1, width),
        signal.labels.permute(order).reshape(-1, width),
    )


def by_sample(rows: Tensor, count: int, held: int) -> Tensor:
    """Return the order in which new positions are to be numbered: that of their samples.

    Args:
        rows: Shape (new positions, what they read), -1 outside.
        count: Positions that are read from.
        held: Samples among them.

    Returns:
        Shape (new positions,): the row that each new position is.
    """
    of_each = rows.amax(dim=1) // (count // held)
    lowest = torch.where(rows < 0, count, rows).amin(dim=1) // (count // held)
    if not bool((of_each == lowest).all()):
        raise NotKnownError("an operation between samples")
    if len(rows) % held or not bool((torch.bincount(of_each, minlength=held) == len(rows) // held).all()):
        raise NotKnownError("an operation that gives samples different numbers of positions")
    return torch.argsort(of_each, stable=True)

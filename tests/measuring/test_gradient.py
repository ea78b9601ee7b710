"""Gradients of the rows' values, against the zoo's hand-written passes in float64, and against closed forms."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import sppkit
from sppkit.errors import UsageError
from zoo import convolutional, sequences  # noqa: F401 - they fill the zoo
from zoo.case import ZOO, Row, Zoo

STATS = ("spp", "gradient")
COLUMNS = ["gradient_second_moment", "gradient_squared_mean", "branch_gradient_share"]

# What can't be differentiated as it is written, and what says so.
UNDIFFERENTIABLE = {
    "AddInPlace": "modified by an inplace operation",  # the branch's first convolution needs what is overwritten
    "AddOut": "detached",  # an out= argument has no derivative
}
# It multiplies its branch by 3 behind autograd's back, which the hand-written pass does in the open.
HIDDEN = {"ManyAtOnce"}
# The view that this row's value is was changed before anything but the branch, through another view, had read it.
UNREAD = {("PartOfMemory", 0)}


def build(name: str) -> Zoo:
    torch.manual_seed(0)
    net = ZOO[name]()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return net.train(net.mode == "train")


def wide(value: object) -> object:
    if isinstance(value, dict):
        return {key: wide(item) for key, item in value.items()}
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def followed(x: Tensor) -> Tensor:
    return x.requires_grad_() * 1 if x.is_floating_point() else x


def cotangent(shape: torch.Size, batch: int = 0, seed: int = 0) -> Tensor:
    digest = int.from_bytes(hashlib.sha256(f"{seed}/cotangent/{batch}".encode()).digest(), "big")
    draws = np.random.Generator(np.random.PCG64(digest)).standard_normal(tuple(shape), dtype=np.float32)
    return torch.from_numpy(draws).double()


def rows_by_hand(net: Zoo) -> list[Row]:
    """The hand-written pass in float64, on a graph: of the input, and of the parameters where there are only words."""
    twin, x = copy.deepcopy(net).double(), wide(net.example())
    torch.set_default_dtype(torch.float64)
    try:
        rows = twin.rows(**{key: followed(item) for key, item in x.items()}) if isinstance(x, dict) else None
        return twin.rows(followed(x)) if rows is None else rows
    finally:
        torch.set_default_dtype(torch.float32)


def gradients_by_hand(rows: list[Row]) -> Iterator[dict[str, float]]:
    values = [row[2] for row in rows]
    found = torch.autograd.grad(values[-1], values, cotangent(values[-1].shape), allow_unused=True, retain_graph=True)
    found = [torch.zeros_like(value) if item is None else item for value, item in zip(values, found, strict=True)]
    for index, (value, gradient, row) in enumerate(zip(values, found, rows, strict=True)):
        channels = np.moveaxis(gradient.numpy(), row[3], 1)
        rest = tuple(axis for axis in range(channels.ndim) if axis != 1)
        numbers = {
            "gradient_second_moment": (channels**2).mean(),
            "gradient_squared_mean": (channels.mean(rest) ** 2).mean(),
        }
        if index:
            # One block alone: from its output to the value before it, along all of its ways.
            (back,) = torch.autograd.grad(value, values[index - 1], gradient, allow_unused=True, retain_graph=True)
            if back is not None and back.shape == gradient.shape:
                numbers["share"] = ((back - gradient) ** 2).mean().item() / max((gradient**2).mean().item(), 1e-300)
        yield numbers


NAMES = sorted(ZOO.keys() - UNDIFFERENTIABLE.keys() - HIDDEN)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_pass_by_hand(name: str) -> None:
    net = build(name)
    expected = list(gradients_by_hand(rows_by_hand(net)))
    table = sppkit.measure(net.double(), wide(net.example()), stats=STATS)
    for index, (row, numbers) in enumerate(zip(table.to_dict("records"), expected, strict=True)):
        if (name, index) in UNREAD:
            assert np.isnan(row["gradient_second_moment"])
            continue
        # Relative 1e-5; a squared mean may be the square of the rounding of what cancels.
        rounding = 1e-12 * numbers["gradient_second_moment"]
        for column in COLUMNS[:2]:
            assert row[column] == pytest.approx(numbers[column], rel=1e-5, abs=rounding), (column, index)
        if not np.isnan(row["branch_gradient_share"]):
            assert row["branch_gradient_share"] == pytest.approx(numbers["share"], rel=1e-5, abs=1e-12), index


def test_a_share_is_shown_where_the_skip_is_the_row_before_and_nothing_else_reads_it() -> None:
    def rows_with_a_share(name: str) -> list[int]:
        net = build(name)
        table = sppkit.measure(net, net.example(), stats=STATS)
        return table.loc[table["branch_gradient_share"].notna(), "block"].tolist()

    assert rows_with_a_share("VisionTransformer") == [1, 2, 3, 4]
    assert rows_with_a_share("TorchPreNorm") == [1, 2, 3, 4]
    assert rows_with_a_share("TorchPostNorm") == [1]  # the others are normalized after the addition
    assert rows_with_a_share("ResNetV1Basic") == [1]  # or have a ReLU there, or a projection
    assert rows_with_a_share("ResNetV2Bottleneck") == [2]
    assert rows_with_a_share("Nested") == []  # the long skip reads the stem too; its branch ends in the row before
    assert rows_with_a_share("ParallelBranches") == [1]  # both branches are one
    assert rows_with_a_share("RevNet") == []  # the branch is computed from the other half
    assert rows_with_a_share("Auxiliary") == []


@pytest.mark.parametrize(("name", "reason"), UNDIFFERENTIABLE.items())
def test_what_cannot_be_differentiated_is_said(name: str, reason: str) -> None:
    net = build(name)
    with pytest.raises(UsageError, match=f"there is no gradient to measure: .*{reason}.*\nLeave the gradient out"):
        sppkit.measure(net, net.example(), stats=STATS)
    table = sppkit.measure(net, net.example(), stats="all")
    assert table[COLUMNS].isna().all(axis=None)
    assert (table["nonfinite"] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_forward_columns_are_those_without_gradients(name: str) -> None:
    net = build(name)
    plain = sppkit.measure(net, net.example())
    # A recurrent layer that is to be differentiated runs by another kernel of torch's, with other roundings.
    exact = name != "RecurrentLayer"
    found = sppkit.measure(net, net.example(), stats=STATS)[plain.columns]
    pd.testing.assert_frame_equal(found, plain, check_exact=exact, rtol=1e-5)

"""Residual joins found from a forward pass alone, on models whose joins are known by construction."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import sppkit
from zoo import convolutional, sequences  # noqa: F401 - they fill the zoo
from zoo.case import ZOO, Zoo

NAMES = sorted(ZOO)


def build(name: str) -> Zoo:
    torch.manual_seed(0)
    net = ZOO[name]()
    for module in net.modules():
        # Statistics that are not their initial ones, so that evaluation differs from training.
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return net


def wide(value: object) -> object:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def rows_by_hand(net: Zoo) -> pd.DataFrame:
    """The table of the hand-written forward pass, in float64, with NumPy's statistics."""
    twin = copy.deepcopy(net).double().train(net.mode == "train")
    x = net.example()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            rows = (
                twin.rows(**{key: wide(item) for key, item in x.items()}) if isinstance(x, dict) else twin.rows(wide(x))
            )
    finally:
        torch.set_default_dtype(torch.float32)
    return pd.DataFrame([statistics(*row) for row in rows])


def statistics(name: str, branch: Tensor | None, output: Tensor, axis: int) -> dict[str, object]:
    values = np.moveaxis(output.numpy(), axis, 1)
    rest = tuple(index for index in range(values.ndim) if index != 1)
    found: dict[str, object] = {
        "name": name,
        "channels": values.shape[1],
        "channel_squared_mean": (values.mean(rest) ** 2).mean(),
        "channel_variance": values.var(rest).mean(),
    }
    if branch is not None:
        found["residual_variance"] = np.moveaxis(branch.numpy(), axis, 1).var(rest).mean()
    return found


@pytest.mark.parametrize("grad", ["no_grad", "enable_grad", "inference_mode"])
@pytest.mark.parametrize("name", NAMES)
def test_rows_are_those_of_the_pass_by_hand(name: str, grad: str) -> None:
    net = build(name).train(ZOO[name].mode == "train")
    expected = rows_by_hand(net)
    x = net.example()
    with sppkit.Probe(net) as probe, getattr(torch, grad)():
        net(**x) if isinstance(x, dict) else net(x.clone())
    table = probe.table()
    assert table["name"].tolist() == expected["name"].tolist()
    assert table["channels"].tolist() == expected["channels"].tolist()
    assert probe.findings.kind == net.kind
    assert [item.name for item in probe.findings.rejected] == list(net.rejected), probe.findings.rejected
    for column in ("channel_squared_mean", "channel_variance", "residual_variance"):
        if column in expected:
            # float32 against float64: a relative 1e-6 per operation, a few dozen of them; squared means of zero-mean
            # channels (after a BatchNorm) are rounding errors of the variance, squared.
            np.testing.assert_allclose(
                table[column].to_numpy(float), expected[column].to_numpy(float), rtol=2e-4, atol=1e-9, err_msg=column
            )

"""Curves of an independent implementation: one forward pass of DeepMind's nfnets code (JAX) per file.

The weights are drawn as tests/reference/README.md says, so that any framework can draw them again.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sppkit

REFERENCE = Path(__file__).parents[1] / "reference"
# The gains of the reference are Monte-Carlo estimates; they are passed as they are.
PUBLISHED_GAIN = {"relu": 1.7139588594436646, "silu": 1.7881293296813965}
COLUMNS = {
    "avg_sq_mean": "channel_squared_mean",
    "avg_var": "channel_variance",
    "res_avg_var": "residual_variance",
}


def build(description: dict) -> torch.nn.Module:
    options = {"stages": description["depth"], "width": description["width"] / 4, "se": description["se"]}
    if description["kind"] == "v2":
        return sppkit.build_model("bn-relu-conv", activation=description["activation"], **options)
    gain = PUBLISHED_GAIN[description["activation"]]
    return sppkit.build_model(
        "nf-resnet", activation=description["activation"], alpha=description["alpha"], gain=gain, **options
    )


def draw(description: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Draw input and weights in the order of the reference, which is independent of ours."""
    rng = np.random.RandomState(description["seed"])
    c = 1 if description["kind"] == "nf" else 2
    weights = {}

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.from_numpy((rng.standard_normal(shape) * scale).astype(np.float32))

    def conv(name: str, out: int, fan_in_channels: int, kernel: int) -> None:
        scale = np.sqrt(c / (fan_in_channels * kernel**2))
        weights[f"{name}.weight"] = normal(out, fan_in_channels, kernel, kernel, scale=scale)

    unit = description["width"]
    inputs = normal(description["batch"], 3, description["image"], description["image"])
    conv("stem", 16 * unit, 3, 7)
    incoming, block = 16 * unit, 0
    for stage, blocks in enumerate(description["depth"]):
        out = 64 * 2**stage * unit
        for position in range(blocks):
            name = f"blocks.{block}"
            if position == 0:
                conv(f"{name}.shortcut", out, incoming, 1)
            conv(f"{name}.conv0", out // 4, incoming, 1)
            conv(f"{name}.conv1", out // 4, out // 4, 3)
            conv(f"{name}.conv2", out, out // 4, 1)
            if description["se"]:
                hidden = max(1, out // 4)
                weights[f"{name}.se.fc0.weight"] = normal(hidden, out, scale=np.sqrt(1 / out))
                weights[f"{name}.se.fc1.weight"] = normal(out, hidden, scale=np.sqrt(1 / hidden))
            incoming, block = out, block + 1
    return inputs, weights


@pytest.mark.parametrize("name", ["bn_relu_conv50_w1", "nf_resnet50_w1_relu", "nf_resnet50_w1_silu_se"])
def test_every_cell_agrees_with_the_reference(name: str) -> None:
    description = json.loads((REFERENCE / f"{name}.json").read_text())
    with (REFERENCE / f"{name}.csv").open() as file:
        expected = list(csv.DictReader(file))
    inputs, weights = draw(description)
    model = build(description)
    state = model.state_dict()
    assert weights.keys() <= state.keys()
    model.load_state_dict(state | weights)
    table = sppkit.measure(model, inputs, mode="train")
    assert len(table) == len(expected) == 17
    for row in expected:
        measured = table[table["block"] == int(row["block"])].iloc[0]
        for theirs, ours in COLUMNS.items():
            if row[theirs] == "":
                assert np.isnan(measured[ours])
            else:
                # Both sides are float32 networks whose sums run in another order: 1e-5 was seen, 1e-4 is asked for.
                assert measured[ours] == pytest.approx(float(row[theirs]), rel=1e-4), (row["block"], ours)

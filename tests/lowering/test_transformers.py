"""Transformers and other networks of the benchmark, predicted and measured over a few seeds."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

import sppkit
from benchmarks.theory_any.compare import compare
from benchmarks.theory_any.networks import NETWORKS, Language

PREDICTED = (
    "gpt",
    "gpt, attention written out, dropout",
    "post-norm, causal",
    "llama",
    "query and key norms",
    "grouped queries",
    "parallel branches",
    "torch's layers, post-norm",
    "torch's layers, pre-norm",
    "vit",
    "vit, layer scale",
    "post-activation resnet",
    "squeeze and excite",
    "convnext",
    "densenet",
    "transposed convolution",
    "dynamic tanh",
    "mlp, silu written out",
)


@pytest.mark.parametrize("name", PREDICTED)
def test_whole_networks(name: str) -> None:
    make, batch = NETWORKS[name]
    found = compare(make, batch, seeds=5)
    assert found.verdict == "predicted", found


REFUSED = {
    "norms behind branches": "the scores of a query vary by",
    "max-pool": "blocks.1: max_pool2d_with_indices is not known",
}


@pytest.mark.parametrize("name", REFUSED)
def test_curves_that_end(name: str) -> None:
    make, batch = NETWORKS[name]
    found = compare(make, batch, seeds=5)
    assert found.verdict == "in part"
    assert REFUSED[name] in (found.reason or "")


def test_copies_of_one_layer_are_no_independent_weights() -> None:
    # Torch's own encoder makes its layers as copies of one.
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(256, 8, 512, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    table = sppkit.predict(model, torch.randn(4, 16, 256))
    assert table["predicted_channel_variance"].notna().tolist() == [True, True, True, False, False]
    assert table.attrs["theory"]["reason"] == "layers.1.self_attn: mm with weights that are those of an earlier layer"


def test_a_deep_transformer_takes_seconds() -> None:
    torch.manual_seed(0)
    model = Language(12)
    start = time.process_time()
    table = sppkit.predict(model, torch.randint(0, 500, (8, 64)))
    assert table["predicted_residual_variance"].notna().sum() == 24
    assert time.process_time() - start < 60

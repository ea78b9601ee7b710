"""The libraries themselves, where they can be imported: what is made, what goes in, and that it goes in.

They are no part of the test environment: without them every test here is skipped and says so. .ci/run has another.
"""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from libraries import import_library
from sppkit.config.resolve import resolve_config
from sppkit.measuring.choose_source import choose_source

PACKAGES = {"timm": "timm", "torchvision": "torchvision", "hf": "transformers"}
NETWORKS = {
    "timm:resnet18": ([], (2, 3, 224, 224), None),
    "timm:vit_tiny_patch16_224": (["img_size=64", "in_chans=1"], (2, 1, 64, 64), None),
    "torchvision:inception_v3": (["init_weights=true"], (2, 3, 299, 299), None),
    "torchvision:fcn_resnet50": ([], (2, 3, 224, 224), None),
    "hf:bert": (["num_hidden_layers=1"], (2, 128), ["input_ids"]),
    "hf:t5": (["num_layers=1"], (2, 128), ["input_ids", "decoder_input_ids"]),
    "hf:vit": (["num_hidden_layers=1"], (2, 3, 224, 224), ["pixel_values"]),
    "hf:whisper": (
        ["encoder_layers=1", "decoder_layers=1"], (2, 80, 3000), ["input_features", "decoder_input_ids"]
    ),
    "hf:wav2vec2": (["num_hidden_layers=1"], (2, 16_000), ["input_values"]),
    "hf:clip": ([], (2, 77), ["input_ids", "pixel_values"]),
    "hf:detr": ([], (2, 3, 224, 224), ["pixel_values"]),
}  # fmt: skip


def need(model: str) -> None:
    package = PACKAGES[model.partition(":")[0]]
    try:
        import_library(package)
    except Exception as error:  # noqa: BLE001 - a build that does not fit this torch raises RuntimeError
        pytest.skip(f"{package} can't be imported here: {error}")


@pytest.mark.parametrize(("model", "expected"), NETWORKS.items(), ids=NETWORKS)
def test_networks_take_what_they_tell(
    model: str, expected: tuple[list[str], tuple[int, ...], list[str] | None]
) -> None:
    need(model)
    kw, shape, keywords = expected
    warnings.simplefilter("ignore")  # what the libraries say of themselves
    source = choose_source(resolve_config({"model": model, "batch_size": 2, "kw": kw}))
    with source.prepared(0, torch.device("cpu"), None) as (network, inputs), torch.no_grad():
        batch = next(inputs.batches())
        network.eval()
        network(**batch) if isinstance(batch, dict) else network(batch)
    assert inputs.shape == shape
    assert inputs.description.get("keywords") == keywords


@pytest.mark.parametrize(
    ("model", "kw"),
    [("timm:resnet18", []), ("timm:vit_tiny_patch16_224", []), ("hf:gpt2", ["n_layer=2"])],
)
def test_keyed_weights_have_the_librarys_own_distributions(model: str, kw: list[str]) -> None:
    need(model)
    warnings.simplefilter("ignore")
    found = []
    for flags in ({}, {"reinit": "keyed"}):
        source = choose_source(resolve_config({"model": model, "batch_size": 1, "kw": kw, **flags}))
        with source.prepared(0, torch.device("cpu"), None) as (network, _):
            found.append({name: value.detach().double() for name, value in network.named_parameters()})
    plain, keyed = found
    for name, value in plain.items():
        if value.numel() == 1 or value.std() == 0:
            assert torch.equal(value, keyed[name]), name
            continue
        assert not torch.equal(value, keyed[name]), name
        # Two estimates from n numbers each: apart by sqrt(2) std/sqrt(2n); six of that, as there are hundreds.
        assert keyed[name].std().item() == pytest.approx(value.std().item(), rel=6 / math.sqrt(value.numel())), name

"""Published models: as many joins as the definition of their family has residual connections."""

from __future__ import annotations

import pytest
import torch

import sppkit
from libraries import import_library

try:
    timm = import_library("timm")
except Exception as error:  # noqa: BLE001 - a torchvision that does not fit torch raises whatever it likes
    pytest.skip(f"timm can't be imported ({error}): pip install timm torchvision", allow_module_level=True)

# The number of residual connections: blocks of a ResNet, and two per block of a transformer.
JOINS = {
    "resnet18": 2 + 2 + 2 + 2,
    "resnet50": 3 + 4 + 6 + 3,
    "resnet26d": 2 + 2 + 2 + 2,
    "resnetv2_50": 3 + 4 + 6 + 3,
    "seresnet18": 2 + 2 + 2 + 2,
    "res2net50_14w_8s": 3 + 4 + 6 + 3,
    "nf_resnet50": 3 + 4 + 6 + 3,
    "dm_nfnet_f0": 1 + 2 + 6 + 3,
    "convnext_atto": 2 + 2 + 6 + 2,
    "convnextv2_atto": 2 + 2 + 6 + 2,
    "vit_tiny_patch16_224": 2 * 12,
    "deit_tiny_patch16_224": 2 * 12,
    "beit_base_patch16_224": 2 * 12,
    "swin_tiny_patch4_window7_224": 2 * (2 + 2 + 6 + 2),
    "swinv2_tiny_window8_256": 2 * (2 + 2 + 6 + 2),
    "regnetx_002": 1 + 1 + 4 + 7,
    "regnety_002": 1 + 1 + 4 + 7,
    "mobilenetv2_050": 1 + 2 + 3 + 2 + 2,
    "mixer_s16_224": 2 * 8,
    "poolformer_s12": 2 * 12,
    # Without residual sums: the concatenations of its dense layers, one at each block's end included.
    "densenet121": 6 + 12 + 24 + 16,
}


@pytest.mark.parametrize("name", JOINS)
def test_as_many_joins_as_the_family_defines(name: str) -> None:
    model = timm.create_model(name, pretrained=False).eval()
    batch = torch.randn(2, *size_of(model))
    found = sppkit.find_joins(model, batch)
    assert len(found.joins) == JOINS[name], str(found)
    assert all(join.branch is not None for join in found.joins)
    assert_measured(model, batch, JOINS[name])


def size_of(model: torch.nn.Module) -> tuple[int, int, int]:
    """The family's own input where it must be that; else 64 pixels, on which the number of joins does not depend."""
    channels, height, width = model.default_cfg["input_size"]
    return (channels, height, width) if model.default_cfg.get("fixed_input_size") else (channels, 64, 64)


def assert_measured(model: torch.nn.Module, batch: object, joins: int) -> None:
    """Every join is a block, and the signal of each is measured; so is its branch, which timm's ResNets begin at 0."""
    table = sppkit.measure(model, batch)
    assert table["block"].tolist() == list(range(1 + joins))
    assert table["nonfinite"].sum() == 0
    assert (table["channel_variance"] > 0).all()
    assert (table["residual_variance"][1:] >= 0).all()


def families() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in timm.list_models():
        found.setdefault(timm.models._registry._model_to_module[name], []).append(name)
    return found


def smallest(names: list[str]) -> str:
    with torch.device("meta"):
        sizes = {name: sum(p.numel() for p in timm.create_model(name).parameters()) for name in names}
    return min(sizes, key=lambda name: sizes[name])


@pytest.mark.slow
@pytest.mark.parametrize(("names"), families().values(), ids=families())
def test_every_family_is_measured_or_refused_with_a_reason(names: list[str]) -> None:
    model = timm.create_model(smallest(names[:20])).eval()
    try:
        found = sppkit.find_joins(model, torch.randn(2, *model.default_cfg["input_size"]))
    except sppkit.SppkitError as error:
        pytest.skip(f"refused: {error}")
    print(found.summary)  # noqa: T201 - -s shows the table of the families
    assert found.joins


def test_published_nfnets_are_read_behind_twice_the_gate_and_before_the_skip_gain() -> None:
    model = timm.create_model("dm_nfnet_f0", pretrained=False).eval()
    read: list[float] = []
    for name, module in model.named_modules():
        if name.endswith("attn_last"):  # DeepMind's metric is that of 2 · SE(x) · x
            module.register_forward_hook(
                lambda *call: read.append(float((2 * call[2].double()).var((0, 2, 3), correction=0).mean()))
            )
    batch = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        model(batch)
    expected = read.copy()
    assert sppkit.measure(model, batch)["residual_variance"][1:].to_list() == pytest.approx(expected, rel=1e-4)

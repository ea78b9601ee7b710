"""Six networks of timm and transformers, where these can be imported."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import torch
from torch import nn

from benchmarks.gate_users.networks.network import Network


def _timm(module: str, name: str, *arguments: Any, **options: Any) -> nn.Module:
    return getattr(importlib.import_module(f"timm.models.{module}"), name)(*arguments, **options)


def _timm_resnet() -> nn.Module:
    block = importlib.import_module("timm.models.resnet").BasicBlock
    return _timm("resnet", "ResNet", block, (1, 1, 1, 1), channels=(16, 16, 32, 32), stem_width=16)


def _stages(model: Any) -> list[Any]:
    return [block for stage in (model.layer1, model.layer2, model.layer3, model.layer4) for block in stage]


def _gpt2() -> nn.Module:
    library = importlib.import_module("transformers")
    config = library.GPT2Config(vocab_size=64, n_positions=16, n_embd=32, n_layer=4, n_head=4)
    return library.GPT2Model(config)


def _bert() -> nn.Module:
    library = importlib.import_module("transformers")
    config = library.BertConfig(vocab_size=64, hidden_size=32, num_hidden_layers=4, num_attention_heads=4,
                                intermediate_size=64, max_position_embeddings=16)  # fmt: skip
    return library.BertModel(config)


_TIMM = [
    Network("timm ResNet", _timm_resnet, (3, 32, 32), blocks=_stages),
    Network(
        "timm ViT",
        lambda: _timm("vision_transformer", "VisionTransformer", 32, 8, depth=4, embed_dim=48, num_heads=3),
        (3, 32, 32),
    ),
    Network(
        "timm ConvNeXt",
        lambda: _timm("convnext", "ConvNeXt", depths=(1, 1, 1, 1), dims=(16, 16, 32, 32)),
        (3, 32, 32),
        blocks=lambda model: [block for stage in model.stages for block in stage.blocks],  # type: ignore[attr-defined]
    ),
    Network("timm Mixer", lambda: _timm("mlp_mixer", "MlpMixer", img_size=32, patch_size=8, num_blocks=4,
            embed_dim=32), (3, 32, 32)),
]  # fmt: skip
_TRANSFORMERS = [
    Network("transformers GPT-2", _gpt2, (16,), 64, blocks=lambda model: list(model.h)),  # type: ignore[arg-type]
    Network("transformers BERT", _bert, (16,), 64, blocks=lambda model: list(model.encoder.layer)),  # type: ignore[attr-defined]
]


def library_networks() -> tuple[list[Network], list[str]]:
    """Return the networks that can be built here, and the libraries that can't be imported, with the reason."""
    _declare_missing_operators()
    found, missing = [], []
    for library, needed, networks in (("timm", "models", _TIMM), ("transformers", "GPT2Model", _TRANSFORMERS)):
        try:
            getattr(importlib.import_module(library), needed)
        except Exception as error:  # noqa: BLE001 - a library that is installed and broken is as good as none
            missing.append(f"{library} ({type(error).__name__})")
        else:
            found += networks
    return found, missing


def _declare_missing_operators() -> None:
    """Let torchvision be imported where it was built for another torch: its compiled part is not needed here."""
    for operator in ("nms", "qnms"):
        try:
            importlib.import_module("torchvision")
        except RuntimeError as error:
            if f"torchvision::{operator} does not exist" not in str(error):
                return
            with contextlib.suppress(RuntimeError):  # declared before, when a later one was missing
                torch.library.define(
                    f"torchvision::{operator}", "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"
                )
        except ImportError:
            return

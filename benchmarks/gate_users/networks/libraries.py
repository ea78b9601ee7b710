"""Six networks of timm and transformers, where these can be imported."""

from __future__ import annotations

import importlib.util
from typing import Any

from torch import nn

from benchmarks.gate_users.networks.network import Network


def _timm(name: str, **options: Any) -> nn.Module:
    return importlib.import_module("timm").create_model(name, pretrained=False, **options)


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
    Network("timm resnet10t", lambda: _timm("resnet10t"), (3, 32, 32), blocks=_stages),
    Network(
        "timm vit_tiny, 4 blocks",
        lambda: _timm("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=4, embed_dim=48, num_heads=3),
        (3, 32, 32),
    ),
    Network(
        "timm convnext_atto, 4 blocks",
        lambda: _timm("convnext_atto", depths=(1, 1, 1, 1), dims=(16, 16, 32, 32)),
        (3, 32, 32),
        blocks=lambda model: [block for stage in model.stages for block in stage.blocks],  # type: ignore[attr-defined]
    ),
    Network(
        "timm mixer, 4 blocks",
        lambda: _timm("mixer_s32_224", img_size=32, patch_size=8, num_blocks=4, embed_dim=32),
        (3, 32, 32),
    ),
]
_TRANSFORMERS = [
    Network("transformers GPT-2", _gpt2, (16,), 64, blocks=lambda model: list(model.h)),  # type: ignore[arg-type]
    Network("transformers BERT", _bert, (16,), 64, blocks=lambda model: list(model.encoder.layer)),  # type: ignore[attr-defined]
]


def library_networks() -> tuple[list[Network], list[str]]:
    """Return the networks that can be built here, and the libraries that are missing."""
    found, missing = [], []
    for library, networks in (("timm", _TIMM), ("transformers", _TRANSFORMERS)):
        if importlib.util.find_spec(library) is None:
            missing.append(library)
        else:
            found += networks
    return found, missing

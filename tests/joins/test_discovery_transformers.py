"""Language, vision and audio models from small configurations: as many joins as their layers have residual sums."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import sppkit
from libraries import import_library

try:
    transformers = import_library("transformers")
except Exception as error:  # noqa: BLE001 - a torchvision that does not fit torch raises whatever it likes
    pytest.skip(f"transformers can't be imported ({error}): pip install transformers", allow_module_level=True)

WORDS = {"input_ids": torch.arange(3, 19).view(2, 8)}
BOTH = {**WORDS, "decoder_input_ids": WORDS["input_ids"]}
PICTURE = {"pixel_values": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))}
SOUND = torch.randn(2, 8, 40, generator=torch.Generator().manual_seed(1))

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LAYERS = {**SIZE, "intermediate_size": 64, "vocab_size": 100}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100, "bos_token_id": 1, "eos_token_id": 2}
PATCHES = {**SIZE, "intermediate_size": 64, "image_size": 32, "patch_size": 8}
SIDES = {f"{side}_{what}": size for side in ("encoder", "decoder") for what, size in (
    ("layers", 2), ("attention_heads", 4), ("ffn_dim", 64),
)}  # fmt: skip
WHISPER = {"max_source_positions": 20, "num_mel_bins": 8, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}

# Configuration, model, options, input, and the number of residual sums: two per layer of an encoder or decoder, three
# where a decoder looks at an encoder, one where attention and MLP are added to the same skip together.
MODELS: dict[str, tuple[str, dict[str, Any], dict[str, torch.Tensor], int]] = {
    "GPT2": ("Model", GPT, WORDS, 4),
    "Bert": ("Model", LAYERS, {**WORDS, "attention_mask": torch.ones(2, 8)}, 4),
    "Roberta": ("Model", LAYERS, WORDS, 4),
    "Electra": ("Model", {**LAYERS, "embedding_size": 32}, WORDS, 4),
    "Albert": ("Model", {**LAYERS, "embedding_size": 16}, WORDS, 4),
    "DistilBert": ("Model", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 100}, WORDS, 4),
    "DebertaV2": ("Model", {**LAYERS, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}, WORDS, 4),
    "FNet": ("Model", {key: LAYERS[key] for key in LAYERS if key != "num_attention_heads"}, WORDS, 4),
    "XLNet": ("Model", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "vocab_size": 100}, WORDS, 4),
    "Llama": ("ForCausalLM", LAYERS, WORDS, 4),
    "Mistral": ("Model", {**LAYERS, "num_key_value_heads": 2}, WORDS, 4),
    "Mixtral": ("Model", {**LAYERS, "num_key_value_heads": 2, "num_local_experts": 2}, WORDS, 4),
    "Qwen2": ("Model", {**LAYERS, "num_key_value_heads": 2}, WORDS, 4),
    "Gemma2": ("Model", {**LAYERS, "num_key_value_heads": 2, "head_dim": 8}, WORDS, 4),
    "OPT": ("Model", {**SIZE, "ffn_dim": 64, "vocab_size": 100, "word_embed_proj_dim": 32}, WORDS, 4),
    "Bloom": ("Model", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100}, WORDS, 4),
    "GPTJ": ("Model", {**GPT, "rotary_dim": 4}, WORDS, 2),
    "GPTNeoX": ("Model", LAYERS, WORDS, 2),
    "Falcon": ("Model", {**SIZE, "vocab_size": 100}, WORDS, 2),
    "Phi": ("Model", LAYERS, WORDS, 2),
    "Cohere": ("Model", {**LAYERS, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}, WORDS, 2),
    # The state space's own skip, D x, is a detail of the branch.
    "Mamba": ("Model", {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 100, "state_size": 4}, WORDS, 2),
    "T5": (
        "Model",
        {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 100},
        BOTH,
        10,
    ),
    "Bart": ("Model", {"d_model": 32, "vocab_size": 100, **SIDES}, BOTH, 10),
    "Whisper": (
        "Model",
        {"d_model": 32, "vocab_size": 100, "decoder_start_token_id": 1, **SIDES, **WHISPER},
        {"input_features": SOUND, "decoder_input_ids": WORDS["input_ids"]},
        10,
    ),
    # Two per layer, and the convolution that stands for positions.
    "Wav2Vec2": (
        "Model",
        {
            **LAYERS, "conv_dim": (16, 16), "conv_kernel": (5, 3), "conv_stride": (3, 2), "num_feat_extract_layers": 2,
            "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
        },
        {"input_values": SOUND.flatten(1).repeat(1, 2)},
        5,
    ),
    "ViT": ("Model", PATCHES, PICTURE, 4),
    "Dinov2": ("Model", {key: PATCHES[key] for key in PATCHES if key != "intermediate_size"}, PICTURE, 4),
    "Swin": (
        "Model",
        {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "image_size": 32, "patch_size": 2, "window_size": 4},
        PICTURE,
        4,
    ),
    "Segformer": (
        "Model",
        {
            "hidden_sizes": [8, 16], "depths": [1, 1], "num_encoder_blocks": 2, "num_attention_heads": [1, 2],
            "sr_ratios": [2, 1], "patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2],
        },
        PICTURE,
        4,
    ),
    "ConvNext": ("Model", {"hidden_sizes": [8, 16], "depths": [1, 2], "num_stages": 2}, PICTURE, 3),
    "ResNet": (
        "Model",
        {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 2], "layer_type": "basic"},
        PICTURE,
        3,
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of the library itself
@pytest.mark.parametrize(("kind", "options", "inputs", "joins"), MODELS.values(), ids=MODELS)
def test_as_many_joins_as_the_layers_have_residual_sums(
    kind: str, options: dict[str, Any], inputs: dict[str, torch.Tensor], joins: int, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    model = getattr(transformers, name + kind)(getattr(transformers, f"{name}Config")(**options)).eval()
    found = sppkit.find_joins(model, inputs)
    assert found.kind == "addition"
    assert len(found.joins) == joins, str(found)
    assert all(join.branch is not None for join in found.joins)
    table = sppkit.measure(model, inputs)
    assert table["nonfinite"].sum() == 0
    assert (table["channel_variance"] > 0).all()
    assert (table["residual_variance"] > 0).sum() == joins


def test_a_fresh_model_keeps_its_hidden_states_once() -> None:
    # Its hooks are installed by the first forward pass that asks for them.
    torch.manual_seed(0)
    net = transformers.BertModel(transformers.BertConfig(**LAYERS)).eval()
    asked = {**WORDS, "output_hidden_states": True}
    table = sppkit.measure(net, asked)
    assert len(net(**asked).hidden_states) == 3
    assert sppkit.measure(net, asked).equals(table)

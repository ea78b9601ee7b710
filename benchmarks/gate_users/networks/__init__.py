"""The networks, by name."""

from benchmarks.gate_users.networks import plain, residual, tokens
from benchmarks.gate_users.networks.libraries import library_networks
from benchmarks.gate_users.networks.network import Network

_PICTURE = (3, 16, 16)
_OWN = [
    Network("post-activation BN ResNet", residual.post_activation_resnet, _PICTURE),
    Network("pre-activation BN ResNet", residual.pre_activation_resnet, _PICTURE),
    Network("GroupNorm ResNet", residual.group_norm_resnet, _PICTURE),
    Network("norm-free ResNet", residual.norm_free_resnet, _PICTURE),
    Network("plain ReLU", plain.plain_relu, _PICTURE),
    Network("plain tanh", plain.plain_tanh, _PICTURE),
    Network("plain LeakyReLU", plain.plain_leaky_relu, _PICTURE),
    Network("VGG with BN", plain.vgg, _PICTURE),
    Network("ViT", tokens.vit, _PICTURE),
    Network("GPT", tokens.gpt, (16,), 64),
    Network("post-norm transformer", tokens.post_norm, _PICTURE),
    Network("MLP-Mixer", tokens.mixer, _PICTURE),
    Network(
        "ConvNeXt with LayerScale",
        tokens.convnext,
        _PICTURE,
        blocks=lambda model: [*model.blocks, *model.deep],  # type: ignore[misc]
    ),
    # What the last block makes is concatenated nowhere, so that no row of the table has it.
    Network("U-Net", plain.UNet, _PICTURE, blocks=lambda model: list(model.blocks)[:4]),  # type: ignore[arg-type]
]
_FOUND, MISSING = library_networks()
NETWORKS: dict[str, Network] = {network.name: network for network in [*_OWN, *_FOUND]}

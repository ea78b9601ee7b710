"""Which normalizers of a user's residual network IBN-a takes the place of in the published one.

Pan et al. 2018, arXiv:1807.09441: in stages 1 to 3 of a ResNet, the normalizer behind a block's first convolution; what
stands in the stem, on the skip connection, behind later convolutions and in stage 4 stays.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from torch import nn

from sppkit import registry
from sppkit.errors import UsageError
from sppkit.models.normalizers.affine import channels_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What the child that is the skip connection is called in torchvision, timm, transformers and here.
_SKIPS = ("downsample", "shortcut", "skip", "identity")
_CALLABLE = "Give where= a function of the qualified name and the module of each normalizer instead."


def published_places(model: nn.Module, norm: str, is_normalizer: Callable[[nn.Module], bool]) -> frozenset[str]:
    """Return the qualified names of the normalizers that the published network has another one in place of.

    A stage is an ``nn.Sequential`` or ``nn.ModuleList`` all of whose children, its blocks, have two convolutions or
    more and a normalizer behind the first. What a block calls its downsample, shortcut or skip is left out.

    Args:
        model: The network.
        norm: The normalizer that is put in.
        is_normalizer: Tells normalizers from other modules.

    Raises:
        UsageError: For a normalizer without a published placement, and where no two stages of blocks are found.
    """
    placement = registry.NORMALIZERS[norm].placement
    if placement is None:
        raise UsageError(f"where='published' means nothing for {norm}, which stands wherever batch normalization does.")
    stages = list(_iter_stages(model, "", is_normalizer))
    if len(stages) < 2:
        raise UsageError(
            f"where='published' needs stages of residual blocks, lists of modules with two convolutions and more; "
            f"{type(model).__name__} has {len(stages)}.\n{_CALLABLE}"
        )
    return frozenset(name for stage in islice(stages, placement.stages) for name in stage)


def _iter_stages(module: nn.Module, prefix: str, is_normalizer: Callable[[nn.Module], bool]) -> Iterator[list[str]]:
    """Yield for each stage the first normalizer of each of its blocks; of nested lists, the innermost are stages."""
    inner = [
        stage
        for name, child in module.named_children()
        if not _is_skip(name)
        for stage in _iter_stages(child, f"{prefix}{name}.", is_normalizer)
    ]
    if inner or not isinstance(module, (nn.Sequential, nn.ModuleList)) or len(module) == 0:
        yield from inner
        return
    firsts = [
        _first_behind_convolution(child, f"{prefix}{name}.", is_normalizer) for name, child in module.named_children()
    ]
    if all(first is not None for first in firsts):
        yield [first for first in firsts if first is not None]


def _first_behind_convolution(block: nn.Module, prefix: str, is_normalizer: Callable[[nn.Module], bool]) -> str | None:
    """Return the normalizer behind a block's first convolution; None of what is no block."""
    layers = list(_iter_layers(block, prefix, is_normalizer))
    convolutions = [index for index, (_, layer) in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    if len(convolutions) < 2:
        return None
    first = layers[convolutions[0]][1]
    behind = layers[convolutions[0] + 1 : convolutions[1]]
    # What takes another number of channels belongs to something else.
    fitting = (name for name, layer in behind if is_normalizer(layer) and channels_of(layer) == first.out_channels)
    return next(fitting, None)


def _iter_layers(
    module: nn.Module, prefix: str, is_normalizer: Callable[[nn.Module], bool]
) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d) or is_normalizer(child):
            yield prefix + name, child
        elif not _is_skip(name):
            yield from _iter_layers(child, f"{prefix}{name}.", is_normalizer)


def _is_skip(name: str) -> bool:
    return any(word in name.lower() for word in _SKIPS)

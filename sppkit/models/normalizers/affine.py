"""What any two normalizers share: channels, a scale and an offset for each, and perhaps running statistics."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from sppkit.models.normalizers.batch_channel import BatchChannelNorm
from sppkit.models.normalizers.estimated_batch import EstimatedBatchNorm
from sppkit.models.normalizers.instance_batch import InstanceBatchNorm
from sppkit.registry import NORMALIZERS, load

# Exactly these: a subclass may do anything in its forward.
_TORCHS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm, nn.InstanceNorm2d)


def own_layers() -> tuple[type[nn.Module], ...]:
    """Return the classes of this library's own normalizers."""
    return _load_all(tuple(dict.fromkeys(entry.layer for entry in NORMALIZERS.values() if entry.layer is not None)))


@functools.cache
def _load_all(targets: tuple[str, ...]) -> tuple[type[nn.Module], ...]:
    # Every module of a network is asked whether it is one of them.
    return tuple(load(target) for target in targets)


def is_known(module: nn.Module) -> bool:
    """Return whether a module is a normalizer of (N, C, H, W) maps that is known to be nothing more."""
    return type(module) in {*_TORCHS, *own_layers()} and channels_of(module) is not None


def channels_of(module: nn.Module) -> int | None:
    """Return the number of channels that a normalizer normalizes."""
    if isinstance(module, InstanceBatchNorm):
        return sum(module.sizes)
    if isinstance(module, BatchChannelNorm):
        return module.channel.channels
    if isinstance(module, EstimatedBatchNorm):
        return module.weight.numel()
    kept = (getattr(module, name, None) for name in ("num_channels", "num_features"))
    return next((channels for channels in kept if isinstance(channels, int)), None)


def groups_of(module: nn.Module) -> int | None:
    """Return the number of groups of channels that a normalizer has, if it has groups."""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups
    return module.channel.groups if isinstance(module, BatchChannelNorm) else None


def carry_affine(old: nn.Module, new: nn.Module) -> None:
    """Give a normalizer the scales and offsets, and where both have them the running statistics, of another."""
    if isinstance(new, nn.Identity):
        return
    for index, part in _scaled_parts(new):
        for name in ("weight", "bias"):
            _copy(_gather(_scaled_parts(old), name), getattr(part, name, None), index)
    for index, part in _running_parts(new):
        for name in ("running_mean", "running_var"):
            _copy(_gather(_running_parts(old), name), getattr(part, name), index)
        _carry_constants(old, part)


def _scaled_parts(module: nn.Module) -> list[tuple[slice, nn.Module]]:
    """Return the parts of a normalizer whose scales and offsets are those of channels, and of which channels."""
    if isinstance(module, InstanceBatchNorm):
        first = module.sizes[0]
        parts = [(slice(0, first), module.instance), (slice(first, None), module.batch)]
        return [(index, part) for index, part in parts if part is not None]
    if isinstance(module, BatchChannelNorm):
        per_channel = module.channel.weight.numel() == module.channel.channels
        return [(slice(None), module.channel if per_channel else module.batch)]
    return [(slice(None), module)]


def _running_parts(module: nn.Module) -> list[tuple[slice, nn.Module]]:
    """Return the part of a normalizer that keeps running statistics, and of which channels."""
    if isinstance(module, BatchChannelNorm):
        return [(slice(None), module.batch)]
    return [(index, part) for index, part in _scaled_parts(module) if _is_batch(part)]


def _is_batch(module: nn.Module) -> bool:
    # Instance normalization may keep running statistics too, which are those of single samples.
    kinds = (nn.BatchNorm2d, nn.SyncBatchNorm, EstimatedBatchNorm)
    return isinstance(module, kinds) and isinstance(module.running_mean, Tensor)


def _gather(parts: list[tuple[slice, nn.Module]], name: str) -> Tensor | None:
    """Return the values of all parts in the order of their channels; None where one of them has none."""
    values = [getattr(part, name, None) for _, part in parts]
    found = [value for value in values if isinstance(value, Tensor)]
    return torch.cat(found) if found and len(found) == len(values) else None


@torch.no_grad()
def _copy(source: Tensor | None, target: object, index: slice) -> None:
    # Half of an IBN layer has no running statistics: then there are not as many as channels.
    if source is not None and isinstance(target, Tensor) and source[index].shape == target.shape:
        target.copy_(source[index])
        target.requires_grad_(source.requires_grad)


def _carry_constants(old: nn.Module, new: nn.Module) -> None:
    source = next((part for part in old.modules() if isinstance(part, (nn.BatchNorm2d, nn.SyncBatchNorm))), None)
    if source is not None and isinstance(new, nn.BatchNorm2d):
        new.eps, new.momentum = source.eps, source.momentum

"""Whether a network fits into memory, said before it is built."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

from sppkit.errors import DoesNotFitError, UsageError
from sppkit.models.resnet import PreActivationResNet
from sppkit.models.spec import EXPANSION
from sppkit.models.streaming import most_held

if TYPE_CHECKING:
    from sppkit.models.spec import ModelSpec

# Beside the weights a forward pass holds a few activations of the widest block: its input, its prepared input, the
# branch, the shortcut and the sum, and the convolution's own workspace.
_LIVE_ACTIVATIONS = 6
# For the backward pass every block keeps, in units of its output: that itself and its prepared form, five signals of
# the bottleneck's quarter of the channels, the end of the branch, and its gradient until all are there (6 to 8 measured
# on networks of 101 layers).
_KEPT_ACTIVATIONS = 7
# What a block takes beside its weights: modules, sites, statistics (40 to 70 kB measured at width 1).
_STRUCTURE_BYTES = 70_000
# A stage's first block projects, its last may end in a normalizer, and those between are alike.
_TELLING = 3
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def count_parameters(spec: ModelSpec) -> int:
    """Return the number of parameters of a network, without building it.

    Every block of a stage but its first and last has the same shape, so three blocks per stage tell the rest.
    """
    sizes = iter(_short_sizes(spec))
    total = next(sizes)
    for blocks in spec.stages:
        stage = [next(sizes) for _ in range(min(blocks, _TELLING))]
        total += sum(stage) + stage[len(stage) // 2] * (blocks - len(stage))
    return total


def needed_bytes(
    spec: ModelSpec,
    input_shape: tuple[int, ...] = (),
    *,
    itemsize: int = 4,
    streamed: bool = False,
    differentiated: bool = False,
) -> tuple[int, int]:
    """Estimate the memory that building and running a network takes."""
    held = max(_short_sizes(spec)) if streamed else count_parameters(spec)
    weights = max(4, itemsize) * held + _STRUCTURE_BYTES * sum(spec.stages)
    if not input_shape:
        return weights, 0
    kept = _kept_values(spec, input_shape, streamed=streamed) if differentiated else 0
    return weights, (_live_values(spec, input_shape) + kept) * itemsize


def check_fits(
    spec: ModelSpec,
    input_shape: tuple[int, ...] = (),
    *,
    itemsize: int = 4,
    streamed: bool = False,
    differentiated: bool = False,
) -> None:
    """Refuse a network that would not fit into the memory that is free."""
    if streamed and spec.enorm:
        raise UsageError(
            "--enorm balances the weights of all layers together, so they must fit into memory together; "
            "one block's at a time can't be."
        )
    weights, activations = needed_bytes(
        spec, input_shape, itemsize=itemsize, streamed=streamed, differentiated=differentiated
    )
    available = available_bytes()
    if weights + activations > available:
        raise DoesNotFitError(
            f"this network needs about {_gib(weights)} for its weights and {_gib(activations)} for its activations; "
            f"{_gib(available)} are free.\nTry a smaller --width, --depth, --batch-size or --image-size"
            f"{', or leave the gradient out of --stats' if differentiated else ''}."
        )


def available_bytes() -> int:
    """Return the memory that can still be taken, under the limit of a container if there is one."""
    available = int(psutil.virtual_memory().available)
    for limit in _CGROUP_LIMITS:
        text = Path(limit).read_text(encoding="ascii").strip() if Path(limit).is_file() else "max"
        if text.isdigit():
            available = min(available, int(text) - psutil.Process().memory_info().rss)
    return available


@functools.cache
def _short_sizes(spec: ModelSpec) -> list[int]:
    """Return the parameters of the stem and of a first, a middle and a last block of each stage."""
    short = replace(spec, stages=tuple(min(blocks, _TELLING) for blocks in spec.stages))
    with torch.device("meta"):
        model = PreActivationResNet(short)
    stem = sum(parameter.numel() for parameter in model.stem.parameters())
    return [stem, *[sum(parameter.numel() for parameter in block.parameters()) for block in model.blocks]]


def _live_values(spec: ModelSpec, input_shape: tuple[int, ...]) -> int:
    samples, channels, height, width = input_shape
    stem, block = _outputs(spec, input_shape)
    return samples * channels * height * width + max(2 * stem, _LIVE_ACTIVATIONS * block)


def _kept_values(spec: ModelSpec, input_shape: tuple[int, ...], *, streamed: bool) -> int:
    stem, block = _outputs(spec, input_shape)
    # From stage to stage twice the channels on a quarter of the positions.
    outputs = sum(block * blocks >> stage for stage, blocks in enumerate(spec.stages))
    if not streamed:
        return 2 * stem + _KEPT_ACTIVATIONS * outputs
    # One block at a time keeps its input, from which it is computed again, and so do segments of blocks on each level.
    return 2 * stem + _KEPT_ACTIVATIONS * block + min(outputs, most_held(sum(spec.stages)) * block)


def _outputs(spec: ModelSpec, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how many values the stem makes, and how many a block of the first stage, which is the largest."""
    samples, _, height, width = input_shape
    stride = 1 if spec.stem == "cifar" else 2
    positions = samples * (height // stride + 1) * (width // stride + 1)
    stem = positions * spec.stem_channels
    block = (positions // 4 if spec.stem == "imagenet" else positions) * spec.stem_channels * EXPANSION[spec.block]
    return stem, block


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"

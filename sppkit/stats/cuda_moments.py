"""Moments of the channels of a signal on a CUDA device, in one pass over memory and, where it can be, one launch."""

from __future__ import annotations

import functools
import importlib
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    # Mean and m2 of every channel, float64, and its values that are not finite, int64; each of shape (C,).
    Moments = tuple[Tensor, Tensor, Tensor]

DTYPES = frozenset({torch.float32, torch.bfloat16, torch.float16})
# Values in a tile: 16 per thread, which keeps enough loads in flight and all accumulators in registers.
TILE = 4096
# Channels in a tile where neighbours in memory are channels: 128 bytes of bfloat16, the width of a transaction.
CHANNELS = 64
# Where channels alone don't give this many programs, each channel's tiles are spread over several, of MIN_RUN tiles
# at least. It is a constant, and not the number of the device's processors, so that all devices round alike.
PROGRAMS = 256
MIN_RUN = 8


class Plan(NamedTuple):
    """How the values of a signal are spread over programs; of the strides, in elements, those of its axes.

    Attributes:
        samples: N.
        channels: C.
        length: L.
        strides: Of the samples, the channels and the positions.
        run: Tiles per program.
        runs: Programs per tile of channels.
        block: Channels, samples and positions per tile, powers of two.
    """

    samples: int
    channels: int
    length: int
    strides: tuple[int, int, int]
    run: int
    runs: int
    block: tuple[int, int, int]


def cuda_moments(x: Tensor) -> Moments | None:
    """Reduce a signal to the moments of its channels, without waiting for the device.

    Float32 and half-precision values are read once, by a Triton kernel that shifts each channel by the mean of its
    first values, and are summed in float32 for a few terms and in float64 from then on; channels for which that is not
    enough are redone in float64 by the same kernel. ``sppkit.stats.triton_moments`` proves the bounds. The result does
    not depend on the order in which programs run.

    The first launch for a type and size compiles. A CUDA graph can be captured once that has happened.

    Args:
        x: Shape (N, C, L), of any strides.

    Returns:
        Mean, m2 and the number of values that are not finite of every channel; None where this can't be had: for other
        types and for subclasses of tensors, and without a working Triton.
    """
    # A subclass may have no memory that a kernel could read: it stands for something else.
    if x.dtype not in DTYPES or type(x) is not Tensor or x.numel() == 0:
        return None
    launch = _launcher()
    return None if launch is None else launch(x, make_plan(x.shape, x.stride()))


@functools.lru_cache(4096)
def make_plan(shape: tuple[int, ...], strides: tuple[int, ...]) -> Plan:
    """Spread a signal over programs; it is made once for signals that lie alike.

    Args:
        shape: N, C and L.
        strides: Any, in elements.

    Returns:
        The plan.
    """
    samples, channels, length = shape
    sample_stride, channel_stride, stride = strides
    # Samples that follow each other as positions do are more positions: channels last, and (N, T, C).
    if length == 1 or samples == 1 or sample_stride == length * stride:
        stride = sample_stride if length == 1 else stride
        samples, length = 1, samples * length
    # Neighbours in memory belong to neighbouring threads.
    block_c = min(_power_of_two(channels), CHANNELS) if channel_stride < stride else 1
    block_l = min(_power_of_two(length), TILE // block_c)
    block_n = min(_power_of_two(samples), TILE // (block_c * block_l))
    tiles = _ceil_div(samples, block_n) * _ceil_div(length, block_l)
    wanted = max(1, min(PROGRAMS // _ceil_div(channels, block_c), tiles // MIN_RUN))
    run = _ceil_div(tiles, wanted)
    block, runs = (block_c, block_n, block_l), _ceil_div(tiles, run)
    return Plan(samples, channels, length, (sample_stride, channel_stride, stride), run, runs, block)


@functools.cache
def _launcher() -> Callable[[Tensor, Plan], Moments | None] | None:
    # Triton is not there on every platform; where it is there it may not fit the driver, which it says by RuntimeError.
    try:
        kernels = importlib.import_module("sppkit.stats.triton_moments")
    except (ImportError, RuntimeError):
        return None
    return _Launcher(kernels)


class _Launcher:
    """Launches the kernels; once they could not be launched, never again."""

    def __init__(self, kernels: Any) -> None:
        self.kernels = kernels
        self.works = True

    def __call__(self, x: Tensor, plan: Plan) -> Moments | None:
        if not self.works:
            return None
        try:
            if x.is_cuda and x.get_device() != torch.cuda.current_device():
                with torch.cuda.device(x.device):
                    return self._launch(x, plan)
            return self._launch(x, plan)
        except torch.OutOfMemoryError:
            raise
        # Compiling needs a C compiler, Python's headers and a device that is new enough, and fails in many ways.
        except Exception as error:
            if _captures(x):  # nothing can be compiled there, and what follows is void
                raise
            self.works = False
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            warnings.warn(
                f"sppkit's kernel can't be compiled here, so torch takes the statistics, slower: {reason}",
                RuntimeWarning,
                stacklevel=2,
            )
            return None

    def _launch(self, x: Tensor, plan: Plan) -> Moments:
        c, n, length = plan.block
        blocks = {"BLOCK_C": c, "BLOCK_N": n, "BLOCK_L": length}
        moments, nonfinite = _empty(x, plan.runs, plan.channels)
        warps = max(1, min(8, c * n * length // 512))
        self.kernels.moments_kernel[_ceil_div(plan.channels, c), plan.runs](
            x, moments, nonfinite, *plan[:3], *plan.strides, plan.run, **blocks, num_warps=warps
        )
        if plan.runs == 1:
            return moments[0, 0], moments[1, 0], nonfinite[0]
        merged, merged_nonfinite = _empty(x, 1, plan.channels)
        runs = _power_of_two(plan.runs)
        blocks["BLOCK_C"] = min(_power_of_two(plan.channels), max(1, 1024 // runs))
        self.kernels.merge_kernel[(_ceil_div(plan.channels, blocks["BLOCK_C"]),)](
            moments, nonfinite, merged, merged_nonfinite, *plan[:3], plan.run, plan.runs, **blocks, RUNS=runs
        )
        return merged[0, 0], merged[1, 0], merged_nonfinite[0]


def _captures(x: Tensor) -> bool:
    return x.is_cuda and torch.cuda.is_current_stream_capturing()


def _empty(x: Tensor, runs: int, channels: int) -> tuple[Tensor, Tensor]:
    moments = x.new_empty((2, runs, channels), dtype=torch.float64)
    return moments, x.new_empty((runs, channels), dtype=torch.int64)


def _power_of_two(value: int) -> int:
    """Return the least power of two that is no less."""
    return 1 << (value - 1).bit_length()


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)

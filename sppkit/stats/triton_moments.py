"""The kernels behind ``cuda_moments``, in Triton; importing this module imports triton, which may not be there.

A program takes the channels c of its tile and a run of tiles of positions; a tile is BLOCK_N samples by BLOCK_L
positions of each, so that no index is divided by anything but a constant. Letters: x the values, d = x - shift.

Accuracy. Each lane adds the d and d² of at most FLUSH tiles in float32 and hands them to float64 then. With
u = 2^-24, A = E d² / var, and every rounding at its worst and in one direction: a lane's sum of F terms is off by
(F - 1) u of the sum of their magnitudes, and each d by u of itself, so the sum of d² by (F + 2) u of itself, and the
mean by F u E|d| <= F u √A std. The variance E d² - (E d)² is then off by at most A u (F + 2 + 2 F √(1 - 1/A)) of
itself: with F = 8 and A <= 4 that is 5.7e-6 of the variance, and 9.6e-7 std of the mean, where 1e-5 of the one and of
max(|mean|, std / 10) of the other are promised. Subtracting a shift costs nothing: float32 numbers within a factor of
two of each other have an exact difference (Sterbenz 1974), so that a large mean takes no digits from small deviations.
A channel whose first tile says so little of the rest that A > 4, or whose squares overflow or underflow, or with values
that are not finite, is read again, in float64: that is decided in the kernel, and nobody waits for the answer.
"""

from __future__ import annotations

import triton
import triton.language as tl

# The F above.
FLUSH = tl.constexpr(8)
# The largest A above that is taken for good.
MAX_AMPLIFICATION = tl.constexpr(4.0)
# Below this second moment the squares of float32 values lose digits to underflow (2^-126 / 2^-23 is about 2^-103).
MIN_SECOND_MOMENT = tl.constexpr(2.0**-100)


@triton.jit
def moments_kernel(
    x,
    moments,
    nonfinite,
    samples,
    channels,
    length,
    sample_stride,
    channel_stride,
    stride,
    run,
    BLOCK_C: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_L: tl.constexpr,
):
    """Write what the values of one run of tiles have for moments.

    Args:
        x: Values, (samples, channels, length) of the strides given.
        moments: Mean and m2, float64, (2, runs, channels).
        nonfinite: Number of values that are not finite, int64, (runs, channels).
        samples: N.
        channels: C.
        length: L.
        sample_stride: From one sample to the next, in elements.
        channel_stride: From one channel to the next.
        stride: From one position to the next.
        run: Tiles per program; program (i, j) takes the j-th run of the i-th tile of channels.
        BLOCK_C: Channels per tile.
        BLOCK_N: Samples per tile.
        BLOCK_L: Positions per tile.
    """
    tiles = tl.cdiv(samples, BLOCK_N) * tl.cdiv(length, BLOCK_L)
    first = tl.program_id(1) * run
    last = tl.minimum(first + run, tiles)
    count = (
        _values_before(last, samples, length, BLOCK_N, BLOCK_L)
        - _values_before(first, samples, length, BLOCK_N, BLOCK_L)
    ).to(tl.float64)

    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = channel < channels
    # In 64 bits, because an activation may have more than 2^31 values.
    pointers = x + (channel.to(tl.int64) * channel_stride)[:, None]

    # The first tile is read twice, the second time from the cache.
    values, here = _load(pointers, first, inside, samples, length, sample_stride, stride, BLOCK_N, BLOCK_L)
    in_tile = tl.maximum(tl.sum(here.to(tl.float32), 1), 1.0)
    shift = tl.sum(values.to(tl.float32), 1) / in_tile

    total = tl.zeros([BLOCK_C], tl.float64)
    squares = tl.zeros([BLOCK_C], tl.float64)
    for start in range(first, last, FLUSH):
        lane_total = tl.zeros([BLOCK_C, BLOCK_N * BLOCK_L], tl.float32)
        lane_squares = tl.zeros([BLOCK_C, BLOCK_N * BLOCK_L], tl.float32)
        for tile in range(start, tl.minimum(start + FLUSH, last)):
            values, here = _load(pointers, tile, inside, samples, length, sample_stride, stride, BLOCK_N, BLOCK_L)
            d = tl.where(here, values.to(tl.float32) - shift[:, None], 0.0)
            lane_total += d
            lane_squares += d * d
        total += tl.sum(lane_total.to(tl.float64), 1)
        squares += tl.sum(lane_squares.to(tl.float64), 1)

    offset = total / count
    second = squares / count
    mean = shift.to(tl.float64) + offset
    m2 = squares - total * offset
    bad = tl.zeros([BLOCK_C], tl.int64)
    # Comparisons with nan are false.
    good = (offset * offset <= second * (1 - 1 / MAX_AMPLIFICATION)) & (second >= MIN_SECOND_MOMENT)
    redo = inside & ~(good & (squares < float("inf")))
    if tl.max(redo.to(tl.int32), 0) > 0:
        exact_mean, exact_m2, exact_bad = _exact(
            pointers, first, last, count, inside, samples, length, sample_stride, stride, BLOCK_C, BLOCK_N, BLOCK_L
        )
        mean = tl.where(redo, exact_mean, mean)
        m2 = tl.where(redo, exact_m2, m2)
        bad = tl.where(redo, exact_bad, bad)

    place = tl.program_id(1) * channels + channel
    tl.store(moments + place, mean, mask=inside)
    tl.store(moments + tl.num_programs(1) * channels + place, m2, mask=inside)
    tl.store(nonfinite + place, bad, mask=inside)


@triton.jit
def merge_kernel(
    moments,
    nonfinite,
    merged,
    merged_nonfinite,
    samples,
    channels,
    length,
    run,
    runs,
    BLOCK_C: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_L: tl.constexpr,
    RUNS: tl.constexpr,
):
    """Merge the moments of all runs of tiles (Chan, Golub & LeVeque 1979, for many sets at once).

    Args:
        moments: As ``moments_kernel`` wrote them.
        nonfinite: The same.
        merged: Mean and m2 of all values, float64, (2, channels).
        merged_nonfinite: int64, (channels,).
        samples: N.
        channels: C.
        length: L.
        run: Tiles per run.
        runs: Number of runs.
        BLOCK_C: Channels per program.
        BLOCK_N: Samples per tile.
        BLOCK_L: Positions per tile.
        RUNS: The next power of two of ``runs``.
    """
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = channel < channels
    part = tl.arange(0, RUNS)
    tiles = tl.cdiv(samples, BLOCK_N) * tl.cdiv(length, BLOCK_L)
    before = _values_before(tl.minimum(part * run, tiles), samples, length, BLOCK_N, BLOCK_L)
    after = _values_before(tl.minimum(part * run + run, tiles), samples, length, BLOCK_N, BLOCK_L)
    counts = (after - before).to(tl.float64)[None, :]

    here = inside[:, None] & (part < runs)[None, :]
    place = part[None, :] * channels + channel[:, None]
    means = tl.load(moments + place, mask=here, other=0.0)
    m2s = tl.load(moments + runs * channels + place, mask=here, other=0.0)
    bad = tl.load(nonfinite + place, mask=here, other=0)

    mean = tl.sum(means * counts, 1) / tl.sum(counts, 1)
    d = means - mean[:, None]
    tl.store(merged + channel, mean, mask=inside)
    tl.store(merged + channels + channel, tl.sum(m2s + counts * d * d, 1), mask=inside)
    tl.store(merged_nonfinite + channel, tl.sum(bad, 1), mask=inside)


@triton.jit
def _exact(
    pointers,
    first,
    last,
    count,
    inside,
    samples,
    length,
    sample_stride,
    stride,
    BLOCK_C: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_L: tl.constexpr,
):
    """Take a run's moments by their definition, in float64: the mean first, and then the deviations from it."""
    lane_total = tl.zeros([BLOCK_C, BLOCK_N * BLOCK_L], tl.float64)
    lane_bad = tl.zeros([BLOCK_C, BLOCK_N * BLOCK_L], tl.int32)
    for tile in range(first, last):
        values, here = _load(pointers, tile, inside, samples, length, sample_stride, stride, BLOCK_N, BLOCK_L)
        lane_total += values.to(tl.float64)
        # Only of what is not finite the difference from itself is nan; where nothing was read there is 0.
        difference = values.to(tl.float32) - values.to(tl.float32)
        lane_bad += (difference != difference).to(tl.int32)
    mean = tl.sum(lane_total, 1) / count
    lane_m2 = tl.zeros([BLOCK_C, BLOCK_N * BLOCK_L], tl.float64)
    for tile in range(first, last):
        values, here = _load(pointers, tile, inside, samples, length, sample_stride, stride, BLOCK_N, BLOCK_L)
        d = tl.where(here, values.to(tl.float64) - mean[:, None], 0.0)
        lane_m2 += d * d
    return mean, tl.sum(lane_m2, 1), tl.sum(lane_bad.to(tl.int64), 1)


@triton.jit
def _load(
    pointers,
    tile,
    inside,
    samples,
    length,
    sample_stride,
    stride,
    BLOCK_N: tl.constexpr,
    BLOCK_L: tl.constexpr,
):
    """Return the values of a tile, 0 where there are none, and where there are."""
    across = tl.cdiv(length, BLOCK_L)
    place = tl.arange(0, BLOCK_N * BLOCK_L)
    sample = tile // across * BLOCK_N + place // BLOCK_L
    position = tile % across * BLOCK_L + place % BLOCK_L
    here = inside[:, None] & ((sample < samples) & (position < length))[None, :]
    offsets = sample.to(tl.int64) * sample_stride + position.to(tl.int64) * stride
    return tl.load(pointers + offsets[None, :], mask=here, other=0.0), here


@triton.jit
def _values_before(tile, samples, length, BLOCK_N: tl.constexpr, BLOCK_L: tl.constexpr):
    """Return how many values of a channel come before a tile; tiles go along the positions first."""
    across = tl.cdiv(length, BLOCK_L)
    # A tile of several samples holds all of their positions: only one of a single sample begins in the midst of one.
    sample = tl.minimum(tile // across * BLOCK_N, samples)
    return sample.to(tl.int64) * length + (tile % across * BLOCK_L).to(tl.int64)

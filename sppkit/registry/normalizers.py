"""Every normalizer, and what is known of it before it is built."""

from __future__ import annotations

from sppkit.registry.entries import NormalizerEntry, Placement, Real, Setting, Whole, Words

_HOME = "sppkit.models.normalizers"
# Running statistics that move by a tenth per batch have forgotten all but 0.5 % of their initial values after so many.
_WARMUP = 50
# Beyond any network's channels, and any batch.
_GROUPS: dict[str, Setting] = {"groups": Whole(1, 1_000_000)}
_CHANNEL_PART: dict[str, Setting] = _GROUPS | {"affine": Words(("group", "channel"))}
_SHARE = Real(0, 1)
_KALMAN: dict[str, Setting] = {
    "p": _SHARE,
    "prediction": Words(("expected", "sampled")),
    "propagate": Words(("normalized", "reference")),
    "running": Words(("unbiased", "biased")),
    "stream": Words(("corrected", "predicted")),
    "sub-batch": Whole(0, 1_000_000),
}

NORMALIZERS: dict[str, NormalizerEntry] = {
    "bcn": NormalizerEntry(
        f"{_HOME}.batch_channel:batch_channel_norm",
        "Batch-Channel: over the batch, then within each sample",
        removes="channel",
        running=True,
        one_scale=False,
        settings=_CHANNEL_PART,
        layer=f"{_HOME}.batch_channel:BatchChannelNorm",
    ),
    "bcn-est": NormalizerEntry(
        f"{_HOME}.batch_channel:estimated_batch_channel_norm",
        "bcn by running estimates, for micro-batches",
        removes="channel",
        running=True,
        one_scale=False,
        warmup=_WARMUP,
        settings={**_CHANNEL_PART, "rate": _SHARE},
        layer=f"{_HOME}.estimated_batch:EstimatedBatchNorm",  # inside that of bcn
    ),
    "bkn": NormalizerEntry(
        f"{_HOME}.kalman:batch_kalman_norm",
        "Batch Kalman: bn mixed with what the layers before predict",
        removes="channel",
        running=True,
        one_scale=False,
        settings=_KALMAN,
        everywhere=False,
        refuses_gates="predicts moments through convolutions and not through gates",
        layer=f"{_HOME}.kalman:BatchKalmanNorm",
        block="sppkit.models.kalman_block:KalmanBlock",
    ),
    "bn": NormalizerEntry(
        f"{_HOME}.batch:batch_norm",
        "batch normalization over batch and space",
        removes="channel",
        running=True,
        theory="batch",
        one_scale=True,
    ),
    "gn": NormalizerEntry(
        f"{_HOME}.group:group_norm",
        "group normalization: 32 groups of channels, each sample alone",
        removes="several",
        one_scale=True,
        settings=_GROUPS,
        layer=f"{_HOME}.group:GroupNorm",
    ),
    "ibn-a": NormalizerEntry(
        f"{_HOME}.instance_batch:instance_batch_norm",
        "IBN-Net a: half in, half bn after the first convolution",
        removes="channel",
        running=True,
        one_scale=False,
        settings={"ratio": _SHARE},
        # Stages 4 of IBN-a, 3 and 4 of IBN-b stay as they are (Pan et al. 2018).
        placement=Placement(3, "second", elsewhere="bn"),
        layer=f"{_HOME}.instance_batch:InstanceBatchNorm",
    ),
    "ibn-b": NormalizerEntry(
        f"{_HOME}.instance:instance_norm",
        "IBN-Net b: bn, and in after stages 1 and 2",
        removes="channel",
        running=True,
        one_scale=False,
        everywhere=False,
        placement=Placement(2, "addition", elsewhere="bn"),
    ),
    "ic": NormalizerEntry(
        f"{_HOME}.independent_component:independent_component",
        "independent component: bn, then dropout",
        removes="channel",
        running=True,
        one_scale=True,
        # What is kept is divided by one minus the share that is dropped.
        settings={"drop": Real(0, 0.999)},
        order=True,
        layer=f"{_HOME}.independent_component:IndependentComponent",
    ),
    "in": NormalizerEntry(
        f"{_HOME}.instance:instance_norm",
        "instance normalization: each channel of each sample",
        removes="channel",
        one_scale=True,
    ),
    "ln": NormalizerEntry(
        f"{_HOME}.layer:layer_norm",
        "layer normalization: each sample over channels and space",
        removes="several",
        one_scale=True,
        layer=f"{_HOME}.group:GroupNorm",
    ),
    "noise-aware-bn": NormalizerEntry(
        f"{_HOME}.noise_aware:noise_aware_batch_norm",
        "bn with statistics taken under noisy weights",
        removes="channel",
        running=True,
        one_scale=True,
        warmup=_WARMUP,
        settings={"statistics": Words(("calibrated", "frozen", "batch", "ema"))},
        noiseless=("statistics", "frozen"),
        layer=f"{_HOME}.noise_aware:NoiseAwareBatchNorm",
    ),
    "none": NormalizerEntry(f"{_HOME}.none:no_norm", "no normalizer", removes="none", theory="none"),
}

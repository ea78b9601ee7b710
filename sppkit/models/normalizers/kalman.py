"""Batch Kalman Normalization: a layer's statistics from what is seen and from what the layers before it predict.

Wang et al. 2018, arXiv:1802.03133. A Kalman filter over depth: the moments of one layer's channels, carried through its
weights, predict those of the next, and both are mixed. Letters: p is the weight of the prediction, (m, v) a mean and a
variance per channel, o what is observed, f what is fused.

The paper learns its transition, its noise and the mixing weight; the released code has the fixed p and the moments of
this file, and so have we.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sppkit.models.normalizers.batch import EPSILON

Propagate = Literal["normalized", "reference"]
Prediction = Literal["expected", "sampled"]
Stream = Literal["corrected", "predicted"]
Running = Literal["unbiased", "biased"]
# Released for large batches; for micro-batches (sub-batches of 2) it is 0.9.
PREDICTION_WEIGHT = 0.05
# Released: where the predicted variance is on average so many times the observed one, the prediction is not used.
_LARGEST_RATIO = 100.0


class Moments(NamedTuple):
    """Mean and variance of every channel of every sub-batch, each of shape (sub-batches, C)."""

    mean: Tensor
    variance: Tensor


class BatchKalmanNorm(nn.BatchNorm2d):
    """Batch normalization that can mix a prediction into its statistics.

    Called like any other normalizer it *is* batch normalization, as in eval mode and at a network's first normalizer;
    ``fuse`` takes a prediction. Without a network that carries moments from layer to layer there is none.

    Attributes:
        p: Weight of the prediction.
        sub_batch: Samples that share statistics; 0 for the whole batch. The first sub-batch's move the running ones.
        propagate: What the layer after is told to expect. ``normalized``: N(offset, scale²), which is what this layer
            puts out. ``reference``, as released: the fused moments before normalization.
        prediction: How it predicts. ``expected``: by the expectation over all maps with these moments. ``sampled``, as
            released: by one random map.
        stream: What is known of the stream, to which the branch's prediction is added. ``corrected``: the moments that
            the block's first normalizer fused. ``predicted``, as released: what was predicted for it, never corrected
            by what was seen.
        running: By what the running variance moves where no prediction is used. ``unbiased``: as in batch
            normalization, which divides by n - 1. ``biased``, as released: by the variance that it normalizes with.
    """

    def __init__(
        self,
        channels: int,
        p: float = PREDICTION_WEIGHT,
        sub_batch: int = 0,
        propagate: Propagate = "normalized",
        prediction: Prediction = "expected",
        stream: Stream = "corrected",
        running: Running = "unbiased",
    ) -> None:
        super().__init__(channels, eps=EPSILON)
        self.p = p
        self.sub_batch = sub_batch
        self.propagate = propagate
        self.prediction = prediction
        self.stream = stream
        self.running = running

    def forward(self, x: Tensor, *prediction: Moments | None) -> Any:
        """Normalize as batch normalization does, or by fused statistics."""
        return self.fuse(x, *prediction) if prediction else super().forward(x)

    def fuse(self, x: Tensor, predicted: Moments | None) -> tuple[Tensor, Moments]:
        """Normalize by fused statistics, and move the running ones."""
        observed = self.observe(x)
        if predicted is not None and self.p > 0 and not _is_useless(predicted, observed):
            fused = _mix(predicted, observed, self.p)
            self._move(fused)
            return self._normalize(x, fused), fused
        subs = observed.mean.shape[0]
        if subs == 1 and self.running == "unbiased":
            return super().forward(x), observed
        values = x.numel() // (subs * x.shape[1])
        self._move(observed, values / max(1, values - 1) if self.running == "unbiased" else 1.0)
        return self._normalize(x, observed), observed

    def observe(self, x: Tensor) -> Moments:
        """Return the moments of every sub-batch."""
        size = self.sub_batch or x.shape[0]
        if x.shape[0] % size:
            raise ValueError(f"a batch of {x.shape[0]} can't be divided into sub-batches of {size}")
        wide = x if x.dtype == torch.float64 else x.float()
        variance, mean = torch.var_mean(torch.unflatten(wide, 0, (-1, size)), dim=(1, 3, 4), correction=0)
        return Moments(mean, variance)

    def known_of(self, predicted: Moments | None, fused: Moments) -> Moments:
        """Return what is known of the stream behind the normalizer that a block begins with."""
        return predicted if self.stream == "predicted" and predicted is not None else fused

    def passed_on(self, fused: Moments) -> Moments:
        """Return what the layer after is told about this one's output."""
        if self.propagate == "reference":
            return fused
        mean, variance = self.bias.to(fused.mean), self.weight.to(fused.mean).square()
        return Moments(mean.expand_as(fused.mean), variance.expand_as(fused.variance))

    def _normalize(self, x: Tensor, fused: Moments) -> Tensor:
        subs = fused.mean.shape[0]
        # Of shape (sub-batches, 1, C, 1, 1), beside x of shape (sub-batches, samples, C, H, W).
        mean, variance = (value[:, None, :, None, None] for value in fused)
        weight, bias = (value.view(1, 1, -1, 1, 1) for value in (self.weight, self.bias))
        y = (torch.unflatten(x, 0, (subs, -1)) - mean) * torch.rsqrt(variance + self.eps) * weight + bias
        return y.flatten(0, 1).to(x.dtype)

    @torch.no_grad()
    def _move(self, fused: Moments, factor: float = 1.0) -> None:
        rate = self.momentum or 0.0
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.lerp_(fused.mean[0].to(self.running_mean), rate)
            self.running_var.lerp_((factor * fused.variance[0]).to(self.running_var), rate)

    def extra_repr(self) -> str:
        """Name the settings beside torch's own description."""
        words = ("propagate", "prediction", "stream", "running")
        own = ", ".join([f"p={self.p:g}, sub_batch={self.sub_batch}", *(f"{w}={getattr(self, w)}" for w in words)])
        inherited: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{inherited}, {own}"


def _mix(predicted: Moments, observed: Moments, p: float) -> Moments:
    """Return the moments of the mixture ``p · predicted + (1 - p) · observed``."""
    gap = observed.mean - predicted.mean
    mean = p * predicted.mean + (1 - p) * observed.mean
    variance = p * predicted.variance + (1 - p) * observed.variance + p * (1 - p) * gap.square()
    return Moments(mean, variance)


def _is_useless(predicted: Moments, observed: Moments) -> bool:
    # A variance of 0 makes the ratio infinite, or nan where both are 0: then too nothing is mixed in.
    ratio = (predicted.variance / observed.variance).mean()
    return not bool(ratio < _LARGEST_RATIO)


def batch_kalman_norm(
    channels: int,
    p: float = PREDICTION_WEIGHT,
    sub_batch: int = 0,
    propagate: Propagate = "normalized",
    prediction: Prediction = "expected",
    stream: Stream = "corrected",
    running: Running = "unbiased",
) -> nn.Module:
    """Return Batch Kalman Normalization of (N, C, H, W)."""
    return BatchKalmanNorm(channels, p, sub_batch, propagate, prediction, stream, running)

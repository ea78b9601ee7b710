"""Logits of attention: which keys are masked, and what attention's statistics keep of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sppkit.stats.doubles import double
from sppkit.stats.statistic import Reduction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

# Libraries mask with -inf, the least number of the type, -1e9, the oldest with -1e4, and Swin's windows with -100.
MASKED = -90.0
# A finite logit that low is a mask only where it stands out: attention that is saturated has its like on both sides.
STANDS_OUT = 10.0


@dataclass(frozen=True)
class AttentionSums:
    """What is kept of the logits seen so far, each of shape (), float64.

    Attributes:
        queries: Queries with at least two keys to choose from, over all heads and samples.
        entropy: Sum over them of the entropy of their weights over that of uniform ones.
        largest: The largest absolute logit of a key that is not masked.
    """

    queries: Tensor
    entropy: Tensor
    largest: Tensor


def sum_attention(logits: Iterable[Tensor]) -> AttentionSums:
    """Return what is kept of the logits of one call.

    Args:
        logits: Those of each sample, shape (*heads, queries, keys), as they enter the softmax over the keys.

    Returns:
        The sums; one sample is in float64 at a time.
    """
    return _total([_sum_sample(double(sample.detach())) for sample in logits])


def allowed_keys(logits: Tensor) -> Tensor:
    """Return which keys are not masked: neither at -inf nor at a number that stands far below all others.

    Args:
        logits: Shape (..., queries, keys).

    Returns:
        The same shape, bool.
    """
    candidates = (logits > MASKED) | logits.isnan()
    largest = torch.where(candidates, logits, 0.0).abs().amax()
    return (logits != -torch.inf) & (candidates | ~(logits <= -STANDS_OUT * largest))


def _sum_sample(logits: Tensor) -> AttentionSums:
    allowed = allowed_keys(logits)
    keys = allowed.sum(-1)
    logs = torch.log_softmax(logits.masked_fill(~allowed, -torch.inf), -1)
    # The limit of p log p at 0 is 0.
    entropy = -torch.where(logs == -torch.inf, 0.0, logs.exp() * logs).sum(-1)
    counted = keys > 1
    ratio = torch.where(counted, entropy / keys.clamp(min=2).to(logits).log(), 0.0)
    return AttentionSums(counted.sum().to(logits), ratio.sum(), torch.where(allowed, logits, 0.0).abs().amax())


def merge_attention(a: AttentionSums, b: AttentionSums) -> AttentionSums:
    """Return the sums of the logits of two calls together."""
    return _total([a, b])


def _total(parts: list[AttentionSums]) -> AttentionSums:
    queries, entropy = (torch.stack([getattr(part, name) for part in parts]).sum() for name in ("queries", "entropy"))
    return AttentionSums(queries, entropy, torch.stack([part.largest for part in parts]).amax())


ATTENTION = Reduction(sum_attention, merge_attention)

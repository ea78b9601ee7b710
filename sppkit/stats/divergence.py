"""How far a classifier's distribution over classes moves, in nats."""

from __future__ import annotations

import torch
from torch import Tensor


def log_probabilities(logits: Tensor) -> Tensor:
    """Return the logarithm of a classifier's distribution over classes, log softmax(z), in float64.

    Args:
        logits: z, shape (..., K): the outputs before the softmax.

    Returns:
        Shape (..., K), float64. In float32 a divergence below 1e-7 would be rounding.
    """
    return torch.log_softmax(logits.double(), dim=-1)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p ‖ q) = Σ_k p_k (log p_k - log q_k) in nats.

    A class with p_k = 0 counts 0, whatever q_k is; one with q_k = 0 < p_k makes the divergence infinite.

    Args:
        log_p: log p, shape (..., K), float64, as ``log_probabilities`` returns it.
        log_q: log q, the same.

    Returns:
        Shape (...), at least 0: rounding can leave a sum of terms of both signs a hair below, and that is 0.
    """
    p = log_p.exp()
    terms = torch.where(p > 0, p * (log_p - log_q), torch.zeros_like(p))
    return terms.sum(dim=-1).clamp_min(0.0)

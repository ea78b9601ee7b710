"""How evenly attention looks at its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.stats.attention_logits import ATTENTION
from sppkit.stats.statistic import Statistic

if TYPE_CHECKING:
    from torch import Tensor

    from sppkit.stats.attention_logits import AttentionSums


def attention_entropy(sums: AttentionSums) -> Tensor:
    r"""Return the mean over samples, heads and queries of H(p) / log K.

    p = softmax(logits) over the K keys that a query may look at, H(p) = -\sum_k p_k log p_k. It is 1 where all keys
    count alike, and 0 where every query looks at one: the softmax is saturated then, and its derivative
    diag(p) - p p^T is 0. Zhai et al. 2023 (arXiv:2303.06296) call a fall to 0 entropy collapse. A query with a single
    key has no choice, and is left out.

    Args:
        sums: Sums of the logits.

    Returns:
        Shape (); nan where no query has a choice.
    """
    return sums.entropy / sums.queries


ATTENTION_ENTROPY = Statistic(ATTENTION, attention_entropy)

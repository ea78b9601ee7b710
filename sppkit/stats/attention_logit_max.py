"""The largest logit of attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.stats.attention_logits import ATTENTION
from sppkit.stats.statistic import Statistic

if TYPE_CHECKING:
    from torch import Tensor

    from sppkit.stats.attention_logits import AttentionSums


def attention_logit_max(sums: AttentionSums) -> Tensor:
    """Return the largest absolute logit of a key that is not masked, scale included.

    Its growth comes before the divergence of large models (Dehghani et al. 2023, arXiv:2302.05442, who normalize
    queries and keys for it).

    Args:
        sums: Sums of the logits.

    Returns:
        Shape ().
    """
    return sums.largest


ATTENTION_LOGIT_MAX = Statistic(ATTENTION, attention_logit_max, over_layers="largest")

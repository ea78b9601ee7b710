"""No normalizer."""

from __future__ import annotations

from torch import nn


def no_norm(channels: int) -> nn.Module:  # noqa: ARG001 - normalizers share one signature
    """Return the identity.

    Args:
        channels: Number of channels of the tensor that is not normalized.

    Returns:
        A module without parameters.
    """
    return nn.Identity()

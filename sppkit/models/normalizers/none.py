"""No normalizer."""

from __future__ import annotations


def no_norm(channels: int) -> None:
    """Return no module."""

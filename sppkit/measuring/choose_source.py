"""From the options to what is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.measuring.named_architecture import NamedArchitecture
from sppkit.measuring.own_network import OwnNetwork

if TYPE_CHECKING:
    from sppkit.config.resolve import Resolved
    from sppkit.measuring.source import Source


def choose_source(resolved: Resolved) -> Source:
    """Return what a configuration asks to measure."""
    return NamedArchitecture(resolved) if resolved.config.model is None else OwnNetwork(resolved)

"""From the options to what is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.measuring.named_architecture import NamedArchitecture
from sppkit.measuring.own_network import OwnNetwork

if TYPE_CHECKING:
    from sppkit.config.resolve import Resolved
    from sppkit.measuring.source import Source


def choose_source(resolved: Resolved) -> Source:
    """Return what a configuration asks to measure.

    Args:
        resolved: The checked configuration.

    Returns:
        A named architecture, or the user's own network, whose code is imported here.

    Raises:
        UsageError: If there is no such network, or an option means nothing for it.
    """
    return NamedArchitecture(resolved) if resolved.config.model is None else OwnNetwork(resolved)

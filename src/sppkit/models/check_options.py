"""What can be said of a network's options before torch is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.models.loading.reference import parse_reference
from sppkit.models.spec import build_spec

if TYPE_CHECKING:
    from sppkit.config import Resolved


def check_options(resolved: Resolved) -> None:
    """Refuse a network that can't be, in a moment.

    Args:
        resolved: The checked configuration.

    Raises:
        UsageError: If no network is named, an option means nothing for it, or ``--model`` has none of its forms.
    """
    if resolved.config.model is None:
        build_spec(resolved.config.arch, resolved.given())
    else:
        parse_reference(resolved.config.model)

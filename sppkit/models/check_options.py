"""What can be said of a network's options before torch is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.errors import UsageError
from sppkit.models.loading.reference import parse_reference
from sppkit.models.spec import WHICH_NETWORK, build_spec

if TYPE_CHECKING:
    from sppkit.config.resolve import Resolved


def check_options(resolved: Resolved) -> None:
    """Refuse a network that can't be, in a moment."""
    config = resolved.config
    if config.model is not None:
        parse_reference(config.model)
    elif config.arch:
        build_spec(config.arch, resolved.given())
    else:
        raise UsageError(WHICH_NETWORK)

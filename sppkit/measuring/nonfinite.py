"""Where values stopped being finite: the first place in the order in which they were computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sppkit.stats.moments import MOMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sppkit.measuring.collect import Collector
    from sppkit.measuring.reduce import Kept


def find_nonfinite(sites: Collector[Kept]) -> tuple[str, str] | None:
    """Return the direction and the name of the first row that has lost values: forward, then from the end backward."""
    for site in sites.sites:
        if site in sites.heard and _has_lost(sites.heard[site].value):
            return "forward", site.name
    backward = {} if sites.gradients is None else sites.gradients.kept
    lost = [block for (role, block), kept in backward.items() if role == "block_gradient" and _has_lost(kept)]
    name = next((site.name for site in sites.sites if lost and site.block == max(lost)), None)
    return None if name is None else ("backward", name)


def _has_lost(kept: Kept) -> bool:
    moments = cast("Mapping[Any, Any]", kept)[MOMENTS]
    return bool(int(moments.nonfinite if isinstance(moments.nonfinite, int) else moments.nonfinite.sum()))

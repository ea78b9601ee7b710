"""The settings of equi-normalization (``--enorm-kw``); needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sppkit.config import parsers
from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Beyond any sensible ratio or power.
_LARGEST = 1e6

ENORM_SETTINGS: Mapping[str, Callable[[str, object], Any]] = {
    "c": parsers.positive_number(_LARGEST),
    "cycles": parsers.whole_number(1),
    "p": parsers.positive_number(_LARGEST),
}


def read_enorm_settings(text: str | None) -> dict[str, Any]:
    """Return the settings as ``equi_normalize`` takes them.

    >>> read_enorm_settings("c=1.2,cycles=1")
    {'c': 1.2, 'cycles': 1}
    """
    pairs = parsers.split_settings("enorm_kw", text) if text else []
    for key, _ in pairs:
        if key not in ENORM_SETTINGS:
            raise UsageError(f"--enorm-kw {key} means nothing; --enorm has {', '.join(ENORM_SETTINGS)}.")
    return {key: ENORM_SETTINGS[key](f"enorm_kw {key}", value) for key, value in pairs}

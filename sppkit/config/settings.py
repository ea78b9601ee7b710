"""From a registered setting to what reads a typed value of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sppkit.config import parsers
from sppkit.registry.entries import Text, Whole, Words

if TYPE_CHECKING:
    from collections.abc import Callable

    from sppkit.registry.entries import Setting


def setting_parser(setting: Setting) -> Callable[[str, object], Any]:
    """Return the parser of a setting.

    >>> from sppkit.registry.entries import Whole
    >>> setting_parser(Whole(1, 5))("shift severity", "3")
    3
    """
    if isinstance(setting, Words):
        return parsers.one_of(*setting.legal)
    if isinstance(setting, Text):
        return parsers.text
    return (parsers.whole_number if isinstance(setting, Whole) else parsers.real_number)(*setting)

"""From a registered setting to what reads a typed value of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sppkit.config import parsers
from sppkit.errors import UsageError
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
        return _one_of(setting)
    if isinstance(setting, Text):
        return parsers.text
    return (parsers.whole_number if isinstance(setting, Whole) else parsers.real_number)(*setting)


def _one_of(setting: Words) -> Callable[[str, object], str]:
    known = parsers.one_of(*setting.legal)

    def parse(name: str, value: object) -> str:
        if value not in setting.legal:  # files and papers write gaussian_noise
            value = str(value).replace("_", "-")
        reason = setting.refused.get(value)
        if reason is not None:
            raise UsageError(f"{parsers.flag_of(name)} {value} is not here: {reason}")
        return known(name, value)

    return parse

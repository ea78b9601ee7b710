"""Which add-ons a network has, where, and with what settings; needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sppkit import registry
from sppkit.config import parsers
from sppkit.config.parsers import one_of, whole_number
from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SETTINGS: dict[str, Mapping[str, Callable[[str, object], Any]]] = {
    "crossnorm": {
        "instances": whole_number(1, 2),
        "crop": one_of("neither", "style", "content", "both"),
        "channels": one_of("own", "permuted"),
    },
    "selfnorm": {"gates": whole_number(1, 2)},
}


def positions(text: str | None) -> dict[str, str]:
    """Return where each add-on stands."""
    return dict(item.split("@") for item in text.split("+")) if text else {}


def stands_at(places: Mapping[str, str], *, normalized: bool) -> dict[str, str]:
    """Return which add-ons a block has, and where: not those on the images, and none behind a normalized addition.

    Behind it each channel of each sample has mean 0 and deviation 1, which a gate could tell nothing from and a swap
    would leave as they are; the released IBN-b networks have no add-on in these blocks either.

    >>> stands_at({"crossnorm": "pre", "selfnorm": "post"}, normalized=True)
    {'crossnorm': 'pre'}
    """
    elsewhere = {"input", "post"} if normalized else {"input"}
    return {name: place for name, place in places.items() if place not in elsewhere}


def on_images(add_on: str | None) -> list[str]:
    """Return the add-ons that the images go through before the stem."""
    return [name for name, place in positions(add_on).items() if place == "input"]


def read_add_on_settings(add_on: str | None, text: str | None) -> dict[str, dict[str, Any]]:
    """Return the settings of every add-on as its builder takes them."""
    found: dict[str, dict[str, Any]] = {name: {} for name in positions(add_on)}
    if "selfnorm" in on_images(add_on):
        raise UsageError("--add-on selfnorm@input means nothing: on the images stands crossnorm alone.")
    for key, value in parsers.split_settings("add_on_kw", text) if text else ():
        owner = next((name for name in found if key in SETTINGS[name]), None)
        if owner is None:
            known = ", ".join(f"{key} ({name})" for name in registry.ADD_ONS for key in SETTINGS[name])
            raise UsageError(f"--add-on-kw {key} means nothing for --add-on {add_on or '(none)'}; known: {known}.")
        found[owner][key] = SETTINGS[owner][key](f"add_on_kw {key}", value)
    swap = found.get("crossnorm", {})
    if swap.get("instances") == 1 and "channels" in swap:
        raise UsageError("--add-on-kw channels means nothing with instances=1, which always permutes the channels.")
    return found

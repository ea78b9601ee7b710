"""What a run must know of a normalizer before it is built: its settings, its running statistics; needs no torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from sppkit.config import parsers
from sppkit.config.parsers import one_of, real_number, whole_number
from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Wu & He 2018 (group normalization) and Qiao et al. 2019 (Batch-Channel Normalization).
GROUPS = 32
# Beyond any network's channels.
_MOST_GROUPS = 1_000_000
_MOST_SAMPLES = 1_000_000
# What is kept is divided by one minus the share that is dropped.
_MOST_DROPPED = 0.999
# Running statistics that move by a tenth per batch have forgotten all but 0.5 % of their initial values behind so many.
_WARMUP = 50


class Traits(NamedTuple):
    """What is known of one normalizer.

    Attributes:
        settings: Parser of each of its settings (``--norm-kw``).
        running: Whether eval mode uses running statistics.
        warmup: Batches that are run before the measurement unless the user says otherwise.
        everywhere: Whether any normalizer of a model can be replaced by it.
    """

    settings: Mapping[str, Callable[[str, object], Any]] = {}
    running: bool = True
    warmup: int = 0
    everywhere: bool = True


_GROUPS = {"groups": whole_number(1, _MOST_GROUPS)}
_CHANNEL_PART = _GROUPS | {"affine": one_of("group", "channel")}
_SHARE = real_number(0, 1)

TRAITS: dict[str, Traits] = {
    "bcn": Traits(_CHANNEL_PART),
    "bcn-est": Traits(_CHANNEL_PART | {"rate": _SHARE}, warmup=_WARMUP),
    "bkn": Traits(
        {
            "p": _SHARE,
            "prediction": one_of("expected", "sampled"),
            "propagate": one_of("normalized", "reference"),
            "sub-batch": whole_number(0, _MOST_SAMPLES),
        },
        everywhere=False,
    ),
    "bn": Traits(),
    "gn": Traits(_GROUPS, running=False),
    "ibn-a": Traits({"ratio": _SHARE}),
    "ibn-b": Traits(everywhere=False),
    "ic": Traits({"drop": real_number(0, _MOST_DROPPED)}),
    "in": Traits(running=False),
    "ln": Traits(running=False),
    "noise-aware-bn": Traits({"statistics": one_of("calibrated", "frozen", "batch", "ema")}, warmup=_WARMUP),
    "none": Traits(running=False),
}


def groups_note(norm: str, text: str | None, smallest: int) -> str | None:
    """Say where channels can't be divided into the groups that were asked for.

    Args:
        norm: Name of the normalizer.
        text: Its settings, as for ``read_settings``.
        smallest: The least channels in the network, of which all others are multiples.

    Returns:
        A sentence, or None where nothing is to be said.

    >>> groups_note("gn", None, 16)
    'gn: 32 groups do not divide 16 channels; such layers have gcd(32, channels) groups, here 16.'
    """
    if "groups" not in TRAITS[norm].settings:
        return None
    groups = read_settings(norm, text).get("groups", GROUPS)
    fitting = math.gcd(groups, smallest)
    if fitting == groups:
        return None
    return (
        f"{norm}: {groups} groups do not divide {smallest} channels; such layers have gcd({groups}, channels) groups, "
        f"here {fitting}."
    )


def read_settings(norm: str, text: str | None) -> dict[str, Any]:
    """Return a normalizer's settings as its builder takes them.

    Args:
        norm: Name of the normalizer.
        text: Settings as ``parsers.settings`` returns them, ``key=value,...``, or None.

    Returns:
        Argument name to value.

    Raises:
        UsageError: If it has no such setting, or a value is illegal.

    >>> read_settings("bcn", "affine=channel,groups=16")
    {'affine': 'channel', 'groups': 16}
    """
    known = TRAITS[norm].settings
    pairs = dict(parsers.split_settings("norm_kw", text)) if text else {}
    for key in pairs:
        if key not in known:
            has = f"it has {', '.join(sorted(known))}" if known else "it has none"
            raise UsageError(f"--norm-kw {key} means nothing for the normalizer {norm}; {has}.")
    return {key.replace("-", "_"): known[key](f"norm_kw {key}", value) for key, value in pairs.items()}

"""A normalizer's settings (``--norm-kw``), read before it is built; needs no torch."""

from __future__ import annotations

import math
from typing import Any

from sppkit.config import parsers
from sppkit.config.settings import setting_parser
from sppkit.errors import UsageError
from sppkit.registry import NORMALIZERS

# Wu & He 2018 (group normalization) and Qiao et al. 2019 (Batch-Channel Normalization).
GROUPS = 32


def groups_note(norm: str, text: str | None, smallest: int) -> str | None:
    """Say where channels can't be divided into the groups that were asked for.

    >>> groups_note("gn", None, 16)
    'gn: 32 groups do not divide 16 channels; such layers have gcd(32, channels) groups, here 16.'
    """
    if "groups" not in NORMALIZERS[norm].settings:
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

    >>> read_settings("bcn", "affine=channel,groups=16")
    {'affine': 'channel', 'groups': 16}
    """
    known = NORMALIZERS[norm].settings
    pairs = dict(parsers.split_settings("norm_kw", text)) if text else {}
    for key in pairs:
        if key not in known:
            has = f"it has {', '.join(sorted(known))}" if known else "it has none"
            raise UsageError(f"--norm-kw {key} means nothing for the normalizer {norm}; {has}.")
    return {key.replace("-", "_"): setting_parser(known[key])(f"norm_kw {key}", value) for key, value in pairs.items()}

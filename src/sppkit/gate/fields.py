"""Fields of a record that only the gate reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sppkit.report.fields import mapping_at

if TYPE_CHECKING:
    from collections.abc import Mapping


def option_values(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run.

    Args:
        record: The run's record.

    Returns:
        Option name to value; empty where none are recorded.
    """
    entries = mapping_at(record, "options")
    return {name: mapping_at(entries, name).get("value") for name in entries}

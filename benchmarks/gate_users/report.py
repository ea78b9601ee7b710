"""The trials as a page."""

from __future__ import annotations

from typing import Any


def render(rows: list[dict[str, Any]]) -> str:
    matter = [row for row in rows if row["matters"]]
    caught = [row for row in matter if row.get("exit") == 1]
    return f"{len(rows)} trials, {len(matter)} matter, {len(caught)} caught"

"""Verdicts as JSON: everything, for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sppkit.gate.reports import wording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sppkit.gate.verdict import Verdict

SCHEMA = 1


def render_json(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as JSON."""
    runs = [
        {"verdict": wording.word(item), "headline": wording.headline(item), **item.described()} for item in verdicts
    ]
    document = {"schema": SCHEMA, "passed": all(item.passed for item in verdicts), "runs": runs}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"

"""One sentence about a table and how good the news is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["good", "note", "bad"]


@dataclass(frozen=True)
class Statement:
    """A sentence, and whether it is good news, worth a look, or bad."""

    level: Level
    text: str

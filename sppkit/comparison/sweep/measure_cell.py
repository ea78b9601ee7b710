"""Measuring one cell, in whatever process an executor has."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sppkit.errors import SppkitError

if TYPE_CHECKING:
    import pandas as pd

    from sppkit.config.resolve import Resolved


@dataclass(frozen=True)
class Outcome:
    """What came of a cell.

    Attributes:
        table: Its rows; None where it failed.
        record: Its record.
        failure: Why it failed, in one line.
        peak_bytes: The most memory that its process has held so far.
    """

    table: pd.DataFrame | None
    record: dict[str, Any] = field(default_factory=dict)
    failure: str = ""
    peak_bytes: int = 0


def measure_cell(resolved: Resolved, threads: int) -> Outcome:
    """Measure a cell; a failure is an outcome, too."""
    import torch

    from sppkit.measuring.run import run

    torch.set_num_threads(threads)
    try:
        result = run(resolved)
    except SppkitError as error:
        return Outcome(None, failure=_one_line(str(error)), peak_bytes=_peak_bytes())
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's network may raise anything
        return Outcome(None, failure=_one_line(f"{type(error).__name__}: {error}"), peak_bytes=_peak_bytes())
    return Outcome(result.table, result.record, peak_bytes=_peak_bytes())


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _peak_bytes() -> int:
    import psutil

    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process(os.getpid()).memory_info().rss)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if os.uname().sysname == "Darwin" else peak * 1024

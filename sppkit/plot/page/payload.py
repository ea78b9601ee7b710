"""What the page's program reads: the runs' tables as CSV, their records, and what a statistic is."""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any

from sppkit.machine.printable import printable, printable_values
from sppkit.plot.page.shown_run import panels
from sppkit.record.locate_blocks import locate_record
from sppkit.record.read import mapping_at
from sppkit.record.table import csv_text
from sppkit.registry import STATISTICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from sppkit.plot.page.shown_run import ShownRun

# What a linear axis should show besides 0: a branch that preserves variance has 1.
_REFERENCE = {"residual_variance": 1.0}
# Of the record: what stands elsewhere on the page, and digests that no one reads.
_NOT_SHOWN = {"schema", "options", "sources", "classes", "joins", "weights"}


def describe_runs(runs: Sequence[ShownRun]) -> dict[str, Any]:
    """Return the runs as plain values, for JSON."""
    listed = list(runs)
    opened = {name for run in listed for name in run.opened}
    return {
        "unit": "layer" if all(run.curves.layered for run in listed) else "block",
        "statistics": [_describe_statistic(name) | {"open": name in opened} for name in panels(listed)],
        "runs": [_describe_run(run) for run in listed],
    }


def encode(values: Mapping[str, Any]) -> str:
    """Return values as text that no markup can hide in: JSON, deflated, in base64."""
    # Every letter beyond ASCII is escaped, so that halves of surrogate pairs survive, too.
    plain = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(plain.encode("ascii"), 9)).decode("ascii")


def _describe_statistic(name: str) -> dict[str, Any]:
    entry = STATISTICS[name]
    backward = entry.role.endswith("_gradient")
    return {
        "name": name,
        "meaning": entry.summary,
        "backward": backward,
        # What is multiplied from block to block: equal factors are equal steps of a logarithmic axis.
        "multiplied": entry.role == "block_gradient",
        "logarithmic": name == "gradient_second_moment",
        "reference": _REFERENCE.get(name),
    }


def _describe_run(run: ShownRun) -> dict[str, Any]:
    names = [str(name) for name in run.table["name"].unique()]
    shown = len(set(run.shown["step"])) if run.steps else 0
    described = {
        "label": printable(run.label),
        "csv": csv_text(_with_plain_names(run.shown)),
        "places": {name: list(place) for name, place in locate_record(run.record, names).items()},
        "classes": {name: text for name, text in mapping_at(run.record, "classes").items() if isinstance(text, str)},
        "joins": {name: text for name, text in mapping_at(run.record, "joins").items() if isinstance(text, str)},
        "thinned": f"{shown} of {len(run.steps)} steps" if shown < len(run.steps) else "",
        "options": _options(run.record),
        "record": {key: value for key, value in run.record.items() if key not in _NOT_SHOWN},
    }
    return {key: printable_values(value) if key != "csv" else value for key, value in described.items()}


def _with_plain_names(table: pd.DataFrame) -> pd.DataFrame:
    # A name with a line break in it, which no file has, would end a row.
    return table.assign(name=table["name"].map(lambda name: printable(str(name))).astype("string"))


def _options(record: Mapping[str, Any]) -> list[list[Any]]:
    entries = mapping_at(record, "options")
    items = {name: mapping_at(entries, name) for name in entries}
    return [[name, item.get("value"), item.get("source", "")] for name, item in items.items()]

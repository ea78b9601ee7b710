"""The run in the terminal: one row per stage, and the findings in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from sppkit.report.verdict import state_findings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from rich.console import RenderableType

# A mark that reads without colour, and the colour that goes with it.
_MARKS = {"good": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("BAD ", "bold red")}


def render_summary(table: pd.DataFrame, record: Mapping[str, Any]) -> list[RenderableType]:
    """Return the summary of a run.

    Args:
        table: As measured or read; several seeds are averaged.
        record: The run's record, or an empty mapping.

    Returns:
        Renderables to print one after the other.
    """
    return [
        _render_stages(table),
        *(_render_statement(item.level, item.text) for item in state_findings(table, record)),
    ]


def _render_stages(table: pd.DataFrame) -> Table:
    rendered = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("stage", "blocks", "output"):
        rendered.add_column(heading, justify="left" if heading == "output" else "right")
    for heading in ("squared mean", "variance start", "variance end", "residual variance"):
        rendered.add_column(heading, justify="right")
    for row in _iter_stages(table):
        rendered.add_row(*row)
    return rendered


def _iter_stages(table: pd.DataFrame) -> Iterator[list[str]]:
    for stage, rows in table.groupby("stage", sort=False):
        first, last = rows[rows["block"] == rows["block"].min()], rows[rows["block"] == rows["block"].max()]
        yield [
            "stem" if stage == 0 else str(stage),
            str(rows["block"].nunique()),
            _shape(last.iloc[0]),
            _mean(last["channel_squared_mean"]),
            _mean(first["channel_variance"]),
            _mean(last["channel_variance"]),
            "" if stage == 0 else _mean(rows["residual_variance"]),
        ]


def _mean(values: pd.Series[float]) -> str:
    return format(values.mean(skipna=False), ".4g")


def _shape(row: pd.Series[Any]) -> str:
    sizes = [row[name] for name in ("channels", "height", "width")]
    return "×".join(str(int(size)) for size in sizes if size == size and size is not None)


def _render_statement(level: str, text: str) -> Text:
    mark, style = _MARKS[level]
    return Text.assemble((mark, style), " ", text)

"""The run in the terminal: one row per stage, and the findings in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from sppkit.report.blocks import average_seeds
from sppkit.report.verdict import state_blocks
from sppkit.table import STATISTIC_COLUMNS, is_measured

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import RenderableType

# A mark that reads without colour, and the colour that goes with it.
_MARKS = {"good": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("BAD ", "bold red")}


def render_summary(table: pd.DataFrame, record: Mapping[str, Any]) -> list[RenderableType]:
    """Return the summary of a run.

    Args:
        table: As measured or read; several seeds are averaged (arithmetic means).
        record: The run's record, or an empty mapping.

    Returns:
        Renderables to print one after the other.
    """
    blocks = average_seeds(table)
    statements = state_blocks(blocks, record)
    return [_render_stages(blocks), *(_render_statement(item.level, item.text) for item in statements)]


def _render_stages(blocks: pd.DataFrame) -> Table:
    rendered = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("stage", "blocks", "output"):
        rendered.add_column(heading, justify="left" if heading == "output" else "right")
    for heading in ("squared mean", "variance start", "variance end", "residual variance"):
        rendered.add_column(heading, justify="right")
    for row in _iter_stages(blocks):
        rendered.add_row(*row)
    return rendered


def _iter_stages(blocks: pd.DataFrame) -> Iterator[list[str]]:
    measured = {name for name in STATISTIC_COLUMNS if is_measured(blocks, name)}
    for stage, rows in blocks.groupby("stage", sort=False, dropna=False):
        first, last = rows.iloc[0], rows.iloc[-1]
        yield [
            _stage_name(stage),
            str(len(rows)),
            _shape(last),
            _cell(last["channel_squared_mean"], "channel_squared_mean" in measured),
            _cell(first["channel_variance"], "channel_variance" in measured),
            _cell(last["channel_variance"], "channel_variance" in measured),
            _cell(_residual_mean(rows), "residual_variance" in measured and rows["block"].max() > 0),
        ]


def _stage_name(stage: Any) -> str:
    if pd.isna(stage):  # a model without stages
        return ""
    return "stem" if stage == 0 else str(stage)


def _residual_mean(rows: pd.DataFrame) -> float:
    # Neither the stem nor a block without a branch has a value; a lost value makes the mean nan.
    joins = rows[(rows["block"] > 0) & (rows["residual_variance"].notna() | (rows["nonfinite"] > 0))]
    return float(joins["residual_variance"].mean(skipna=False))


def _cell(value: float, measured: bool) -> str:
    return format(value, ".4g") if measured else ""


def _shape(row: pd.Series[Any]) -> str:
    sizes = [row[name] for name in ("channels", "height", "width")]
    return "×".join(str(int(size)) for size in sizes if not pd.isna(size))


def _render_statement(level: str, text: str) -> Text:
    mark, style = _MARKS[level]
    return Text.assemble((mark, style), " ", text)

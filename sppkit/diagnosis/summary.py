"""The run in the terminal: one row per stage, what is wrong in words, and what is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from sppkit.curves.curves import Curves
from sppkit.diagnosis.brief import shorten
from sppkit.diagnosis.diagnose import diagnose_curves
from sppkit.diagnosis.healthy import iter_descriptions
from sppkit.diagnosis.list_item import ListItem
from sppkit.record.table import STATISTIC_COLUMNS, is_measured

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from sppkit.diagnosis.result import Diagnosis

# A mark that reads without colour, and the colour that goes with it.
_MARKS = {
    "good": ("ok  ", "green"),
    "remark": ("note", "cyan"),
    "warning": ("WARN", "bold yellow"),
    "error": ("BAD ", "bold red"),
}
_HEADINGS = ("stage", "blocks", "output", "squared mean", "variance start", "variance end", "residual variance")
_LAYER_HEADINGS = ("layer", "name", "output", "squared mean", "variance")
_GROUP_HEADINGS = ("layers", "output", "squared mean", "variance start", "variance end")
_LEFT_ALIGNED = {"name", "output"}
# More rows than a screen has are told as groups of layers with the same output.
_MOST_LAYERS = 30


def render_summary(table: pd.DataFrame, record: Mapping[str, Any]) -> list[RenderableType]:
    """Return the summary of a run: its stages, and the verdict in four lines."""
    curves = Curves(table, record)
    return [*_iter_tables(curves), *shorten(list(iter_findings(curves)))]


def iter_findings(curves: Curves) -> Iterator[ListItem]:
    """Yield everything that there is to say, in full, the worst first."""
    found = diagnose_curves(curves)
    for diagnosis in found:
        yield _render_diagnosis(diagnosis)
    # Beside a signal that is lost it is no good news that some statistic of it is small.
    if not any(diagnosis.severity == "error" for diagnosis in found):
        for mark, text in iter_descriptions(curves, {diagnosis.statistic for diagnosis in found}):
            yield ListItem(*_MARKS[mark], Text(text))


def _iter_tables(curves: Curves) -> Iterator[Table]:
    blocks = curves.averaged.table
    if not curves.layered:
        yield _render(_HEADINGS, _iter_stages(blocks))
    elif len(blocks) <= _MOST_LAYERS:
        # In a torch.nn.Sequential the names are the numbers.
        numbered = bool((blocks["name"] == blocks["block"].astype(str)).all())
        hidden = {"name"} if numbered else set()
        yield _render([name for name in _LAYER_HEADINGS if name not in hidden], _iter_layers(blocks, hidden))
    else:
        yield _render(_GROUP_HEADINGS, _iter_groups(blocks))


def _render(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    rendered = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        # Of two words one stands below the other, so that all fits into 80 columns.
        left = heading in _LEFT_ALIGNED
        rendered.add_column(Text(heading.replace(" ", "\n")), justify="left" if left else "right", vertical="bottom")
    for row in rows:
        rendered.add_row(*map(Text, row))
    return rendered


def _iter_stages(blocks: pd.DataFrame) -> Iterator[list[str]]:
    measured = _measured(blocks)
    for stage, rows in blocks.groupby("stage", sort=False, dropna=False):
        residual = _cell(_residual_mean(rows), "residual_variance" in measured and rows["block"].max() > 0)
        yield [_stage_name(stage, rows), str(len(rows)), *_cells(rows, measured), residual]


def _iter_groups(blocks: pd.DataFrame) -> Iterator[list[str]]:
    measured, shapes = _measured(blocks), blocks.apply(_shape, axis=1)
    for _, rows in blocks.groupby((shapes != shapes.shift()).cumsum(), sort=False):
        first, last = rows["block"].iloc[0], rows["block"].iloc[-1]
        yield [str(first) if first == last else f"{first}–{last}", *_cells(rows, measured)]


def _iter_layers(blocks: pd.DataFrame, hidden: Collection[str]) -> Iterator[list[str]]:
    measured = _measured(blocks)
    for _, row in blocks.iterrows():
        values = (_cell(row[name], name in measured) for name in ("channel_squared_mean", "channel_variance"))
        name = [] if "name" in hidden else [str(row["name"])]
        yield [str(row["block"]), *name, _shape(row), *values]


def _cells(rows: pd.DataFrame, measured: Collection[str]) -> list[str]:
    first, last = rows.iloc[0], rows.iloc[-1]
    return [
        _shape(last),
        _cell(last["channel_squared_mean"], "channel_squared_mean" in measured),
        _cell(first["channel_variance"], "channel_variance" in measured),
        _cell(last["channel_variance"], "channel_variance" in measured),
    ]


def _measured(blocks: pd.DataFrame) -> set[str]:
    return {name for name in STATISTIC_COLUMNS if is_measured(blocks, name)}


def _stage_name(stage: Any, rows: pd.DataFrame) -> str:
    if pd.isna(stage):  # a model without stages
        return ""
    # Row 0 may be the model's own input.
    return str(stage) if stage != 0 else "input" if rows["name"].iloc[0] == "input" else "stem"


def _residual_mean(rows: pd.DataFrame) -> float:
    # Neither the stem nor a block without a branch has a value; a lost value makes the mean nan.
    joins = rows[(rows["block"] > 0) & (rows["residual_variance"].notna() | (rows["nonfinite"] > 0))]
    return float(joins["residual_variance"].mean(skipna=False))


def _cell(value: float, measured: bool) -> str:
    return format(value, ".4g") if measured else ""


def _shape(row: pd.Series[Any]) -> str:
    sizes = [row[name] for name in ("channels", "height", "width")]
    return "×".join(str(int(size)) for size in sizes if not pd.isna(size))


def _render_diagnosis(diagnosis: Diagnosis) -> ListItem:
    mark, fact = _MARKS[diagnosis.severity], diagnosis.fact
    # What is no fault is told in a line: ``diagnose`` has its cause and what there is to do.
    if diagnosis.severity == "remark":
        return ListItem(*mark, Text(f"{fact}."))
    told = "; ".join(filter(None, (diagnosis.cause, diagnosis.remedy)))
    return ListItem(*mark, Text.assemble((fact, "bold"), f"; {told}." if told else "."))

"""The run in the terminal: one row per stage, what is wrong in words, and what is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from sppkit.diagnosis.diagnose import diagnose_evidence
from sppkit.diagnosis.evidence import collect_evidence
from sppkit.report.course import iter_courses
from sppkit.table import STATISTIC_COLUMNS, is_measured

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import RenderableType

    from sppkit.diagnosis.evidence import Evidence
    from sppkit.diagnosis.result import Diagnosis

# A mark that reads without colour, and the colour that goes with it.
_MARKS = {
    "good": ("ok  ", "green"),
    "remark": ("note", "cyan"),
    "warning": ("WARN", "bold yellow"),
    "error": ("BAD ", "bold red"),
}


def render_summary(table: pd.DataFrame, record: Mapping[str, Any]) -> list[RenderableType]:
    """Return the summary of a run.

    Args:
        table: As measured or read; several seeds are averaged (arithmetic means).
        record: The run's record, or an empty mapping.

    Returns:
        Renderables to print one after the other.
    """
    evidence = collect_evidence(table, record)
    return [_render_stages(evidence.blocks), *_iter_findings(evidence)]


def _iter_findings(evidence: Evidence) -> Iterator[RenderableType]:
    found = diagnose_evidence(evidence)
    for diagnosis in found:
        yield _render_diagnosis(diagnosis)
    # Beside a signal that is lost it is no good news that some statistic of it is small.
    if not any(diagnosis.severity == "error" for diagnosis in found):
        for text in iter_courses(evidence, {diagnosis.statistic for diagnosis in found}):
            yield _render_marked("good", Text(text))


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


def _render_diagnosis(diagnosis: Diagnosis) -> Text:
    text = Text.assemble((diagnosis.fact_against_theory, "bold"), "; ", diagnosis.cause, "; ", diagnosis.remedy, ".")
    return _render_marked(diagnosis.severity, text)


def _render_marked(severity: str, text: Text) -> Text:
    mark, style = _MARKS[severity]
    return Text.assemble((mark, style), " ", text)

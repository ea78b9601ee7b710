"""One step of a training, and what is said of all of them: each sentence where it is true and where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import sppkit
from sppkit import UsageError
from sppkit.cli.app import app
from sppkit.curves.steps import at_step, iter_trend
from sppkit.record.table import build_table

if TYPE_CHECKING:
    import pandas as pd


def training(*variances: float, nonfinite: int = 0) -> pd.DataFrame:
    """Two blocks, the second with the given variance at steps 0, 5, 10, ..."""
    return build_table(
        {"step": 5 * index, "seed": 0, "block": block, "stage": 1, "name": f"blocks.{block}", "channels": 64}
        | {"channel_squared_mean": 0.01, "channel_variance": variance if block else 1.0, "passes": 2}
        | {"residual_variance": 0.5 if block else None, "nonfinite": nonfinite if index == 1 else 0}
        for index, variance in enumerate(variances)
        for block in range(2)
    )


def test_one_step_is_a_table_as_everywhere() -> None:
    table = training(1.0, 2.0, 3.0)
    assert list(at_step(table).columns)[:2] == ["seed", "block"]
    assert at_step(table)["channel_variance"].tolist() == [1.0, 3.0]
    assert at_step(table, 5)["channel_variance"].tolist() == [1.0, 2.0]
    plain = at_step(table)
    assert at_step(plain) is plain


def test_a_step_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"there is no step 7 in the table: it has 0, 5, 10, \.\.\., 20\."):
        at_step(training(1, 1, 1, 1, 1), 7)
    with pytest.raises(UsageError, match="--step needs a table of several training steps"):
        at_step(at_step(training(1.0)), 0)


@pytest.mark.parametrize(("last", "told"), [(1.9, False), (2.1, True), (0.4, True), (0.6, False)])
def test_the_trend_tells_changes_of_a_factor_of_two(last: float, told: bool) -> None:
    said = list(iter_trend(training(1.0, 50.0, last)))
    sentence = f"trend: channel variance changed most at blocks.1: 1 at step 0, {last} at step 10"
    assert said == ["the last of 3 steps is judged, step 10", *([sentence] if told else [])]


def test_the_trend_tells_at_which_steps_values_were_not_finite() -> None:
    sentence = "trend: values were not finite at 1 of the steps, from step 5 to 5"
    assert sentence in list(iter_trend(training(1.0, 1.0, 1.0, nonfinite=3)))
    assert not [line for line in iter_trend(training(1.0, 1.0, 1.0)) if "finite" in line]


def test_check_judges_the_last_step() -> None:
    healthy, exploded = sppkit.check(training(1e9, 1.0)), sppkit.check(training(1.0, float("nan"), nonfinite=9))
    assert healthy.passed
    assert healthy.notices[0] == "the last of 2 steps is judged, step 5"
    assert not exploded.passed


def test_the_commands_take_the_table_of_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sppkit.write_csv(training(1.0, 1.0, 8.0), "a.csv")
    sppkit.write_csv(training(1.0, 2.0, 8.0), "b.csv")
    commands = CliRunner()
    drawn = commands.invoke(app, ["plot", "a.csv"])
    assert drawn.exit_code == 0
    assert Path("a.png").stat().st_size > 10_000
    assert "channel variance changed most at blocks.1: 1 at step 0, 8 at step 10" in drawn.output
    checked = commands.invoke(app, ["check", "a.csv"])
    assert "the last of 3 steps is judged, step 10" in checked.output
    for step, code in ((["--step", "5"], 1), (["--step", "0"], 0), ([], 0)):
        assert commands.invoke(app, ["diff", "a.csv", "b.csv", "--exact", "--exit-code", *step]).exit_code == code

"""The picture of a training: which curves it has, and that every cell of a map is the number at its step and block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import sppkit
from sppkit import UsageError
from sppkit.plot.training import MOST_CURVES
from sppkit.record.table import build_table

if TYPE_CHECKING:
    import pandas as pd


def steps_table(steps: int = 5, blocks: int = 3, **changed: Any) -> pd.DataFrame:
    rows = [
        {"step": 10 * step, "seed": 0, "block": block, "stage": 1, "name": f"blocks.{block}", "channels": 8}
        | {
            "channel_squared_mean": 0.1 * block,
            "channel_variance": 1.0 + step + 10 * block,
            "nonfinite": 0,
            "passes": 1,
        }
        | {"residual_variance": 0.5 if block else None}
        for step in range(steps)
        for block in range(blocks)
    ]
    return build_table([{**row, **changed} for row in rows])


def panels(table: pd.DataFrame) -> tuple[list[Any], list[Any]]:
    """The panels of curves and the maps."""
    drawn = [axes for axes in sppkit.plot_training(table).axes if axes.get_visible()]
    curves = [axes for axes in drawn if axes.lines]
    return curves, [axes for axes in drawn if axes.get_ylabel() == "step"]


def test_a_curve_for_each_step_and_a_cell_for_each_number() -> None:
    table = steps_table()
    curves, maps = panels(table)
    assert len(curves) == len(maps) == 3
    for step, line in enumerate(curves[1].lines):
        np.testing.assert_array_equal(line.get_ydata(), [1.0 + step, 11.0 + step, 21.0 + step])
    assert len({line.get_color() for line in curves[1].lines}) == 5
    expected = table["channel_variance"].to_numpy().reshape(5, 3)
    np.testing.assert_array_equal(maps[1].collections[-1].get_array(), expected)
    np.testing.assert_array_equal(np.unique(maps[1].collections[-1].get_coordinates()[..., 1]), [-5, 5, 15, 25, 35, 45])


def test_many_steps_have_curves_from_the_first_to_the_last() -> None:
    curves, maps = panels(steps_table(steps=200))
    assert len(curves[1].lines) == MOST_CURVES
    assert [curves[1].lines[index].get_ydata()[0] for index in (0, -1)] == [1.0, 200.0]
    assert maps[1].collections[-1].get_array().shape == (200, 3)


def test_what_is_lost_is_orange_and_has_no_curve() -> None:
    table = steps_table()
    bad = table["step"] >= 30
    table.loc[bad, ["channel_squared_mean", "channel_variance", "residual_variance"]] = np.nan
    table.loc[bad, "nonfinite"] = 7
    curves, maps = panels(table)
    assert len(curves[1].lines) == 3
    assert maps[1].get_title() == "orange: not finite"
    [_, lost, _] = maps[1].collections
    np.testing.assert_array_equal(np.isfinite(lost.get_array().filled(np.nan)), [[False] * 3] * 3 + [[True] * 3] * 2)


def test_one_step_and_nothing_finite_are_drawn() -> None:
    panels(steps_table(steps=1))
    panels(steps_table(channel_squared_mean=np.nan, channel_variance=np.nan, residual_variance=np.nan, nonfinite=3))


def test_the_wrong_picture_is_refused() -> None:
    with pytest.raises(UsageError, match="this is the table of a training: plot_training draws it"):
        sppkit.plot_spp(steps_table())
    with pytest.raises(UsageError, match="this table has no steps: plot_spp draws it"):
        sppkit.plot_training(steps_table().drop(columns=["step"]))

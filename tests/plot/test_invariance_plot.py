"""The picture of invariance: every point and line is a number of the tables, and colours tell classes apart."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

import sppkit
from sppkit import UsageError
from sppkit.plot.invariance import CLASS_COLOURS, MOST_NAMED, plot_invariance


def classes(sizes: list[int] | None = None, count: int = 3, **columns: Any) -> pd.DataFrame:
    table = pd.DataFrame({"class": range(count), "ekld": [0.1 * (i + 1) for i in range(count)], "ekld_se": 0.05})
    table = table.assign(consistency=0.5, consistency_se=0.1, **columns)
    return table if sizes is None else table.assign(train_size=pd.array(sizes, dtype="Int64"))


def blocks(count: int = 3, values: tuple[float, ...] = (0.2, 0.9)) -> pd.DataFrame:
    rows = [
        {"block": block, "name": f"blocks.{block}", "class": label, "signal_to_shift": value - 0.1 * (label or 0)}
        for block, value in enumerate(values)
        for label in (None, *range(count))
    ]
    return pd.DataFrame(rows).astype({"class": "Int64"})


def points(axes: Any) -> list[tuple[float, float]]:
    return [(container.lines[0].get_xdata()[0], container.lines[0].get_ydata()[0]) for container in axes.containers]


def test_points_are_classes_at_their_training_sizes() -> None:
    left, middle, _ = plot_invariance(classes([100, 25, 5]), blocks()).axes
    assert [x for x, _ in points(left)] == [100, 25, 5]
    assert [y for _, y in points(left)] == pytest.approx([0.1, 0.2, 0.3])
    assert [y for _, y in points(middle)] == [0.5] * 3
    assert left.get_xscale() == "log"
    (bar,) = left.containers[1].lines[2]
    assert bar.get_segments()[0][:, 1].tolist() == pytest.approx([0.15, 0.25])


def test_without_sizes_classes_stand_side_by_side_with_their_names() -> None:
    left, *_ = plot_invariance(classes(class_name=["ant", "_bee", "$x$"]), blocks()).axes
    assert [x for x, _ in points(left)] == [0, 1, 2]
    assert left.get_xscale() == "linear"
    assert [label.get_text() for label in left.get_xticklabels()] == ["ant", "_bee", "$x$"]
    crowded, *_ = plot_invariance(classes(count=MOST_NAMED + 1), blocks(MOST_NAMED + 1)).axes
    assert len(crowded.get_xticks()) < MOST_NAMED


def test_lines_are_the_blocks_of_each_class_and_of_all() -> None:
    figure = plot_invariance(classes([100, 25, 5]), blocks())
    right = figure.axes[2]
    drawn = [line.get_ydata() for line in right.lines if len(line.get_xdata()) == 2 and line.get_xdata()[1] == 1][-4:]
    assert [list(values) for values in drawn] == [
        pytest.approx(values) for values in ([0.2, 0.9], [0.1, 0.8], [0.0, 0.7], [0.2, 0.9])
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("all pictures", "class 0, 100 examples", "class 2, 5 examples")
    ]
    colours = [container.lines[0].get_color() for container in figure.axes[0].containers]
    assert len(set(colours)) == 3
    assert CLASS_COLOURS.N == 256


def test_numbers_that_are_not_there() -> None:
    figure = plot_invariance(classes(ekld_se=math.nan, ekld=[math.inf, 0.1, 0.2]), blocks(values=(math.nan,)))
    assert "nothing to compare" in [text.get_text() for text in figure.axes[2].texts]
    assert all(math.isfinite(limit) for axes in figure.axes for limit in axes.get_ylim())


def test_a_class_without_training_examples_is_drawn() -> None:
    left, *_ = plot_invariance(classes([100, 0, 5]), blocks()).axes
    assert left.get_xscale() == "linear"


def test_what_is_no_table_of_invariance() -> None:
    with pytest.raises(UsageError, match=r"^this is not a table of invariance: it has no column 'ekld_se'\.$"):
        plot_invariance(classes().drop(columns="ekld_se"), blocks())
    with pytest.raises(UsageError, match="the table of invariance has no rows: there is nothing to plot"):
        plot_invariance(classes()[:0], blocks())


def test_without_blocks_there_is_nothing_to_compare() -> None:
    right = plot_invariance(classes(), blocks()[:0]).axes[2]
    assert [text.get_text() for text in right.texts] == ["nothing to compare"]


def test_the_tables_of_python_are_drawn_as_they_are() -> None:
    import torch

    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(16, 2))
    shown, labels = torch.rand(6, 1, 4, 4), [0, 1] * 3
    ask = {"nuisance": "rotate", "draws": 1}
    table, by_block = (
        function(model, shown, labels, **ask) for function in (sppkit.invariance, sppkit.invariance_by_block)
    )
    assert len(sppkit.plot_invariance(table, by_block).axes) == 3

"""The picture of a shift: what has a panel, what has a line, and what is not drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sppkit
from sppkit.errors import UsageError
from sppkit.plot.save import save_figure
from sppkit.record.shift_table import SHIFT_FIGURES, build_shift_table


def table(
    blocks: int = 8, shifts: tuple[str, ...] = ("contrast",), *, seeds: int = 1, scale: float = 1.0
) -> pd.DataFrame:
    rows = [
        {
            "seed": seed,
            "shift": shift,
            "block": block,
            "stage": None if block < 1 else 1 + 2 * block // (blocks + 1),
            "name": "input" if block < 0 else f"b{block}",
            **{figure: scale * (index + 1) * (block + 2 + seed) / 10 for index, figure in enumerate(SHIFT_FIGURES)},
            "nonfinite": 0,
        }
        for seed in range(seeds)
        for shift in shifts
        for block in range(-1, blocks)
    ]
    return build_shift_table(rows)


def panels(figure: object) -> dict[str, object]:
    return {axes.get_title(): axes for axes in figure.axes}  # type: ignore[attr-defined]


def lines(axes: object) -> list[tuple[list[float], list[float]]]:
    drawn = [line for line in axes.lines if len(line.get_xdata()) > 2]  # type: ignore[attr-defined]
    return [(list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))) for line in drawn]


def legend(figure: object) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]  # type: ignore[attr-defined]


def test_one_network_has_a_line_for_each_shift_in_every_panel() -> None:
    drawn = table(shifts=("contrast", "apr-p"))
    figure = sppkit.plot_shift(drawn, title="a network")
    assert len(figure.axes) == len(SHIFT_FIGURES)
    assert legend(figure) == ["contrast", "apr-p"]
    for name, axes in zip(SHIFT_FIGURES, figure.axes, strict=True):
        assert len(lines(axes)) == 2
        for (x, y), shift in zip(lines(axes), ("contrast", "apr-p"), strict=True):
            assert x == list(range(-1, 8))  # the input is left of block 0
            assert y == pytest.approx(drawn[drawn["shift"] == shift][name].tolist())


def test_several_shifts_of_several_networks_have_a_row_each() -> None:
    tables = {name: table(shifts=("contrast", "apr-p"), scale=scale) for name, scale in {"bn": 1.0, "in": 0.1}.items()}
    figure = sppkit.plot_shift(tables)
    assert len(figure.axes) == 8
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["contrast", "apr-p"]
    assert legend(figure) == ["bn", "in"]
    assert all(len(lines(axes)) == 2 for axes in figure.axes)


def test_seeds_are_a_mean_in_a_band() -> None:
    figure = sppkit.plot_shift(table(seeds=3))
    axes = panels(figure)["correlation"]
    expected = table(seeds=3).groupby("block")["correlation"].mean()
    assert lines(axes)[0][1] == pytest.approx(expected.tolist())
    assert len(axes.collections) >= 1  # type: ignore[attr-defined]


def test_a_style_that_is_gone_is_a_gap() -> None:
    drawn = table()
    drawn.loc[drawn["block"] == 3, "style_shift"] = np.nan
    [(_, y)] = lines(panels(sppkit.plot_shift(drawn))["style shift (means)"])
    assert np.isnan(y[4])
    assert np.isfinite(y[5])
    drawn["style_shift"] = np.nan
    texts = [text.get_text() for text in panels(sppkit.plot_shift(drawn))["style shift (means)"].texts]  # type: ignore[attr-defined]
    assert "no style left" in texts


def test_networks_of_other_depths_share_a_relative_axis() -> None:
    figure = sppkit.plot_shift({"small": table(5), "large": table(9)})
    for axes in figure.axes:
        assert axes.get_xlabel() == "fraction of the depth"
        assert [max(x) for x, _ in lines(axes)] == pytest.approx([1.0, 1.0])


def test_a_style_shift_of_nothing_does_not_stretch_the_axis() -> None:
    drawn = table()
    drawn.loc[drawn["block"] == -1, "style_shift"] = 1e-17
    rest = drawn["style_shift"][drawn["block"] >= 0]
    low, high = panels(sppkit.plot_shift(drawn))["style shift (means)"].get_ylim()  # type: ignore[attr-defined]
    assert (low, high) == pytest.approx((rest.min() / 1.5, rest.max() * 2))


def test_the_picture_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "a.svg"):
        save_figure(sppkit.plot_shift({"$bn_": table(), "_in": table(scale=0.3)}), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert "$bn_" in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_what_is_no_table_of_a_shift() -> None:
    with pytest.raises(UsageError, match="no table of measure_shift: it has no column 'shift'"):
        sppkit.plot_shift(pd.DataFrame({"seed": [0]}))
    with pytest.raises(UsageError, match="the table has no rows"):
        sppkit.plot_shift(build_shift_table([]))
    with pytest.raises(UsageError, match="takes from 1 to 32 tables, not 0"):
        sppkit.plot_shift({})

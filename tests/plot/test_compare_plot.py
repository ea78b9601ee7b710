"""Several runs in one picture: every curve is its table's, and no two look alike."""

from __future__ import annotations

import math
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex, to_rgb

from sppkit.errors import UsageError
from sppkit.plot.comparison import COLOURS, looks, plot_comparison
from sppkit.plot.save import save_figure
from sppkit.record.table import STATISTIC_COLUMNS, build_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

PANELS = pytest.mark.parametrize(("panel", "statistic"), list(enumerate(STATISTIC_COLUMNS)), ids=STATISTIC_COLUMNS)
LAYOUT = (3, 4, 6, 3)


def table(
    scale: float = 1.0,
    *,
    layout: tuple[int, ...] = LAYOUT,
    seeds: int = 1,
    signal: Callable[[int], tuple[float, float, float]] = lambda block: (0.3 * (1 + block), 1.0 + block, 1.0),
) -> pd.DataFrame:
    stages = [0, *(stage for stage, count in enumerate(layout, 1) for _ in range(count))]
    rows = []
    for seed in range(seeds):
        for block, stage in enumerate(stages):
            values = [scale * (1 + seed) * value for value in signal(block)]
            lost = sum(not math.isfinite(value) for value in values)
            named = dict(zip(STATISTIC_COLUMNS, values if block else [*values[:2], None], strict=True))
            rows.append({"seed": seed, "block": block, "stage": stage, "name": "x", "nonfinite": lost, **named})
    return build_table(rows)


def curves(axes: Axes) -> list[Line2D]:
    return [line for line in axes.lines if line.get_linestyle() != "None" and line.get_label() != "predicted"]


def crosses(axes: Axes) -> list[Line2D]:
    return [line for line in axes.lines if line.get_marker() == "x" and line.get_linestyle() == "None"]


def legend(figure: Figure) -> list[str]:
    [found] = figure.legends
    return [text.get_text() for text in found.get_texts()]


@PANELS
def test_each_curve_is_its_table(panel: int, statistic: str) -> None:
    tables = {"one": table(), "two": table(3.0), "three": table(0.5)}
    figure = plot_comparison(tables)
    for line, frame in zip(curves(figure.axes[panel]), tables.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(17))
        np.testing.assert_array_equal(line.get_ydata(), frame[statistic].to_numpy())
    assert legend(figure) == ["one", "two", "three"]


def test_the_legend_shows_the_lines_as_they_are_drawn() -> None:
    figure = plot_comparison({f"run {index}": table(1.0 + index) for index in range(11)})
    [found] = figure.legends
    for axes in figure.axes:
        drawn = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in curves(axes)]
        assert drawn == [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in found.get_lines()]


def test_no_two_lines_look_alike() -> None:
    for one, other in combinations(looks(32), 2):
        assert (one.colour, str(one.style)) != (other.colour, str(other.style))
    neighbours = looks(11)
    assert all(a.colour != b.colour and a.marker != b.marker for a, b in pairwise(neighbours))


def luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_stands_out_from_white_paper(colour: str) -> None:
    # W3C's contrast for graphics is 3; Okabe & Ito's two lightest colours reach 2.2 and 2.3, as wide and marked lines.
    assert 1.05 / (luminance(colour) + 0.05) > 2.1


def test_marks_of_neighbours_stand_on_other_blocks() -> None:
    axes = plot_comparison({f"{index}": table(layout=(50, 50, 50, 50)) for index in range(8)}).axes[0]
    starts = [line.get_markevery()[0] for line in curves(axes)]
    assert len(set(starts)) == 8
    assert max(starts) < curves(axes)[0].get_markevery()[1]


def test_runs_of_another_depth_share_the_fraction_of_it() -> None:
    figure = plot_comparison({"deep": table(layout=(10, 10)), "shallow": table(layout=(2, 3))})
    deep, shallow = curves(figure.axes[1])
    np.testing.assert_allclose(deep.get_xdata(), np.arange(21) / 20)
    np.testing.assert_allclose(shallow.get_xdata(), np.arange(6) / 5)
    assert {axes.get_xlabel() for axes in figure.axes} == {"fraction of the depth (block / last block)"}
    assert not any(text.get_text().startswith("stage") for axes in figure.axes for text in axes.texts)


def test_runs_of_one_depth_share_blocks_and_stages() -> None:
    same = plot_comparison({"a": table(), "b": table(2.0)})
    assert {axes.get_xlabel() for axes in same.axes} == {"block index"}
    assert [text.get_text() for text in same.axes[0].texts] == ["stage 1", "stage 2", "stage 3", "stage 4"]
    other = plot_comparison({"a": table(), "b": table(layout=(4, 4, 4, 4))})
    assert {axes.get_xlabel() for axes in other.axes} == {"block index"}
    assert not other.axes[0].texts  # whose stages?


def test_noise_beside_a_mean_shift_is_zero_on_a_linear_axis() -> None:
    # As in figure 1 of the paper: 1e-14 to 1e-3 of one run would make the axis logarithmic and hide the other's growth.
    quiet = table(signal=lambda block: (10.0 ** (block - 16), 1.0 + block, 1.0))
    figure = plot_comparison({"shifts": table(), "does not": quiet})
    assert figure.axes[0].get_yscale() == "linear"
    assert -0.1 < figure.axes[0].get_ylim()[0] < 0
    top = figure.axes[0].get_ylim()[1]
    assert 0.3 * 17 < top < 0.4 * 17


def test_small_means_that_are_no_noise_keep_the_logarithm() -> None:
    dying = table(signal=lambda block: (10.0**-block, 10.0**-block, 1.0))  # the squared mean is all of the variance
    assert [axes.get_yscale() for axes in plot_comparison({"a": table(), "dying": dying}).axes] == [
        "log",
        "log",
        "linear",
    ]


def test_an_exploding_run_beside_a_healthy_one_shows_both() -> None:
    exploding = table(signal=lambda block: (2.0 ** (10 * block), 2.0 ** (10 * block), 2.0 ** (10 * block)))
    axes = plot_comparison({"he": exploding, "bn": table()}).axes[1]
    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[0] < 1
    assert axes.get_ylim()[1] > 2.0**160


def exploding(base: float = 10.0) -> pd.DataFrame:
    return table(signal=lambda block: (1.0, base**block, 1.0))


@pytest.mark.parametrize("others", [2, 3, 10])
def test_one_of_many_that_explodes_leaves_the_others_their_axis(others: int) -> None:
    tables = {"he": exploding(), **{f"{index}": table(1.0 + index / 10) for index in range(others)}}
    figure = plot_comparison(tables)
    axes = figure.axes[1]
    assert axes.get_yscale() == "linear"
    assert 17 < axes.get_ylim()[1] < 50
    [arrow] = [line for line in axes.lines if line.get_marker() == "^" and line.get_linestyle() == "None"]
    assert arrow.get_color() == curves(axes)[0].get_color()
    [x] = arrow.get_xdata()
    assert 10 + 90 * (x - 1) == pytest.approx(axes.get_ylim()[1])  # from 10 at block 1 to 100 at block 2
    assert legend(figure)[0] == "he (off the axis: channel variance up to 1e+16)"
    np.testing.assert_array_equal(curves(axes)[0].get_ydata(), 10.0 ** np.arange(17))


@pytest.mark.parametrize(
    "tables",
    [
        {"he": exploding(), "bn": table()},
        {"a": exploding(), "b": exploding(), "c": table(), "d": table(2.0), "e": table(3.0)},
        {"a": exploding(5.0), "b": exploding(7.0), "c": exploding(9.0)},
    ],
    ids=["of two", "two of five", "all"],
)
def test_what_is_no_exception_stays_on_the_axis(tables: dict[str, pd.DataFrame]) -> None:
    figure = plot_comparison(tables)
    assert figure.axes[1].get_yscale() == "log"
    assert not any("off the axis" in label for label in legend(figure))


def test_a_run_that_is_off_the_axis_and_lost_says_both() -> None:
    lost = table(signal=lambda block: (1.0, math.inf if block >= 9 else 100.0**block, 1.0))
    figure = plot_comparison({"fine": table(), "other": table(2.0), "he": lost})
    assert legend(figure)[2] == "he (off the axis: channel variance up to 1e+16; non-finite from block 9)"


def test_a_lost_signal_is_marked_in_its_colour_and_told_in_the_legend() -> None:
    def lost_from(start: int) -> pd.DataFrame:
        return table(signal=lambda block: (1.0, math.inf if block >= start else 2.0**block, 1.0))

    figure = plot_comparison({"fine": table(), "a": lost_from(6), "b": lost_from(8)})
    marks = crosses(figure.axes[1])
    lines = curves(figure.axes[1])
    assert [mark.get_xdata()[0] for mark in marks] == [6, 8]
    assert [mark.get_color() for mark in marks] == [line.get_color() for line in lines[1:]]
    assert marks[0].get_ydata()[0] != marks[1].get_ydata()[0]
    assert not crosses(figure.axes[0])
    assert legend(figure) == ["fine", "a (non-finite from block 6)", "b (non-finite from block 8)"]


def test_marks_of_many_lost_runs_stay_above_the_curves() -> None:
    lost = {
        f"{at}": table(signal=lambda b, at=at: (1.0, math.inf if b > at else 2.0 ** (3 * b), 1.0))
        for at in range(1, 15)
    }
    axes = plot_comparison(lost).axes[1]
    lowest = min(mark.get_ydata()[0] for mark in crosses(axes))
    highest = max(np.nanmax(line.get_ydata()) for line in curves(axes))
    assert lowest > axes.transAxes.inverted().transform(axes.transData.transform((0, highest)))[1]


def test_stems_above_the_axis_are_told_once() -> None:
    tables = {f"{stem}": table(signal=lambda b, stem=stem: (stem if b == 0 else 0.02, 1.0, 1.0)) for stem in (2.2, 4.4)}
    axes = plot_comparison(tables).axes[0]
    assert [text.get_text() for text in axes.texts if "stem" in text.get_text()] == ["stems 2.2 to 4.4"]
    assert axes.get_ylim()[1] < 1


def test_several_seeds_are_mean_and_band() -> None:
    figure = plot_comparison({"a": table(seeds=2), "b": table(4.0)})
    axes = figure.axes[1]
    np.testing.assert_allclose(curves(axes)[0].get_ydata(), 1.5 * (1.0 + np.arange(17)))
    [band] = [item for item in axes.collections if isinstance(item, PolyCollection)]
    assert to_hex(band.get_facecolor()[0]) == to_hex(curves(axes)[0].get_color())
    box = band.get_paths()[0].get_extents()
    assert (box.y0, box.y1) == (1.0, 34.0)
    assert legend(figure)[-1] == "line: mean over seeds; band: min to max"


@pytest.mark.parametrize(("count", "drawn"), [(4, 4), (5, 0)])
def test_predictions_of_up_to_four_runs_are_dotted(count: int, drawn: int) -> None:
    tables = {f"{index}": table(1.0 + index) for index in range(count)}
    for frame in tables.values():
        frame["predicted_residual_variance"] = 1.0
        frame["predicted_residual_variance_spread"] = 0.1
    figure = plot_comparison(tables)
    found = [line for line in figure.axes[2].lines if line.get_label() == "predicted"]
    assert len(found) == drawn
    assert ("predicted" in legend(figure)) is bool(drawn)


@pytest.mark.parametrize("count", [2, 11, 32])
def test_the_legend_is_below_the_panels_and_inside_the_figure(count: int) -> None:
    figure = plot_comparison({f"bn-relu-conv:norm=normalizer{index}": table(1.0 + index) for index in range(count)})
    box, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert all(box.y1 <= axes.xaxis.label.get_window_extent().y0 for axes in figure.axes)
    assert whole.x0 <= box.x0
    assert box.x1 <= whole.x1
    assert box.y0 >= whole.y0
    alone = plot_comparison({"a": table()}).axes[0].get_window_extent().height
    assert figure.axes[0].get_window_extent().height > 0.9 * alone  # rows of the legend take nothing from the panels


def test_a_name_is_shown_as_typed() -> None:
    names = ["_private", "$x_1$", "a_b", "100 % [bold]"]
    figure = plot_comparison({name: table(1.0 + index) for index, name in enumerate(names)})
    assert legend(figure) == names
    assert not any(text.get_parse_math() for text in figure.legends[0].get_texts())


def test_names_that_only_their_middles_tell_apart_and_words_of_the_legend_stay_apart() -> None:
    long = [f"{'a' * 50}{index}{'b' * 50}" for index in range(2)]
    figure = plot_comparison({name: table(1.0 + index, seeds=2) for index, name in enumerate([*long, "predicted"])})
    assert len(legend(figure)) == 4  # and the note on the seeds
    assert legend(figure)[2] == "predicted"


def test_a_run_without_a_single_finite_value_is_drawn() -> None:
    lost = table(signal=lambda _block: (math.nan, math.nan, math.nan))
    figure = plot_comparison({"a": table(), "b": table(2.0), "lost": lost})
    assert legend(figure)[2] == "lost (non-finite from block 0)"
    assert figure.axes[1].get_yscale() == "linear"


def test_an_exploding_run_whose_stem_is_off_the_axis_has_its_arrow() -> None:
    he = table(signal=lambda block: (1.0, 100.0 * 10.0**block, 1.0))
    axes = plot_comparison({"a": table(), "b": table(2.0), "he": he}).axes[1]
    arrows = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "^" and line.get_linestyle() == "None"]
    assert arrows == [1, 0]  # where the blocks leave the panel, and the stem


def test_a_long_name_is_cut_in_its_middle() -> None:
    name = "nf-resnet:" + ",".join(f"option{index}={index}" for index in range(20))
    [label] = legend(plot_comparison({name: table()}))
    assert len(label) <= 75
    assert (label[:20], label[-10:]) == (name[:20], name[-10:])
    assert " ... " in label


def test_files_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    for suffix in (".png", ".svg", ".pdf"):
        for name in ("first", "again"):
            save_figure(plot_comparison({"a": table(), "b": table(2.0)}, title="t"), tmp_path / f"{name}{suffix}")
        assert (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"again{suffix}").read_bytes()


def test_tables_are_not_changed() -> None:
    frames = {f"{index}": table(seeds=2) for index in range(6)}
    for frame in frames.values():
        frame["predicted_channel_variance"] = 1.0
    before = {name: frame.copy(deep=True) for name, frame in frames.items()}
    plot_comparison(frames)
    assert all(frames[name].equals(before[name]) for name in frames)


@pytest.mark.parametrize(("count", "said"), [(0, "0"), (33, "33")])
def test_too_few_or_too_many_tables_are_refused(count: int, said: str) -> None:
    frame = table()
    with pytest.raises(UsageError, match=rf"^a comparison takes from 1 to 32 tables, not {said}\.$"):
        plot_comparison({f"{index}": frame for index in range(count)})


def test_a_frame_that_is_no_table_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^this is not a table of sppkit: it has no column 'stage'\.$"):
        plot_comparison({"a": table(), "b": table().drop(columns="stage")})

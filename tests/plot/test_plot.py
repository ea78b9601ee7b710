"""The plot draws what the table says: checked on tables whose curves are closed forms."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox
from PIL import Image

from sppkit.errors import UsageError
from sppkit.plot.save import save_figure
from sppkit.plot.spp import LOST, MEASURED, YARDSTICK, plot_spp
from sppkit.prediction.predict import predict
from sppkit.record.table import STATISTIC_COLUMNS, build_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

# (seed, block, index within its stage) -> squared mean, variance, residual variance
Signal = tuple[float, float, float | None]

PANELS = pytest.mark.parametrize(("panel", "statistic"), list(enumerate(STATISTIC_COLUMNS)), ids=STATISTIC_COLUMNS)
FORMATS = pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])


def reset_growth(seed: int, block: int, k: int) -> Signal:
    """A variance that grows by 0.04 a block and is reset at every transition, as in an NF-ResNet."""
    return 0.01 + 0.004 * k, 1 + 0.04 * k, 1 + 0.01 * (-1) ** block


def synthetic(layout: Sequence[int], signal: Callable[[int, int, int], Signal], seeds: int = 1) -> pd.DataFrame:
    places = [(0, 0), *((stage, k) for stage, count in enumerate(layout, start=1) for k in range(count))]
    return build_table(
        _row(seed, block, stage, signal(seed, block, k))
        for seed in range(seeds)
        for block, (stage, k) in enumerate(places)
    )


def _row(seed: int, block: int, stage: int, signal: Signal) -> dict[str, Any]:
    values = dict(zip(STATISTIC_COLUMNS, signal if block else (*signal[:2], None), strict=True))
    nonfinite = sum(value is not None and not math.isfinite(value) for value in values.values())
    return {"seed": seed, "block": block, "stage": stage, "name": "x", "nonfinite": nonfinite, **values}


def line(axes: Axes, label: str) -> Line2D:
    [found] = [line for line in axes.lines if line.get_label() == label]
    return found


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def tick_labels(figure: Figure, axis: str) -> list[list[str]]:
    return [[text.get_text() for text in _visible_labels(getattr(axes, f"{axis}axis"))] for axes in figure.axes]


def _visible_labels(axis: Axis) -> list[Text]:
    low, high = axis.get_view_interval()
    return [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]


def legend_labels(figure: Figure) -> list[str]:
    [legend] = figure.legends
    return [text.get_text() for text in legend.get_texts()]


@PANELS
@pytest.mark.parametrize("layout", [(4,), (3, 4, 6, 3), (50, 50, 50, 50)], ids=str)
def test_line_is_the_table(panel: int, statistic: str, layout: tuple[int, ...]) -> None:
    table = synthetic(layout, reset_growth)
    axes = plot_spp(table).axes[panel]
    x, y = line(axes, "measured").get_data()
    np.testing.assert_array_equal(x, np.arange(sum(layout) + 1))
    np.testing.assert_array_equal(y, table[statistic].to_numpy())
    assert axes.get_title() == statistic.replace("_", " ")


def test_rows_of_blocks_out_of_order_are_drawn_in_order() -> None:
    table = synthetic((4,), reset_growth)
    x, _ = line(plot_spp(table.iloc[::-1]).axes[0], "measured").get_data()
    np.testing.assert_array_equal(x, [0, 1, 2, 3, 4])


@PANELS
@pytest.mark.parametrize(
    ("bases", "means", "label"),
    [
        ((4, 9, 0.25), (7, 91 / 3, 0.4375), "mean of 3 seeds"),  # (1 + b + b²)/3
        ((40, 90, 0.025), (40, 90, 0.025), "geometric mean of 3 seeds"),  # ∛(1 b b²) = b
        ((4, 90, 0.25), (7, 90, 0.4375), "mean of 3 seeds (geometric: channel variance)"),
    ],
    ids=["linear", "logarithmic", "both"],
)
def test_several_seeds_are_their_mean_on_the_axis_in_a_band(
    panel: int, statistic: str, bases: tuple[float, ...], means: tuple[float, ...], label: str
) -> None:
    figure = plot_spp(synthetic((3, 2), lambda seed, _block, _k: tuple(base**seed for base in bases), seeds=3))
    axes = figure.axes[panel]
    np.testing.assert_allclose(line(axes, label).get_ydata()[1:], means[panel], rtol=1e-12)
    [band] = [item for item in axes.collections if isinstance(item, PolyCollection)]
    box = band.get_paths()[0].get_extents()
    assert (box.y0, box.y1) == pytest.approx(sorted((1, bases[panel] ** 2)))
    assert legend_labels(figure)[:2] == [label, "min to max of seeds"]


def test_one_seed_has_no_band() -> None:
    figure = plot_spp(synthetic((3, 2), reset_growth))
    assert not any(isinstance(item, PolyCollection) for axes in figure.axes for item in axes.collections)
    assert legend_labels(figure) == ["measured", "first block of a stage"]


def test_mean_over_seeds_is_arithmetic_in_a_logarithmic_panel_with_zeros() -> None:
    figure = plot_spp(synthetic((3,), lambda seed, block, _k: (seed * 10.0**block, 100.0**seed, 1.0), seeds=3))
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log", "linear"]
    label = "mean of 3 seeds (geometric: channel variance)"
    np.testing.assert_allclose(line(figure.axes[0], label).get_ydata(), [1, 10, 100, 1000])  # of 0, 1, 2
    np.testing.assert_allclose(line(figure.axes[1], label).get_ydata(), 100.0)  # of 1, 100, 10000


@PANELS
def test_transition_blocks_are_marked(panel: int, statistic: str) -> None:
    table = synthetic((3, 4, 6, 3), reset_growth)
    marks = line(plot_spp(table).axes[panel], "first block of a stage")
    np.testing.assert_array_equal(marks.get_xdata(), [1, 4, 8, 14])
    np.testing.assert_array_equal(marks.get_ydata(), table[statistic].to_numpy()[[1, 4, 8, 14]])


def test_every_block_is_marked_only_while_there_is_room() -> None:
    few, many = synthetic((20, 20), reset_growth), synthetic((20, 21), reset_growth)
    assert line(plot_spp(few).axes[0], "measured").get_marker() == "o"
    assert line(plot_spp(many).axes[0], "measured").get_marker() == ""
    assert line(plot_spp(many).axes[0], "first block of a stage").get_marker() == "D"


@pytest.mark.parametrize(
    ("layout", "labels"),
    [
        ((3, 4, 6, 3), ["stage 1", "stage 2", "stage 3", "stage 4"]),
        ((3, 4, 23, 3), ["1", "2", "3", "4", "stage"]),
        ((1, 200), ["2", "stage"]),
        ((1,) * 100, []),
        ((), []),
    ],
    ids=["room", "narrow", "none for one", "none", "no stage"],
)
def test_stage_labels_get_shorter_with_the_room(layout: tuple[int, ...], labels: list[str]) -> None:
    assert texts(plot_spp(synthetic(layout, reset_growth)).axes[0]) == labels


def test_stage_lines_stand_before_the_transition_block() -> None:
    axes = plot_spp(synthetic((3, 4, 6, 3), reset_growth)).axes[1]
    [edges] = [item for item in axes.collections if isinstance(item, LineCollection)]
    assert to_hex(edges.get_color()[0]) == to_hex("0.8")
    assert [(segment[0][0], *segment[:, 1]) for segment in edges.get_segments()] == [
        (x, 0, 1) for x in (0.5, 3.5, 7.5, 13.5)
    ]


def test_a_table_without_stages_has_no_marks() -> None:
    table = synthetic((4,), reset_growth)
    table["stage"] = table["stage"].mask(table["block"] >= 0)  # absent, as for a foreign model
    assert legend_labels(plot_spp(table)) == ["measured"]


@pytest.mark.parametrize(
    ("top", "scale"),
    [(1.0, "linear"), (10**2.4, "linear"), (10**2.6, "log"), (1e180, "log"), (1.7e308, "log")],
)
def test_axis_is_logarithmic_from_two_and_a_half_decades(top: float, scale: str) -> None:
    axes = plot_spp(synthetic((1,), lambda _seed, block, _k: (top**block, 1.0, 1.0))).axes
    assert [a.get_yscale() for a in axes] == [scale, "linear", "linear"]
    bottom, upper = axes[0].get_ylim()
    assert bottom < 1.0
    assert top < upper


@pytest.mark.parametrize("value", [5e-324, 1e-305, 1e-33, 1e180, 1.7e308], ids=str)
def test_extreme_constants_can_be_drawn(value: float, tmp_path: Path) -> None:
    figure = plot_spp(synthetic((1, 1), lambda *_: (value, value, value)))
    save_figure(figure, tmp_path / "extreme.png")
    bottom, top = figure.axes[0].get_ylim()
    assert bottom <= value < top


def test_ticks_of_an_exploding_network_are_few_round_powers_of_ten() -> None:
    figure = plot_spp(synthetic((100, 100), lambda _seed, block, _k: (10.0 ** (0.9 * block), 1.0, 1.0)))
    powers = [rf"$10^{{{exponent}}}$" for exponent in (0, 50, 100, 150)]
    assert tick_labels(figure, "y")[0] == powers


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.0, 1.0 + 1e-5, "1.0"),
        (0.002, 0.002, "0.0020"),
        (9e5, 1e6, r"$1\times10^{6}$"),
        (2e-33, 2e-33, r"$2\times10^{-33}$"),
    ],
)
def test_linear_ticks_need_no_offset(low: float, high: float, expected: str) -> None:
    figure = plot_spp(synthetic((4,), lambda _seed, block, _k: (high if block == 4 else low, 1.0, 1.0)))
    assert tick_labels(figure, "y")[0][-1] == expected
    assert [axes.yaxis.get_offset_text().get_text() for axes in figure.axes] == ["", "", ""]


@pytest.mark.parametrize("layout", [(), (1,), (4,), (1500, 1500)], ids=str)
def test_block_ticks_are_whole_numbers(layout: tuple[int, ...]) -> None:
    figure = plot_spp(synthetic(layout, reset_growth))
    for labels in tick_labels(figure, "x"):
        assert all(label.isdigit() for label in labels)
        assert len(labels) == 1 if layout == () else 2 <= len(labels) <= 8


def test_a_nearly_constant_curve_looks_constant() -> None:
    axes = plot_spp(synthetic((3, 4, 6, 3), reset_growth)).axes[2]  # 0.99 ... 1.01
    bottom, top = axes.get_ylim()
    assert -0.02 < bottom < 0  # a hair, so that a line at 0 is seen
    assert 1.01 < top < 1.2


def test_a_line_at_zero_stands_clear_of_the_frame() -> None:
    axes = plot_spp(synthetic((4,), lambda _seed, block, _k: (0.0 if block else 1.0, 1.0, 0.0))).axes[2]
    [height] = np.diff(axes.transData.transform([(0, axes.get_ylim()[0]), (0, 0.0)])[:, 1])
    assert height * 72 / axes.figure.dpi > 1.5  # points: as much as the line is wide


def test_a_prediction_below_zero_has_its_margin() -> None:
    table = synthetic((4,), reset_growth)
    table["predicted_channel_variance"] = -1.0
    assert plot_spp(table).axes[1].get_ylim()[0] < -1.1


def with_stem(stem: float, *blocks: float) -> pd.DataFrame:
    return synthetic((len(blocks),), lambda _seed, block, _k: ([stem, *blocks][block], 1.0, 1.0))


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ((2.2, 0.01, 0.05), "linear"),
        ((2.2, 0.0002, 0.04), "linear"),  # 2.3 decades of blocks; with the stem 4
        ((2.2, 0.5, 0.7), "linear"),
        ((1e9, 1.0, 2000.0), "log"),  # 3.3 decades of 9
        ((2.2, 0.0, 1e-5), "linear"),
    ],
    ids=str,
)
def test_a_stem_that_would_dwarf_the_blocks_is_an_arrow(values: tuple[float, ...], scale: str) -> None:
    axes = plot_spp(with_stem(*values)).axes[0]
    assert axes.get_yscale() == scale
    assert max(values[1:]) < axes.get_ylim()[1] < values[0]
    [arrow] = [item for item in axes.lines if item.get_marker() == "^"]
    assert arrow.get_xdata() == [0]
    assert f"stem {values[0]:.3g}" in texts(axes)
    np.testing.assert_array_equal(line(axes, "measured").get_ydata(), [math.nan, *values[1:]])


@pytest.mark.parametrize(
    "values",
    [(2.2, 0.8, 0.9), (0.36, 1.0, 3.0), (1e5, 1.0, 2000.0), (1.0, 1e-12, 1e-11), (1.0,), (math.inf, 1.0)],
    ids=["within a third", "below", "half of the decades", "a dead signal", "alone", "lost"],
)
def test_another_stem_has_its_place_on_the_axis(values: tuple[float, ...]) -> None:
    axes = plot_spp(with_stem(*values)).axes[0]
    assert not [item for item in axes.lines if item.get_marker() == "^"]
    y = line(axes, "measured").get_ydata()
    np.testing.assert_array_equal(y[np.isfinite(y)], [value for value in values if math.isfinite(value)])
    assert np.nanmax(y) < axes.get_ylim()[1]


def test_the_arrow_and_its_value_stay_clear_of_the_curve() -> None:
    axes = plot_spp(with_stem(2.2, 0.06, 0.05, 0.04)).axes[0]
    [text] = [text for text in axes.texts if text.get_text().startswith("stem")]
    highest = np.nanmax(axes.transData.transform(line(axes, "measured").get_xydata())[:, 1])
    assert highest < text.get_window_extent().y0
    assert text.get_window_extent().y1 <= axes.get_window_extent().y1


@pytest.mark.parametrize(("value", "top"), [(0.3, 1.0), (0.01, 0.01)], ids=["shows 1", "would lie flat under 1"])
def test_residual_panel_shows_one_where_the_curve_has_room(value: float, top: float) -> None:
    axes = plot_spp(synthetic((4,), lambda *_: (1.0, 1.0, value))).axes[2]
    assert top < axes.get_ylim()[1] < 1.2 * top


def test_zeros_do_not_break_a_logarithmic_axis() -> None:
    table = synthetic((5,), lambda _seed, block, _k: (0.0 if block in {0, 3} else 10.0**block, 1.0, 1.0))
    figure = plot_spp(table)
    assert figure.axes[0].get_yscale() == "log"
    assert 1 < figure.axes[0].get_ylim()[0] < 10
    zeros = line(figure.axes[0], "exactly 0")
    np.testing.assert_array_equal(zeros.get_xdata(), [0, 3])
    assert not np.isfinite(figure.axes[0].transData.transform([(3, 0.0)])[0, 1])  # a gap, not a fall to the edge
    assert "exactly 0" in legend_labels(figure)


def test_a_band_from_zero_reaches_the_edge_of_a_logarithmic_axis() -> None:
    figure = plot_spp(synthetic((5,), lambda seed, block, _k: (seed * 10.0**block, 1.0, 1.0), seeds=2))
    axes = figure.axes[0]
    [band] = [item for item in axes.collections if isinstance(item, PolyCollection)]
    assert band.get_paths()[0].get_extents().y0 == pytest.approx(axes.get_ylim()[0])


def test_all_zero_is_a_line_on_a_linear_axis() -> None:
    figure = plot_spp(synthetic((5,), lambda *_: (0.0, 1.0, 1.0)))
    assert figure.axes[0].get_yscale() == "linear"
    assert figure.axes[0].get_ylim()[0] < 0 < figure.axes[0].get_ylim()[1]
    assert "exactly 0" not in legend_labels(figure)


def exploding_at_127(seed: int, block: int, k: int) -> Signal:
    return (math.inf, math.nan, math.nan) if block >= 127 else (2.0**block, 2.0**block, 2.0**block)


def marks(axes: Axes) -> tuple[list[float], list[tuple[float, float]]]:
    """Return where the cross stands and which stretches of blocks the bar covers."""
    crosses = [float(x) for line in axes.lines if line.get_marker() == "x" for x in line.get_xdata()]
    lines = [item for item in axes.collections if isinstance(item, LineCollection)]
    bars = [item for item in lines if to_hex(item.get_color()[0]) == LOST.lower()]
    return crosses, [(part[0][0], part[1][0]) for bar in bars for part in bar.get_segments()]


@PANELS
def test_nonfinite_is_marked_where_it_begins(panel: int, statistic: str) -> None:
    axes = plot_spp(synthetic((100, 100), exploding_at_127)).axes[panel]
    assert texts(axes)[-1] == "non-finite from block 127"
    crosses, bars = marks(axes)
    assert crosses == [127]
    assert bars == [(block - 0.5, block + 0.5) for block in range(127, 201)]
    assert np.nanmax(line(axes, "measured").get_ydata()) == 2.0**126
    assert to_hex(axes.texts[-1].get_color()) == LOST.lower()


def test_nonfinite_in_one_of_several_seeds_says_so() -> None:
    table = synthetic((3,), lambda seed, block, _k: (1.0, math.inf if seed == 1 and block > 1 else 2.0, 1.0), seeds=3)
    axes = plot_spp(table).axes
    assert texts(axes[1])[-1] == "non-finite from block 2 (1 of 3 seeds)"
    np.testing.assert_allclose(line(axes[1], "mean of 3 seeds").get_ydata(), 2.0)  # of the other two
    assert marks(axes[0]) == ([], [])


@pytest.mark.parametrize("block", [0, 1, 8, 16])
def test_nonfinite_text_and_marks_stay_inside_the_panel(block: int) -> None:
    def signal(seed: int, b: int, k: int) -> Signal:
        return (math.inf if b >= block and seed == 0 else 10.0**b, 1.0, 1.0)

    figure = plot_spp(synthetic((3, 4, 6, 3), signal, seeds=2))
    panel, text = figure.axes[0].get_window_extent(), figure.axes[0].texts[-1].get_window_extent()
    assert "1 of 2 seeds" in figure.axes[0].texts[-1].get_text()
    assert panel.x0 <= text.x0
    assert text.x1 <= panel.x1
    [curve] = [item for item in figure.axes[0].lines if item.get_label().startswith("mean of 2 seeds")]
    highest = np.nanmax(figure.axes[0].transData.transform(curve.get_xydata())[:, 1])
    assert highest < text.y0


def test_nothing_but_nonfinite_values() -> None:
    figure = plot_spp(synthetic((3,), lambda *_: (math.nan, math.nan, math.nan)))
    ends = [texts(axes)[-1] for axes in figure.axes]
    assert ends == ["non-finite from block 0", "non-finite from block 0", "non-finite from block 1"]


def test_without_joins_the_residual_panel_says_so() -> None:
    figure = plot_spp(synthetic((5,), lambda *_: (1.0, 1.0, None)))
    assert "no residual branch" in texts(figure.axes[2])
    assert "no residual branch" not in texts(figure.axes[0]) + texts(figure.axes[1])


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ("channel_squared_mean", ["", "not measured", "not measured"]),
        ("channel_variance", ["not measured", "", "not measured"]),
        ("residual_variance", ["not measured", "not measured", ""]),
    ],
)
@pytest.mark.parametrize("signal", [reset_growth, exploding_at_127], ids=["finite", "exploding"])
def test_a_statistic_that_was_not_measured(
    kept: str, expected: list[str], signal: Callable[[int, int, int], Signal]
) -> None:
    table = synthetic((64, 64), signal)
    table[[name for name in STATISTIC_COLUMNS if name != kept]] = math.nan
    found = [[text for text in texts(axes) if "measured" in text or "branch" in text] for axes in plot_spp(table).axes]
    assert found == [[text] if text else [] for text in expected]


def test_without_joins_a_broken_signal_is_no_broken_branch() -> None:
    figure = plot_spp(synthetic((5,), lambda _seed, block, _k: (math.nan if block > 2 else 1.0, 1.0, None)))
    assert texts(figure.axes[0])[-1] == "non-finite from block 3"
    assert texts(figure.axes[2])[-1] == "no residual branch"


def test_one_row() -> None:
    figure = plot_spp(synthetic((), reset_growth))
    np.testing.assert_array_equal(line(figure.axes[1], "measured").get_xydata(), [[0, 1.0]])
    assert "no residual branch" in texts(figure.axes[2])
    assert legend_labels(figure) == ["measured"]


def test_predictions_are_drawn_dashed_where_there_are_any() -> None:
    table = synthetic((3, 4, 6, 3), reset_growth)
    table["predicted_channel_variance"] = 5.0 * (table["block"].astype(float) + 1)
    figure = plot_spp(table)
    predicted = line(figure.axes[1], "predicted")
    np.testing.assert_array_equal(predicted.get_ydata(), 5.0 * np.arange(1, 18))
    assert predicted.is_dashed()
    assert figure.axes[1].get_ylim()[1] > 85  # the axis has room for it
    assert "predicted" not in [line.get_label() for line in figure.axes[0].lines]
    assert legend_labels(figure)[-1] == "predicted"


def test_a_prediction_alone_has_a_residual_branch() -> None:
    table = synthetic((4,), lambda *_: (1.0, 1.0, None))
    table["predicted_residual_variance"] = 0.5
    axes = plot_spp(table).axes[2]
    assert "no residual branch" not in texts(axes)
    np.testing.assert_array_equal(line(axes, "predicted").get_ydata(), 0.5)


def bands(axes: Axes) -> list[PolyCollection]:
    return [item for item in axes.collections if isinstance(item, PolyCollection)]


def test_the_spread_of_a_prediction_is_a_band_of_two_standard_deviations() -> None:
    table = synthetic((3, 4), reset_growth)
    table["predicted_channel_variance"] = 5.0 + table["block"].astype(float)
    table["predicted_channel_variance_spread"] = 0.5
    figure = plot_spp(table)
    [band] = bands(figure.axes[1])
    points = band.get_paths()[0].vertices
    for block in range(8):
        edges = points[points[:, 0] == block][:, 1]
        assert (edges.min(), edges.max()) == (4.0 + block, 6.0 + block)
    assert figure.axes[1].get_ylim()[1] > 13  # the axis has room for it
    assert not bands(figure.axes[0])
    assert legend_labels(figure)[-2:] == ["predicted", "predicted ± 2 standard deviations of one seed"]


def test_a_band_on_a_logarithmic_axis_is_that_of_the_logarithm() -> None:
    table = synthetic((3,), lambda _seed, block, _k: (1.0, 1e6 if block == 3 else 1.0, 1.0))
    table["predicted_channel_variance"] = 1.0
    table["predicted_channel_variance_spread"] = 2.0
    [band] = bands(plot_spp(table).axes[1])
    box = band.get_paths()[0].get_extents()
    # A lognormal number of mean 1 and variance 4: sigma² = log(1 + 4), median exp(-sigma²/2).
    sigma = math.sqrt(math.log(5))
    ends = [math.exp(-(sigma**2) / 2 + sign * 2 * sigma) for sign in (-1, 1)]
    assert box.y1 == pytest.approx(ends[1])
    assert box.y0 == pytest.approx(max(ends[0], plot_spp(table).axes[1].get_ylim()[0]))


def test_the_squared_mean_stands_beside_the_variance() -> None:
    # A healthy network: a mean of 1 % to 2 % of the variance is no runaway.
    figure = plot_spp(synthetic((3, 4), reset_growth))
    axes = figure.axes[0]
    assert axes.get_ylim()[1] > 1.12
    [drawn] = [line for line in axes.get_lines() if line.get_color() == YARDSTICK]
    assert list(drawn.get_ydata()) == list(figure.axes[1].get_lines()[0].get_ydata())
    [said] = [artist for artist in axes.artists if isinstance(artist, AnnotationBbox)]
    assert said.offsetbox.get_text() == "variance"


def test_a_prediction_without_a_number_is_not_in_the_legend() -> None:
    table = synthetic((3,), reset_growth)
    table["predicted_channel_variance"] = math.nan
    table["predicted_channel_variance_spread"] = math.nan
    assert "predicted" not in " ".join(legend_labels(plot_spp(table)))
    table["predicted_channel_variance"] = 1.0
    assert "predicted" in legend_labels(plot_spp(table))


def test_axes_of_the_users_are_drawn_into() -> None:
    figure = Figure()
    given = figure.subplots(1, 3)
    table = synthetic((3, 4), reset_growth)
    assert plot_spp(table, ax=given) is figure
    ours = plot_spp(table)
    for theirs, axes in zip(given, ours.axes, strict=True):
        assert theirs.get_title() == axes.get_title()
        assert theirs.get_ylim() == axes.get_ylim()
        for mine, other in zip(theirs.get_lines(), axes.get_lines(), strict=True):
            np.testing.assert_array_equal(mine.get_ydata(), other.get_ydata())
    labels = [text.get_text() for text in given[-1].get_legend().get_texts()]
    assert labels == legend_labels(ours)
    with pytest.raises(
        UsageError, match=r"ax= needs one Axes for each of 3 panels \(channel_squared_mean, .*\), not 2"
    ):
        plot_spp(table, ax=given[:2])
    with pytest.raises(UsageError, match="title= and subtitle= belong to a figure of sppkit's"):
        plot_spp(table, ax=given, title="x")


def test_a_band_wider_than_its_prediction_ends_at_the_axis() -> None:
    table = synthetic((3,), lambda _seed, _block, _k: (1.0, 1.0, 1.0))
    table["predicted_channel_variance"] = 1.0
    table["predicted_channel_variance_spread"] = 2.0
    axes = plot_spp(table).axes[1]
    [band] = bands(axes)
    box = band.get_paths()[0].get_extents()
    assert (box.y0, box.y1) == (max(0.0, axes.get_ylim()[0]), 5.0)


def test_a_spread_without_a_number_has_no_band() -> None:
    table = synthetic((3,), reset_growth)
    table["predicted_channel_variance"] = 1.0
    table["predicted_channel_variance_spread"] = math.nan
    assert not bands(plot_spp(table).axes[1])


def test_a_predicted_stem_above_the_axis_is_no_line_across_the_panel() -> None:
    table = with_stem(2.2, 0.01, 0.02)
    table["predicted_channel_squared_mean"] = [2.1, 0.0, 0.0]
    predicted = line(plot_spp(table).axes[0], "predicted")
    np.testing.assert_array_equal(predicted.get_ydata(), [math.nan, 0.0, 0.0])


def test_prediction_is_told_from_the_measurement_without_colour() -> None:
    table = synthetic((4,), reset_growth)
    table["predicted_channel_variance"] = table["channel_variance"]
    axes = plot_spp(table).axes[1]
    assert not line(axes, "measured").is_dashed()
    assert to_hex(line(axes, "measured").get_color()) == MEASURED.lower()
    assert axes.lines.index(line(axes, "predicted")) > axes.lines.index(line(axes, "measured"))


def test_header_is_shown_as_typed() -> None:
    figure = plot_spp(synthetic((4,), reset_growth), title="my_net: $x$", subtitle="seed 0")
    title, subtitle = figure.texts
    assert (title.get_text(), subtitle.get_text()) == ("my_net: $x$", "seed 0")
    assert not title.get_parse_math()
    assert subtitle.get_fontsize() < title.get_fontsize()
    assert subtitle.get_window_extent().y1 < title.get_window_extent().y0
    assert figure.axes[1].title.get_window_extent().y1 < subtitle.get_window_extent().y0


def test_no_header_takes_no_room() -> None:
    bare = plot_spp(synthetic((4,), reset_growth))
    headed = plot_spp(synthetic((4,), reset_growth), title="x", subtitle="y")
    assert not bare.texts
    assert bare.axes[0].get_window_extent().height > headed.axes[0].get_window_extent().height


def test_table_is_not_changed() -> None:
    table = synthetic((100, 100), exploding_at_127, seeds=2)
    before = table.copy(deep=True)
    plot_spp(table)
    assert table.equals(before)
    assert list(table.dtypes) == list(before.dtypes)


def test_stages_are_not_an_artist_each() -> None:
    def artists(stages: int) -> int:
        return len(plot_spp(synthetic((2,) * stages, reset_growth)).findobj())

    # Drawing time grows with the artists; more stages need no more of them.
    assert artists(2000) < 2 * artists(200)


def test_user_settings_are_neither_changed_nor_followed(tmp_path: Path) -> None:
    save_figure(plot_spp(synthetic((4,), reset_growth)), tmp_path / "plain.svg")
    mine = {"lines.linewidth": 9.0, "font.family": "monospace", "axes.facecolor": "pink", "svg.fonttype": "path"}
    with mpl.rc_context(mine):
        before = dict(mpl.rcParams)
        save_figure(plot_spp(synthetic((4,), reset_growth)), tmp_path / "mine.svg")
        assert dict(mpl.rcParams) == before
    assert (tmp_path / "mine.svg").read_bytes() == (tmp_path / "plain.svg").read_bytes()


@FORMATS
def test_files_are_the_same_bytes_each_time(suffix: str, tmp_path: Path) -> None:
    table = synthetic((3, 4, 6, 3), exploding_at_127, seeds=3)
    figure = plot_spp(table, title="a title", subtitle="a subtitle")
    first, again, anew = (tmp_path / f"{name}{suffix}" for name in ("first", "again", "anew"))
    save_figure(figure, first)
    for other in (".pdf", ".png", ".svg"):  # at another resolution
        save_figure(figure, tmp_path / f"between{other}")
    save_figure(figure, again)
    save_figure(plot_spp(table, title="a title", subtitle="a subtitle"), anew)
    assert first.read_bytes() == again.read_bytes() == anew.read_bytes()


def test_every_format_has_the_same_layout(tmp_path: Path) -> None:
    figure = plot_spp(synthetic((3, 4, 6, 3), reset_growth))
    before = [axes.get_position().bounds for axes in figure.axes]
    for suffix in (".svg", ".pdf", ".png"):
        save_figure(figure, tmp_path / f"spp{suffix}")
        assert [axes.get_position().bounds for axes in figure.axes] == before


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_files_hold_no_date(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = plot_spp(synthetic((4,), reset_growth))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    save_figure(figure, tmp_path / f"then{suffix}")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    save_figure(figure, tmp_path / f"now{suffix}")
    assert (tmp_path / f"then{suffix}").read_bytes() == (tmp_path / f"now{suffix}").read_bytes()


def test_png_has_the_size_of_a_paper_figure(tmp_path: Path) -> None:
    save_figure(plot_spp(synthetic((4,), reset_growth)), tmp_path / "new folder" / "spp.png")
    with Image.open(tmp_path / "new folder" / "spp.png") as image:
        assert image.size == (2400, 760)


def test_text_in_vector_formats_stays_text(tmp_path: Path) -> None:
    figure = plot_spp(synthetic((4,), reset_growth), title="nf-resnet-50")
    save_figure(figure, tmp_path / "spp.svg")
    save_figure(figure, tmp_path / "spp.pdf")
    assert ">nf-resnet-50</text>" in (tmp_path / "spp.svg").read_text()
    pdf = (tmp_path / "spp.pdf").read_bytes()
    assert b"/TrueType" in pdf or b"/CIDFontType2" in pdf
    assert b"/Type3" not in pdf


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = plot_spp(synthetic((4,), reset_growth))
    (tmp_path / "spp.png").write_bytes(b"old")

    def fail_halfway(path: Path, **_options: object) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail_halfway)
    with pytest.raises(UsageError, match="disk full"):
        save_figure(figure, tmp_path / "spp.png")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("spp.png", b"old")]


@pytest.mark.parametrize(("name", "kind"), [("spp.jpg", "'jpg'"), ("spp", "''")])
def test_another_format_is_refused(name: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"^can't draw {name}: the format {kind} is not one of png, svg, pdf\.$"):
        save_figure(plot_spp(synthetic((4,), reset_growth)), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_frame_that_is_no_table_is_refused() -> None:
    table = synthetic((4,), reset_growth)
    with pytest.raises(UsageError, match=r"^this is not a table of sppkit: it has no column 'nonfinite'\.$"):
        plot_spp(table.drop(columns="nonfinite"))
    with pytest.raises(UsageError, match=r"^the table has no rows: there is nothing to plot\.$"):
        plot_spp(table.iloc[:0])


FRESH = """
import sys
from pathlib import Path
from sppkit.plot.save import save_figure
from sppkit.plot.spp import plot_spp
from sppkit.record.table import build_table
row = {"seed": 0, "block": 0, "channel_variance": 1.0, "nonfinite": 0}
for kind in ("png", "svg", "pdf"):
    save_figure(plot_spp(build_table([row])), Path(sys.argv[1]) / f"spp.{kind}")
print([name for name in ("matplotlib.pyplot", "torch") if name in sys.modules])
"""


def test_a_fresh_interpreter_imports_neither_pyplot_nor_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", FRESH, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_prediction_alone_speaks_of_nothing_measured() -> None:
    figure = plot_spp(predict("nf-resnet", stages=(2, 2), image_size=32))
    drawn = [line.get_label() for axes in figure.axes for line in axes.get_lines()]
    assert drawn.count("predicted") == 3
    assert not {"measured", "first block of a stage"} & set(drawn)


def test_layers_have_two_panels_and_are_called_layers() -> None:
    table = synthetic((3,), lambda *_: (0.1, 1.0, None)).assign(stage=None)
    figure = plot_spp(table)
    assert [axes.get_title() for axes in figure.axes] == ["channel squared mean", "channel variance"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"layer index"}


def test_a_single_stage_is_not_marked() -> None:
    figure = plot_spp(synthetic((3,), reset_growth))
    assert legend_labels(figure) == ["measured"]
    assert texts(figure.axes[1]) == []


def test_the_rounding_of_a_mean_of_zero_takes_no_axis() -> None:
    figure = plot_spp(synthetic((4,), lambda _seed, block, _k: (1e-15 if block % 2 else 0.2, 1.0, 1.0)))
    assert figure.axes[0].get_yscale() == "linear"

"""Predicted curves against measured ones, and the interface to them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import sppkit
from sppkit.cli.app import app
from sppkit.inputs.gaussian import draw_batch
from sppkit.models.spec import build_spec
from sppkit.prediction.describe_network import describe_network
from sppkit.theory.grid import Axis, Grid
from sppkit.theory.network import Expected, iter_expected
from sppkit.theory.signal import OTHER, Batch, Signal
from sppkit.theory.steps import white_noise

if TYPE_CHECKING:
    from collections.abc import Iterator

STATISTICS = ("channel_squared_mean", "channel_variance", "residual_variance")
SEEDS = 4


def measured(arch: str, size: int, options: dict[str, Any], seeds: int = SEEDS) -> pd.DataFrame:
    tables = [
        sppkit.measure(
            sppkit.build_model(arch, seed=seed, **options), draw_batch((8, 3, size, size), seed, 0), seed=seed
        )
        for seed in range(seeds)
    ]
    return pd.concat(tables)


def deviations(arch: str, size: int, options: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of the mean over seeds from the prediction, relative to it, and the standard error that theory expects of it."""
    means = measured(arch, size, options).groupby("block")[list(STATISTICS)].mean()
    table = sppkit.predict(arch, image_size=size, **options).set_index("block")
    predicted, spread = (
        table[[f"predicted_{name}{suffix}" for name in STATISTICS]].set_axis(list(STATISTICS), axis=1)
        for suffix in ("", "_spread")
    )
    return (means / predicted - 1)[1:], (spread / predicted / SEEDS**0.5)[1:]


# As the full-size proof in docs/theory.md: 3 % and three standard errors at every block, 2 % and two of them on average
# over the blocks, which share their seeds' deviation.
CASES = [
    ("bn-relu-conv", {}),
    ("relu-bn-conv", {}),
    ("nf-resnet", {}),
    ("nf-resnet", {"alpha": 1.0}),
    ("nf-resnet", {"alpha": 1.0, "padding": "circular"}),
    ("nf-resnet", {"activation": "silu", "se": True, "stem": "no-pool"}),
    ("nf-resnet", {"block": "basic", "weights": "centered-ws", "init": "lecun"}),
    ("bn-relu-conv", {"se": True, "activation": "gelu", "skip_gain": 0.5}),
    ("bn-relu-conv", {"weights": "ws", "stem": "cifar"}),
    ("relu-bn-conv", {"init": "he", "padding": "circular", "activation": "relu6"}),
]


@pytest.mark.parametrize(("arch", "options"), CASES, ids=str)
def test_prediction_is_what_is_measured(arch: str, options: dict[str, Any]) -> None:
    size = 32 if options.get("stem") == "cifar" else 64
    found, error = deviations(arch, size, {"stages": (2, 3, 2), "width": 0.5} | options)
    for statistic in ("channel_variance", "residual_variance"):
        assert (found[statistic].abs() < 0.03 + 3 * error[statistic]).all(), (found, error)
        assert abs(found[statistic].mean()) < 0.02 + 2 * error[statistic].mean(), (found, error)


def test_mean_shift_is_what_is_measured() -> None:
    found, error = deviations("bn-relu-conv", 64, {"stages": (2, 3, 2), "width": 0.5})
    assert (found["channel_squared_mean"].abs() < 0.03 + 3 * error["channel_squared_mean"]).all()


def test_explosion_is_what_is_measured() -> None:
    """Every block doubles E x², less what zero padding takes, and passes on whatever a seed has added to it.

    One seed's E x² scatters by a factor of two here (32 channels, and ReLU squared has a relative variance of 5), so
    that only the growth and the order of magnitude can be compared.
    """
    options = {"stages": (4, 4), "width": 0.5}
    found, _ = deviations("he-resnet", 64, options)
    assert found["channel_variance"].between(-0.67, 2).all()
    table = sppkit.predict("he-resnet", image_size=64, **options)[1:]
    total = (table["predicted_channel_squared_mean"] + table["predicted_channel_variance"]).to_numpy()
    np.testing.assert_allclose(total[1:] / total[:-1], 2, atol=0.15)


def test_spread_is_what_seeds_show() -> None:
    """The standard deviation of 12 seeds has itself a relative one of 1/sqrt(22) = 21 %; blocks share their seeds."""
    options = {"stages": (3, 3), "width": 0.25}
    for arch in ("nf-resnet", "relu-bn-conv"):
        found = measured(arch, 64, options, seeds=12).groupby("block")[list(STATISTICS)].std()[1:]
        table = sppkit.predict(arch, image_size=64, **options).set_index("block")[1:]
        for statistic in ("channel_variance", "residual_variance"):
            ratio = (found[statistic] / table[f"predicted_{statistic}_spread"]).pow(2).mean() ** 0.5
            assert 0.5 < ratio < 2, (arch, statistic, ratio)


@pytest.mark.parametrize("arch", ["nf-resnet", "bn-relu-conv", "relu-bn-conv"])
def test_grouping_positions_changes_nothing(arch: str) -> None:
    """56 x 56 and 28 x 28 maps by their distance to the border, against every position by itself on 26 x 26."""
    spec = build_spec(arch, {"stages": (12,), "width": 1.0})
    network = describe_network(spec, normalizes=arch != "nf-resnet")
    grouped, full = (list(iter_expected(network, 104, 104, Batch(8), reach=reach)) for reach in (10, 26))
    for one, other in zip(grouped, full, strict=True):
        assert one.variance.value == pytest.approx(other.variance.value, rel=1e-4)
        assert one.squared_mean.value == pytest.approx(other.squared_mean.value, rel=2e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("arch", "options"),
    [("nf-resnet", {"alpha": 1.0}), ("bn-relu-conv", {"se": True, "batches": 3}), ("relu-bn-conv", {"stem": "cifar"})],
    ids=str,
)
def test_rows_and_columns_of_a_square_input_can_change_places(
    arch: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs that are reflections of each other, counted once and counted each: a difference of rounding."""
    options = {"stages": (2, 2, 2), "image_size": 64} | options
    once = sppkit.predict(arch, **options).filter(like="predicted")

    def noise_on_every_pair(rows: Axis, columns: Axis) -> Signal:
        grid = Grid(rows, columns)
        return replace(white_noise(rows, columns), grid=grid, pairs={OTHER: np.zeros(len(grid.pairs.ends.first))})

    monkeypatch.setattr("sppkit.theory.network.white_noise", noise_on_every_pair)
    each = sppkit.predict(arch, **options).filter(like="predicted")
    # What is exactly 0 after a normalizer is rounded to 1e-15.
    np.testing.assert_allclose(once.to_numpy(dtype=float), each.to_numpy(dtype=float), rtol=1e-10, atol=1e-12)


def test_no_map_is_taken_for_another() -> None:
    """What is kept of a map between blocks and predictions: alone, in turn, or backwards, every bit is the same."""
    maps = [(32, 32, "zeros", 10), (32, 32, "circular", 10), (32, 64, "zeros", 10), (64, 32, "zeros", 10),
            (64, 64, "zeros", 10), (64, 64, "zeros", 6), (66, 66, "zeros", 6)]  # fmt: skip

    def curves(height: int, width: int, padding: str, reach: int) -> Iterator[Expected]:
        spec = build_spec("bn-relu-conv", {"stages": (2, 2), "width": 0.5, "padding": padding, "stem": "no-pool"})
        found = iter_expected(describe_network(spec, normalizes=True), height, width, Batch(8), reach=reach)
        return (expected._replace(passage=None) for expected in found)

    alone = [tuple(curves(*each)) for each in maps]
    backwards = [tuple(curves(*each)) for each in maps[::-1]][::-1]
    in_turn = list(zip(*zip(*(curves(*each) for each in maps), strict=True), strict=True))
    assert alone == backwards == in_turn
    assert len(set(alone)) == len(maps)


def test_prediction_without_normalizer_in_eval_mode() -> None:
    """Running statistics of 0 and 1 change nothing but for epsilon."""
    options = {"stages": (2, 2), "image_size": 64}
    table = sppkit.predict("bn-relu-conv", mode="eval", **options)
    plain = sppkit.predict("he-resnet", **options)
    np.testing.assert_allclose(
        table.filter(like="predicted").to_numpy(dtype=float), plain.filter(like="predicted").to_numpy(dtype=float)
    )


def test_batches_are_merged() -> None:
    one, many = (sppkit.predict("bn-relu-conv", stages=(2, 2), image_size=32, batch_size=2, batches=b) for b in (1, 50))
    assert (many["predicted_residual_variance"][1:] > one["predicted_residual_variance"][1:]).all()
    options = {"stages": (2, 2), "width": 0.5}
    model = [sppkit.build_model("relu-bn-conv", seed=seed, **options) for seed in range(4)]
    tables = [sppkit.measure(m, [draw_batch((2, 3, 32, 32), s, b) for b in range(8)]) for s, m in enumerate(model)]
    found = pd.concat(tables).groupby("block")["channel_variance"].mean()
    expected = sppkit.predict("relu-bn-conv", image_size=32, batch_size=2, batches=8, **options)
    np.testing.assert_allclose(found, expected["predicted_channel_variance"], rtol=0.06)


def test_any_callable_can_be_predicted() -> None:
    import torch

    named, called = (
        sppkit.predict("nf-resnet", stages=(1, 1), image_size=32, activation=f)["predicted_channel_variance"]
        for f in ("silu", torch.nn.functional.silu)
    )
    np.testing.assert_allclose(named, called, rtol=1e-9)


def test_predicting_needs_no_torch() -> None:
    code = (
        "import sys, sppkit; sppkit.predict('nf-resnet', depth=12, image_size=32); print('torch' in sys.modules)\n"
        "sppkit.predict('he-resnet', depth=12, image_size=32, activation='leaky_relu'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "nf-resnt", "depth": 50}, "did you mean 'nf-resnet'"),
        ({"arch": "nf-resnet", "depth": 50, "mode": "evil"}, "mode"),
        ({"arch": "nf-resnet", "depth": 50, "shape": (1, 32, 32)}, "--shape must be 3,height,width for nf-resnet"),
        ({"arch": "nf-resnet", "depth": 50, "activation": lambda x: x.sum() + x}, "no prediction here: .* elementwise"),
    ],
)
def test_what_can_not_be_predicted(options: dict[str, Any], message: str) -> None:
    with pytest.raises(sppkit.UsageError, match=message):
        sppkit.predict(**options)


def invoke(folder: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments, "--out", str(folder)])


SMALL = ("--stages", "1,1", "--width", "0.1", "--image-size", "32")


def test_predict_writes_a_table_that_can_be_drawn_again(tmp_path: Path) -> None:
    done = invoke(tmp_path, "predict", "--arch", "nf-resnet", *SMALL)
    assert done.exit_code == 0, done.output
    stem = "nf-resnet-stages1-1-width0.1-predicted"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{stem}.csv", f"{stem}.json", f"{stem}.png"]
    table = sppkit.read_csv(tmp_path / f"{stem}.csv")
    assert table["predicted_residual_variance"][1:].between(0.5, 1.2).all()
    assert table["channel_variance"].isna().all()
    assert "residual variance" in done.output
    assert invoke(tmp_path, "plot", str(tmp_path / f"{stem}.csv")).exit_code in {0, 2}


def test_measured_table_has_predictions_beside_it(tmp_path: Path) -> None:
    run = ("plot", "--arch", "bn-relu-conv", *SMALL, "--name", "a", "--seeds", "2")
    assert invoke(tmp_path, *run).exit_code == 0
    table = sppkit.read_csv(tmp_path / "a.csv")
    assert json.loads((tmp_path / "a.json").read_text())["theory"] == {"predicted": True}
    expected = sppkit.predict("bn-relu-conv", stages=(1, 1), width=0.1, image_size=32)
    for seed in (0, 1):
        rows = table[table["seed"] == seed].reset_index(drop=True)
        pd.testing.assert_series_equal(
            rows["predicted_channel_variance_spread"], expected["predicted_channel_variance_spread"], rtol=1e-8
        )
    assert invoke(tmp_path, *run, "--no-theory").exit_code == 0
    assert not [name for name in sppkit.read_csv(tmp_path / "a.csv") if name.startswith("predicted_")]


def test_real_input_has_no_prediction_and_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32))
    run = ("plot", "--arch", "nf-resnet", "--stages", "1,1", "--width", "0.1", "--input", str(tmp_path / "x.npy"))
    assert invoke(tmp_path, *run, "--name", "a").exit_code == 0
    table = sppkit.read_csv(tmp_path / "a.csv")
    assert table.filter(like="predicted_").isna().all(axis=None)
    theory = json.loads((tmp_path / "a.json").read_text())["theory"]
    assert not theory["predicted"]
    assert "Gaussian input" in theory["reason"]


def test_eval_mode_behind_a_warm_up_has_no_prediction(tmp_path: Path) -> None:
    run = ("plot", "--arch", "bn-relu-conv", *SMALL, "--mode", "eval", "--warmup", "1", "--name", "a")
    assert invoke(tmp_path, *run).exit_code == 0
    assert "warm-up" in json.loads((tmp_path / "a.json").read_text())["theory"]["reason"]


def test_a_gate_sees_no_mean_below_zero() -> None:
    table = sppkit.predict("nf-resnet", width=0.125, stages=(2, 2), se=True, batches=2, batch_size=16, image_size=128)
    assert table["predicted_channel_variance"].notna().all()

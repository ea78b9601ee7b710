"""Where the further statistics are measured: the layers inside the blocks of any network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import sppkit
from networks import Net
from sppkit.cli.app import app
from sppkit.config.resolve import resolve_config
from sppkit.measuring.collect import Collector
from sppkit.measuring.layers import LayerListener
from sppkit.measuring.reduce import Reducer, load_statistic
from sppkit.measuring.run import run
from sppkit.models.addons.crossnorm import CrossNorm
from sppkit.record.table import COLUMNS, write_csv
from sppkit.registry import DEFAULT_STATISTICS, FURTHER_STATISTICS, GRADIENT_STATISTICS, STATISTICS

FURTHER = list(FURTHER_STATISTICS)
LAYERS = ["dead_fraction", "always_on_fraction", "elimination_distance", "stat_diff"]

# A backward pass sends other noise into every batch, and keeps the whole network: not for these tests.
FORWARD = tuple(name for name in STATISTICS if name not in GRADIENT_STATISTICS)


def batch(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*(shape or (4, 3, 16, 16)), generator=torch.Generator().manual_seed(seed))


def small(arch: str = "bn-relu-conv", **options: object) -> nn.Module:
    return sppkit.build_model(arch, **{"stages": (2, 1), "width": 0.125, **options})


class Bottleneck(nn.Module):
    """As torchvision has it: one ReLU, in place, is called three times, the last one after the addition."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + x)


class PostActivation(nn.Module):
    def __init__(self, blocks: int = 2, channels: int = 12) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn, self.relu = nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        self.blocks = nn.Sequential(*[Bottleneck(channels) for _ in range(blocks)])
        self.last = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.blocks(self.relu(self.bn(self.conv(x)))).mean((2, 3)))


def dead(y: Tensor) -> float:
    return float((y.amax((0, 2, 3)) <= 0).float().mean())


def spread(x: Tensor) -> float:
    means, deviations = x.double().mean((0, 2, 3)), x.double().std((0, 2, 3), correction=0)
    return float(means.std(correction=0) / deviations.mean())


def margin(x: Tensor) -> float:
    d = x.double().mean((0, 2, 3)) / x.double().std((0, 2, 3), correction=0)
    return float(d.sort().values[int(np.ceil(0.05 * len(d))) - 1]) + 3.090232306167813


def test_layers_are_found_by_kind_and_belong_to_the_block_that_ends_next() -> None:
    model, x = PostActivation().train(), batch()
    with torch.no_grad():
        model.blocks[0].bn1.bias[:3] = -20  # three dead units
        model.bn.bias[0] = -20
        normalized = [model.conv(x)]
        entered = [model.bn(normalized[0])]
        streams = [torch.relu(entered[0])]
        for block in model.blocks:
            first = block.conv1(streams[-1])
            inner = block.bn1(first)
            second = block.conv2(torch.relu(inner))
            normalized += [first, second]
            entered += [inner, block.bn2(second) + streams[-1]]
            streams.append(torch.relu(entered[-1]))
    table = sppkit.measure(model, x, stats=["spp", *LAYERS])
    assert table["name"].tolist() == ["stem", "blocks.0", "blocks.1"]
    # The ReLU after an addition is called after the block's output, at the beginning of the next block.
    activations = [[entered[0]], [entered[1]], [entered[2], entered[3]]]
    expected = pd.DataFrame({
        "dead_fraction": [np.mean([dead(torch.relu(x)) for x in row]) for row in activations],
        "elimination_distance": [min(margin(x) for x in row) for row in activations],
        "stat_diff": [spread(normalized[0]), *[np.mean([spread(x) for x in normalized[i : i + 2]]) for i in (1, 3)]],
    })  # fmt: skip
    assert expected["dead_fraction"][1] == pytest.approx(3 / 12)
    # Epsilon of float32 sums: docs/statistics.md.
    np.testing.assert_allclose(table[expected.columns], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["bn", "ln", "bcn", "ibn-a", "ibn-b", "bkn", "ic", "noise-aware-bn"])
def test_each_normalizer_is_one_layer_whatever_it_is_made_of(norm: str) -> None:
    model = small(norm=norm)
    blocks = Collector(model, [], lambda *_: None, lambda *_: None)
    listener = LayerListener(model, {"normalizer_input"}, lambda _role, x: tuple(x.shape), max, blocks)
    handle = model.blocks[1].register_forward_hook(lambda *args: listener.end_block(2, args[-1]))
    with listener, torch.no_grad():
        model(batch())
    handle.remove()
    heard = [layer.path for layer in listener.kept]
    # Of blocks 1 and 2, which end together here; ibn-b has one more at the end of the stage.
    own = [f"blocks.{block}.norm{index}" for block in (0, 1) for index in range(3)]
    assert heard == own + ["blocks.1.output_norm"] * (norm == "ibn-b")


@pytest.mark.parametrize("arch", ["bn-relu-conv", "nf-resnet"])
def test_blocks_that_are_found_show_what_declared_ones_show(arch: str) -> None:
    model, x = small(arch), batch()
    declared = sppkit.measure(model, x, stats="all")
    found = sppkit.measure(model, x, stats="all", sites="found")
    pd.testing.assert_frame_equal(declared[list(COLUMNS[7:])], found[list(COLUMNS[7:])])
    pd.testing.assert_frame_equal(declared[FURTHER], found[FURTHER])


def test_several_batches_are_one() -> None:
    model, x = small("nf-resnet"), batch(9, 3, 32, 32)
    whole = sppkit.measure(model, x, stats=FORWARD)
    parts = sppkit.measure(model, [x[:2], x[2:3], x[3:]], stats=FORWARD)
    # The signals themselves differ by float32 rounding from one batch size to another.
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-4, atol=1e-7)


def test_a_probe_merges_the_users_own_passes() -> None:
    model, x = small("nf-resnet").double(), batch(6, 3, 32, 32).double()
    with sppkit.Probe(model, stats=FORWARD) as probe:
        model(x[:4])
    with probe:
        model(x[4:])
    pd.testing.assert_frame_equal(probe.table(), sppkit.measure(model, x, stats=FORWARD), rtol=1e-10)


@pytest.mark.parametrize("options", [
    {"arch": "bn-relu-conv"},
    {"arch": "bn-relu-conv", "norm": "bkn", "norm_kw": "prediction=sampled", "batches": 2},
    {"arch": "nf-resnet", "dtype": "bfloat16"},
    {"arch": "he-resnet", "seeds": 2},
], ids=lambda options: "-".join(map(str, options.values())))  # fmt: skip
def test_streaming_gives_the_same_bytes(options: dict, tmp_path: Path) -> None:
    size = {"stages": (2, 2), "width": 0.125, "image_size": 32, "batch_size": 4, "stats": FORWARD}
    for streaming in ("on", "off"):
        result = run(resolve_config({**size, **options, "streaming": streaming}))
        assert result.record["streamed"] is (streaming == "on")
        write_csv(result.table, tmp_path / f"{streaming}.csv")
    assert (tmp_path / "on.csv").read_bytes() == (tmp_path / "off.csv").read_bytes()


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_nothing_more_is_hooked_unless_asked_for() -> None:
    model = small()
    counts = []
    for stats in (None, "spp", "instance_style_share", "dead_fraction"):
        with sppkit.Probe(model, stats=stats):
            counts.append(hooks(model))
    plain = len(model.signal_sites()) + 2  # where a pass begins and ends
    assert counts[:3] == [plain] * 3
    # Nine activations, before and after; and where a pass begins and ends.
    assert counts[3] == plain + 2 * 9 + 2
    assert hooks(model) == 0


def test_the_pass_that_finds_the_joins_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    reduction = load_statistic("stat_diff").reduction
    monkeypatch.setattr(Reducer, "reduce", lambda _self, role, x: seen.append(role) or {reduction: reduction.reduce(x)})
    sppkit.measure(PostActivation(), batch(), stats="stat_diff")
    assert seen.count("normalizer_input") == 5


def test_hooks_are_removed_when_the_model_raises() -> None:
    model = small()
    with pytest.raises(sppkit.MeasurementError):
        sppkit.measure(model, batch(2, 5, 16, 16), stats="all")
    assert hooks(model) == 0


def test_a_pass_that_raised_says_nothing() -> None:
    model, x = Net(), batch()
    with sppkit.Probe(model, stats="stat_diff") as probe:
        model(x)
        with pytest.raises(RuntimeError):
            model(batch(2, 5, 16, 16))
    with sppkit.Probe(model, stats="stat_diff") as alone:
        model(x)
    pd.testing.assert_series_equal(probe.table()["stat_diff"], alone.table()["stat_diff"])


def test_rows_of_leaf_modules_have_their_own_layers() -> None:
    model = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 30), nn.Tanh(), nn.LayerNorm(30))
    table = sppkit.measure(model, batch(50, 6), stats=["dead_fraction", "stat_diff"])
    assert table["dead_fraction"].notna().tolist() == [False, True, False, True, False]
    assert table["stat_diff"].notna().tolist() == [False, False, False, False, True]


class Gated(nn.Module):
    """Squeeze-and-excite at the end of the branch, made of modules."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.act, self.conv = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.SiLU(), nn.Conv2d(4, 8, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.conv(self.act(x))
        return x + y * self.gate(y)


def test_gates_are_no_layers() -> None:
    # What was pooled has next to no variance: its margins say nothing.
    model, x = Gated(), batch()
    table = sppkit.measure(model, x, stats="elimination_distance")
    with torch.no_grad():
        assert table["elimination_distance"][1] == pytest.approx(margin(model.stem(x)), rel=1e-5)


class ChannelsLast(nn.Module):
    """(N, H, W, C) within its branch, as in ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.LayerNorm(8)
        self.up, self.act, self.down = nn.Linear(8, 24), nn.GELU(), nn.Linear(24, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x + self.down(self.act(self.up(self.norm(x.permute(0, 2, 3, 1))))).permute(0, 3, 1, 2)


def test_channels_are_found_where_they_are() -> None:
    model, x = ChannelsLast(), batch()
    with torch.no_grad():
        model.up.bias[:6] = -50
        stream = model.conv(x)
    table = sppkit.measure(model, x, stats=["dead_fraction", "stat_diff"])
    assert table["dead_fraction"][1] == pytest.approx(6 / 24)
    assert table["stat_diff"][1] == pytest.approx(spread(stream), rel=1e-5)


def test_instance_normalization_of_the_stream_leaves_no_style() -> None:
    # IBN-b normalizes the stream per instance after the last block of stage 1.
    table = sppkit.measure(small(norm="ibn-b"), batch(8, 3, 32, 32), stats="instance_style_share")
    assert table["instance_style_share"][2] < 1e-8
    assert table["instance_style_share"][[0, 1]].min() > 1e-3


def test_crossnorm_keeps_the_style_that_it_swaps() -> None:
    # The means of the samples of a channel are permuted, and so are their deviations.
    x = batch(8, 12, 9, 9) + 2 * batch(8, 12, 1, 1, seed=1)
    torch.manual_seed(0)
    y = CrossNorm()(x)
    assert not torch.equal(x, y)
    share = load_statistic("instance_style_share")
    before, behind = (float(share.value(share.reduction.reduce(signal))) for signal in (x, y))
    assert behind == pytest.approx(before, rel=1e-4)  # its epsilon is 1e-5 of a variance of 1


def test_equi_normalization_moves_no_unit_across_zero() -> None:
    # A positive factor changes no sign: dead and always-on units stay, the spread of the means does not.
    x = batch(2, 3, 16, 16)
    plain, balanced = (sppkit.measure(small("he-resnet", enorm=enorm), x, stats="all") for enorm in (False, True))
    pd.testing.assert_frame_equal(plain[["dead_fraction", "always_on_fraction"]],
                                  balanced[["dead_fraction", "always_on_fraction"]])  # fmt: skip
    np.testing.assert_allclose(plain["elimination_distance"][1:], balanced["elimination_distance"][1:], rtol=1e-3)
    assert balanced["enorm_gap"].max() < 1e-6 < 0.05 < plain["enorm_gap"].min()


def test_layer_normalization_spreads_the_means_and_kills_units() -> None:
    shown = {
        norm: sppkit.measure(
            sppkit.build_model(
                "bn-relu-conv", stages=(12,), width=0.5, norm=norm, norm_kw=settings, padding="circular"
            ),
            batch(8, 3, 32, 32),
            stats=["residual_variance", "stat_diff", "elimination_distance"],
        )[-6:].mean(numeric_only=True)
        for norm, settings in (("ln", None), ("gn", "groups=8"), ("bn", None))
    }
    # In the limit of many channels BatchNorm's inputs have 1/sqrt(pi - 1).
    assert shown["bn"]["stat_diff"] == pytest.approx(0.6833, rel=0.1)
    assert shown["ln"]["stat_diff"] > 1.02 * shown["gn"]["stat_diff"] > 1.2 * shown["bn"]["stat_diff"]
    assert shown["ln"]["residual_variance"] < shown["gn"]["residual_variance"] < shown["bn"]["residual_variance"]
    assert shown["ln"]["elimination_distance"] < shown["bn"]["elimination_distance"] == pytest.approx(3.0902, abs=1e-3)


def test_standardized_weights_leave_no_difference() -> None:
    model = sppkit.build_model("bn-relu-conv", stages=(4,), width=0.5, weights="ws", padding="circular")
    table = sppkit.measure(model, batch(8, 3, 32, 32), stats="stat_diff")
    assert table["stat_diff"][2:].max() < 0.1


# The table and its file.


def test_columns_follow_the_default_ones_in_a_fixed_order() -> None:
    shuffled = ["enorm_gap", "stat_diff", "channel_variance", "dead_fraction"]
    table = sppkit.measure(small(), batch(), stats=shuffled)
    assert list(table.columns) == [*COLUMNS, "dead_fraction", "stat_diff", "enorm_gap"]
    assert table["channel_squared_mean"].isna().all()
    assert table["channel_variance"].notna().all()


def test_the_default_is_the_three_of_the_plot() -> None:
    default = sppkit.measure(small(), batch())
    assert list(default.columns) == list(COLUMNS)
    pd.testing.assert_frame_equal(default, sppkit.measure(small(), batch(), stats="spp"))
    pd.testing.assert_frame_equal(default, sppkit.measure(small(), batch(), stats="all")[list(COLUMNS)])
    assert resolve_config({}).config.stats == DEFAULT_STATISTICS


def test_groups_of_statistics() -> None:
    assert resolve_config({"stats": "dead_fraction,spp"}).config.stats == ("dead_fraction", *DEFAULT_STATISTICS)
    assert resolve_config({"stats": "all"}).config.stats == tuple(STATISTICS)
    with pytest.raises(sppkit.UsageError, match="unknown statistic 'dead_fracton'; did you mean 'dead_fraction'"):
        resolve_config({"stats": "spp,dead_fracton"})


def test_a_file_gives_back_the_table(tmp_path: Path) -> None:
    table = sppkit.measure(small(norm="ln"), batch(8, 3, 32, 32), stats="all")
    sppkit.write_csv(table, tmp_path / "run.csv")
    read = sppkit.read_csv(tmp_path / "run.csv")
    pd.testing.assert_frame_equal(read, table, rtol=1e-8)
    assert read["elimination_distance"].dtype == "float64"


def test_a_lost_signal_is_told_from_an_absent_layer(tmp_path: Path) -> None:
    model = small("he-resnet", skip_gain=1e30)
    table = sppkit.measure(model, batch(), stats=["dead_fraction", "stat_diff"])
    assert table["nonfinite"][3] > 0
    sppkit.write_csv(table, tmp_path / "run.csv")
    cells = [line.split(",")[-2:] for line in (tmp_path / "run.csv").read_text().splitlines()[1:]]
    assert cells[0] == ["", ""]
    assert cells[3] == ["nan", ""]
    assert [cell[1] for cell in cells] == [""] * 4  # there is no normalizer


# The command line and the picture.


def invoke(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_measures_them_and_says_what_is_missing(tmp_path: Path) -> None:
    size = ["--stages", "1,1", "--width", "0.125", "--image-size", "32", "--out", str(tmp_path), "--name", "run"]
    shown = " ".join(invoke("plot", "--arch", "nf-resnet", "--stats", "spp,dead_fraction,stat_diff", *size).split())
    assert "stat_diff is empty: there are no normalizers in the blocks of this network." in shown
    assert "dead_fraction is empty" not in shown
    assert (tmp_path / "run.png").stat().st_size > 0
    table = sppkit.read_csv(tmp_path / "run.csv")
    assert table["dead_fraction"].notna().tolist() == [False, True, True]
    invoke("plot", str(tmp_path / "run.csv"), "--out", str(tmp_path / "again"))


def test_statistics_are_listed() -> None:
    shown = invoke("list", "statistics")
    assert all(f"  {name} " in shown for name in STATISTICS)


def titles(figure: object) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def test_further_statistics_have_panels_of_their_own() -> None:
    default = sppkit.measure(small(), batch())
    plain = sppkit.plot_spp(default)
    assert titles(plain) == ["channel squared mean", "channel variance", "residual variance"]
    assert tuple(plain.get_size_inches()) == (12.0, 3.8)
    both = sppkit.plot_spp(sppkit.measure(small(), batch(), stats="spp,stat_diff"))
    assert titles(both) == [*titles(plain), "stat diff"]
    alone = sppkit.plot_spp(sppkit.measure(small(), batch(), stats=LAYERS))
    assert titles(alone) == [name.replace("_", " ") for name in LAYERS]


def test_a_panel_says_why_it_is_empty() -> None:
    figure = sppkit.plot_spp(sppkit.measure(small("nf-resnet"), batch(), stats="all"))
    texts = {axes.get_title(): [text.get_text() for text in axes.texts] for axes in figure.axes}
    assert "no normalizers" in texts["stat diff"]
    assert "no weights that can be balanced" in texts["enorm gap"]
    assert not {"no normalizers", "no activation modules"} & set(texts["dead fraction"])


def test_a_distance_below_zero_is_seen() -> None:
    table = sppkit.measure(small(), batch(), stats="elimination_distance")
    table.loc[1, "elimination_distance"] = -2.0
    [axes] = sppkit.plot_spp(table).axes
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] < -2


def test_compared_runs_may_have_measured_different_things() -> None:
    one = sppkit.measure(small(), batch(), stats="spp,dead_fraction")
    other = sppkit.measure(small("nf-resnet"), batch())
    figure = sppkit.plot_comparison({"one": one, "other": other})
    assert titles(figure)[3:] == ["dead fraction"]
    assert "dead_fraction" not in other

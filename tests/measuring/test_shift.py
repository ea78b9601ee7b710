"""A network under a shift: against two passes of its own, closed forms, and what must stay untouched."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import sppkit
from pictures import smooth_pictures
from sppkit.errors import UsageError
from sppkit.measuring.forward.calibrate import averaging, batches_needed
from sppkit.record.shift_table import INPUT, SHIFT_COLUMNS
from traces import state


def row(table: pd.DataFrame, name: str, shift: str | None = None) -> Any:
    rows = table[(table["name"] == name) & (True if shift is None else table["shift"] == shift)]
    assert len(rows) == 1
    return rows.iloc[0]


def normalized(layer: nn.Module) -> nn.Sequential:
    """A network whose first layer normalizes; without joins, every layer is a row."""
    return nn.Sequential(layer, nn.Conv2d(3, 5, 1), nn.Tanh()).double()


def test_instance_normalization_removes_an_affine_shift_exactly() -> None:
    model = normalized(nn.InstanceNorm2d(3, eps=0))
    table = sppkit.measure_shift(model, smooth_pictures(), ["contrast:factor=0.3", "brightness:offset=0.1"])
    assert (table["style_shift"][table["block"] == INPUT] > 0.01).sum() == 1  # contrast moves no mean
    for name in ("0", "1", "2"):
        for shift in ("contrast:factor=0.3", "brightness:offset=0.1"):
            found = row(table, name, shift)
            assert found["signal_kept"] == pytest.approx(1, abs=1e-12)
            assert found["log2_variance_ratio"] == pytest.approx(0, abs=1e-12)
    # Behind it there is no style to be shifted, and no number; where a tanh mixes the positions there is some again.
    assert math.isnan(row(table, "0", "contrast:factor=0.3")["style_shift"])
    assert row(table, "2", "contrast:factor=0.3")["style_shift"] == pytest.approx(0, abs=1e-12)


def test_batch_normalization_in_eval_mode_does_not() -> None:
    model = normalized(nn.BatchNorm2d(3, eps=1e-30))
    x = smooth_pictures()
    table = sppkit.measure_shift(model, x, ["contrast:factor=0.3", "brightness:offset=0.05"])
    # It is one affine map for all pictures, under which a style shift stays what it is: offset² / v_c.
    expected = float((0.05**2 / x.var((0, 2, 3), correction=0)).mean())
    for name in ("input", "0"):
        assert row(table, name, "brightness:offset=0.05")["style_shift"] == pytest.approx(expected, rel=1e-9)
    # The channels of contrast keep what lies between pictures, and 0.3² of what lies within.
    within = x.var((2, 3), correction=0).mean(0)
    between = x.mean((2, 3)).var(0, correction=0)
    ratio = ((between + 0.09 * within) / (between + within)).mean()  # of unit variance behind the normalizer
    assert row(table, "0", "contrast:factor=0.3")["log2_variance_ratio"] == pytest.approx(math.log2(ratio), rel=1e-9)


def twin(model: nn.Module, x: Tensor, path: str) -> Tensor:
    """What a module returns in a pass of its own."""
    kept: list[Tensor] = []
    handle = model.get_submodule(path).register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    with torch.no_grad():
        model(x)
    handle.remove()
    return kept[0]


@pytest.mark.parametrize("shift", ["contrast", "augmix:set=cifar", "corruption:gaussian-noise:3", "apr-p:axes=hw"])
def test_the_table_is_that_of_two_passes(shift: str) -> None:
    model = sppkit.build_model("bn-relu-conv", stages=(1, 1), width=0.1, stem="cifar").double()
    x = smooth_pictures(4)
    with torch.no_grad():  # trained statistics: nothing is to be calibrated
        for _ in range(60):
            model(x)
    table = sppkit.measure_shift(model, x, shift)
    model.eval()
    shifted = sppkit.apply_shift(x, shift)
    moves = shift.startswith("augmix")
    for name, path in (("stem", "stem"), ("blocks.0", "blocks.0"), ("blocks.1", "blocks.1")):
        a, b = twin(model, x, path), twin(model, shifted, path)
        found = row(table, name)
        variance = a.var((0, 2, 3), correction=0)
        assert found["channel_variance"] == pytest.approx(float(variance.mean()), rel=1e-9)
        ratio = float(b.var((0, 2, 3), correction=0).mean() / variance.mean())
        assert found["log2_variance_ratio"] == pytest.approx(math.log2(ratio), abs=1e-9)
        squared = [float(item.mean((0, 2, 3)).square().mean()) for item in (a, b)]
        assert found["squared_mean_change"] == pytest.approx(
            (squared[1] - squared[0]) / float(variance.mean()), abs=1e-9
        )
        style = ((b.mean((2, 3)) - a.mean((2, 3))).square().mean(0) / variance).mean()
        assert found["style_shift"] == pytest.approx(float(style), rel=1e-9)
        p, q = (item.mean((2, 3)) if moves else item for item in (a, b))
        others = 2 * p.var(0).sum()
        kept = 1 - float((q - p).square().flatten(1).sum(1).mean() / others)
        assert found["signal_kept"] == pytest.approx(kept, abs=1e-9)
        centred = [(item - item.mean(0)).flatten() for item in (p, q)]
        expected = float(centred[0] @ centred[1] / centred[0].norm() / centred[1].norm())
        assert found["correlation"] == pytest.approx(expected, abs=1e-9)
    branches = [twin(model, item, "blocks.1.conv2").var((0, 2, 3), correction=0).mean() for item in (x, shifted)]
    found = row(table, "blocks.1")
    assert found["residual_variance"] == pytest.approx(float(branches[0]), rel=1e-9)
    assert found["log2_residual_variance_ratio"] == pytest.approx(math.log2(branches[1] / branches[0]), abs=1e-9)


def test_columns_and_rows() -> None:
    model = sppkit.build_model("nf-resnet", stages=(1, 2), width=0.1)
    table = sppkit.measure_shift(model, smooth_pictures().float(), ["contrast", "brightness"], seed=5)
    assert tuple(table) == SHIFT_COLUMNS
    assert table["name"].tolist() == ["input", "stem", "blocks.0", "blocks.1", "blocks.2"] * 2
    assert table["block"].tolist() == [-1, 0, 1, 2, 3] * 2
    assert table["shift"].tolist() == ["contrast"] * 5 + ["brightness"] * 5
    assert set(table["seed"]) == {5}
    assert table["residual_variance"].isna().tolist() == [True, True, False, False, False] * 2
    assert set(table["nonfinite"]) == {0}


def test_the_shift_alone_decides_whatever_else_is_measured_beside_it() -> None:
    model = sppkit.build_model("bn-relu-conv", stages=(1, 1), width=0.1)
    x = smooth_pictures(4).float()
    both = sppkit.measure_shift(model, x, ["contrast", "corruption:fog:1"])
    alone = sppkit.measure_shift(model, x, "corruption:fog:1")
    part = both[both["shift"] == "corruption:fog:1"].reset_index(drop=True)
    # Convolutions of another number of samples round otherwise.
    pd.testing.assert_frame_equal(part, alone, rtol=1e-3, atol=1e-5)


def test_several_batches_are_merged() -> None:
    model = normalized(nn.BatchNorm2d(3))
    x = smooth_pictures(6)
    with torch.no_grad():
        model(x)
    whole, parts = (sppkit.measure_shift(model, item, "contrast") for item in (x, [x[:4], (x[4:], "labels")]))
    merged = ["style_shift", "deviation_shift", "log2_variance_ratio", "style_share"]
    pd.testing.assert_frame_equal(whole[merged], parts[merged], rtol=1e-9)


def test_calibration_averages_the_batches() -> None:
    layer = nn.BatchNorm2d(3).double()
    model = normalized(layer)
    x = smooth_pictures(6)
    table = sppkit.measure_shift(model, [x[:3], x[3:]], "contrast")
    means = torch.stack([part.mean((0, 2, 3)) for part in (x[:3], x[3:])]).mean(0)
    variances = torch.stack([part.var((0, 2, 3)) for part in (x[:3], x[3:])]).mean(0)
    y = (x - means[:, None, None]) / (variances[:, None, None] + layer.eps).sqrt()
    expected = float(y.mean((0, 2, 3)).square().mean())
    assert row(table, "0")["channel_squared_mean"] == pytest.approx(expected, rel=1e-9)
    assert layer.momentum == 0.1
    assert batches_needed(model, 2) == 2  # as it was, it is uncalibrated again
    with averaging(model), torch.no_grad():
        model(x)
    assert batches_needed(model, 2) == 0


def test_no_trace_is_left() -> None:
    model = sppkit.build_model("bn-relu-conv", stages=(1, 1), width=0.1, add_on="selfnorm@residual")
    model.blocks[0].eval()
    before = state(model)
    x = smooth_pictures(3).float()
    copy = x.clone()
    sppkit.measure_shift(model, x, ["contrast", "apr-p"])
    assert state(model) == before
    assert torch.equal(x, copy)
    with pytest.raises(ZeroDivisionError):
        sppkit.measure_shift(model, x, "contrast", normalize=lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
    assert state(model) == before


def test_normalize_stands_behind_the_shift() -> None:
    x = smooth_pictures()
    model = nn.Sequential(nn.Identity(), nn.Conv2d(3, 3, 1)).double()
    table = sppkit.measure_shift(model, x, "brightness:offset=0.05", normalize=lambda pictures: (pictures - 0.5) * 4)
    expected = float((0.05**2 / x.var((0, 2, 3), correction=0)).mean())
    assert row(table, "input")["style_shift"] == pytest.approx(expected, rel=1e-9)
    assert row(table, "input")["channel_variance"] == pytest.approx(16 * float(x.var((0, 2, 3), correction=0).mean()))


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.layer(x), 0.5, training=True)


@pytest.mark.parametrize(
    "make", [lambda: nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Conv2d(3, 4, 3)), Dropping]
)
def test_a_network_whose_samples_are_not_independent_is_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(UsageError, match="returns something else for the same samples when others stand beside them"):
        sppkit.measure_shift(make(), smooth_pictures().float(), "contrast")


class Windows(nn.Module):
    """Cuts every picture into four: the samples are no longer on the first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.cat([part for half in x.chunk(2, 2) for part in half.chunk(2, 3)])
        return self.layer(parts).mean((1, 2, 3)).reshape(4, -1).mean(0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((smooth_pictures(1).float(), "contrast"), "give two pictures or more"),
        ((torch.randn(3, 3, 8, 8), "contrast"), "shift them before you normalize them"),
        ((smooth_pictures().float(), "contras"), "did you mean 'contrast'?"),
        ((smooth_pictures().float(), ["contrast", "contrast"]), "--shift contrast is given twice"),
        (([], "contrast"), "there is no batch to measure: the inputs are empty."),
        (([{"x": smooth_pictures()}], "contrast"), "a batch of pictures must be a tensor (N, C, H, W), not dict."),
        ((smooth_pictures().numpy(), "contrast"), "inputs must hold tensors, not a NumPy array"),
    ],
)
def test_what_can_not_be_measured(arguments: tuple[Any, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        sppkit.measure_shift(nn.Sequential(nn.Conv2d(3, 4, 3)), *arguments)


def test_samples_that_are_not_on_the_first_axis_are_refused() -> None:
    with pytest.raises(sppkit.MeasurementError, match="the first axis of 'layer' has 24 entries where the batch has 6"):
        sppkit.measure_shift(Windows(), smooth_pictures().float(), "contrast")


def test_lost_values_are_told() -> None:
    class Exploding(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / 0

    model = nn.Sequential(nn.Conv2d(3, 3, 1), Exploding(), nn.Tanh())
    table = sppkit.measure_shift(model, smooth_pictures().float(), "contrast")
    assert table["nonfinite"].tolist() == [0, 0, 2 * 3 * 3 * 256, 0]
    assert math.isnan(row(table, "1")["channel_variance"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_numbers() -> None:
    model = sppkit.build_model("bn-relu-conv", stages=(1, 1), width=0.1)
    x = smooth_pictures(4).float()
    on_cpu, on_gpu = (sppkit.measure_shift(model, x, "contrast", device=device) for device in ("cpu", "cuda"))
    # Sums of another order in convolutions, over six layers.
    pd.testing.assert_frame_equal(on_gpu, on_cpu, rtol=1e-3, atol=1e-5)

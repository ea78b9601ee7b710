"""SelfNorm and CrossNorm: their formulas, what they leave alone, and what they do to a stream."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sppkit
from sppkit.config.resolve import resolve_config
from sppkit.measuring.run import run
from sppkit.models.addons.crossnorm import CrossNorm, activate, draw_box
from sppkit.models.addons.selfnorm import SelfNorm
from sppkit.models.memory import count_parameters
from sppkit.models.spec import build_spec
from sppkit.record.table import write_csv
from sppkit.streams import keyed_generator

# z ~ N(0,1): E sigmoid(z)² by integration (0.29338), and BN-ReLU-Conv's residual variance.
GATE = 0.29338
BRANCH = 1 - 1 / math.pi


def signal(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(*shape, dtype=torch.float64, generator=generator)
    scale = 0.5 + torch.rand(*shape[:2], 1, 1, dtype=torch.float64, generator=generator)
    return scale * x + 2 * torch.randn(*shape[:2], 1, 1, dtype=torch.float64, generator=generator)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean((2, 3)), x.std((2, 3))


def channel_statistics(x: Tensor) -> tuple[float, float]:
    """Squared mean and variance of the channels, as in a table."""
    return float(x.mean((0, 2, 3)).square().mean()), float(x.var((0, 2, 3), correction=0).mean())


@pytest.mark.parametrize(("instances", "axis"), [(2, 0), (1, 1)])
def test_statistics_are_those_of_another_sample_or_channel(instances: int, axis: int) -> None:
    x, unit = signal(6, 5, 8, 8), CrossNorm(instances)
    torch.manual_seed(3)
    y = unit(x)
    torch.manual_seed(3)
    order = torch.randperm(x.shape[axis])
    assert order.tolist() != list(range(len(order)))
    (mean, deviation), (own_mean, own_deviation) = moments(y), moments(x)
    torch.testing.assert_close(mean, own_mean.index_select(axis, order), rtol=1e-12, atol=1e-12)
    # Epsilon is 1e-5 of variances of at least 0.25.
    torch.testing.assert_close(deviation, own_deviation.index_select(axis, order), rtol=1e-4, atol=0)


def test_the_released_channel_mode_permutes_samples_and_channels() -> None:
    x, unit = signal(6, 5, 8, 8), CrossNorm(channels="permuted")
    torch.manual_seed(3)
    y = unit(x)
    torch.manual_seed(3)
    samples, channels = torch.randperm(6), torch.randperm(5)
    mean, deviation = (value[samples][:, channels][:, :, None, None] for value in moments(x))
    own_mean, own_deviation = (value[:, :, None, None] for value in moments(x))
    expected = (x - own_mean) / (own_deviation**2 + 1e-5).sqrt() * (deviation**2 + 1e-5).sqrt() + mean
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(sppkit.UsageError, match="--add-on-kw channels means nothing with instances=1"):
        build_spec("bn-relu-conv", {"depth": 50, "add_on": "crossnorm", "add_on_kw": "instances=1,channels=permuted"})


def test_crossnorm_leaves_both_statistics_as_they_were() -> None:
    x = signal(16, 5, 12, 12)
    before, after = channel_statistics(x), channel_statistics(CrossNorm()(x))
    assert after[0] == pytest.approx(before[0], rel=1e-12)
    assert after[1] == pytest.approx(before[1], rel=1e-4)  # epsilon


def test_crossnorm_leaves_the_curves_of_a_network_as_they_were() -> None:
    x = torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    options = {"stages": (4, 4), "width": 0.25}
    plain = sppkit.measure(sppkit.build_model("bn-relu-conv", **options), x)
    swapped = sppkit.measure(sppkit.build_model("bn-relu-conv", add_on="crossnorm@post", **options), x)
    first = ["channel_squared_mean", "channel_variance"]
    # The first block's statistics are only permuted; further on ReLU sees other maps with the same statistics.
    assert swapped.loc[1, first].to_list() == pytest.approx(plain.loc[1, first].to_list(), rel=1e-4)
    for column in [*first, "residual_variance"]:
        assert swapped[column][1:].to_list() == pytest.approx(plain[column][1:].to_list(), rel=0.05)


def test_crossnorm_with_itself_changes_nothing() -> None:
    x = signal(1, 5, 8, 8)
    torch.testing.assert_close(CrossNorm()(x), x, rtol=1e-12, atol=1e-12)


def test_crossnorm_does_nothing_in_eval_mode_or_when_inactive() -> None:
    x, unit = signal(4, 5, 8, 8), CrossNorm(crop="both")
    unit.active = False
    assert unit(x) is x
    unit.active = True
    assert unit.eval()(x) is x


@pytest.mark.parametrize("crop", ["style", "content", "both"])
def test_cropped_crossnorm(crop: str) -> None:
    x, unit = signal(6, 5, 9, 12), CrossNorm(crop=crop)
    torch.manual_seed(5)
    y = unit(x)
    torch.manual_seed(5)
    order = torch.randperm(6)
    style = draw_box(9, 12) if crop in {"style", "both"} else (slice(None), slice(None))
    content = draw_box(9, 12) if crop in {"content", "both"} else (slice(None), slice(None))
    inside = torch.zeros(9, 12, dtype=torch.bool)
    inside[content] = True
    mean, deviation = moments(y[:, :, content[0], content[1]])
    wanted_mean, wanted_deviation = moments(x[:, :, style[0], style[1]])
    torch.testing.assert_close(mean, wanted_mean[order], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(deviation, wanted_deviation[order], rtol=1e-2, atol=0)
    assert torch.equal(y[:, :, ~inside], x[:, :, ~inside])


def test_boxes_cover_more_than_a_tenth_and_reach_everywhere() -> None:
    covered = torch.zeros(7, 5)
    for _ in range(500):
        rows, columns = draw_box(7, 5)
        assert (rows.stop - rows.start) * (columns.stop - columns.start) > 3.5
        covered[rows, columns] += 1
    assert (covered > 0).all()
    for _ in range(100):  # a ninth of the map is enough for the published code, and has no deviation
        rows, columns = draw_box(3, 3)
        assert (rows.stop - rows.start) * (columns.stop - columns.start) > 1
    with pytest.raises(ValueError, match="a map of 2×8 is too small to crop; it must be at least 3×3"):
        draw_box(2, 8)


@pytest.mark.parametrize("crop", ["neither", "style", "content", "both"])
def test_where_nothing_can_be_cropped_nothing_is_swapped_and_a_run_says_so(crop: str) -> None:
    x = signal(4, 3, 2, 2)
    assert torch.equal(CrossNorm(crop=crop).train()(x), x) == (crop != "neither")
    options = {"arch": "bn-relu-conv", "stages": (1, 1, 1, 1), "width": 0.125, "batch_size": 4, "image_size": 64}
    small = run(resolve_config({**options, "add_on": "crossnorm@post", "add_on_kw": f"crop={crop}"}))
    told = [text for text in small.warnings if text.startswith("CrossNorm swaps nothing on maps below 3×3")]
    assert len(told) == (crop != "neither")
    assert not any("CrossNorm" in text for text in run(resolve_config({**options, "add_on": "selfnorm"})).warnings)


def test_units_are_activated_before_a_step() -> None:
    model = sppkit.build_model("bn-relu-conv", add_on="crossnorm", stages=(3, 3), width=0.125)
    units = [module for module in model.modules() if isinstance(module, CrossNorm)]
    assert sum(unit.active for unit in units) == 6
    counts = [activate(model, 2, 0.5) for _ in range(200)]
    assert set(counts) == {0, 2}
    assert 70 < counts.count(2) < 130
    activate(model, 2, 1.0)
    assert sum(unit.active for unit in units) == 2
    with pytest.raises(sppkit.UsageError, match="7 CrossNorm units can't be active: the model has 6"):
        activate(model, 7)


def twin(x: Tensor, module: SelfNorm) -> Tensor:
    mean, deviation = moments(x)
    deviation = (deviation.square() + 1e-12).sqrt()

    def gate(part: nn.Module) -> Tensor:
        z = mean * part.weight[:, 0] + deviation * part.weight[:, 1]
        z = (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()
        return torch.sigmoid(z * part.norm.weight + part.norm.bias)[:, :, None, None]

    g, centre = gate(module.g), mean[:, :, None, None]
    return g * x if module.f is None else g * (x - centre) + gate(module.f) * centre


@pytest.mark.parametrize("gates", [1, 2])
def test_selfnorm_is_its_formula(gates: int) -> None:
    module, x = SelfNorm(5, gates).double(), signal(6, 5, 4, 4)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    torch.testing.assert_close(module(x), twin(x, module), rtol=1e-12, atol=1e-12)


def test_one_gate_scales_and_two_gates_keep_the_shape_of_a_map() -> None:
    x = signal(6, 5, 4, 4)
    ratio = SelfNorm(5).double()(x) / x
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio))
    y = SelfNorm(5, gates=2).double()(x)

    def shape(value: Tensor) -> Tensor:
        return (value - value.mean((2, 3), keepdim=True)) / value.std((2, 3), keepdim=True)

    torch.testing.assert_close(shape(y), shape(x))


def test_gates_start_as_the_sigmoid_of_a_unit_normal() -> None:
    model = sppkit.build_model("bn-relu-conv", add_on="selfnorm@residual", stages=(1,), width=1)
    gates = []
    model.blocks[0].selfnorm.g.register_forward_hook(lambda *args: gates.append(args[2].detach()))
    model(torch.randn(64, 3, 32, 32))
    # 64 x 256 gates, normalized over the 64.
    assert float(gates[0].mean()) == pytest.approx(0.5, abs=0.01)
    assert float(gates[0].square().mean()) == pytest.approx(GATE, abs=0.01)


def test_gate_weights_have_streams_of_their_own() -> None:
    state = sppkit.build_model("bn-relu-conv", add_on="selfnorm@post", stages=(1,), width=0.125, seed=5).state_dict()
    name = "blocks.0.selfnorm.g.weight"
    drawn = torch.from_numpy(keyed_generator(5, name).random((32, 2), dtype="float32"))
    torch.testing.assert_close(state[name], (2 * drawn - 1) / math.sqrt(2))
    assert not any(
        "selfnorm" in key for key in sppkit.build_model("bn-relu-conv", stages=(1,), width=0.125).state_dict()
    )


def curves(add_on: str | None, **options: object) -> dict[str, list[float]]:
    """Twelve blocks without borders."""
    model = sppkit.build_model(
        "bn-relu-conv", add_on=add_on, stages=(12,), width=0.5, stem="cifar", padding="circular", **options
    )
    x = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return sppkit.measure(model, x).to_dict("list")


def test_gates_at_the_end_of_the_branch_shrink_every_branch_alike() -> None:
    # Filters of zero mean leave channels of zero mean, of which a gate keeps E g². 128 channels: 2 % of it.
    centred = curves("selfnorm@residual", weights="scaled-ws")
    assert sum(centred["residual_variance"][1:]) / 12 == pytest.approx(GATE * BRANCH, rel=0.02)
    growth = (centred["channel_variance"][-1] - centred["channel_variance"][1]) / 11
    assert growth == pytest.approx(GATE * BRANCH, rel=0.03)
    # A channel with a mean of square 1/π varies by the variance of its gate as well.
    table = curves("selfnorm@residual")
    assert sum(table["residual_variance"][1:]) / 12 == pytest.approx(GATE * BRANCH + (GATE - 0.25) / math.pi, rel=0.03)


def test_gates_on_the_skip_connection_let_the_stream_forget() -> None:
    # The fixed point of v = GATE v + BRANCH.
    stream = curves("selfnorm@identity", weights="scaled-ws")["channel_variance"]
    assert stream[-1] == pytest.approx(BRANCH / (1 - GATE), rel=0.02)


def test_gates_behind_the_addition_collapse_the_stream() -> None:
    # The fixed point of v = GATE (v + BRANCH), to which the samples' different gates add.
    fixed = GATE * BRANCH / (1 - GATE)
    assert fixed == pytest.approx(0.283, abs=1e-3)
    assert fixed < curves("selfnorm@post", weights="scaled-ws")["channel_variance"][-1] < 1.3 * fixed
    assert fixed < curves("selfnorm@post")["channel_variance"][-1] < 2 * fixed


def test_gates_before_a_normalized_branch_change_little() -> None:
    plain, gated = curves(None), curves("selfnorm@pre")
    assert gated["channel_variance"][1:] == pytest.approx(plain["channel_variance"][1:], rel=0.08)


def test_the_skip_connection_keeps_what_the_branch_sees_changed() -> None:
    model = sppkit.build_model("bn-relu-conv", add_on="selfnorm@pre", stages=(2,), width=0.125, skip_gain=0)
    x = torch.randn(4, 32, 8, 8)
    assert torch.equal(model.blocks[1](x), x)
    first, seen = model.blocks[0], []
    first.conv0.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    first.shortcut.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    first(torch.randn(4, 8, 8, 8))
    prepared, gated = seen  # the shortcut runs first
    assert (prepared - gated).abs().max() > 0.1
    assert (gated != 0).sum() == (prepared != 0).sum()


CASES = {
    "post": {"add_on": "crossnorm+selfnorm", "add_on_kw": "gates=2,crop=both"},
    "apart": {"add_on": "selfnorm@pre+crossnorm@identity", "add_on_kw": "instances=1"},
    "half": {"add_on": "crossnorm@residual+selfnorm@residual", "dtype": "bfloat16"},
    "eval": {"add_on": "crossnorm@pre+selfnorm@post", "mode": "eval", "warmup": 2},
    "nf": {"arch": "nf-resnet", "add_on": "selfnorm@residual"},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_streaming_and_counts(case: dict, tmp_path: Path) -> None:
    options = {"arch": "bn-relu-conv", "stages": (3, 2), "width": 0.125, "image_size": 64, "batch_size": 4, **case}
    for streaming in ("on", "off"):
        result = run(resolve_config({**options, "streaming": streaming}))
        write_csv(result.table, tmp_path / f"{streaming}.csv")
        assert result.table["nonfinite"].sum() == 0
        assert result.record["expected"] == {"residual_variance": None}
    assert (tmp_path / "on.csv").read_bytes() == (tmp_path / "off.csv").read_bytes()
    model = {key: options[key] for key in ("stages", "width", "add_on", "add_on_kw") if key in options}
    parameters = sum(p.numel() for p in sppkit.build_model(options["arch"], **model).parameters())
    assert count_parameters(build_spec(options["arch"], model)) == parameters


def test_names_are_written_in_one_way() -> None:
    spec = build_spec("bn-relu-conv", {"depth": 50, "add_on": "selfnorm @post + crossnorm"})
    assert spec.add_on == "crossnorm@post+selfnorm@post"


REFUSED = {
    "name": ({"add_on": "selfnrm"}, "unknown add-on 'selfnrm'; did you mean 'selfnorm'"),
    "place": ({"add_on": "selfnorm@residul"}, "unknown place in --add-on 'residul'; did you mean 'residual'"),
    "twice": ({"add_on": "selfnorm@pre+selfnorm@post"}, "--add-on gives selfnorm twice"),
    "setting": (
        {"add_on": "selfnorm", "add_on_kw": "crop=both"},
        "--add-on-kw crop means nothing for --add-on selfnorm@",
    ),
    "no add-on": ({"add_on_kw": "gates=2"}, r"--add-on-kw gates means nothing for --add-on \(none\); known: instances"),
    "gates": ({"add_on": "selfnorm", "add_on_kw": "gates=3"}, "--add-on-kw gates must be a whole number from 1 to 2"),
    "bkn": ({"add_on": "selfnorm", "norm": "bkn"}, "leave out --add-on"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refused(case: tuple[dict, str]) -> None:
    given, message = case
    with pytest.raises(sppkit.UsageError, match=message):
        build_spec("bn-relu-conv", {"depth": 50, **given})


@pytest.mark.parametrize(
    ("add_on", "samples", "size", "message"),
    [
        ("selfnorm@post", 1, 32, "SelfNorm in train mode compares samples: a batch of 1 is too small"),
        ("selfnorm@post", 4, 1, "a map of 1×1 has no standard deviation over space"),
        ("crossnorm@post", 4, 1, "a map of 1×1 has no standard deviation over space"),
    ],
)
def test_what_has_no_statistics_is_refused(add_on: str, samples: int, size: int, message: str) -> None:
    model = sppkit.build_model("bn-relu-conv", add_on=add_on, stages=(1,), width=0.125, stem="cifar")
    with pytest.raises(sppkit.MeasurementError, match=f"the forward pass failed before|after .*{message}"):
        sppkit.measure(model, torch.randn(samples, 3, size, size))


@pytest.mark.parametrize("crop", ["neither", "both"])
def test_crossnorm_on_the_images_is_the_network_of_restyled_images(crop: str) -> None:
    options = {"stages": (2, 1), "width": 0.25}
    model = sppkit.build_model("bn-relu-conv", add_on="crossnorm@input", add_on_kw=f"crop={crop}", **options).double()
    plain = sppkit.build_model("bn-relu-conv", **options).double()
    x = signal(6, 3, 32, 24)
    torch.manual_seed(7)
    found = model(x)
    torch.manual_seed(7)
    order = torch.randperm(6)
    style = draw_box(32, 24) if crop == "both" else (slice(None), slice(None))
    content = draw_box(32, 24) if crop == "both" else (slice(None), slice(None))

    def of(part: tuple[slice, slice]) -> tuple[Tensor, Tensor]:
        seen = x[:, :, part[0], part[1]].flatten(2)
        return seen.mean(2)[..., None, None], (seen.var(2, correction=1) + 1e-5).sqrt()[..., None, None]

    (mean, deviation), (other_mean, other_deviation) = of(content), (value[order] for value in of(style))
    restyled = x.clone()
    restyled[:, :, content[0], content[1]] = (x[:, :, content[0], content[1]] - mean) / deviation
    restyled[:, :, content[0], content[1]] *= other_deviation
    restyled[:, :, content[0], content[1]] += other_mean
    torch.testing.assert_close(found, plain(restyled), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model.eval()(x), plain.eval()(x))


def test_crossnorm_on_images_and_gates_inside_together(tmp_path: Path) -> None:
    options = {"arch": "bn-relu-conv", "stages": (2, 1), "width": 0.125, "image_size": 32, "batch_size": 4}
    for streaming in ("on", "off"):
        result = run(resolve_config({**options, "add_on": "crossnorm@input+selfnorm", "streaming": streaming}))
        write_csv(result.table, tmp_path / f"{streaming}.csv")
    assert (tmp_path / "on.csv").read_bytes() == (tmp_path / "off.csv").read_bytes()
    # A crop of the images has nothing to do with small maps inside.
    cropped = run(resolve_config({**options, "add_on": "crossnorm@input", "add_on_kw": "crop=both"}))
    assert not any("CrossNorm" in text for text in cropped.warnings)
    with pytest.raises(
        sppkit.UsageError, match="--add-on selfnorm@input means nothing: on the images stands crossnorm"
    ):
        build_spec("bn-relu-conv", {"depth": 50, "add_on": "selfnorm@input"})
    build_spec("bn-relu-conv", {"stages": (1, 1), "norm": "ibn-b", "add_on": "crossnorm@input"})

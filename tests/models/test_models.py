"""The named architectures against their written definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import sppkit
from sppkit.models.layout import stage_layout
from sppkit.models.memory import check_fits, count_parameters
from sppkit.models.outline import outline
from sppkit.models.spec import build_spec, non_default

ARCHITECTURES = ["bn-relu-conv", "relu-bn-conv", "nf-resnet", "he-resnet"]

LAYOUTS = {
    12: (1, 1, 1, 1),
    15: (1, 1, 2, 1),
    18: (1, 2, 2, 1),
    21: (1, 2, 2, 2),
    24: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    51: (4, 4, 5, 4),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
    288: (24, 24, 24, 24),
    600: (50, 50, 50, 50),
    6001: (500, 500, 500, 500),
}


@pytest.mark.parametrize(("depth", "stages"), LAYOUTS.items())
def test_layout_of_a_depth(depth: int, stages: tuple[int, ...]) -> None:
    assert stage_layout(depth) == stages


@pytest.mark.parametrize(
    ("depth", "stages"), {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 8: (1, 1, 1, 1), 50: (6, 6, 7, 6)}.items()
)
def test_layout_of_the_basic_block(depth: int, stages: tuple[int, ...]) -> None:
    assert stage_layout(depth, "basic") == stages


def bottleneck_twin(
    state: dict[str, Tensor], x: Tensor, stages: tuple[int, ...], kind: str, alpha: float
) -> list[Tensor]:
    """The networks of the paper, written out once more: outputs and branches of every block, in float64."""
    state = {name: value.double() for name, value in state.items()}
    gain = math.sqrt(2 / (1 - 1 / math.pi)) if kind == "nf-resnet" else 1.0

    def weight(name: str) -> Tensor:
        w = state[f"{name}.weight"]
        if kind != "nf-resnet":
            return w
        fan_in = w[0].numel()
        flat = w.flatten(1)
        centred = flat - flat.mean(1, keepdim=True)
        return (centred / torch.sqrt(fan_in * flat.var(1, correction=0, keepdim=True))).view_as(w)

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        w = weight(name)
        return functional.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2)

    def norm(x: Tensor) -> Tensor:
        mean = x.mean((0, 2, 3), keepdim=True)
        return (x - mean) / torch.sqrt(x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5)

    def prepare(x: Tensor, beta: float = 1.0) -> Tensor:
        if kind == "bn-relu-conv":
            return torch.relu(norm(x))
        if kind == "relu-bn-conv":
            return norm(torch.relu(x))
        return gain * torch.relu(x) / beta

    x = functional.max_pool2d(conv("stem", x.double(), 2), 3, 2, 1)
    seen, block, expected = [x], 0, 1.0
    for stage, blocks in enumerate(stages):
        for position in range(blocks):
            stride = 2 if stage > 0 and position == 0 else 1
            a = prepare(x, math.sqrt(expected) if kind == "nf-resnet" else 1.0)
            shortcut = conv(f"blocks.{block}.shortcut", a, stride) if position == 0 else x
            h = conv(f"blocks.{block}.conv0", a)
            h = conv(f"blocks.{block}.conv1", prepare(h), stride)
            h = conv(f"blocks.{block}.conv2", prepare(h))
            x = shortcut + alpha * h
            expected = (1.0 if position == 0 else expected) + alpha**2
            seen += [h, x]
            block += 1
    return seen


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_network_equals_its_definition(kind: str) -> None:
    stages = (2, 1, 2)
    model = sppkit.build_model(kind, stages=stages, width=0.125)
    x = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    alpha = 0.2 if kind == "nf-resnet" else 1.0
    seen = bottleneck_twin(model.state_dict(), x, stages, kind, alpha)
    table = sppkit.measure(model, x, mode="train")
    twin_branches, twin_outputs = seen[1::2], [seen[0], *seen[2::2]]
    for row, output in zip(table.itertuples(), twin_outputs, strict=True):
        # float32 against float64 through five blocks.
        assert row.channel_variance == pytest.approx(float(output.var((0, 2, 3), correction=0).mean()), rel=2e-5)
        squared_mean = float(output.mean((0, 2, 3)).square().mean())
        assert row.channel_squared_mean == pytest.approx(squared_mean, rel=2e-4, abs=1e-9)
        assert (row.channels, row.height, row.width) == tuple(output.shape[1:])
    for measured, branch in zip(table["residual_variance"][1:], twin_branches, strict=True):
        assert measured == pytest.approx(float(branch.var((0, 2, 3), correction=0).mean()), rel=2e-5)


def test_squeeze_excite_stochastic_depth_and_skip_gain_do_what_they_say() -> None:
    options = {"stages": (1, 2), "width": 0.125, "se": True}
    plain = sppkit.build_model("nf-resnet", **options)
    scaled = sppkit.build_model("nf-resnet", skip_gain=0.5, **options)
    x = torch.randn(4, 3, 32, 32)
    block = plain.blocks[0]
    branch = []
    block.se.register_forward_hook(lambda module, inputs, output: branch.append((inputs[0], output)))
    h = plain.stem_pool(plain.stem(x))
    full, half = block(h), scaled.blocks[0](h)
    before, after = branch[0]
    pooled = before.mean((2, 3))
    se = block.se
    gate = torch.sigmoid(torch.relu(pooled @ se.fc0.weight.T) @ se.fc1.weight.T)
    torch.testing.assert_close(after, 2 * gate[:, :, None, None] * before)
    torch.testing.assert_close(full - half, 0.5 * 0.2 * after)
    assert se.fc0.weight.shape == (8, 32)


def test_squeeze_excite_has_no_factor_two_outside_nf_networks() -> None:
    model = sppkit.build_model("bn-relu-conv", stages=(1,), width=0.125, se=True)
    assert model.blocks[0].se.factor == 1
    assert sppkit.build_model("nf-resnet", stages=(1,), width=0.125, se=True).blocks[0].se.factor == 2


def test_stochastic_depth_drops_whole_samples_in_train_mode_only() -> None:
    model = sppkit.build_model("nf-resnet", stages=(4,), width=0.125, stochastic_depth=1.0)
    rates = [getattr(block.stochastic_depth, "rate", 0.0) for block in model.blocks]
    assert rates == [0, 0.25, 0.5, 0.75]
    layer = model.blocks[2].stochastic_depth
    x = torch.ones(2000, 2, 1, 1)
    kept = layer(x)[:, :, 0, 0]
    assert set(kept.unique().tolist()) == {0, 1}
    assert (kept[:, 0] == kept[:, 1]).all()
    assert float(kept.mean()) == pytest.approx(0.5, abs=0.05)
    layer.eval()
    assert layer(x) is x


NAMES = {
    *("stem.weight", "blocks.0.shortcut.weight", "blocks.0.conv0.weight", "blocks.0.conv1.weight"),
    *("blocks.0.conv2.weight", "blocks.0.skip_gain", "blocks.0.norm0.weight", "blocks.0.norm2.running_mean"),
    *("blocks.1.conv0.weight", "blocks.1.se.fc0.weight", "blocks.1.se.fc0.bias", "blocks.1.se.fc1.weight"),
    "blocks.1.se.fc1.bias",
}


def test_parameter_names_are_the_contract() -> None:
    state = sppkit.build_model("bn-relu-conv", stages=(2, 1), width=0.125, se=True).state_dict()
    assert state.keys() >= NAMES
    assert "blocks.1.shortcut.weight" not in state
    assert "blocks.2.shortcut.weight" in state
    assert state["blocks.0.skip_gain"].shape == ()
    nf = sppkit.build_model("nf-resnet", stages=(1,), width=0.125).state_dict()
    assert {"stem.gain", "stem.bias", "blocks.0.conv1.gain", "blocks.0.conv1.bias"} <= nf.keys()
    assert not any("norm" in name for name in nf)


def test_same_block_has_the_same_weights_in_every_variant_and_depth() -> None:
    one = sppkit.build_model("bn-relu-conv", stages=(1, 1), width=0.125, seed=3).state_dict()
    other = sppkit.build_model("he-resnet", stages=(1, 1), width=0.125, seed=3, se=True).state_dict()
    nf = sppkit.build_model("nf-resnet", stages=(1, 1), width=0.125, seed=3).state_dict()
    name = "blocks.1.conv1.weight"
    assert torch.equal(one[name], other[name])
    torch.testing.assert_close(one[name], nf[name] * 2**0.5)
    fresh = sppkit.build_model("bn-relu-conv", stages=(1, 1), width=0.125, seed=4).state_dict()
    assert not torch.equal(one[name], fresh[name])


def filters(weights: str, **options: object) -> tuple[Tensor, Tensor]:
    model = sppkit.build_model("bn-relu-conv", stages=(1,), width=0.5, weights=weights, **options)
    conv = model.blocks[0].conv1
    return conv.weight.detach(), conv.effective_weight().detach()


@pytest.mark.parametrize(("init", "c"), [("he", 2), ("lecun", 1)])
def test_weight_parametrizations(init: str, c: int) -> None:
    raw, plain = filters("none", init=init)
    fan_in = raw[0].numel()
    assert torch.equal(raw, plain)
    # 9216 numbers: the variance of their variance is 2/9216.
    assert float(raw.var()) == pytest.approx(c / fan_in, rel=0.06)
    _, centred = filters("centered-ws", init=init)
    torch.testing.assert_close(centred, raw - raw.mean((1, 2, 3), keepdim=True))
    _, standard = filters("ws", init=init)
    deviation = raw.flatten(1).std(1).view(-1, 1, 1, 1)
    torch.testing.assert_close(standard, (raw - raw.mean((1, 2, 3), keepdim=True)) / (deviation + 1e-5))
    _, scaled = filters("scaled-ws", init=init)
    assert scaled.sum((1, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(scaled.square().sum((1, 2, 3)), torch.full((32,), float(c)))


def test_parametrized_weights_have_gradients_and_the_network_trains() -> None:
    model = sppkit.build_model("nf-resnet", stages=(1, 1), width=0.125, activation="silu", se=True)
    model(torch.randn(2, 3, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_gain_and_beta_stand_behind_the_activation() -> None:
    model = sppkit.build_model("nf-resnet", stages=(3,), width=0.125, alpha=1.0, gain=1.5)
    assert [round(block.activation0.scale, 6) for block in model.blocks] == [
        round(1.5 / math.sqrt(variance), 6) for variance in (1, 2, 3)
    ]
    assert {block.activation1.scale for block in model.blocks} == {1.5}


def test_a_callable_may_be_the_activation() -> None:
    model = sppkit.build_model("nf-resnet", stages=(1,), width=0.125, activation=torch.nn.functional.silu)
    named = sppkit.build_model("nf-resnet", stages=(1,), width=0.125, activation="silu")
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(x), named(x))


DEFAULTS = {
    "bn-relu-conv": ("none", "he", 1.0, "bn"),
    "relu-bn-conv": ("none", "lecun", 1.0, "bn"),
    "nf-resnet": ("scaled-ws", "lecun", "exact", "none"),
    "he-resnet": ("none", "he", 1.0, "none"),
}


@pytest.mark.parametrize(("arch", "expected"), DEFAULTS.items())
def test_defaults_of_the_architectures(arch: str, expected: tuple[object, ...]) -> None:
    spec = build_spec(arch, {"depth": 50})
    assert (spec.weights, spec.init, spec.gain, spec.norm) == expected


def test_nf_resnet_without_weight_standardization_takes_he_and_gain_one() -> None:
    spec = build_spec("nf-resnet", {"depth": 50, "weights": "none"})
    assert (spec.init, spec.gain, spec.alpha) == ("he", 1.0, 0.2)
    assert build_spec("nf-resnet", {"depth": 50, "weights": "none", "init": "lecun", "gain": 2}).gain == 2


def test_he_resnet_is_bn_relu_conv_without_its_normalizer() -> None:
    x = torch.randn(2, 3, 32, 32)
    he = sppkit.build_model("he-resnet", stages=(1, 1), width=0.125)
    bare = sppkit.build_model("bn-relu-conv", stages=(1, 1), width=0.125, norm="none")
    assert torch.equal(he(x), bare(x))


STEMS = {"imagenet": 16, "no-pool": 32, "cifar": 64}


@pytest.mark.parametrize(("stem", "size"), STEMS.items())
def test_stems(stem: str, size: int) -> None:
    model = sppkit.build_model("nf-resnet", stages=(1,), width=0.125, stem=stem)
    table = sppkit.measure(model, torch.randn(2, 3, 64, 64))
    assert table["height"].tolist() == [size, size]
    assert model.stem.kernel_size == ((3, 3) if stem == "cifar" else (7, 7))


def test_basic_block_widths_and_stride() -> None:
    model = sppkit.build_model("bn-relu-conv", block="basic", depth=18, width=0.5)
    table = sppkit.measure(model, torch.randn(2, 3, 64, 64))
    assert table["channels"].tolist() == [32, 32, 32, 64, 64, 128, 128, 256, 256]
    assert table["height"].tolist() == [16, 16, 16, 8, 8, 4, 4, 2, 2]
    assert model.blocks[2].conv0.stride == (2, 2)
    assert not hasattr(model.blocks[0], "conv2")


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("block", ["bottleneck", "basic"])
def test_counted_parameters_are_those_of_the_built_network(arch: str, block: str) -> None:
    given = {"stages": (3, 1, 4), "width": 0.125, "se": True, "block": block}
    model = sppkit.build_model(arch, **given)
    assert count_parameters(build_spec(arch, given)) == sum(p.numel() for p in model.parameters())


def test_resnet_50_has_its_published_size() -> None:
    # He et al.'s ResNet-50 has 25,557,032 parameters: 23,508,032 without its classifier, of which 53,120 belong to
    # BatchNorm. Ours has the same convolutions and other normalizers: compare the convolutions.
    model = sppkit.build_model("he-resnet", depth=50)
    convolutions = sum(p.numel() for p in model.parameters() if p.ndim == 4)
    assert convolutions == 23_508_032 - 53_120


def test_outline_names_the_modules_that_are_read() -> None:
    spec = build_spec("nf-resnet", {"depth": 50})
    every = outline(spec, every=True)
    assert len(every) == 17
    assert [row.stage for row in every] == [0] + [1] * 3 + [2] * 4 + [3] * 6 + [4] * 3
    folded = outline(spec)
    assert [(row.first, row.last) for row in folded] == [
        (0, 0), (1, 1), (2, 3), (4, 4), (5, 7), (8, 8), (9, 13), (14, 14), (15, 16),
    ]  # fmt: skip
    assert folded[2].cells()[-1] == "blocks.1..2.residual"


def test_file_names_carry_what_changes_the_network() -> None:
    given = {"depth": 50, "alpha": 1.0, "width": 1.0, "weights": "scaled-ws", "se": True}
    assert non_default("nf-resnet", given) == {"alpha": 1.0, "se": True}


REFUSED = {
    "unknown architecture": ("nf-resnt", {"depth": 50}, r"unknown architecture 'nf-resnt'; did you mean 'nf-resnet'"),
    "no architecture": ("", {"depth": 50}, "which network"),
    "no size": ("nf-resnet", {}, "how deep"),
    "two sizes": ("nf-resnet", {"depth": 50, "stages": (1, 1)}, "both say how many blocks"),
    "too shallow": ("nf-resnet", {"depth": 3}, "--depth must be at least 12"),
    "no depth": ("nf-resnet", {"depth": "deep"}, "--depth must be a whole number from 1 to 3000000, not 'deep'"),
    "no width": (
        "nf-resnet",
        {"depth": 50, "width": 0},
        "--width must be a number of more than 0 and at most 1000, not 0",
    ),
    "nan width": (
        "nf-resnet",
        {"depth": 50, "width": float("nan")},
        "--width must be a number of more than 0 and at most 1000, not nan",
    ),
    "no channel": ("nf-resnet", {"depth": 50, "width": 0.001}, "leaves no channel"),
    "stages": (
        "nf-resnet",
        {"stages": "3,x"},
        "--stages must be 1 to 10 whole numbers .* with commas between, as in 3,4,6,3",
    ),
    "empty stage": ("nf-resnet", {"stages": (3, 0)}, "--stages must be 1 to 10 whole numbers .*, not .3, 0."),
    "norm of nf": ("nf-resnet", {"depth": 50, "norm": "bn"}, "--norm means nothing for nf-resnet"),
    "alpha of bn": ("bn-relu-conv", {"depth": 50, "alpha": 1}, "--alpha means nothing for bn-relu-conv"),
    "drop of he": ("he-resnet", {"depth": 50, "stochastic_depth": 0.1}, "--stochastic-depth means nothing"),
    "drop rate": (
        "nf-resnet",
        {"depth": 50, "stochastic_depth": 1.5},
        "--stochastic-depth must be a number from 0 to 1, not 1.5",
    ),
    "norm": ("bn-relu-conv", {"depth": 50, "norm": "bm"}, "unknown normalizer 'bm'; did you mean 'bn'"),
    "activation": ("nf-resnet", {"depth": 50, "activation": "rleu"}, "did you mean 'relu'"),
    "weights": ("nf-resnet", {"depth": 50, "weights": "scaled_ws"}, "did you mean 'scaled-ws'"),
    "gain": ("nf-resnet", {"depth": 50, "gain": "big"}, "--gain must be 'exact' or a number"),
    "se": ("nf-resnet", {"depth": 50, "se": "yes"}, "--se must be true or false"),
    "unknown option": ("nf-resnet", {"depht": 50}, "unknown option 'depht'; did you mean 'depth'"),
}


@pytest.mark.parametrize(("arch", "given", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals_are_clear(arch: str, given: dict, message: str) -> None:
    with pytest.raises(sppkit.UsageError, match=message):
        sppkit.build_model(arch, **given)


def test_a_network_that_cannot_fit_is_refused_before_it_is_built() -> None:
    with pytest.raises(sppkit.DoesNotFitError, match=r"needs about \d+\.\d GiB for its weights"):
        sppkit.build_model("nf-resnet", depth=600_000)
    with pytest.raises(sppkit.DoesNotFitError, match=r"GiB for its activations"):
        check_fits(build_spec("nf-resnet", {"depth": 12}), (100_000, 3, 224, 224))

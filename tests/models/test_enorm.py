"""Equi-normalization: the same function, smaller weights, one fixed point."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

import sppkit
from sppkit.models.junctions import Junction, find_junctions


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(7, 11), nn.ReLU(), nn.Linear(11, 5), nn.LeakyReLU(), nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 3)
    ).double()


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(6, 4, 3), nn.ReLU(), nn.AvgPool2d(2)),
        nn.Flatten(),
        nn.Linear(4, 10),
        nn.ReLU(),
        nn.Linear(10, 2),
    ).double()


def flattened() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 5), nn.ReLU(), nn.Linear(5, 2)
    ).double()


def normalized() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(4, 2, 1)).double()


def scrambled(model: nn.Module) -> nn.Module:
    """Every parameter multiplied by numbers over three orders of magnitude."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim:
                scale = torch.exp(2 * torch.randn(parameter.shape[:1], dtype=parameter.dtype))
                parameter.mul_(scale.view(-1, *[1] * (parameter.ndim - 1))).add_(0.01)
    return model


NETWORKS = {
    "mlp": (mlp, (4, 7)),
    "conv": (convolutional, (4, 3, 8, 8)),
    "flattened": (flattened, (4, 3, 8, 8)),
    "bn": (normalized, (4, 3, 8, 8)),
}
NAMED = {
    "no normalizer": {"arch": "he-resnet"},
    "one block a stage": {"arch": "he-resnet", "stages": (1, 1)},
    "basic block, leaky": {"arch": "he-resnet", "block": "basic", "activation": "leaky_relu"},
    "nf": {"arch": "nf-resnet", "weights": "none"},
    "bn": {"arch": "bn-relu-conv"},
    "bn, se": {"arch": "bn-relu-conv", "se": True},
    "gn": {"arch": "bn-relu-conv", "norm": "gn"},
    "after silu": {"arch": "relu-bn-conv", "activation": "silu"},
}


def build(options: dict) -> nn.Module:
    torch.manual_seed(1)
    return scrambled(sppkit.build_model(**{"stages": (2, 3, 1), "width": 0.125, "skip_gain": 0.5, **options}).double())


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_is_the_same(name: str, mode: str) -> None:
    build_network, shape = NETWORKS[name]
    model = scrambled(build_network()).train(mode == "train")
    x = torch.randn(*shape, dtype=torch.float64)
    expected = model(x)
    halfway = copy.deepcopy(model)
    assert not sppkit.equi_normalize(halfway, cycles=1).converged
    balance = sppkit.equi_normalize(model)
    for changed in (halfway, model):
        assert (changed(x) - expected).norm() / expected.norm() < 1e-10
    assert balance.converged
    assert balance.gap > 0.5


@pytest.mark.parametrize("options", NAMED.values(), ids=NAMED)
def test_the_function_of_a_named_architecture_is_the_same(options: dict) -> None:
    model = build(options)
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    expected = model(x)
    balance = sppkit.equi_normalize(model)
    assert (model(x) - expected).norm() / expected.norm() < 1e-10
    assert balance.converged
    assert balance.after < balance.before
    again = sppkit.equi_normalize(model)
    assert (again.cycles, again.dead) == (1, 0)
    assert again.gap == pytest.approx(0, abs=1e-12)


def rescale(junctions: list[Junction]) -> None:
    """Another member of the same class, chosen at random."""
    with torch.no_grad():
        for junction in junctions:
            d = torch.exp(torch.randn(junction.writers[0].shape[0], dtype=torch.float64))
            for tensor in (*junction.writers, *junction.biases):
                tensor.mul_(d.view(-1, *[1] * (tensor.ndim - 1)))
            for tensor in junction.readers:
                tensor.div_(d.view(1, -1, *[1] * (tensor.ndim - 2)))


@pytest.mark.parametrize("case", ["mlp", "conv", "bn", "resnet"])
def test_every_member_of_the_class_ends_in_the_same_weights(case: str) -> None:
    one = build({"arch": "he-resnet"}) if case == "resnet" else scrambled(NETWORKS[case][0]())
    other = copy.deepcopy(one)
    rescale(find_junctions(other))
    for model in (one, other):
        sppkit.equi_normalize(model)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        # The sweeps stop at a step of 8 roundings; what is left to go is that over one minus the rate.
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_the_sum_of_squares_falls_in_every_sweep() -> None:
    model, sums = scrambled(mlp()), []
    for _ in range(8):
        balance = sppkit.equi_normalize(model, cycles=1)
        sums.append(balance.after)
        assert balance.after <= balance.before * (1 + 1e-12)
    assert sums == sorted(sums, reverse=True)


@pytest.mark.parametrize("c", [1.0, 1.2])
@pytest.mark.parametrize("p", [2.0, 1.0])
def test_units_are_read_c_times_as_strongly_as_they_are_written(c: float, p: float) -> None:
    model = scrambled(mlp())
    sppkit.equi_normalize(model, c=c, p=p)
    weights = [layer.weight.detach() for layer in model if isinstance(layer, nn.Linear)]
    for left, right in pairwise(weights):
        ratio = right.norm(p=p, dim=0) / left.norm(p=p, dim=1)
        torch.testing.assert_close(ratio, torch.full_like(ratio, c), rtol=1e-9, atol=0)
        assert float(right.norm(p=p) / left.norm(p=p)) == pytest.approx(c, rel=1e-9)


def test_nothing_in_the_class_is_smaller() -> None:
    model = scrambled(mlp())
    balance = sppkit.equi_normalize(model)
    for seed in range(20):
        torch.manual_seed(seed)
        other = copy.deepcopy(model)
        rescale(find_junctions(other))
        assert sum(float(p.detach().square().sum()) for p in other.parameters() if p.ndim == 2) > balance.after


def test_the_released_way_ignores_bn_and_changes_the_function() -> None:
    model = scrambled(normalized())
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    expected = model(x)
    sppkit.equi_normalize(model, junctions=find_junctions(model, batch_norm=False))
    assert (model(x) - expected).norm() / expected.norm() > 0.1


def test_the_last_pair_can_be_left_out_as_released() -> None:
    model = scrambled(mlp())
    last = model[-1].weight.clone()
    balance = sppkit.equi_normalize(model, junctions=find_junctions(model, last=False))
    assert balance.converged
    assert torch.equal(model[-1].weight, last)


def test_units_without_weights_are_left_alone_and_counted() -> None:
    model = mlp()
    with torch.no_grad():
        model[0].weight[2].zero_()
        model[4].weight[:, 3].zero_()
    x = torch.randn(4, 7, dtype=torch.float64)
    expected = model(x)
    balance = sppkit.equi_normalize(model)
    assert balance.dead == 2
    assert balance.converged
    torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-12)


def test_signs_of_all_units_stay_so_the_same_units_are_dead() -> None:
    model, x = scrambled(mlp()), torch.randn(64, 7, dtype=torch.float64)
    before = [model[: k + 1](x) > 0 for k in (0, 2, 4)]
    sppkit.equi_normalize(model)
    assert all(torch.equal(model[: k + 1](x) > 0, value) for k, value in zip((0, 2, 4), before, strict=True))


def test_option_of_the_named_architectures() -> None:
    x = torch.randn(4, 3, 32, 32)
    for arch in ("bn-relu-conv", "he-resnet"):
        plain = sppkit.build_model(arch, stages=(2, 2), width=0.125)
        balanced = sppkit.build_model(arch, stages=(2, 2), width=0.125, enorm=True)
        torch.testing.assert_close(plain(x), balanced(x), rtol=1e-3, atol=1e-4)
        assert not torch.equal(plain.blocks[1].conv1.weight, balanced.blocks[1].conv1.weight)
        assert sppkit.equi_normalize(balanced).cycles == 1


REFUSED = {
    "weights": ({"weights": "scaled-ws"}, "--weights scaled-ws gives every filter a scale of its own"),
    "gate": ({"add_on": "selfnorm"}, "a gate sees the scale of what it gates"),
    "gate on the stream": ({"norm": "none", "se": True}, "a gate sees the scale of what it gates"),
    "activation": ({"activation": "silu"}, "silu does not commute with scaling, as relu does"),
    "norm": ({"norm": "bcn"}, "bcn has not one scale for every channel"),
    "order": ({"norm": "ic", "order": "conv-relu-ic"}, "in the order conv-relu-ic no scale precedes a convolution"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_exact_is_refused(case: tuple[dict, str]) -> None:
    options, message = case
    with pytest.raises(sppkit.UsageError, match=f"--enorm can't be exact here: {message}"):
        sppkit.build_model("bn-relu-conv", depth=14, width=0.125, enorm=True, **options)


def test_refused_models() -> None:
    with pytest.raises(sppkit.UsageError, match=r"1 \(SiLU\) does not commute with scaling"):
        sppkit.equi_normalize(nn.Sequential(nn.Linear(2, 2), nn.SiLU(), nn.Linear(2, 2)))
    with pytest.raises(sppkit.UsageError, match="0 is a grouped convolution"):
        sppkit.equi_normalize(nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1)))
    with pytest.raises(sppkit.UsageError, match="Embedding is no named architecture"):
        sppkit.equi_normalize(nn.Embedding(2, 2))
    with pytest.raises(sppkit.UsageError, match="there is nothing to balance"):
        sppkit.equi_normalize(nn.Sequential(nn.Linear(2, 2)))


def test_it_can_not_be_streamed() -> None:
    from sppkit.config.resolve import resolve_config
    from sppkit.measuring.run import run

    options = {"arch": "he-resnet", "stages": (1,), "width": 0.125, "image_size": 32, "enorm": True}
    with pytest.raises(sppkit.UsageError, match="--enorm balances the weights of all layers together"):
        run(resolve_config({**options, "streaming": "on"}))
    assert run(resolve_config(options)).table["nonfinite"].sum() == 0

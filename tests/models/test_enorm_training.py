"""Equi-normalization between training steps: momentum follows the weights, as released; its settings as options."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sppkit
from sppkit.models.junctions import find_junctions
from sppkit.models.spec import build_spec


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(45, 7), nn.ReLU(), nn.Linear(7, 4)
    ).double()  # fmt: skip


X = torch.randn(6, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
Y = torch.tensor([0, 1, 2, 3, 0, 1])


def gradients(model: nn.Module) -> list[Tensor]:
    loss = nn.functional.cross_entropy(model(X), Y)
    return [gradient.clone() for gradient in torch.autograd.grad(loss, list(model.parameters()))]


OPTIMIZERS = {
    "sgd": (lambda p: torch.optim.SGD(p, 1e-9, momentum=0.9), {"momentum_buffer": 1}),
    "nesterov": (lambda p: torch.optim.SGD(p, 1e-9, momentum=0.9, nesterov=True), {"momentum_buffer": 1}),
    "adam": (lambda p: torch.optim.Adam(p, 1e-12, amsgrad=True), {"exp_avg": 1, "exp_avg_sq": 2, "max_exp_avg_sq": 2}),
    "adamw": (lambda p: torch.optim.AdamW(p, 1e-12), {"exp_avg": 1, "exp_avg_sq": 2}),
}


@pytest.mark.parametrize(("make", "powers"), OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("cycles", [1, 50])
def test_what_is_remembered_is_that_of_the_rescaled_network(make, powers: dict, cycles: int) -> None:
    model = network()
    optimizer = make(model.parameters())
    for parameter, gradient in zip(model.parameters(), gradients(model), strict=True):
        parameter.grad = gradient
    optimizer.step()
    before = [dict(optimizer.state[parameter]) for parameter in model.parameters()]
    remembered = [{name: state[name].clone() for name in powers} for state in before]
    old = gradients(model)
    assert sppkit.equi_normalize(model, cycles=cycles, c=1.2, optimizer=optimizer).cycles <= cycles
    new = gradients(model)
    # One gradient was remembered, times a number: it is to be the gradient of the network as it now is.
    for parameter, kept, was, is_now in zip(model.parameters(), remembered, old, new, strict=True):
        for name, power in powers.items():
            state = optimizer.state[parameter][name]
            torch.testing.assert_close(state * was.pow(power), kept[name] * is_now.pow(power), rtol=1e-8, atol=1e-18)
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(old, new, strict=True))


def test_one_released_cycle_by_hand() -> None:
    """Of two linear layers: d = √(r / (c l)), weights times d and over d, momentum the other way round."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.randn(5, 4, dtype=torch.float64)).square().sum().backward()
    optimizer.step()
    first, second = model[0].weight.detach().clone(), model[2].weight.detach().clone()
    momenta = [optimizer.state[model[index].weight]["momentum_buffer"].clone() for index in (0, 2)]
    d = (second.norm(dim=0) / (1.2 * first.norm(dim=1))).sqrt()
    sppkit.equi_normalize(model, cycles=1, c=1.2, optimizer=optimizer)
    torch.testing.assert_close(model[0].weight, first * d[:, None])
    torch.testing.assert_close(model[2].weight, second / d)
    left, right = (optimizer.state[model[index].weight]["momentum_buffer"] for index in (0, 2))
    torch.testing.assert_close(left, momenta[0] / d[:, None])
    torch.testing.assert_close(right, momenta[1] * d)


def test_optimizers_without_memory_and_others() -> None:
    model = network()
    sppkit.equi_normalize(model, optimizer=torch.optim.SGD(model.parameters(), 0.1))
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(
        sppkit.UsageError, match="what RMSprop remembers of gradients can't be rescaled with the weights"
    ):
        sppkit.equi_normalize(model, optimizer=torch.optim.RMSprop(model.parameters()))
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(("settings", "ratio"), [("c=1.2", 1.2), ("p=1", 1.0), ({"c": 1.1, "p": 2}, 1.1)])
def test_settings_of_the_option(settings: object, ratio: float) -> None:
    model = sppkit.build_model("he-resnet", enorm=True, enorm_kw=settings, stages=(1, 1), width=0.125)
    power = 1 if settings == "p=1" else 2
    for junction in find_junctions(model):
        written = sum(w.double().abs().pow(power).flatten(1).sum(1) for w in junction.writers) ** (1 / power)
        read = sum(w.double().abs().pow(power).transpose(0, 1).flatten(1).sum(1) for w in junction.readers)
        # Rounding of float32 weights.
        torch.testing.assert_close(read ** (1 / power) / written, torch.full_like(written, ratio), rtol=1e-4, atol=0)


def test_a_number_of_cycles() -> None:
    options = {"stages": (2, 2), "width": 0.125}
    one = sppkit.build_model("he-resnet", enorm=True, enorm_kw="cycles=1", **options)
    plain = sppkit.build_model("he-resnet", **options)
    sppkit.equi_normalize(plain, cycles=1)
    assert all(torch.equal(*pair) for pair in zip(one.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"enorm_kw": "c=1.2"}, "--enorm-kw means nothing without balancing: add --enorm"),
        ({"enorm": True, "enorm_kw": "k=2"}, "--enorm-kw k means nothing; --enorm has c, cycles, p"),
        ({"enorm": True, "enorm_kw": "c=0"}, "--enorm-kw c must be a number of more than 0"),
        ({"enorm": True, "enorm_kw": "cycles=0"}, "--enorm-kw cycles must be a whole number"),
    ],
)
def test_refused(given: dict, message: str) -> None:
    with pytest.raises(sppkit.UsageError, match=message):
        build_spec("he-resnet", {"depth": 50, **given})

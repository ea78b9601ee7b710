"""Replacing the normalizers of a model that is not ours."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

import sppkit
from sppkit.models.replace import Kept, Replaced
from sppkit.registry import NORMALIZERS

EVERYWHERE = sorted(name for name, entry in NORMALIZERS.items() if entry.everywhere)


class Users(nn.Module):
    """A model with a branch, a shared normalizer, and some that are not for maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12, eps=1e-3, momentum=0.2))
        shared = nn.GroupNorm(4, 12)
        self.branch = nn.ModuleDict({"first": shared, "second": shared, "conv": nn.Conv2d(12, 12, 1)})
        self.plain = nn.InstanceNorm2d(12)
        self.tokens = nn.LayerNorm(12)
        self.head = nn.BatchNorm1d(12)
        for module in (self.stem[1], shared):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
        nn.init.normal_(self.stem[1].running_mean)
        nn.init.uniform_(self.stem[1].running_var, 0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = x + self.branch["second"](self.branch["conv"](self.branch["first"](x)))
        x = self.plain(x).mean((2, 3))
        return self.head(self.tokens(x))


X = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_normalizer_takes_the_place_of_every_other(name: str) -> None:
    model = Users()
    done = sppkit.replace_normalizers(model, name, where=lambda *_: True)
    assert done.model is model
    assert [item.name for item in done.replaced] == ["stem.1", "branch.first", "branch.second", "plain"]
    assert [item.name for item in done.kept] == ["tokens", "head"]
    assert model.branch["first"] is model.branch["second"]
    output = model(X)
    assert torch.isfinite(output).all()
    output.sum().backward()
    # And back again, from whatever it is now.
    if name != "none":
        assert len(sppkit.replace_normalizers(model, "bn").replaced) == 4
        assert type(model.plain) is nn.BatchNorm2d


@pytest.mark.parametrize("name", ["bn", "bcn", "noise-aware-bn", "bcn-est"])
@pytest.mark.parametrize("affine", ["channel", None])
def test_what_channels_have_is_carried_over_and_back(name: str, affine: str | None) -> None:
    model = Users()
    before = {key: value.clone() for key, value in model.stem[1].state_dict().items()}
    settings = {"affine": affine} if name.startswith("bcn") and affine else {}
    sppkit.replace_normalizers(model, name, **settings)
    values = list(model.stem[1].state_dict().values())
    for key in ("weight", "bias", "running_mean", "running_var"):
        assert sum(value.shape == before[key].shape and torch.equal(value, before[key]) for value in values) == 1
    sppkit.replace_normalizers(model, "bn")
    after = model.stem[1].state_dict()
    assert all(torch.equal(after[key], before[key]) for key in ("weight", "bias", "running_mean", "running_var"))


def test_ibn_gets_the_scales_of_its_halves() -> None:
    model = Users()
    weight, mean = model.stem[1].weight.clone(), model.stem[1].running_mean.clone()
    sppkit.replace_normalizers(model, "ibn-a", where=lambda *_: True, ratio=0.25)
    new = model.stem[1]
    assert torch.equal(new.instance.weight, weight[:3])
    assert torch.equal(new.batch.weight, weight[3:])
    assert torch.equal(new.batch.running_mean, mean[3:])
    sppkit.replace_normalizers(model, "gn")
    assert torch.equal(model.stem[1].weight, weight)


def test_same_kind_computes_the_same_function() -> None:
    model = Users().eval()
    expected = model(X)
    for name in ("ic", "noise-aware-bn", "bn"):
        sppkit.replace_normalizers(model, name, where=lambda path, _: path == "stem.1")
        assert model.stem[1].eps == 1e-3
        assert model.stem[1].momentum == 0.2
        assert torch.equal(model(X), expected)


def test_flags_type_and_gradients_are_carried_over() -> None:
    model = Users().double()
    model.stem[1].eval().requires_grad_(False)
    sppkit.replace_normalizers(model, "bcn")
    new = model.stem[1]
    assert {value.dtype for value in new.parameters()} == {torch.float64}
    assert not any(module.training for module in new.modules())
    assert model.branch["first"].training
    assert not new.batch.weight.requires_grad
    assert model.branch["first"].batch.weight.requires_grad


def test_a_copy_leaves_the_model_alone() -> None:
    model = Users()
    before = copy.deepcopy(model)
    done = sppkit.replace_normalizers(model, "in", copy=True)
    assert done.model is not model
    assert repr(model) == repr(before)
    assert isinstance(done.model.stem[1], nn.InstanceNorm2d)


def test_only_what_is_chosen() -> None:
    done = sppkit.replace_normalizers(Users(), "in", where=lambda path, module: path.startswith("branch"))
    assert done.replaced[0] == Replaced("branch.first", "GroupNorm(12, 4 groups)", "InstanceNorm2d(12)")
    assert done.kept[0] == Kept("stem.1", "not chosen")


class BatchNormAct2d(nn.BatchNorm2d):
    """As timm's: the normalizer, then drop, then act."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop = nn.Identity()
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))


class Strange(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_a_normalizer_with_its_activation_keeps_it() -> None:
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 8, 3), bn1=BatchNormAct2d(8)))
    expected = model(X)
    done = sppkit.replace_normalizers(model, "noise-aware-bn")
    assert done.replaced[0].after == "NoiseAwareBatchNorm(8) with its activation"
    assert torch.equal(model(X), expected)


def test_what_is_not_known_is_kept_and_said() -> None:
    hooked = nn.BatchNorm2d(8)
    hooked.register_forward_hook(lambda *_: None)
    model = nn.ModuleDict({"strange": Strange(8), "hooked": hooked, "lazy": nn.LazyBatchNorm2d()})
    with pytest.raises(sppkit.UsageError) as caught:
        sppkit.replace_normalizers(model, "gn")
    assert str(caught.value) == (
        "there is no normalizer of (N, C, H, W) maps to replace; kept: "
        "strange (Strange does not normalize (N, C, H, W) maps, or does so in a way of its own); "
        "hooked (BatchNorm2d has hooks, which would be lost); "
        "lazy (LazyBatchNorm2d does not normalize (N, C, H, W) maps, or does so in a way of its own)."
    )
    with pytest.raises(sppkit.UsageError, match=r"to replace: none was found\."):
        sppkit.replace_normalizers(nn.Conv2d(3, 3, 1), "gn")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("bnc", {}, "unknown normalizer 'bnc'; did you mean 'bn'"),
        ("gn", {"group": 2}, "--norm-kw group means nothing for the normalizer gn; it has groups"),
        ("bkn", {}, "bkn is more than a normalizer in the place of another"),
        ("ibn-b", {}, "Try sppkit.build_model"),
    ],
)
def test_refused_before_anything_is_changed(name: str, settings: dict, message: str) -> None:
    model = Users()
    before = repr(model)
    with pytest.raises(sppkit.UsageError, match=message):
        sppkit.replace_normalizers(model, name, **settings)
    assert repr(model) == before


class PreNorm(nn.Module):
    """A block, whatever its name says."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.body = nn.Conv2d(3, 3, 1)


def test_a_block_named_after_a_normalizer_is_looked_into() -> None:
    assert [item.name for item in sppkit.replace_normalizers(nn.Sequential(PreNorm()), "gn").replaced] == ["0.norm"]


def test_groups_that_had_to_give_way_are_said() -> None:
    done = sppkit.replace_normalizers(nn.Sequential(nn.BatchNorm2d(48)), "gn")
    assert done.replaced[0].after == "GroupNorm(48, 16 groups)"


def test_statistics_of_single_samples_are_no_batch_statistics() -> None:
    model = nn.Sequential(nn.InstanceNorm2d(3, track_running_stats=True))
    model(X)
    sppkit.replace_normalizers(model, "bn")
    assert not model[0].running_mean.any()


def test_named_architectures_can_be_changed_too() -> None:
    model = sppkit.build_model("bn-relu-conv", stages=(1, 1), width=0.125)
    other = sppkit.build_model("bn-relu-conv", stages=(1, 1), width=0.125, norm="gn")
    x = torch.randn(2, 3, 32, 32)
    sppkit.replace_normalizers(model, "gn")
    assert torch.equal(model(x), other(x))

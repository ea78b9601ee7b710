"""Listening to the user's own backward passes, and leaving no trace of it."""

from __future__ import annotations

import copy
import gc
import itertools
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import sppkit
from sppkit.errors import UsageError
from traces import ACTS, Net, batch, state, with_gradients

STATS = ("spp", "gradient")
SECOND, MEAN, SHARE = "gradient_second_moment", "gradient_squared_mean", "branch_gradient_share"


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(torch.relu(self.norm(x)))


class Own(nn.Module):
    """A stem, two blocks and a head, as a user writes them; ``run`` calls a block."""

    def __init__(self, run: Callable[[nn.Module, Tensor], Tensor] = lambda block, x: block(x)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.blocks, self.head = nn.Conv2d(3, 4, 3), nn.ModuleList([Block(), Block()]), nn.Linear(4, 2)
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = self.run(block, x)
        return self.head(x.mean((2, 3)))


def images(seed: int = 0, samples: int = 3) -> Tensor:
    return torch.randn(samples, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


def loss_of(output: Tensor) -> Tensor:
    return (output * torch.tensor([1.0, -2.0], dtype=output.dtype)).pow(2).sum()


def gradients_by_hand(net: Own, x: Tensor) -> list[np.ndarray]:
    """The gradients of the loss with respect to the stem's and the blocks' outputs, kept by torch, in float64."""
    twin, values = copy.deepcopy(net).double(), []
    x = twin.stem(x.double().requires_grad_())
    for block in twin.blocks:
        values.append(x)
        x = block(x)
    values.append(x)
    for value in values:
        value.retain_grad()
    loss_of(twin.head(x.mean((2, 3)))).backward()
    return [value.grad.numpy() for value in values]


def check(table: object, *passes: list[np.ndarray], rel: float = 1e-4) -> None:
    """The columns of the union of several passes' gradients, channels on axis 1."""
    rows = [np.concatenate(gradients) for gradients in zip(*passes, strict=True)]
    assert table[SECOND].tolist() == pytest.approx([(row**2).mean() for row in rows], rel=rel)
    assert table[MEAN].tolist() == pytest.approx([(row.mean((0, 2, 3)) ** 2).mean() for row in rows], rel=rel)
    shares = [((before - after) ** 2).mean() / (after**2).mean() for before, after in itertools.pairwise(rows)]
    assert np.isnan(table[SHARE][0])
    assert table[SHARE][1:].tolist() == pytest.approx(shares, rel=rel)


def test_the_gradient_of_the_users_loss() -> None:
    net = Own()
    expected = gradients_by_hand(net, images())
    with sppkit.Probe(net, stats=STATS) as probe:
        loss_of(net(images())).backward()
    check(probe.table(), expected)


def test_passes_are_merged() -> None:
    net = Own()
    passes = [gradients_by_hand(net, images(seed, samples)) for seed, samples in ((0, 3), (1, 5))]
    with sppkit.Probe(net, stats=STATS) as probe:
        losses = [loss_of(net(images(0, 3))), loss_of(net(images(1, 5)))]
        for loss in losses:  # gradients accumulate, in another order than the passes if it need be
            loss.backward()
    check(probe.table(), *passes)


def test_every_backward_pass_counts() -> None:
    net = Own()
    expected = gradients_by_hand(net, images())
    with sppkit.Probe(net, stats=STATS) as probe:
        loss = loss_of(net(images()))
        loss.backward(retain_graph=True)
        (3 * loss).backward()
    check(probe.table(), expected, [3 * gradient for gradient in expected])


def test_a_forward_pass_without_a_backward_pass_leaves_the_columns_empty() -> None:
    net = Own()
    with sppkit.Probe(net, stats=STATS) as probe:
        loss = loss_of(net(images()))
    loss.backward()  # outside of the context
    table = probe.table()
    assert table[[SECOND, MEAN, SHARE]].isna().all(axis=None)
    assert table["channel_variance"].notna().all()
    assert (table["nonfinite"] == 0).all()


def test_a_gradient_that_is_itself_differentiated() -> None:
    net, twin = Own(), Own()
    expected = gradients_by_hand(net, images())
    x = images().requires_grad_()
    with sppkit.Probe(net, stats=STATS) as probe:
        (slope,) = torch.autograd.grad(loss_of(net(x)), x, create_graph=True)
    check(probe.table(), expected)
    slope.square().sum().backward()
    (other,) = torch.autograd.grad(loss_of(twin(x)), x, create_graph=True)
    other.square().sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(net.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_recomputed_block_counts_once(reentrant: bool) -> None:
    net = Own(lambda block, x: checkpoint(block, x, use_reentrant=reentrant))
    with sppkit.Probe(net, stats=STATS) as probe:
        loss_of(net(images())).backward()
    table = probe.table()
    expected = gradients_by_hand(net, images())
    assert table[SECOND].tolist() == pytest.approx([(row**2).mean() for row in expected], rel=1e-4)


def test_what_is_frozen_has_no_gradient_to_show() -> None:
    net = Own()
    expected = gradients_by_hand(net, images())
    net.stem.requires_grad_(False)
    net.blocks[0].requires_grad_(False)
    with sppkit.Probe(net, stats=STATS) as probe:
        loss_of(net(images())).backward()
    found = probe.table()[SECOND]
    assert found.isna().tolist() == [True, True, False]
    assert found[2] == pytest.approx((expected[2] ** 2).mean(), rel=1e-4)
    # measure lets autograd follow values through what is frozen, and leaves it frozen.
    assert sppkit.measure(net, images(), stats=STATS)[SECOND].notna().all()
    assert not net.stem.weight.requires_grad


def test_a_scaled_loss() -> None:
    class Scaler:
        def get_scale(self) -> float:
            return 1024.0

    for scale in (1024, 1024.0, Scaler()):
        net = Own()
        expected = gradients_by_hand(net, images())
        with sppkit.Probe(net, stats=STATS, loss_scale=scale) as probe:
            (1024 * loss_of(net(images()))).backward()
        check(probe.table(), expected)


@pytest.mark.parametrize("scale", [0, -1.0, float("inf"), float("nan"), True, "large"])
def test_a_scale_that_is_none(scale: object) -> None:
    with pytest.raises(UsageError, match=r"loss_scale must be a number of more than 0 or a GradScaler, not"):
        sppkit.Probe(Own(), stats=STATS, loss_scale=scale)


def test_half_precision_under_autocast() -> None:
    net = Own()
    expected = gradients_by_hand(net, images())
    with sppkit.Probe(net, stats=STATS) as probe, torch.autocast("cpu", torch.bfloat16):
        loss_of(net(images()).float()).backward()
    found = probe.table()[SECOND].tolist()
    assert found == pytest.approx([(row**2).mean() for row in expected], rel=0.05)  # bfloat16 has 8 bits


def test_a_gradient_that_overflows_is_counted() -> None:
    net = Own().half()
    with sppkit.Probe(net, stats=STATS) as probe:
        (net(images().half()) * 60000).pow(2).sum().backward()
    table = probe.table()
    assert (table["nonfinite"] > 0).all()


def test_several_outputs_and_a_part_that_the_loss_does_not_reach() -> None:
    class Two(Own):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            first = self.blocks[0](self.stem(x))
            second = self.blocks[1](first)
            return {"early": first.mean((2, 3)), "late": self.head(second.mean((2, 3)))}

    net = Two()
    with sppkit.Probe(net, stats=STATS) as probe:
        net(images())["early"].square().sum().backward()
    table = probe.table()
    assert table[SECOND].notna().tolist() == [True, True, False]
    # What the second block reads, another output reads as well: what comes back is not its branch's alone.
    assert table[SHARE].notna().tolist() == [False, True, False]


def test_a_compiled_model() -> None:
    net = Own()
    expected = gradients_by_hand(net, images())
    compiled = torch.compile(net, backend="eager")
    with sppkit.Probe(compiled, stats=STATS) as probe:
        loss_of(compiled(images())).backward()
    check(probe.table(), expected)


def test_a_declared_model_and_the_same_found() -> None:
    net = sppkit.build_model("bn-relu-conv", stages=(2, 1), width=0.1)
    x = images(samples=2).repeat(1, 1, 6, 6)
    tables = []
    for sites in (None, "found"):
        with sppkit.Probe(net, stats=STATS, sites=sites) as probe:
            net(x).square().sum().backward()
        tables.append(probe.table())
    for column in (SECOND, MEAN, SHARE):
        assert tables[0][column].tolist() == pytest.approx(tables[1][column].tolist(), rel=1e-6, nan_ok=True)
    assert tables[0][SHARE].notna().tolist() == [False, False, True, False]  # the first block of a stage projects


def test_the_graph_goes_with_the_users_output() -> None:
    net = Own()
    with sppkit.Probe(net, stats=STATS) as probe:
        output = net(images())
        held = weakref.ref(output.grad_fn.next_functions[1][0].metadata.setdefault("held", Own()))
        del output
        gc.collect()
        assert held() is None
    assert probe.gradients is not None


@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_no_trace_is_left(act: Callable[[Net], object], raises: bool) -> None:
    net = with_gradients(Net(lambda net: torch.no_grad()(act)(net), raises=raises))
    net.inference = torch.zeros(2)  # a model made under inference_mode has no gradients
    net.branch.requires_grad_(False)
    before = state(net)
    if raises:
        with pytest.raises(sppkit.MeasurementError, match="after stem: planted failure"):
            sppkit.measure(net, batch(), mode="eval", stats=STATS)
    else:
        sppkit.measure(net, batch(), mode="eval", stats=STATS)
    assert state(net) == before


def test_no_trace_is_left_on_a_probed_model() -> None:
    net = Own()
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()]
    with sppkit.Probe(net, stats=STATS):
        loss = loss_of(net(images()))
    assert [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()] == hooks
    twin = Own()
    loss.backward()
    loss_of(twin(images())).backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(net.parameters(), twin.parameters(), strict=True))


def test_running_statistics_are_updated_by_no_second_pass() -> None:
    net, twin = Own(), Own()
    with sppkit.Probe(net, stats=STATS):
        loss_of(net(images())).backward()
    twin(images())
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), twin.buffers(), strict=True))


def test_inference_mode_around_measure() -> None:
    net = Own()
    expected = sppkit.measure(net, images(), stats=STATS)
    with torch.inference_mode():
        assert sppkit.measure(net, images(), stats=STATS).equals(expected)
        made_inside = copy.deepcopy(net)
        with pytest.raises(UsageError, match=r"made or loaded under torch\.inference_mode"):
            sppkit.measure(made_inside, images(), stats=STATS)
        assert sppkit.measure(made_inside, images(), stats="all")[SECOND].isna().all()

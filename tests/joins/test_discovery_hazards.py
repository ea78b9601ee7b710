"""What a stranger's model may do while it is observed: it is measured rightly or refused, and left as it was."""

from __future__ import annotations

import gc
import random
import warnings
import weakref
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import sppkit
from traces import ACTS, Net, batch, state, with_gradients
from zoo.convolutional import DropPath, DroppedPath, ResNetV1Basic
from zoo.sequences import TorchPreNorm


def resnet(seed: int = 0) -> ResNetV1Basic:
    torch.manual_seed(seed)
    return ResNetV1Basic()


# No trace.


@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_no_trace_is_left(act: Callable[[Net], object], raises: bool) -> None:
    net = with_gradients(Net(act, raises=raises))
    before = state(net)
    if raises:
        with pytest.raises(sppkit.MeasurementError, match="failed after stem: planted failure"):
            sppkit.measure(net, batch(), mode="eval", sites="found")
    else:
        sppkit.measure(net, batch(), mode="eval", sites="found")
    assert state(net) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt], ids=lambda error: error.__name__)
@pytest.mark.parametrize("when", ["discovery", "measurement"])
def test_hooks_modes_and_switches_are_gone_after_any_error(when: str, error: type[BaseException]) -> None:
    calls = []

    def fail(net: Net) -> None:
        calls.append(1)
        if len(calls) == (1 if when == "discovery" else 2):
            raise error("planted")

    net = Net(fail)
    fused = torch.backends.mha.get_fastpath_enabled()
    probe = sppkit.Probe(net, sites="found")
    with pytest.raises(error, match="planted"), probe:
        net(batch())
    assert torch.backends.mha.get_fastpath_enabled() == fused
    assert not torch.utils._python_dispatch._get_current_dispatch_mode_stack()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    with probe:
        net(batch())
    assert probe.table()["name"].tolist() == ["stem", "Net"]


def test_a_probe_changes_nothing_of_the_users_own_pass() -> None:
    torch.manual_seed(3)
    probed, plain = resnet(), resnet()
    probed.dropout = plain.dropout = nn.Dropout(0.5)
    x = probed.example()
    outputs = []
    for net, context in ((plain, torch.enable_grad()), (probed, sppkit.Probe(probed))):
        torch.manual_seed(7)
        with context:
            outputs.append(net.dropout(net(x)))
        outputs[-1].sum().backward()
    assert torch.equal(*outputs)
    for a, b in zip(plain.parameters(), probed.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    # Running statistics have moved once, not twice.
    for (name, a), (_, b) in zip(plain.named_buffers(), probed.named_buffers(), strict=True):
        assert torch.equal(a, b), name
    assert torch.get_rng_state().equal(torch.get_rng_state())


class Remembers(nn.Module):
    """Counts its calls and keeps a cache that only its first call fills, in attributes that are no buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.calls, self.cache = nn.Linear(4, 4), 0, None

    def forward(self, x: Tensor, history: list[Tensor]) -> Tensor:
        self.calls += 1
        history.append(x)
        if self.cache is None:
            self.cache = x.mean() + torch.arange(4.0)
        x += torch.tanh(self.fc(x)) + self.cache
        return x


def test_the_pass_that_looks_is_not_seen_by_the_model_nor_in_its_arguments() -> None:
    net, history, x = Remembers(), [], torch.randn(8, 4)
    expected = torch.tanh(net.fc(x)) + x.mean() + torch.arange(4.0) + x
    with sppkit.Probe(net) as probe:
        out = net(x, history)
    assert (net.calls, len(history)) == (1, 1)
    torch.testing.assert_close(out, expected)
    np.testing.assert_allclose(
        probe.table()["channel_variance"][1], expected.detach().double().var(0, correction=0).mean(), rtol=1e-5
    )


class Installs(nn.Module):
    """Hooks that the first forward pass installs for good, as transformers' that keep hidden states."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
        self.kept: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if not getattr(self, "installed", False):
            for layer in self.layers:
                layer.register_forward_hook(lambda _module, _inputs, y: self.kept.append(1) or y * torch.tensor(2.0))
            self.installed = True
        for layer in self.layers:
            x = x + layer(x)
        return x


@pytest.mark.parametrize("batches", [1, 2])
def test_what_a_first_pass_installs_is_there_once_in_the_measured_one_and_not_after_it(batches: int) -> None:
    torch.manual_seed(0)
    net, x = Installs(), torch.randn(4, 8)
    fresh = sppkit.measure(net, [x] * batches)
    assert not any(layer._forward_hooks for layer in net.layers)
    assert not hasattr(net, "installed")
    assert net.kept == []
    net(x)
    assert len(net.kept) == 3  # installed once
    pd.testing.assert_frame_equal(sppkit.measure(net, [x] * batches), fresh)
    assert [len(layer._forward_hooks) for layer in net.layers] == [1, 1, 1]


def test_hooks_that_a_pass_removes_are_there_again() -> None:
    net = nn.Sequential(nn.Linear(8, 8))
    called: list[str] = []

    def once(*_: object) -> None:
        called.append("first")
        first.remove()

    first = net[0].register_forward_hook(once)
    net[0].register_forward_hook(lambda *_: called.append("second"))
    sppkit.measure(net, torch.randn(4, 8))
    called.clear()
    net(torch.randn(4, 8))
    assert called == ["first", "second"]


def test_no_signal_is_kept_alive() -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(12))

        def forward(self, x: Tensor) -> Tensor:
            nonlocal most
            for layer in self.layers:
                x = x + torch.relu(layer(x))
                alive.append(weakref.ref(x))
                most = max(most, sum(item() is not None for item in alive))
            return x

    gc.disable()
    try:
        sppkit.measure(Watched(), torch.randn(2, 4, 8, 8))
    finally:
        gc.enable()
    # The loop's own variable, in the pass that looks and in the one that is measured.
    assert most == 1


class Doubled(nn.Module):
    """Is handed one tensor as two arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return target.contiguous() + torch.relu(self.fc(source))


@pytest.mark.parametrize("expanded", [False, True], ids=["dense", "expanded"])
def test_arguments_that_are_one_tensor_are_one_in_the_pass_that_looks(expanded: bool) -> None:
    x = torch.randn(8, 1).expand(8, 4) if expanded else torch.randn(8, 4)
    net = Doubled()
    with sppkit.Probe(net) as probe:
        net(x, x)
    assert probe.table()["name"].tolist() == ["stem" if expanded else "input", "Doubled"]  # a copy is no input
    assert probe.findings.kind == "addition"
    with sppkit.Probe(net) as probe:
        net(x, torch.randn(8, 4))
    assert probe.findings.kind == "module"


# Compiled, scripted, quantized, sharded, without values.


def compile_parts(net: nn.Module, how: str) -> nn.Module:
    if how == "whole":
        return torch.compile(net, backend="eager")
    if how == "part":
        net.layer1 = torch.compile(net.layer1, backend="eager")
    if how == "in place":
        net.compile(backend="eager")
    return net


@pytest.mark.parametrize("how", ["whole", "part", "in place"])
@pytest.mark.parametrize("ran", [False, True], ids=["fresh", "ran before"])
def test_a_compiled_model_is_measured_in_its_parts(how: str, ran: bool) -> None:
    expected = sppkit.measure(resnet().eval(), resnet().example())
    net = compile_parts(resnet().eval(), how)
    if ran:
        with torch.no_grad():
            net(resnet().example())
    table = sppkit.measure(net, resnet().example())
    pd.testing.assert_frame_equal(table, expected)
    assert len(table) == 5


def test_torchs_fused_layers_are_seen_in_their_parts_and_fused_again() -> None:
    net = TorchPreNorm().eval()
    torch.backends.mha.set_fastpath_enabled(True)
    assert len(sppkit.measure(net, net.example())) == 5
    assert torch.backends.mha.get_fastpath_enabled()


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return nn.Sequential(torch.jit.script(nn.Linear(6, 6)), nn.ReLU())


def quantized() -> nn.Module:
    class Quantized(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            q = torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)
            return q.dequantize() + x

    return Quantized()


def sharded() -> nn.Module:
    net = nn.Linear(6, 6)
    DTensor = type("DTensor", (nn.Parameter,), {})  # noqa: N806 - a stand-in: the real one needs several processes
    net.weight = DTensor(torch.zeros(6, 6))
    return net


def fsdp() -> nn.Module:
    return nn.Sequential(type("FullyShardedDataParallel", (nn.Identity,), {})())


def lazy() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return nn.LazyLinear(3)


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(2, 3)


REFUSED = {
    "scripted": (scripted, r"'0' of Sequential is compiled by TorchScript.*\n.*network that it was made from"),
    "quantized": (quantized, "quantized: measure the floating-point model"),
    "sharded": (sharded, r"'weight' of Linear is sharded over several processes \(a DTensor\)"),
    "fsdp": (fsdp, r"'0' of Sequential is sharded over several processes\.\n.*whole model on one device"),
    "meta": (lambda: nn.Linear(6, 6, device="meta"), "'weight' of Linear has no values: it is on the meta device"),
    "lazy": (lazy, "'weight' of LazyLinear has no values yet: it is lazy"),
    "no signal": (Constant, r"nothing to measure was seen in a forward pass of Constant: no module returned"),
    "no network": (lambda: None, r"must be a torch\.nn\.Module; this is <class 'NoneType'>"),
    "a class": (lambda: nn.Linear, r"this is the class Linear, not a network made of it"),
}


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_measured_is_refused(build: Callable[[], nn.Module], message: str) -> None:
    for act in (sppkit.measure, sppkit.find_joins):
        with pytest.raises(sppkit.SppkitError, match=message):
            act(build(), torch.randn(4, 6))


def test_a_dynamically_quantized_layer_has_a_floating_point_signal() -> None:
    # Its integers are inside the operation. Written out, because torch's own tool for it is deprecated.
    x = torch.randn(8, 6)

    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.randint(-127, 127, (6, 6), dtype=torch.int8))

        def forward(self, x: Tensor) -> Tensor:
            return x + torch.relu(x @ (self.weight.float() / 127))

    net = Rounded()
    branch = torch.relu(x @ (net.weight.float() / 127)).double()
    table = sppkit.measure(net, x)
    np.testing.assert_allclose(table["residual_variance"][1], branch.var(0, correction=0).mean(), rtol=1e-5)


def test_the_model_has_to_be_called_in_the_probe() -> None:
    net = resnet()
    with sppkit.Probe(net) as probe:
        net.forward(net.example())
    with pytest.raises(sppkit.MeasurementError, match=r"no forward pass of ResNetV1Basic was seen\.\nCall the model"):
        probe.table()


def test_a_probe_is_not_entered_twice_at_once() -> None:
    with (
        sppkit.Probe(resnet()) as probe,
        pytest.raises(sppkit.UsageError, match="listening already; leave its context before"),
    ):
        probe.__enter__()


# Types and layouts.


def test_autocast_is_measured_in_its_own_precision() -> None:
    net = resnet().eval()
    exact = sppkit.measure(net, net.example())
    with torch.autocast("cpu", torch.bfloat16):
        table = sppkit.measure(net, net.example())
    assert table["name"].equals(exact["name"])
    assert not table["channel_variance"].equals(exact["channel_variance"])
    # bfloat16 has 8 bits: 0.4 % per operation, some of it averaged out.
    np.testing.assert_allclose(table["channel_variance"], exact["channel_variance"], rtol=0.05)


def test_channels_last_memory_is_the_same_signal() -> None:
    net = resnet().eval()
    expected = sppkit.measure(net, net.example())
    net = net.to(memory_format=torch.channels_last)
    table = sppkit.measure(net, net.example().to(memory_format=torch.channels_last))
    columns = ["channel_squared_mean", "channel_variance", "residual_variance"]
    # Convolutions sum in another order.
    np.testing.assert_allclose(table[columns], expected[columns], rtol=1e-4)


# What is taken off a branch, in train mode, where it is random.


class FloorOfNoise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        kept = torch.floor(0.5 + torch.rand((x.shape[0], 1, 1, 1), dtype=x.dtype, device=x.device))
        return x.div(0.5) * kept


DROPS = {
    "stochastic depth": lambda: DropPath(0.5),
    "stochastic depth, by floor": FloorOfNoise,
    "dropout": lambda: nn.Dropout(0.5),
    "dropout in place": lambda: nn.Dropout(0.5, inplace=True),
    "dropout of channels": lambda: nn.Dropout2d(0.5),
    "and a scale": lambda: nn.Sequential(nn.Dropout(0.5), nn.Upsample(scale_factor=1), DropPath(0.5)),
}


@pytest.mark.parametrize("grad", ["no_grad", "enable_grad", "inference_mode"])
@pytest.mark.parametrize("build", DROPS.values(), ids=DROPS)
def test_residual_variance_is_that_before_what_drops_the_branch(build: Callable[[], nn.Module], grad: str) -> None:
    net = DroppedPath().train()
    net.drop = build()
    x = net.example()
    branch = net.f(net.stem(x)).detach().double()
    with sppkit.Probe(net) as probe, getattr(torch, grad)():
        net(x)
    (_, row) = probe.table().to_dict("records")
    expected = branch.var((0, 2, 3), correction=0).mean().item()
    if isinstance(net.drop, nn.Sequential):
        # A resampling between is no scale: what is after it is the branch, and half of its values are dropped there.
        assert row["residual_variance"] > 1.2 * expected
    else:
        np.testing.assert_allclose(row["residual_variance"], expected, rtol=1e-4)


# Several passes.


def test_batches_merge_to_their_union() -> None:
    net, x = resnet().eval(), torch.randn(12, 3, 8, 8)
    whole, split = sppkit.measure(net, x), sppkit.measure(net, [x[:1], x[1:5], x[5:]])
    for column in ("channel_squared_mean", "channel_variance", "residual_variance"):
        np.testing.assert_allclose(split[column], whole[column], rtol=1e-4)


class SkipsLayers(nn.Module):
    """Stochastic depth that skips whole layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(8))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            if not self.training or random.random() < 0.5:
                x = x + torch.relu(layer(x))
        return x


def test_both_passes_skip_the_same_layers() -> None:
    net, x = SkipsLayers(), torch.randn(16, 6)
    random.seed(5)
    kept = [layer for layer in net.layers if random.random() < 0.5]
    for layer in kept:
        x = x + torch.relu(layer(x))
    random.seed(5)
    with sppkit.Probe(net) as probe:
        net_x = torch.randn(16, 6)
        net(net_x)
    assert len(probe.table()) == 1 + len(kept)


def test_passes_of_a_generator_that_skip_other_layers_are_refused() -> None:
    net = SkipsLayers()
    random.seed(5)
    with pytest.raises(sppkit.MeasurementError, match=r"another way than the first: it has \d rows .*\n.*in a list"):
        sppkit.measure(net, iter([torch.randn(16, 6)] * 5), mode="train")
    assert len(sppkit.measure(net, [torch.randn(16, 6)] * 5, mode="eval")) == 9


def test_sequences_of_other_lengths_are_merged() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.fc = nn.Embedding(9, 6), nn.Linear(6, 6)

        def forward(self, ids: Tensor) -> Tensor:
            x = self.embed(ids)
            return x + torch.relu(self.fc(x))

    net = Tokens()
    batches = [torch.randint(0, 9, (2, length)) for length in (3, 7)]
    values = torch.cat([net.embed(ids).flatten(0, 1) for ids in batches]).double()
    table = sppkit.measure(net, batches)
    np.testing.assert_allclose(table["channel_variance"][0], values.var(0, correction=0).mean().item(), rtol=1e-5)


# On the named architectures.

ARCHITECTURES = {
    "bn-relu-conv": ("bn-relu-conv", {}),
    "relu-bn-conv": ("relu-bn-conv", {}),
    "he-resnet": ("he-resnet", {}),
    "basic": ("bn-relu-conv", {"block": "basic"}),
    "squeeze-and-excite": ("bn-relu-conv", {"se": True, "skip_gain": 0.5}),
    "nf-resnet": ("nf-resnet", {"alpha": 0.2}),
    "all of it": ("nf-resnet", {"se": True, "stochastic_depth": 0.3, "skip_gain": 0.5, "activation": "silu"}),
    "linear": ("nf-resnet", {"activation": "identity"}),
    "cifar": ("nf-resnet", {"stem": "cifar"}),
    "circular": ("relu-bn-conv", {"padding": "circular", "stem": "no-pool"}),
}


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(("arch", "options"), ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_the_blocks_found_are_those_declared_and_the_table_is_identical(arch: str, options: dict, mode: str) -> None:
    model = sppkit.build_model(arch, stages=(1, 2, 3), width=0.125, **options)
    x = torch.randn(4, 3, 32, 32)
    declared = sppkit.measure(model, x, mode=mode)
    pd.testing.assert_frame_equal(sppkit.measure(model, x, mode=mode, sites="found"), declared, check_exact=True)
    assert len(declared) == 7


def test_what_the_callback_raises_comes_through() -> None:
    def fail(site: sppkit.Site) -> None:
        raise ZeroDivisionError("by the user's callback")

    net = resnet()
    with pytest.raises(ZeroDivisionError, match="by the user's"):
        sppkit.measure(net, net.example(), on_site=fail)


def test_the_error_names_the_last_site_that_the_measured_pass_reached() -> None:
    calls = []

    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(1)
            if len(calls) == 3:  # twice in the pass that looks
                raise RuntimeError("planted")
            return x

    net = resnet()
    net.layer2[0].add_module("relu", Fails())
    with pytest.raises(sppkit.MeasurementError, match=r"the forward pass failed after layer1\.1: planted"):
        sppkit.measure(net, net.example())


class Accumulates(nn.Module):
    """Keeps signals from pass to pass in a list, a dict and a tensor that are no buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.past: list[Tensor] = []
        self.counts = {"passes": [0]}
        self.potential = torch.zeros(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.past.append(x)
        self.counts["passes"][0] += 1
        self.potential += torch.stack(self.past).sum(0)
        return self.potential + torch.tanh(self.fc(self.potential))


@pytest.mark.parametrize("batches", [1, 2])
def test_what_a_network_accumulates_counts_once_and_is_put_back(batches: int) -> None:
    torch.manual_seed(0)
    net, x = Accumulates().double(), [torch.randn(8, 4).double() for _ in range(batches)]
    net.potential = torch.full((8, 4), 0.5).double()
    table = sppkit.measure(net, x)
    assert (net.past, net.counts, net.potential.unique().tolist()) == ([], {"passes": [0]}, [0.5])
    # By hand: the second pass adds the sum of both batches to what the first left.
    potentials = torch.stack([0.5 + x[0], 0.5 + x[0] + x[0] + x[-1]][:batches]).flatten(0, 1)
    expected = potentials + torch.tanh(net.fc(potentials))
    np.testing.assert_allclose(
        table["channel_variance"][1], expected.detach().var(0, correction=0).mean(), rtol=1e-12
    )  # float64 twice


def test_what_a_network_keeps_in_an_object_is_refused_where_it_shows() -> None:
    class Cache:
        def __init__(self) -> None:
            self.keys: list[Tensor] = []

    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.cache = nn.Linear(4, 4), Cache()

        def forward(self, x: Tensor) -> Tensor:
            self.cache.keys.append(x)
            x = torch.cat(self.cache.keys)
            return x + torch.tanh(self.fc(x))

    with pytest.raises(sppkit.MeasurementError, match=r"'Growing' had the shape \(\d+, 4\) and then \(\d+, 4\)"):
        sppkit.measure(Growing(), torch.randn(8, 4))


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=str)
def test_nested_tensors_are_refused(layout: torch.layout) -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.nested.as_nested_tensor([self.fc(x[:3]), self.fc(x[3:])], layout=layout)
            return x + self.fc(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, that nested tensors may change
        with pytest.raises(sppkit.UsageError, match="nested tensors"):
            sppkit.measure(Nested(), torch.randn(8, 4))


def test_sums_of_complex_numbers_are_no_joins() -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spectral, self.fc = nn.Linear(8, 8, dtype=torch.cfloat), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            spectrum = torch.fft.fft(x)
            return x + self.fc(torch.fft.ifft(spectrum + self.spectral(spectrum)).real)

    found = sppkit.find_joins(nn.Sequential(Mixer(), Mixer()), torch.randn(4, 8))
    assert [join.name for join in found.joins] == ["0", "1"]
    assert [(item.name, item.reason) for item in found.rejected] == [
        ("0~1", "its numbers are complex"),
        ("1~1", "its numbers are complex"),
    ]


def test_features_that_become_maps_have_their_channels_first() -> None:
    generator = nn.Sequential(
        nn.Linear(6, 5 * 4 * 3), nn.Unflatten(1, (5, 4, 3)), nn.ReLU(), nn.ConvTranspose2d(5, 2, 4)
    )
    table = sppkit.measure(generator, torch.randn(3, 6))
    assert table[["channels", "height", "width"]].fillna(0).to_numpy().tolist() == [
        [60, 0, 0],
        [5, 4, 3],
        [5, 4, 3],
        [2, 7, 6],
    ]


def test_a_difference_is_listed_and_can_be_made_a_join() -> None:
    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = x - x.mean(-1, keepdim=True).expand_as(x)  # no weights: not even listed
            return x - self.fc(x)

    torch.manual_seed(0)
    net, x = Denoiser().double(), torch.randn(8, 4).double()
    found = sppkit.find_joins(net, x)
    assert (found.kind, [item.name for item in found.rejected]) == ("module", ["Denoiser~1"])
    assert found.rejected[0].reason.startswith("it is a difference")
    row = sppkit.measure(net, x, sites={"join": [{"name": "Denoiser~1", "keep": True}]}).iloc[1]
    centred = x - x.mean(-1, keepdim=True)
    branch = net.fc(centred).detach()
    np.testing.assert_allclose(
        row["residual_variance"], branch.var(0, correction=0).mean(), rtol=1e-12
    )  # float64 twice
    np.testing.assert_allclose(row["channel_variance"], (centred - branch).var(0, correction=0).mean(), rtol=1e-12)


def test_a_second_probe_inside_a_probe_is_refused_and_spoils_nothing() -> None:
    net = resnet()
    x = net.example()
    with sppkit.Probe(net) as probe:
        with pytest.raises(sppkit.UsageError, match=r"another probe .*\nLeave its context first"):
            sppkit.measure(net, x)
        net(x)
    assert probe.table()["name"].tolist() == sppkit.measure(net, x)["name"].tolist()
    assert not net._forward_pre_hooks


@pytest.mark.parametrize("form", [lambda x: x, lambda x: {"input": x}], ids=["tensor", "mapping"])
def test_what_a_model_writes_into_its_input_is_put_back(form: Callable[[Tensor], object]) -> None:
    net, x = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 4)), torch.randn(8, 4)
    before, expected = x.clone(), sppkit.measure(net, form(torch.relu(x)))
    for _ in range(2):
        pd.testing.assert_frame_equal(sppkit.measure(net, form(x)), expected)
        assert torch.equal(x, before)


def test_a_nested_input_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, that nested tensors may change
        x = torch.nested.nested_tensor([torch.ones(3, 4), torch.ones(2, 4)])
    with pytest.raises(sppkit.UsageError, match="the input is a nested tensor"):
        sppkit.measure(nn.Linear(4, 4), x)

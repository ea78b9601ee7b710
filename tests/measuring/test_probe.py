"""The trace that a probe does not leave, the sites that it refuses, and where and how it listens."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import sppkit
from sppkit import Site
from sppkit.measuring.forward import device as forward_device
from sppkit.measuring.forward import preserve
from sppkit.measuring.forward.full_precision import full_float32
from sppkit.measuring.forward.random_state import seed_torch
from sppkit.measuring.measure import run_probe
from sppkit.models.build import lay_out
from sppkit.models.spec import build_spec
from sppkit.models.streaming import streamed
from traces import ACTS, BRANCH, OUTPUT, STEM, Net, batch, go_backward, state, with_gradients


@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_no_trace_is_left(act: Callable[[Net], object], raises: bool) -> None:
    net = with_gradients(Net(act, raises=raises))
    before = state(net)
    if raises:
        with pytest.raises(sppkit.MeasurementError, match="after stem: planted failure"):
            sppkit.measure(net, batch(), mode="eval", warmup=())
    else:
        sppkit.measure(net, batch(), mode="eval")
    assert state(net) == before


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_the_comparison_sees_every_one_of_these_traces(act: Callable[[Net], object]) -> None:
    net = with_gradients(Net(act))
    before = state(net)
    net.requires_grad_(True)
    act(net)
    assert state(net) != before


CHANGES = {
    "parameter": lambda net: net.stem.weight.mul_(2),
    "with the gradient's": lambda net: (go_backward(net), net.stem.weight.sub_(1)),
}


@pytest.mark.parametrize("act", CHANGES.values(), ids=CHANGES)
def test_a_parameter_changed_in_place_is_refused_and_the_rest_restored(act: Callable[[Net], object]) -> None:
    net = with_gradients(Net(act))
    before = state(net)
    with pytest.raises(sppkit.MeasurementError, match=r"changed the parameter 'stem\.weight' in place.*\n.*deepcopy"):
        sppkit.measure(net, batch(), mode="eval")
    after = state(net)
    assert after[0][1][0][0] != before[0][1][0][0]  # stem.weight itself
    after[0][1] = before[0][1]
    assert after == before


def test_a_parameter_changed_by_a_pass_that_raises_is_noted_on_its_error() -> None:
    with pytest.raises(sppkit.MeasurementError, match="planted failure") as caught:
        sppkit.measure(Net(lambda net: net.stem.weight.mul_(2), raises=True), batch())
    assert "changed the parameter 'stem.weight' in place" in caught.value.__notes__[0]


def test_what_can_be_restored_is_restored_when_a_part_of_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("planted failure of the restoration")

    def act(net: Net) -> None:
        torch.rand(3), random.random(), np.random.rand(), net.register_buffer("late", torch.ones(1)), go_backward(net)

    net = with_gradients(Net(act))
    before = state(net)
    # Every buffer fails, which is in the middle.
    monkeypatch.setattr(preserve, "_restore_buffer", fail)
    with pytest.raises(RuntimeError, match="planted failure of the restoration"):
        sppkit.measure(net, batch(), mode="eval")
    assert state(net) == before


def test_a_backward_pass_that_is_still_to_come_is_not_spoilt() -> None:
    norm = nn.BatchNorm2d(4).eval()
    net = Net()
    net.output = norm
    loss = net(batch()).sum()
    sppkit.measure(net, batch(), mode="eval")
    loss.backward()
    assert net.stem.weight.grad is not None


def test_a_scripted_part_is_restored() -> None:
    net = Net()
    net.stem = nn.Sequential(nn.Conv2d(3, 4, 1), scripted())
    before = [tensor.clone() for tensor in net.stem.buffers()]
    sppkit.measure(net, batch(), mode="train")
    assert all(torch.equal(a, b) for a, b in zip(before, net.stem.buffers(), strict=True))
    net.train()(batch())
    assert not torch.equal(before[0], next(iter(net.stem.buffers())))


def test_a_scripted_part_can_not_be_listened_to() -> None:
    net = Net()
    net.output = scripted()
    with pytest.raises(sppkit.UsageError, match="'output' of Net is compiled by TorchScript, which can't be listened"):
        sppkit.measure(net, batch())


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from torch.jit itself, in recent versions
        module: nn.Module = torch.jit.script(nn.BatchNorm2d(4))
    return module


def test_the_models_own_randomness_is_that_of_manual_seed_and_no_idle_gpu_is_seeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    if not torch.cuda.is_initialized():
        monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("a GPU that is not in use"))
    seed_torch(7)
    assert torch.equal(torch.rand(3), expected)


# Where a model runs.


def test_a_move_is_undone_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    # The meta device stands in for a GPU: memory of another kind, which the model must come home from.
    net = with_gradients(Net())
    del net._buffers["sparse"]
    before = state(net)
    monkeypatch.setattr("sppkit.measuring.measure.find_target", lambda model, device: torch.device("meta"))
    with pytest.raises(sppkit.MeasurementError, match="the forward pass failed"):
        sppkit.measure(net, batch(), device="elsewhere")
    assert state(net) == before


def test_a_move_that_fails_half_way_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(nn.Identity):
        def _apply(self, fn: object, recurse: bool = True) -> nn.Module:
            raise RuntimeError("out of memory\nmore")

    net = with_gradients(Net())
    net.output = Stuck()
    before = state(net)
    monkeypatch.setattr("sppkit.measuring.measure.find_target", lambda model, device: torch.device("meta"))
    with pytest.raises(sppkit.MeasurementError, match=r"the model can't be moved to 'meta': out of memory$"):
        sppkit.measure(net, batch(), device="elsewhere")
    assert state(net) == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("device", ["cuda", 0, "cuda:0", torch.device("cuda")], ids=str)
def test_a_model_comes_home_from_a_gpu(device: object) -> None:
    net = with_gradients(Net(lambda net: torch.rand(2, device="cuda")))
    torch.cuda.manual_seed(3)
    before, random_state = state(net), torch.cuda.get_rng_state()
    there, here = sppkit.measure(net, batch(), device=device), sppkit.measure(Net(), batch())
    assert state(net) == before
    assert torch.equal(torch.cuda.get_rng_state(), random_state)
    assert there["channel_variance"].notna().all()
    assert len(there) == len(here)


@pytest.mark.parametrize("device", ["meta", "nope", "cuda:99", -1, 2.5, []], ids=str)
def test_a_device_that_is_not_there_is_refused(device: object) -> None:
    with pytest.raises(sppkit.UsageError, match=r"there is no device .* here; usable: cpu"):
        sppkit.measure(Net(), batch(), device=device)


@pytest.mark.parametrize("device", ["cpu", "cpu:0", torch.device("cpu"), None], ids=str)
def test_every_name_of_the_cpu(device: object) -> None:
    assert forward_device.find_target(Net(), device) == torch.device("cpu")


def test_a_model_on_several_devices_is_not_torn_apart() -> None:
    parameters = [SimpleNamespace(device=torch.device("cuda", index)) for index in (1, 0)]
    spread = SimpleNamespace(parameters=lambda: iter(parameters), buffers=lambda: iter(()))
    with pytest.raises(
        sppkit.UsageError, match=r"several devices \(cuda:0, cuda:1\); device='cpu' would tear it apart"
    ):
        forward_device.find_target(spread, "cpu")
    assert forward_device.find_target(spread, None) == torch.device("cuda", 1)


def lazy() -> Net:
    net = Net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # lazy modules are new, says torch
        net.branch = nn.LazyConv2d(4, 1)
    return net


VALUELESS = {
    "meta": (lambda: Net().to_empty(device="meta"), r"'stem\.weight' of Net has no values: it is on the meta device"),
    "lazy": (lazy, r"'branch\.weight' of Net has no values yet: it is lazy"),
}


@pytest.mark.parametrize(("build", "message"), VALUELESS.values(), ids=VALUELESS)
def test_a_model_without_values_is_refused(build: Callable[[], Net], message: str) -> None:
    net = build()
    if hasattr(net, "sparse"):
        del net.sparse
    with pytest.raises(sppkit.UsageError, match=message):
        sppkit.measure(net, batch())
    assert "Lazy" not in type(net.stem).__name__


@pytest.mark.parametrize("arch", ["bn-relu-conv", "nf-resnet"])
def test_a_model_that_gets_its_values_while_it_runs_keeps_none(arch: str) -> None:
    options = {"stages": (1, 2), "width": 0.125}
    expected = sppkit.measure(sppkit.build_model(arch, **options), torch.ones(2, 3, 32, 32))
    net = lay_out(build_spec(arch, options))
    with streamed(net, 0, torch.device("cpu"), torch.float32):
        table = run_probe(
            sppkit.Probe(net), net, [torch.ones(2, 3, 32, 32)], device=torch.device("cpu"), mode=None, seed=0
        )
        assert all(parameter.is_meta for parameter in net.parameters())
    assert table.equals(expected)


# Precision.


def precisions() -> list[str]:
    backends = torch.backends
    operations = [
        backends.cuda.matmul,
        *[getattr(b, op) for b in (backends.cudnn, backends.mkldnn) for op in ("conv", "rnn")],
    ]
    return [operation.fp32_precision for operation in operations]


@pytest.mark.parametrize("change", ["none", "older switch", "matmul precision", "per operation"])
def test_float32_is_full_and_the_switches_come_back(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backends, original = torch.backends, torch.get_float32_matmul_precision()
    before_all = precisions()
    if change == "older switch":
        backends.cuda.matmul.allow_tf32 = True
    elif change == "matmul precision":
        torch.set_float32_matmul_precision("medium")
    elif change == "per operation":
        backends.cuda.matmul.fp32_precision = "tf32"
        backends.cudnn.conv.fp32_precision = "ieee"
    before = precisions()
    try:
        with full_float32():
            assert set(precisions()) == {"ieee"}
        assert precisions() == before
    finally:
        torch.set_float32_matmul_precision(original)
        backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision = before_all[0], before_all[1]


# Sites.


def declaring(*sites: object) -> Callable[[], object]:
    def build() -> object:
        net = Net()
        net.signal_sites = lambda: sites[0] if len(sites) == 1 and not isinstance(sites[0], Site) else list(sites)
        return net

    return build


REFUSED_SITES = {
    "empty": (declaring([]), r"signal_sites\(\) of Net is empty: there is nowhere to listen"),
    "None": (declaring(None), r"signal_sites\(\) of Net must return sppkit\.Site objects, not None"),
    "text": (declaring("stem"), "must return sppkit.Site objects, not 'stem'"),
    "tuples": (declaring([(0, 0, "stem", "block_output", "stem")]), "objects, not .0, 0, 'stem'"),
    "role": (declaring(Site(0, 0, "s", "foo", "stem")), "role must be 'block_output' or 'residual_branch', not 'foo'"),
    "list as role": (declaring(Site(0, 0, "s", [], "stem")), r"role must be .*, not \[\]"),
    "block below 0": (declaring(Site(-1, 0, "s", "block_output", "stem")), "block must be .* at least 0, not -1"),
    "text as block": (declaring(Site("a", 0, "s", "block_output", "stem")), "block must be a whole .*, not 'a'"),
    "bool as block": (declaring(Site(False, 0, "s", "block_output", "stem")), "block must be a whole .*, not False"),
    "half a block": (declaring(Site(0.5, 0, "s", "block_output", "stem")), r"block must be a whole .*, not 0\.5"),
    "stage": (declaring(Site(0, -2, "s", "block_output", "stem")), "stage must be .* at least 0, or None, not -2"),
    "name": (declaring(Site(0, 0, None, "block_output", "stem")), "name must be a text, not None"),
    "path": (declaring(Site(0, 0, "s", "block_output", None)), "path must be the qualified name of a module, not None"),
    "axis 0": (declaring(Site(0, 0, "s", "block_output", "stem", 0)), "channel_axis must be None or .*, not 0"),
    "axis text": (declaring(Site(0, 0, "s", "block_output", "stem", "C")), "channel_axis must be None or .*, not 'C'"),
    "no module": (
        declaring(STEM, Site(1, 1, "b", "block_output", "ouput")),
        r"path='ouput'.*: Net has no module 'ouput'; did you mean 'output'\?\n.*named_modules",
    ),
    "nothing like it": (declaring(Site(0, 0, "s", "block_output", "x.y.z")), r"has no module 'x\.y\.z'\.\n"),
    "a parameter": (declaring(Site(0, 0, "s", "block_output", "stem.weight")), r"no module 'stem\.weight'"),
    "starts at 1": (declaring(OUTPUT), "ascend from 0 without gaps, so block must be 0 here"),
    "gap": (declaring(STEM, Site(7, 1, "b", "block_output", "output")), "block must be 0 or 1 here"),
    "descending": (
        declaring(STEM, OUTPUT, Site(0, 0, "s", "residual_branch", "branch")),
        r"path='branch'.*ascend from 0 without gaps, so block must be 1 or 2 here",
    ),
    "twice": (declaring(STEM, STEM), "block 0 has a block_output already, at 'stem'"),
    "two outputs": (declaring(STEM, Site(0, 0, "s", "block_output", "output")), "block 0 has a block_output already"),
    "branch alone": (declaring(STEM, BRANCH), "block 1 has no site with the role 'block_output'"),
    "no network": (lambda: None, r"must be a torch\.nn\.Module; this is <class 'NoneType'>"),
    "a class": (lambda: Net, r"this is the class Net, not a network made of it"),
}


@pytest.mark.parametrize(("build", "message"), REFUSED_SITES.values(), ids=REFUSED_SITES)
def test_sites_that_can_not_be_used_are_refused_before_anything_is_hooked(
    build: Callable[[], object], message: str
) -> None:
    net = build()
    with pytest.raises(sppkit.UsageError, match=message):
        sppkit.Probe(net)
    if isinstance(net, nn.Module):
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_sites_may_come_from_a_generator_and_hold_numpy_integers() -> None:
    net = Net()
    net.signal_sites = lambda: (Site(np.int64(s.block), s.stage, s.name, s.role, s.path) for s in (STEM, OUTPUT))
    assert sppkit.measure(net, batch())["block"].tolist() == [0, 1]


def test_a_module_that_is_gone_when_the_context_is_entered_leaves_no_hook() -> None:
    net = Net()
    probe = sppkit.Probe(net)
    del net.output
    with pytest.raises(AttributeError, match="output"), probe:
        pass
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_a_probe_is_not_entered_twice_at_once_but_again_after_it_was_left() -> None:
    net, x = Net(), batch(4)
    probe = sppkit.Probe(net)
    with probe:
        with pytest.raises(sppkit.UsageError, match="listening already; leave its context before you enter it again"):
            probe.__enter__()
        net(x[:1])
    with probe:
        net(x[1:])
    with sppkit.Probe(net) as whole:
        net(x)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    np.testing.assert_allclose(probe.table()["channel_variance"], whole.table()["channel_variance"], rtol=1e-6)


# Forward passes.


class Calls(Net):
    """A network whose output module is called by ``calls``, which gets the network and the signal."""

    def __init__(self, calls: Callable[[Calls, Tensor], Tensor]) -> None:
        super().__init__()
        self.calls = calls

    def forward(self, x: Tensor) -> Tensor:
        return self.calls(self, x)


def plain(net: Net, x: Tensor) -> Tensor:
    x = net.stem(x)
    return net.output(x + net.branch(x))


def test_a_module_that_is_called_twice_in_one_pass_is_refused() -> None:
    net = Calls(lambda net, x: net.output(plain(net, x)))
    with pytest.raises(sppkit.MeasurementError, match=r"'block' fired twice in one forward pass: its module 'output'"):
        sppkit.measure(net, batch())


def test_a_model_that_calls_itself_is_one_forward_pass() -> None:
    net = Calls(lambda net, x: net(net(x[:, :, :2])[:, :3]) if x.shape[2] == 4 else plain(net, x))
    with pytest.raises(sppkit.MeasurementError, match="fired twice in one forward pass"):
        sppkit.measure(net, torch.ones(2, 3, 4, 4))


def test_a_pass_that_raised_is_over() -> None:
    net = Net(raises=True)
    with sppkit.Probe(net) as probe:
        with pytest.raises(RuntimeError, match="planted"):
            net(batch())
        net.raises = False
        net(batch())
    assert probe.table()["channel_variance"].notna().all()


def test_gradient_checkpointing_is_not_a_second_pass() -> None:
    net = Calls(lambda net, x: checkpoint(lambda x: plain(net, x), x, use_reentrant=False))
    with sppkit.Probe(net) as probe:
        net(batch()).sum().backward()
    with sppkit.Probe(net) as once, torch.no_grad():
        net(batch())
    assert probe.table().equals(once.table())


def test_passes_of_a_part_alone_are_not_counted() -> None:
    net = Net()
    with sppkit.Probe(net) as probe:
        net.output(net.branch(net.stem(batch())))
    with pytest.raises(sppkit.MeasurementError, match=r"3 of 3 sites were never reached.*\n.*Call the model itself"):
        probe.table()


@pytest.mark.parametrize("channels", [(1, 5), (5, 1), (3, 5)], ids=str)
def test_another_number_of_channels_is_refused(channels: tuple[int, int]) -> None:
    net = Shown(Site(0, 0, "s", "block_output", "output"))
    batches = [torch.randn(2, channel, 4, 4) for channel in channels]
    message = f"the output of 'output' had {channels[0]} channels and has {channels[1]} now"
    with pytest.raises(sppkit.MeasurementError, match=message):
        sppkit.measure(net, batches)


class Shown(nn.Module):
    """Shows its input as the output of one site, changed by ``change``."""

    def __init__(self, site: Site, change: Callable[[Tensor], object] = lambda x: x) -> None:
        super().__init__()
        self.output, self.site, self.change = nn.Identity(), site, change

    def forward(self, x: Tensor) -> object:
        return self.output(self.change(x))

    def signal_sites(self) -> list[Site]:
        return [self.site]


# Shape, channel_axis, the axes that are reduced, and channels, height and width of the row.
LAYOUTS = {
    "N,C": ((6, 5), None, (0,), (5, None, None)),
    "N,T,C": ((2, 7, 5), None, (0, 1), (5, 7, None)),
    "N,C,L": ((2, 5, 7), 1, (0, 2), (5, 7, None)),
    "N,C,H,W": ((2, 5, 3, 4), None, (0, 2, 3), (5, 3, 4)),
    "N,H,W,C": ((2, 3, 4, 5), -1, (0, 1, 2), (5, 3, 4)),
    "N,H,C,W": ((2, 3, 5, 4), 2, (0, 1, 3), (5, 3, 4)),
    "N,C,D,H,W": ((2, 5, 6, 3, 4), None, (0, 2, 3, 4), (5, 3, 4)),
    "N,D,H,W,C": ((2, 6, 3, 4, 5), 4, (0, 1, 2, 3), (5, 3, 4)),
}


@pytest.mark.parametrize(("shape", "axis", "reduced", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_against_float64_by_hand(
    shape: tuple[int, ...], axis: int | None, reduced: tuple[int, ...], expected: tuple[int | None, ...]
) -> None:
    # Every axis gets an offset of its own: reducing a wrong one changes both numbers.
    generator = np.random.default_rng(0)
    x = generator.normal(size=shape)
    for index, size in enumerate(shape):
        offsets = generator.normal(size=size) * (index + 1)
        x += offsets.reshape([-1 if i == index else 1 for i in range(len(shape))])
    x = x.astype(np.float32).astype(np.float64)
    (row,) = sppkit.measure(Shown(Site(0, 0, "s", "block_output", "output", axis)), torch.tensor(x).float()).to_dict(
        "records"
    )
    np.testing.assert_allclose(row["channel_variance"], x.var(reduced).mean(), rtol=1e-5)
    np.testing.assert_allclose(row["channel_squared_mean"], (x.mean(reduced) ** 2).mean(), rtol=1e-5)
    found = [row[column] for column in ("channels", "height", "width")]
    assert [None if value is not None and value != value else value for value in map(_absent, found)] == list(expected)


def _absent(value: object) -> object:
    return None if value is None or str(value) in {"<NA>", "nan"} else value


SIGNALS = {
    "1d": (
        lambda x: x[:, 0, 0, 0],
        None,
        r"must be a floating-point tensor of shape \(N, C, \.\.\.\), not shape \(2,\)",
    ),
    "integers": (lambda x: x.long(), None, r"must be a floating-point tensor .*, not shape .*torch\.int64"),
    "tuple": (lambda x: (x, x), None, "must be a floating-point tensor .*, not tuple"),
    "no channel": (lambda x: x[:, :0], None, r"has shape \(2, 0, 4, 4\): no values to measure"),
    "no sample": (lambda x: x[:0], None, r"has shape \(0, 3, 4, 4\): no values to measure"),
    "axis 4": (lambda x: x, 4, r"channel_axis 4 of 'output' does not fit .*: from 1 to 3, or from -3 to -1"),
    "axis -4": (lambda x: x, -4, "channel_axis -4 of 'output' does not fit"),
}


@pytest.mark.parametrize(("change", "axis", "message"), SIGNALS.values(), ids=SIGNALS)
def test_a_signal_that_can_not_be_reduced_is_refused(
    change: Callable[[Tensor], object], axis: int | None, message: str
) -> None:
    with pytest.raises(sppkit.SppkitError, match=message):
        sppkit.measure(Shown(Site(0, 0, "s", "block_output", "output", axis), change), batch())


@pytest.mark.parametrize("when", ["before", "behind", "around"])
def test_a_compiled_model_reaches_every_site(when: str) -> None:
    net = Net()
    expected = sppkit.measure(net, batch(), mode="eval")
    compiled = torch.compile(net, backend="eager")
    if when == "before":
        compiled(batch())
    if when == "around":
        with sppkit.Probe(net.eval()) as probe, torch.no_grad():
            compiled(batch())
        table = probe.table()
    else:
        table = sppkit.measure(compiled, batch(), mode="eval")
    assert table.equals(expected)

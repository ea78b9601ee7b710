"""measure and Probe: the table they return, and the trace they do not leave."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import sppkit
from sppkit.measuring import measure as measuring
from sppkit.measuring import reduce
from sppkit.record.table import COLUMNS, INTEGER_COLUMNS


def small(arch: str = "bn-relu-conv", **options: object) -> nn.Module:
    return sppkit.build_model(arch, **{"stages": (1, 2), "width": 0.125, **options})


def batch(samples: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(samples, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_columns_types_and_rows_are_the_contract() -> None:
    table = sppkit.measure(small(), batch(), seed=7)
    assert tuple(table.columns) == COLUMNS
    assert all(str(table[column].dtype) == "Int64" for column in INTEGER_COLUMNS)
    assert table["block"].tolist() == [0, 1, 2, 3]
    assert table["stage"].tolist() == [0, 1, 2, 2]
    assert table["name"].tolist() == ["stem", "blocks.0", "blocks.1", "blocks.2"]
    assert table["seed"].tolist() == [7] * 4
    assert np.isnan(table["residual_variance"][0])
    assert table["residual_variance"][1:].notna().all()
    assert (table["nonfinite"] == 0).all()


def snapshot(model: nn.Module) -> list[object]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [
        [(name, tensor.detach().clone(), id(tensor)) for name, tensor in tensors],
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        [(name, module.training, len(module._forward_hooks)) for name, module in model.named_modules()],
        [p.requires_grad for p in model.parameters()],
        (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()),
        (torch.is_grad_enabled(), torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32),
    ]


def equal(a: object, b: object) -> bool:
    if isinstance(a, (Tensor, np.ndarray)):
        return bool((a == b).all())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


class Failing(nn.Module):
    """A network whose third block raises, after it has drawn random numbers and moved running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small()
        self.inner.blocks[2].register_forward_pre_hook(self.fail)

    def fail(self, module: nn.Module, inputs: object) -> None:
        torch.rand(3), np.random.rand(), random.random()
        raise RuntimeError("planted failure\nsecond line")

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def signal_sites(self) -> list[sppkit.Site]:
        return [sppkit.Site(s.block, s.stage, s.name, s.role, f"inner.{s.path}") for s in self.inner.signal_sites()]


@pytest.mark.parametrize("mode", [None, "train", "eval"])
@pytest.mark.parametrize("fails", [False, True], ids=["runs", "fails"])
def test_the_model_is_left_as_it_was(mode: str | None, fails: bool) -> None:
    model = Failing() if fails else small("nf-resnet", stochastic_depth=0.5, se=True)
    if not fails:
        model(batch()).sum().backward()
    model.train()
    next(module for module in model.modules() if isinstance(module, nn.Conv2d)).eval()
    before = snapshot(model)
    if fails:
        with pytest.raises(sppkit.MeasurementError, match=r"failed after blocks\.1: planted failure$"):
            sppkit.measure(model, batch(), mode=mode)
    else:
        sppkit.measure(model, batch(), mode=mode)
    assert equal(before, snapshot(model))


def test_the_comparison_of_states_can_fail() -> None:
    model = small()
    before = snapshot(model)
    model(batch())  # moves the running statistics
    assert not equal(before, snapshot(model))


def test_train_mode_uses_batch_statistics_and_eval_mode_stored_ones() -> None:
    model = small()
    train = sppkit.measure(model, batch(), mode="train")
    fresh = sppkit.measure(model, batch(), mode="eval")
    assert not np.allclose(train["channel_variance"][1:], fresh["channel_variance"][1:], rtol=0.1)
    warm = sppkit.measure(model, batch(), mode="eval", warmup=[batch()] * 100)
    # Running statistics of one batch, seen 100 times with momentum 0.1, are that batch's but for 0.9^100 = 3e-5 and
    # the factor n/(n-1) of their unbiased variance: n = 64 values in the smallest map.
    np.testing.assert_allclose(warm["channel_variance"], train["channel_variance"], rtol=0.05)
    assert (model.blocks[0].norm0.running_mean == 0).all()


def test_without_a_device_nothing_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    # A model that lies on several devices would be torn apart.
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    monkeypatch.setattr(nn.Module, "to", lambda *_: pytest.fail("moved"))
    monkeypatch.setattr("sppkit.measuring.measure.find_target", lambda *_: torch.device("meta"))
    monkeypatch.setattr("sppkit.measuring.measure._run", lambda *_: None)
    probe = sppkit.Probe(model)
    measuring._measure_module(probe, model, [], None, None, 0, [])
    with pytest.raises(pytest.fail.Exception, match="moved"):
        measuring._measure_module(probe, model, [], "meta", None, 0, [])


def test_mode_none_keeps_the_flags() -> None:
    model = small().eval()
    kept = sppkit.measure(model, batch())
    pd.testing.assert_frame_equal(kept, sppkit.measure(model, batch(), mode="eval"))


def test_batches_merge_to_their_union() -> None:
    model = small("nf-resnet")
    x = batch(12)
    whole = sppkit.measure(model, x)
    split = sppkit.measure(model, [x[:1], x[1:5], x[5:]])
    # Convolutions of other batch sizes sum in another order.
    for column in ("channel_squared_mean", "channel_variance", "residual_variance"):
        np.testing.assert_allclose(split[column], whole[column], rtol=1e-5)


def test_probe_merges_the_users_own_passes_and_removes_its_hooks() -> None:
    model = small("nf-resnet")
    x = batch(8)
    with sppkit.Probe(model) as probe:
        model(x[:3])
        model(x[3:])
    pd.testing.assert_frame_equal(probe.table(), sppkit.measure(model, [x[:3], x[3:]]))
    assert not any(module._forward_hooks for module in model.modules())


def test_probe_of_a_model_that_was_not_run_says_so() -> None:
    with sppkit.Probe(small()) as probe:
        pass
    with pytest.raises(sppkit.MeasurementError, match=r"7 of 7 sites were never reached, the first at 'stem_pool'"):
        probe.table()


def test_forward_called_past_the_hooks_is_refused() -> None:
    model = small()
    with sppkit.Probe(model) as probe:
        for block in model.blocks:
            block.forward(torch.zeros(2, block.conv0.in_channels, 8, 8))
    with pytest.raises(sppkit.MeasurementError, match="Call the model itself"):
        probe.table()


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = small("nf-resnet")

    def forward(self, image: Tensor, unused: int = 0) -> Tensor:
        return self.inner(image)

    def signal_sites(self) -> list[sppkit.Site]:
        return [sppkit.Site(s.block, s.stage, s.name, s.role, f"inner.{s.path}") for s in self.inner.signal_sites()]


def generator() -> Iterator[Tensor]:
    yield batch()


FORMS = {
    "tensor": batch,
    "tuple": lambda: (batch(), "label"),
    "mapping": lambda: {"image": batch(), "unused": 1},
    "list": lambda: [batch()],
    "list of tuples": lambda: [(batch(), 3)],
    "generator": generator,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_input(form: object) -> None:
    expected = sppkit.measure(Wrapped(), batch())
    pd.testing.assert_frame_equal(sppkit.measure(Wrapped(), form()), expected)


def test_batches_limits_how_many_are_taken() -> None:
    model = small("nf-resnet")
    endless = (batch(seed=seed) for seed in iter(int, 1))
    pd.testing.assert_frame_equal(sppkit.measure(model, endless, batches=2), sppkit.measure(model, [batch(), batch()]))


def test_stats_chooses_what_is_measured() -> None:
    table = sppkit.measure(small(), batch(), stats=["channel_variance"])
    assert table["channel_variance"].notna().all()
    assert table["residual_variance"].isna().all()
    assert tuple(table.columns) == COLUMNS


REFUSED = {
    "path": (lambda: sppkit.measure(small(), "photos/"), "inputs must be a tensor"),
    "no batch": (lambda: sppkit.measure(small(), []), "the inputs are empty"),
    "channels": (
        lambda: sppkit.measure(small(), torch.zeros(2, 4, 32, 32)),
        "failed before the first block: .*channels",
    ),
    "rank": (lambda: sppkit.measure(small(), torch.zeros(2, 3)), "failed before the first block"),
    "dtype": (lambda: sppkit.measure(small(), torch.zeros(2, 3, 32, 32, dtype=torch.long)), "before the first block"),
    "one value": (
        lambda: sppkit.measure(small(stages=(1, 1, 1, 1)), torch.randn(1, 3, 32, 32), mode="train"),
        r"failed after blocks\.2: Expected more than 1 value per channel",
    ),
    "warm-up": (
        lambda: sppkit.measure(small(), batch(), warmup=[torch.zeros(2, 4, 32, 32)]),
        "failed during warm-up: .*channels",
    ),
}


@pytest.mark.parametrize(("act", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals_are_clear(act: object, message: str) -> None:
    with pytest.raises(sppkit.SppkitError, match=message):
        act()


# Each argument's illegal values and the message, in which {} stands for the value.
ILLEGAL = {
    "mode": (["test", 3, [], {}, b"train"], "mode must be 'train', 'eval' or None, not {}"),
    "batches": ([0, -1, 1.5, "a", True, []], "batches must be a whole number of at least 1, not {}"),
    "seed": (
        ["a", None, 1.5, -1, True, [], 2**63, 2**70],
        "seed must be a whole number from 0 to 9223372036854775807, ",
    ),
    "stats": ([5, [], {}], "stats must be names with commas between, not {}"),
    "stats ": (["variance", ["variance"], ("channel_variance", "variance")], "unknown statistic 'variance'"),
    "warmup": (
        [5, None, "ab"],
        "warmup must be a tensor, a mapping, a tuple, an sppkit.Call, or an iterable of these, not ",
    ),
    "on_site": ([3, "print"], "on_site must be a function of a site, not {}"),
    "inputs": (
        [3, None, 1.5, "photos/", b"ab"],
        "inputs must be a tensor, a mapping, a tuple, an sppkit.Call, or an iterable",
    ),
}
CASES = {f"{name.strip()}={value!r}": (name, value) for name, (values, _) in ILLEGAL.items() for value in values}


@pytest.mark.parametrize(("name", "value"), CASES.values(), ids=CASES)
def test_an_argument_that_means_nothing_is_refused(name: str, value: object) -> None:
    message = re.escape(ILLEGAL[name][1].replace("{}", repr(value)))
    with pytest.raises(sppkit.UsageError, match=message):
        sppkit.measure(small(), **{"inputs": batch(), name.strip(): value})
    if name.strip() in {"seed", "stats", "on_site"}:
        with pytest.raises(sppkit.UsageError, match=message):
            sppkit.Probe(small(), **{name.strip(): value})


@pytest.mark.parametrize("seed", ["a", None, 1.5, -1, True, 2**63], ids=repr)
def test_a_seed_of_the_weights_that_means_nothing_is_refused(seed: object) -> None:
    with pytest.raises(sppkit.UsageError, match="--seed must be"):
        small(seed=seed)


@pytest.mark.parametrize("seed", [3, np.int64(3), np.uint8(3)], ids=repr)
def test_numpy_integers_are_whole_numbers(seed: int) -> None:
    assert torch.equal(small(seed=seed).stem.weight, small(seed=3).stem.weight)
    table = sppkit.measure(small(), [batch()] * 3, seed=seed, batches=np.int64(1))
    pd.testing.assert_frame_equal(table, sppkit.measure(small(), batch(), seed=3))


def test_the_largest_seed() -> None:
    assert sppkit.measure(small(seed=2**63 - 1), batch(), seed=2**63 - 1)["seed"].tolist() == [2**63 - 1] * 4


BATCHES = {
    "array": (np.zeros((2, 3, 32, 32)), "a batch must be a tensor, .*, not a NumPy array .torch.from_numpy makes"),
    "float": (1.0, "a batch must be a tensor, a mapping .*, or an sppkit.Call, not float"),
    "None": (None, "a batch must be a tensor, .*, not NoneType"),
    "tuple of tuples": (((batch(),),), "a batch must be a tensor, .*, not tuple"),
    "empty tuple": ((), "must not be empty"),
    "no sample": (torch.zeros(0, 3, 32, 32), r"the batch of shape \(0, 3, 32, 32\) is empty"),
    "no pixel": (torch.zeros(2, 3, 0, 0), r"the batch of shape \(2, 3, 0, 0\) is empty"),
    "meta": (torch.empty(2, 3, 32, 32, device="meta"), "the input is on the meta device: it has a shape but no values"),
    "nan": (torch.full((2, 3, 32, 32), torch.nan), "6144 of 6144 values that are not finite"),
    "nan in a mapping": ({"x": torch.full((1, 3), torch.inf)}, "3 of 3 values that are not finite"),
}


@pytest.mark.parametrize("argument", ["inputs", "warmup"])
@pytest.mark.parametrize(("value", "message"), BATCHES.values(), ids=BATCHES)
def test_a_batch_that_can_not_be_fed_is_refused(value: object, message: str, argument: str) -> None:
    model = small()
    before = snapshot(model)
    with pytest.raises(sppkit.UsageError, match=message):
        sppkit.measure(model, **{"inputs": batch(), argument: [value]})
    assert equal(before, snapshot(model))


def test_an_array_is_not_taken_for_a_sequence_of_batches() -> None:
    with pytest.raises(sppkit.UsageError, match="inputs must hold tensors, not a NumPy array"):
        sppkit.measure(small(), batch().numpy())


def test_the_name_of_one_statistic_may_stand_alone() -> None:
    table = sppkit.measure(small(), batch(), stats="channel_variance")
    pd.testing.assert_frame_equal(table, sppkit.measure(small(), batch(), stats=["channel_variance"]))


WARM_UPS = {"tensor": batch, "tuple": lambda: (batch(), "label"), "generator": lambda: (batch() for _ in range(1))}


@pytest.mark.parametrize("form", WARM_UPS.values(), ids=WARM_UPS)
def test_every_form_of_warm_up(form: object) -> None:
    expected = sppkit.measure(small(), batch(), mode="eval", warmup=[batch()])
    pd.testing.assert_frame_equal(sppkit.measure(small(), batch(), mode="eval", warmup=form()), expected)
    assert not expected.equals(sppkit.measure(small(), batch(), mode="eval"))


def breaking_off() -> Iterator[Tensor]:
    yield batch()
    raise OSError("disk gone")


def fail_at(site: sppkit.Site) -> None:
    raise ZeroDivisionError("by the user's callback")


# What is not the model's fault.
FOREIGN = {
    "inputs": (lambda model: sppkit.measure(model, breaking_off()), OSError, "^disk gone$"),
    "warmup": (lambda model: sppkit.measure(model, batch(), warmup=breaking_off()), OSError, "^disk gone$"),
    "on_site": (lambda model: sppkit.measure(model, batch(), on_site=fail_at), ZeroDivisionError, "^by the user's"),
}


@pytest.mark.parametrize(("act", "error", "message"), FOREIGN.values(), ids=FOREIGN)
def test_what_the_callers_own_code_raises_comes_through(act: object, error: type[Exception], message: str) -> None:
    model = small("bn-relu-conv")
    before = snapshot(model)
    with pytest.raises(error, match=message):
        act(model)
    assert equal(before, snapshot(model))


DEFAULTS = {
    "float64": (lambda: torch.set_default_dtype(torch.float64), lambda: torch.set_default_dtype(torch.float32)),
    "meta": (lambda: torch.set_default_device("meta"), lambda: torch.set_default_device(None)),
}


@pytest.mark.parametrize(("change", "restore"), DEFAULTS.values(), ids=DEFAULTS)
@pytest.mark.parametrize("arch", ["bn-relu-conv", "nf-resnet"])
def test_the_users_default_type_and_device_change_nothing(arch: str, change: object, restore: object) -> None:
    options = {"se": True, "activation": torch.sin}
    model, x = small(arch, **options), batch()
    expected = sppkit.measure(model, x)
    change()
    try:
        built = small(arch, **options)
        table = sppkit.measure(built, x)
    finally:
        restore()
    for (name, tensor), other in zip(model.state_dict().items(), built.state_dict().values(), strict=True):
        assert (tensor.dtype, tensor.device) == (other.dtype, other.device), name
        assert torch.equal(tensor, other), name
    pd.testing.assert_frame_equal(table, expected)


def test_half_precision_network_is_measured_in_full_precision() -> None:
    model = small("nf-resnet").to(torch.bfloat16)
    table = sppkit.measure(model, batch().to(torch.bfloat16))
    reference = sppkit.measure(small("nf-resnet"), batch())
    # bfloat16 has 8 bits: 0.4 % per operation, some of it averaged out.
    np.testing.assert_allclose(table["channel_variance"], reference["channel_variance"], rtol=0.03)


def test_exploding_network_shows_its_true_curve_beyond_single_precision() -> None:
    # Without a normalizer the second moment doubles per block: 200 blocks later the variance has passed 3.4e38, the
    # largest float32, while the activations themselves, about 1e22, are far from it.
    model = sppkit.build_model("he-resnet", stages=(200,), width=0.25)
    true = []
    handles = [
        block.register_forward_hook(lambda module, inputs, x: true.append(float(x.double().var((0, 2, 3)).mean())))
        for block in model.blocks
    ]
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    table = sppkit.measure(model, x)
    assert true[-1] > 3.4e38
    # The twin divides by n - 1 = 127 instead of n.
    np.testing.assert_allclose(table["channel_variance"][1:], np.array(true) * 127 / 128, rtol=1e-6)
    assert (table["nonfinite"] == 0).all()


def test_activations_beyond_single_precision_are_counted_and_shown() -> None:
    model = sppkit.build_model("he-resnet", stages=(3,), width=0.125, skip_gain=1e30)
    table = sppkit.measure(model, torch.randn(2, 3, 16, 16))
    assert table["nonfinite"].tolist()[:2] == [0, 0]
    assert table["nonfinite"].tolist()[3] > 0
    assert not np.isfinite(table["channel_variance"][3])


def test_what_is_kept_is_proportional_to_channels_and_not_to_the_signal() -> None:
    kept = []
    for size in (32, 128):
        model = small("nf-resnet")
        with sppkit.Probe(model) as probe:
            model(torch.randn(2, 3, size, size))
        moments = [m for heard in probe._listener.heard.values() for m in heard.value.values()]
        kept.append([m.mean.numel() + m.m2.numel() for m in moments])
        assert kept[-1] == [2 * heard.shape[1] for heard in probe._listener.heard.values()]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("single", [False, True])
def test_all_moments_are_fetched_from_the_device_at_once(single: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    real = Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda self: fetched.append(tuple(self.shape)) or real(self))
    # The CPU in the part of a device: nothing is summarized while the network runs.
    monkeypatch.setattr(reduce, "_is_elsewhere", lambda kept: True)
    monkeypatch.setattr(sppkit.Probe, "_summarize_site", sppkit.Probe._reduce_site)
    model = small("nf-resnet")
    expected = sppkit.measure(model, batch())
    fetched.clear()
    with sppkit.Probe(model, single=single) as probe, torch.no_grad():
        model(batch())
    assert fetched == []
    pd.testing.assert_frame_equal(probe.table(), expected)
    channels = [heard.shape[1] for heard in probe._listener.heard.values()]
    # Two numbers of every channel and a count of each of the seven signals; the statistics are on the host then: two
    # of four outputs, and one of three branches.
    assert fetched == [(2 * sum(channels) + 7,), (4 * 2 + 3,)]


def test_numbers_of_several_devices_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a GPU the moments are on the host when other statistics are still on the device; "meta" stands for it here.
    real = Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda self: torch.full(self.shape, 7.0) if self.is_meta else real(self))
    scalars = [torch.tensor(1.0), torch.tensor(0.0, device="meta"), 3, torch.tensor(4), 5.5]
    assert reduce.fetch(scalars) == [1, 7, 3, 4, 5.5]

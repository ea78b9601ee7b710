"""Faults that only a backward pass shows: each is found in its block, from the end; one of the signal is told once."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import sppkit
from sppkit.config.resolve import resolve_config
from sppkit.curves.curves import Curves
from sppkit.gate.baseline import Baseline, read_baseline, write_baseline
from sppkit.gate.difference import Difference
from sppkit.gate.policy import load_policy
from sppkit.measuring.run import run

SEEDS = 2
# A model after a change, and the input of one seed.
Change = Callable[[nn.Module], None]


class Scaled(torch.autograd.Function):
    """The identity, whose gradient is multiplied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.factor * gradient, None


class Last(torch.autograd.Function):
    """ReLU, whose backward pass takes the mask of the module's last call."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.Module) -> Tensor:
        ctx.module = module
        module.mask = x > 0
        return x.relu()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient * torch.roll(ctx.module.mask, 1, 0), None


class Block(nn.Module):
    """A pre-normalized residual block of linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.into, self.act, self.out = (
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )  # fmt: skip

    def branch(self, x: Tensor) -> Tensor:
        return self.out(self.act(self.into(self.norm(x))))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class Rounded(torch.autograd.Function):
    """Rounding, with an estimator of its gradient or without one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, estimate: float) -> Tensor:
        ctx.estimate = estimate
        return (8 * x).round() / 8

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.estimate * gradient, None


class Quantized(Block):
    """With a rounding that lets gradients pass."""

    estimate = 1.0

    def branch(self, x: Tensor) -> Tensor:
        return Rounded.apply(super().branch(x), self.estimate)


class Attention(Block):
    """A transformer's two branches."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.first, self.mix = nn.LayerNorm(width), nn.MultiheadAttention(width, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        u = self.first(x)
        x = x + self.mix(u, u, u, need_weights=False)[0]
        return x + self.branch(x)


def dense(kind: type[Block], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(*(kind(64) for _ in range(4)))


def vectors(seed: int) -> Tensor:
    return torch.randn(64, 64, generator=torch.Generator().manual_seed(seed))


def tokens(seed: int) -> Tensor:
    return torch.randn(4, 16, 64, generator=torch.Generator().manual_seed(seed))


def images(seed: int) -> Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def named(arch: str, seed: int, **options: object) -> nn.Module:
    return sppkit.build_model(arch, stages=(2, 2), width=0.25, seed=seed, **options)


NETWORKS: dict[str, tuple[Callable[[int], nn.Module], Callable[[int], Tensor]]] = {
    "dense": (partial(dense, Block), vectors),
    "quantized": (partial(dense, Quantized), vectors),
    "transformer": (partial(dense, Attention), tokens),
    "bn-relu-conv": (partial(named, "bn-relu-conv"), images),
    # alpha 0.2: a branch is a twentieth of what comes back.
    "nf-resnet": (partial(named, "nf-resnet"), images),
    "he-resnet": (partial(named, "he-resnet"), images),
}


def measure(network: str, change: Change | None = None, stats: str = "spp,gradient") -> pd.DataFrame:
    build, inputs = NETWORKS[network]
    tables = []
    for seed in range(SEEDS):
        model = build(seed)
        if change is not None:
            change(model)
        tables.append(sppkit.measure(model, inputs(seed), stats=stats, seed=seed, mode="train"))
    return pd.concat(tables, ignore_index=True)


def output(model: nn.Module, path: str, function: Callable[[Tensor], Tensor]) -> None:
    model.get_submodule(path).register_forward_hook(lambda module, inputs, result: function(result))


def without_grad(path: str, model: nn.Module) -> None:
    module = model.get_submodule(path)
    forward = module.forward

    def ungraded(*arguments: Any) -> Any:
        with torch.no_grad():
            return forward(*arguments)

    module.forward = ungraded


def detached(path: str, model: nn.Module) -> None:
    output(model, path, torch.detach)


def scaled(path: str, factor: float, model: nn.Module) -> None:
    output(model, path, lambda y: Scaled.apply(y, factor))


def hooked(path: str, factor: float, model: nn.Module) -> None:
    model.get_submodule(path).register_full_backward_hook(lambda module, into, out: (factor * into[0],))


def no_estimator(path: str, model: nn.Module) -> None:
    block: Any = model.get_submodule(path)
    block.estimate = 0.0


def skip_detached(path: str, model: nn.Module) -> None:
    block: Any = model.get_submodule(path)
    block.forward = lambda x: x.detach() + block.branch(x)


def input_detached(path: str, model: nn.Module) -> None:
    block: Any = model.get_submodule(path)
    forward = block.forward
    block.forward = lambda x, *more: forward(x.detach(), *more)


def shared(model: nn.Module) -> None:
    """Blocks 0 and 2 share an activation that keeps one mask for both."""
    blocks: Any = model
    activation = nn.ReLU()
    activation.forward = lambda x: Last.apply(x, activation)  # type: ignore[method-assign]
    blocks[0].act = blocks[2].act = activation


# Network, fault, and the row of the block that has it.
FAULTS = [
    ("dense", partial(detached, "1.out"), "1"),
    ("dense", partial(detached, "3.norm"), "3"),
    ("dense", partial(without_grad, "2.into"), "2"),
    ("dense", partial(scaled, "1.act", 0.5), "1"),
    # Behind the sum that is the value of row 2.
    ("dense", partial(scaled, "2", 3.0), "3"),
    ("dense", partial(hooked, "2.into", 2.0), "2"),
    ("dense", partial(skip_detached, "2"), "2"),
    ("dense", partial(input_detached, "2"), "2"),
    ("dense", shared, "2"),
    ("quantized", partial(no_estimator, "1"), "1"),
    ("quantized", partial(no_estimator, "3"), "3"),
    ("transformer", partial(detached, "2.first"), "2"),
    ("transformer", partial(scaled, "1.into", 0.1), "1"),
    ("transformer", partial(detached, "1.out"), "1"),
    ("bn-relu-conv", partial(detached, "blocks.1.conv1"), "blocks.1"),
    ("bn-relu-conv", partial(detached, "blocks.2.shortcut"), "blocks.2"),
    ("bn-relu-conv", partial(without_grad, "blocks.2.norm1"), "blocks.2"),
    ("bn-relu-conv", partial(scaled, "blocks.2", 0.8), "blocks.2"),
    ("nf-resnet", partial(detached, "blocks.1.conv2"), "blocks.1"),
    ("nf-resnet", partial(scaled, "blocks.3.conv0", 0.5), "blocks.3"),
    ("he-resnet", partial(without_grad, "blocks.3.conv2"), "blocks.3"),
    ("he-resnet", partial(input_detached, "blocks.1"), "blocks.1"),
]


def describe(item: object) -> str:
    if isinstance(item, partial):
        return f"{item.func.__name__} {' '.join(map(str, item.args))}"
    return getattr(item, "__name__", str(item))


@pytest.fixture(scope="module")
def baselines() -> dict[str, pd.DataFrame]:
    return {name: measure(name) for name in NETWORKS}


@pytest.mark.parametrize(("network", "fault", "place"), FAULTS, ids=describe)
def test_a_fault_of_the_backward_pass_is_found_in_its_block(
    network: str, fault: Change, place: str, baselines: dict[str, pd.DataFrame]
) -> None:
    table = measure(network, fault)
    forward = ["channel_squared_mean", "channel_variance", "residual_variance"]
    pd.testing.assert_frame_equal(table[forward], baselines[network][forward], rtol=1e-6)
    verdict = sppkit.check(table, baseline=baselines[network], policy={"preset": "any", "nonfinite": {"level": "off"}})
    found = [finding for finding in verdict.findings if finding.kind == "baseline"]
    assert len(found) == 1, verdict
    assert found[0].name.partition("#")[0] == place
    assert found[0].statistic in {"gradient_second_moment", "gradient_factor", "branch_gradient_share"}
    assert "baseline's" in found[0].cause or "no record" in found[0].cause
    assert not verdict.passed
    # Without the backward pass nobody sees it.
    columns = [column for column in table if "gradient" not in column]
    blind = sppkit.check(table[columns], baseline=baselines[network][columns], policy="any")
    assert not [finding for finding in blind.findings if finding.kind == "baseline"]


HARMLESS: list[tuple[str, Change]] = [
    ("dense", lambda model: model.requires_grad_(False)),
    ("dense", lambda model: [block.act.__setattr__("inplace", True) for block in model]),  # type: ignore[func-returns-value]
    ("dense", lambda model: scaled("1", 1.0, model)),
    ("dense", lambda model: output(model, "2", lambda y: y * 2 / 2)),
    ("bn-relu-conv", lambda model: model.to(memory_format=torch.channels_last)),
    ("bn-relu-conv", lambda model: scaled("blocks.1.conv1", 1.0, model)),
    ("nf-resnet", lambda model: [output(model, f"blocks.{k}.conv1", lambda y: y.double().float()) for k in range(4)]),  # type: ignore[func-returns-value]
    ("transformer", lambda model: [block.mix.__setattr__("batch_first", True) for block in model]),  # type: ignore[func-returns-value]
]


@pytest.mark.parametrize(("network", "change"), HARMLESS, ids=[f"{name} {at}" for at, (name, _) in enumerate(HARMLESS)])
def test_a_harmless_change_passes(network: str, change: Change, baselines: dict[str, pd.DataFrame]) -> None:
    verdict = sppkit.check(measure(network, change), baseline=baselines[network], policy="any")
    assert [finding for finding in verdict.findings if finding.kind == "baseline"] == []
    assert any("gradient: paired by seed, and the baseline's" in line for line in verdict.tests)


def test_other_code_in_another_order_passes(baselines: dict[str, pd.DataFrame]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        table = measure("he-resnet")
    finally:
        torch.set_num_threads(threads)
    assert not [f for f in sppkit.check(table, baseline=baselines["he-resnet"]).findings if f.kind == "baseline"]


def dropped(path: str, model: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, nn.Identity())


# Their weights are keyed, and say so: rows stay paired behind a change.
KEYED = {"arch": "bn-relu-conv", "network": {"blocks": 4}, "random_stream": "keyed"}
FORWARD = [
    ("bn-relu-conv", lambda model: output(model, "blocks.2.conv2", lambda y: 2 * y), "blocks.2"),
    ("bn-relu-conv", partial(dropped, "blocks.2.norm2"), "blocks.2"),
]


@pytest.mark.parametrize(("network", "fault", "place"), FORWARD, ids=["scaled", "norm2"])
def test_a_fault_of_the_signal_is_told_once_and_where_it_is(
    network: str, fault: Change, place: str, baselines: dict[str, pd.DataFrame]
) -> None:
    base = Baseline("", baselines[network], KEYED, {})
    verdict = sppkit.check(measure(network, fault), baseline=base, policy="any", record=KEYED)
    found = [finding for finding in verdict.findings if finding.kind == "baseline"]
    assert min(found, key=lambda finding: finding.block).name == place
    assert all("gradient" not in finding.statistic for finding in found)
    assert any("follows from the signal" in line for line in verdict.tests)


def test_many_faults_are_told_in_one(baselines: dict[str, pd.DataFrame]) -> None:
    def plant(model: nn.Module) -> None:
        for path in ("0.out", "2.out", "3.out"):
            detached(path, model)

    verdict = sppkit.check(measure("dense", plant), baseline=baselines["dense"], policy="any")
    (found,) = [finding for finding in verdict.findings if finding.kind == "baseline"]
    assert found.name == "3"
    assert found.cause.endswith("; also in 2") or "also in 0" in found.cause
    assert found.found == 0


def test_a_little_everywhere_is_more_than_a_little(baselines: dict[str, pd.DataFrame]) -> None:
    """0.6 % in each of three blocks are within a block's limit, and 2 % at the input are not."""

    def plant(model: nn.Module) -> None:
        for path in "012":
            scaled(path, math.sqrt(0.994), model)

    verdict = sppkit.check(measure("dense", plant), baseline=baselines["dense"], policy="any")
    (found,) = [finding for finding in verdict.findings if finding.kind == "baseline"]
    assert found.ratio == pytest.approx(0.994, abs=0.001)


def test_a_policy_may_allow_more(baselines: dict[str, pd.DataFrame]) -> None:
    table = measure("dense", partial(scaled, "1", 0.8))

    def findings(**limits: object) -> list[str]:
        policy = {"preset": "any", **limits}
        verdict = sppkit.check(table, baseline=baselines["dense"], policy=policy)
        return [finding.level for finding in verdict.findings if finding.kind == "baseline"]

    assert findings() == ["error"]
    assert findings(gradient_factor={"ratio": 2.0}) == []
    assert findings(gradient_factor={"level": "off"}) == []
    assert findings(gradient_factor={"ratio": 1.1, "level": "warn"}) == ["warn"]


def test_what_cannot_be_compared_is_said(baselines: dict[str, pd.DataFrame]) -> None:
    base = baselines["dense"]
    unmeasured = sppkit.check(measure("dense", stats="spp"), baseline=base, policy="any")
    assert unmeasured.passed
    assert any("it was not measured here" in line for line in unmeasured.tests)
    others = sppkit.check(base.assign(seed=base["seed"] + 7), baseline=base, policy="any")
    assert any("the gradient is not compared" in line for line in others.tests)
    forward = [column for column in base if "gradient" not in column]
    silent = sppkit.check(base, baseline=base[forward], policy="any")
    assert not any("gradient" in line for line in silent.tests)


def test_a_baseline_keeps_gradients(tmp_path: Path, baselines: dict[str, pd.DataFrame]) -> None:
    write_baseline("base", baselines["dense"], {}, tmp_path / "base.json", reason="it is healthy")
    again = read_baseline(tmp_path / "base.json").table.sort_values(["seed", "block"], ignore_index=True)
    for column in ("gradient_second_moment", "gradient_squared_mean", "branch_gradient_share"):
        assert again[column].to_list() == pytest.approx(baselines["dense"][column].to_list(), rel=1e-8, nan_ok=True)
    fault = measure("dense", partial(detached, "1.out"))
    assert not sppkit.check(fault, baseline=tmp_path / "base.json", policy="any").passed


def diagnosed(network: str, change: Change, record: dict[str, Any] | None = None) -> list[tuple[str, str, str]]:
    return [
        (item.name, item.severity, item.block_name) for item in sppkit.diagnose(measure(network, change), record)
        if item.name.startswith("cut-")
    ]  # fmt: skip


def test_a_cut_is_found_without_a_baseline() -> None:
    assert diagnosed("dense", partial(input_detached, "2")) == [("cut-gradient", "warning", "2")]
    assert diagnosed("dense", partial(detached, "1.out")) == [("cut-branch", "warning", "1")]
    assert diagnosed("transformer", partial(without_grad, "3.into")) == [("cut-branch", "warning", "3#2")]
    known = {"arch": "bn-relu-conv", "network": {"blocks": 4}}
    assert ("cut-gradient", "error", "blocks.2") in diagnosed(
        "bn-relu-conv", partial(input_detached, "blocks.2"), known
    )


def zero_gain(model: nn.Module) -> None:
    for block in model.children():
        nn.init.zeros_(block.out.weight)
        nn.init.zeros_(block.out.bias)


@pytest.mark.parametrize("change", [lambda model: None, lambda model: model.requires_grad_(False), zero_gain])
@pytest.mark.parametrize("network", ["dense", "transformer"])
def test_what_lets_gradients_back_is_not_called_cut(network: str, change: Change) -> None:
    assert diagnosed(network, change) == []


class Embedded(nn.Module):
    """Blocks beside which an embedding is added that does not depend on the signal, as in a diffusion network."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(64) for _ in range(3))
        self.embed = nn.Linear(8, 64)

    def forward(self, x: Tensor) -> Tensor:
        when = torch.ones(len(x), 8)
        for block in self.blocks:
            x = block(x + self.embed(when))
        return x


def test_an_embedding_that_is_added_is_no_cut_branch() -> None:
    torch.manual_seed(0)
    table = sppkit.measure(Embedded(), vectors(0), stats="spp,gradient")
    assert not [item for item in sppkit.diagnose(table) if item.name.startswith("cut-")]


def test_an_underflow_is_no_cut() -> None:
    """In half precision a gradient that fades away is 0 at last, and was small before."""
    rows = pd.DataFrame({
        "seed": 0, "block": range(5), "stage": 1, "name": [f"b{k}" for k in range(5)], "channels": 64, "height": 8,
        "width": 8, "nonfinite": 0, "channel_squared_mean": 0.0, "channel_variance": 1.0, "residual_variance": 1.0,
        "gradient_second_moment": [0.0, 0.0, 1e-9, 1e-4, 1.0],
    })  # fmt: skip
    cut = [item.name for item in sppkit.diagnose(rows, {"dtype": "float32"}) if item.name.startswith("cut")]
    faint = [item.name for item in sppkit.diagnose(rows, {"dtype": "float16"}) if item.name.startswith("cut")]
    assert (cut, faint) == (["cut-gradient"], [])


def test_two_towers_are_no_cut() -> None:
    rows = pd.DataFrame({
        "seed": 0, "block": range(4), "stage": 1, "name": [f"b{k}" for k in range(4)], "channels": 64, "height": 8,
        "width": 8, "nonfinite": 0, "channel_squared_mean": 0.0, "channel_variance": 1.0, "residual_variance": 1.0,
        "gradient_second_moment": [2.0, 0.0, 0.0, 1.0],
    })  # fmt: skip
    assert not [item for item in sppkit.diagnose(rows) if item.name.startswith("cut")]


def test_a_difference_shows_gradients_and_the_block(baselines: dict[str, pd.DataFrame]) -> None:
    policy = load_policy(None, "any")

    def told(table: pd.DataFrame, network: str = "dense") -> tuple[Difference, str]:
        record = {} if network == "dense" else KEYED
        difference = Difference(Curves(table, record), Curves(baselines[network], record), policy)
        console = Console(width=200, record=True, file=io.StringIO())
        for part in difference.render():
            console.print(part)
        return difference, console.export_text()

    same, text = told(baselines["dense"])
    assert not same.differs_at_all
    assert "gradient second moment" in text
    cut, text = told(measure("dense", partial(detached, "1.out")))
    assert cut.differs
    assert "gradient: 1: nothing comes back through its branch" in text
    assert "* 1 of 5 blocks differ" in text
    network, fault, _ = FORWARD[0]
    other, text = told(measure(network, fault), network)
    assert other.differs
    assert "follows from the signal" in text
    assert "gradient: " not in text


def test_exact_takes_every_digit_of_a_gradient(baselines: dict[str, pd.DataFrame]) -> None:
    def verdict(change: Change | None) -> Any:
        return sppkit.check(measure("dense", change), baseline=baselines["dense"], policy="any", exact=True)

    def of(change: Change | None) -> list[tuple[str, str]]:
        return [(item.kind, item.name) for item in verdict(change).findings if item.kind in {"baseline", "exact"}]

    assert of(None) == []
    assert of(partial(scaled, "1.act", 1.0001)) == [("exact", "1")]
    # Of a signal that differs, too, only the signal is told.
    assert {kind for kind, _ in of(lambda model: output(model, "2.out", lambda y: 1.0001 * y))} == {"exact"}
    assert "gradient" not in verdict(lambda model: output(model, "2.out", lambda y: 1.0001 * y)).first.statistic


def off_theory(change: Change | None, arch: str = "bn-relu-conv") -> list[tuple[str, str]]:
    """Diagnoses of a named architecture beside its predictions."""
    table = measure(arch, change)
    options = {"stages": (2, 2), "width": 0.25, "image_size": 32, "batch_size": 4}
    record = run(resolve_config({"arch": arch, **options})).record
    expected = sppkit.predict(arch, **options).set_index("block")
    columns = [column for column in expected if column.startswith("predicted_")]
    table = table.assign(**{column: table["block"].map(expected[column]).astype(float) for column in columns})
    return [(item.name, item.block_name) for item in sppkit.diagnose(table, record) if item.severity == "error"]


def test_a_gradient_off_theory_is_found_in_its_block() -> None:
    assert off_theory(None) == off_theory(None, "nf-resnet") == []
    assert "unexpected-gradient" not in [name for name, _ in off_theory(None, "he-resnet")]
    assert off_theory(partial(scaled, "blocks.1.conv1", 6.0)) == [("unexpected-gradient", "blocks.1")]
    assert off_theory(partial(scaled, "blocks.2.conv0", 10.0)) == [("unexpected-gradient", "blocks.2")]
    # Of a signal that is another, its gradient is, too.
    names = [name for name, _ in off_theory(lambda model: output(model, "blocks.1.residual", lambda y: 30 * y))]
    assert "unexpected-gradient" not in names

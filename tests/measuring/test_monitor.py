"""A monitor over real training: its numbers against a plain recomputation, and training as if it were not there."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import sppkit
from measuring.trained_networks import Digits, Text, iter_digits, iter_text
from sppkit import UsageError

STEPS = 50
Batches = Callable[[int], Iterator[tuple[Tensor, Tensor]]]
CASES = pytest.mark.parametrize(("build", "batches"), [(Digits, iter_digits), (Text, iter_text)], ids=["cnn", "gpt"])


def train(
    build: Callable[[], Any],
    batches: Batches,
    *,
    steps: int = STEPS,
    accumulate: int = 1,
    watch: Callable[[Any], None] | None = None,
    autocast: bool = False,
    **monitored: Any,
) -> tuple[Any, sppkit.Monitor | None]:
    """Train a network; ``watch`` is called behind each backward pass."""
    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    monitor = sppkit.Monitor(model, **monitored) if monitored else None
    data = iter(batches(steps * accumulate))
    with monitor or nullcontext():
        for _ in range(steps):
            for _ in range(accumulate):
                x, y = next(data)
                with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                    output = model(x)
                if watch is not None:
                    for _, value in model.seen:
                        value.retain_grad()
                functional.cross_entropy(output.float(), y).backward()
                if watch is not None:
                    watch(model)
            optimizer.step()
            optimizer.zero_grad()
            if monitor is not None:
                monitor.step()
    return model, monitor


def channels(values: list[Tensor]) -> np.ndarray[Any, Any]:
    """Return values as float64 of shape (channels, everything else), several batches side by side."""
    axis = -1 if values[0].ndim == 3 else 1
    return np.concatenate(
        [value.detach().movedim(axis, 0).flatten(1).to(torch.float64).numpy() for value in values], axis=1
    )


def recompute(passes: list[list[tuple[Tensor | None, Tensor, Tensor]]]) -> list[dict[str, float]]:
    """Return what the rows of a step must say, from all values of its passes."""
    rows = []
    for block in zip(*passes, strict=True):
        value, gradient = channels([item[1] for item in block]), channels([item[2] for item in block])
        branch = None if block[0][0] is None else channels([item[0] for item in block])
        rows.append({
            "channel_squared_mean": np.square(value.mean(1)).mean(),
            "channel_variance": value.var(1).mean(),
            "residual_variance": np.nan if branch is None else branch.var(1).mean(),
            "gradient_second_moment": np.square(gradient).mean(),
            "gradient_squared_mean": np.square(gradient.mean(1)).mean(),
        })
    return rows


@CASES
@pytest.mark.parametrize(("accumulate", "autocast"), [(1, False), (2, False), (1, True)], ids=["", "twice", "autocast"])
def test_every_number_is_that_of_a_plain_recomputation(
    build: Callable[[], Any], batches: Batches, accumulate: int, autocast: bool
) -> None:
    passes: list[list[tuple[Tensor | None, Tensor, Tensor]]] = []

    def watch(model: Any) -> None:
        passes.append([(branch, value, value.grad) for branch, value in model.seen])

    steps = STEPS if (accumulate, autocast) == (1, False) else 5
    settings: dict[str, Any] = {"steps": steps, "accumulate": accumulate, "autocast": autocast}
    train(build, batches, watch=watch, **settings)
    _, monitor = train(build, batches, stats=("spp", "gradient"), **settings)
    assert monitor is not None
    table = monitor.table()
    assert list(table["step"].unique()) == list(range(steps))
    assert (table["passes"] == accumulate).all()
    expected = [row for step in range(steps) for row in recompute(passes[step * accumulate : (step + 1) * accumulate])]
    # Sums of float32 values: a few units in its last place.
    pd.testing.assert_frame_equal(
        table[list(expected[0])], pd.DataFrame(expected), rtol=3e-6, atol=1e-12, check_dtype=False
    )


@CASES
def test_training_is_bit_for_bit_the_one_without(build: Callable[[], Any], batches: Batches) -> None:
    bare, _ = train(build, batches)
    states = [torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()]
    watched, _ = train(build, batches, every=7, stats=("spp", "gradient"))
    assert all(
        torch.equal(a, b) for a, b in zip(bare.state_dict().values(), watched.state_dict().values(), strict=True)
    )
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == [np.random.get_state()[1].tolist(), random.getstate()]


def count_hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("build", [Digits, lambda: sppkit.build_model("nf-resnet", stages=(1,), width=0.1)])
def test_between_monitored_steps_no_hook_is_on_the_model(build: Callable[[], nn.Module]) -> None:
    model = build()
    before = count_hooks(model)
    hooks = []
    with sppkit.Monitor(model, every=3) as monitor:
        for _ in range(6):
            hooks.append(count_hooks(model) > before)
            monitor.step()
    assert hooks == [True, False, False, True, False, False]
    assert count_hooks(model) == before


@pytest.mark.parametrize("declares", [True, False])
def test_passes_of_an_evaluation_do_not_count(declares: bool) -> None:
    model: Any = sppkit.build_model("nf-resnet", stages=(1,), width=0.125) if declares else Digits()
    x = torch.randn(4, 3 if declares else 1, 16, 16)
    tables = []
    for evaluates in (False, True):
        with sppkit.Monitor(model) as monitor:
            if evaluates:
                model.eval()
                model(10 * x)
                model.train()
            model(x)
            if evaluates:
                with torch.no_grad():
                    model(10 * x)
            monitor.step()
        tables.append(monitor.table())
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize("seed", [0, 3])
def test_layers_that_training_skips_are_rows_where_they_ran(seed: int) -> None:
    model = Text(depth=4, drop=0.5)
    torch.manual_seed(seed)
    ran: list[int] = []
    with sppkit.Monitor(model) as monitor:
        for x, _ in iter_text(6):
            model(x)
            ran.append(len(model.seen))
            monitor.step()
    table = monitor.table()
    assert table.groupby("step")["block"].count().tolist() == ran
    assert table["block"].max() == 8
    assert len(set(ran)) > 1
    assert table.groupby("block")["name"].nunique().eq(1).all()


def test_layers_skipped_in_one_of_two_passes_say_in_how_many_they_ran() -> None:
    model = Text(depth=2)
    x, _ = next(iter_text(1))
    with sppkit.Monitor(model) as monitor:
        model(x)
        model.blocks[1].drop = 1.0
        model(x)
        monitor.step()
    assert monitor.table()["passes"].tolist() == [2, 2, 2, 1, 1]


class Loop(nn.Module):
    """Adds its branches itself, so that nothing tells which of them was skipped."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.skip = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)]), -1

    def forward(self, x: Tensor) -> Tensor:
        for index, layer in enumerate(self.layers):
            if index != self.skip:
                x = x + layer(x)
        return x


def test_a_step_in_which_layers_can_not_be_told_apart_is_not_recorded(caplog: pytest.LogCaptureFixture) -> None:
    model = Loop()
    with sppkit.Monitor(model) as monitor:
        for skip in (-1, 0, -1):
            model.skip = skip
            model(torch.randn(8, 4))
            monitor.step()
    assert monitor.table()["step"].unique().tolist() == [0, 2]
    assert "step 1 is not recorded: it took another way than the first pass" in caplog.text


@pytest.mark.parametrize(
    ("spoil", "direction", "name"),
    [
        (lambda m: m.blocks[1].wide.bias, "forward", "blocks.1#2"),
        (lambda m: m.blocks[0].qkv.bias, "forward", "blocks.0#1"),
    ],
)
def test_the_first_bad_site_is_named_and_training_goes_on(
    spoil: Callable[[Any], Tensor], direction: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = Text()
    written: list[pd.DataFrame] = []
    with sppkit.Monitor(model, to=written.append) as monitor:
        for index, (x, _) in enumerate(iter_text(4)):
            if index == 2:
                with torch.no_grad():
                    spoil(model)[0] = torch.nan
            model(x)
            monitor.step()
    bad = monitor.first_bad_site
    assert bad is not None
    assert (bad.step, bad.direction, bad.name) == (2, direction, name)
    assert bad.before is not None
    assert bad.before["step"].unique().tolist() == [1]
    assert len(written) == 4
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert said == [
        f"values are not finite at step 2: going {direction}, the first such value is at {name!r}; step 1 was finite."
    ]


def test_a_gradient_that_is_not_finite_is_found_from_the_end_on() -> None:
    model = Text()
    with sppkit.Monitor(model, stats=("spp", "gradient")) as monitor:
        x, _ = next(iter_text(1))
        model(x)
        model.seen[2][1].register_hook(lambda gradient: gradient * torch.inf)
        model.head(model.seen[-1][1]).square().mean().backward()
        monitor.step()
    bad = monitor.first_bad_site
    assert bad is not None
    assert (bad.direction, bad.name) == ("backward", "blocks.0#2")


def fail(_table: pd.DataFrame) -> None:
    raise ZeroDivisionError


def _watched_step(model: nn.Module, monitor: sppkit.Monitor) -> None:
    model(torch.randn(2, 1, 8, 8))
    monitor.step()


def test_what_a_step_raises_comes_through_and_leaves_no_hook() -> None:
    model = Digits()
    monitor = sppkit.Monitor(model, to=fail)
    with pytest.raises(ZeroDivisionError), monitor:
        _watched_step(model, monitor)
    assert count_hooks(model) == 0
    empty = sppkit.Monitor(model).table()
    assert empty.empty
    assert list(empty.columns)[:3] == ["step", "seed", "block"]


def test_several_contexts_go_on_counting() -> None:
    model = Digits()
    monitor = sppkit.Monitor(model, every=2)
    for _ in range(2):
        with monitor:
            for x, _ in iter_digits(3):
                model(x)
                monitor.step()
    assert monitor.table()["step"].unique().tolist() == [0, 2, 4]


def test_compiled_models_are_refused() -> None:
    model = Digits()
    compiled = torch.compile(model, backend="eager")
    with pytest.raises(UsageError, match="the model was compiled before the monitor: compiled code calls no hooks"):
        sppkit.Monitor(compiled)
    model.compile(backend="eager")
    with pytest.raises(UsageError, match=r"Monitor the model that was given to torch\.compile"):
        sppkit.Monitor(model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "every must be a whole number of at least 1, not 0"),
        ({"group": "world"}, "group must be None, not 'world': a monitor does not merge processes"),
        ({"to": "runs/spp.csv"}, "to must be csv:PATH, parquet:PATH, .* or several of them, not 'runs/spp.csv'"),
        ({"to": ("csv:",)}, "to must be csv:PATH"),
        ({"to": (3,)}, "to must be csv:PATH.* not 3"),
    ],
)
def test_wrong_arguments(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sppkit.Monitor(Digits(), **settings)


def test_wrong_order_of_calls() -> None:
    monitor = sppkit.Monitor(Digits())
    with pytest.raises(UsageError, match=r"monitor\.step\(\) was called outside of the monitor"):
        monitor.step()
    with monitor:
        with pytest.raises(UsageError, match="this monitor is open already"):
            monitor.__enter__()
        with pytest.raises(UsageError, match="load the state of a monitor before you enter"):
            monitor.load_state_dict({"step": 1})
    with pytest.raises(UsageError, match="this is no state of a monitor: it has no 'step'"):
        monitor.load_state_dict({})

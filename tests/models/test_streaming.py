"""Streaming gives bit for bit the table of the whole network, and holds one block's weights at a time."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn
from torch.autograd.graph import GradientEdge

import sppkit
from sppkit.config.resolve import resolve_config
from sppkit.errors import UsageError
from sppkit.measuring import named_architecture
from sppkit.measuring.run import run
from sppkit.models import streaming
from sppkit.models.build import lay_out
from sppkit.models.memory import available_bytes, check_fits, count_parameters, needed_bytes
from sppkit.models.spec import build_spec
from sppkit.models.streaming import streamed
from sppkit.record.table import write_csv

CASES = {
    "nf": {"arch": "nf-resnet", "se": True},
    "nf silu, half": {"arch": "nf-resnet", "activation": "silu", "dtype": "bfloat16"},
    "bn, two batches": {"arch": "bn-relu-conv", "batches": 2},
    "relu-bn, eval after warm-up": {"arch": "relu-bn-conv", "mode": "eval", "warmup": 3, "batches": 2},
    "he, basic, double": {"arch": "he-resnet", "block": "basic", "dtype": "float64", "seeds": 2},
    "ws": {"arch": "bn-relu-conv", "weights": "ws", "stem": "cifar", "padding": "circular"},
    "dropped branches": {"arch": "nf-resnet", "stochastic_depth": 0.5},
}
GRADIENTS = {
    **CASES,
    "noise": {"arch": "bn-relu-conv", "noise": 0.1},
    "running estimates": {"arch": "bn-relu-conv", "norm": "bcn-est", "batches": 2},
    "dropout": {"arch": "bn-relu-conv", "norm": "ic"},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_streaming_gives_the_same_bytes(case: dict, tmp_path: Path) -> None:
    options = {"stages": (2, 3), "width": 0.125, "image_size": 32, "batch_size": 4, **case}
    for how in ("on", "off"):
        result = run(resolve_config({**options, "streaming": how}))
        write_csv(result.table, tmp_path / f"{how}.csv")
        assert result.record["streamed"] is (how == "on")
    assert (tmp_path / "on.csv").read_bytes() == (tmp_path / "off.csv").read_bytes()


@pytest.mark.parametrize("case", GRADIENTS.values(), ids=GRADIENTS)
def test_streaming_gives_the_same_gradients(case: dict) -> None:
    options = {"stages": (2, 3), "width": 0.125, "image_size": 32, "batch_size": 4, "stats": "spp,gradient", **case}
    on, off = (run(resolve_config({**options, "streaming": how})) for how in ("on", "off"))
    assert (on.record["streamed"], off.record["streamed"]) == (True, False)
    pd.testing.assert_frame_equal(on.table, off.table, rtol=1e-6 if case.get("dtype") != "bfloat16" else 1e-3)
    assert on.table["gradient_second_moment"].notna().all()
    assert on.table["branch_gradient_share"].notna().any()
    assert on.warnings == off.warnings


@pytest.mark.parametrize("case", ["bn, two batches", "running estimates", "dropout", "dropped branches"])
def test_segments_of_segments_give_the_same_gradients(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_SEGMENTS", 2)  # nine blocks on four levels
    options = {"stages": (4, 5), "width": 0.125, "image_size": 32, "batch_size": 4, "stats": "spp,gradient"}
    on, off = (run(resolve_config({**options, "streaming": how, **GRADIENTS[case]})) for how in ("on", "off"))
    assert on.record["streamed"]
    pd.testing.assert_frame_equal(on.table, off.table, rtol=1e-6)


def test_running_statistics_move_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_SEGMENTS", 2)
    model = lay_out(build_spec("bn-relu-conv", {"stages": (5,), "width": 0.125}))
    with streamed(model, 0, torch.device("cpu"), torch.float32, differentiated=True), torch.enable_grad():
        y = model(torch.randn(2, 3, 32, 32))
        moved = [buffer.clone() for buffer in model.buffers()]
        torch.autograd.grad(y, next(iter(_inputs_of(y))), torch.randn_like(y))
        # Also those of a block that a segment leaves out as soon as all is there that the gradient asks for.
        assert all(map(torch.equal, model.buffers(), moved))


def test_what_is_held_for_the_way_back_grows_with_the_logarithm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_SEGMENTS", 2)
    most = {}
    for depth in (8, 32):
        model = lay_out(build_spec("bn-relu-conv", {"stages": (depth,), "width": 0.125}))
        held: set[int] = set()
        high = [0]

        def pack(value: torch.Tensor, held: set[int] = held, high: list[int] = high) -> weakref.finalize:
            kept = value.detach()
            held.add(id(kept))
            weakref.finalize(kept, held.discard, id(kept))
            high[0] = max(high[0], len(held))
            return kept

        with (
            streamed(model, 0, torch.device("cpu"), torch.float32, differentiated=True),
            torch.enable_grad(),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept),
        ):
            y = model(torch.randn(2, 3, 32, 32))
            torch.autograd.grad(y, next(iter(_inputs_of(y))), torch.randn_like(y))
        most[depth] = high[0]
        assert "run_blocks" not in vars(model)
    # Two inputs on each further level, of which there are two more.
    assert most[32] - most[8] <= 2 * 2


def test_a_block_that_changes_what_it_is_handed_is_not_run_again() -> None:
    options = {"arch": "bn-relu-conv", "norm": "bkn", "stages": (1, 1), "width": 0.125, "image_size": 32}
    with pytest.raises(UsageError, match="a block with --norm bkn has changed what it was handed"):
        run(resolve_config({**options, "streaming": "on", "stats": "gradient"}))


def loaded(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.device.type != "meta")


def test_one_block_is_held_at_a_time() -> None:
    spec = build_spec("nf-resnet", {"stages": (3, 3), "width": 0.125})
    model = lay_out(spec)
    largest = max(sum(p.numel() for p in block.parameters()) for block in model.blocks)
    held = []
    for block in model.blocks:
        block.residual.register_forward_hook(lambda *_: held.append(loaded(model)))
    with streamed(model, 0, torch.device("cpu"), torch.float32), torch.no_grad():
        model(torch.randn(2, 3, 32, 32))
    assert len(held) == 6
    assert 0 < max(held) <= largest
    assert loaded(model) == 0
    assert not any(block._forward_pre_hooks or block._forward_hooks for block in model.blocks)


def test_one_block_is_held_at_a_time_also_on_the_way_back() -> None:
    spec = build_spec("bn-relu-conv", {"stages": (3, 3), "width": 0.125})
    model = lay_out(spec)
    largest = max(sum(p.numel() for p in block.parameters()) for block in model.blocks)
    held, kept, given = [], [], []
    for block in model.blocks:
        block.residual.register_forward_hook(lambda *_: held.append(loaded(model)))
    for part in (model.stem, model.stem_pool, *model.blocks):
        part.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].numel()))
    with streamed(model, 0, torch.device("cpu"), torch.float32, differentiated=True), torch.enable_grad():
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
            y = model(torch.randn(2, 3, 32, 32))
        assert sorted(kept) == sorted(given)
        torch.autograd.grad(y, next(iter(_inputs_of(y))), torch.randn_like(y), allow_unused=True)
    assert len(held) == 12
    assert 0 < max(held) <= largest
    assert loaded(model) == 0
    assert not any("forward" in vars(block) for block in model.blocks)
    with streamed(model, 0, torch.device("cpu"), torch.float32), torch.no_grad():
        torch.testing.assert_close(model(torch.zeros(2, 3, 32, 32)), model(torch.zeros(2, 3, 32, 32)))


def _inputs_of(value: torch.Tensor) -> Iterator[GradientEdge]:
    """What a value was first computed from, that autograd knows of: the stem's output."""
    node = value.grad_fn
    while node.name() != "MaxPool2DWithIndicesBackward0":
        node = next(item for item, _ in node.next_functions if item is not None)
    yield GradientEdge(node, 0)


def test_a_network_that_needs_less_streamed_is_streamed() -> None:
    spec, shape = build_spec("nf-resnet", {"depth": 600}), (8, 3, 224, 224)
    whole, streamed_ = (sum(needed_bytes(spec, shape, differentiated=True, streamed=on)) for on in (False, True))
    assert streamed_ < 4 * 2**30 < whole


def test_neighbouring_blocks_share_their_memory() -> None:
    model = lay_out(build_spec("nf-resnet", {"stages": (4,), "width": 0.125}))
    places = []
    for block in model.blocks[1:]:
        block.residual.register_forward_hook(lambda *_, block=block: places.append(block.conv1.weight.data_ptr()))
    with streamed(model, 0, torch.device("cpu"), torch.float32), torch.no_grad():
        model(torch.randn(2, 3, 32, 32))
    assert len(set(places)) == 1


def test_a_failure_leaves_no_weights_behind() -> None:
    model = lay_out(build_spec("nf-resnet", {"stages": (2,), "width": 0.125}))
    with pytest.raises(RuntimeError, match="channels"), streamed(model, 0, torch.device("cpu"), torch.float32):
        model(torch.randn(2, 4, 32, 32))
    assert loaded(model) == 0


def test_auto_streams_what_would_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    size = {"depth": 50, "width": 0.25}
    options = {"arch": "nf-resnet", "image_size": 32, "batch_size": 2, **size}
    assert run(resolve_config(options)).record["streamed"] is False
    from sppkit.measuring import named_architecture as module
    from sppkit.models import memory

    # Room for the weights alone, not for the activations as well.
    room = 4 * count_parameters(build_spec("nf-resnet", size))
    monkeypatch.setattr(memory, "available_bytes", lambda: room)
    monkeypatch.setattr(module, "available_bytes", lambda: room)
    assert run(resolve_config(options)).record["streamed"] is True
    with pytest.raises(sppkit.DoesNotFitError, match="GiB are free"):
        run(resolve_config({**options, "streaming": "off"}))


def test_a_network_too_large_even_for_streaming_is_refused() -> None:
    huge = build_spec("nf-resnet", {"depth": 12, "width": 500})
    assert needed_bytes(huge, streamed=True)[0] > available_bytes()
    with pytest.raises(sppkit.DoesNotFitError, match="for its weights"):
        check_fits(huge, streamed=True)


# The child reads its own peak: its rusage would begin with the memory of the process that it was forked from.
PEAK = """
from sppkit.config.resolve import resolve_config
from sppkit.measuring.run import run
run(resolve_config({{"arch": "nf-resnet", "depth": {depth}, "width": 0.25, "image_size": 32, "streaming": "on"}}))
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


def peak(depth: int) -> int:
    done = subprocess.run([sys.executable, "-c", PEAK.format(depth=depth)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_depth() -> None:
    # A block's modules take about 30 kB; its weights at this width 70 kB to 1.1 MB, 0.3 MB on average: without
    # streaming the deeper network would take 160 MB more.
    assert peak(1500) < 1.2 * peak(150)


@pytest.mark.parametrize("streaming", ["on", "off"])
def test_a_network_is_gone_before_the_next_seeds_is_built(streaming: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[nn.Module]] = []

    def counted(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        def wrapper(*arguments: object, **options: object) -> nn.Module:
            assert [ref() for ref in made] == [None] * len(made)
            model = build(*arguments, **options)
            made.append(weakref.ref(model))
            return model

        return wrapper

    name = "lay_out" if streaming == "on" else "build_from_spec"
    monkeypatch.setattr(named_architecture, name, counted(getattr(named_architecture, name)))
    flags = {"arch": "nf-resnet", "stages": (1,), "width": 0.125, "image_size": 16, "seeds": 3, "streaming": streaming}
    gc.disable()  # it may come to Python's mind at any time
    try:
        run(resolve_config(flags, None))
    finally:
        gc.enable()
    assert [ref() for ref in made] == [None] * 3

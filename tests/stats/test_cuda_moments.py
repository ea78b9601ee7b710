"""The kernels of the CUDA path, run by Triton's interpreter on the CPU and compiled for GPUs that are not here.

Where there is a GPU, also: the path agrees with the CPU's, is captured in a CUDA graph, and waits for nothing.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import multiprocessing
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from test_moments import PATTERNS, assert_moments, normal
from torch import Tensor, nn

import sppkit
from sppkit.measuring.forward.full_precision import full_float32
from sppkit.models.build import lay_out
from sppkit.models.spec import build_spec
from sppkit.stats import cuda_moments as module
from sppkit.stats.channel_moments import ChannelMoments
from sppkit.stats.cuda_moments import Plan, cuda_moments, make_plan
from sppkit.stats.moments import bring_to_host, channel_moments

if TYPE_CHECKING:
    import pandas as pd

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")


def needs_gpu(test: Callable[..., None]) -> Callable[..., None]:
    skip = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    return pytest.mark.gpu(skip(test))


# Triton's interpreter.


def interpret() -> None:
    # Triton reads it when it is imported, which may have happened in this process; hence another one.
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="module")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=interpret) as pool:
        yield pool


Interpreted = Callable[..., ChannelMoments]


@pytest.fixture
def interpreted(interpreter: ProcessPoolExecutor) -> Interpreted:
    """What the kernels make of a signal; keywords are settings of ``sppkit.stats.cuda_moments``."""

    def run(x: Tensor | Callable[[], Tensor], **settings: int) -> ChannelMoments:
        count, (mean, m2, nonfinite, _) = interpreter.submit(run_kernels, x, settings).result()
        return ChannelMoments(count, torch.from_numpy(mean), torch.from_numpy(m2), torch.tensor(nonfinite.sum()))

    return run


def run_kernels(signal: Tensor | Callable[[], Tensor], settings: dict[str, int]) -> tuple[Any, ...]:
    from sppkit.stats import triton_moments as kernels

    x = signal if isinstance(signal, Tensor) else signal()
    x = x.flatten(2) if x.ndim > 2 else x.unsqueeze(2)
    redone = []
    exact = kernels._exact
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setattr(module, name, value)
        make_plan.cache_clear()
        patch.setattr(kernels, "_exact", lambda *args: (redone.append(1), exact(*args))[1])
        mean, m2, nonfinite = cuda_moments(x)
    return x.shape[0] * x.shape[2], (mean.numpy(), m2.numpy(), nonfinite.numpy(), len(redone))


LAYOUTS = {
    "NCHW": lambda x: x,
    "NHWC": lambda x: x.contiguous(memory_format=torch.channels_last),
    "NTC": lambda x: x.flatten(2).transpose(1, 2).contiguous().transpose(1, 2),
    "every other channel": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "rows transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "CNHW": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "expanded": lambda x: x[:1].expand_as(x),
}


def shifted(x: Tensor, ratios: list[float]) -> Tensor:
    """Give every channel a mean of its own."""
    return x + torch.tensor(ratios).view(1, -1, *[1] * (x.ndim - 2))


@needs_triton
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_ratio_and_layout(interpreted: Interpreted, layout: Callable[[Tensor], Tensor]) -> None:
    x = layout(shifted(normal(3, 5, 9, 11), [0, 1, 10, 1e2, 1e4]))
    assert_moments(interpreted(x), x)


SHAPES = [(1, 1), (1, 3), (4, 6), (1, 2, 3), (2, 3, 7, 7), (10, 2, 100), (700, 3, 5), (8, 2, 28, 28), (2, 70, 1, 1)]


@needs_triton
@pytest.mark.parametrize("tile", [module.TILE, 64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape(interpreted: Interpreted, shape: tuple[int, ...], tile: int) -> None:
    x = shifted(normal(*shape), [channel % 3 * 30 for channel in range(shape[1])])
    assert_moments(interpreted(x, TILE=tile), x)


@needs_triton
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_adversaries_of_single_precision(interpreted: Interpreted, pattern: Any, layout: str) -> None:
    x = LAYOUTS[layout](pattern(normal(3, 8, 40, 50)))
    assert_moments(interpreted(x), x)


def one_sided() -> Tensor:
    """Alternating signs, in tiles of 8 the same terms d² = 1 + 3e-5 in every lane, 1400 of them.

    From 512 on a float32 sum can't hold the 3e-5, and loses it with every term: 1.9e-5 of the variance in the end.
    """
    return (1 + 1.5e-5) * torch.tensor([1.0, -1.0]).repeat(5600).view(1, 1, 100, 112)


@needs_triton
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_values_whose_roundings_all_go_one_way(interpreted: Interpreted, layout: str) -> None:
    x = LAYOUTS[layout](one_sided())
    assert_moments(interpreted(x, TILE=8, PROGRAMS=1), x)


@needs_triton
def test_without_the_flush_the_numbers_would_be_wrong(interpreter: ProcessPoolExecutor) -> None:
    mean, m2, _ = interpreter.submit(run_without_flush, one_sided()).result()
    with pytest.raises(AssertionError, match=r"variance off by 1\.9e-05"):
        assert_moments(ChannelMoments(11200, *map(torch.from_numpy, (mean, m2)), torch.tensor(0)), one_sided())


def run_without_flush(x: Tensor) -> tuple[Any, ...]:
    from sppkit.stats import triton_moments as kernels

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "FLUSH", 10**6)
        return run_kernels(x, {"TILE": 8, "PROGRAMS": 1})[1][:3]


@needs_triton
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_exact_as_its_values(interpreted: Interpreted, dtype: torch.dtype, layout: str) -> None:
    # The last channel's squares are beyond float16.
    scales = torch.tensor([1, 1, 1, 300]).view(4, 1, 1)
    x = LAYOUTS[layout]((scales * shifted(normal(4, 4, 30, 30), [0, 3, 30, 0])).to(dtype))
    assert_moments(interpreted(x), x)


@needs_triton
@pytest.mark.parametrize(("layout", "runs"), [("NCHW", 1), ("NCHW", 256), ("NHWC", 256)])
@pytest.mark.parametrize(
    ("planted", "mean"),
    [((np.nan, np.nan), "nan"), ((np.inf, np.inf), "inf"), ((-np.inf, -np.inf), "-inf"), ((np.inf, -np.inf), "nan")],
    ids=str,
)
def test_nonfinite_values_are_counted_and_not_dropped(
    interpreted: Interpreted, planted: tuple[float, float], mean: str, layout: str, runs: int
) -> None:
    x = normal(4, 3, 20, 20)
    x[1, 2, 3, 4], x[2, 2, 19, 19] = planted
    found = interpreted(LAYOUTS[layout](x), TILE=16, PROGRAMS=runs)
    assert int(found.nonfinite) == 2
    assert (str(float(found.mean[2])), str(float(found.m2[2]))) == (mean, "nan")
    assert_moments(ChannelMoments(1600, found.mean[:2], found.m2[:2], torch.tensor(0)), x[:, :2])


@needs_triton
def test_runs_are_merged_to_the_same_moments(interpreted: Interpreted) -> None:
    # Each run has a mean of its own.
    x = normal(1, 2, 60, 40) + torch.linspace(-3, 40, 60).view(60, 1)
    whole = interpreted(x, TILE=16, PROGRAMS=1)
    assert_moments(whole, x)
    for programs in (9, 100):
        found = interpreted(x, TILE=16, PROGRAMS=programs)
        assert make_runs(x, TILE=16, PROGRAMS=programs) > 2
        assert_moments(found, x)
        torch.testing.assert_close(found.m2, whole.m2, rtol=1e-6, atol=0)
    again = interpreted(x, TILE=16, PROGRAMS=9)
    assert again.m2.tolist() == interpreted(x, TILE=16, PROGRAMS=9).m2.tolist()


def make_runs(x: Tensor, **settings: int) -> int:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setattr(module, name, value)
        return plan_of(x.flatten(2)).runs


def plan_of(x: Tensor) -> Plan:
    make_plan.cache_clear()
    return make_plan(x.shape, x.stride())


UNEQUAL = torch.cat([torch.zeros(1, 1, 1, 64), normal(1, 1, 20, 64) + 50], 2)

REDONE = {
    "normal": (normal(2, 4, 32, 32), 0),
    "far from 0": (normal(2, 4, 32, 32) + 1e4, 0),
    "far from 0, in a tile that is not full": (normal(1, 3, 5, 7) + 1e4, 0),
    "half of it dead": (torch.relu(normal(2, 4, 32, 32)), 0),
    "constant": (torch.ones(2, 3, 8, 8), 3),
    "tiny": (normal(2, 3, 8, 8) * 1e-25, 3),
    "huge": (normal(2, 3, 8, 8) * 1e25, 3),
    "not finite": (torch.full((2, 3, 8, 8), torch.nan), 3),
    "unlike its beginning": (UNEQUAL, 1),
}


@needs_triton
@pytest.mark.parametrize(("x", "expected"), REDONE.values(), ids=REDONE)
def test_a_channel_is_read_again_where_it_must_be_and_not_otherwise(
    interpreter: ProcessPoolExecutor, x: Tensor, expected: int
) -> None:
    # Tiles of 64: the first one of "unlike its beginning" holds nothing but zeros.
    _, (*_, redone) = interpreter.submit(run_kernels, x, {"TILE": 64, "PROGRAMS": 1}).result()
    assert redone == expected


WIDE = {
    "samples": ((3, 2, 2), (2**30, 2, 1)),
    "channels": ((2, 3, 2), (2, 2**30, 1)),
    "channels last": ((1, 2, 3), (0, 1, 2**30)),
}


@needs_triton
@pytest.mark.parametrize(("shape", "strides"), WIDE.values(), ids=WIDE)
def test_a_signal_that_32_bits_can_not_address(
    interpreted: Interpreted, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    found = interpreted(functools.partial(make_wide, shape, strides))
    values = torch.arange(12).float()[: shape[0] * shape[1] * shape[2]].view(shape).transpose(0, 1).flatten(1)
    assert found.mean.tolist() == values.mean(1).tolist()
    np.testing.assert_allclose(found.variance, values.var(1, correction=0), rtol=1e-6)


def make_wide(shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
    # Only the pages that are written exist.
    x = torch.empty(2**31 + 100, dtype=torch.bfloat16).as_strided(shape, strides)
    return x.copy_(torch.arange(12)[: x.numel()].view(shape))


# What a launch is given.


def test_a_contiguous_activation_takes_one_launch_and_one_program_per_channel() -> None:
    for channels, side in ((64, 56), (256, 56), (512, 28), (1024, 14), (2048, 7)):
        for batch in (1, 8, 32):
            plan = plan_of(torch.empty(batch, channels, side * side, device="meta"))
            assert (plan.block[0], plan.runs) == (1, 1) or batch == 32, (channels, batch)


def test_a_tile_of_several_samples_holds_all_of_their_positions() -> None:
    # On which the kernel counts.
    for samples, channels, length in itertools.product((1, 3, 700), (1, 5, 300), (1, 49, 3136, 5000)):
        for x in (torch.empty(samples, channels, length), torch.empty(channels, samples, length).transpose(0, 1)):
            plan = plan_of(x)
            assert plan.block[1] == 1 or plan.block[2] >= plan.length, plan


def test_neighbouring_threads_read_neighbours_in_memory() -> None:
    x = torch.empty(8, 256, 56, 56, device="meta")
    nhwc = plan_of(x.contiguous(memory_format=torch.channels_last).flatten(2))
    assert (nhwc.samples, nhwc.length, nhwc.strides[2]) == (1, 8 * 56 * 56, 256)
    assert nhwc.block[0] == 64
    # The programs of channels alone would leave most of a GPU idle.
    assert 4 * nhwc.runs > 128


def test_what_the_kernel_does_not_take_goes_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_launcher", lambda: lambda x, plan: pytest.fail("launched"))
    assert cuda_moments(torch.zeros(2, 3, 4, dtype=torch.float64)) is None
    assert cuda_moments(nn.Parameter(torch.zeros(2, 3, 4))) is None
    assert cuda_moments(torch.zeros(0, 3, 4)) is None
    with torch._subclasses.FakeTensorMode():
        assert cuda_moments(torch.zeros(2, 3, 4)) is None


@pytest.mark.parametrize("error", [ImportError("no triton"), RuntimeError("0 active drivers")], ids=repr)
def test_without_triton_torch_takes_them(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> object:
        assert name == "sppkit.stats.triton_moments"
        raise error

    monkeypatch.setattr(module.importlib, "import_module", fail)
    module._launcher.cache_clear()
    try:
        assert cuda_moments(torch.zeros(2, 3, 4)) is None
    finally:
        module._launcher.cache_clear()


def test_a_kernel_that_can_not_be_compiled_is_tried_once_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernels:
        @property
        def moments_kernel(self) -> object:
            tried.append(1)
            raise RuntimeError("Failed to find C compiler.\nInstall one.")

    tried: list[int] = []
    launch = module._Launcher(Kernels())
    monkeypatch.setattr(module, "_launcher", lambda: launch)
    with pytest.warns(RuntimeWarning, match=r"can't be compiled here, so torch takes .*: Failed to find C compiler\.$"):
        assert cuda_moments(torch.zeros(2, 3, 4)) is None
    assert cuda_moments(torch.zeros(2, 3, 4)) is None
    assert len(tried) == 1


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("not permitted")])
def test_a_full_device_or_a_capture_is_not_taken_for_a_kernel_that_can_not_be_compiled(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> object:
        raise error

    launch = module._Launcher(None)
    monkeypatch.setattr(module, "_launcher", lambda: launch)
    monkeypatch.setattr(module, "_empty", fail)
    if not isinstance(error, torch.OutOfMemoryError):
        monkeypatch.setattr(module, "_captures", lambda x: True)
    with pytest.raises(type(error), match=str(error)):
        cuda_moments(torch.zeros(2, 3, 4))
    assert launch.works


def test_triton_is_imported_by_no_one_else() -> None:
    code = "import sys, torch, sppkit.stats.moments as m; m.channel_moments(torch.ones(2, 3, 4)); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "sppkit.stats.cuda_moments" in done.stdout
    assert not {"triton", "sppkit.stats.triton_moments"} & set(done.stdout.split())


COMPILED = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from sppkit.stats import triton_moments as kernels

def compile(kernel, types, constants, aligned, target, warps):
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=GPUTarget("cuda", target, 32), options={"num_warps": warps}).asm["ptx"]

def numbers(kernel):
    return [name for name in kernel.arg_names if name not in types and name.islower()]

kind, target = sys.argv[1], int(sys.argv[2])
types = {"x": kind, "moments": "*fp64", "nonfinite": "*i64", "merged": "*fp64", "merged_nonfinite": "*i64"}
aligned = ["x", "moments", "nonfinite", "channels", "length", "sample_stride"]
wide = {"stride": 1, "BLOCK_C": 1, "BLOCK_N": 1, "BLOCK_L": 4096}
last = {"samples": 1, "channel_stride": 1, "BLOCK_C": 64, "BLOCK_N": 1, "BLOCK_L": 64}
print(compile(kernels.moments_kernel, types, wide, [*aligned, "channel_stride"], target, 8))
print("----")
print(compile(kernels.moments_kernel, types, last, [*aligned, "stride"], target, 8))
# Triton makes constants of the arguments that are 1.
ones = {name: 1 for name in (*numbers(kernels.moments_kernel), "BLOCK_C", "BLOCK_N", "BLOCK_L")}
compile(kernels.moments_kernel, types, ones, [], target, 1)
ones = {name: 1 for name in (*numbers(kernels.merge_kernel), "BLOCK_C", "BLOCK_N", "BLOCK_L")} | {"RUNS": 2}
compile(kernels.merge_kernel, types, ones, [], target, 1)
print("----")
merge = {"BLOCK_C": 16, "BLOCK_N": 1, "BLOCK_L": 64, "RUNS": 64}
print(compile(kernels.merge_kernel, types, merge, ["moments", "nonfinite", "channels"], target, 4))
"""


@needs_triton
@pytest.mark.parametrize(("kind", "target"), [("*fp32", 80), ("*bf16", 90), ("*fp16", 75)])
def test_the_kernels_compile_for_gpus_and_read_16_bytes_at_a_time(kind: str, target: int, tmp_path: Any) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-c", COMPILED, kind, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    wide, last, merge = done.stdout.split("----")
    for assembly in (wide, last):
        loads = re.findall(r"ld\.global\.[\w:.]+", assembly)
        assert loads
        assert all(".v4.b32" in load for load in loads), set(loads)
    for assembly in (wide, last, merge):
        # Nothing that depends on who comes first, nothing rounded or flushed beyond what the proof allows.
        assert not re.findall(r"\b(?:atom|red)\.global|\.ftz|\.approx", assembly)


# Nobody waits for the device.


class Joined(nn.Module):
    """A residual block of a user's own, whose joins are found."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch = nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.branch(x)


WATCHED = {
    "nf-resnet": lambda: lay_out(build_spec("nf-resnet", {"stages": (1, 1), "width": 0.125, "se": True})),
    "bn-relu-conv": lambda: lay_out(build_spec("bn-relu-conv", {"stages": (1, 1), "width": 0.125})),
    "one's own": Joined,
}


@pytest.mark.parametrize("stats", [None, ["channel_variance", "dead_fraction", "channel_correlation"]], ids=str)
@pytest.mark.parametrize("build", WATCHED.values(), ids=WATCHED)
def test_a_probed_pass_looks_at_nothing_on_the_host(
    build: Callable[[], nn.Module], stats: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The meta device stands in for a GPU: its tensors have no values, and to look at one or to copy it raises.
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)
    for check in ("measuring.find.check_values", "joins.observe.check_observable"):
        monkeypatch.setattr(f"sppkit.{check}", lambda _: None)
    net, x = build().to("meta"), torch.zeros(2, 3, 32, 32, device="meta")
    with sppkit.Probe(net, stats=stats) as probe:
        net(x)
        net(x)
    for look in (Tensor.item, Tensor.cpu, torch.nonzero):
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            look(net(x).sum())
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        probe.table()


# On a GPU.


@contextmanager
def strict() -> Iterator[None]:
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode")  # a prototype, says torch
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


ON_GPU = {
    **{f"{name}, mean {ratio:g}": functools.partial(lambda f, r: f(normal(4, 64, 28, 28) + r), layout, ratio)
       for name, layout in LAYOUTS.items() for ratio in (0, 10, 1e4)},
    **{name: functools.partial(lambda f: f(normal(4, 8, 90, 100)), pattern) for name, pattern in PATTERNS.items()},
    "two values": one_sided,
}  # fmt: skip


@needs_gpu
@pytest.mark.parametrize("build", ON_GPU.values(), ids=ON_GPU)
def test_the_kernels_on_a_gpu(build: Callable[[], Tensor]) -> None:
    x = build()
    on_gpu = torch.empty_like(x, device="cuda").copy_(x) if 0 not in x.stride() else x[:1].cuda().expand_as(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = channel_moments(on_gpu)
    assert_moments(bring_to_host([found])[0], x)


@needs_gpu
@needs_triton
def test_the_kernels_are_what_runs_on_a_gpu() -> None:
    assert cuda_moments(torch.zeros(2, 3, 4, device="cuda")) is not None


NETWORKS = [("bn-relu-conv", {}), ("relu-bn-conv", {}), ("nf-resnet", {"se": True})]


@needs_gpu
@pytest.mark.parametrize(("arch", "options"), NETWORKS, ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_whole_table_agrees_with_the_cpus(arch: str, options: dict[str, Any], layout: torch.memory_format) -> None:
    net, x = sppkit.build_model(arch, depth=50, width=0.25, **options), normal(4, 3, 64, 64)
    expected = sppkit.measure(net, x)
    there = sppkit.measure(net.cuda().to(memory_format=layout), x.cuda().contiguous(memory_format=layout))
    assert_tables_close(there, expected, rtol=1e-4)


@needs_gpu
def test_half_precision_signals_are_reduced_as_their_float32_copies() -> None:
    # The same bfloat16 pass, its signals upcast before they are reduced: that is what the CPU does.
    net = sppkit.build_model("bn-relu-conv", depth=50, width=0.25).to("cuda", torch.bfloat16)
    x = normal(4, 3, 64, 64).to("cuda", torch.bfloat16)
    signals: dict[str, Tensor] = {}
    hooks = [
        net.get_submodule(site.path).register_forward_hook(
            lambda _module, _args, output, path=site.path: signals.__setitem__(path, output.float().cpu())
        )
        for site in net.signal_sites()
    ]
    with torch.no_grad(), sppkit.Probe(net) as probe:
        net(x)
    for hook in hooks:
        hook.remove()
    table = probe.table().set_index("block")
    for site in net.signal_sites():
        moments = channel_moments(signals[site.path])
        column = "channel_variance" if site.role == "block_output" else "residual_variance"
        assert table.loc[site.block, column] == pytest.approx(float(moments.variance.mean()), rel=1e-4)


def assert_tables_close(found: pd.DataFrame, expected: pd.DataFrame, rtol: float) -> None:
    assert list(found.columns) == list(expected.columns)
    for column in ("channel_variance", "residual_variance", "channel_squared_mean"):
        # A squared mean near 0 beside a variance of 1 is rounding.
        np.testing.assert_allclose(found[column], expected[column], rtol=rtol, atol=rtol * 1e-2, err_msg=column)
    assert found["nonfinite"].sum() == 0


@needs_gpu
@pytest.mark.parametrize("arch", ["bn-relu-conv", "nf-resnet"])
def test_a_probed_pass_is_captured_in_a_cuda_graph(arch: str) -> None:
    net = sppkit.build_model(arch, depth=50, width=0.25).cuda()
    first, second = normal(2, 3, 64, 64).cuda(), normal(2, 3, 64, 64, seed=1).cuda() * 2
    with torch.no_grad(), full_float32():
        with sppkit.Probe(net) as eager:
            net(second)
        expected = eager.table()
        static, probe = first.clone(), sppkit.Probe(net)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side), sppkit.Probe(net):
            for _ in range(3):
                net(static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph), probe:
            net(static)
        static.copy_(second)
        graph.replay()
        torch.cuda.synchronize()
    assert_tables_close(probe.table(), expected, rtol=1e-5)


@needs_gpu
@pytest.mark.parametrize("stats", [None, ["channel_variance", "dead_fraction", "channel_correlation"]], ids=str)
def test_a_probed_pass_synchronizes_nothing(stats: Any) -> None:
    net = sppkit.build_model("bn-relu-conv", depth=50, width=0.25).cuda()
    x = normal(2, 3, 64, 64).cuda()
    with torch.no_grad(), sppkit.Probe(net, stats=stats) as probe:
        net(x)  # compiles, and lets cuDNN choose
        with strict():
            net(x)
            net(x)
    assert probe.table()["nonfinite"].sum() == 0


@needs_gpu
def test_the_strict_mode_sees_what_waits() -> None:
    with strict(), pytest.raises(RuntimeError, match="synchroniz"):
        torch.ones(2, device="cuda").sum().item()

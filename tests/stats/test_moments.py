"""Channel moments against a float64 twin and closed forms, and how they behave under splits, shifts and scales."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from sppkit.machine.mapped_memory import Pieces
from sppkit.stats import cpu_moments, torch_moments
from sppkit.stats import moments as module
from sppkit.stats.channel_moments import ChannelMoments
from sppkit.stats.moments import bring_to_host, channel_moments, merge_moments
from sppkit.stats.spp import channel_squared_mean, channel_variance


@pytest.fixture(autouse=True, scope="module", params=["compiled", "torch"])
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Everything here holds for both: what is compiled, and what runs where there was no compiler."""
    compiled = cpu_moments.native
    if request.param == "compiled" and compiled is None:
        pytest.skip("sppkit was installed without a C compiler")
    cpu_moments.native = compiled if request.param == "compiled" else None
    yield request.param
    cpu_moments.native = compiled


def twin(x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The definition, channel by channel, in NumPy's float64 (80-bit sums where the platform has them)."""
    values = x.detach().cpu().double().numpy().astype(np.longdouble)
    channels = [values[:, c].ravel() for c in range(values.shape[1])]
    means = np.array([c.mean() for c in channels])
    variances = np.array([((c - c.mean()) ** 2).mean() for c in channels])
    return means.astype(float), variances.astype(float)


def assert_moments(found: ChannelMoments, x: torch.Tensor, *, rel: float = 1e-5) -> None:
    mean, variance = twin(x)
    scale = np.maximum(np.abs(mean), 0.1 * np.sqrt(variance))
    errors = np.abs(found.mean.numpy() - mean) / np.where(scale > 0, scale, 1)
    assert errors.max() <= rel, f"mean off by {errors.max():.1e}"
    gap = np.abs(found.variance.numpy() - variance) / np.where(variance > 0, variance, 1)
    assert gap.max() <= rel, f"variance off by {gap.max():.1e}, shape {tuple(x.shape)}, {x.dtype}"
    assert found.count == x.numel() // x.shape[1]
    assert int(found.nonfinite) == 0


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


SHAPES = [
    (8, 16, 56, 56),
    (2, 4, 200, 220),
    (8, 64, 7, 7),
    (3, 5, 1, 1),
    (4, 6),
    (2, 3, 50),
    (2, 3, 4, 5, 6),
    (1, 2, 64, 64),
]


@pytest.mark.parametrize("ratio", [0, 0.3, 1, 3, 3.3, 3.4, 10, 100, 1e3, 1e4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_ratio_of_mean_to_deviation_is_exact(shape: tuple[int, ...], ratio: float) -> None:
    x = normal(*shape) + ratio
    assert_moments(channel_moments(x), x)


PATTERNS = {
    # Adversaries of a float32 sum: equal terms (all roundings alike), order, heavy tails, one giant, tiny, huge.
    "plus or minus 0.1": lambda x: 0.1 * torch.sign(x),
    "sorted": lambda x: x.flatten().sort().values.view_as(x),
    "cauchy": lambda x: x / normal(*x.shape, seed=1).abs().clamp(min=1e-3),
    "one giant": lambda x: torch.cat([x[:, :, :1] * 0 + 1e6, x[:, :, 1:]], dim=2),
    "relu": torch.relu,
    "1e-12": lambda x: x * 1e-12,
    "1e-25": lambda x: x * 1e-25,
    "1e18": lambda x: x * 1e18,
    "1e35": lambda x: x * 1e35,
    "constant": lambda x: torch.full_like(x, 0.1),
    "zero": torch.zeros_like,
    "channels of every scale": lambda x: x * torch.logspace(-20, 20, x.shape[1])[None, :, None, None],
}


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_adversaries_of_single_precision(pattern: object) -> None:
    x = pattern(normal(4, 8, 90, 100))
    found = channel_moments(x)
    assert_moments(found, x)


def count_redone(monkeypatch: pytest.MonkeyPatch, x: torch.Tensor) -> int:
    redone = []

    def spy(x: np.ndarray, channels: np.ndarray, out: np.ndarray) -> int:
        redone.append(len(channels))
        return real(x, channels, out)

    def compiled_spy(*arguments: object) -> tuple[int, int]:
        lost, again = compiled(*arguments)
        redone.append(again)
        return lost, again

    real, compiled = torch_moments._redo, cpu_moments.native
    monkeypatch.setattr(torch_moments, "_redo", spy)
    if compiled is not None:
        monkeypatch.setattr(cpu_moments, "native", compiled_spy)
    channel_moments(x)
    return sum(redone)


def test_exact_path_stays_quiet_where_it_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Means as in a BN-ReLU-Conv network: squared mean 0.47 times the variance on average.
    x = normal(8, 512, 14, 14) + 0.68 * normal(512)[None, :, None, None]
    assert count_redone(monkeypatch, x) == 0


def test_exact_path_takes_the_channels_that_need_it_and_no_others(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    x = normal(4, 32, 60, 60)
    if path == "torch":
        x[:, 3] += 100
        x[:, 7] *= 1e25
        x[:, 9] *= 1e-25
    else:
        # Only a first value d far outside of the n others costs digits, by 1 + d² / (1 + d² / n): at most n = 14400.
        x[0, 3, 0, 0], x[0, 7, 0, 0], x[0, 9, 0, 0], x[0, 11, 0, 0] = 2e3, -1e30, float("inf"), 90
        x[1, 13, 0, 0] = 1e6  # elsewhere it does no harm
    assert count_redone(monkeypatch, x) == 3
    if path == "compiled":
        x[0, 9] = 1
    assert_moments(channel_moments(x), x)


def test_without_the_exact_path_the_numbers_would_be_wrong(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    if path == "compiled":
        pytest.skip("all its sums are in double precision: only what is not finite needs the other path for sure")
    x = normal(4, 4, 50, 50) + 1e3
    monkeypatch.setattr(torch_moments, "_redo", lambda x, channels, out: 0)
    with pytest.raises(AssertionError, match="variance off by"):
        assert_moments(channel_moments(x), x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("ratio", [0, 3, 30])
def test_other_types_are_as_exact_as_their_values(dtype: torch.dtype, ratio: float) -> None:
    x = (normal(4, 6, 30, 30) + ratio).to(dtype)
    assert_moments(channel_moments(x), x)


def test_half_precision_does_not_overflow() -> None:
    x = (300 * normal(4, 6, 30, 30)).to(torch.float16)
    assert_moments(channel_moments(x), x)


def test_any_memory_layout() -> None:
    x = normal(4, 6, 10, 12)
    for view in (x.to(memory_format=torch.channels_last), x.transpose(2, 3), x[:, ::2], x.expand(4, 6, 10, 12)):
        assert_moments(channel_moments(view), view)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"])
def test_values_whose_roundings_all_go_one_way(layout: torch.memory_format) -> None:
    # Few distinct values make float32 sums drift: rows of 4096 were off by up to 1e-4, strided ones by 7e-4.
    levels = torch.linspace(1, 2.7, 64).view(1, -1, 1, 1)
    for seed in range(12):
        chosen = torch.rand(2, 64, 64, 66, generator=torch.Generator().manual_seed(seed)) < 0.1
        x = torch.where(chosen, 2.9, 0.7) * levels
        assert_moments(channel_moments(x.contiguous(memory_format=layout)), x)


@pytest.mark.parametrize("shape", [(5000, 6), (3000, 5, 3, 3), (700, 4, 15)], ids=str)
def test_many_samples_of_few_values(shape: tuple[int, ...]) -> None:
    for ratio in (0, 3.3):
        x = normal(*shape) + ratio
        assert_moments(channel_moments(x), x)
        two = torch.where(x > ratio + 1.3, 2.9, 0.7)
        assert_moments(channel_moments(two), two)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 127, 128, 129, 131, 256, 257, 997, 12544, 12553])
def test_any_length_of_row(length: int) -> None:
    x = normal(3, 4, length) + 3
    assert_moments(channel_moments(x), x)


def test_channels_last_is_as_exact_as_contiguous() -> None:
    x = normal(8, 64, 56, 56) + 3.3
    assert_moments(channel_moments(x.contiguous(memory_format=torch.channels_last)), x)


def test_default_device_and_dtype_do_not_matter() -> None:
    x = normal(4, 6, 30, 30) + 2
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found = channel_moments(x)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_moments(found, x)


def test_autocast_does_not_reduce_precision() -> None:
    x = normal(4, 6, 30, 30) + 2
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_moments(channel_moments(x), x)


def test_row_moments_agree_with_the_twin() -> None:
    # What runs on MPS, which has no float64: float32 per row, merged on the CPU.
    x = normal(6, 5, 400) + 3
    assert_moments(module._row_moments(x), x)


def test_device_path_agrees_with_the_twin() -> None:
    x = normal(3, 7, 500) + 1e4
    mean, m2, nonfinite = module._exact_moments(x)
    assert_moments(ChannelMoments(x.numel() // x.shape[1], mean, m2, nonfinite.sum()), x)


def test_exact_path_works_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 100)
    x = normal(3, 7, 30)
    mean, m2, nonfinite = module._exact_moments(x)
    assert_moments(ChannelMoments(x.numel() // x.shape[1], mean, m2, nonfinite.sum()), x)


@pytest.mark.parametrize(("value", "variance"), [(float("nan"), "nan"), (float("inf"), "nan"), (-float("inf"), "nan")])
def test_nonfinite_values_are_counted_and_not_dropped(value: float, variance: str) -> None:
    x = normal(4, 3, 8, 8)
    x[1, 2, 3, 4] = value
    x[2, 2, 0, 0] = value
    found = channel_moments(x)
    assert int(found.nonfinite) == 2
    assert str(float(found.variance[2])) == variance
    assert torch.isfinite(found.variance[:2]).all()
    assert not np.isfinite(float(channel_variance(found)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [2, 16, 17])
def test_infinities_of_both_signs_raise_no_warning(side: int) -> None:
    x = normal(2, 2, side, side)
    x[0, 0, 0, 0], x[0, 0, 1, 1], x[1, 0] = float("inf"), -float("inf"), float("nan")
    found = channel_moments(x)
    assert int(found.nonfinite) == 2 + side * side
    assert torch.isfinite(found.variance).tolist() == [False, True]


def test_known_values() -> None:
    # Channel 0: 1, 3 (mean 2, variance 1). Channel 1: -2, -2 (mean -2, variance 0).
    x = torch.tensor([[[1.0], [-2.0]], [[3.0], [-2.0]]])
    found = channel_moments(x)
    assert found.mean.tolist() == [2, -2]
    assert found.variance.tolist() == [1, 0]
    assert float(channel_squared_mean(found)) == 4
    assert float(channel_variance(found)) == 0.5


def test_relu_of_a_normal_has_its_closed_form() -> None:
    # E relu = 1/sqrt(2 pi), Var relu = (1 - 1/pi)/2; 2e6 samples leave a relative error near 1e-3.
    found = channel_moments(torch.relu(normal(20, 1, 300, 340)))
    assert float(found.mean) == pytest.approx((2 * np.pi) ** -0.5, rel=4e-3)
    assert float(found.variance) == pytest.approx((1 - 1 / np.pi) / 2, rel=4e-3)


@given(
    cuts=st.lists(st.integers(1, 11), max_size=4, unique=True),
    offset=st.sampled_from([0.0, 1.0, 1e2, 1e4]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_any_split_into_batches_gives_the_same(cuts: list[int], offset: float, seed: int) -> None:
    x = normal(12, 3, 5, 6, seed=seed) + offset
    x[6:] *= 3
    parts = torch.tensor_split(x, sorted(cuts))
    merged = functools.reduce(merge_moments, [channel_moments(part) for part in parts])
    assert_moments(merged, x)


@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.25, 2.0, 1024.0]), shift=st.sampled_from([-4.0, 0.5, 64.0]))
@settings(max_examples=30, deadline=None)
def test_permutation_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    x = normal(4, 3, 6, 7, seed=seed)
    order = torch.randperm(4 * 6 * 7, generator=torch.Generator().manual_seed(seed))
    shuffled = x.transpose(0, 1).reshape(3, -1)[:, order].reshape(3, 4, 6, 7).transpose(0, 1)
    base, mixed = channel_moments(x), channel_moments(shuffled)
    scaled, shifted = channel_moments(x * scale), channel_moments(x + shift)
    torch.testing.assert_close(mixed.variance, base.variance, rtol=1e-6, atol=0)
    torch.testing.assert_close(scaled.variance, base.variance * scale**2, rtol=1e-6, atol=0)
    # Adding the shift rounds each float32 value by up to 64 * 6e-8.
    torch.testing.assert_close(shifted.variance, base.variance, rtol=1e-5, atol=0)
    torch.testing.assert_close(shifted.mean, base.mean + shift, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(channel_squared_mean(scaled), channel_squared_mean(base) * scale**2, rtol=1e-5, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("ratio", [0, 10, 1e4])
def test_cuda_agrees(ratio: float) -> None:
    x = normal(4, 16, 28, 28) + ratio
    assert_moments(bring_to_host([channel_moments(x.cuda())])[0], x)


def test_what_was_kept_of_a_signal_outlives_the_next_one() -> None:
    # Sums of signals of one shape share their memory; what is returned must not.
    first, second = normal(4, 6, 20, 20), normal(4, 6, 20, 20, seed=1) + 2
    kept = channel_moments(first)
    channel_moments(second)
    assert_moments(kept, first)


def test_threads_do_not_share_sums() -> None:
    signals = [normal(4, 6, 20, 20, seed=seed) + seed for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(channel_moments, signals * 20))
    for moments, x in zip(found, signals * 20, strict=True):
        assert_moments(moments, x)


def test_memory_of_many_shapes_is_given_back(path: str) -> None:
    if path == "compiled":
        pytest.skip("it needs no memory of its own")
    for samples in range(1, 3 * torch_moments._MOST_SHAPES):
        channel_moments(normal(samples, 2, 40))
    assert len(torch_moments._workspaces.by_shape) <= torch_moments._MOST_SHAPES


def test_a_channel_costs_sixteen_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two float64 numbers, cut from a piece of memory: nothing that depends on samples or positions is kept.
    pieces = Pieces(10_000)
    monkeypatch.setattr(cpu_moments._kept, "pieces", pieces)
    for _ in range(3):
        channel_moments(normal(16, 48, 40, 40))
    assert pieces._next == 3 * 48 * 16


def test_the_number_of_threads_changes_no_bit() -> None:
    shapes = [(4, 70, 30, 30), (8, 1024, 3, 3), (9, 2048, 5), (40, 3000), (2, 1, 300, 301)]
    signals = [normal(*shape) + 1 for shape in shapes]
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            found.append([moments for x in signals for moments in map(channel_moments, (x, x.movedim(1, -1)))])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a.mean, b.mean)
            assert torch.equal(a.m2, b.m2)


def test_signals_that_need_a_gradient_and_negative_views() -> None:
    x = normal(4, 6, 10, 12) + 2
    assert_moments(channel_moments(x.clone().requires_grad_()), x)
    assert_moments(channel_moments(x.clone().requires_grad_().to(memory_format=torch.channels_last)), x)
    negative = torch.complex(x, x).conj().imag
    assert negative.is_neg()
    assert_moments(channel_moments(negative), -x)


@pytest.mark.filterwarnings("ignore:Accessing the data pointer")
def test_tensors_without_memory_are_refused(path: str) -> None:
    if path == "torch":
        pytest.skip("of the compiled function, which is given an address")
    with FakeTensorMode():
        x = torch.ones(2, 3, 8, 8)
    with pytest.raises((RuntimeError, ValueError)):
        channel_moments(x)


def test_the_compiled_function_checks_its_room(path: str) -> None:
    if path == "torch":
        pytest.skip("of the compiled function")
    x, room = torch.ones(2, 4, 8), np.zeros(64, np.uint8)
    assert cpu_moments.native(x.data_ptr(), 2, 4, 8, room, 0, 1) == (0, 0)
    refused = [(0, 4, 8, room, 0), (2, 4, 0, room, 0), (2, 4, 8, room, 8), (2, 4, 8, room, -8), (2, 5, 8, room, 0)]
    for arguments in refused:
        with pytest.raises(ValueError, match="no room for its moments"):
            cpu_moments.native(x.data_ptr(), *arguments, 1)
    with pytest.raises(ValueError, match="no memory"):
        cpu_moments.native(0, 2, 4, 8, room, 0, 1)


# Signals that end where memory that can't be read begins.
AT_THE_END = """
import ctypes, importlib.util, mmap, sys
import numpy as np
spec = importlib.util.spec_from_file_location("native_moments", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
page = mmap.PAGESIZE
memory = mmap.mmap(-1, 2 * page)
end = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + page
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(end), page, 0) == 0
for shape in ["1 1 1", "2 20 3", "3 7 1", "3 65 1", "2 5 31", "2 5 32", "2 5 40", "1 3 33", "1 9 100"]:
    n, c, length = map(int, shape.split())
    module.channel_moments(end - 4 * n * c * length, n, c, length, np.zeros(16 * c, np.uint8), 0, 1)
print("read nothing else")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="protects memory as POSIX does")
def test_nothing_behind_the_signal_is_read(path: str) -> None:
    if path == "torch":
        pytest.skip("of the compiled function")
    file = sys.modules[cpu_moments.native.__module__].__file__
    done = subprocess.run([sys.executable, "-c", AT_THE_END, file], capture_output=True, text=True, check=False)
    assert done.stdout == "read nothing else\n", done.stderr


def test_it_is_compiled_wherever_there_is_a_compiler(path: str) -> None:
    # Otherwise nobody would notice that it no longer compiles.
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if not (shutil.which("cc") and headers.exists()):
        pytest.skip("needs a C compiler and Python's headers")
    assert path == "torch" or cpu_moments.native is not None

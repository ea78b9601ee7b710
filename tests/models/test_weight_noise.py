"""Noise on the weights, and what frozen and calibrated statistics make of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import sppkit
from sppkit.config.resolve import resolve_config
from sppkit.measuring.run import run
from sppkit.models.memory import count_parameters
from sppkit.models.normalizers.noise_aware import NoiseAwareBatchNorm, calibrate
from sppkit.models.perturb import KINDS, perturb
from sppkit.models.spec import build_spec
from sppkit.record.table import write_csv
from sppkit.streams import keyed_generator


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("multiplicative", [2.0 * (1 + 0.1 * 3), -4.0 * (1 - 0.1), 0.0]),
        ("additive-max", [2 + 0.1 * 4 * 3, -4 - 0.1 * 4, 0.1 * 4]),
        # The deviation of 2, -4, 0 is √(56/9).
        ("additive-std", [2 + 0.1 * math.sqrt(56 / 9) * 3, -4 - 0.1 * math.sqrt(56 / 9), 0.1 * math.sqrt(56 / 9)]),
    ],
)
def test_kinds_of_noise(kind: str, expected: list[float]) -> None:
    noisy = perturb(torch.tensor([2.0, -4.0, 0.0]), torch.tensor([3.0, -1.0, 1.0]), 0.1, kind)
    torch.testing.assert_close(
        noisy, torch.tensor(expected) if kind != "additive-max" else torch.tensor([3.2, -4.4, 0.4])
    )


def test_noise_has_a_stream_of_its_own_and_leaves_the_weights_alone() -> None:
    options = {"stages": (1,), "width": 0.125, "seed": 3}
    clean = sppkit.build_model("bn-relu-conv", **options).state_dict()
    noisy = sppkit.build_model("bn-relu-conv", noise=0.2, **options)
    state = noisy.state_dict()
    assert all(torch.equal(state[name], value) for name, value in clean.items())
    name = "blocks.0.conv1.noise"
    drawn = keyed_generator(3, name).standard_normal(state[name].shape, dtype=np.float32)
    assert torch.equal(state[name], torch.from_numpy(drawn))
    assert not noisy.blocks[0].conv1.noise.requires_grad
    applied = noisy.blocks[0].conv1.effective_weight()
    torch.testing.assert_close(applied, clean["blocks.0.conv1.weight"] * (1 + 0.2 * torch.from_numpy(drawn)))


def test_noise_comes_behind_the_parametrization() -> None:
    options = {"stages": (1,), "width": 0.125, "weights": "scaled-ws"}
    clean = sppkit.build_model("bn-relu-conv", **options).blocks[0].conv1
    noisy = sppkit.build_model("bn-relu-conv", noise=0.2, noise_kind="additive-std", **options).blocks[0].conv1
    stored = clean.effective_weight()
    expected = stored + 0.2 * stored.std(correction=0) * noisy.noise
    torch.testing.assert_close(noisy.effective_weight(), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_users_model_has_the_same_noise_for_a_while(kind: str) -> None:
    options = {"stages": (1, 1), "width": 0.125, "seed": 4}
    model = sppkit.build_model("bn-relu-conv", **options)
    noisy = sppkit.build_model("bn-relu-conv", noise=0.3, noise_kind=kind, **options)
    before = {name: value.clone() for name, value in model.state_dict().items() if "norm" not in name}
    x = torch.randn(4, 3, 32, 32)
    with sppkit.weight_noise(model, 0.3, kind, seed=4) as same:
        assert same is model
        torch.testing.assert_close(model(x), noisy(x))
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    with pytest.raises(ZeroDivisionError), sppkit.weight_noise(model, 0.3, kind):
        1 / 0  # noqa: B018
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


REFUSED = {
    "kind": (nn.Linear(2, 2), {"kind": "additive"}, "unknown --kind 'additive'; did you mean 'additive-"),
    "eta": (nn.Linear(2, 2), {"eta": -1}, "--eta must be a number from 0"),
    "nothing": (nn.ReLU(), {}, "there are no weights to add noise to"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refused(case: tuple[nn.Module, dict, str]) -> None:
    model, given, message = case
    with pytest.raises(sppkit.UsageError, match=message), sppkit.weight_noise(model, **{"eta": 0.1, **given}):
        pass


def test_refused_options() -> None:
    with pytest.raises(sppkit.UsageError, match="--noise-kind means nothing without noise"):
        sppkit.build_model("bn-relu-conv", depth=14, noise_kind="additive-std")
    model = sppkit.build_model("nf-resnet", stages=(1,), width=0.125)
    with pytest.raises(sppkit.UsageError, match="stem standardizes its weights"), sppkit.weight_noise(model, 0.1):
        pass


@pytest.mark.parametrize("eta", [0.1, 0.3, 0.5])
def test_noise_behind_frozen_statistics(eta: float) -> None:
    # A convolution of ReLU(z), z ~ N(0,1), He weights; the normalizer has the statistics of the clean one. What the
    # noise adds to a weight has variance eta² of the weight's: it adds eta² / (π - 1) to the squared mean and eta² to
    # the variance, in units of the clean variance.
    generator = torch.Generator().manual_seed(0)
    x = torch.relu(torch.randn(32, 256, 8, 8, generator=generator))
    weight = torch.randn(512, 256, 1, 1, generator=generator) * math.sqrt(2 / 256)
    noisy = perturb(weight, torch.randn(weight.shape, generator=generator), eta, "multiplicative")
    norm = NoiseAwareBatchNorm(512, "frozen")
    calibrate(norm, [functional.conv2d(x, weight)])
    norm.eval().requires_grad_(False)
    signal = norm(functional.conv2d(x, noisy))
    # 512 channels: a squared mean is known to √(2/512) = 6 %, a variance to half a percent.
    assert float(signal.mean((0, 2, 3)).square().mean()) == pytest.approx(eta**2 / (math.pi - 1), rel=0.15)
    assert float(signal.var((0, 2, 3)).mean()) == pytest.approx(1 + eta**2, rel=0.02)
    calibrate(norm, [functional.conv2d(x, noisy)])
    signal = norm(functional.conv2d(x, noisy))
    assert float(signal.mean((0, 2, 3)).square().mean()) < 1e-10
    assert float(signal.var((0, 2, 3)).mean()) == pytest.approx(1, rel=1e-3)


def branches(statistics: str | None, eta: float) -> np.ndarray:
    """Residual variances in eval mode after a warm-up, as the command line runs it."""
    given: dict = {"norm": "noise-aware-bn", "norm_kw": {"statistics": statistics}} if statistics else {}
    options = {
        "arch": "bn-relu-conv", "stages": (8,), "width": 0.5, "stem": "cifar", "padding": "circular",
        "image_size": 8, "batch_size": 16, "mode": "eval", "warmup": 40, "noise": eta, **given,
    }  # fmt: skip
    return run(resolve_config(options)).table["residual_variance"].to_numpy()[1:]


def test_calibration_takes_out_the_drift_and_leaves_the_gain_of_the_last_convolution() -> None:
    eta = 0.3
    clean, frozen, calibrated = branches(None, 0), branches("frozen", eta), branches("calibrated", eta)
    # Eight blocks, each with noise of its own: 12 % scatter at 32 inner channels, so 4 % in the mean.
    assert np.mean(calibrated / clean) == pytest.approx(1 + eta**2, rel=0.08)
    drift, rest = np.abs(np.log(frozen / clean)).max(), np.abs(np.log(calibrated / clean)).max()
    assert drift > 2 * rest
    np.testing.assert_allclose(branches("calibrated", 0), clean)
    np.testing.assert_allclose(branches("frozen", 0), clean)


@pytest.mark.parametrize("weights", ["none", "scaled-ws"])
@pytest.mark.parametrize("statistics", ["frozen", "ema"])
def test_streaming_and_counts(weights: str, statistics: str, tmp_path: Path) -> None:
    model = {
        "norm": "noise-aware-bn", "norm_kw": f"statistics={statistics}", "stages": (3, 2), "width": 0.125,
        "noise": 0.2, "weights": weights,
    }  # fmt: skip
    options = {"arch": "bn-relu-conv", **model, "image_size": 32, "mode": "eval", "warmup": 3, "batches": 2}
    for streaming in ("on", "off"):
        result = run(resolve_config({**options, "streaming": streaming}))
        write_csv(result.table, tmp_path / f"{streaming}.csv")
        assert result.record["expected"] == {"residual_variance": None}
    assert (tmp_path / "on.csv").read_bytes() == (tmp_path / "off.csv").read_bytes()
    parameters = sum(p.numel() for p in sppkit.build_model("bn-relu-conv", **model).parameters())
    assert count_parameters(build_spec("bn-relu-conv", model)) == parameters

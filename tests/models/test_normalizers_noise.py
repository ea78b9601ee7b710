"""The independent-component layer and noise-aware batch normalization."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import sppkit
from sppkit.models.normalizers.batch import batch_norm
from sppkit.models.normalizers.independent_component import IndependentComponent
from sppkit.models.normalizers.noise_aware import NoiseAwareBatchNorm, calibrate
from sppkit.models.spec import build_spec

Q = 0.05


def branches(arch: str, mode: str = "train", warmup: int = 0, **options: object) -> list[float]:
    """Residual variances of a few blocks, without borders."""
    model = sppkit.build_model(arch, stages=(4,), width=0.5, stem="cifar", padding="circular", **options)
    x = torch.randn(16, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    table = sppkit.measure(model, x, mode=mode, warmup=[x] * warmup)
    return table["residual_variance"].to_list()[1:]


# 128 channels and 4 blocks: the variance varies by one percent from seed to seed.
SEEDS = 0.03


@pytest.mark.parametrize(
    ("arch", "options", "expected"),
    [
        # Dropping commutes with ReLU: E x² is 1/(2 (1 - q)), and the mean stays 1/√(2π).
        ("bn-relu-conv", {}, 1 / (1 - Q) - 1 / math.pi),
        ("relu-bn-conv", {"init": "he"}, 2 / (1 - Q)),
        ("bn-relu-conv", {"order": "relu-ic-conv"}, 2 / (1 - Q)),
        ("relu-bn-conv", {"norm_kw": "drop=0.5"}, 2.0),
        ("relu-bn-conv", {"order": "conv-relu-ic"}, 1 / (1 - Q)),
    ],
)
def test_residual_variance_of_ic(arch: str, options: dict, expected: float) -> None:
    assert np.mean(branches(arch, norm="ic", **options)) == pytest.approx(expected, rel=SEEDS)


def test_residual_variance_of_ic_conv_relu() -> None:
    # The branch ends with ReLU of what one convolution with c = 1 makes of variance 1/(1 - q).
    expected = (0.5 - 0.5 / math.pi) / (1 - Q)
    measured = branches("relu-bn-conv", norm="ic", order="ic-conv-relu")
    assert np.mean(measured) == pytest.approx(expected, rel=SEEDS)


def test_dropout_before_stored_statistics_shrinks_the_signal_in_eval_mode() -> None:
    # In eval mode a convolution returns 1/1.077 of the variance that the normalizer after it has stored. The first
    # block's three convolutions multiply this; the mean that shifts with it is of second order.
    train, evaluated = (branches("bn-relu-conv", mode, 60, norm="ic")[0] for mode in ("train", "eval"))
    one = (1 / (1 - Q) - 1 / math.pi) / (1 - 1 / math.pi)
    assert one == pytest.approx(1.0772, abs=1e-4)
    assert train / evaluated == pytest.approx(one**3, rel=0.02)


def test_ic_without_dropping_is_bn_bit_for_bit() -> None:
    x = torch.randn(4, 3, 32, 32)
    for arch in ("bn-relu-conv", "relu-bn-conv"):
        bn = sppkit.build_model(arch, stages=(2,), width=0.125)
        ic = sppkit.build_model(arch, stages=(2,), width=0.125, norm="ic", norm_kw="drop=0")
        assert torch.equal(bn(x), ic(x))
        assert bn.state_dict().keys() == ic.state_dict().keys()


def test_ic_shrinks_correlation_and_keeps_the_mean() -> None:
    common, own = torch.randn(64, 1, 32, 32), torch.randn(64, 2, 32, 32)
    x = math.sqrt(0.6) * common + math.sqrt(0.4) * own
    y = IndependentComponent(2, drop=Q)(x).detach()
    # 65,536 positions: a standard error of 0.4 %.
    assert y.var((0, 2, 3)).tolist() == pytest.approx([1 / (1 - Q)] * 2, rel=0.02)
    assert y.mean((0, 2, 3)).tolist() == pytest.approx([0, 0], abs=0.02)
    correlation = float(torch.corrcoef(y.movedim(1, 0).flatten(1))[0, 1])
    assert correlation == pytest.approx(0.6 * (1 - Q), abs=0.02)


def test_orders_belong_to_ic() -> None:
    with pytest.raises(sppkit.UsageError, match="--order means nothing for the normalizer bn; it belongs to --norm ic"):
        sppkit.build_model("bn-relu-conv", depth=14, order="relu-ic-conv")
    with pytest.raises(sppkit.UsageError, match="unknown --order 'ic-relu'"):
        sppkit.build_model("bn-relu-conv", depth=14, norm="ic", order="ic-relu")


def test_an_architectures_own_order_is_no_other_network() -> None:
    own = build_spec("relu-bn-conv", {"depth": 50, "norm": "ic"})
    assert build_spec("relu-bn-conv", {"depth": 50, "norm": "ic", "order": "relu-ic-conv"}) == own


def trained(statistics: str) -> NoiseAwareBatchNorm:
    """A normalizer with running statistics 1 and 4, scale 2 and offset 3."""
    norm = NoiseAwareBatchNorm(2, statistics).double().eval()
    with torch.no_grad():
        norm.weight.fill_(2)
        norm.bias.fill_(3)
    norm.running_mean.fill_(1)
    norm.running_var.fill_(4)
    return norm


SHIFTED = torch.randn(8, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 5


def test_stored_statistics_are_eval_mode_of_bn() -> None:
    bn = batch_norm(2).double().eval()
    for statistics in ("frozen", "calibrated"):
        norm = trained(statistics)
        bn.load_state_dict(norm.state_dict())
        assert torch.equal(norm(SHIFTED), bn(SHIFTED))


def test_statistics_of_the_batch_center_it() -> None:
    y = trained("batch")(SHIFTED)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.full((2,), 3.0, dtype=torch.float64))
    torch.testing.assert_close(
        y.std((0, 2, 3), correction=0), torch.full((2,), 2.0, dtype=torch.float64), rtol=1e-5, atol=0
    )


def test_moving_statistics_move_before_they_are_used() -> None:
    norm = trained("ema")
    y = norm(SHIFTED)
    mean = 0.9 * 1 + 0.1 * SHIFTED.mean((0, 2, 3))
    variance = 0.9 * 4 + 0.1 * SHIFTED.var((0, 2, 3))  # torch keeps the unbiased one
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)
    expected = 2 * (SHIFTED - mean.view(1, 2, 1, 1)) / (variance + 1e-5).sqrt().view(1, 2, 1, 1) + 3
    torch.testing.assert_close(y, expected)


def test_calibration_is_the_average_over_the_batches_and_touches_nothing_else() -> None:
    model = sppkit.build_model("bn-relu-conv", norm="noise-aware-bn", stages=(1, 1), width=0.125).eval()
    model.blocks[0].train()
    flags = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.named_parameters()}
    batches = [torch.randn(4, 3, 32, 32) for _ in range(3)]
    assert calibrate(model, batches) == 6
    stems = [model.stem_pool(model.stem(batch)) for batch in batches]
    average = torch.stack([stem.mean((0, 2, 3)) for stem in stems]).mean(0)
    torch.testing.assert_close(model.blocks[0].norm0.running_mean, average)
    assert [module.training for module in model.modules()] == flags
    assert model.blocks[0].norm0.momentum == 0.1
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


def test_calibration_refuses_nothing() -> None:
    model = sppkit.build_model("bn-relu-conv", norm="noise-aware-bn", stages=(1,), width=0.125)
    with pytest.raises(sppkit.UsageError, match="there is no batch to calibrate with"):
        calibrate(model, [])
    with pytest.raises(sppkit.UsageError, match="there is nothing to calibrate"):
        calibrate(sppkit.build_model("he-resnet", stages=(1,), width=0.125), [torch.randn(4, 3, 32, 32)])

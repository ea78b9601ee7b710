"""New members, a few lines here and one of the registry each, go through every command: nothing else knows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import sppkit
from sppkit import registry
from sppkit.cli.app import app
from sppkit.comparison.remedies import REMEDIES
from sppkit.models.activations import Activation
from sppkit.models.spec import build_spec
from sppkit.record.table import read_csv
from sppkit.registry.entries import ActivationEntry, NormalizerEntry, Real, StatisticEntry, WeightEntry
from sppkit.stats.statistic import Reduction, Statistic

if TYPE_CHECKING:
    import pandas as pd


class RootMeanSquareNorm(nn.Module):
    """Divides each sample by its root mean square; takes no mean out, and has nothing to learn."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean((1, 2, 3), keepdim=True) + self.epsilon)


def root_mean_square_norm(channels: int, epsilon: float = 1e-5) -> nn.Module:
    return RootMeanSquareNorm(epsilon)


def signs(weight: Tensor, gain: Tensor, c: float) -> Tensor:
    """Weights of one size: squares of a filter sum to c."""
    return weight.sign() * (c / weight[0].numel()) ** 0.5 * gain.view(-1, 1, 1, 1)


bent = Activation("bent", lambda x: torch.where(x > 0, x, x / 4), kinks=(0.0,))
wave = Activation("wave", torch.sin)
LARGEST = Statistic(Reduction(lambda x: x.abs().amax().double(), torch.maximum), lambda kept: kept)

HERE = __name__


@pytest.fixture(autouse=True)
def _members(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line each, as in the registry; ``bare`` members tell nothing of themselves."""
    norm, layer = f"{HERE}:root_mean_square_norm", f"{HERE}:RootMeanSquareNorm"
    add = monkeypatch.setitem
    settings = {"epsilon": Real(0, 1)}
    add(registry.NORMALIZERS, "rms", NormalizerEntry(norm, "rms", removes="none", settings=settings, layer=layer))
    add(registry.NORMALIZERS, "bare-norm", NormalizerEntry(norm, "rms that tells nothing"))
    add(registry.WEIGHTS, "signs", WeightEntry(f"{HERE}:signs", "signs", centred=False, squares="c"))
    add(registry.WEIGHTS, "bare-weights", WeightEntry(f"{HERE}:signs", "signs that tell nothing"))
    add(registry.ACTIVATIONS, "bent", ActivationEntry(f"{HERE}:bent", "bent", 0.44, slopes=(1.0, 0.25)))
    add(registry.ACTIVATIONS, "wave", ActivationEntry(f"{HERE}:wave", "sine"))
    add(registry.STATISTICS, "largest", StatisticEntry(f"{HERE}:LARGEST", "largest value", "block_output"))
    add(registry.STATISTICS, "input_peak", StatisticEntry(f"{HERE}:LARGEST", "before normalizers", "normalizer_input"))
    monkeypatch.chdir(tmp_path)


SMALL = ["--stages", "2,2", "--width", "0.25", "--image-size", "32", "--batch-size", "4"]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout + result.stderr


def plotted(*arguments: str) -> tuple[str, pd.DataFrame, dict[str, object]]:
    code, said = run("plot", *SMALL, "--name", "net", *arguments)
    assert code == 0, said
    # What is broken over lines is one sentence.
    return " ".join(said.split()), read_csv("spp/net.csv"), json.loads(Path("spp/net.json").read_text(encoding="utf-8"))


# What is true of other members, and would be false of these.
FALSE = (
    "running statistics",
    "subtracts a mean over several channels",
    "holds it near 47%",
    "gives every weight unit variance",
    "the mean does not shift",
    "instead of projecting the normalized",
)
NF, BN, RELU_BN = (["--arch", name] for name in ("nf-resnet", "bn-relu-conv", "relu-bn-conv"))
UNKNOWN_NORM = "the recursion knows batch normalization and none, not "
UNKNOWN_WEIGHTS = "the recursion does not know what the weights bare-weights make of a filter"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([*BN, "--norm", "rms"], UNKNOWN_NORM + "rms"),
        ([*RELU_BN, "--norm", "rms"], UNKNOWN_NORM + "rms"),
        ([*BN, "--norm", "bare-norm", "--mode", "eval"], UNKNOWN_NORM + "bare-norm"),
        ([*NF, "--weights", "signs"], None),
        ([*NF, "--weights", "bare-weights"], UNKNOWN_WEIGHTS),
        ([*BN, "--activation", "wave"], None),
        ([*NF, "--activation", "bent"], None),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_plot_says_nothing_false_of_a_new_member(arguments: list[str], reason: str | None) -> None:
    said, table, record = plotted(*arguments)
    allowed = {"the mean does not shift"} if arguments[:2] == NF and "bent" in arguments else set()
    assert [words for words in FALSE if words in said and words not in allowed] == []
    assert record["theory"] == ({"predicted": True} if reason is None else {"predicted": False, "reason": reason})
    assert table["predicted_channel_variance"].notna().all() == (reason is None)
    if reason is not None:
        assert "theory expects" not in said


def test_theory_of_a_new_activation_is_that_of_its_slopes() -> None:
    # Var f = (1 + s²)/2 - (1 - s)²/(2 pi) of slopes 1 and s under N(0, 1); weights of 2/fan_in double it.
    variance = (1 + 0.25**2) / 2 - 0.75**2 / (2 * np.pi)
    plain = {"padding": "circular", "stem": "no-pool"}
    table = sppkit.predict("bn-relu-conv", stages=(1, 1), image_size=64, activation="bent", **plain)
    # A batch normalized by its own statistics is not quite Gaussian.
    assert table["predicted_residual_variance"][1:].tolist() == pytest.approx([2 * variance] * 2, rel=1e-2)


@pytest.mark.parametrize("arguments", [[*BN, "--norm", "rms"], [*BN, "--weights", "bare-weights"]], ids="-".join)
def test_check_judges_without_a_theory_it_does_not_have(arguments: list[str]) -> None:
    code, said = run("check", *SMALL, "--name", "net", *arguments)
    assert code in {0, 1}
    assert "skipped  theory (this run holds no prediction)" in said
    assert [words for words in FALSE if words in said] == []


def test_compare_takes_new_members() -> None:
    lineup = [
        "bn-relu-conv:norm=rms",
        "bn-relu-conv:norm=bare-norm",
        "nf-resnet:weights=signs",
        "nf-resnet:activation=wave",
    ]
    code, said = run("compare", *lineup, *SMALL)
    assert code == 0, said
    saved = [read_csv(path) for path in sorted(Path("spp").glob("*.csv"))]
    assert len(saved) == 4
    assert all(np.isfinite(table["channel_variance"]).all() for table in saved)


def test_suggest_claims_of_a_normalizer_what_it_does() -> None:
    takes_mean_out = next(remedy for remedy in REMEDIES if remedy.name == "ReLU before the normalizer")
    offered = {
        norm: takes_mean_out.changes(build_spec("bn-relu-conv", {"stages": (1,), "norm": norm})) is not None
        for norm in ("bn", "gn", "none", "rms", "bare-norm")
    }
    assert offered == {"bn": True, "gn": True, "none": False, "rms": False, "bare-norm": False}
    code, said = run("suggest", *BN, *SMALL, "--norm", "rms")
    assert code == 0
    assert "NF-ResNet" in said
    assert "it takes ReLU's mean out" not in " ".join(said.split())


def test_new_statistics_are_measured_where_the_registry_says() -> None:
    model = sppkit.build_model("bn-relu-conv", stages=(1, 1), width=0.125, norm="rms")
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    table = sppkit.measure(model, x, stats=["largest", "input_peak"])
    outputs = [model.stem_pool(model.stem(x))]
    for block in model.blocks:
        outputs.append(block(outputs[-1]))
    assert table["largest"].to_numpy() == pytest.approx([float(y.detach().abs().max()) for y in outputs])
    # The layer is named in the registry, so that it is known for a normalizer.
    assert np.isfinite(table["input_peak"][1:]).all()


def test_settings_and_refusals_are_those_of_the_registry() -> None:
    code, said = run("plot", *BN, *SMALL, "--norm", "rms", "--norm-kw", "epsilon=2")
    assert code == 2
    assert "--norm-kw epsilon must be a number from 0 to 1, not '2'." in said
    assert (
        sppkit.build_model("bn-relu-conv", stages=(1,), norm="rms", norm_kw="epsilon=0.5").blocks[0].norm0.epsilon
        == 0.5
    )
    code, said = run("plot", *BN, *SMALL, "--norm", "bare-norm", "--enorm")
    assert "bare-norm is not known to have one scale for every channel" in said
    code, said = run("list", "normalizers")
    assert "rms that tells nothing" in said


def test_a_new_normalizer_replaces_those_of_any_model() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    done = sppkit.replace_normalizers(model, "rms", epsilon=0.5)
    assert [(item.before, item.after) for item in done.replaced] == [("BatchNorm2d(8)", "RootMeanSquareNorm")]
    # It keeps no number of channels: nothing can take its place.
    with pytest.raises(sppkit.UsageError, match="there is no normalizer"):
        sppkit.replace_normalizers(model, "bn")


def test_a_table_with_a_member_that_is_not_registered_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    plotted(*BN, "--norm", "rms", "--activation", "wave", "--weights", "signs", "--mode", "eval")
    for kind, name in (("normalizer", "rms"), ("activation", "wave"), ("weight parametrization", "signs")):
        monkeypatch.delitem(registry.KINDS[kind], name)  # type: ignore[arg-type]
    code, said = run("plot", "spp/net.csv")
    assert code == 0, said
    assert [words for words in FALSE if words in " ".join(said.split())] == []

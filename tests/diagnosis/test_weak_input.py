"""A network that nothing normalizes, on an input that is weaker than noise: the input is named among the causes."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import sppkit
from sppkit.cli.app import app

NETWORK = ("plot", "--depth", "26", "--width", "0.25", "--image-size", "32", "--batch-size", "16")
SAID = "or the input is no noise of variance 1, and no normalizer takes its scale out"


def told(*arguments: str) -> str:
    """Return all that a run's record says of its network: a terminal shows the beginning."""
    result = CliRunner().invoke(app, (*NETWORK, *arguments, "--name", "run"))
    assert result.exit_code == 0, result.output
    return json.dumps(json.loads(Path("spp/run.json").read_text())["diagnoses"])


@pytest.fixture(autouse=True)
def _weak_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("weak.npy", 0.1 * np.random.default_rng(0).standard_normal((16, 3, 32, 32)).astype(np.float32))


def test_a_weak_input_may_be_why_branches_are_weak() -> None:
    said = told("--arch", "nf-resnet", "--input", "weak.npy")
    assert "below the 0.6 of a healthy network" in said
    assert SAID in said


def test_it_is_not_where_a_normalizer_takes_its_scale_out_or_the_input_is_noise() -> None:
    assert SAID not in told("--arch", "nf-resnet", "--gain", "0.3")
    told("--arch", "bn-relu-conv", "--input", "weak.npy")
    table, record = sppkit.read_csv("spp/run.csv"), json.loads(Path("spp/run.json").read_text())
    weaker = table.assign(residual_variance=0.3 * table["residual_variance"])
    causes = [finding.cause for finding in sppkit.check(weaker, record=record).findings]
    assert any("the branch's variance is ×0.2" in cause for cause in causes)
    assert not any(SAID in cause for cause in causes)

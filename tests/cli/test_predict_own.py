"""``sppkit predict --model``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sppkit
from sppkit.cli.app import app

RUNNER = CliRunner()
NETS = """
from torch import nn

def plain(width=256):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3))

def pooled(width=256):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(width, width, 1))

def unknown():
    return nn.Sequential(nn.MaxPool2d(2), nn.LSTM(4, 4))
"""


@pytest.fixture(autouse=True)
def _in_a_folder_with_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS, encoding="utf-8")


def predict(*arguments: str) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, ["predict", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_it_writes_what_python_predicts() -> None:
    code, out, err = predict("--model", "nets.py:plain", "--image-size", "8", "--batch-size", "4")
    assert (code, err) == (0, "")
    assert out.endswith("wrote spp/nets-plain-predicted.png\n")
    table = sppkit.read_csv("spp/nets-plain-predicted.csv")
    assert list(table["name"]) == ["0", "1", "2", "3"]
    assert table["predicted_channel_variance"].notna().all()
    assert table["predicted_channel_variance"][1] == pytest.approx(1.0, abs=1e-3)  # behind a batch norm
    record = json.loads(Path("spp/nets-plain-predicted.json").read_text(encoding="utf-8"))
    assert record["theory"] == {"measured": False, "predicted": True}


def test_where_the_curve_ends_is_said_and_recorded() -> None:
    code, _, err = predict("--model", "nets.py:pooled", "--image-size", "8")
    assert code == 0
    assert err == "warning: the curve ends where theory does: 2: max_pool2d_with_indices is not known.\n"
    record = json.loads(Path("spp/nets-pooled-predicted.json").read_text(encoding="utf-8"))
    assert record["theory"]["reason"] == "2: max_pool2d_with_indices is not known"


def test_explain_says_what_each_module_makes_of_the_signal() -> None:
    code, out, _ = predict("--model", "nets.py:plain", "--image-size", "8", "--explain")
    assert code == 0
    lines = [line.split() for line in out.splitlines() if line.startswith(("2  ", "3  "))]
    relu = next(line for line in lines if line[:2] == ["2", "2"] and "%" in line)
    # E relu(x)² = 1/2 E x², of which 1/pi is the squared mean.
    assert relu[2:] == ["1", "0.5", "0.5", "-0.5", "31.8", "%"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arch", "nf-resnet", "--depth", "50", "--explain"], "--explain means nothing for predict --arch"),
        (["--arch", "nf-resnet", "--depth", "50", "--seed", "1"], "--seed means nothing for predict --arch"),
        (["--model", "nets.py:plain", "--batches", "2", "--image-size", "8"], "theory takes one batch"),
        (["--model", "nets.py:plain", "--image-size", "256"], "up to 4,300 fit. Take smaller inputs."),
    ],
)
def test_what_means_nothing_is_refused(arguments: list[str], message: str) -> None:
    code, _, err = predict(*arguments)
    assert code == 2
    assert message in err
    assert not Path("spp").exists()

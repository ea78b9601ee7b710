"""``sppkit.compare`` and ``sppkit.suggest``: the same numbers and words as the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import sppkit
from sppkit.cli.app import app

SMALL: dict[str, Any] = {"stages": "1,1", "width": 0.1, "image_size": 16, "batch_size": 2}
FLAGS = ["--stages", "1,1", "--width", "0.1", "--image-size", "16", "--batch-size", "2"]


def test_compare_gives_the_tables_and_the_words_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    compared = sppkit.compare("nf-resnet", "he-resnet", **SMALL)
    done = CliRunner().invoke(app, ["compare", "nf-resnet", "he-resnet", *FLAGS])
    assert done.exit_code == 0
    assert list(compared.tables) == ["nf-resnet", "he-resnet"]
    for run in compared.runs:
        saved = sppkit.read_csv(next(Path("spp").glob(f"{run.label}*.csv")))
        pd.testing.assert_frame_equal(saved, run.table, rtol=1e-8)
    shown = [line.rstrip() for line in done.stdout.splitlines()]
    assert [line for line in str(compared).splitlines() if line not in shown] == []
    assert compared._repr_html_().startswith("<iframe srcdoc=")
    with pytest.raises(sppkit.UsageError, match="did you mean 'nf-resnet'"):
        sppkit.compare("nf-resnt", "he-resnet", **SMALL)


def test_suggest_gives_the_words_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {**SMALL, "stages": "2,2,2,2"}
    found = sppkit.suggest("he-resnet", **options)
    done = CliRunner().invoke(app, ["suggest", "--arch", "he-resnet", *FLAGS, "--stages", "2,2,2,2"])
    assert found.best is not None
    shown = [line.rstrip() for line in done.stdout.splitlines()]
    assert [line for line in str(found).splitlines() if line not in shown] == []
    assert len(found.comparison.tables) == len(found.outcomes) > 2
    with pytest.raises(sppkit.UsageError, match="suggest takes a named architecture"):
        sppkit.suggest("he-resnet", model="nets.py:build")

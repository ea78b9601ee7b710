"""Baselines: small, sorted, readable; read safely whoever wrote them; the old one untouched whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sppkit.errors import UsageError
from sppkit.gate.baseline import baseline_path, read_baseline, write_baseline
from sppkit.gate.saved_run import load_run
from sppkit.record.table import build_table, write_csv
from sppkit.record.write import write_record

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

RECORD = {"arch": "nf-resnet", "mode": "train", "seeds": [0, 1], "wall_time_seconds": 3.0}


def table() -> pd.DataFrame:
    return build_table(row(seed, block) for seed in (0, 1) for block in range(3))


def row(seed: int, block: int) -> dict[str, Any]:
    return {
        "seed": seed, "block": block, "stage": min(block, 1), "name": f"b{block}", "channels": 8, "height": 4,
        "width": 4, "channel_squared_mean": 0.1, "channel_variance": 1.0 + seed / 3,
        "residual_variance": None if block == 0 else 0.5, "nonfinite": 0,
    }  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "deep" / "net.json"
    write_baseline("net", table(), RECORD, target, reason="because", commit="abc")
    return target


def test_a_baseline_is_sorted_and_has_one_line_per_block(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = json.loads(text)
    assert list(found) == sorted(found)
    assert found["accepted"]["reason"] == "because"
    assert found["run"] == {"arch": "nf-resnet", "mode": "train", "seeds": [0, 1]}
    lines = [line for line in text.splitlines() if '"block":' in line]
    assert len(lines) == 3
    assert '"channel_variance": [1.0, 1.33333333]' in lines[1]
    assert "residual_variance" not in lines[0]


def test_reading_gives_back_what_was_written(path: Path) -> None:
    found = read_baseline(path)
    assert (found.key, found.accepted["commit"]) == ("net", "abc")
    np.testing.assert_allclose(found.table["channel_variance"], table()["channel_variance"], rtol=1e-8)
    assert found.table["residual_variance"].isna().tolist() == table()["residual_variance"].isna().tolist()
    assert list(found.table.columns) == list(table().columns)


SEEDS = '"seeds": [\n  0,\n  1\n ]'
HOSTILE = {
    "empty": ("", "is not valid JSON"),
    "truncated": (lambda text: text[:200], "is not valid JSON"),
    "no object": ("[]", "is not a baseline of schema 1 (found 'list')"),
    "another schema": (lambda text: text.replace('"schema": 1', '"schema": 2'), "not a baseline of schema 1 (found 2)"),
    "schema true": (lambda text: text.replace('"schema": 1', '"schema": true'), "(found True)"),
    "merge conflict": (lambda text: f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> b\n", "the marks of a merge conflict"),
    "nan": (lambda text: text.replace("0.5", "NaN"), "or is not finite"),
    "infinity": (lambda text: text.replace("0.5", "1e999"), "one finite number of at least 0"),
    "negative": (lambda text: text.replace("0.5", "-0.5"), "one finite number of at least 0"),
    "true for a number": (lambda text: text.replace("0.5", "true"), "one finite number of at least 0"),
    "a huge integer": (lambda text: text.replace("0.5", "1" + "0" * 400), "one finite number of at least 0"),
    "an endless integer": (lambda text: text.replace("0.5", "1" * 5000), "has no end"),
    "deep nesting": ("[" * 200_000, "has no end"),
    "a text for a number": (lambda text: text.replace("[0.5, 0.5]", '"0.5"'), "one finite number of at least 0"),
    "a value too few": (lambda text: text.replace("[0.5, 0.5]", "[0.5]", 1), "for each of the 2 seeds"),
    "the same block twice": (lambda text: text.replace('"block": 2', '"block": 1'), "two blocks have the same number"),
    "a huge block number": (lambda text: text.replace('"block": 2', f'"block": {2**63}'), "from 0 to 2^63 - 1"),
    "no blocks": (lambda text: text.replace('"blocks": [', '"block": ['), "blocks must be a list"),
    "no seeds": (lambda text: text.replace(SEEDS, '"seeds": []'), "there must be 1 to 10000 seeds"),
    "a seed twice": (lambda text: text.replace(SEEDS, '"seeds": [1, 1]'), "a seed is listed twice"),
    "a command in a name": (lambda text: text.replace('"b1"', '"\\u001b[2J"'), "without control characters"),
    "no name": (lambda text: text.replace('"name": "b1", ', ""), "a block's name must be a text"),
    "run is a list": (lambda text: text.replace('"run": {', '"run": [], "ran": {'), "run must be an object"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_baseline_is_refused(path: Path, case: str) -> None:
    make, message = HOSTILE[case]
    path.write_text(make if isinstance(make, str) else make(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_baseline(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500


def test_an_enormous_baseline_is_not_read(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(65 * 2**20)  # sparse: no disk is filled
    with pytest.raises(UsageError, match="has 65 MiB; 64 are the most"):
        read_baseline(path)


def test_binary_missing_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    os.mkfifo(tmp_path / "pipe.json")
    for name, message in (("b", "is not UTF-8"), ("none", "no such file"), ("pipe", "not a regular file")):
        with pytest.raises(UsageError, match=message):
            read_baseline(tmp_path / f"{name}.json")


@pytest.mark.parametrize("key", ["", "..", "a/b", "..\\x", "a\x1bb"])
def test_a_key_is_a_file_name(key: str) -> None:
    with pytest.raises(UsageError, match="must be a file name"):
        baseline_path(key)


def test_a_broken_signal_can_be_no_baseline(path: Path) -> None:
    broken, before = table(), path.read_bytes()
    broken.loc[3, "nonfinite"] = 1
    with pytest.raises(UsageError, match="not finite, and can be no baseline"):
        write_baseline("net", broken, RECORD, path, reason="x")
    assert path.read_bytes() == before


WRITER = """
import sys, os
from pathlib import Path
from sppkit.gate.baseline import read_baseline, write_baseline
path = Path(sys.argv[1])
old = read_baseline(path)
def slow(self, text, **options):
    with self.open("w") as file:
        file.write(text[: len(text) // 2]); file.flush(); os.fsync(file.fileno())
        print("half", flush=True)
        import time; time.sleep(60)
Path.write_text = slow
write_baseline(old.key, old.table, old.record, path, reason="new")
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_the_old_baseline_survives_a_kill_in_the_middle_of_writing(path: Path, by: signal.Signals) -> None:
    before = path.read_bytes()
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        os.kill(writer.pid, by)
    assert path.read_bytes() == before
    assert read_baseline(path).accepted["reason"] == "because"


def test_a_saved_run_is_its_table_and_the_record_beside_it(tmp_path: Path, path: Path) -> None:
    write_csv(table(), tmp_path / "run.csv")
    assert load_run(tmp_path / "run.csv").record == {}
    write_record({"arch": "nf-resnet"}, tmp_path / "run.json")
    assert load_run(tmp_path / "run.json").record["arch"] == "nf-resnet"
    assert load_run(path).key == "net"
    with pytest.raises(UsageError, match=r"a run is a \.csv file"):
        load_run(tmp_path / "run.txt")

"""Where the table of a training goes, what a kill leaves of it, and going on from a checkpoint."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import sppkit
from measuring.trained_networks import Digits, iter_digits
from sppkit import UsageError
from sppkit.measuring.training import sinks


def run(steps: int, to: object, *, state: dict[str, Any] | None = None, **settings: Any) -> sppkit.Monitor:
    torch.manual_seed(0)
    model = Digits(depth=2)
    monitor = sppkit.Monitor(model, to=to, **settings)  # type: ignore[arg-type]
    if state is not None:
        monitor.load_state_dict(state)
    with monitor:
        for x, _ in iter_digits(steps):
            model(x)
            monitor.step()
    return monitor


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    # The file holds nine digits.
    pd.testing.assert_frame_equal(found, expected, rtol=1e-8, check_dtype=False)


def test_csv_holds_the_table(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "spp.csv"
    monitor = run(4, f"csv:{path}", every=2)
    assert_same(sppkit.read_csv(path), monitor.table())
    assert path.read_text(encoding="utf-8").startswith("step,seed,block,stage,name,")


def test_every_step_is_in_the_file_at_once(tmp_path: Path) -> None:
    path, lines = tmp_path / "spp.csv", []
    run(3, (f"csv:{path}", lambda _table: lines.append(path.read_text(encoding="utf-8").count("\n"))))
    assert lines == [4, 7, 10]


def test_a_training_goes_on_where_its_checkpoint_was(tmp_path: Path) -> None:
    path = tmp_path / "spp.csv"
    first = run(5, f"csv:{path}")
    assert first.state_dict() == {"step": 5}
    second = run(3, f"csv:{path}", state={"step": 4})
    expected = pd.concat([first.table().query("step < 4"), second.table()], ignore_index=True)
    assert second.table()["step"].unique().tolist() == [4, 5, 6]
    assert_same(sppkit.read_csv(path), expected)


def test_another_training_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "spp.csv"
    run(2, f"csv:{path}")
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"spp\.csv is there already"):
        run(2, f"csv:{path}")
    with pytest.raises(UsageError, match=r"spp\.csv has other columns than this training: gradient_squared_mean"):
        run(1, f"csv:{path}", state={"step": 2}, stats="spp,gradient_squared_mean")
    assert path.read_bytes() == before


@pytest.mark.parametrize("step", [0, 3])
@pytest.mark.parametrize("content", ["one line of mine\n", "a,b\n1,2\n", "3,4\n", "no line end", "stepping,a\n0,1\n"])
def test_a_file_of_something_else_is_not_touched(content: str, step: int, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"mine\.csv is no table of a training\. Choose another path"):
        run(1, f"csv:{path}", state={"step": step})
    assert path.read_text(encoding="utf-8") == content


@pytest.mark.parametrize("content", ["", "st", "step,seed"])
def test_a_header_that_was_cut_off_is_written_again(content: str, tmp_path: Path) -> None:
    path = tmp_path / "spp.csv"
    path.write_text(content, encoding="utf-8")
    monitor = run(2, f"csv:{path}")
    assert_same(sppkit.read_csv(path), monitor.table())


def test_a_place_that_can_not_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"can't write .*: Is a directory"):
        run(1, f"csv:{tmp_path}")


def test_a_full_disk_does_not_end_the_training(caplog: pytest.LogCaptureFixture) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no full device")

    class Full(sinks.Function):
        name = "spp.csv"

        def write(self, table: pd.DataFrame) -> None:
            with open("/dev/full", "w", encoding="utf-8") as file:  # noqa: PTH123
                file.write("x")

    model = Digits()
    monitor = sppkit.Monitor(model)
    full = Full(print)
    full.name = "spp.csv"
    monitor._sinks = [full]
    with monitor:
        for x, _ in iter_digits(3):
            model(x)
            monitor.step()
    assert monitor.table()["step"].nunique() == 3
    assert [record.message for record in caplog.records] == [
        "nothing is written to spp.csv from step 0 on: [Errno 28] No space left on device."
    ]


def test_a_row_that_was_cut_off_is_left_out_and_repaired(tmp_path: Path) -> None:
    path = tmp_path / "spp.csv"
    monitor = run(3, f"csv:{path}")
    path.write_bytes(path.read_bytes()[:-7])
    assert_same(sppkit.read_csv(path), monitor.table().iloc[:-1])
    run(1, f"csv:{path}", state={"step": 2})
    assert sppkit.read_csv(path)["step"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_table_of_steps_may_not_hold_a_block_twice(tmp_path: Path) -> None:
    path = tmp_path / "spp.csv"
    run(2, f"csv:{path}")
    path.write_text(path.read_text(encoding="utf-8").replace("\n1,0,2", "\n1,0,1"), encoding="utf-8")
    with pytest.raises(UsageError, match="holds block 1 of seed 0 at step 1 twice"):
        sppkit.read_csv(path)


WRITER = """
import sys
from sppkit.measuring.training.sinks import make_sinks
from sppkit.record.table import build_table
[sink] = make_sinks(sys.argv[1])
sink.open(int(sys.argv[2]))
for step in range(int(sys.argv[2]), 10**6):
    rows = [{"step": step, "seed": 0, "block": block, "name": f"blocks.{block}" + "." * 40, "channels": 64,
             "channel_squared_mean": step + block / 7, "channel_variance": 1 / (step + block + 3), "nonfinite": 0}
            for block in range(200)]
    sink.write(build_table(rows))
    print(step, flush=True)
"""


def kill_and_look(sink: str, path: Path, kills: int) -> int:
    """Kill a writer again and again; return the last step that is there, all others being whole."""
    whole = 0
    for _ in range(kills):
        command = [sys.executable, "-c", WRITER, sink, str(whole)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline(), writer.stdout.readline()  # a first step alone is a new training
            time.sleep(random.random() / 20)
            writer.send_signal(signal.SIGKILL)
            said = writer.stdout.read().split()
        table = sppkit.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        found = table.groupby("step")["block"].count()
        assert (found.iloc[:-1] == 200).all()
        assert (table["channel_squared_mean"] - (table["step"] + table["block"] / 7)).abs().max() < 1e-3
        if path.suffix == ".csv" and len(said) > 1:
            assert found.index[-1] >= int(said[-2])
        whole = int(found.index[-1])
    return whole


def test_a_kill_leaves_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "spp.csv"
    assert kill_and_look(f"csv:{path}", path, kills=2) > 0


def test_parquet_holds_the_table_and_survives_kills(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "spp.parquet"
    first = run(30, f"parquet:{path}")
    assert_same(pd.read_parquet(path), first.table())
    second = run(2, f"parquet:{path}", state={"step": 20})
    expected = pd.concat([first.table().query("step < 20"), second.table()], ignore_index=True)
    assert_same(pd.read_parquet(path), expected)
    with pytest.raises(UsageError, match=r"spp\.parquet is there already"):
        run(1, f"parquet:{path}")
    killed = tmp_path / "killed.parquet"
    assert kill_and_look(f"parquet:{killed}", killed, kills=2) > 0


def test_tensorboard_shows_every_statistic_of_every_block(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    table = run(3, f"tensorboard:{tmp_path}").table()
    events = EventAccumulator(str(tmp_path)).Reload()
    scalars = events.Scalars("channel_variance/blocks.1")
    assert [scalar.step for scalar in scalars] == [0, 1, 2]
    expected = table.loc[table["name"] == "blocks.1", "channel_variance"]
    assert [scalar.value for scalar in scalars] == pytest.approx(expected.tolist(), rel=1e-6)
    assert len(events.Tags()["scalars"]) == 3 * 4 - 1  # the first row has no branch


def test_weights_and_biases_leaves_the_users_steps_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    own = wandb.init(project="mine", dir=tmp_path)
    try:
        model = Digits(depth=2)
        with sppkit.Monitor(model, to="wandb:") as monitor:
            for step, (x, _) in enumerate(iter_digits(3)):
                model(x)
                monitor.step()
                own.log({"loss": 1.0}, step=step)
        assert wandb.run is own
        assert own.step == 2
        table = monitor.table()
        last = table.loc[(table["name"] == "blocks.1") & (table["step"] == 2), "channel_variance"].item()
        assert own.summary["spp/channel_variance/blocks.1"] == pytest.approx(last)
        assert own.summary["spp/step"] == 2
    finally:
        own.finish()


@pytest.mark.parametrize(
    ("to", "module", "message"),
    [
        ("parquet:spp.parquet", "pyarrow", r"parquet:PATH needs pyarrow.*\n.*pip install 'sppkit\[parquet\]'"),
        ("tensorboard:runs", "tensorboard", r"needs tensorboard.*\n.*pip install 'sppkit\[tensorboard\]'"),
        ("wandb:", "wandb", r"wandb: needs wandb.*\n.*pip install 'sppkit\[wandb\]'"),
    ],
)
def test_a_library_that_is_not_installed(to: str, module: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=message):
        sppkit.Monitor(Digits(), to=to)

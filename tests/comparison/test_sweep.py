"""Running a sweep: every cell once whatever happens, the same bytes in any order, failures that are not fatal."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sppkit.comparison.sweep.executors import open_executor
from sppkit.comparison.sweep.grid import Grid, read_grid
from sppkit.comparison.sweep.measure_cell import Outcome
from sppkit.comparison.sweep.run_sweep import Sweep
from sppkit.comparison.sweep.store import Store
from sppkit.errors import UsageError

TEXT = """arch = "nf-resnet"
block = "basic"
width = 0.125
image-size = 16
batch-size = 2
[axes]
stages = [[1], [2]]
activation = ["relu", "silu"]
seed = [0, 1, 2]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(TEXT, encoding="utf-8")
    return path


class Here(Executor):
    """Measures in this process, and counts."""

    def __init__(self, break_at: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        self.names: list[str] = []
        self.break_at = break_at

    def submit(self, call: Any, /, resolved: Any, threads: Any) -> Future[Any]:  # type: ignore[override]
        future: Future[Any] = Future()
        config = resolved.config
        self.names.append(f"{config.stages}{config.activation}{config.seed}")
        if self.names[-1] in self.break_at:
            future.set_exception(BrokenExecutor("died"))
        else:
            future.set_result(call(resolved, threads))
        return future


def sweep(grid: Grid, folder: Path, executor: Executor, **settings: Any) -> Sweep:
    store = Store(folder)
    with store.opened(grid):
        run = Sweep(grid, store, lambda: executor, **{"workers": 2, "memory": None, **settings})
        run.run()
        store.combine(grid)
    return run


def command(file: Path, folder: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "sppkit", "sweep", str(file), "--out", str(folder), *more]


def test_no_cell_is_measured_twice_and_a_broken_one_again(file: Path, tmp_path: Path) -> None:
    grid, folder, executor = read_grid(file), tmp_path / "out", Here()
    sweep(grid, folder, executor)
    assert len(executor.names) == len(set(executor.names)) == 12
    table = (folder / "sweep.csv").read_bytes()
    assert table.startswith(b"stages,activation,seed,cell,block,")
    sweep(grid, folder, executor)
    assert len(executor.names) == 12
    record = folder / "cells" / f"{grid.cells[3].digest}.json"
    record.write_text(record.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    sweep(grid, folder, executor)
    assert executor.names[12:] == [executor.names[3]]
    assert (folder / "sweep.csv").read_bytes() == table


def test_a_cell_whose_process_dies_fails_alone(file: Path, tmp_path: Path) -> None:
    run = sweep(read_grid(file), tmp_path / "out", Here({"(2,)relu1"}))
    assert run.failed == {
        "stages=2, activation=relu, seed=1": "the process that measured it died, perhaps for lack of memory."
    }
    assert len(list((tmp_path / "out/cells").glob("*.json"))) == 11


def test_cells_that_do_not_fit_together_wait(file: Path, tmp_path: Path) -> None:
    class Slow(Executor):
        most, running = 0, 0

        def submit(self, call: Any, /, *arguments: Any, **keywords: Any) -> Future[Any]:
            future: Future[Any] = Future()
            Slow.running += 1
            Slow.most = max(Slow.most, Slow.running)

            def end() -> None:
                time.sleep(0.05)
                Slow.running -= 1
                future.set_result(Outcome(None, failure="no", peak_bytes=100))

            import threading

            threading.Thread(target=end).start()
            return future

    for memory, most in ((1000, 4), (250, 2), (50, 1)):
        Slow.most = 0
        sweep(read_grid(file), tmp_path / str(memory), Slow(), workers=4, memory=memory)
        assert Slow.most == most


def test_another_sweep_in_the_folder_is_refused_and_more_values_are_not(file: Path, tmp_path: Path) -> None:
    executor, folder = Here(), tmp_path / "out"
    sweep(read_grid(file), folder, executor)
    file.write_text(TEXT.replace("[0, 1, 2]", "[0, 1, 2, 3]"), encoding="utf-8")
    sweep(read_grid(file), folder, executor)
    assert len(executor.names) == 16
    file.write_text(TEXT.replace("batch-size = 2", "batch-size = 3"), encoding="utf-8")
    with pytest.raises(UsageError, match="holds another sweep"):
        sweep(read_grid(file), folder, executor)


def test_killed_and_resumed_gives_the_bytes_of_an_undisturbed_one(file: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(command(file, whole, "--workers", "1"), check=True, capture_output=True)
    seen: dict[Path, int] = {}
    for number in (2, 5, signal.SIGINT):
        process = subprocess.Popen(command(file, cut, "--workers", "2"), stdout=-3, stderr=-3)
        wanted = len(seen) + 2
        while process.poll() is None and len(list(cut.glob("cells/*.json"))) < wanted:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGKILL)
        process.wait()
        for path in cut.glob("cells/*.json"):
            # A cell that was there is the one that was written first.
            assert seen.setdefault(path, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
    subprocess.run(command(file, cut), check=True, capture_output=True)
    assert all(path.stat().st_mtime_ns == when for path, when in seen.items())
    assert len(list(cut.glob("cells/*.json"))) == 12
    assert (cut / "sweep.csv").read_bytes() == (whole / "sweep.csv").read_bytes()
    assert not list(cut.rglob(".spp-*"))


def test_failed_cells_are_said_and_are_not_fatal(tmp_path: Path) -> None:
    net = tmp_path / "net.py"
    net.write_text(
        "import torch\n"
        "def build(fail):\n"
        "    if fail: raise RuntimeError('no such network')\n"
        "    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())\n",
        encoding="utf-8",
    )
    file = tmp_path / "own.toml"
    file.write_text(f'model = "{net}:build"\nshape = [4]\n[axes]\nkw.fail = [true, false]\n', encoding="utf-8")
    done = subprocess.run(command(file, tmp_path / "out"), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "kw.fail=true: " in done.stderr
    assert "no such network" in done.stderr
    assert "1 of 2 cells are measured, 1 failed." in done.stdout


@pytest.mark.parametrize(("engine", "library"), [("ray", "ray"), ("slurm", "submitit")])
@pytest.mark.filterwarnings("ignore")
def test_other_engines_give_the_same_bytes(engine: str, library: str, file: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    grid = read_grid(file)
    sweep(grid, tmp_path / "here", Here())
    opened = partial(open_executor, engine, workers=2, threads=1, folder=tmp_path / engine)
    assert sweep(grid, tmp_path / engine, opened()).failed == {}
    assert (tmp_path / engine / "sweep.csv").read_bytes() == (tmp_path / "here/sweep.csv").read_bytes()


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_a_missing_engine_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--on ray needs ray.*\nInstall it: pip install 'sppkit\[ray\]'"):
        open_executor("ray", workers=1, threads=1, folder=tmp_path)


def test_two_sweeps_in_one_folder_are_refused(file: Path, tmp_path: Path) -> None:
    if os.name == "nt":
        pytest.skip("Windows has no flock")
    grid = read_grid(file)
    with Store(tmp_path / "out").opened(grid), pytest.raises(UsageError, match="another sweep is running in"):
        sweep(grid, tmp_path / "out", Here())

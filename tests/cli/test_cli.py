"""The command line as a user meets it: files, words, exit codes, and one clear line for every mistake."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from sppkit.cli import console
from sppkit.cli.app import app
from sppkit.record.table import COLUMNS

RUNNER = CliRunner()
SMALL = ["--stages", "1,2", "--width", "0.125", "--image-size", "32", "--batch-size", "4"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def plot(*arguments: object, arch: str = "nf-resnet") -> str:
    code, out, err = run("plot", "--arch", arch, *SMALL, *arguments)
    assert code == 0, err
    return out


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_plot_writes_table_record_and_picture() -> None:
    out = plot()
    stem = "spp/nf-resnet-stages1-2-width0.125"
    assert out.endswith(f"wrote {stem}.csv\nwrote {stem}.json\nwrote {stem}.png\n")
    assert "stages 1, 2 (given)" in out
    table = rows(f"{stem}.csv")
    assert tuple(table[0])[: len(COLUMNS)] == COLUMNS
    assert [row["name"] for row in table] == ["stem", "blocks.0", "blocks.1", "blocks.2"]
    assert table[0]["residual_variance"] == ""
    assert Path(f"{stem}.png").read_bytes().startswith(b"\x89PNG")
    assert names("spp") == sorted(f"{Path(stem).name}.{suffix}" for suffix in ("csv", "json", "png"))


def test_numbers_have_nine_significant_digits() -> None:
    plot("--name", "x")
    values = [row["channel_variance"] for row in rows("spp/x.csv")]
    digits = [len(value.split("e")[0].replace(".", "").replace("-", "").lstrip("0")) for value in values]
    assert max(digits) == 9


def test_repeating_a_command_gives_the_same_bytes() -> None:
    for name in ("a", "b"):
        plot("--name", name, "--stochastic-depth", "0.5", "--seeds", "2", "--format", "png,svg,pdf")
    assert Path("spp/a.csv").read_bytes() == Path("spp/b.csv").read_bytes()


def test_record_says_where_every_value_came_from() -> None:
    Path("my.toml").write_text(
        'arch = "nf-resnet"\nwidth = 0.125\nstages = [1, 2]\nimage-size = 64\n', encoding="utf-8"
    )
    code, _, err = run("plot", "--config", "my.toml", "--image-size", "32", "--name", "x", "--quiet")
    assert (code, err) == (0, "")
    record = json.loads(Path("spp/x.json").read_text(encoding="utf-8"))
    assert record["schema"] == 1
    options = record["options"]
    assert options["width"] == {"value": 0.125, "source": "my.toml"}
    assert options["image_size"] == {"value": 32, "source": "flag"}
    assert options["alpha"] == {"value": None, "source": "default"}
    assert record["network"]["alpha"] == 0.2
    assert record["network"]["stages"] == [1, 2]
    assert record["input"]["batch_shape"] == [8, 3, 32, 32]
    assert record["seeds"] == [0]
    assert record["random_stream"] == "pcg64-sha256-normal32"
    assert {"python", "sppkit", "torch", "numpy"} <= record["versions"].keys()
    assert record["wall_time_seconds"] > 0


def test_seeds_give_rows_of_their_own() -> None:
    plot("--seeds", "3", "--seed", "5", "--name", "x")
    table = rows("spp/x.csv")
    assert [row["seed"] for row in table] == ["5"] * 4 + ["6"] * 4 + ["7"] * 4
    assert len({row["channel_variance"] for row in table}) == 12
    plot("--seed", "6", "--name", "y")
    assert rows("spp/y.csv") == table[4:8]


def test_options_reach_the_network() -> None:
    out = plot("--alpha", "1", "--se", "--skip-gain", "0.5", "--activation", "silu", "--padding", "circular")
    assert "nf-resnet, stages 1-2, width 0.125, activation silu, padding circular, alpha 1, se, skip gain 0.5" in out
    assert Path(
        "spp/nf-resnet-stages1-2-width0.125-activation-silu-padding-circular-alpha1-se-skip-gain0.5.csv"
    ).exists()


@pytest.mark.parametrize("arch", ["bn-relu-conv", "relu-bn-conv", "nf-resnet", "he-resnet"])
def test_every_architecture_plots(arch: str) -> None:
    plot(arch=arch)


def test_formats() -> None:
    plot("--format", "svg,pdf", "--name", "x")
    assert names("spp") == ["x.csv", "x.json", "x.pdf", "x.svg"]


def test_quiet_prints_nothing() -> None:
    assert plot("--quiet") == ""


def test_piped_output_is_plain() -> None:
    out = plot()
    assert "\x1b" not in out
    assert "squared mean" in out


def test_redraw_needs_no_torch(tmp_path: Path) -> None:
    plot("--name", "x")
    Path("spp/x.png").unlink()
    code = (
        "import sys; sys.argv = ['sppkit', 'plot', 'spp/x.csv', '--format', 'png,svg'];"
        "from sppkit.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the mean does not shift" in done.stdout
    assert Path("spp/x.png").exists()
    assert Path("spp/x.svg").exists()


def test_redraw_refuses_options_of_a_measurement() -> None:
    plot("--name", "x")
    code, _, err = run("plot", "spp/x.csv", "--depth", "50")
    assert code == 2
    assert "--depth means nothing for a saved run" in err


def test_pictures_are_measured_and_described() -> None:
    from PIL import Image
    from sklearn.datasets import load_sample_images

    Path("photos").mkdir()
    for name, array in zip("ab", load_sample_images().images, strict=True):
        Image.fromarray(array).save(f"photos/{name}.jpg")
    code, _, err = run("plot", "--arch", "nf-resnet", *SMALL, "--input", "photos", "--name", "x")
    assert code == 0
    assert "photos holds 2 samples; 4 were asked for" in err
    described = json.loads(Path("spp/x.json").read_text(encoding="utf-8"))["input"]
    assert (described["kind"], described["samples_used"]) == ("pictures", 2)
    assert "mean" in json.dumps(described["normalized"])


def test_uncalibrated_eval_mode_is_warned_about() -> None:
    code, _, err = run("plot", "--arch", "bn-relu-conv", *SMALL, "--mode", "eval")
    assert code == 0
    assert "warning: eval mode uses running statistics" in err
    code, _, err = run("plot", "--arch", "bn-relu-conv", *SMALL, "--mode", "eval", "--warmup", "2")
    assert (code, err) == (0, "")


def test_an_exploding_network_exits_zero_and_says_so() -> None:
    out = plot("--stages", "40", "--skip-gain", "1e3", arch="he-resnet")
    assert re.search(r"BAD +The signal is not finite from block \d+", out)
    table = rows("spp/he-resnet-stages40-width0.125-skip-gain1000.csv")
    assert table[-1]["channel_variance"] in {"nan", "inf"}
    assert int(table[-1]["nonfinite"]) > 0
    assert table[0]["residual_variance"] == ""


def test_what_was_not_asked_for_stays_empty_where_the_signal_is_lost() -> None:
    plot("--stages", "40", "--skip-gain", "1e3", "--stats", "channel_variance", "--name", "x", arch="he-resnet")
    last = rows("spp/x.csv")[-1]
    assert int(last["nonfinite"]) > 0
    assert last["channel_variance"] in {"nan", "inf"}
    assert (last["channel_squared_mean"], last["residual_variance"]) == ("", "")


def test_gain_list_and_inspect() -> None:
    code, out, _ = run("gain", "relu", "silu")
    assert code == 0
    assert "1.712858550450" in out
    code, out, _ = run("list")
    assert code == 0
    assert all(name in out for name in ("nf-resnet", "scaled-ws", "gelu-tanh", "residual_variance", "bn"))
    code, out, _ = run("list", "weights")
    assert "scaled-ws" in out
    assert "nf-resnet" not in out
    code, out, _ = run("inspect", "--arch", "nf-resnet", "--depth", "6000")
    assert code == 0
    assert "2000 bottleneck blocks" in out
    assert "blocks.1..499.residual" in out
    assert len(out.splitlines()) == 15
    code, out, _ = run("inspect", "--arch", "nf-resnet", "--depth", "50", "--all")
    assert out.count("residual") == 16


def test_version_and_help() -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert re.fullmatch(r"sppkit \d+\.\d+\.\d+\n", out)
    for command in ("plot", "gain", "list", "inspect"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert f"sppkit {command}" in out


def write(path: str, content: bytes = b"") -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)
    return path


def saved(path: str, array: np.ndarray) -> str:
    np.save(path, array)
    return path


def truncated_picture(folder: str) -> str:
    from PIL import Image

    Path(folder).mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(f"{folder}/{name}")
    content = Path(f"{folder}/b.png").read_bytes()
    Path(f"{folder}/b.png").write_bytes(content[: len(content) // 2])
    return folder


def nan_array() -> np.ndarray:
    array = np.zeros((4, 3, 32, 32), np.float32)
    array[1, 0, 0, 0] = np.nan
    return array


def table_file(path: str = "t.csv") -> str:
    header = ",".join(COLUMNS)
    return write(path, f"{header}\n0,0,0,stem,4,2,2,0.1,1,,0\n0,1,1,b→0,4,2,2,0.1,1,1,0\n".encode())


NF = ["plot", "--arch", "nf-resnet", *SMALL]
MISTAKES = {
    "architecture": (lambda: ["plot", "--arch", "nf-resnt", "--depth", "50"], "did you mean 'nf-resnet'"),
    "no architecture": (lambda: ["plot", "--depth", "50"], "which network? Say --arch NAME"),
    "no depth": (lambda: ["plot", "--arch", "nf-resnet"], "how deep"),
    "depth 3": (lambda: ["plot", "--arch", "nf-resnet", "--depth", "3"], "--depth must be at least 12"),
    "width 0": (lambda: [*NF, "--width", "0"], "--width must be a number of more than 0 and at most 1000, not '0'"),
    "stages": (lambda: ["plot", "--arch", "nf-resnet", "--stages", "3,x"], "as in 3,4,6,3, not '3,x'"),
    "too large": (lambda: ["plot", "--arch", "nf-resnet", "--depth", "600000", "--streaming", "off"], "GiB are free"),
    "meaningless": (lambda: ["plot", "--arch", "bn-relu-conv", "--depth", "50", "--alpha", "1"], "means nothing"),
    "activation": (lambda: [*NF, "--activation", "rleu"], "did you mean 'relu'"),
    "statistic": (lambda: [*NF, "--stats", "chanel_variance"], "did you mean 'channel_variance'"),
    "format": (lambda: [*NF, "--format", "jpg"], "unknown picture format 'jpg'"),
    "device": (lambda: [*NF, "--device", "cud"], "did you mean 'cuda'"),
    "seed": (lambda: [*NF, "--seed", "-1"], "--seed must be a whole number from 0 to 9223372036854775807, not '-1'"),
    "batches": (lambda: [*NF, "--batches", "0"], "--batches must be a whole number from 1 to 1000000, not '0'"),
    "no folder": (lambda: [*NF, "--input", "photos/"], "photos"),
    "empty folder": (lambda: [*NF, "--input", str(Path(write("empty/.keep")).parent)], "empty"),
    "truncated picture": (lambda: [*NF, "--input", truncated_picture("pics")], "b.png"),
    "rank": (lambda: [*NF, "--input", saved("x.npy", np.zeros((3, 32), np.float32))], "x.npy"),
    "dtype": (lambda: [*NF, "--input", saved("x.npy", np.zeros((4, 3, 32, 32), np.uint8))], "uint8"),
    "channels": (lambda: [*NF, "--input", saved("x.npy", np.zeros((4, 1, 32, 32), np.float32))], "channel"),
    "nan": (lambda: [*NF, "--input", saved("x.npy", nan_array())], "finite"),
    "pickle": (lambda: [*NF, "--input", saved("x.npy", np.array([{}, 1], dtype=object))], "x.npy"),
    "shape": (lambda: [*NF[:5], "--shape", "1,32,32"], "--shape must be 3,height,width for nf-resnet"),
    "batch of one": (
        lambda: ["plot", "--arch", "bn-relu-conv", "--depth", "12", "--width", "0.125", "--image-size", "16",
                 "--batch-size", "1"],
        "try a larger --image-size or --batch-size",
    ),
    "no space for files": (lambda: [*NF, "--out", write("file") + "/sub"], "can't write into the folder file/sub"),
    "name with a folder": (lambda: [*NF, "--name", "a/b"], "--out DIR names the folder"),
    "no configuration": (lambda: ["plot", "--config", "no.toml"], "can't read the configuration no.toml"),
    "bad toml": (lambda: ["plot", "--config", write("x.toml", b"arch = ")], "x.toml is not valid TOML"),
    "unknown key": (lambda: ["plot", "--config", write("x.toml", b"dept = 5")], "did you mean 'depth'"),
    "wrong type": (lambda: ["plot", "--config", write("x.toml", b'depth = "many"')], "x.toml: --depth must be"),
    "key twice": (lambda: ["plot", "--config", write("x.toml", b"batch-size = 1\nbatch_size = 2")], "twice"),
    "no run": (lambda: ["plot", "no.csv"], "can't read the run no.csv: there is no such file. Measure one"),
    "not a run": (lambda: ["plot", write("x.csv", b"a,b\n1,2\n")], "has no column 'seed'"),
    "empty run": (lambda: ["plot", write("x.csv", b"")], "the run x.csv is empty"),
    "binary run": (lambda: ["plot", write("x.csv", b"\xff\xfe\x00\x01")], "x.csv: it is not UTF-8 text"),
    "header only": (lambda: ["plot", write("x.csv", ",".join(COLUMNS).encode() + b"\n")], "no rows"),
    "word for a number": (
        lambda: ["plot", write("x.csv", ",".join(COLUMNS).encode() + b"\n0,0,0,stem,4,2,2,high,1,,0\n")],
        "x.csv, line 2: channel_squared_mean must be a number, not 'high'.",
    ),
    "depth beyond all": (lambda: ["inspect", "--arch", "nf-resnet", "--depth", "10" * 12], "from 1 to 3000000"),
    "60 stages": (lambda: ["inspect", "--arch", "nf-resnet", "--stages", "1," * 59 + "1"], "1 to 10 whole numbers"),
    "a million stages": (lambda: ["inspect", "--arch", "nf-resnet", "--stages", "1," * 999_999 + "1"], "1 to 10 whole"),
    "blocks beyond all": (lambda: ["inspect", "--arch", "he-resnet", "--stages", "999999,9"], "at most 1000000 blocks"),
    "seeds beyond all": (lambda: [*NF, "--seeds", "1000000000"], "--seeds must be a whole number from 1 to 10000"),
    "last seed": (lambda: [*NF, "--seed", str(2**63 - 1), "--seeds", "2"], "goes beyond the largest seed"),
    "two sizes": (lambda: [*NF, "--shape", "3,8,8"], "--shape and --image-size both say how large the input is"),
    "name too long": (lambda: [*NF, "--name", "x" * 300], ".csv: File name too long. Choose another place"),
    "name with ESC": (lambda: [*NF, "--name", "a\x1b[31m"], "--name must be a file name without control characters"),
    "folder with NUL": (lambda: [*NF, "--out", "a\0b"], "--out must be a folder without control characters"),
    "empty format": (lambda: [*NF, "--format", "png,"], "--format must be names with commas between, not 'png,'"),
    "a folder in its place": (
        lambda: [*NF, "--out", "o", "--name", Path(write("o/x.json/y")).parent.stem],
        "can't write o/x.json: a folder of that name is in its place",
    ),
    "config for a saved run": (lambda: ["plot", table_file(), "--config", "x.toml"], "--config means nothing for"),
    "hostile record": (
        lambda: ["plot", table_file(str(Path(write("t.json", b'{"schema": true}')).with_suffix(".csv")))],
        "t.json is not a record of schema 1 (found True)",
    ),
    "unknown option": (lambda: [*NF, "--depht", "5"], "unknown option '--depht'; did you mean '--depth'?"),
    "unknown command": (lambda: ["plto"], "did you mean 'plot'?"),
    "option without value": (lambda: ["plot", "--arch"], "requires an argument"),
    "two runs": (lambda: ["plot", "a.csv", "b.csv"], "unexpected extra argument"),
    "gain": (lambda: ["gain", "rleu"], "did you mean 'relu'"),
    "kind": (lambda: ["list", "activation"], "did you mean 'activations'"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_clear_line_and_leaves_nothing(arguments: object, message: str) -> None:
    code, out, err = run(*arguments())
    assert code == 2
    assert out == ""
    assert message.lower() in err.lower()
    assert err.startswith("error: ")
    assert "\x1b" not in err
    assert len(err.splitlines()) <= 3
    assert "Traceback" not in err
    assert not Path("spp").exists()


def test_cuda_without_a_device_is_refused() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    code, _, err = run(*NF, "--device", "cuda")
    assert code == 2
    assert "finds no such device here; usable: cpu" in err


def test_a_read_only_folder_is_refused_before_the_work() -> None:
    code, _, err = run(*NF, "--out", "/proc/sppkit")
    assert code == 2
    assert "can't write into the folder /proc/sppkit" in err


def test_debug_shows_the_traceback() -> None:
    code, _, err = run("plot", "--arch", "nf-resnt", "--depth", "50", "--debug")
    assert code == 2
    assert "Traceback" in err


def test_an_interrupt_leaves_no_half_written_file() -> None:
    command = [sys.executable, "-m", "sppkit", "plot", "--arch", "nf-resnet", "--depth", "600", "--width", "0.5"]
    # A shell lets what it runs in the background ignore interrupts.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    deadline = time.monotonic() + 60
    while not Path("spp").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "error: interrupted" in err
    assert "Traceback" not in err
    assert not Path("spp").exists()  # nor the folder that was made for them


def test_an_old_file_survives_a_failed_write(monkeypatch: pytest.MonkeyPatch) -> None:
    from sppkit.record import table

    plot("--name", "x")
    before = Path("spp/x.csv").read_bytes()
    monkeypatch.setattr(table, "_cell", lambda *_: 1 / 0)
    code, _, err = run(*NF, "--name", "x")
    assert code == 2
    assert "unexpected ZeroDivisionError" in err
    assert Path("spp/x.csv").read_bytes() == before
    assert names("spp") == ["x.csv", "x.json", "x.png"]


def sppkit(*arguments: str, shell: str = 'exec "$@"', **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a shell, which may close or redirect its streams."""
    argv = ["sh", "-c", shell, "sh", sys.executable, "-m", "sppkit", *arguments]
    return subprocess.run(
        argv, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120
    )


def test_a_disk_that_fills_up_leaves_the_old_files_together() -> None:
    plot("--name", "x", "--no-theory")
    before = {name: Path("spp", name).read_bytes() for name in names("spp")}
    # The CSV is smaller than the limit (512 or 1024 bytes), the record is larger.
    # Python would leave a truncated cache of what it imports first, and every later process would stumble over it.
    no_cache = {"PYTHONDONTWRITEBYTECODE": "1"}
    done = sppkit(
        *NF, "--no-theory", "--name", "x", "--seed", "1", shell='ulimit -f 1; exec "$@"', MPLCONFIGDIR="mpl", **no_cache
    )
    assert done.returncode == 2
    assert "error: can't write spp/x.json: File too large. Choose another place" in done.stderr
    assert {name: Path("spp", name).read_bytes() for name in names("spp")} == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_request_to_end_leaves_nothing(number: signal.Signals) -> None:
    code = (
        "import os, sys, sppkit.plot.save as save\n"
        f"save.save_figure = lambda figure, path: os.kill(os.getpid(), {int(number)})\n"
        "from sppkit.__main__ import main\n"
        f"sys.argv = ['sppkit', 'plot', {table_file()!r}, '--out', 'new']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + number, done.stderr
    assert done.stderr == ""
    assert not Path("new").exists()


@pytest.mark.parametrize("where", ["__init__", "forward"])
def test_a_request_to_end_is_no_fault_of_the_network(where: str) -> None:
    Path("slow.py").write_text(
        "import signal\n"
        "from torch import nn\n"
        "class Linear(nn.Linear):\n"
        f"    def {where}(self, *x):\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "def Net():\n"
        "    return Linear(3, 3)\n",
        encoding="utf-8",
    )
    done = sppkit("plot", "--model", "slow.py:Net", "--shape", "3")
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")


@pytest.mark.parametrize("command", ["plot", "check", "suggest"])
def test_a_command_without_a_network_names_both_ways(command: str) -> None:
    code, _, err = run(command)
    assert code == 2
    assert "Say --arch NAME, one of" in err
    assert "or --model SPEC for one of your own" in err


def test_closed_full_and_impatient_streams() -> None:
    run_csv = table_file()
    closed = sppkit("plot", run_csv, "--out", "a", shell='exec "$@" >&-')
    assert (closed.returncode, closed.stderr, names("a")) == (0, "", ["t.png"])
    full = sppkit("list", shell='exec "$@" >/dev/full')
    assert (full.returncode, full.stderr) == (2, "error: can't print the results: No space left on device.\n")
    impatient = sppkit("list", shell='"$@" | head -1')
    assert (impatient.returncode, impatient.stdout, impatient.stderr) == (0, "architectures\n", "")


def test_an_ascii_terminal_gets_ascii() -> None:
    done = sppkit("inspect", "--arch", "nf-resnet", "--depth", "50", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "256->512" in done.stdout
    assert done.stdout.isascii()


def test_piped_text_has_no_trailing_blanks_and_is_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    _, out, _ = run("plot", table_file("x" * 60 + ".csv"))
    assert f"\nwrote {'x' * 60}.png\n" in out
    assert any(len(line) > 40 for line in out.splitlines() if line.startswith("ok"))
    monkeypatch.delenv("COLUMNS")
    for arguments in (["list"], ["gain", "tanh"], ["inspect", "--arch", "nf-resnet", "--depth", "50"]):
        _, out, _ = run(*arguments)
        assert [line for line in out.splitlines() if line != line.rstrip()] == []


def test_columns_are_honoured_and_inspect_fits_60(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = run("inspect", "--arch", "nf-resnet", "--depth", "600")
    table = out.split("\n\n")[1].splitlines()
    assert len(table) == 11
    assert max(map(len, table[:-1])) <= 60
    monkeypatch.setenv("COLUMNS", "50")
    _, narrow, _ = run("inspect", "--arch", "nf-resnet", "--depth", "600")
    assert len(narrow.splitlines()) > len(out.splitlines())


def test_no_negative_zero_in_gain() -> None:
    _, out, _ = run("gain", "tanh", "identity", "softsign")
    assert "-0.000000000000" not in out
    assert out.count(" 0.000000000000") == 3


def test_no_color_leaves_bold_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    _, _, err = run("gain", "rleu")
    assert "\x1b[1;31merror: " in err
    monkeypatch.setenv("NO_COLOR", "1")
    _, _, err = run("gain", "rleu")
    assert re.findall("\x1b\\[[0-9;]*m", err) == ["\x1b[1m", "\x1b[0m"]


def test_control_characters_do_not_reach_the_terminal() -> None:
    _, _, err = run("plot", "a\x1b[31m\x07.csv")
    assert "can't read the run a\\x1b[31m\\x07.csv" in err


def test_no_arguments_show_the_help() -> None:
    code, out, err = run()
    assert code == 2
    assert "Diagnose signal propagation" in out + err
    assert "error" not in err


@pytest.mark.parametrize(
    ("command", "shown"),
    [("plot", "default: 8]"), ("gain", "[NAME]...\n"), ("list", "[KIND]\n")],
)
def test_help_is_plain(command: str, shown: str) -> None:
    _, out, _ = run(command, "--help")
    assert shown in re.sub(r" +\n", "\n", out)
    assert "(0)" not in out
    assert "[[" not in out


@pytest.mark.parametrize("command", ["plot", "check", "compare", "predict", "suggest", "inspect"])
def test_help_shows_what_people_use_and_help_all_every_option(command: str) -> None:
    def shown(*arguments: str) -> set[str]:
        probe = (
            "import sys; from sppkit.__main__ import main\n"
            f"sys.argv = ['sppkit', '{command}', *{list(arguments)}]; main()"
        )
        environment = {**os.environ, "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, "-c", probe], capture_output=True, text=True, env=environment, check=True
        )
        return set(re.findall(r"^\W*(--[a-z-]+)", done.stdout, re.MULTILINE))

    usual, every = shown("--help"), shown("--help", "all")
    flags = {
        parameter.opts[0] for parameter in get_command(app).commands[command].params if parameter.opts[0][:2] == "--"
    }
    assert flags <= every
    assert usual < every
    own = {"--policy", "--baseline", "--against", "--exact", "--report", "--config", "--quiet", "--debug", "--help"}
    assert 5 <= len(usual - own) <= 16


def test_a_shell_completes_every_option() -> None:
    asked = {"_SPPKIT_COMPLETE": "complete_bash", "COMP_WORDS": "sppkit plot --alp", "COMP_CWORD": "2"}
    probe = "import sys; sys.argv = ['sppkit']; from sppkit.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, env={**os.environ, **asked})
    assert done.stdout.split() == ["--alpha"]


def test_progress_shows_one_task_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with console.progress(quiet=False) as update:
        update("drawing weights", 500_000, 1_000_000)
        update("measuring, seed 3", 4, 16)
    shown = re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", sys.stderr.getvalue()).replace("\r", "\n").split("\n")
    last = [line for line in shown if line.strip()][-1]
    assert last.startswith("measuring, seed 3")
    assert "4/16 blocks" in last
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with console.progress(quiet=False) as nothing:
        assert nothing is None

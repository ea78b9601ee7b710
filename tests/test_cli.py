"""The command line as a user meets it: files, words, exit codes, and one clear line for every mistake."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sppkit.cli.app import app
from sppkit.table import COLUMNS

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
    assert f"wrote {stem}.csv  {stem}.json  {stem}.png" in out
    table = rows(f"{stem}.csv")
    assert tuple(table[0]) == COLUMNS
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
    assert "nf-resnet-1-2, width 0.125, activation silu, padding circular, alpha 1, se, skip gain 0.5" in out
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
    assert "The variance resets" in done.stdout
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


NF = ["plot", "--arch", "nf-resnet", *SMALL]
MISTAKES = {
    "architecture": (lambda: ["plot", "--arch", "nf-resnt", "--depth", "50"], "did you mean 'nf-resnet'"),
    "no architecture": (lambda: ["plot", "--depth", "50"], "which network? Say --arch NAME"),
    "no depth": (lambda: ["plot", "--arch", "nf-resnet"], "how deep"),
    "depth 3": (lambda: ["plot", "--arch", "nf-resnet", "--depth", "3"], "--depth must be at least 12"),
    "width 0": (lambda: [*NF, "--width", "0"], "--width must be a finite number of more than 0, not '0'"),
    "stages": (lambda: ["plot", "--arch", "nf-resnet", "--stages", "3,x"], "as in 3,4,6,3, not '3,x'"),
    "too large": (lambda: ["plot", "--arch", "nf-resnet", "--depth", "600000"], "GiB are free"),
    "meaningless": (lambda: ["plot", "--arch", "bn-relu-conv", "--depth", "50", "--alpha", "1"], "means nothing"),
    "activation": (lambda: [*NF, "--activation", "rleu"], "did you mean 'relu'"),
    "statistic": (lambda: [*NF, "--stats", "chanel_variance"], "did you mean 'channel_variance'"),
    "format": (lambda: [*NF, "--format", "jpg"], "unknown picture format 'jpg'"),
    "device": (lambda: [*NF, "--device", "cud"], "did you mean 'cuda'"),
    "seed": (lambda: [*NF, "--seed", "-1"], "--seed must be a whole number of at least 0"),
    "batches": (lambda: [*NF, "--batches", "0"], "--batches must be a whole number of at least 1"),
    "no folder": (lambda: [*NF, "--input", "photos/"], "photos"),
    "empty folder": (lambda: [*NF, "--input", str(Path(write("empty/.keep")).parent)], "empty"),
    "truncated picture": (lambda: [*NF, "--input", truncated_picture("pics")], "b.png"),
    "rank": (lambda: [*NF, "--input", saved("x.npy", np.zeros((3, 32), np.float32))], "x.npy"),
    "dtype": (lambda: [*NF, "--input", saved("x.npy", np.zeros((4, 3, 32, 32), np.uint8))], "uint8"),
    "channels": (lambda: [*NF, "--input", saved("x.npy", np.zeros((4, 1, 32, 32), np.float32))], "channel"),
    "nan": (lambda: [*NF, "--input", saved("x.npy", nan_array())], "finite"),
    "pickle": (lambda: [*NF, "--input", saved("x.npy", np.array([{}, 1], dtype=object))], "x.npy"),
    "shape": (lambda: [*NF, "--shape", "1,32,32"], "--shape must be 3,height,width for nf-resnet, not 1,32,32"),
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
    "no run": (lambda: ["plot", "no.csv"], "there is no run no.csv"),
    "not a run": (lambda: ["plot", write("x.csv", b"a,b\n1,2\n")], "has no column 'seed'"),
    "empty run": (lambda: ["plot", write("x.csv", b"")], "can't be read as a table"),
    "binary run": (lambda: ["plot", write("x.csv", b"\xff\xfe\x00\x01")], "x.csv"),
    "header only": (lambda: ["plot", write("x.csv", ",".join(COLUMNS).encode() + b"\n")], "no rows"),
    "word for a number": (
        lambda: ["plot", write("x.csv", ",".join(COLUMNS).encode() + b"\n0,0,0,stem,4,2,2,high,1,,0\n")],
        "column 'channel_squared_mean' has a cell that is not a number",
    ),
    "gain": (lambda: ["gain", "rleu"], "did you mean 'relu'"),
    "kind": (lambda: ["list", "activation"], "did you mean 'activations'"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_clear_line_and_leaves_nothing(arguments: object, message: str) -> None:
    code, out, err = run(*arguments())
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 3
    assert "Traceback" not in err
    assert not list(Path("spp").glob("*")) if Path("spp").exists() else True


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


def test_a_misspelt_option_names_the_right_one() -> None:
    code, _, err = run("plot", "--arch", "nf-resnet", "--depht", "50")
    assert code == 2
    assert "--depth" in err


def test_an_interrupt_leaves_no_half_written_file() -> None:
    command = [sys.executable, "-m", "sppkit", "plot", "--arch", "nf-resnet", "--depth", "600", "--width", "0.5"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not Path("spp").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "error: interrupted" in err
    assert "Traceback" not in err
    assert names("spp") == []


def test_an_old_file_survives_a_failed_write(monkeypatch: pytest.MonkeyPatch) -> None:
    from sppkit import table

    plot("--name", "x")
    before = Path("spp/x.csv").read_bytes()
    monkeypatch.setattr(table, "_cell", lambda column, row: 1 / 0)
    code, _, err = run(*NF, "--name", "x")
    assert code == 2
    assert "unexpected ZeroDivisionError" in err
    assert Path("spp/x.csv").read_bytes() == before
    assert names("spp") == ["x.csv", "x.json", "x.png"]

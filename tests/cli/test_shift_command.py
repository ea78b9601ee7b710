"""``sppkit shift`` and ``--shift`` as a user types them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pictures import smooth_pictures
from sppkit.cli.app import app
from sppkit.record.shift_table import SHIFT_COLUMNS

RUNNER = CliRunner()
SMALL = ["--stages", "1,1", "--width", "0.1", "--image-size", "32"]
NET = """
from torch import nn

class Block(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), norm(8), nn.ReLU())

    def forward(self, x):
        return x + self.body(x)

def build(norm="BatchNorm2d", **settings):
    kind = getattr(nn, norm)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *[Block(lambda c: kind(c, **settings)) for _ in range(3)])
"""


@pytest.fixture(autouse=True)
def _a_folder_of_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for index, picture in enumerate(smooth_pictures(4, side=32)):
        values = np.rint(picture.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        Image.fromarray(values).save(f"photos/{index}.png")
    Path("nets.py").write_text(NET, encoding="utf-8")


def run(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def shift(*arguments: object) -> str:
    code, out, err = run("shift", *arguments)
    assert code == 0, err
    return out


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_network_and_two_shifts() -> None:
    arguments = [
        "--arch",
        "bn-relu-conv",
        *SMALL,
        "--input",
        "photos",
        "--shift",
        "contrast",
        "--shift",
        "apr-p:axes=hw",
    ]
    out = shift(*arguments)
    stem = "spp/bn-relu-conv-stages1-1-width0.1-shift"
    assert out.endswith(f"wrote {stem}.csv and .json\nwrote spp/shift.png\n")
    assert "contrast: style shift" in out
    table = rows(f"{stem}.csv")
    assert tuple(table[0]) == SHIFT_COLUMNS
    assert [item["name"] for item in table] == ["input", "stem", "blocks.0", "blocks.1"] * 2
    record = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
    assert record["shifts"] == ["contrast", "apr-p:axes=hw"]
    assert [item["name"] for item in record["input"]["shifts"]] == record["shifts"]
    assert record["input"]["shifts"][0]["where"] == "before normalization, values in [0, 1]"
    assert (record["mode"], record["warmup"], record["input"]["batch_shape"]) == ("eval", 1, [4, 3, 32, 32])
    assert Path("spp/shift.png").stat().st_size > 10_000
    first = Path(f"{stem}.csv").read_bytes()
    shift(*arguments)
    assert Path(f"{stem}.csv").read_bytes() == first


def test_several_networks_and_seeds() -> None:
    specs = ["bn-relu-conv", "bn-relu-conv:norm=in,name=instance", "nf-resnet"]
    out = shift(*specs, *SMALL, "--input", "photos", "--shift", "corrupt:fog:2", "--seeds", 2, "--name", "fog")
    assert sorted(path.name for path in Path("spp").iterdir()) == sorted([
        *(
            f"{stem}-shift.{suffix}"
            for stem in ("bn-relu-conv-stages1-1-width0.1", "instance", "nf-resnet-stages1-1-width0.1")
            for suffix in ("csv", "json")
        ),
        "fog.png",
    ])
    assert "corruption:fog:2: instance shifts least behind the last block" in out
    assert {item["seed"] for item in rows("spp/instance-shift.csv")} == {"0", "1"}


def test_a_network_and_a_shift_of_the_users_own() -> None:
    Path("mine.py").write_text(
        "def darker(pictures, generators):\n    return pictures * generators[0].uniform(0.4, 0.6)\n", encoding="utf-8"
    )
    out = shift("--model", "nets.py:build", "--image-size", 32, "--input", "photos", "--shift", "mine.py:darker")
    assert "mine.py:darker: style shift" in out
    table = rows("spp/nets-build-shift.csv")
    assert [item["name"] for item in table] == ["input", "stem", "1", "2", "3"]
    # A function may move whatever it likes in a picture, so that means over space are compared.
    assert all(item["correlation"] for item in table)


def test_a_configuration_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("shift.toml").write_text(
        'specs = ["bn-relu-conv", "nf-resnet"]\nshift = ["contrast", "apr-p"]\nstages = [1]\nwidth = 0.1\n'
        'image-size = 32\ninput = "photos"\n',
        encoding="utf-8",
    )
    out = shift("--config", "shift.toml")
    assert out.count("apr-p") >= 4
    # A shift that is typed replaces those of the file.
    assert "apr-p" not in shift("--config", "shift.toml", "--shift", "brightness")


def test_untrained_gates_and_what_does_nothing_are_said() -> None:
    code, _, err = run(
        "shift", "--arch", "bn-relu-conv", *SMALL, "--input", "photos", "--shift", "contrast", "--add-on",
        "selfnorm@residual+crossnorm@post",
    )  # fmt: skip
    assert code == 0
    assert "the gates of SelfNorm are untrained" in err
    assert "CrossNorm does nothing in eval mode" in err
    assert "running statistics" not in err  # they were calibrated


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arch", "bn-relu-conv", *SMALL], "which shift? Give --shift NAME"),
        (["--shift", "contrast"], "which network? Give --arch, --model, or SPECs"),
        (["--arch", "bn-relu-conv", *SMALL, "--shift", "contrast"], "is for pictures, and the input is Gaussian"),
        (["--arch", "nf-resnet", *SMALL, "--input", "photos", "--shift", "contras"], "did you mean 'contrast'?"),
        (
            ["--arch", "nf-resnet", *SMALL, "--input", "photos", "--shift", "corruption:frost:1"],
            "--shift corruption: kind frost is not here: it lays six photographs over the picture",
        ),
        (
            ["--arch", "nf-resnet", *SMALL, "--input", "photos", "--shift", "corruption:fog"],
            "--shift corruption:fog must be corruption:KIND:SEVERITY[:key=value,...].",
        ),
        (
            ["--arch", "nf-resnet", *SMALL, "--input", "photos", "--shift", "corruption:fog:9"],
            "--shift corruption: severity must be a whole number from 1 to 5, not '9'.",
        ),
        (
            ["--arch", "nf-resnet", *SMALL, "--input", "photos", "--shift", "contrast", "--batch-size", 1],
            "give two pictures or more, and --batch-size 2 or more.",
        ),
        (["spp/x.csv", "--shift", "contrast"], "spp/x.csv is a saved run; give the network itself"),
        (["nf-resnet:stages=1,shift=contrast", "--input", "photos", "--shift", "contrast"], "as --shift."),
        (
            ["--model", "nets.py:build", "--kw", "track_running_stats=False", "--input", "photos", "--image-size", 32,
             "--shift", "contrast"],
            "in eval mode, this network returns something else for the same samples when others stand beside them",
        ),
        (["--arch", "nf-resnet", *SMALL, "--shift", "contrast", "--mode", "train"], "unknown option '--mode'"),
    ],
)  # fmt: skip
def test_one_clear_line_for_every_mistake(arguments: list[object], message: str) -> None:
    code, out, err = run("shift", *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert not Path("spp").exists()


@pytest.mark.parametrize("command", ["plot", "check", "suggest"])
def test_every_command_that_takes_an_input_takes_a_shift(command: str) -> None:
    code, out, err = run(
        command, "--arch", "bn-relu-conv", *SMALL, "--input", "photos", "--shift", "contrast:factor=0.5", "--out", "spp"
    )
    assert code in {0, 1}, err
    [record, *_] = sorted(Path("spp").glob("*.json"))
    written = json.loads(record.read_text(encoding="utf-8"))
    assert written["input"]["shift"]["name"] == "contrast:factor=0.5"
    assert written["options"]["shift"] == {"value": "contrast:factor=0.5", "source": "flag"}
    if command == "plot":
        assert "pictures 4×3×32×32, contrast:factor=0.5" in out


def test_a_shifted_run_has_no_prediction_and_is_compared_with_its_like() -> None:
    for flags in ([], ["--shift", "crossnorm"]):
        code, _, err = run("plot", "--arch", "bn-relu-conv", *SMALL, *flags, "--name", f"run{len(flags)}")
        assert code == 0, err
    theory = [json.loads(Path(f"spp/run{n}.json").read_text(encoding="utf-8"))["theory"] for n in (0, 2)]
    assert theory[0]["predicted"]
    assert theory[1]["reason"] == "the recursion starts from Gaussian input, not from a shifted one"
    assert run("bless", "spp/run0.csv", "--reason", "it is so", "--baseline", "base.json")[0] == 0
    code, out, err = run("check", "spp/run2.csv", "--baseline", "base.json")
    assert code == 3
    assert "--shift: crossnorm here, None in the baseline" in out + err


def test_a_comparison_of_shifts_as_specs() -> None:
    code, _, err = run(
        "compare", "nf-resnet:name=clean", "nf-resnet:name=foggy,shift=corruption:fog:3", *SMALL, "--input", "photos"
    )
    assert code == 0, err
    assert {path.name for path in Path("spp").iterdir()} == {
        "clean.csv", "clean.json", "foggy.csv", "foggy.json", "compare.png",
    }  # fmt: skip


def test_shifts_are_listed_without_torch() -> None:
    code, out, _ = run("list", "shifts")
    assert code == 0
    assert "apr-p" in out
    assert "KIND:SEVERITY of CIFAR-C or ImageNet-C" in out
    assert run("list", "nuisances")[0] == 0

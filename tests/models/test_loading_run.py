"""A network of the user's own from the command line to its files."""

from __future__ import annotations

import csv
import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from networks import Language, Net
from sppkit import measure
from sppkit.cli.app import app
from sppkit.config.resolve import resolve_config
from sppkit.inputs.tokens import draw_tokens
from sppkit.measuring.run import run as measure_run
from sppkit.measuring.titles import file_stem, layout_line, title
from sppkit.streams import fill_normal

RUNNER = CliRunner()
FILE = Path(__file__).parents[1].joinpath("networks.py")
SMALL = ["--image-size", "16", "--batch-size", "3"]


@pytest.fixture(autouse=True)
def _beside_the_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(FILE, "nets.py")
    Path("x.png").touch()


def run(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, ["plot", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def table(stem: str) -> list[dict[str, str]]:
    with Path(f"spp/{stem}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def record(stem: str) -> dict[str, Any]:
    return json.loads(Path(f"spp/{stem}.json").read_text(encoding="utf-8"))


def gaussian(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    numbers = np.empty(shape, np.float32)
    fill_normal(numbers, seed, "input/0")
    return torch.from_numpy(numbers)


def test_a_file_of_ones_own() -> None:
    code, out, err = run("--model", "nets.py:Net", "--kw", "depth=3", "--kw", "width=4", *SMALL)
    assert (code, err) == (0, "")
    stem = "nets-Net-depth3-width4"
    assert out.splitlines()[:3] == [
        "nets.py:Net, depth 3, width 4",
        "580 parameters · input shape from what its first layer takes (stem) and --image-size",
        "Gaussian input 3×3×16×16 · train mode · float32 · seed 0",
    ]
    assert sorted(path.name for path in Path("spp").iterdir()) == [f"{stem}.{end}" for end in ("csv", "json", "png")]
    assert [row["name"] for row in table(stem)] == ["stem", "blocks.0", "blocks.1", "blocks.2"]
    written = record(stem)
    assert written["model"] == {
        "spec": "nets.py:Net",
        "kw": {"depth": 3, "width": 4},
        "class": "nets.Net",
        "library": None,
        "parameters": 580,
        "input_from": "what its first layer takes (stem) and --image-size",
    }
    assert written["options"]["kw"] == {"value": {"depth": 3, "width": 4}, "source": "flag"}
    assert (written["checkpoint"], written["reinit"], written["streamed"]) == (None, None, False)
    assert written["input"]["batch_shape"] == [3, 3, 16, 16]
    assert "arch" not in written


def test_the_numbers_are_those_of_measure() -> None:
    result = measure_run(resolve_config({"model": "nets.py:Net", "image_size": 16, "batch_size": 3, "seeds": 2}))
    for seed in (0, 1):
        torch.manual_seed(seed)
        importlib.import_module("networks")
        expected = measure(Net(), gaussian((3, 3, 16, 16), seed), mode="train", seed=seed)
        found = result.table[result.table["seed"] == seed].reset_index(drop=True)
        # The same network, input and code: equal to the last bit.
        assert found["channel_variance"].tolist() == expected["channel_variance"].tolist()
        assert found["residual_variance"].tolist()[1:] == expected["residual_variance"].tolist()[1:]


def test_tokens() -> None:
    arguments = ["--model", "nets.py:Language", "--shape", "12", "--batch-size", "2", "--batches", "2", "--name", "x"]
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert "random tokens 2×12, 2 batches" in out
    torch.manual_seed(0)
    expected = measure(Language(), [draw_tokens((2, 12), 50, 0, f"input/{batch}") for batch in range(2)])
    assert [float(row["channel_variance"]) for row in table("x")] == pytest.approx(
        expected["channel_variance"].tolist(), rel=1e-8
    )
    code, _, err = run(*arguments, "--input", "tokens", "--vocab", "51")
    assert code == 2
    assert err.startswith("error: the forward pass failed before the first block: index out of range")
    assert err.endswith("The input was 2×12; another one is given as --shape.\n")


def test_tokens_from_a_file() -> None:
    np.save("ids.npy", np.arange(24).reshape(2, 12) % 50)
    result = measure_run(resolve_config({"model": "nets.py:Language", "input": "ids.npy", "batch_size": 2}))
    torch.manual_seed(0)
    expected = measure(Language(), torch.arange(24).reshape(2, 12) % 50)
    assert result.table["channel_variance"].tolist() == expected["channel_variance"].tolist()
    assert result.record["input"]["shape_from"] == "ids.npy"


def test_a_checkpoint_fixes_the_weights() -> None:
    torch.manual_seed(9)
    trained = Net()
    torch.save({"state_dict": trained.state_dict()}, "best.pt")
    code, out, err = run("--model", "nets.py:Net", "--checkpoint", "best.pt", "--seeds", "2", *SMALL)
    assert code == 0
    assert err == "warning: --checkpoint best.pt: the weights were found under 'state_dict'.\n"
    assert "nets.py:Net, checkpoint best.pt" in out
    rows = table("nets-Net-best")
    for seed in (0, 1):
        expected = measure(trained, gaussian((3, 3, 16, 16), seed), mode="train", seed=seed)
        found = [float(row["channel_variance"]) for row in rows if row["seed"] == str(seed)]
        assert found == pytest.approx(expected["channel_variance"].tolist(), rel=1e-8)
    written = record("nets-Net-best")["checkpoint"]
    assert written["file"] == "best.pt"
    assert len(written["sha256"]) == 64


def test_keyed_weights_survive_a_refactoring() -> None:
    refactored = FILE.read_text(encoding="utf-8").replace(
        "super().__init__()\n        self.stem", "super().__init__()\n        nn.Linear(5, 5)\n        self.stem"
    )
    Path("other.py").write_text(refactored, encoding="utf-8")
    tables = [
        measure_run(resolve_config({"model": f"{place}.py:Net", "image_size": 16, "batch_size": 2, **flags})).table
        for flags in ({"reinit": "KEYED"}, {})
        for place in ("nets", "other")
    ]
    assert tables[0].equals(tables[1])
    assert not tables[2].equals(tables[3])


def test_eval_mode_without_calibration_is_warned_about() -> None:
    torch.save(Net().state_dict(), "best.pt")
    for more, warned in (
        ({"mode": "eval"}, True),
        ({"mode": "eval", "warmup": 1}, False),
        ({"mode": "eval", "checkpoint": "best.pt"}, False),
        ({}, False),
    ):
        result = measure_run(resolve_config({"model": "nets.py:Net", "image_size": 16, "batch_size": 2, **more}))
        expected = "eval mode uses running statistics, and these are still at their initial 0 and 1; add --warmup 50"
        assert [warning.startswith(expected) for warning in result.warnings] == [True] * warned


def test_a_configuration_file() -> None:
    Path("my.toml").write_text(
        'model = "nets.py:Net"\nkw = {depth = 1}\nimage-size = 16\nbatch-size = 2\n', encoding="utf-8"
    )
    assert run("--config", "my.toml")[0] == 0
    assert record("nets-Net-depth1")["options"]["model"] == {"value": "nets.py:Net", "source": "my.toml"}
    # A flag for the one replaces the file's other.
    assert run("--config", "my.toml", "--model", "nets.py:build")[0] == 0
    code, _, err = run("--config", "my.toml", "--arch", "nf-resnet", "--stages", "1")
    assert code == 2
    assert "--kw means nothing with --arch; it belongs to --model." in err


STEMS = {
    "timm": ({"model": "timm:resnet50"}, "timm-resnet50"),
    "arguments": (
        {
            "model": "torchvision:vit_b_16",
            "kw": ["image_size=64", "drop=0.5", "act='a/b'", "norm=true", "my_bias=false"],
        },
        "torchvision-vit_b_16-image-size64-drop0.5-act-a-b-norm-no-my-bias",
    ),
    "folder": ({"model": "hf:models/small bert/", "reinit": "keyed"}, "hf-small-bert-keyed"),
    "file": ({"model": "../a b/nets.py:make", "checkpoint": "runs/best.pt"}, "nets-make-runs-best"),
    "elsewhere": ({"model": "a:b", "checkpoint": "/runs/17/best.v2.pt"}, "a-b-17-best.v2"),
    "above": ({"model": "a:b", "checkpoint": "../best.pt"}, "a-b-best"),
    "named": ({"arch": "nf-resnet", "depth": "50", "checkpoint": "best.pt"}, "nf-resnet-50-best"),
    "name": ({"model": "timm:resnet50", "name": "mine"}, "mine"),
}


@pytest.mark.parametrize(("flags", "stem"), STEMS.values(), ids=STEMS)
def test_file_names(flags: dict[str, Any], stem: str) -> None:
    assert file_stem(resolve_config(flags)) == stem


def test_long_file_names_are_cut_and_stay_apart() -> None:
    stems = [file_stem(resolve_config({"model": "a:b", "kw": [f"x={'y' * 300}{end}"]})) for end in "12"]
    assert len({*stems}) == 2
    assert all(len(stem) < 220 for stem in stems)
    assert stems[0][:200] == stems[1][:200]


def test_titles_of_records() -> None:
    spec = {"spec": "timm:resnet50", "kw": {"x": 1, "flag": False}, "parameters": 25_600_000, "input_from": "timm"}
    assert title({"model": spec}) == "timm:resnet50, x 1, no flag"
    assert layout_line({"model": spec}) == "25.6 M parameters · input shape from timm"


MISTAKES = {
    "pictures for words": (["--model", "nets.py:Language", "--input", "x.png"], "but one sample is to be tokens."),
    "both": (["--arch", "nf-resnet"], "--arch and --model both say which network; give one of them."),
    "depth": (["--depth", "50"], "--depth means nothing with --model; it belongs to --arch.\nArguments of your own"),
    "se": (["--se"], "--se means nothing with --model"),
    "streaming": (["--streaming", "on"], "--streaming on means nothing with --model: only --arch can draw"),
    "two origins": (["--checkpoint", "x", "--reinit", "keyed"], "--checkpoint and --reinit both say where the weights"),
    "reinit": (["--reinit", "kaiming"], "unknown --reinit 'kaiming'.\nKnown: keyed."),
    "vocab": (["--vocab", "5"], "--vocab is the number of different tokens; it belongs to --input tokens."),
    "argument": (["--kw", "dept=3"], "unknown argument of nets.py:Net 'dept'; did you mean 'depth'?"),
    "no argument": (["--kw", "depth"], "--kw must be key=value, as in --kw depth=3, not 'depth'."),
    "checkpoint": (["--checkpoint", "x.pt"], "can't read --checkpoint x.pt: there is no such file."),
    "pictures": (
        ["--input", "x.png", "--shape", "7"],
        "pictures have channels, height and width, but one",
    ),
    "channels": (["--shape", "1,8,8"], "failed before the first block: Given groups=1, weight of size [8, 3, 3, 3]"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(arguments: list[str], message: str) -> None:
    code, out, err = run("--model", "nets.py:Net", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 3
    assert not Path("spp").exists()


NAMED_MISTAKES = {
    "kw": (["--kw", "depth=3"], "--kw means nothing with --arch; it belongs to --model."),
    "reinit": (["--reinit", "keyed"], "--reinit means nothing with --arch; it belongs to --model."),
    "tokens": (["--input", "tokens"], "--input tokens is for language models"),
    "streaming": (
        ["--streaming", "on", "--checkpoint", "x.pt"],
        "--streaming on means nothing with --checkpoint: only --arch can draw",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), NAMED_MISTAKES.values(), ids=NAMED_MISTAKES)
def test_mistakes_with_a_named_architecture(arguments: list[str], message: str) -> None:
    code, out, err = run("--arch", "nf-resnet", "--stages", "1", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_misspelt_reference_is_refused_before_torch_is_imported() -> None:
    code, _, err = run("--model", "resnet50")
    assert code == 2
    assert "A model of timm is given as timm:resnet50." in err


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("SystemExit(0)", "error: the network's own code tried to end the program (SystemExit: 0)."),
        ("BaseException('odd')", "error: unexpected BaseException: odd"),
    ],
)
def test_a_network_can_neither_end_the_program_nor_choose_its_verdict(raised: str, said: str) -> None:
    Path("leaves.py").write_text(
        f"from torch import nn\nclass Leaves(nn.Linear):\n    def forward(self, x): raise {raised}\n", encoding="utf-8"
    )
    code, out, err = run("--model", "leaves.py:Leaves", "--kw", "in_features=2", "--kw", "out_features=2")
    assert (code, out) == (2, "")
    assert err.startswith(said)
    assert not Path("spp").exists()

"""``sppkit invariance`` as a user meets it: files, words, and one clear line for every mistake."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import sppkit
from sppkit.cli.app import app
from sppkit.diagnosis.invariance_in_words import iter_sentences
from sppkit.measuring.invariance.run import summarize

RUNNER = CliRunner()
NETWORK = '''
import torch
from torch import nn

class Net(nn.Module):
    """Four classes, the last block of which is a residual one."""

    def __init__(self, classes=4, channels=1):
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.branch = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        x = self.stem(x).relu()
        return self.head((x + self.branch(self.norm(x))).mean(dim=(2, 3)))

def upside_down(pictures, generators):
    return pictures.flip(-2)
'''


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETWORK, encoding="utf-8")
    generator = np.random.default_rng(0)
    pictures = generator.random((40, 10, 10), dtype=np.float32) / 2 + 0.25  # no pixel of it is black
    np.savez("test.npz", inputs=pictures, labels=np.arange(40) % 4)
    np.savez("train-labels.npz", np.repeat(np.arange(4), [50, 20, 5, 5]))
    torch.save(net().state_dict(), "weights.pt")


def net() -> torch.nn.Module:
    module: dict[str, type[torch.nn.Module]] = {}
    exec(NETWORK, module)
    torch.manual_seed(1)
    model = module["Net"]()
    model.norm.running_mean.fill_(0.1)
    return model


def run(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, ["invariance", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def given() -> dict[str, np.ndarray]:
    with np.load("test.npz") as stored:
        return dict(stored)


OWN = ("--model", "nets.py:Net", "--checkpoint", "weights.pt")
ASKED = (*OWN, "--input", "test.npz", "--nuisance", "rotate:degrees=90", "--draws", 2)


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_files_of_classes_blocks_record_and_picture() -> None:
    code, out, err = run(*ASKED, "--train-labels", "train-labels.npz", "--seed", 3)
    assert (code, err) == (0, "")
    stem = "spp/nets-Net-weights-rotate-degrees-90.0"
    assert out.endswith(f"wrote {stem}.csv\nwrote {stem}-blocks.csv\nwrote {stem}.json\nwrote {stem}.png\n")
    stored = given()
    ask = {"nuisance": "rotate:degrees=90", "draws": 2, "seed": 3}
    table = sppkit.invariance(net(), stored["inputs"], stored["labels"], **ask, train_sizes=[50, 20, 5, 5])
    found = rows(f"{stem}.csv")
    assert list(found[0]) == list(table)
    assert [float(row["ekld"]) for row in found] == pytest.approx(table["ekld"].tolist(), rel=1e-8)
    assert [row["train_size"] for row in found] == ["50", "20", "5", "5"]
    blocks = sppkit.invariance_by_block(net(), stored["inputs"], stored["labels"], **ask)
    shown = rows(f"{stem}-blocks.csv")
    assert [row["name"] for row in shown] == blocks["name"].tolist()
    expected = blocks["signal_to_shift"].tolist()
    assert [float(row["signal_to_shift"]) for row in shown] == pytest.approx(expected, rel=1e-8)
    record = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
    assert record["nuisance"]["name"] == "rotate:degrees=90.0"
    assert record["nuisance"]["stream"].endswith("nuisance/rotate/<draw>/<picture>")
    assert record["options"]["draws"] == {"value": 2, "source": "flag"}
    assert record["result"]["ekld"] == pytest.approx(table["ekld"].mean())
    assert record["input"]["samples_used"] == 40


def test_the_same_again_and_nothing_half_written() -> None:
    run(*ASKED, "--name", "a")
    run(*ASKED, "--name", "b", "--batch-size", 40)
    assert Path("spp/a.csv").read_bytes() == Path("spp/b.csv").read_bytes()
    Path("spp/c.json").mkdir()
    code, _, err = run(*ASKED, "--name", "c")
    assert code == 2
    assert err.startswith("error: can't write spp/c.json: a folder of that name is in its place.")
    assert not list(Path("spp").glob("c*.csv"))


def test_folders_with_names_of_classes() -> None:
    for shade, name in enumerate(("ant", "bee", "cat")):
        Path("photos", name).mkdir(parents=True)
        for index in range(3):
            pixels = np.random.default_rng(10 * shade + index).integers(0, 255, (12, 12), dtype=np.uint8)
            Image.fromarray(pixels).save(Path("photos", name, f"{index}.png"))
    options = ("--nuisance", "rotate", "--image-size", 12, "--per-class", 2, "--train-labels", "photos")
    code, out, err = run(*OWN, "--input", "photos", *options)
    assert (code, err) == (0, "")
    assert re.search(r"^ant +3 +2 ", out, re.MULTILINE)
    assert [row["class_name"] for row in rows("spp/nets-Net-weights-rotate.csv")] == ["ant", "bee", "cat"]
    record = json.loads(Path("spp/nets-Net-weights-rotate.json").read_text(encoding="utf-8"))
    assert record["input"]["normalized"] == {"mean": [0.449], "std": [0.226]}  # of grey pictures, unless told


def test_pictures_and_labels_in_two_files() -> None:
    stored = given()
    np.savez("imgs.npz", (stored["inputs"] * 255).round().astype(np.uint8))
    np.savez("labels.npz", stored["labels"].astype(np.uint8))
    options = ("--input", "imgs.npz", "--labels", "labels.npz", "--nuisance", "dilate", "--name", "x", "--per-class", 5)
    code, _, err = run(*OWN, *options)
    assert (code, err) == (0, "")
    assert [row["samples"] for row in rows("spp/x.csv")] == ["5"] * 4


def test_normalization_is_what_python_does() -> None:
    run(*ASKED, "--normalize", "0.5/0.25", "--name", "x")
    stored = given()
    table = sppkit.invariance(
        net(), stored["inputs"], stored["labels"], nuisance="rotate:degrees=90", draws=2, normalize=(0.5, 0.25)
    )
    assert [float(row["ekld"]) for row in rows("spp/x.csv")] == pytest.approx(table["ekld"].tolist(), rel=1e-8)


def test_a_nuisance_of_the_users_own() -> None:
    code, out, _ = run(*OWN, "--input", "test.npz", "--nuisance", "nets.py:upside_down", "--draws", 1)
    assert code == 0
    assert "wrote spp/nets-Net-weights-nets-upside_down.csv\n" in out


def test_pictures_from_a_function() -> None:
    Path("data.py").write_text(
        """
import numpy as np
import torch

def test():
    with np.load("test.npz") as stored:
        return torch.from_numpy(stored["inputs"]), stored["labels"]

def nothing():
    return None

def broken():
    raise KeyError("x")
""",
        encoding="utf-8",
    )
    options = (*OWN, "--nuisance", "rotate:degrees=90", "--draws", 2)
    assert run(*options, "--input", "test.npz", "--name", "a")[0] == 0
    assert run(*options, "--input", "data.py:test", "--name", "b")[0] == 0
    assert Path("spp/a.csv").read_bytes() == Path("spp/b.csv").read_bytes()
    for function, text in (
        ("nothing", "returned a value of type NoneType; it must return pictures and their labels, a tuple of two."),
        ("broken", "--input data.py:broken failed: KeyError"),
    ):
        code, _, err = run(*options, "--input", f"data.py:{function}")
        assert code == 2
        assert text in err
    assert "--labels means nothing beside" in run(*options, "--input", "data.py:test", "--labels", "x.npz")[2]


def test_options_from_a_file() -> None:
    Path("run.toml").write_text(
        'model = "nets.py:Net"\ncheckpoint = "weights.pt"\ninput = "test.npz"\nnuisance = "rotate"\ndraws = 1\n',
        encoding="utf-8",
    )
    code, _, err = run("--config", "run.toml", "--quiet", "--name", "x")
    assert (code, err) == (0, "")
    record = json.loads(Path("spp/x.json").read_text(encoding="utf-8"))
    assert record["options"]["draws"] == {"value": 1, "source": "run.toml"}
    assert record["mode"] == "eval"
    assert "mode" not in record["options"]
    Path("run.toml").write_text('model = "nets.py:Net"\nseeds = 3\n', encoding="utf-8")
    code, _, err = run("--config", "run.toml")
    assert code == 2
    assert err.startswith("error: run.toml: seeds means nothing for sppkit invariance.\nIt takes model, kw, checkpoint")


def test_a_network_that_takes_other_ways_has_classes_but_no_blocks() -> None:
    Path("nets.py").write_text(
        NETWORK
        + """
class Routed(Net):
    def forward(self, x):
        h = self.stem(x).relu()
        return self.head((h + self.branch(h) if x.mean() > 0.5 else h).mean(dim=(2, 3)))

def half(pictures, generators):
    return pictures / 4
""",
        encoding="utf-8",
    )
    options = ("--model", "nets.py:Routed", "--input", "bright.npz", "--nuisance", "nets.py:half", "--name", "x")
    np.savez("bright.npz", inputs=np.full((8, 10, 10), 0.75, np.float32), labels=np.arange(8) % 4)
    code, out, err = run(*options)
    assert code == 0, err
    assert "the blocks have no numbers: " in err
    assert "took another way than the first" in err
    assert len(rows("spp/x.csv")) == 4
    assert rows("spp/x-blocks.csv") == []
    assert "signal-to-shift" not in out


def test_an_untrained_network_is_warned_of() -> None:
    _, _, err = run("--model", "nets.py:Net", "--input", "test.npz", "--nuisance", "rotate", "--draws", 1)
    assert err.startswith("warning: the running statistics of this network are still at their initial 0 and 1")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "sppkit invariance needs --model SPEC, the classifier"),
        (OWN, "sppkit invariance needs --nuisance NAME, what should not matter: sppkit list nuisances."),
        ((*OWN, "--nuisance", "rotate"), "sppkit invariance needs labelled pictures: --input FOLDER"),
        ((*ASKED, "--input", "no.npz"), "no such file or folder as --input: 'no.npz'."),
        ((*ASKED, "--nuisance", "rotat"), "unknown nuisance 'rotat'; did you mean 'rotate'?"),
        ((*ASKED, "--nuisance", "rotate:angle=3"), "--nuisance rotate: it has no setting 'angle'; it has degrees."),
        ((*ASKED, "--nuisance", "background"), "the nuisance background changed none of the 40 pictures"),
        ((*ASKED, "--labels", "train-labels.npz"), "there are 40 pictures and 80 labels in train-labels.npz"),
        ((*ASKED, "--normalize", "0.5"), "--normalize must be none, imagenet or MEAN/STD"),
        ((*ASKED, "--kw", "classes=2"), "weights.pt"),
        ((*OWN[:2], *ASKED[4:], "--kw", "classes=3"), "there are pictures of class 3, and Net has 3 outputs"),
        ((*OWN[:2], *ASKED[4:], "--kw", "channels=3"), "pictures with 1 channel, and the network takes 3."),
        ((*ASKED, "--arch", "nf-resnet"), "unknown option '--arch'"),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_mistakes_are_one_clear_line(arguments: tuple[object, ...], text: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert text in err
    assert "Traceback" not in err
    assert not list(Path().glob("spp/*"))


def classes(ekld: list[float], sizes: list[int] | None = None, confidence: float = 0.9) -> pd.DataFrame:
    count = len(ekld)
    table = pd.DataFrame({"class": range(count), "ekld": ekld, "ekld_se": [0.3] * count, "consistency": [0.5] * count})
    table = table.assign(consistency_se=0.1, accuracy=0.5, confidence=[confidence, *[0.9] * (count - 1)])
    return table if sizes is None else table.assign(train_size=sizes)


def blocks(*values: float) -> pd.DataFrame:
    rows = [{"name": f"blocks.{i}", "class": None, "signal_to_shift": value} for i, value in enumerate(values)]
    return pd.DataFrame(rows).astype({"class": "Int64"})


def said(table: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    return list(iter_sentences(table, shown, summarize(table)))


def test_sentences_follow_from_the_numbers() -> None:
    # sqrt(6 * 0.3^2) / 6 = 0.122.
    table = classes([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], sizes=[60, 50, 40, 30, 20, 10])
    assert said(table, blocks(0.9, 0.3, 0.5)) == [
        "all classes: eKLD 0.35 ± 0.1 nats, consistency 0.500",
        "most invariant: class 0 (0.1); least: class 5 (0.6)",
        "eKLD falls with the size of the class: rank correlation -1.00 over 6 classes",
        "features move the most at blocks.1 (signal-to-shift 0.30; at the last, blocks.2, 0.50)",
    ]


def test_what_does_not_hold_is_not_said() -> None:
    assert "eKLD grows with the size of the class: rank correlation 1.00 over 6 classes" in said(
        classes([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], sizes=[1, 2, 3, 4, 5, 6]), blocks(1.0)
    )
    unclear = said(classes([0.1, 0.4, 0.2, 0.3], sizes=[40, 30, 20, 10]), blocks(1.0))
    assert "eKLD does not clearly go with the size of the class: rank correlation -0.40 over 4 classes" in unclear
    assert not [line for line in unclear if "features" in line or "confidence" in line]
    assert len(said(classes([0.1, 0.1]), blocks(1.0))) == 1
    assert said(classes([0.1, 0.2], confidence=0.5), blocks(1.0))[-1].startswith(
        "the mean confidence of classes is 0.50 to 0.90: eKLD compares them at like confidence only"
    )
    infinite = classes([float("inf"), 0.2])
    assert said(infinite, blocks(1.0))[0] == "all classes: eKLD infinite, consistency 0.500"

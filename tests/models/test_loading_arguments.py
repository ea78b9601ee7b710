"""A network of several arguments: each by its name, on the command line, in TOML, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import sppkit
from sppkit.cli.app import app
from sppkit.config.parsers import sample_shape, split_shape
from sppkit.errors import UsageError
from sppkit.inputs.gaussian import draw_numbers
from sppkit.inputs.tokens import draw_tokens

CODE = """import torch
from torch import nn


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.text, self.mix = nn.Linear(12, 16), nn.Embedding(100, 16), nn.Linear(16, 16)

    def forward(self, image, text, scale=1.0):
        x = self.image(image.flatten(1)) + self.text(text).mean(1)
        return x + scale * self.mix(x).relu()


class Forgot(nn.Module):
    def __init__(self):
        pass
"""
NET = ("--model", "two.py:Two")
PARSE = sample_shape("3,224,224", maximum=100_000, most=10, vocabulary=2**31)


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two.py").write_text(CODE, encoding="utf-8")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["plot", *arguments, "--no-theory"])
    return result.exit_code, result.stderr


def test_each_argument_is_drawn_from_its_own_stream() -> None:
    assert run(*NET, "--shape", "image=3,2,2", "--shape", "text=5:100") == (0, "")
    table = pd.read_csv("spp/two-Two.csv")
    names: dict[str, Any] = {"__name__": "two"}
    exec(CODE, names)
    torch.manual_seed(0)
    net = names["Two"]()
    # The first argument comes from the stream of the input, further ones from one of their names.
    inputs = {"image": draw_numbers((8, 3, 2, 2), 0, "input/0"), "text": draw_tokens((8, 5), 100, 0, "input/0/text")}
    expected = sppkit.measure(net, inputs)
    assert table["channel_variance"].tolist() == pytest.approx(expected["channel_variance"].tolist(), rel=1e-6)
    record = json.loads(Path("spp/two-Two.json").read_text(encoding="utf-8"))
    assert record["options"]["shape"]["value"] == {"image": "3,2,2", "text": "5:100"}


def test_toml_says_the_same() -> None:
    run(*NET, "--shape", "image=3,2,2", "--shape", "text=5:100")
    typed = Path("spp/two-Two.csv").read_bytes()
    Path("two.toml").write_text('model = "two.py:Two"\nshape = { image = [3, 2, 2], text = "5:100" }\n')
    assert run("--config", "two.toml", "--out", "toml") == (0, "")
    assert Path("toml/two-Two.csv").read_bytes() == typed


MISTAKES = {
    "nothing said": ((), "Two's forward pass needs image, text: give each by name, as in --shape image=3,32,32"),
    "one of two": (("image=3,2,2",), "Two's forward pass needs image, text: give each by name"),
    "unknown": (("imgae=3,2,2", "text=5:100"), "'imgae'; did you mean 'image'?"),
    "not all by name": (("image=3,2,2", "5"), "--shape by name is ARGUMENT=SHAPE, as in --shape image=3,32,32, not"),
    "no shape": (("image=3,x", "text=5:100"), "--shape must be 1 to 10 whole numbers from 1 to 100000 with commas"),
    "no vocabulary": (("image=3,2,2", "text=5:few"), "--vocab must be a whole number from 1"),
    "twice": (("image=3,2,2", "image=3,4,4"), "--shape names an argument twice: image, image."),
    "no memory": (("image=100000,100000,100000", "text=5:100"), "error: there is not enough memory: "),
    "no name": (("=3,2,2", "text=5:100"), "--shape by name is ARGUMENT=SHAPE, as in --shape image=3,32,32, not ''."),
}  # fmt: skip


@pytest.mark.parametrize(("shapes", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(shapes: tuple[str, ...], message: str) -> None:
    code, err = run(*NET, *[word for shape in shapes for word in ("--shape", shape)])
    assert (code, message in err) == (2, True), err
    assert not Path("spp").exists()


@pytest.mark.parametrize(("option", "value"), [("--input", "tokens"), ("--vocab", "100")])
def test_what_means_nothing_beside_names_is_refused(option: str, value: str) -> None:
    code, err = run(*NET, "--shape", "image=3,2,2", "--shape", "text=5:100", option, value)
    assert (code, f"{option} means nothing beside shapes by name" in err) == (2, True), err


def test_a_named_architecture_takes_one_input() -> None:
    code, err = run("--arch", "nf-resnet", "--depth", "50", "--shape", "image=3,32,32")
    assert (code, "--shape must be 3,height,width for nf-resnet" in err) == (2, True), err


def test_a_network_without_super_is_told_so() -> None:
    code, err = run("--model", "two.py:Forgot", "--shape", "3")
    assert (code, err) == (2, "error: Forgot never calls super().__init__(): do so before its layers are made.\n")


def test_one_shape_is_what_it_was() -> None:
    assert [PARSE("shape", written) for written in ("8", ["8"], [8], (8,))] == [(8,)] * 4
    for written in ("3,32,32", ["3,32,32"], [3, 32, 32], (3, 32, 32)):
        assert PARSE("shape", written) == (3, 32, 32)
    with pytest.raises(UsageError, match="--shape must be 1 to 10 whole numbers"):
        PARSE("shape", ["3,32,32", "3,64,64"])
    assert split_shape(PARSE("shape", {"a": [3, 32, 32]})["a"]) == ((3, 32, 32), None)

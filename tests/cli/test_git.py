"""``sppkit git train``: what it writes, what it says, and what it refuses in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

import sppkit
from sppkit.cli.app import app
from sppkit.cli.git import git

TINY = (
    "--steps=12", "--features=4", "--residual-blocks=1", "--hidden=8", "--discriminator-features=4", "--batch-size=4",
    "--device=cpu", "--checkpoint-every=5",
)  # fmt: skip


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments])
    return result.exit_code, result.output


def train(*arguments: str) -> tuple[int, str]:
    return run("git", "train", *arguments)


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of two classes, in an empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    pictures = np.random.default_rng(0).random((12, 1, 8, 8), np.float32)
    np.savez("digits.npz", images=pictures, labels=np.arange(12) % 2)
    return tmp_path


def test_it_writes_a_generator_its_losses_and_a_picture(digits: Path) -> None:
    code, said = train("--input=digits.npz", *TINY)
    assert code == 0, said
    assert "12 steps on 12 pictures of 1×8×8 in 2 classes\nlosses, mean of the last 1 steps: reconstruction" in said
    assert "a picture is rebuilt to within" in said
    assert [path.name for path in sorted(Path("spp").iterdir())] == ["git-losses.csv", "git.png", "git.safetensors"]
    losses = pd.read_csv("spp/git-losses.csv")
    assert list(losses) == ["step", "reconstruction", "style", "content", "adversarial", "discriminator"]
    assert losses["step"].tolist() == list(range(12))
    assert f"reconstruction {losses['reconstruction'].iloc[-1]:.3f}" in said
    with Image.open("spp/git.png") as picture:
        assert picture.width > 500
    assert "wrote spp/git.safetensors" in said.replace("\\", "/")


def test_labels_may_be_in_a_file_of_their_own(digits: Path) -> None:
    content = np.load("digits.npz")
    # Kuzushiji-49's files are of this form.
    np.savez("images.npz", (content["images"][:, 0] * 255).astype(np.uint8))
    np.savez("labels.npz", content["labels"].astype(np.uint8))
    code, said = train("--input=images.npz", "--labels=labels.npz", "--quiet", "--out=here", "--name=one", *TINY)
    assert (code, said) == (0, "")
    assert sppkit.GenerativeTransform("here/one.safetensors").generator.header.classes == (6, 6)


def test_a_folder_of_pictures_for_each_class(digits: Path) -> None:
    for name in ("cat", "dog"):
        Path("pets", name).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (20, 10 + index), (40 * index, 90, 20)).save(f"pets/{name}/{index}.png")
    code, said = train("--input=pets", "--shape=3,8,8", "--quiet", *TINY)
    assert (code, said) == (0, "")
    assert sppkit.GenerativeTransform("spp/git.safetensors").generator.header.sizes.picture == (3, 8, 8)


def test_resuming_is_asked_for(digits: Path) -> None:
    train("--input=digits.npz", "--quiet", *TINY)
    code, said = train("--input=digits.npz", *TINY)
    assert code == 2
    assert said == (
        "error: spp/git.safetensors holds a training of 12 steps.\n"
        "Go on with it: --resume. Or keep it, and choose another --name.\n"
    )
    code, said = train("--input=digits.npz", "--resume", *TINY, "--steps=14")
    assert code == 0
    assert "14 steps on 12 pictures" in said


def test_an_interrupt_leaves_the_last_checkpoint(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sppkit.inputs.shifts.generative.training as training

    step = training.Training.step

    def interrupted(self: training.Training) -> None:
        if self.steps == 7:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(training.Training, "step", interrupted)
    code, said = train("--input=digits.npz", *TINY)
    assert code == 130
    assert "spp/git.safetensors holds the last checkpoint; go on with it: --resume." in said
    assert [path.name for path in Path("spp").iterdir()] == ["git.safetensors"]
    monkeypatch.undo()
    monkeypatch.chdir(digits)
    code, said = train("--input=digits.npz", "--resume", *TINY)
    assert code == 0, said


def test_an_interrupt_before_the_first_checkpoint_leaves_nothing(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sppkit.inputs.shifts.generative.training as training

    def interrupted(_self: training.Training) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training.Training, "step", interrupted)
    code, said = train("--input=digits.npz", *TINY)
    assert code == 130
    assert "checkpoint" not in said
    assert not Path("spp").exists()


def test_its_file_is_a_shift_of_any_command(digits: Path) -> None:
    colours = np.random.default_rng(1).random((12, 3, 8, 8), np.float32)
    np.savez("colours.npz", images=colours, labels=np.arange(12) % 2)
    train("--input=colours.npz", "--quiet", *TINY)
    np.save("inputs.npy", colours[:4])
    network = [
        "--arch=bn-relu-conv",
        "--stages=1",
        "--width=0.1",
        "--stem=cifar",
        "--input=inputs.npy",
        "--shape=3,8,8",
    ]
    code, said = run("plot", *network, "--shift=git:spp/git.safetensors", "--name=shifted")
    assert code == 0, said
    run("plot", *network, "--name=clean")
    shifted, clean = (pd.read_csv(f"spp/{name}.csv") for name in ("shifted", "clean"))
    assert (shifted["channel_variance"] != clean["channel_variance"]).all()
    assert "git" in run("list", "shifts")[1]
    for shift, message in {
        "git:none.safetensors": "can't read the generator none.safetensors: there is no such file.",
        "git:inputs.npy": "can't read the generator inputs.npy: it is cut off, or no safetensors file",
        "git": "--shift git must be git:FILE. file is a FILE.",
    }.items():
        code, said = run("plot", *network, f"--shift={shift}")
        assert (code, said.startswith(f"error: {message}")) == (2, True), said
    np.save("inputs.npy", np.zeros((4, 3, 16, 16), np.float32))
    code, said = run("plot", *network[:-1], "--shift=git:spp/git.safetensors", "--shape=3,16,16")
    assert code == 2
    assert "the generator was trained on colour pictures of 8×8, not on colour pictures of 16×16." in said


REFUSED: dict[str, tuple[list[str], str]] = {
    "no input": ([], "--input is needed: the pictures to learn from, for instance --input digits.npz."),
    "no file": (["--input=none.npz"], "no such file or folder as --input: 'none.npz'"),
    "no labels": (["--input=alone.npz"], "alone.npz holds no labels"),
    "other labels": (["--input=digits.npz", "--labels=short.npz"], "there are 12 pictures and 3 labels"),
    "odd": (["--input=odd.npz"], "pictures of 9×9 can't be halved 1 times and doubled back"),
    "preset": (["--input=digits.npz", "--preset=k94"], "unknown --preset 'k94'; did you mean 'k49'?"),
    "small pictures": (
        ["--input=digits.npz", "--preset=k49"],
        "4 style downsamplings are too many for pictures of 8×8",
    ),
    "steps": (["--input=digits.npz", "--steps=0"], "--steps must be a whole number from 1 to"),
    "other file": (["--input=digits.npz", "--name=other"], "spp/other.safetensors: it is cut off, or no safetensors"),
    "misspelt": (["--input=digits.npz", "--batchsize=4"], "unknown option '--batchsize'; did you mean '--batch-size'?"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_said_in_a_line(case: tuple[list[str], str], digits: Path) -> None:
    arguments, message = case
    pictures = np.random.default_rng(0).random((3, 1, 9, 9), np.float32)
    np.savez("alone.npz", images=pictures)
    np.savez("odd.npz", images=pictures, labels=np.arange(3) % 2)
    np.savez("short.npz", labels=np.arange(3) % 2)
    Path("spp").mkdir()
    Path("spp/other.safetensors").write_text("a letter")
    code, said = train(*TINY, *arguments)
    assert code == 2
    assert said.startswith("error: ")
    assert message in said.replace("\\", "/")
    assert len(said.splitlines()) <= 3
    assert [path.name for path in Path("spp").iterdir()] == ["other.safetensors"]


def test_every_number_of_a_preset_can_be_typed() -> None:
    from typer.main import get_command

    from sppkit.inputs.shifts.generative.sizes import PRESETS

    command: Any = get_command(git)
    typed = {parameter.name for parameter in command.commands["train"].params}
    assert set(PRESETS["k49"]) <= typed

"""Training a generative transformation: what it learns, that it can be interrupted, and what it refuses."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from generators import TINY, bars
from safetensors.torch import load_file, save_file

import sppkit
from sppkit.inputs.shifts.generative.file import read_header, read_losses
from sppkit.inputs.shifts.generative.generator import Generator
from sppkit.inputs.shifts.generative.quality import measure_quality


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator that has seen bars on backgrounds long enough; six seconds."""
    file = tmp_path_factory.mktemp("learned") / "git.safetensors"
    pictures, labels, _ = bars(256)
    options = {"features": 8, "hidden": 32, "residual_blocks": 1, "discriminator_features": 8, "style": 1}
    sppkit.train_git(pictures, labels, file=file, steps=600, device="cpu", learning_rate=2e-3, **options)
    return file


def background(generator: Generator, styles: int = 32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the level of the background, and of the bar, by style and picture, of pictures that it has never seen."""
    pictures, _, _ = bars(32, seed=1)
    is_bar = pictures == 1
    z = torch.linspace(-2, 2, styles)[:, None]
    decoded = torch.stack([generator.transform(pictures, style.expand(32, 1)) for style in z])
    behind = torch.where(is_bar, torch.nan, decoded).flatten(2).nanmean(2)
    bar = torch.where(is_bar, decoded, torch.nan).flatten(2).nanmean(2)
    return behind, bar, pictures


def test_the_style_is_the_background_and_the_content_the_bar(learned: Path) -> None:
    generator = Generator.read(learned)
    behind, bar, _ = background(generator)
    # Levels are uniform on 0 to 0.5: a standard deviation of 0.144.
    assert 0.07 < float(behind.mean(1).std()) < 0.25
    assert float(behind.mean(0).std()) < 0.5 * float(behind.mean(1).std())
    assert float(bar.mean()) > 0.8
    quality = measure_quality(generator, bars(64, seed=2)[0])
    assert quality.style_recovered > 0.7
    assert quality.reconstruction < 0.06


def test_what_was_not_trained_has_learned_nothing_of_it(tmp_path: Path) -> None:
    pictures, labels, _ = bars()
    generator = sppkit.train_git(pictures, labels, file=tmp_path / "git.safetensors", steps=1, **{**TINY, "style": 1})
    behind, bar, _ = background(generator)
    assert not (float(behind.mean(1).std()) > 0.07 and float(bar.mean()) > 0.8)
    assert measure_quality(generator, pictures).style_recovered < 0.7


def test_the_losses_of_a_training_fall(learned: Path) -> None:
    losses = read_losses(learned)
    assert losses.shape == (600, 5)
    early, late = losses[:50].mean(0), losses[-50:].mean(0)
    assert (late[:3] < 0.5 * early[:3]).all()  # reconstruction, style, content


class InterruptionError(Exception):
    """Stands for a kill."""


def train(file: Path, until: int | None = None, **options: Any) -> None:
    pictures, labels, _ = bars(16)

    def interrupt(_name: str, done: int, _total: int) -> None:
        if done == until:
            raise InterruptionError

    sppkit.train_git(pictures, labels, file=file, progress=interrupt, **{**TINY, "steps": 12, **options})


@pytest.mark.parametrize("domains", [1, 2])
def test_an_interrupted_training_ends_as_if_nothing_had_been(domains: int, tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole.safetensors", tmp_path / "torn.safetensors"
    train(whole, domains=domains)
    for until in (3, 6, 10, None):
        if until is None:
            train(torn, resume=True, domains=domains, checkpoint_every=4)
        else:
            with pytest.raises(InterruptionError):
                train(torn, until, resume=True, domains=domains, checkpoint_every=4)
            assert not torn.exists() if until == 3 else read_header(torn).steps == 4 * (until // 4)
    assert torn.read_bytes() == whole.read_bytes()


def test_more_steps_go_on_with_a_finished_training(tmp_path: Path) -> None:
    whole, longer = tmp_path / "whole.safetensors", tmp_path / "longer.safetensors"
    train(whole)
    train(longer, steps=5)
    train(longer, resume=True)
    assert longer.read_bytes() == whole.read_bytes()
    train(longer, resume=True, steps=3)  # nothing is left to do, and nothing is taken back
    assert longer.read_bytes() == whole.read_bytes()


def test_a_killed_program_goes_on(tmp_path: Path) -> None:
    pictures, labels, _ = bars(16)
    np.savez(tmp_path / "bars.npz", images=pictures.numpy(), labels=labels.numpy())
    tiny = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    argv = [sys.executable, "-m", "sppkit", "git", "train", "--input", "bars.npz", "--checkpoint-every=5", *tiny]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    torn = tmp_path / "spp/torn.safetensors"
    with subprocess.Popen([*argv, "--steps=100000", "--name=torn"], cwd=tmp_path, env=environment) as running:
        while not torn.exists():
            time.sleep(0.02)
            assert running.poll() is None
        running.send_signal(signal.SIGKILL)
    steps = read_header(torn).steps + 7
    for name in ("torn", "whole"):
        more = ["--resume", f"--name={name}", f"--steps={steps}"]
        done = subprocess.run(
            [*argv, *more], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert torn.read_bytes() == torn.with_name("whole.safetensors").read_bytes()
    assert sorted(path.name for path in torn.parent.iterdir()) == sorted(
        f"{name}{end}" for name in ("torn", "whole") for end in ("-losses.csv", ".png", ".safetensors")
    )


def test_no_global_random_state_is_read_or_changed(tmp_path: Path) -> None:
    def states() -> list[Any]:
        return [torch.get_rng_state().tolist(), np.random.get_state(legacy=False), random.getstate()]

    np.random.seed(3)
    before = repr(states())
    train(tmp_path / "one.safetensors", steps=2)
    pictures, labels, _ = bars(8)
    transform = sppkit.GenerativeTransform(tmp_path / "one.safetensors")
    transform(pictures, labels)
    assert repr(states()) == before
    torch.manual_seed(99)
    train(tmp_path / "two.safetensors", steps=2)
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()


def test_the_file_says_all_that_decided_it(tmp_path: Path) -> None:
    train(tmp_path / "git.safetensors", seed=7, flip=True)
    header = read_header(tmp_path / "git.safetensors")
    assert header.settings.described() == {
        "batch_size": 4, "learning_rate": 1e-3, "weight_decay": 1e-4, "flip": True, "seed": 7
    }  # fmt: skip
    assert header.sizes.picture == (1, 8, 8)
    assert (header.steps, header.classes) == (12, (8, 8))


GIVEN: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "axes": (torch.rand(4, 8, 8), None, {}, r"pictures must be \(N, C, H, W\) with C = 1 or 3 .*, not 4×8×8"),
    "channels": (torch.rand(4, 2, 8, 8), None, {}, "not 4×2×8×8"),
    "none": (torch.rand(0, 1, 8, 8), None, {}, "at least one of them, not 0×1×8×8"),
    "type": (torch.ones(4, 1, 8, 8, dtype=torch.int64), None, {}, "must be uint8, or .*, not torch.int64"),
    "range": (3 * torch.ones(4, 1, 8, 8), None, {}, "must lie from 0 to 1; these go from 3 to 3"),
    "nan": (torch.full((4, 1, 8, 8), torch.nan), None, {}, "must lie from 0 to 1; these go from nan to nan"),
    "labels": (torch.rand(4, 1, 8, 8), [1, 2], {}, "one for each of the 4 pictures, not int64 of 2"),
    "kind": (torch.rand(4, 1, 8, 8), [0.5] * 4, {}, "labels must be whole numbers, .*, not float64 of 4"),
    "halvings": (torch.rand(4, 1, 9, 8), None, {}, "pictures of 9×8 can't be halved 1 times"),
    "option": (torch.rand(4, 1, 8, 8), None, {"stpes": 4}, "unknown option 'stpes'; did you mean 'steps'"),
    "preset": (torch.rand(4, 1, 8, 8), None, {"preset": "k94"}, "unknown --preset 'k94'; did you mean 'k49'"),
    "device": (torch.rand(4, 1, 8, 8), None, {"device": "mps"}, "--device mps: there is no such device here"),
    "losses": (
        torch.rand(4, 1, 8, 8), None, {"learning_rate": 1e3, "steps": 60},
        "the losses are no numbers from step [0-9]+ on. Try a smaller --learning-rate",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GIVEN.values(), ids=GIVEN)
def test_what_cannot_be_trained_on_is_refused(case: tuple, tmp_path: Path) -> None:
    pictures, labels, options, message = case
    with pytest.raises(sppkit.UsageError, match=message):
        sppkit.train_git(pictures, labels, file=tmp_path / "git.safetensors", **{**TINY, **options})
    assert list(tmp_path.iterdir()) == []


def test_whole_numbers_of_eight_bits_are_grey_levels(tmp_path: Path) -> None:
    pictures, labels, _ = bars(16)
    levels = (pictures * 255).round().to(torch.uint8)
    sppkit.train_git(levels, labels, file=tmp_path / "a.safetensors", steps=2, **TINY)
    sppkit.train_git(levels.numpy() / np.float32(255), labels, file=tmp_path / "b.safetensors", steps=2, **TINY)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_training_that_is_there_is_not_lost(tmp_path: Path) -> None:
    file = tmp_path / "git.safetensors"
    train(file, steps=3)
    content = file.read_bytes()
    refused = {
        "holds a training of 3 steps.\nGo on with it: --resume. Or keep it": {},
        "was trained with --seed 0, not 4": {"seed": 4, "resume": True},
        "was trained with --style 2, not 3": {"style": 3, "resume": True},
    }
    for message, options in refused.items():
        with pytest.raises(sppkit.UsageError, match=re.escape(message)):
            train(file, **options)
    pictures, labels, _ = bars(16, seed=5)
    with pytest.raises(sppkit.UsageError, match="was trained on other pictures or labels"):
        sppkit.train_git(pictures, labels, file=file, resume=True, **TINY)
    assert file.read_bytes() == content


TENSORS: dict[str, Callable[[dict[str, torch.Tensor], str], object]] = {
    "missing": lambda tensors, name: tensors.pop(name),
    "shape": lambda tensors, name: tensors.update({name: tensors[name][:1].clone()}),
    "half": lambda tensors, name: tensors.update({name: tensors[name].half()}),
}
METADATA: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "version": (lambda said: said.update(version=2), "is written by another version of sppkit (format 2, not 1)"),
    "huge": (lambda said: said["sizes"].update(hidden=10**6), "of its tensors are not those that its metadata"),
    "sizes": (lambda said: said["sizes"].update(hidden="many"), "can't be read (--hidden must be a whole number"),
    "unknown": (lambda said: said["settings"].update(momentum=1), "its metadata can't be read ("),
}


def damage(file: Path, kind: str) -> str:
    """Make a file unreadable, and return what is said of it."""
    content = file.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    tensors, said = load_file(file), json.loads(content[8 : 8 + length])["__metadata__"]["sppkit-git"]
    if kind in {"cut", "text"}:
        file.write_bytes(content[:-100] if kind == "cut" else b"not one of ours")
        return "it is cut off, or no safetensors file"
    if kind == "other":
        save_file(tensors, file)
        return "is a safetensors file, but none of sppkit git train"
    if kind == "nested":
        save_file(tensors, file, {"sppkit-git": "[" * 100_000})
        return "its metadata can't be read ("
    message = "of its tensors are not those that its metadata describes"
    metadata = json.loads(said)
    if kind in TENSORS:
        TENSORS[kind](tensors, next(name for name in tensors if name.startswith("networks.0")))
    else:
        change, message = METADATA[kind]
        change(metadata)
    save_file(tensors, file, {"sppkit-git": json.dumps(metadata)})
    return message


@pytest.mark.parametrize("kind", ["cut", "text", "other", "nested", *TENSORS, *METADATA])
def test_a_file_that_is_no_generator_is_refused(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "git.safetensors"
    train(file, steps=2)
    message = re.escape(damage(file, kind))
    with pytest.raises(sppkit.UsageError, match=message):
        sppkit.GenerativeTransform(file)
    with pytest.raises(sppkit.UsageError, match=message if kind != "huge" else "--hidden 1000000, not 8"):
        train(file, resume=True)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(sppkit.UsageError, match=r"there is no such file.\nMake one: sppkit git train"):
        Generator.read(tmp_path / "none.safetensors")
    with pytest.raises(sppkit.UsageError, match="it is a folder"):
        Generator.read(tmp_path)

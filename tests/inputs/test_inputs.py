"""What a user types after --input: Gaussian noise, words that mean nothing, and what every kind has in common."""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from sppkit.errors import UsageError
from sppkit.inputs.load import Inputs, load_inputs

if TYPE_CHECKING:
    from pathlib import Path


def load(source: object, shape: tuple[int, ...] = (3, 8, 8), batch_size: int = 4, batches: int = 1, seed: int = 0):
    return load_inputs(str(source), shape=shape, batch_size=batch_size, batches=batches, seed=seed)


def union(inputs: Inputs) -> torch.Tensor:
    return torch.cat(list(inputs.batches()))


def test_gaussian_batches_are_standard_normal():
    inputs = load("gaussian", (3, 64, 64), batch_size=8, batches=2)
    x = union(inputs)
    n = x.numel()
    assert x.shape == (16, 3, 64, 64)
    assert x.dtype == torch.float32
    # Five standard errors of the mean (1/n), of the variance (2/n) and of the fourth moment (96/n).
    x = x.double()
    assert x.mean() == pytest.approx(0, abs=5 / n**0.5)
    assert x.pow(2).mean() == pytest.approx(1, abs=5 * (2 / n) ** 0.5)
    assert x.pow(4).mean() == pytest.approx(3, abs=5 * (96 / n) ** 0.5)


def test_gaussian_numbers_are_those_of_the_published_stream():
    # The stream as design.md defines it, by NumPy and hashlib alone.
    digest = hashlib.sha256(b"7/input/1").digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    expected = generator.standard_normal((2, 3, 4, 5), np.float32)
    _, second = load("gaussian", (3, 4, 5), batch_size=2, batches=2, seed=7).batches()
    np.testing.assert_array_equal(second.numpy(), expected)


def test_gaussian_batch_depends_on_its_index_and_seed_only():
    two = list(load("gaussian", batches=2).batches())
    three = list(load("gaussian", batches=3).batches())
    assert torch.equal(two[1], three[1])
    assert not torch.equal(two[0], two[1])
    assert not torch.equal(two[0], next(load("gaussian", seed=1).batches()))
    larger = next(load("gaussian", batch_size=9).batches())
    assert torch.equal(larger[:4], two[0])


def test_description_says_what_was_pushed_through():
    inputs = load("gaussian", (1, 5, 6), batch_size=4, batches=3, seed=2)
    assert inputs.shape == (4, 1, 5, 6)
    assert json.loads(json.dumps(inputs.description)) == {
        "kind": "gaussian",
        "source": "gaussian",
        "batch_shape": [4, 1, 5, 6],
        "batches": 3,
        "samples_used": 12,
        "samples_available": None,
        "normalized": "drawn from N(0, 1)",
        "stream": "pcg64-sha256-normal32",
        "seed": 2,
    }


def make_gaussian(_: Path) -> str:
    return "gaussian"


def make_pictures(folder: Path) -> Path:
    for value in range(3):
        Image.new("RGB", (9, 9), (value, 100, 200)).save(folder / f"{value}.png")
    return folder


def make_array(folder: Path) -> Path:
    np.save(folder / "x.npy", np.arange(3 * 3 * 8 * 8, dtype=np.float32).reshape(3, 3, 8, 8))
    return folder / "x.npy"


def make_tensor(folder: Path) -> Path:
    torch.save(torch.arange(3 * 3 * 8 * 8.0).reshape(3, 3, 8, 8), folder / "x.pt")
    return folder / "x.pt"


@pytest.mark.parametrize("make", [make_gaussian, make_pictures, make_array, make_tensor])
def test_a_second_pass_gives_the_same_batches_even_if_the_network_overwrote_them(make, tmp_path):
    inputs = load(make(tmp_path), batch_size=2)
    before = [batch.clone() for batch in inputs.batches()]
    for batch in inputs.batches():
        batch.fill_(-7)
    after = list(inputs.batches())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("make", [make_pictures, make_array, make_tensor])
def test_fewer_samples_than_asked_for_are_all_used(make, tmp_path):
    inputs = load(make(tmp_path), batch_size=2, batches=5)
    assert [tuple(batch.shape) for batch in inputs.batches()] == [(2, 3, 8, 8), (1, 3, 8, 8)]
    facts = {key: inputs.description[key] for key in ("batches", "samples_used", "samples_available", "batch_shape")}
    assert facts == {"batches": 2, "samples_used": 3, "samples_available": 3, "batch_shape": [2, 3, 8, 8]}


@pytest.mark.parametrize("make", [make_pictures, make_array, make_tensor])
def test_no_more_samples_than_asked_for_are_used(make, tmp_path):
    inputs = load(make(tmp_path), batch_size=2, batches=1)
    everything = union(load(make(tmp_path), batch_size=3))
    assert torch.equal(union(inputs), everything[:2])
    assert (inputs.description["samples_used"], inputs.description["samples_available"]) == (2, 3)


@pytest.mark.parametrize("make", [make_pictures, make_array, make_tensor])
def test_a_batch_larger_than_the_source_is_described_as_it_is(make, tmp_path):
    inputs = load(make(tmp_path), batch_size=100)
    assert inputs.shape == tuple(next(inputs.batches()).shape) == (3, 3, 8, 8)
    assert inputs.description["batch_shape"] == [3, 3, 8, 8]
    assert inputs.description["batches"] == 1


LEGAL = "\nGive gaussian, a folder of pictures, a picture, or a .npy, .npz, .pt, .pth, .safetensors file."
NOT_SOURCES = {
    "a misspelt word": (
        "gausian",
        f"no such file or folder as --input: 'gausian'; did you mean 'gaussian'?{LEGAL}",
    ),
    "another case": ("Gaussian", f"no such file or folder as --input: 'Gaussian'; did you mean 'gaussian'?{LEGAL}"),
    "nothing": ("", f"no such file or folder as --input: ''.{LEGAL}"),
    "a missing folder": ("photos/", f"no such file or folder as --input: 'photos/'.{LEGAL}"),
    "a missing picture": ("photo.jpg", f"no such file or folder as --input: 'photo.jpg'.{LEGAL}"),
    "a missing array": ("x.npy", f"no such file or folder as --input: 'x.npy'.{LEGAL}"),
    "a name too long": ("x" * 5000, f"can't read --input {'x' * 5000}: File name too long.{LEGAL}"),
    "a table": ("table.csv", f"--input table.csv: files ending in .csv aren't known.{LEGAL}"),
    "PostScript": ("drawing.eps", f"--input drawing.eps: files ending in .eps aren't known.{LEGAL}"),
    "no extension": ("README", f"--input README: files without an extension aren't known.{LEGAL}"),
    "tokens": (
        "tokens",
        "--input tokens is for language models; the named architectures take images.\n"
        "Type --input gaussian, or give a folder of pictures. (For a folder of that name, type ./tokens.)",
    ),
}


@pytest.mark.parametrize(("source", "text"), NOT_SOURCES.values(), ids=NOT_SOURCES.keys())
def test_what_is_no_input_is_refused(source, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9)).save("in-the-current-folder.png")
    for name in ("table.csv", "drawing.eps", "README"):
        (tmp_path / name).write_text("%!PS-Adobe-3.0 EPSF-3.0\n")
    with pytest.raises(UsageError, match=f"^{re.escape(text)}$"):
        load(source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UsageError, match=r"pipe\.png is neither a file nor a folder\.\nGive gaussian, "):
        load(tmp_path / "pipe.png")


def test_a_folder_called_tokens_can_still_be_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tokens").mkdir()
    make_pictures(tmp_path / "tokens")
    assert load("./tokens").description["samples_used"] == 3

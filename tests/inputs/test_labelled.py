"""Labelled pictures: a folder per class, arrays in one file or two, tensors; or refused in one clear message."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from sppkit.errors import UsageError
from sppkit.inputs.labelled import check_labels, choose_per_class, from_tensors
from sppkit.inputs.labelled_files import class_sizes, load_labelled, read_labels

PIXELS = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
LABELS = np.array([2, 0, 1, 0, 1, 2], dtype=np.uint8)


def write_folders(folder: Path, **classes: int) -> Path:
    for shade, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (6, 6), (51 * shade, 51 * index, 0)).save(folder / name / f"{index}.png")
    return folder


def test_a_folder_per_class_in_the_order_of_their_names(tmp_path: Path) -> None:
    found = load_labelled(str(write_folders(tmp_path / "x", dog=1, cat=2)), None, shape=(3, 6, 6))
    assert (found.names, found.labels.tolist(), found.shape) == (("cat", "dog"), [0, 0, 1], (3, 6, 6))
    pixels = found.read([2, 1])[:, :, 0, 0]
    expected = torch.tensor([[0.0, 0.0, 0.0], [51.0, 51.0, 0.0]]) / 255  # dog was drawn first, in shade 0
    torch.testing.assert_close(pixels, expected)


def test_a_hidden_folder_is_no_class(tmp_path: Path) -> None:
    folder = write_folders(tmp_path, a=1, b=1)
    (folder / ".cache").mkdir()
    assert load_labelled(str(folder), None, shape=(1, 6, 6)).names == ("a", "b")


@pytest.mark.parametrize("name", ["inputs", "images", "pictures"])
def test_pictures_and_labels_in_one_file(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "x.npz", labels=LABELS, **{name: PIXELS})
    found = load_labelled(str(tmp_path / "x.npz"), None, shape=(1, 8, 8))
    assert (found.labels.tolist(), found.shape, found.names) == (LABELS.tolist(), (1, 4, 5), ())
    torch.testing.assert_close(found.read([5, 0])[:, 0], torch.from_numpy(PIXELS[[5, 0]]) / 255)


def test_the_two_files_of_kuzushiji(tmp_path: Path) -> None:
    # Both hold one array of the name that np.savez gives by itself.
    np.savez(tmp_path / "k49-test-imgs.npz", PIXELS)
    np.savez(tmp_path / "k49-test-labels.npz", LABELS)
    found = load_labelled(str(tmp_path / "k49-test-imgs.npz"), str(tmp_path / "k49-test-labels.npz"), shape=None)
    assert found.labels.tolist() == LABELS.tolist()
    assert found.read(range(6)).shape == (6, 1, 4, 5)


def test_other_files_hold_them_as_well(tmp_path: Path) -> None:
    values, labels = torch.from_numpy(PIXELS[:, None] / np.float32(255)), torch.from_numpy(LABELS)
    torch.save({"inputs": values, "labels": labels}, tmp_path / "x.pt")
    save_file({"images": values, "targets": labels}, tmp_path / "x.safetensors")
    for name in ("x.pt", "x.safetensors"):
        found = load_labelled(str(tmp_path / name), None, shape=(1, 4, 5))
        torch.testing.assert_close(found.read(range(6)), values)
        assert found.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("stored", "channels", "expected"),
    [
        ((6, 3, 4, 5), 3, (3, 4, 5)),
        ((6, 4, 5, 3), 3, (3, 4, 5)),
        ((6, 4, 5), 1, (1, 4, 5)),
        ((6, 4, 5, 1), None, (1, 4, 5)),
    ],
)
def test_axes_are_put_in_order(tmp_path: Path, stored: tuple[int, ...], channels: int | None, expected) -> None:
    values = np.random.default_rng(0).random(stored, dtype=np.float32)
    np.savez(tmp_path / "x.npz", inputs=values, labels=LABELS)
    found = load_labelled(str(tmp_path / "x.npz"), None, shape=None if channels is None else (channels, 8, 8))
    assert found.shape == expected
    last = len(stored) == 4 and stored[1] != expected[0]
    moved = values.transpose(0, 3, 1, 2) if last else values.reshape(6, *expected)
    assert np.array_equal(found.read(range(6)).numpy(), moved)


def test_tensors_and_arrays() -> None:
    found = from_tensors(PIXELS, LABELS)
    torch.testing.assert_close(found.read([1]), torch.from_numpy(PIXELS[1:2, None]) / 255)
    assert found.in_unit_range
    assert not from_tensors(torch.full((2, 1, 3, 3), 1.5), [0, 1]).in_unit_range
    assert (
        from_tensors(torch.zeros(2, 1, 3, 3, dtype=torch.float64), torch.tensor([0, 1])).read([0]).dtype
        == torch.float64
    )


def test_at_most_so_many_of_each_class() -> None:
    labels = np.repeat([0, 1, 2], [5, 1, 3])
    found = choose_per_class(from_tensors(np.zeros((9, 2, 2), np.uint8), labels), 2, seed=0)
    assert found.labels.tolist() == [0, 0, 1, 2, 2]
    positions = {
        seed: choose_per_class(from_tensors(np.arange(9, dtype=np.uint8)[:, None, None], labels), 2, seed)
        .read(range(5))
        .flatten()
        .mul(255)
        .round()
        .tolist()
        for seed in range(4)
    }
    assert len({tuple(each) for each in positions.values()}) > 1
    assert all(each == sorted(each) for each in positions.values())


def test_class_sizes_of_a_file_and_of_folders(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", inputs=PIXELS, labels=[1, 1, 0, 1, 3, 3])
    np.save(tmp_path / "labels.npy", np.array([1, 1, 0]))
    assert class_sizes(str(tmp_path / "train.npz"), ()) == {0: 1, 1: 3, 3: 2}
    assert class_sizes(str(tmp_path / "labels.npy"), ()) == {0: 1, 1: 2}
    folder = write_folders(tmp_path / "x", a=3, b=1)
    assert class_sizes(str(folder), ("a", "b")) == {0: 3, 1: 1}
    with pytest.raises(UsageError, match=r"has no folder for the class 'c'\.$"):
        class_sizes(str(folder), ("a", "c"))


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([0, 1, 2], "there are 6 pictures and 3 labels; every picture needs one, in the same order."),
        ([1] * 6, "labels hold only class 1; a classifier is measured on two classes at least."),
        ([0, 1, -1, 0, 1, 2], "labels must be whole numbers from 0, the positions of the network's outputs, not -1."),
        ([0, 1, 0.5, 0, 1, np.nan], "the positions of the network's outputs, not 0.5, nan."),
        ([0, 1, np.inf, 0, 1, 2], "not inf."),
        (["a", "b"] * 3, "the positions of the network's outputs, not a, b, a, b, a."),
        ([True, False] * 3, "not True, False, True, False, True."),
        (np.eye(6), "labels must be one class per picture, shape (N,), not (6, 6). One-hot rows become classes by"),
    ],
)
def test_labels_that_do_not_fit(labels: object, text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(text)):
        check_labels(labels, 6)


@pytest.mark.parametrize(
    ("pictures", "text"),
    [
        (np.zeros((2, 3)), "pictures must have the shape (N, C, H, W) or (N, H, W), not (2, 3)."),
        (np.zeros((0, 3, 3)), "not (0, 1, 3, 3)."),
        (torch.zeros(2, 3, 3, dtype=torch.int64), "floating-point numbers in [0, 1] or uint8, not torch.int64."),
        (torch.full((2, 3, 3), torch.nan), "pictures hold values that are nan or infinite."),
        ([[0.0]], "pictures must be a tensor or an array of numbers, not list."),
        (np.array([["a"]]), "pictures must be a tensor or an array of numbers, not ndarray."),
    ],
)
def test_pictures_that_are_none(pictures: object, text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(text)):
        from_tensors(pictures, [0, 1])


def refuse(text: str, source: Path, labels: Path | None = None, shape: tuple[int, ...] | None = (1, 4, 5)) -> None:
    with pytest.raises(UsageError, match=re.escape(text)):
        load_labelled(str(source), None if labels is None else str(labels), shape=shape)


def test_folders_that_hold_no_classes(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refuse("empty holds no folder; it must hold one folder of pictures per class, as in", tmp_path / "empty")
    refuse("holds only the folder 'a'; it must hold one folder", write_folders(tmp_path / "one", a=1))
    folder = write_folders(tmp_path / "two", a=1, b=0)
    refuse("no pictures in", folder)
    refuse("--labels means nothing with a folder: in", folder, tmp_path / "labels.npy")
    refuse("its pictures have no one size. Give a file of an array.", folder, shape=None)


def test_files_that_are_no_labelled_pictures(tmp_path: Path) -> None:
    refuse("no such file or folder as --input: ", tmp_path / "missing.npz")
    (tmp_path / "x.txt").write_text("0")
    refuse(
        "labelled pictures are a folder per class, or a .npy, .npz, .pt, .pth, .safetensors file.", tmp_path / "x.txt"
    )
    pictures = tmp_path / "x.npz"
    np.savez(pictures, inputs=PIXELS)
    refuse(
        "x.npz holds no labels. Save them beside the pictures, np.savez(FILE, inputs=pictures, labels=labels)", pictures
    )
    np.savez(tmp_path / "short.npz", LABELS[:4])
    refuse(f"there are 6 pictures and 4 labels in {tmp_path / 'short.npz'}", pictures, tmp_path / "short.npz")
    refuse("no such file or folder as --labels", pictures, tmp_path / "no.npy")
    refuse(
        "holds 6x4x5, pictures with 1 channel, and the network takes 3.", with_labels(tmp_path, PIXELS), shape=(3, 4, 5)
    )
    refuse("holds values from 0 to 119; pictures are in [0, 1], or uint8", with_labels(tmp_path, PIXELS.astype("f4")))
    refuse("holds int64 numbers; pictures are uint8 (0 to 255)", with_labels(tmp_path, PIXELS.astype("i8")))
    refuse("holds 6; pictures are N x C x H x W or N x H x W.", with_labels(tmp_path, np.zeros(6, np.float32)))
    refuse("holds values that are nan or infinite.", with_labels(tmp_path, np.full((6, 4, 5), np.nan)))


def with_labels(folder: Path, pictures: np.ndarray) -> Path:
    np.savez(folder / "labelled.npz", inputs=pictures, labels=LABELS)
    return folder / "labelled.npz"


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", inputs=PIXELS, labels=np.array([{}] * 6, dtype=object))
    with pytest.raises(UsageError, match="pickled objects are never opened"):
        read_labels(str(tmp_path / "x.npz"), alone=False)

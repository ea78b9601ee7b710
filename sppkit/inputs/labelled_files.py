"""Labelled pictures in files, read safely: a folder per class, or arrays with labels in the same file or in another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sppkit.errors import UsageError
from sppkit.inputs.decode import check_picture, decode_picture
from sppkit.inputs.labelled import FEWEST_CLASSES, Labelled, check_labels
from sppkit.inputs.pictures import find_pictures
from sppkit.inputs.stored import OPENERS, NotInFileError, Wanted
from sppkit.machine.printable import as_utf8

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sppkit.inputs.labelled import Labels
    from sppkit.inputs.stored import Stored

PICTURES = Wanted(("inputs", "images", "pictures"))
LABELS = Wanted(("labels", "targets"), alone=False)
LABELS_ALONE = Wanted(("labels", "targets"))
_LARGEST_LEVEL = 255
_FLOATING = {"float16", "bfloat16", "float32", "float64"}
_USUAL_CHANNELS = {1, 3}
_GREY_AXES = 3  # samples, height, width
_KINDS = f"a folder per class, or a {', '.join(OPENERS)} file"
# As many samples at a time are looked through.
_PART = 1024


def load_labelled(source: str, labels: str | None, *, shape: tuple[int, ...] | None) -> Labelled:
    """Read what ``--input`` and ``--labels`` name.

    Args:
        source: A folder that holds a folder of pictures per class, or a file of an array.
        labels: A file of the array's labels; where it is None, they are in the same file, under ``labels``.
        shape: (C, H, W) of the network's input: pictures in folders are converted to it, arrays keep their size. None
            where there is no network: an array then says itself what it is.

    Returns:
        The pictures.

    Raises:
        UsageError: If they can't be read, or are not labelled pictures.
    """
    path = Path(source)
    if path.is_dir():
        if labels is not None:
            raise UsageError(f"--labels means nothing with a folder: in {source}, the folders name the classes.")
        if shape is None:
            raise UsageError(f"{source} is a folder: its pictures have no one size. Give a file of an array.")
        return _read_folder(path, shape)
    stored = _open(path, PICTURES, "--input")
    known = read_labels(labels or source, alone=labels is not None, pictures=stored.shape[0] if stored.shape else 0)
    return _read_array(path, stored, known, None if shape is None else shape[0])


def read_labels(file: str, *, alone: bool, pictures: int | None = None) -> Labels:
    """Read the labels in a file: the array ``labels``, or the only one."""
    path = Path(file)
    try:
        stored = _open(path, LABELS_ALONE if alone else LABELS, "--labels" if alone else "--input")
    except NotInFileError:
        if alone:
            raise
        raise UsageError(
            f"{path} holds no labels. Save them beside the pictures, np.savez(FILE, inputs=pictures, labels=labels), "
            "or give them as --labels FILE."
        ) from None
    return check_labels(stored.read(slice(None)).double(), pictures, f"labels in {path}")


def class_sizes(source: str, names: Sequence[str]) -> dict[int, int]:
    """Return how many training examples each class has: of a file of labels, or a folder per class."""
    path = Path(source)
    if path.is_dir():
        folders = [folder.name for folder in _class_folders(path)]
        if names and set(names) - set(folders):
            missing = sorted(set(names) - set(folders))
            raise UsageError(f"--train-labels {source} has no folder for the class {missing[0]!r}.")
        counts = {name: len(find_pictures(path / name)[0]) for name in folders}
        return {index: counts[name] for index, name in enumerate(names or folders)}
    labels, counts_found = np.unique(read_labels(source, alone=not _has_labels(path)), return_counts=True)
    return dict(zip(labels.tolist(), counts_found.tolist(), strict=True))


def _has_labels(path: Path) -> bool:
    try:
        _open(path, LABELS, "--train-labels")
    except NotInFileError:
        return False
    return True


def _open(path: Path, wanted: Wanted, flag: str) -> Stored:
    shown = as_utf8(str(path))
    if not path.is_file():
        raise UsageError(f"no such file or folder as {flag}: {shown!r}.\nGive {_KINDS}.")
    if path.suffix.lower() not in OPENERS:
        raise UsageError(f"{flag} {shown}: labelled pictures are {_KINDS}.")
    stored: Stored = OPENERS[path.suffix.lower()](path, wanted)
    return stored


def _read_array(path: Path, stored: Stored, labels: Labels, channels: int | None) -> Labelled:
    order, shape = _axes(path, stored.shape, channels)
    whole = stored.dtype == "uint8"
    if not whole and stored.dtype not in _FLOATING:
        raise UsageError(
            f"{path} holds {stored.dtype} numbers; pictures are uint8 (0 to 255) or floating-point numbers in [0, 1]."
        )

    def read(rows: Sequence[int]) -> torch.Tensor:
        values = torch.cat([stored.read(slice(row, row + 1)) for row in rows])
        values = values / _LARGEST_LEVEL if whole else values
        return (values[:, None] if order is None else values.permute(order)).contiguous()

    if not whole:
        _check_range(path, stored)
    description = {"kind": "array", "source": str(path), "dtype": stored.dtype}
    return Labelled(labels, read, shape, description=description)


def _axes(path: Path, stored: tuple[int, ...], channels: int | None) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """Return the order that makes (N, C, H, W) of an array's axes, None for grey without one, and (C, H, W)."""
    size = "x".join(map(str, stored))
    if 0 in stored or len(stored) not in {_GREY_AXES, _GREY_AXES + 1}:
        raise UsageError(f"{path} holds {size or 'a single number'}; pictures are N x C x H x W or N x H x W.")
    fitting = _USUAL_CHANNELS if channels is None else {channels}
    if len(stored) == _GREY_AXES and 1 in fitting:
        return None, (1, *stored[1:])
    if len(stored) > _GREY_AXES and stored[1] in fitting:
        return (0, 1, 2, 3), stored[1:]
    if len(stored) > _GREY_AXES and stored[3] in fitting:
        return (0, 3, 1, 2), (stored[3], stored[1], stored[2])
    has = 1 if len(stored) == _GREY_AXES else stored[1]
    takes = "pictures have 1 or 3" if channels is None else f"the network takes {channels}"
    raise UsageError(
        f"{path} holds {size}, pictures with {has} channel{'s' * (has != 1)}, and {takes}.\n"
        "Convert them first, for instance pictures[:, None].repeat(3, axis=1), or pictures.mean(1)."
    )


def _check_range(path: Path, stored: Stored) -> None:
    low, high = np.inf, -np.inf
    for first in range(0, stored.shape[0], _PART):
        part = stored.read(slice(first, first + _PART))
        if not bool(torch.isfinite(part).all()):
            raise UsageError(f"{path} holds values that are nan or infinite.")
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    if low < 0 or high > 1:
        raise UsageError(
            f"{path} holds values from {low:.3g} to {high:.3g}; pictures are in [0, 1], or uint8 from 0 to 255.\n"
            "Save them before the network's own normalization, which --normalize MEAN/STD applies."
        )


def _read_folder(folder: Path, shape: tuple[int, ...]) -> Labelled:
    classes = _class_folders(folder)
    found = [find_pictures(each)[0] for each in classes]
    paths = [path for pictures in found for path in pictures]
    labels = np.repeat(np.arange(len(classes)), [len(pictures) for pictures in found])
    for path in paths:
        check_picture(path)

    def read(rows: Sequence[int]) -> torch.Tensor:
        return torch.from_numpy(np.stack([decode_picture(paths[row], shape) for row in rows]))

    names = tuple(each.name for each in classes)
    description: dict[str, Any] = {
        "kind": "pictures",
        "source": str(folder),
        "resized": f"to cover {shape[1]}x{shape[2]}, antialiased bicubic; centre crop",
    }
    return Labelled(labels.astype(np.int64), read, shape, names, description)


def _class_folders(folder: Path) -> list[Path]:
    try:
        entries = [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."]
    except OSError as error:
        raise UsageError(f"can't read the folder {folder}: {error.strerror}.") from error
    if len(entries) < FEWEST_CLASSES:
        found = f"only the folder {entries[0].name!r}" if entries else "no folder"
        raise UsageError(
            f"{folder} holds {found}; it must hold one folder of pictures per class, as in {folder / 'cat'}, "
            f"{folder / 'dog'}."
        )
    return sorted(entries)

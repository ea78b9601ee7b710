"""A folder of pictures, or one picture, as batches."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch

from sppkit.errors import UsageError
from sppkit.inputs.batches import Inputs, Samples, describe, split
from sppkit.inputs.decode import check_picture, decode_picture, mean_and_std, picture_extensions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def load_pictures(source: str, *, shape: tuple[int, ...], batch_size: int, batches: int) -> Inputs:
    """Describe batches of pictures, decoded one batch at a time.

    Before anything expensive is done with them, the header of every picture that will be used is read and the first
    batch is decoded; damage in the pixels of a later batch shows when that batch is made.
    """
    _check_channels(shape)
    found, skipped = find_pictures(Path(source)) if Path(source).is_dir() else ([Path(source)], 0)
    used = found[: batch_size * batches]

    def read(numbers: Sequence[int]) -> torch.Tensor:
        return decode_batch([used[number] for number in numbers], shape)

    def decode_all() -> Iterator[torch.Tensor]:
        return (normalize(read(range(len(used))[part])) for part in split(len(used), batch_size))

    for path in used:
        check_picture(path)
    first = next(decode_all())
    mean, std = mean_and_std(shape[0])
    sizes = {"batch_size": batch_size, "used": len(used), "available": len(found)}
    description = describe("pictures", source, shape=shape, **sizes) | {
        "normalized": {"range": [0, 1], "mean": list(mean), "std": list(std)},
        "resized": f"to cover {shape[1]}x{shape[2]}, antialiased bicubic; centre crop",
        "files_skipped": skipped,
    }
    samples = Samples(read, normalize, are_pictures=True, used=len(used))
    return Inputs(description, decode_all, tuple(first.shape), samples=samples)


def find_pictures(folder: Path) -> tuple[list[Path], int]:
    """Find the pictures of a folder and its subfolders by their file extensions.

    Hidden files and folders are passed over without a word; a symbolic link to a folder is not followed.
    """
    names = sorted(_iter_files(folder))
    pictures = [name for name in names if PurePath(name).suffix.lower() in picture_extensions()]
    if pictures:
        return [folder / name for name in pictures], len(names) - len(pictures)
    others = f"none of its {len(names)} files is a picture" if names else "the folder is empty"
    raise UsageError(
        f"no pictures in {folder}: {others}.\n"
        "Give a folder that holds .jpg, .png or other pictures Pillow reads, or type --input gaussian."
    )


def decode_batch(paths: list[Path], shape: tuple[int, ...]) -> torch.Tensor:
    """Decode some pictures into one batch, values in [0, 1]."""
    batch = np.empty((len(paths), *shape), np.float32)
    for row, path in zip(batch, paths, strict=True):
        row[:] = decode_picture(path, shape)
    return torch.from_numpy(batch)


def normalize(pictures: torch.Tensor) -> torch.Tensor:
    """Subtract the mean that pictures are normalized by and divide by the standard deviation; (N, C, H, W)."""
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in mean_and_std(pictures.shape[1]))
    return (pictures - mean) / std


def _iter_files(folder: Path) -> Iterator[str]:
    # os.walk asks the system about every file once; Path.rglob asks twice, which is felt with a million files.
    for root, folders, files in os.walk(folder, onerror=_refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(root).relative_to(folder)
        yield from ((below / name).as_posix() for name in files if not name.startswith("."))


def _refuse_folder(error: OSError) -> NoReturn:
    raise UsageError(
        f"can't read the folder {error.filename}: {error.strerror}.\nMake it readable, or take it out of --input."
    ) from error


def _check_channels(shape: tuple[int, ...]) -> None:
    if len(shape) != len(("channels", "height", "width")):
        sample = "x".join(map(str, shape)) or "tokens"
        raise UsageError(
            f"pictures have channels, height and width, but one sample is to be {sample}.\n"
            "Type --shape 3,224,224 if the network takes pictures, or leave --input out."
        )
    if shape[0] not in {1, 3}:
        raise UsageError(
            f"pictures have 3 channels, or 1 when grey, but the shape asks for {shape[0]}.\n"
            f"Type --shape 3,{shape[1]},{shape[2]}, or give an array (.npy, .npz, .pt, .pth, .safetensors) as --input."
        )

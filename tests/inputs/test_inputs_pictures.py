"""Pictures: found in order, turned upright, converted, resized, cropped and normalized; or refused by name."""

from __future__ import annotations

import os
import re
import shutil
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import skimage
import sklearn.datasets
import torch
from PIL import Image

from sppkit.errors import UsageError
from sppkit.inputs.decode import cover
from sppkit.inputs.load import load_inputs

SKIMAGE = Path(skimage.__file__).parent / "data"
SKLEARN = Path(sklearn.datasets.__file__).parent / "images"

# Written out again, not imported: the numbers of the contract.
MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
ULP = 2**-23  # float32; the normalized values are below 4 and three roundings apart from the float64 truth
TOLERANCE = {"rtol": 0, "atol": 3 * 4 * ULP}


def load(source: Path, shape: tuple[int, ...] = (3, 8, 8), batch_size: int = 8, batches: int = 1):
    return load_inputs(str(source), shape=shape, batch_size=batch_size, batches=batches, seed=0)


def only(source: Path, shape: tuple[int, ...] = (3, 8, 8)) -> np.ndarray:
    """The pixels of one picture after loading, (H, W, C), back on the scale of 0 to 255."""
    (batch,) = load(source, shape).batches()
    mean, std = (MEAN, STD) if shape[0] == 3 else (np.mean(MEAN), np.mean(STD))
    assert batch.shape == (1, *shape)
    assert batch.dtype == torch.float32
    return (batch[0].double().numpy().transpose(1, 2, 0) * std + mean) * 255


def assert_pixels(found: np.ndarray, expected: object, atol: float = 1e-3) -> None:
    np.testing.assert_allclose(found, np.broadcast_to(np.asarray(expected, float), found.shape), rtol=0, atol=atol)


def numbered(height: int, width: int) -> np.ndarray:
    """A grey picture whose pixels tell where they are."""
    return (np.arange(height)[:, None] * 16 + np.arange(width)).astype(np.uint8)


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 8), (3, 5), (1, 1), (40, 23), (1, 900), (900, 1)])
@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 6, 11)])
def test_one_colour_stays_that_colour_at_any_size(size, shape, tmp_path):
    Image.new("RGB", size, (10, 128, 250)).save(tmp_path / "x.png")
    (batch,) = load(tmp_path / "x.png", shape).batches()
    expected = (np.array([10, 128, 250]) / 255 - MEAN) / STD
    np.testing.assert_allclose(batch.numpy(), np.broadcast_to(expected[:, None, None], (1, *shape)), **TOLERANCE)


def test_grey_pictures_are_normalized_by_the_mean_of_the_colours(tmp_path):
    Image.new("L", (9, 7), 77).save(tmp_path / "x.png")
    inputs = load(tmp_path / "x.png", (1, 8, 8))
    (batch,) = inputs.batches()
    np.testing.assert_allclose(batch.numpy(), np.full((1, 1, 8, 8), (77 / 255 - 0.449) / 0.226), **TOLERANCE)
    assert inputs.description["normalized"] == {"range": [0, 1], "mean": [0.449], "std": [0.226]}


def test_a_picture_of_the_right_size_passes_unresized(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 11, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert_pixels(only(tmp_path / "x.png", (3, 8, 11)), pixels)


CROPS = {
    "wide": ((8, 12), np.s_[:, 2:10]),
    "tall": ((14, 8), np.s_[3:11, :]),
    "odd margin": ((8, 11), np.s_[:, 1:9]),
}


@pytest.mark.parametrize(("size", "kept"), CROPS.values(), ids=CROPS.keys())
def test_the_centre_is_kept(size, kept, tmp_path):
    pixels = numbered(*size)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert_pixels(only(tmp_path / "x.png", (1, 8, 8))[..., 0], pixels[kept])


SIZES = [(37, 61, 8, 8), (61, 37, 8, 8), (5, 7, 16, 16), (300, 451, 224, 224), (100, 33, 10, 24), (33, 100, 24, 10)]


@pytest.mark.parametrize(("height", "width", "target_height", "target_width"), SIZES)
def test_cropping_in_the_original_equals_resizing_and_then_cropping(height, width, target_height, target_width):
    image = Image.open(SKIMAGE / "chelsea.png").crop((0, 0, width, height))
    scale = max(target_height / height, target_width / width)
    whole = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    left, top = (whole.width - target_width) // 2, (whole.height - target_height) // 2
    expected = whole.crop((left, top, left + target_width, top + target_height))
    found = cover(image, target_height, target_width)
    # One grey level: the two ways round the filter's weights to 8-bit fixed point separately.
    assert found.size == (target_width, target_height)
    assert np.abs(np.asarray(found, int) - np.asarray(expected, int)).max() <= 1


def test_shrinking_is_antialiased(tmp_path):
    # Black and white columns: every eighth pixel alone would be all black.
    Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 32))).save(tmp_path / "x.png")
    assert_pixels(only(tmp_path / "x.png", (1, 8, 8))[:, 1:-1], 127.5, atol=1)


def test_a_thin_strip_needs_no_memory_for_its_resized_whole(tmp_path):
    # Resized to cover 224 x 224 it would be 2,240,000,000 pixels wide, more than Pillow can hold in any memory.
    Image.new("L", (10_000_000, 1), 90).save(tmp_path / "x.png")
    assert_pixels(only(tmp_path / "x.png", (1, 224, 224)), 90)


# --- kinds of pictures ------------------------------------------------------------------------------------------------


def save_palette(path: Path) -> None:
    Image.new("RGB", (8, 8), (0, 200, 40)).convert("P", palette=Image.Palette.ADAPTIVE).save(path)


def save_see_through_palette(path: Path) -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 0, 200, 40])
    picture.save(path, transparency=bytes([255, 128]))


def save_animation(path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in [(0, 200, 40), (255, 0, 0)]]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)


def save_sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)).save(path)


def saver(mode: str, colour: object):
    return lambda path: Image.new(mode, (8, 8), colour).save(path)


MODES = {
    "RGB": ("x.png", saver("RGB", (0, 200, 40)), (0, 200, 40), 0),
    "grey": ("x.png", saver("L", 60), 60, 0),
    "black and white": ("x.png", saver("1", 1), 255, 0),
    "grey with alpha": ("x.png", saver("LA", (60, 3)), 60, 0),
    "RGB with alpha": ("x.png", saver("RGBA", (0, 200, 40, 0)), (0, 200, 40), 0),
    "palette": ("x.gif", save_palette, (0, 200, 40), 0),
    "palette with alpha": ("x.png", save_see_through_palette, (0, 200, 40), 0),
    "animation": ("x.gif", save_animation, (0, 200, 40), 0),
    "animated PNG": ("x.png", save_animation, (0, 200, 40), 0),
    "16 bits PNG": ("x.png", save_sixteen_bits, 100, 0),
    "16 bits TIFF": ("x.tif", save_sixteen_bits, 100, 0),
    "16 bits PGM": ("x.pgm", save_sixteen_bits, 100, 0),
    # (255 - ink) * (255 - black) / 255, and JPEG rounds.
    "CMYK JPEG": ("x.jpg", saver("CMYK", (255, 55, 0, 0)), (0, 200, 255), 2),
    "CMYK TIFF": ("x.tif", saver("CMYK", (255, 55, 0, 51)), (0, 160, 204), 1),
    "JPEG": ("x.jpeg", saver("RGB", (0, 200, 40)), (0, 200, 40), 2),
    "WebP": ("X.WEBP", saver("RGB", (0, 200, 40)), (0, 200, 40), 3),
    "BMP": ("x.bmp", saver("RGB", (0, 200, 40)), (0, 200, 40), 0),
}


@pytest.mark.parametrize(("name", "save", "colour", "off"), MODES.values(), ids=MODES.keys())
def test_every_kind_of_picture_becomes_rgb(name, save, colour, off, tmp_path):
    save(tmp_path / name)
    assert_pixels(only(tmp_path / name), colour, atol=off + 1e-3)


def test_sixteen_bit_grey_keeps_its_shades(tmp_path):
    shades = np.linspace(0, 65535, 64).reshape(8, 8)
    Image.fromarray(shades.astype(np.uint16)).save(tmp_path / "x.png")
    assert_pixels(only(tmp_path / "x.png", (1, 8, 8))[..., 0], shades / 65535 * 255, atol=0.51)


def test_colour_becomes_grey_by_its_luma(tmp_path):
    Image.new("RGB", (8, 8), (250, 100, 10)).save(tmp_path / "x.png")
    # ITU-R 601: 0.299 red, 0.587 green, 0.114 blue.
    assert_pixels(only(tmp_path / "x.png", (1, 8, 8)), 0.299 * 250 + 0.587 * 100 + 0.114 * 10, atol=0.51)


# What the EXIF standard says of the stored rows and columns, undone with NumPy.
UPRIGHT = {
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(np.transpose(x), 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pictures_are_turned_upright(orientation, suffix, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = numbered(8, 8)
    Image.fromarray(stored).save(tmp_path / f"x{suffix}", exif=exif)
    assert_pixels(only(tmp_path / f"x{suffix}", (1, 8, 8))[..., 0], UPRIGHT[orientation](stored))


def test_a_picture_on_its_side_is_turned_before_it_is_cropped(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = numbered(8, 12)
    Image.fromarray(stored).save(tmp_path / "x.png", exif=exif)
    assert_pixels(only(tmp_path / "x.png", (1, 8, 8))[..., 0], np.rot90(stored, -1)[2:10])


# --- photographs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "logo.png", "coins.png"])
def test_photographs_of_scikit_image_agree_with_pillow_by_hand(name):
    image = Image.open(SKIMAGE / name).convert("RGB")
    short = min(image.size)
    resized = image.resize((round(image.width * 224 / short), round(image.height * 224 / short)), Image.BICUBIC)
    left, top = (resized.width - 224) // 2, (resized.height - 224) // 2
    expected = np.asarray(resized)[top : top + 224, left : left + 224]
    assert_pixels(only(SKIMAGE / name, (3, 224, 224)), expected, atol=1.001)


def test_the_photographs_of_scikit_learn_are_a_batch():
    inputs = load(SKLEARN, (3, 64, 64))
    (batch,) = inputs.batches()
    assert batch.shape == inputs.shape == (2, 3, 64, 64)
    # The sky of china.jpg is bright, the flower's background dark.
    assert batch[0].mean() > batch[1].mean()
    assert inputs.description["samples_available"] == 2
    assert inputs.description["files_skipped"] >= 1  # README.txt


def test_description_says_what_was_done_to_the_pictures():
    inputs = load(SKLEARN / "china.jpg", (3, 32, 48), batch_size=4, batches=2)
    assert inputs.description == {
        "kind": "pictures",
        "source": str(SKLEARN / "china.jpg"),
        "batch_shape": [1, 3, 32, 48],
        "batches": 1,
        "samples_used": 1,
        "samples_available": 1,
        "normalized": {"range": [0, 1], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        "resized": "to cover 32x48, antialiased bicubic; centre crop",
        "files_skipped": 0,
    }


# --- folders ----------------------------------------------------------------------------------------------------------


def fill(folder: Path, names: list[str]) -> None:
    """Write grey pictures, each as bright as its place in the list."""
    for value, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), value).save(folder / name)


def test_pictures_are_sorted_by_their_path_below_the_folder(tmp_path):
    names = ["A.png", "a/c.png", "a/d/b.PNG", "a0.png", "b.png", "c.jpg.png", "ä.png"]
    fill(tmp_path, names)
    for name in (".hidden.png", ".git/x.png", "a/.thumbs/x.png"):
        fill(tmp_path, [name])
    for name in ("notes.txt", "a/x.npy", "drawing.eps", "README"):
        (tmp_path / name).write_text("no picture")
    inputs = load(tmp_path, (1, 2, 2), batch_size=10)
    (batch,) = inputs.batches()
    shades = (batch[:, 0, 0, 0].numpy() * 0.226 + 0.449) * 255
    np.testing.assert_allclose(shades, range(len(names)), atol=1e-3)
    assert inputs.description["files_skipped"] == 4
    assert inputs.description["samples_available"] == len(names)


@pytest.mark.parametrize(
    ("files", "why"),
    [([], "the folder is empty"), (["a.txt", "b/c.npy"], "none of its 2 files is a picture")],
    ids=["empty", "other files"],
)
def test_a_folder_without_pictures_is_refused(files, why, tmp_path):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    text = (
        f"no pictures in {tmp_path}: {why}.\n"
        "Give a folder that holds .jpg, .png or other pictures Pillow reads, or type --input gaussian."
    )
    with pytest.raises(UsageError, match=f"^{re.escape(text)}$"):
        load(tmp_path)


def test_a_folder_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    fill(tmp_path, ["a.png", "closed/b.png"])
    scan = os.scandir

    def refuse(folder: str):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match=r"^can't read the folder .*closed: Permission denied\.\nMake it readable, or"):
        load(tmp_path)


def test_other_channel_counts_are_refused(tmp_path):
    fill(tmp_path, ["a.png"])
    text = (
        "pictures have 3 channels, or 1 when grey, but the shape asks for 4.\n"
        "Type --shape 3,8,9, or give an array (.npy, .npz, .pt, .pth, .safetensors) as --input."
    )
    with pytest.raises(UsageError, match=f"^{re.escape(text)}$"):
        load(tmp_path, (4, 8, 9))


# --- damaged and dangerous pictures -----------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def huge(path: Path) -> None:
    """A PNG of 64 bytes that declares 50,000 x 50,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


def postscript(path: Path) -> None:
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")


def huge_by_half(path: Path) -> None:
    # Between Pillow's limit, where it warns, and twice that, where it raises.
    Image.new("1", (10_000, 10_000)).save(path)


LIMIT = f"it has more than {Image.MAX_IMAGE_PIXELS} pixels, Pillow's limit for files that may be malicious"
OUT = "out of --input."
BAD = {
    "truncated PNG": ("b.png", lambda p: (shutil.copy(SKIMAGE / "coffee.png", p), truncate(p)), "", "Replace it"),
    "truncated JPEG": ("b.jpg", lambda p: (shutil.copy(SKLEARN / "china.jpg", p), truncate(p)), "", "Replace it"),
    "truncated TIFF": ("b.tif", lambda p: (saver("RGB", 7)(p), truncate(p)), "", "Replace it"),
    "truncated GIF": ("b.gif", lambda p: (save_palette(p), truncate(p)), "", "Replace it"),
    "empty": ("b.png", lambda p: p.touch(), "it isn't in a format that Pillow knows", "Replace it"),
    "text": ("b.jpg", lambda p: p.write_text("hello"), "it isn't in a format that Pillow knows", "Replace it"),
    "PostScript": ("b.png", postscript, "it isn't in a format that Pillow knows", "Replace it"),
    "a bomb": ("b.png", huge, LIMIT, "Shrink it"),
    "half a bomb": ("b.png", huge_by_half, LIMIT, "Shrink it"),
    "floating point": (
        "b.tif",
        lambda p: Image.fromarray(np.ones((8, 8), np.float32)).save(p),
        "its pixels are floating-point numbers, whose range isn't known",
        "Replace it",
    ),
    "32-bit integers": (
        "b.tif",
        lambda p: Image.fromarray(np.full((8, 8), 70_000, np.int32)).save(p),
        "its pixels are 32-bit integers, whose range isn't known",
        "Replace it",
    ),
    "a link to nowhere": ("b.png", lambda p: p.symlink_to("gone.png"), "No such file or directory", "Replace it"),
}


@pytest.mark.parametrize(("name", "write", "reason", "remedy"), BAD.values(), ids=BAD.keys())
def test_a_bad_picture_among_good_ones_is_named(name, write, reason, remedy, tmp_path):
    fill(tmp_path, ["a.png", "c.png"])
    write(tmp_path / name)
    why = re.escape(reason) or "[^\n]+"
    pattern = rf"^can't read the picture {re.escape(str(tmp_path / name))}: {why}\.\n{remedy}, or take it {OUT}$"
    with pytest.raises(UsageError, match=pattern):
        load(tmp_path)


def test_a_bad_picture_that_is_not_used_does_no_harm(tmp_path):
    fill(tmp_path, ["a.png", "c.png"])
    (tmp_path / "d.png").touch()
    assert load(tmp_path, batch_size=1, batches=2).description["samples_used"] == 2


def test_a_foreign_file_in_a_later_batch_is_found_at_once_and_damaged_pixels_when_they_are_read(tmp_path):
    fill(tmp_path, ["a.png", "b.png"])
    shutil.copy(SKIMAGE / "coffee.png", tmp_path / "c.png")
    truncate(tmp_path / "c.png")
    inputs = load(tmp_path, batch_size=1, batches=3)
    batches = inputs.batches()
    assert next(batches).shape == next(batches).shape == (1, 3, 8, 8)
    with pytest.raises(UsageError, match=r"can't read the picture .*c\.png"):
        next(batches)
    (tmp_path / "c.png").write_text("hello")
    with pytest.raises(UsageError, match=r"can't read the picture .*c\.png: it isn't in a format that Pillow knows"):
        load(tmp_path, batch_size=1, batches=3)


def test_pillow_keeps_quiet_about_odd_metadata(tmp_path, recwarn):
    save_see_through_palette(tmp_path / "x.png")  # Pillow warns about such a palette
    load(tmp_path / "x.png")
    assert not recwarn.list


def test_memory_does_not_grow_with_the_number_of_batches(tmp_path):
    shape, batch_size, batches = (3, 64, 64), 4, 40
    for i in range(batch_size * batches):
        Image.new("L", (2, 2), i).save(tmp_path / f"{i:03}.png")
    inputs = load(tmp_path, shape, batch_size, batches)
    one_batch = 4 * batch_size * 3 * 64 * 64
    tracemalloc.start()
    seen = sum(len(batch) for batch in inputs.batches())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == batch_size * batches
    # NumPy reports its buffers: the batch before, this one, and one picture in the making.
    assert peak < 4 * one_batch, f"{peak} bytes where a batch has {one_batch}"

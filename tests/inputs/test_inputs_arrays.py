"""Arrays in .npy, .npz, .pt and .safetensors files: taken as they are, or refused in one clear message."""

from __future__ import annotations

import gc
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import save_file

from sppkit.errors import UsageError
from sppkit.inputs.load import load_inputs


def load(source: Path, channels: int = 3, batch_size: int = 4, batches: int = 1):
    return load_inputs(str(source), shape=(channels, 224, 224), batch_size=batch_size, batches=batches, seed=0)


# Quarters from -8 to 8: exact in every floating-point type from float16 on.
VALUES = (np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5) % 65 - 32) / 4


def numpy_writer(dtype: str, **layout: str):
    return lambda path: np.save(path, np.array(VALUES, dtype=dtype, **layout))


def torch_writer(dtype: torch.dtype, wrap=lambda tensor: tensor, **options: bool):
    return lambda path: torch.save(wrap(torch.from_numpy(VALUES).to(dtype)), path, **options)


def tensors(**values: np.ndarray) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value).to(torch.bfloat16) for name, value in values.items()}


def write_bytes_of(array: np.ndarray, path: Path) -> None:
    with path.open("wb") as stream:  # given a name, np.save would append .npy
        np.save(stream, array)


WRITERS = {
    "npy float32": ("x.npy", numpy_writer("float32"), "float32"),
    "npy float16": ("x.npy", numpy_writer("float16"), "float16"),
    "npy float64": ("x.npy", numpy_writer("float64"), "float64"),
    "npy of another byte order": ("x.npy", numpy_writer(">f4"), "float32"),
    "npy in Fortran order": ("x.npy", numpy_writer("float32", order="F"), "float32"),
    "npy in capitals": ("X.NPY", lambda path: write_bytes_of(VALUES, path), "float64"),
    "npz of one": ("x.npz", lambda path: np.savez(path, anything=VALUES), "float64"),
    "npz named inputs": ("x.npz", lambda path: np.savez(path, labels=np.arange(2), inputs=VALUES), "float64"),
    "npz compressed": ("x.npz", lambda path: np.savez_compressed(path, x=VALUES.astype("float16")), "float16"),
    "pt": ("x.pt", torch_writer(torch.float32), "float32"),
    "pt bfloat16": ("x.pt", torch_writer(torch.bfloat16), "bfloat16"),
    "pth half": ("x.pth", torch_writer(torch.float16), "float16"),
    "pt before version 1.6": ("x.pt", torch_writer(torch.float64, _use_new_zipfile_serialization=False), "float64"),
    "pt with gradient": ("x.pt", torch_writer(torch.float64, torch.nn.Parameter), "float64"),
    "pt strided": (
        "x.pt",
        torch_writer(torch.float64, lambda x: x.contiguous(memory_format=torch.channels_last)),
        "float64",
    ),
    "pt of one and a label": ("x.pt", torch_writer(torch.float32, lambda x: {"picture": x, "label": 3}), "float32"),
    "pt named inputs": (
        "x.pt",
        torch_writer(torch.float32, lambda x: {"inputs": x, "labels": torch.arange(2)}),
        "float32",
    ),
    "safetensors of one": ("x.safetensors", lambda path: save_file(tensors(anything=VALUES), path), "bfloat16"),
    "safetensors named inputs": (
        "x.safetensors",
        lambda path: save_file(tensors(inputs=VALUES, labels=np.arange(2)), path),
        "bfloat16",
    ),
}


@pytest.mark.parametrize(("name", "write", "dtype"), WRITERS.values(), ids=WRITERS.keys())
def test_an_array_is_taken_as_it_is(name, write, dtype, tmp_path):
    write(tmp_path / name)
    inputs = load(tmp_path / name)
    (batch,) = inputs.batches()
    np.testing.assert_array_equal(batch.numpy(), VALUES.astype(np.float32))
    assert batch.dtype == torch.float32
    assert batch.is_contiguous()
    assert not batch.requires_grad
    assert inputs.shape == (2, 3, 4, 5)
    assert inputs.description == {
        "kind": "array",
        "source": str(tmp_path / name),
        "batch_shape": [2, 3, 4, 5],
        "batches": 1,
        "samples_used": 2,
        "samples_available": 2,
        "normalized": "as they are",
        "dtype": dtype,
    }


def save(array: object):
    return lambda path: np.save(path, np.asarray(array))


ONES = np.ones((2, 3, 4, 4), np.float32)
AXES = "4 axes are needed: samples x channels x height x width."
CONVERT = (
    " numbers; float32, float16, bfloat16 or float64 are needed.\n"
    "Convert and normalize them first, for instance (array / 255 - mean) / std, and save the result."
)
PICKLED = "; pickled objects are never opened, because that can run any code."
NAME_ONE = "\nName the one to use 'inputs', or save it alone."

REFUSED = {
    "one picture": ("x.npy", save(ONES[0]), f"FILE holds 3x4x4; {AXES} Add the first axis: array[None]."),
    "a matrix": ("x.npy", save(ONES[0, 0]), f"FILE holds 4x4; {AXES} Reshape it."),
    "a number": ("x.npy", save(np.float32(1)), f"FILE holds a single number; {AXES} Reshape it."),
    "bytes": ("x.npy", save(ONES.astype(np.uint8)), f"FILE holds uint8{CONVERT}"),
    "integers in a tensor": (
        "x.pt",
        lambda p: torch.save(torch.ones(2, 3, 4, 4).long(), p),
        f"FILE holds int64{CONVERT}",
    ),
    "complex": ("x.npy", save(ONES.astype(np.complex64)), f"FILE holds complex64{CONVERT}"),
    "text": ("x.npy", save(np.full((1, 3, 1, 1), "a")), f"FILE holds str32{CONVERT}"),
    "no sample": ("x.npy", save(ONES[:0]), "FILE holds 0x3x4x4, which is no sample at all. Save at least one."),
    "no height": ("x.npy", save(ONES[:, :, :0]), "FILE holds 2x3x0x4, which is no sample at all. Save at least one."),
    "grey": (
        "x.npy",
        save(ONES[:, :1]),
        "FILE holds 2x1x4x4: its second axis, the channels, is 1 long where the network takes 3.\n"
        "Type --shape 1,4,4, or save an array with 3 channels.",
    ),
    "channels last": (
        "x.npy",
        save(ONES.transpose(0, 2, 3, 1)),
        "FILE holds 2x4x4x3: its second axis, the channels, is 4 long where the network takes 3.\n"
        "If the channels come last, save array.transpose(0, 3, 1, 2).",
    ),
    "two arrays": (
        "x.npz",
        lambda p: np.savez(p, images=ONES, labels=ONES),
        f"FILE holds 2 arrays, none of them named 'inputs': images, labels.{NAME_ONE}",
    ),
    "no array": ("x.npz", lambda p: np.savez(p), "FILE holds no array. Save one in it, under the name 'inputs'."),
    "a checkpoint": (
        "x.pt",
        lambda p: torch.save({f"w{i}": torch.ones(1) for i in range(8)}, p),
        f"FILE holds 8 arrays, none of them named 'inputs': w0, w1, w2, w3, w4, w5 and 2 more.{NAME_ONE}",
    ),
    "two safetensors": (
        "x.safetensors",
        lambda p: save_file({"a": torch.ones(1), "b": torch.ones(1)}, p),
        f"FILE holds 2 arrays, none of them named 'inputs': a, b.{NAME_ONE}",
    ),
    "a list": (
        "x.pt",
        lambda p: torch.save([torch.ones(1)], p),
        "FILE holds a list; a dense tensor is needed. Save it alone: torch.save(tensor, FILE).",
    ),
    "inputs that are no tensor": (
        "x.pt",
        lambda p: torch.save({"inputs": [1.0]}, p),
        "FILE holds no array. Save one in it, under the name 'inputs'.",
    ),
    "sparse": (
        "x.pt",
        lambda p: torch.save(torch.ones(2, 3, 4, 4).to_sparse(), p),
        "FILE holds a sparse tensor or one without data; a dense tensor is needed. "
        "Save it alone: torch.save(tensor, FILE).",
    ),
    "an empty npy": (
        "x.npy",
        lambda p: p.write_bytes(b""),
        f"FILE isn't a readable .npy file (it is empty).\nSave it anew with np.save(FILE, array){PICKLED}",
    ),
    "an empty pt": (
        "x.pt",
        lambda p: p.write_bytes(b""),
        "FILE isn't a readable file of plain tensors (it is empty).\n"
        f"Save it anew with torch.save(tensor, FILE){PICKLED}",
    ),
}


@pytest.mark.parametrize(("name", "write", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_batch_of_images_is_refused(name, write, text, tmp_path):
    path = tmp_path / name
    write(path)
    expected = re.escape(text.replace("FILE", str(path), 1))
    with pytest.raises(UsageError, match=f"^{expected}$"):
        load(path)


NON_FINITE = {
    "one nan": ({(1, 2, 3, 0): np.nan}, 4, 4, 1, 240, [1, 2, 3, 0]),
    "several in several batches": ({(2, 0, 1, 1): np.inf, (3, 0, 0, 0): -np.inf}, 2, 2, 2, 192, [2, 0, 1, 1]),
    "beyond float32": ({(0, 1, 0, 3): 1e300}, 4, 1, 1, 192, [0, 1, 0, 3]),
}


@pytest.mark.parametrize(
    ("wrong", "batch_size", "batches", "bad", "total", "first"), NON_FINITE.values(), ids=NON_FINITE.keys()
)
@pytest.mark.parametrize("suffix", [".npy", ".pt"])
def test_values_that_are_not_finite_are_refused(wrong, batch_size, batches, bad, total, first, suffix, tmp_path):
    array = np.ones((5, 3, 4, 4))
    for place, value in wrong.items():
        array[place] = value
    path = tmp_path / f"x{suffix}"
    np.save(path, array) if suffix == ".npy" else torch.save(torch.from_numpy(array), path)
    text = f"{bad} of the {total} values to be used are NaN or infinite in float32, the first at {first}.\nReplace them"
    with pytest.raises(UsageError, match=re.escape(f"{path}: {text}")):
        load(path, batch_size=batch_size, batches=batches)


def test_samples_that_are_not_used_may_hold_anything(tmp_path):
    array = ONES.copy()
    array[1] = np.nan
    np.save(tmp_path / "x.npy", array)
    assert next(load(tmp_path / "x.npy", batch_size=1).batches()).eq(1).all()


class Creates:
    """Unpickling this creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def object_array(path: Path, payload: Creates) -> None:
    np.save(path, np.array([payload], dtype=object), allow_pickle=True)


def object_archive(path: Path, payload: Creates) -> None:
    np.savez(path, np.array([payload], dtype=object), allow_pickle=True)


def old_archive(path: Path, payload: Creates) -> None:
    # The format of torch.save before version 1.6: a magic number, a version, a machine, then the object.
    with path.open("wb") as stream:
        for part in (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {}, payload, []):
            pickle.dump(part, stream)


MALICIOUS = {
    "a bare pickle as npy": ("x.npy", lambda path, payload: path.write_bytes(pickle.dumps(payload))),
    "a bare pickle as pt": ("x.pt", lambda path, payload: path.write_bytes(pickle.dumps(payload))),
    "an npy of objects": ("x.npy", object_array),
    "an npz of objects": ("x.npz", object_archive),
    "torch.save": ("x.pt", lambda path, payload: torch.save({"inputs": payload}, path)),
    "torch.save before version 1.6": ("x.pth", old_archive),
}


@pytest.mark.parametrize(("name", "write"), MALICIOUS.values(), ids=MALICIOUS.keys())
def test_no_pickle_is_run(name, write, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / name
    write(path, Creates(marker))
    pattern = rf"^{re.escape(str(path))} isn't a readable [^\n]*\.\nSave it anew with [^\n]*{re.escape(PICKLED)}$"
    with pytest.raises(UsageError, match=pattern) as caught:
        load(path)
    assert not marker.exists()
    assert "eights" not in str(caught.value)  # torch's advice to switch off weights_only


def test_the_malicious_pickle_would_have_worked(tmp_path):
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(Creates(marker)))
    assert marker.exists()


def first_half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def wrong_member(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inputs.npy", "these are no numbers")


DAMAGED = {
    "half an npy": ("x.npy", lambda path: (np.save(path, ONES), first_half(path))),
    "half an npz": ("x.npz", lambda path: (np.savez(path, ONES), first_half(path))),
    "half a pt": ("x.pt", lambda path: (torch.save(torch.ones(9, 9), path), first_half(path))),
    "not safetensors": ("x.safetensors", lambda path: path.write_bytes(b"no")),
    "half safetensors": ("x.safetensors", lambda path: (save_file({"x": torch.ones(9, 9)}, path), first_half(path))),
    "an npz of text": ("x.npz", wrong_member),
    "a zip as pt": ("x.pt", wrong_member),
}


@pytest.mark.parametrize(("name", "write"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_refused(name, write, tmp_path):
    path = tmp_path / name
    write(path)
    with pytest.raises(UsageError, match=rf"^{re.escape(str(path))} isn't a readable .* \(.+\)\.\nSave it anew with "):
        load(path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.npy"
    np.save(path, ONES)

    def refuse(*_: object, **__: object):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(np.lib.format, "open_memmap", refuse)
    with pytest.raises(UsageError, match=r"^can't read .*x\.npy: Permission denied\.\nGive another file as --input\.$"):
        load(path)


BIG = (32, 3, 512, 512)  # 96 MiB, of which a batch of two is 6 MiB
WRITE_BIG = {
    ".npy": lambda path: np.save(path, np.zeros(BIG, np.float32)),
    ".pt": lambda path: torch.save(torch.zeros(BIG), path),
    ".safetensors": lambda path: save_file({"x": torch.zeros(BIG)}, path),
}


@pytest.mark.parametrize("suffix", WRITE_BIG)
def test_only_what_is_used_is_read_into_memory(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    WRITE_BIG[suffix](path)
    gc.collect()
    before = psutil.Process().memory_info().rss
    inputs = load(path, batch_size=2)
    assert [tuple(batch.shape) for batch in inputs.batches()] == [(2, 3, 512, 512)]
    grown = psutil.Process().memory_info().rss - before
    assert grown < 48 * 2**20, f"{grown} bytes for a batch of 6 MiB"
    assert inputs.description["samples_available"] == 32

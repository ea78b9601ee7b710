"""Arrays in files, opened without running anything that is in them.

``.npy``, ``.npz`` and ``.safetensors`` hold nothing but numbers; of a ``.pt`` file only tensors and plain containers
are unpacked (``weights_only``). A pickle is never run.
"""

from __future__ import annotations

import pickle
import struct
import tokenize
import warnings
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from sppkit.errors import UsageError
from sppkit.machine.error_text import short_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

# The name that picks one array of a file that holds several.
KEY = "inputs"

# As many names of a file's arrays as fit on one line of an error message.
KEYS_SHOWN = 6

# What the readers raise on damaged or foreign files.
READING_ERRORS = (
    OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, SyntaxError, RuntimeError,
    MemoryError, AssertionError, pickle.UnpicklingError, struct.error, tokenize.TokenError, zipfile.BadZipFile,
    zlib.error, SafetensorError,
)  # fmt: skip


class NotInFileError(UsageError):
    """A file that holds other arrays than the wanted one."""


class Wanted(NamedTuple):
    """Which array of a file is meant.

    Attributes:
        names: Its possible names, the likeliest first.
        alone: Whether the only array of a file is meant, whatever its name.
    """

    names: tuple[str, ...] = (KEY,)
    alone: bool = True


INPUTS = Wanted()


@dataclass(frozen=True)
class Stored:
    """An array in a file, read part by part where the format allows it.

    Attributes:
        shape: All its dimensions.
        dtype: Its type's name, for instance ``"float16"``.
        read: From a slice of the first axis to a float32 tensor with memory of its own.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[slice], torch.Tensor]


def open_npy(path: Path, wanted: Wanted = INPUTS) -> Stored:  # noqa: ARG001 - it holds one array, which has no name
    """Open a ``.npy`` file as a memory map, which can't hold pickled objects."""
    with _reading(path, "a readable .npy file", "np.save(FILE, array)"):
        return _stored_array(np.lib.format.open_memmap(path, mode="r"))


def open_npz(path: Path, wanted: Wanted = INPUTS) -> Stored:
    """Open a ``.npz`` file that holds one array, or several of which one is named ``inputs``; it is read as a whole."""
    # np.load would leave a damaged file open.
    with _reading(path, "a readable .npz file", "np.savez(FILE, inputs=array)"), path.open("rb") as stream:
        archive = np.lib.npyio.NpzFile(stream, allow_pickle=False)
        return _stored_array(archive[choose(path, archive.files, wanted)])


def open_torch(path: Path, wanted: Wanted = INPUTS) -> Stored:
    """Open a file of ``torch.save`` that holds one tensor, or a dict of which one is a tensor or named ``inputs``."""
    with _reading(path, "a readable file of plain tensors", "torch.save(tensor, FILE)"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about other kinds of files, which are refused here
        # The format that torch.save has written since version 1.6 is a zip file, and only that can be memory-mapped.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    if isinstance(content, dict):
        tensors = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
        content = tensors[choose(path, tensors, wanted)]
    return _stored_tensor(path, content)


def open_safetensors(path: Path, wanted: Wanted = INPUTS) -> Stored:
    """Open a ``.safetensors`` file that holds one tensor, or several of which one is named ``inputs``."""
    with (
        _reading(path, "a readable safetensors file", "safetensors.torch.save_file({'inputs': tensor}, FILE)"),
        safe_open(path, framework="pt", device="cpu") as content,
    ):
        return _stored_tensor(path, content.get_tensor(choose(path, content.keys(), wanted)))


OPENERS: Mapping[str, Callable[..., Stored]] = {
    ".npy": open_npy,
    ".npz": open_npz,
    ".pt": open_torch,
    ".pth": open_torch,
    ".safetensors": open_safetensors,
}


def choose(path: Path, names: Iterable[str], wanted: Wanted = INPUTS) -> str:
    """Pick the array to use: one of the wanted names, or the only one."""
    names = list(names)
    for name in wanted.names:
        if name in names:
            return name
    if len(names) == 1 and wanted.alone:
        return names[0]
    meant = " or ".join(map(repr, wanted.names))
    if not names:
        raise NotInFileError(f"{path} holds no array. Save one in it, under the name {meant}.")
    more = f" and {len(names) - KEYS_SHOWN} more" if len(names) > KEYS_SHOWN else ""
    listed = ", ".join(names[:KEYS_SHOWN]) + more
    several = f"{len(names)} arrays, none of them" if len(names) > 1 else "one array, not"
    raise NotInFileError(
        f"{path} holds {several} named {meant}: {listed}.\nName the one to use {meant}, or save it alone."
    )


def _stored_array(array: object) -> Stored:
    if not isinstance(array, np.ndarray):
        raise TypeError("a member of the archive is no array")

    def read(part: slice) -> torch.Tensor:
        # A float64 beyond float32 becomes an infinity, which is counted and refused later.
        with np.errstate(over="ignore"):
            return torch.from_numpy(array[part].astype(np.float32, order="C"))

    return Stored(array.shape, array.dtype.name, read)


def _stored_tensor(path: Path, tensor: object) -> Stored:
    found = f"a {type(tensor).__name__}"
    if isinstance(tensor, torch.Tensor):
        if tensor.layout == torch.strided and tensor.device.type == "cpu":
            plain = tensor.detach()
            shape, dtype = tuple(plain.shape), str(plain.dtype).removeprefix("torch.")
            return Stored(shape, dtype, lambda part: plain[part].to(torch.float32, copy=True).contiguous())
        found = "a sparse tensor or one without data"
    raise UsageError(f"{path} holds {found}; a dense tensor is needed. Save it alone: torch.save(tensor, FILE).")


@contextmanager
def _reading(path: Path, what: str, how: str) -> Iterator[None]:
    try:
        if not path.stat().st_size:
            raise EOFError("it is empty")
        yield
    except UsageError:
        raise
    except READING_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:
            raise UsageError(f"can't read {path}: {error.strerror}.\nGive another file as --input.") from error
        raise UsageError(
            f"{path} isn't {what}{_reason(error)}.\n"
            f"Save it anew with {how}; pickled objects are never opened, because that can run any code."
        ) from error


def _reason(error: BaseException) -> str:
    # torch's text on a refused pickle advises to switch the safe mode off.
    if isinstance(error, pickle.UnpicklingError):
        return ""
    reason = short_reason(error)
    return f" ({reason})" if reason else ""

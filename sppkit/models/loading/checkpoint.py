"""Weights from a file, read without running anything that is in it."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from torch import Tensor

from sppkit.errors import UsageError
from sppkit.machine.error_text import short_reason

if TYPE_CHECKING:
    from collections.abc import Mapping

# Where training programs put the weights among the other things that they save, the likeliest first.
_CONTAINERS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")
# No training program nests deeper; a file may be made to have no end.
_DEEPEST = 8
# As many keys as fit on one line of an error message.
_SHOWN = 6


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file.

    Attributes:
        path: The file.
        sha256: Of its content, as hexadecimal digits.
        tensors: By their names in the file.
        container: Key under which they were found, ``/`` between levels; empty where they lie at the top.
    """

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]
    container: str

    def describe(self) -> dict[str, str]:
        """Return what a record says of the file."""
        return {"file": self.path.name, "sha256": self.sha256}


def read_checkpoint(file: str) -> Checkpoint:
    """Read a file of weights."""
    path = Path(file)
    if not path.is_file():
        what = "it is a folder; give the file in it" if path.is_dir() else "there is no such file"
        raise UsageError(f"can't read --checkpoint {file}: {what}.")
    content, digest = _read(path)
    tensors, container = _find_tensors(content, path)
    return Checkpoint(path, digest, tensors, container)


def _read(path: Path) -> tuple[object, str]:
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return _load(path), digest
    except Exception as error:  # whatever the readers raise on damaged or foreign files
        raise _unreadable(path, error) from error


def _load(path: Path) -> object:
    if path.suffix.lower() == ".safetensors":
        return safetensors.torch.load_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about other kinds of files
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _unreadable(path: Path, error: Exception) -> UsageError:
    if isinstance(error, OSError) and error.filename:  # others come from reading what is in it
        return UsageError(f"can't read --checkpoint {path}: {error.strerror}.")
    # torch's own text on a refused pickle advises to switch the safe mode off.
    # What an unpickler says of a file that is none, as "pop from empty list", helps nobody.
    fact = short_reason(error) if isinstance(error, (RuntimeError, safetensors.SafetensorError)) else ""
    if "weights_only" in str(error):
        fact = "it holds objects other than tensors"
    return UsageError(
        f"--checkpoint {path} can't be read safely{f' ({fact})' if fact else ''}.\n"
        "Save the weights alone: torch.save(model.state_dict(), FILE). Pickled objects are never opened, because that "
        "can run any code."
    )


def _find_tensors(content: object, path: Path) -> tuple[dict[str, Tensor], str]:
    container: list[str] = []
    while isinstance(content, dict) and len(container) <= _DEEPEST:
        tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        inner = next((key for key in _CONTAINERS if isinstance(content.get(key), dict)), None)
        if inner is None or (tensors and len(tensors) > len(content) / 2):
            if tensors:
                return tensors, "/".join(container)
            break
        container.append(inner)
        content = content[inner]
    keys = ", ".join(map(str, list(content)[:_SHOWN])) if isinstance(content, dict) else ""
    found = f"a dict with the keys {keys}" if keys else f"a {type(content).__name__}"
    raise UsageError(
        f"--checkpoint {path} holds no weights ({found}).\nSave them: torch.save(model.state_dict(), FILE)"
    )

"""The file of a generative transformation: networks, optimizers and losses as safetensors, options in its metadata.

Nothing in it can run code. It is whole at every moment, and the same file is applied and gone on with.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sppkit.config import parsers
from sppkit.errors import UsageError
from sppkit.inputs.shifts.generative.networks import Networks
from sppkit.inputs.shifts.generative.sizes import Settings, Sizes
from sppkit.inputs.shifts.generative.training import LOSSES
from sppkit.machine.error_text import short_reason
from sppkit.machine.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

_KEY, _VERSION = "sppkit-git", 1
# The tensors of the networks that are applied.
_KEPT = "networks.0."
# What a file may say of its training; sizes beyond it are damage.
_count = parsers.whole_number(0, 10**9)
_size = parsers.whole_number(1, 10**6)
_number = parsers.real_number(0, 1e30)


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says of its training.

    Attributes:
        sizes: Of the networks.
        settings: Of the training.
        steps: How many are done.
        pictures: SHA-256 of the pictures and labels it is trained on, as hexadecimal digits.
        classes: How many pictures each class has, in the order of the labels.
    """

    sizes: Sizes
    settings: Settings
    steps: int
    pictures: str
    classes: tuple[int, ...]

    def described(self) -> dict[str, Any]:
        """Return everything by name, JSON-ready."""
        return {
            "version": _VERSION,
            "sizes": self.sizes.described(),
            "settings": self.settings.described(),
            "steps": self.steps,
            "pictures": self.pictures,
            "classes": list(self.classes),
        }


def write(path: Path, header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Write the state of a training; an interrupt leaves the old file or the new one."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(plain, temporary, {_KEY: json.dumps(header.described())})


def read_header(path: Path) -> Header:
    """Read what a file says of its training."""
    with _opened(path) as content:
        return _header(path, content)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read all that is needed to go on with a training."""
    with _opened(path) as content:
        return {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - it is no dict


def read_losses(path: Path) -> NDArray[np.float32]:
    """Read the losses, one row per step."""
    with _opened(path) as content:
        losses: NDArray[np.float32] = content.get_tensor(LOSSES).numpy()
    return losses


def read_networks(path: Path) -> tuple[Header, Networks]:
    """Read the networks that are applied."""
    with _opened(path) as content:
        header = _header(path, content)
        names = [name for name in content.keys() if name.startswith(_KEPT)]  # noqa: SIM118
        found = {name.removeprefix(_KEPT): content.get_tensor(name) for name in names}
    with torch.device("meta"):  # what the metadata says takes no memory before the tensors are known to be so large
        networks = Networks(header.sizes)
    check_shapes(path, {name: tensor.shape for name, tensor in networks.state_dict().items()}, found)
    networks.load_state_dict(found, assign=True)
    return header, networks.requires_grad_(False).eval()


def check_shapes(path: Path, expected: Mapping[str, torch.Size], found: Mapping[str, Tensor]) -> None:
    """Refuse a file whose tensors are not those that its metadata describes."""
    wrong = [name for name, shape in expected.items() if name not in found or found[name].shape != shape]
    wrong += [name for name, tensor in found.items() if name not in expected or tensor.dtype != torch.float32]
    if wrong:
        raise UsageError(
            f"{path} is damaged: {len(wrong)} of its tensors are not those that its metadata describes, "
            f"the first is {wrong[0]:.60}.\nTrain it anew: sppkit git train."
        )


def _header(path: Path, content: Any) -> Header:
    metadata = content.metadata() or {}
    if _KEY not in metadata:
        raise UsageError(
            f"{path} is a safetensors file, but none of sppkit git train.\n"
            "Give one that it has written; a network's weights are given as --checkpoint."
        )
    try:
        said = json.loads(metadata[_KEY])
        version = said["version"]
        if version == _VERSION:
            return _parsed(said)
    except (ValueError, TypeError, LookupError, RecursionError) as error:  # UsageError is a ValueError
        raise UsageError(
            f"{path} is damaged: its metadata can't be read ({short_reason(error)}).\nTrain it anew: sppkit git train."
        ) from None
    raise UsageError(
        f"{path} is written by another version of sppkit (format {version!r:.20}, not {_VERSION}); train it anew."
    )


def _parsed(said: Mapping[str, Any]) -> Header:
    sizes = {name: _size(name, value) for name, value in said["sizes"].items()}
    settings = dict(said["settings"])
    return Header(
        sizes=Sizes(**sizes),
        settings=Settings(
            batch_size=_size("batch_size", settings.pop("batch_size")),
            learning_rate=_number("learning_rate", settings.pop("learning_rate")),
            weight_decay=_number("weight_decay", settings.pop("weight_decay")),
            flip=parsers.true_or_false("flip", settings.pop("flip")),
            seed=parsers.parse_seed("seed", settings.pop("seed")),
            **settings,
        ),
        steps=_count("steps", said["steps"]),
        pictures=parsers.text("pictures", said["pictures"]),
        classes=tuple(_count("classes", item) for item in said["classes"]),
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "there is no such file"
        raise UsageError(f"can't read the generator {path}: {what}.\nMake one: sppkit git train --input PICTURES.")
    try:
        with safe_open(path, framework="pt", device="cpu") as content:
            yield content
    except (SafetensorError, OSError) as error:
        raise UsageError(
            f"can't read the generator {path}: it is cut off, or no safetensors file ({short_reason(error)}).\n"
            "Make one: sppkit git train --input PICTURES."
        ) from error

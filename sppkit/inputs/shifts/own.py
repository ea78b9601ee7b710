"""A shift of the user's own: a function of pictures and generators in a Python file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sppkit import registry
from sppkit.errors import UsageError
from sppkit.machine.user_code import callables, failed, import_file, importable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from sppkit.inputs.shifts.shift import Shift


def load_own(file: Path, name: str) -> Shift:
    """Return a function of a file, which is run, as a shift whose result is checked."""
    folder = file.parent.resolve()
    with importable(folder, alone=True):
        module = import_file(file, "--shift")
    registry.check_name(f"function in {file}:", name, callables(module))
    function: Callable[..., Any] = getattr(module, name)

    def shift(pictures: Tensor, generators: Sequence[np.random.Generator], /) -> Tensor:
        try:
            with importable(folder, alone=False):
                made = function(pictures.clone(), generators)
        except (Exception, SystemExit) as error:  # whatever a stranger's code raises
            raise failed(f"{file}:{name}", "failed", error) from error
        return _checked(made, pictures, f"{file}:{name}")

    return shift


def _checked(made: object, pictures: Tensor, name: str) -> Tensor:
    wanted = f"a float tensor of shape {tuple(pictures.shape)}, as it was given"
    if not isinstance(made, torch.Tensor):
        raise UsageError(f"{name} returned a {type(made).__name__}; it must return {wanted}.")
    if made.shape != pictures.shape or not made.is_floating_point():
        raise UsageError(f"{name} returned {made.dtype} of shape {tuple(made.shape)}; it must return {wanted}.")
    if not bool(torch.isfinite(made).all()):
        raise UsageError(f"{name} returned values that are not finite.")
    return made.to(pictures)

"""Batches from a function of the user's: whatever its network takes, in any form that ``measure`` takes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sppkit.errors import UsageError
from sppkit.inputs.batches import Inputs
from sppkit.inputs.call import Call
from sppkit.joins.operands import iter_tensors
from sppkit.machine.user_code import failed
from sppkit.measuring.forward.random_state import seeded
from sppkit.models.loading.python import own_function
from sppkit.models.loading.reference import Reference
from sppkit.streams import STREAM_NAME, keyed_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sppkit.config.options import RunConfig

# path/file.py:function, or package.module:function.
_FUNCTION = re.compile(r"(.+\.py|[A-Za-z_][\w.]*):[A-Za-z_][\w.]*")
_COLLECT = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
_LARGEST_SEED = 2**31


def is_function(text: str) -> bool:
    """Return whether ``--input`` names a function, and no file that is there."""
    return _FUNCTION.fullmatch(text) is not None and not Path(text).exists()


def load_function(config: RunConfig, seed: int) -> Inputs:
    """Describe the batches that a function makes.

    It is called once per batch, with those of ``seed``, ``index`` (of the batch) and ``batch_size`` that it has as
    arguments, under a random state that is the batch's own.

    Raises:
        UsageError: If it can't be found or called, or makes no batch.
    """
    place, _, name = config.input.rpartition(":")
    function = own_function(Reference(config.input, None, place, name), "--input")
    draw = partial(_draw, function, config, seed)

    def batches() -> Iterator[Any]:
        return (draw(index) for index in range(config.batches))

    shape = next((tuple(tensor.shape) for tensor in _tensors(draw(0)) if tensor.ndim > 0), ())
    description = {
        "kind": "function",
        "source": config.input,
        "batch_shape": list(shape),
        "batches": config.batches,
        "samples_used": config.batches * (shape[0] if shape else 1),
        "samples_available": None,
        "normalized": "as the function gives them",
        "stream": STREAM_NAME,
        "seed": seed,
    }
    return Inputs(description, batches, shape, draw)


def _draw(function: Callable[..., object], config: RunConfig, seed: int, index: int) -> Any:
    given = {"seed": seed, "index": index, "batch_size": config.batch_size}
    asked = _asked_of(function, given, config.input)
    with seeded(int(keyed_generator(seed, f"input/{index}").integers(_LARGEST_SEED))):
        try:
            batch = function(**asked)
        except (Exception, SystemExit) as error:  # whatever a stranger's code raises
            raise failed(f"--input {config.input}", "failed", error) from error
    if not isinstance(batch, (Tensor, Mapping, tuple, Call)) or not _tensors(batch):
        raise UsageError(
            f"--input {config.input} returned a value of type {type(batch).__name__}; it must return one "
            "batch: a tensor, a mapping (passed as keywords), a tuple whose first element is passed, or an sppkit.Call."
        )
    return batch


def _asked_of(function: Callable[..., object], given: Mapping[str, int], name: str) -> dict[str, int]:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # compiled code may have none
        return {}
    needed = [key for key, item in parameters.items() if item.default is item.empty and item.kind not in _COLLECT]
    unknown = [key for key in needed if key not in given]
    if unknown:
        raise UsageError(
            f"--input {name} asks for {', '.join(unknown)}; by these names it can have {', '.join(given)}."
        )
    return {key: value for key, value in given.items() if key in parameters}


def _tensors(batch: object) -> list[Tensor]:
    return list(iter_tensors((batch.arguments, dict(batch.keywords)) if isinstance(batch, Call) else batch))

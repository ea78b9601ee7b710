"""Where the table of a step goes: a file, a logger, a function."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sppkit.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

_LEGAL = "csv:PATH, parquet:PATH, tensorboard:DIR, wandb:, or a function of a step's table"
_HOME = "sppkit.measuring.training"
_SINKS = {
    "csv": f"{_HOME}.csv_sink:CsvSink",
    "parquet": f"{_HOME}.parquet_sink:ParquetSink",
    "tensorboard": f"{_HOME}.loggers:TensorBoardSink",
    "wandb": f"{_HOME}.loggers:WandbSink",
}


class Sink(Protocol):
    """Takes the table of one step after the other.

    Attributes:
        name: What a message calls it.
    """

    name: str

    def open(self, step: int) -> None:
        """Prepare to write; what was written of this step and of later ones is to be written again.

        Args:
            step: The step that comes first; 0 for a new training, which overwrites nothing.

        Raises:
            UsageError: If it can't be written to.
        """
        ...

    def write(self, table: pd.DataFrame) -> None:
        """Write the table of a step.

        Args:
            table: Its rows, ``step`` first.
        """
        ...

    def flush(self) -> None:
        """Bring everything to its place now."""
        ...

    def close(self) -> None:
        """Flush, and give back what is held."""
        ...


class Function:
    """A function of the user's own; what it raises comes through."""

    def __init__(self, function: Callable[[pd.DataFrame], object]) -> None:
        self._function, self.name = function, "a function"

    def open(self, step: int) -> None:
        """Do nothing."""

    def write(self, table: pd.DataFrame) -> None:
        """Hand it the table of a step."""
        self._function(table)

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def make_sinks(to: object) -> list[Sink]:
    """Return the sinks that were asked for."""
    several = to if isinstance(to, Sequence) and not isinstance(to, str) else [to]
    return [_make_sink(item) for item in several]


def there_already(path: object) -> str:
    """Say that a file is there, and what to do about it."""
    return (
        f"{path} is there already.\nGo on with the training that it holds (monitor.load_state_dict, before the context "
        "is entered), choose another path, or remove it."
    )


def load_library(name: str, sink: str, extra: str) -> Any:
    """Import what a sink needs, or say how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(
            f"{sink} needs {name.split('.')[0] if extra != 'tensorboard' else extra}, which is not installed here.\n"
            f"Install it: pip install 'sppkit[{extra}]'"
        ) from None


def _make_sink(item: Any) -> Sink:
    if callable(item):
        return Function(item)
    kind, colon, place = item.partition(":") if isinstance(item, str) else ("", "", "")
    if not colon or kind not in _SINKS or (not place and kind != "wandb"):
        raise UsageError(f"to must be {_LEGAL}, or several of them, not {item!r:.60}.")
    module, _, name = _SINKS[kind].partition(":")
    sink: Sink = getattr(importlib.import_module(module), name)(place)
    return sink

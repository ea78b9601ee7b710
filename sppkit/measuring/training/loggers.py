"""The loggers that people have: TensorBoard, Weights & Biases."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sppkit import registry
from sppkit.measuring.training.sinks import load_library
from sppkit.record.table import STEP

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

_PROJECT = "sppkit"


class TensorBoardSink:
    """One scalar per statistic and block, ``<statistic>/<block>``, at its training step."""

    def __init__(self, folder: str) -> None:
        self._library = load_library("torch.utils.tensorboard", "tensorboard:DIR", "tensorboard")
        self._folder = self.name = folder
        self._writer: Any = None

    def open(self, step: int) -> None:
        """Open a file of events; TensorBoard hides what earlier files say of this step and later ones."""
        self._writer = self._library.SummaryWriter(self._folder, purge_step=step or None)

    def write(self, table: pd.DataFrame) -> None:
        """Add the scalars of a step."""
        for step, name, value in _iter_scalars(table):
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Bring them to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Close the file of events."""
        if self._writer is not None:
            self._writer.close()


class WandbSink:
    """One metric per statistic and block, ``spp/<statistic>/<block>``, over ``spp/step``, in the run that is open.

    They go out with what the user logs next, so that the count of the user's own steps is not moved.
    """

    def __init__(self, project: str) -> None:
        self._library = load_library("wandb", "wandb:", "wandb")
        self._project, self.name = project or _PROJECT, "Weights & Biases"
        self._run: Any = None
        self._is_own = False

    def open(self, step: int) -> None:  # noqa: ARG002 - a run goes on by its own id
        """Take the run that is open, or start one."""
        self._is_own = self._library.run is None
        self._run = self._library.init(project=self._project) if self._is_own else self._library.run
        self._run.define_metric("spp/step")
        self._run.define_metric("spp/*", step_metric="spp/step")

    def write(self, table: pd.DataFrame) -> None:
        """Log the metrics of a step."""
        metrics = {f"spp/{name}": value for _, name, value in _iter_scalars(table)}
        self._run.log({**metrics, "spp/step": int(table[STEP].iloc[0])}, commit=self._is_own)

    def flush(self) -> None:
        """Do nothing: the library sends in the background."""

    def close(self) -> None:
        """Finish a run that was started here."""
        if self._run is not None and self._is_own:
            self._run.finish()


def _iter_scalars(table: pd.DataFrame) -> Iterator[tuple[int, str, float]]:
    for statistic in [*(name for name in registry.STATISTICS if name in table), "nonfinite"]:
        for step, name, value in zip(table[STEP], table["name"], table[statistic], strict=True):
            if not math.isnan(value):
                yield int(step), f"{statistic}/{name}", float(value)

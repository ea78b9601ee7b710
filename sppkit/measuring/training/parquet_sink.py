"""The table of a training as a Parquet file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sppkit.errors import UsageError
from sppkit.machine.files import make_folder, replacing
from sppkit.measuring.training.sinks import load_library, there_already
from sppkit.record.table import STEP

_HINT = "Choose another path in to=('parquet:PATH',)."
# Such a file can't grow: it is written anew when what waits is this share of it, so that a training of n steps writes
# about 1 / share times as many rows as it has, and a kill loses at most that share.
_SHARE = 0.1


class ParquetSink:
    """Replace the whole file by one with more rows, in one step, so that a kill leaves the old one or the new one."""

    def __init__(self, path: str) -> None:
        self.path, self.name = Path(path), path
        load_library("pyarrow", "parquet:PATH", "parquet")
        self._written: list[pd.DataFrame] = []
        self._waiting: list[pd.DataFrame] = []

    def open(self, step: int) -> None:
        """Read what is to be kept of the file."""
        make_folder(self.path.parent, _HINT)
        if self._written or not self.path.exists():
            return
        if step == 0:
            raise UsageError(there_already(self.path))
        try:
            found = pd.read_parquet(self.path)
            self._written = [found[found[STEP] < step]]
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"{self.path} is not the Parquet file of a training. {_HINT}") from error

    def write(self, table: pd.DataFrame) -> None:
        """Keep the rows of a step, and write when there are enough."""
        self._waiting.append(table)
        if sum(map(len, self._waiting)) >= _SHARE * sum(map(len, self._written)):
            self.flush()

    def flush(self) -> None:
        """Write the whole file anew."""
        if not self._waiting:
            return
        everything = pd.concat([*self._written, *self._waiting], ignore_index=True)
        with replacing(self.path, _HINT) as temporary:
            everything.to_parquet(temporary, index=False)
        self._written, self._waiting = [everything], []

    def close(self) -> None:
        """Write what waits."""
        self.flush()

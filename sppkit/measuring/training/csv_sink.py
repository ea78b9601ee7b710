"""The table of a training as a CSV file that grows, step by step."""

from __future__ import annotations

import csv
import io
import os
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from sppkit.errors import UsageError
from sppkit.machine.files import make_folder
from sppkit.measuring.training.sinks import there_already
from sppkit.record.table import STEP, iter_cells

if TYPE_CHECKING:
    import pandas as pd

_HINT = "Choose another path in to=('csv:PATH',)."
_START = f"{STEP},".encode()


class CsvSink:
    """Append the rows of each step with one call of the system, so that a kill leaves whole rows.

    A row that was cut off all the same (a full disk, a kill between two pages of memory) has no line end: ``read_csv``
    leaves it out, and whoever goes on with the file cuts it off.
    """

    def __init__(self, path: str) -> None:
        self.path, self.name = Path(path), path
        self._descriptor: int | None = None
        self._header: list[str] | None = None

    def open(self, step: int) -> None:
        """Open the file, and cut off what is to be written again."""
        make_folder(self.path.parent, _HINT)
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            content = self.path.read_bytes()
        except OSError as error:
            raise UsageError(f"can't write {self.path}: {error.strerror}. {_HINT}") from error
        lines = content.splitlines(keepends=True)
        foreign = not (content.startswith(_START) or _START.startswith(content))  # of a header, some may be there
        if foreign or (step == 0 and len(lines) > 1):
            self.close()
            raise UsageError(f"{self.path} is no table of a training. {_HINT}" if foreign else there_already(self.path))
        kept = [line for _, line in takewhile(partial(_comes_before, step), enumerate(lines))]
        self._header = next(csv.reader([kept[0].decode()]), None) if kept else None
        os.ftruncate(self._descriptor, sum(map(len, kept)))

    def write(self, table: pd.DataFrame) -> None:
        """Append the rows of a step, and the header before the first."""
        columns = [str(column) for column in table.columns]
        if self._header is not None and columns != self._header:
            other = sorted({*columns} ^ {*self._header}) or ["their order"]
            raise UsageError(
                f"{self.path} has other columns than this training: {', '.join(other)}.\n"
                "Ask for the same statistics (stats=), or choose another path."
            )
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        if self._header is None:
            writer.writerow(columns)
            self._header = columns
        writer.writerows(iter_cells(table))
        remaining = memoryview(text.getvalue().encode())
        while remaining and self._descriptor is not None:
            remaining = remaining[os.write(self._descriptor, remaining) :]

    def flush(self) -> None:
        """Do nothing: every step is written at once."""

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _comes_before(step: int, numbered: tuple[int, bytes]) -> bool:
    index, line = numbered
    first = line.partition(b",")[0]
    return line.endswith(b"\n") and (index == 0 or (first.isdigit() and int(first) < step))

"""The folder of a sweep: one pair of files per cell, written by one process, and one table of them all."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sppkit.errors import UsageError
from sppkit.machine.files import all_or_nothing, make_folder, read_text, replacing
from sppkit.record.table import read_csv, write_csv
from sppkit.record.write import read_record, write_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from sppkit.comparison.sweep.grid import Cell, Grid

_MARK, _CELLS, _LOCK = "sweep.json", "cells", ".lock"
_CELL = "cell"
_SCHEMA = 1


class Store:
    """The files of one sweep.

    Attributes:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._cells = folder, folder / _CELLS

    @contextmanager
    def opened(self, grid: Grid) -> Iterator[None]:
        """Take the folder for this sweep alone, and clear what a kill left unfinished."""
        make_folder(self._cells)
        with _locked(self.folder):
            self._claim(grid)
            for left in (*self.folder.glob(".spp-*"), *self._cells.glob(".spp-*")):
                shutil.rmtree(left, ignore_errors=True)
            yield

    def has(self, cell: Cell) -> bool:
        """Return whether a cell was measured and written to its end."""
        try:
            # The record is put into its place last.
            return read_record(self._path(cell, "json")).get(_CELL) == cell.digest and self._path(cell, "csv").is_file()
        except UsageError:
            return False

    def write(self, cell: Cell, table: pd.DataFrame, record: Mapping[str, Any]) -> None:
        """Write a cell: both files or none that counts."""
        with all_or_nothing(self._cells) as staging:
            write_csv(table, staging / f"{cell.digest}.csv")
            write_record({**record, _CELL: cell.digest}, staging / f"{cell.digest}.json")

    def table_of(self, cell: Cell) -> pd.DataFrame:
        """Read the table of a cell."""
        return read_csv(self._path(cell, "csv"))

    def combine(self, grid: Grid) -> list[Path]:
        """Write one table of all cells that are there, in the order of the grid."""
        cells = [cell for cell in grid.cells if self.has(cell)]
        if not cells:
            return []
        texts = [self._rows(cell) for cell in cells]
        further = [name for name in dict.fromkeys(name for rows in texts for name in rows[0]) if name not in grid.axes]
        columns = [*grid.axes, _CELL, *further]
        path = self.folder / "sweep.csv"
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            for cell, rows in zip(cells, texts, strict=True):
                # The seed of a row is its own where a cell has several.
                writer.writerows({**cell.place, _CELL: cell.digest, **row} for row in rows)
        written = [path]
        if importlib.util.find_spec("pyarrow") is not None:
            written.append(self._write_parquet(cells, columns))
        return written

    def _write_parquet(self, cells: Sequence[Cell], columns: Sequence[str]) -> Path:
        import pandas as pd

        tables = []
        for cell in cells:
            table = self.table_of(cell)
            tables.append(table.assign(cell=cell.digest, **{k: v for k, v in cell.place.items() if k not in table}))
        path = self.folder / "sweep.parquet"
        with replacing(path) as temporary:
            pd.concat(tables, ignore_index=True)[list(columns)].to_parquet(temporary, index=False)
        return path

    def _rows(self, cell: Cell) -> list[dict[str, str]]:
        text = read_text(self._path(cell, "csv"), "cell", "Remove it to measure it again.")
        return list(csv.DictReader(text.splitlines()))

    def _path(self, cell: Cell, suffix: str) -> Path:
        return self._cells / f"{cell.digest}.{suffix}"

    def _claim(self, grid: Grid) -> None:
        mark = self.folder / _MARK
        if mark.exists():
            try:
                found = json.loads(read_text(mark, "mark of a sweep", "Choose another --out DIR."))
            except json.JSONDecodeError:
                found = None
            if not isinstance(found, dict) or found.get("sweep") != grid.identity:
                raise UsageError(
                    f"{self.folder} holds another sweep, with other axes or other shared options.\n"
                    "Choose another --out DIR, or remove the folder."
                )
            return
        if (self.folder / "sweep.csv").exists():
            raise UsageError(f"{self.folder} holds a sweep.csv that is of no sweep of ours. Choose another --out DIR.")
        with replacing(mark) as temporary:
            content = {"schema": _SCHEMA, "sweep": grid.identity, "axes": list(grid.axes)}
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # The system gives the lock back whatever ends the process.
    with (folder / _LOCK).open("a") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows: two sweeps may measure a cell twice there, and write the same
            pass
        except OSError:
            raise UsageError(
                f"another sweep is running in {folder}. Wait for it, or choose another --out DIR."
            ) from None
        yield

"""The table: one row per (seed, block), in execution order. After measuring, everything reads this and nothing else."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import pandas as pd

from sppkit import registry
from sppkit.errors import UsageError
from sppkit.machine.files import read_text, replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

# The first columns of every table, in this order; further statistics and predictions come after them.
COLUMNS = (
    "seed",
    "block",
    "stage",
    "name",
    "channels",
    "height",
    "width",
    "channel_squared_mean",
    "channel_variance",
    "residual_variance",
    "nonfinite",
)
STATISTIC_COLUMNS = ("channel_squared_mean", "channel_variance", "residual_variance")
# A table of several training steps begins with this column.
STEP = "step"
INTEGER_COLUMNS = ("seed", "block", "stage", "channels", "height", "width", "nonfinite")
# What a network returned: in a record, and among the attributes of a table that measure returned.
OUTPUT = "output"
# What parameters a network used that it does not know, kept in the same two places.
UNREGISTERED = "unregistered"
# How many forward passes had the row, where not all did.
PASSES = "passes"
# And those that only such a table has.
_WHOLE = (*INTEGER_COLUMNS, PASSES, STEP)
# What tells one row from another; a table without them says nothing.
_KEY_COLUMNS = ("seed", "block", "name")
# Integer columns are 64 bits wide.
_INTEGER_LIMIT = 2**63
_DIGITS = 20
_AGAIN = "Measure one: sppkit plot --arch nf-resnet --depth 50"


def build_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with the columns and types of ``COLUMNS``.

    Args:
        rows: One mapping per (seed, block). A key that is missing or None is an absent value; further keys become
            further columns, in the order of their first appearance.

    Returns:
        A DataFrame; integer columns are nullable, statistics are float64, absent values are NaN.
    """
    rows = list(rows)
    step = (STEP,) if any(STEP in row for row in rows) else ()
    further = dict.fromkeys(key for row in rows for key in row if key not in {*COLUMNS, STEP})
    columns = [*step, *COLUMNS, *further]
    data = {column: [row.get(column) for row in rows] for column in columns}
    return pd.DataFrame({column: pd.Series(data[column], dtype=_dtype(column)) for column in columns})


def write_csv(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table with nine significant digits; whole or not at all.

    An absent value is an empty cell. A measured value that is not finite is written ``nan`` or ``inf``: absent and
    not-a-number are both NaN in the DataFrame, told apart by ``nonfinite``.

    Args:
        table: As made by ``build_table``.
        path: The file to create or replace.
    """
    with replacing(Path(path)) as temporary:
        write_rows(temporary, table.columns, iter_cells(table))


def write_rows(path: Path, header: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    """Write texts as a CSV file.

    Args:
        path: The file to create or replace.
        header: Names of the columns.
        rows: The cells of each row.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        _write_texts(file, header, rows)


def csv_text(table: pd.DataFrame) -> str:
    """Return what ``write_csv`` writes, byte for byte.

    Args:
        table: As made by ``build_table``.

    Returns:
        The file's text.
    """
    file = io.StringIO(newline="")
    _write_texts(file, table.columns, iter_cells(table))
    return file.getvalue()


def iter_cells(table: pd.DataFrame) -> Iterator[list[str]]:
    """Yield the rows of a table as they are written.

    Args:
        table: As made by ``build_table``.

    Yields:
        The texts of one row's cells.
    """
    names = [*STATISTIC_COLUMNS, *further_statistics(table)]
    lost = {name: is_lost(table, name).to_numpy() for name in names if is_measured(table, name)}
    for index, row in enumerate(table.to_dict("records")):
        cells = ((column, row[column], column in lost and lost[column][index]) for column in table.columns)
        yield [_cell(*cell) for cell in cells]


def is_measured(table: pd.DataFrame, statistic: str) -> bool:
    """Return whether a statistic was asked for and has a place in the model.

    An absent value and a lost one are both NaN. A column without any value was lost only if every row has lost values;
    block 0 is no join, and has no residual variance to lose.

    Args:
        table: As made by ``build_table``, or one row per block of it.
        statistic: A name of ``sppkit list statistics`` that is a column of it.

    Returns:
        Whether the table holds it.
    """
    rows = table[has_site(table, statistic)]
    lost = rows["nonfinite"].fillna(0) > 0
    return bool(table[statistic].notna().any() or (len(rows) > 0 and lost.all()))


def has_site(table: pd.DataFrame, statistic: str) -> pd.Series[bool]:
    """Return in which rows a statistic that was asked for and has no value has lost it.

    Block 0 has no residual branch and, but in a model whose blocks were found, no layers; a signal that is lost says
    nothing of the weights, and a skip that is no identity has no share of the gradient to lose.

    Args:
        table: As made by ``build_table``.
        statistic: A name of ``sppkit list statistics``.

    Returns:
        One truth value per row.
    """
    role = registry.STATISTICS[statistic].role
    first = 0 if role in {"block_output", "block_gradient"} else 1
    return (table["block"] >= first) & (role not in {"weights", "branch_gradient"})


def is_lost(table: pd.DataFrame, statistic: str) -> pd.Series[bool]:
    """Return in which rows a statistic that is measured came out as nan or infinity.

    Args:
        table: As made by ``build_table``.
        statistic: A name of ``sppkit list statistics`` that is a column of it.

    Returns:
        One truth value per row; false where the statistic is absent.
    """
    values = table[statistic]
    missing = values.isna() & (table["nonfinite"].fillna(0) > 0) & has_site(table, statistic)
    return values.abs().eq(math.inf) | missing.astype(bool)


def further_statistics(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the statistics in a table that are measured only where they are asked for."""
    return tuple(name for name in registry.FURTHER_STATISTICS if name in table)


def why_empty(statistic: str) -> str:
    """Return what a network lacks in which a statistic was asked for and is nowhere to be measured."""
    lacking = {
        "residual_branch": "no residual branch",
        "activation": "no activation modules",
        "activation_input": "no activation modules",
        "activation_slope": "no bounded activations",
        "attention": "no attention",
        "normalizer_input": "no normalizers",
        "weights": "no weights that can be balanced",
        "block_gradient": "no values that autograd differentiates by",
        "branch_gradient": "no skip connections that are identities",
    }
    return lacking.get(registry.STATISTICS[statistic].role, "not measured")


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a table written by ``write_csv``, from this machine or another.

    Args:
        path: The CSV file: a regular one on this machine.

    Returns:
        The table, with the types of ``build_table``.

    Raises:
        UsageError: If the file can't be read, is not a table of sppkit, or a row or cell of it makes no sense.
    """
    header, rows = _read_rows(path)
    _check_header(path, header)
    parsers = [(column, _parser(column)) for column in header]
    parsed = []
    for line, row in enumerate(rows, 2):
        if row and len(row) != len(header):
            raise UsageError(f"{path}, line {line}: it has {len(row)} cells where the header has {len(header)}.")
        if row:  # an editor may have left an empty line
            cells = zip(parsers, row, strict=True)
            parsed.append({column: _parse(path, line, column, parse, cell) for (column, parse), cell in cells})
    if not parsed:
        raise UsageError(f"the run {path} has a header but no rows. {_AGAIN}")
    _check_unique(path, parsed)
    return build_table(parsed)


def _write_texts(file: TextIO, header: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)


def _read_rows(path: str | Path) -> tuple[list[str], list[list[str]]]:
    text = read_text(path, "run", _AGAIN)
    if text.startswith(f"{STEP},") and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]  # a training that was killed left a row unfinished
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        raise UsageError(f"the run {path} is not a CSV file: a quote or a cell in it has no end. {_AGAIN}") from None
    if not rows:
        raise UsageError(f"the run {path} is empty. {_AGAIN}")
    return rows[0], rows[1:]


def _check_header(path: str | Path, header: Sequence[str]) -> None:
    for column in COLUMNS:
        if column not in header:
            raise UsageError(
                f"{path} is not a table of sppkit: it has no column {column!r}.\n"
                "A table starts with the columns " + ", ".join(COLUMNS) + "."
            )
    twice = [column for column in header if header.count(column) > 1]
    if twice:
        raise UsageError(f"{path} is not a table of sppkit: it has the column {twice[0]!r} twice. Keep one of them.")


def _check_unique(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    seen = set()
    for row in rows:
        key = row.get(STEP), row["seed"], row["block"]
        if key in seen:
            at = "" if key[0] is None else f" at step {key[0]}"
            raise UsageError(f"{path} holds block {key[2]} of seed {key[1]}{at} twice. Keep one of the two rows.")
        seen.add(key)


def _parse(path: str | Path, line: int, column: str, parse: Callable[[str], Any], cell: str) -> Any:
    if not cell and column not in _KEY_COLUMNS:
        return None
    try:
        return parse(cell)
    except ValueError as error:
        raise UsageError(f"{path}, line {line}: {column} must be {error}, not {cell!r:.60}.") from None


def _parser(column: str) -> Callable[[str], Any]:
    if column == "name":
        return _parse_name
    if column in _WHOLE:
        return _parse_count
    return _parse_square if column in STATISTIC_COLUMNS else _parse_number


def _parse_name(cell: str) -> str:
    # A control character could command the terminal that shows it.
    if not cell or not cell.isprintable():
        raise ValueError("a name without control characters")
    return cell


def _parse_count(cell: str) -> int:
    # A spreadsheet may have made 3.0 of 3; a float would lose digits of a seed.
    number = int(cell) if cell.isdecimal() and len(cell) < _DIGITS else _parse_number(cell)
    if not (0 <= number < _INTEGER_LIMIT and float(number).is_integer()):
        raise ValueError("a whole number from 0 to 2^63 - 1")
    return int(number)


def _parse_square(cell: str) -> float:
    number = _parse_number(cell)
    if number < 0:
        raise ValueError("a number of at least 0 (it is a mean of squares)")
    return number


def _parse_number(cell: str) -> float:
    try:
        return float("" if "_" in cell else cell)  # Python reads 1_000 as a number; no other program does
    except ValueError:
        raise ValueError("a number") from None


def _dtype(column: str) -> str:
    if column in _WHOLE:
        return "Int64"
    return "string" if column == "name" else "float64"


def _cell(column: str, value: Any, lost: bool) -> str:
    if column == "name":
        return str(value)
    if column in _WHOLE:
        return "" if pd.isna(value) else str(int(value))
    if math.isnan(value):
        return "nan" if lost else ""
    return format(value, ".9g")

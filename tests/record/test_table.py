"""Tables and records that come from another hand: read exactly, or refused in one clear line."""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path

import pytest

from sppkit.errors import UsageError
from sppkit.record.table import COLUMNS, build_table, read_csv, write_csv
from sppkit.record.write import read_record, write_record

STEM = {"seed": "0", "block": "0", "stage": "0", "name": "stem", "channels": "4", "height": "2", "width": "2",
        "channel_squared_mean": "0.1", "channel_variance": "1", "residual_variance": "", "nonfinite": "0"}  # fmt: skip


def text_of(*rows: dict[str, str], header: tuple[str, ...] = COLUMNS) -> str:
    return "\n".join([",".join(header), *(",".join(row[column] for column in header) for row in rows), ""])


def with_cell(column: str, cell: str) -> str:
    return text_of(STEM | {column: cell})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.csv"


@pytest.mark.parametrize("kind", [str, Path])
def test_a_table_comes_back_as_it_was(kind: type, path: Path) -> None:
    row = {"seed": 2**63 - 1, "block": 1, "stage": 1, "name": "blocks.0", "channels": 4, "nonfinite": 3,
           "channel_variance": math.inf, "residual_variance": math.nan, "predicted_residual_variance": 0.5}  # fmt: skip
    table = build_table([row, {**row, "block": 2}])
    write_csv(table, kind(path))
    assert read_csv(kind(path)).equals(table)


ACCEPTED = {
    "byte order mark": "\ufeff" + text_of(STEM),
    "carriage returns": text_of(STEM).replace("\n", "\r\n"),
    "no last line break": text_of(STEM).rstrip(),
    "an empty line": text_of(STEM) + "\n",
    "whole numbers of a spreadsheet": with_cell("block", "0.0"),
    "columns in another order": text_of(STEM, header=COLUMNS[::-1]),
    "quotes": with_cell("name", '"st""em"'),
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_harmless_differences_are_accepted(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8", newline="")
    assert read_csv(path)[["block", "channel_variance"]].to_numpy().tolist() == [[0, 1]]


def cell(column: str, text: str, legal: str) -> tuple[str, str]:
    return with_cell(column, text), re.escape(f", line 2: {column} must be {legal}, not {text!r}.")


WHOLE = "a whole number from 0 to 2^63 - 1"
SQUARE = "a number of at least 0 (it is a mean of squares)"
REFUSED = {
    "empty": ("", r"is empty\. Measure one: sppkit plot"),
    "header only": (text_of(), r"has a header but no rows\. Measure one"),
    "other file": ("a,b\n1,2\n", r"has no column 'seed'\.\nA table starts with the columns seed, block"),
    "semicolons": (text_of(STEM).replace(",", ";"), "has no column 'seed'"),
    "column twice": (text_of(STEM, header=(*COLUMNS, "block")), r"the column 'block' twice\. Keep one"),
    "short row": (text_of(STEM) + "0,1\n", "line 3: it has 2 cells where the header has 11"),
    "long row": (text_of(STEM).rstrip() + ",1\n", "line 2: it has 12 cells where the header has 11"),
    "open quote": (with_cell("name", '"stem'), "is not a CSV file: a quote or a cell in it has no end"),
    "row twice": (text_of(STEM, STEM), r"holds block 0 of seed 0 twice\. Keep one of the two rows"),
    "word": cell("channel_variance", "high", "a number"),
    "truth": cell("channel_variance", "True", "a number"),
    "hexadecimal": cell("channel_variance", "0x10", "a number"),
    "underscore": cell("channel_variance", "1_000", "a number"),
    "negative variance": cell("channel_variance", "-1", SQUARE),
    "negative square": cell("channel_squared_mean", "-1e-9", SQUARE),
    "minus infinity": cell("residual_variance", "-inf", SQUARE),
    "further text": (text_of(STEM | {"note": "x"}, header=(*COLUMNS, "note")), "note must be a number, not 'x'"),
    "negative block": cell("block", "-1", WHOLE),
    "half a block": cell("block", "1.5", WHOLE),
    "too large": cell("block", "1e300", WHOLE),
    "just too large": cell("seed", str(2**63), WHOLE),
    "infinite": cell("nonfinite", "inf", WHOLE),
    "nan": cell("channels", "nan", WHOLE),
    "superscript": cell("block", "²", "a number"),
    "no block": cell("block", "", "a number"),
    "no name": cell("name", "", "a name without control characters"),
    "escape": cell("name", "\x1b[31m", "a name without control characters"),
    "digits without end": (with_cell("seed", "9" * 5000), "seed must be a whole number"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_a_table_that_makes_no_sense_is_refused(text: str, message: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")
    with warnings.catch_warnings(record=True) as caught, pytest.raises(UsageError, match=message) as error:
        read_csv(path)
    assert not caught
    assert "run.csv" in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize("name", ["http://127.0.0.1:9/x.csv", "no.csv", "."])
def test_only_regular_files_of_this_machine_are_read(name: str) -> None:
    with pytest.raises(UsageError, match=f"^can't read the run {re.escape(name)}: "):
        read_csv(name)


def changed(*keys: str, to: object) -> str:
    record: dict[str, object] = {
        "schema": 1, "arch": "nf-resnet", "mode": "train", "dtype": "float32", "seeds": [0],
        "network": {"stages": [1, 2]}, "input": {"kind": "gaussian", "batch_shape": [1, 3, 8, 8], "batches": 1},
        "expected": {"residual_variance": 1.0}, "options": {"alpha": {"value": 1, "source": "flag"}},
    }  # fmt: skip
    holder = record
    for key in keys[:-1]:
        holder = holder[key]
    holder[keys[-1]] = to
    return json.dumps(record)


BAD_RECORDS = {
    "not JSON": ("{", "is not valid JSON: Expecting property name"),
    "empty": ("", "is not valid JSON: Expecting value"),
    "list": ("[]", r"is not a record of schema 1 \(found 'list'\)"),
    "schema 2": (changed("schema", to=2), r"schema 1 \(found 2\)"),
    "schema true": (changed("schema", to=True), r"schema 1 \(found True\)"),
    "brackets without end": ("[" * 100_000, "a number or a nesting in it has no end"),
    "digits without end": ("9" * 5000, "a number or a nesting in it has no end"),
    "nan": (changed("expected", "residual_variance", to=math.nan), "a number or a nesting in it has no end"),
    "infinite": (
        changed("expected", "residual_variance", to=1).replace('"residual_variance": 1', '"residual_variance": 1e999'),
        "expected.residual_variance must be a finite number or null",
    ),
    "network": (changed("network", to=None), "network must be an object"),
    "stages": (changed("network", "stages", to="x"), "network.stages must be a list of whole numbers"),
    "stages of truths": (changed("network", "stages", to=[True]), "network.stages must be a list of whole numbers"),
    "options": (changed("options", to=[]), "options must be an object of"),
    "option": (changed("options", "alpha", to=3), "options must be an object of"),
    "source": (changed("options", "alpha", to={"value": 1}), "options must be an object of"),
    "input": (changed("input", to=3), "input must be an object"),
    "shape": (changed("input", "batch_shape", to=[None]), "input.batch_shape must be a list of whole numbers"),
    "batches": (changed("input", "batches", to="1"), "input.batches must be a whole number"),
    "seeds": (changed("seeds", to=0), "seeds must be a list of whole numbers"),
    "mode": (changed("mode", to=[]), "mode must be a text"),
    "dtype": (changed("dtype", to=None), "dtype must be a text"),
    "escape": (changed("arch", to="\x1b[31m"), "arch must be a text"),
    "expected": (changed("expected", to=1), "expected must be an object"),
}


@pytest.mark.parametrize(("text", "message"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_record_that_makes_no_sense_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message) as error:
        read_record(path)
    assert str(error.value).startswith(str(path))
    assert str(error.value).endswith("Move it away to go on without it, or measure the run again.")


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    record = json.loads(changed("mode", to="eval"))
    write_record(record, tmp_path / "x.json")
    assert read_record(str(tmp_path / "x.json")) == record
    write_record({}, tmp_path / "x.json")
    assert read_record(tmp_path / "x.json") == {"schema": 1}

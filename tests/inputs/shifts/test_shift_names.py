"""What is typed for a shift, read without torch: one spelling, and one clear line for what can't be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sppkit.config.shifts import parse_shift, shift_options
from sppkit.errors import UsageError
from sppkit.registry import SHIFTS
from sppkit.registry.entries import Real, ShiftEntry, Text


@pytest.mark.parametrize(
    ("typed", "text", "values"),
    [
        ("apr-p", "apr-p", {}),
        ("apr-p:axes=hw", "apr-p:axes=hw", {"axes": "hw"}),
        ("apr-p:probability=0.6, axes=hw", "apr-p:axes=hw,probability=0.6", {"axes": "hw", "probability": 0.6}),
    ],
)
def test_shifts_in_one_spelling(typed: str, text: str, values: dict[str, object]) -> None:
    chosen = parse_shift(typed)
    assert (chosen.text, chosen.values) == (text, values)
    assert parse_shift(text) == chosen


def test_kinds_are_known_as_files_and_papers_write_them() -> None:
    assert parse_shift("corruption:gaussian_noise:3") == parse_shift("corruption:gaussian-noise:3")
    assert parse_shift("corrupt:shot_noise:1").text == "corruption:shot-noise:1"


def test_a_function_of_a_file() -> None:
    chosen = parse_shift("shifts/mine.py:darker")
    assert (chosen.text, chosen.name, chosen.file) == ("shifts/mine.py:darker", "darker", Path("shifts/mine.py"))
    assert chosen.entry.moves
    assert not chosen.entry.pairs


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "--shift must be a text that is not empty"),
        ("apr_p", "unknown shift 'apr_p'; did you mean 'apr-p'?"),
        ("mine.py", "--shift mine.py: name the function in it, as in mine.py:function."),
        ("mine.py:a b", "--shift mine.py:a b: 'a b' is no function's name; as in mine.py:darker."),
        ("apr-p:hw", "--shift apr-p:hw must be apr-p[:key=value,...]."),
        ("apr-p:axis=hw", "--shift apr-p: it has no setting 'axis'; it has axes, probability."),
        ("apr-p:axes=wh", "unknown --shift apr-p: axes 'wh'; did you mean 'hw'?"),
        ("apr-p:probability=2", "--shift apr-p: probability must be a number from 0 to 1, not '2'."),
        ("apr-p:axes=hw,axes=chw", "--shift apr-p gives a setting twice"),
        ("apr-p:axes=", "--shift apr-p must be settings as in"),
    ],
)
def test_what_is_no_shift(typed: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_shift(typed)


@pytest.fixture
def _from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ShiftEntry("nowhere:make", "", arguments={"file": Text("safetensors file")}, settings={"scale": Real(0, 2)})
    monkeypatch.setitem(SHIFTS, "learnt", entry)


@pytest.mark.usefixtures("_from_a_file")
@pytest.mark.parametrize(
    ("typed", "file", "scale"),
    [
        ("learnt:runs/a.safetensors", "runs/a.safetensors", None),
        ("learnt:runs/a.safetensors:scale=0.5", "runs/a.safetensors", 0.5),
        (r"learnt:C:\runs\a.safetensors:scale=1", r"C:\runs\a.safetensors", 1.0),
        ("learnt:runs/seed=1/a.safetensors", "runs/seed=1/a.safetensors", None),
    ],
)
def test_a_shift_that_is_read_from_a_file(typed: str, file: str, scale: float | None) -> None:
    chosen = parse_shift(typed)
    assert chosen.values == {"file": file} | ({} if scale is None else {"scale": scale})
    assert parse_shift(chosen.text) == chosen


@pytest.mark.usefixtures("_from_a_file")
def test_a_file_that_is_missing() -> None:
    message = "--shift learnt must be learnt:FILE[:key=value,...]. file is a safetensors file."
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_shift("learnt")


def test_several_shifts_are_told_apart() -> None:
    assert shift_options("shift", ["apr-p", "apr-p:axes=hw"]) == ("apr-p", "apr-p:axes=hw")
    with pytest.raises(UsageError, match="--shift apr-p:axes=hw is given twice"):
        shift_options("shift", ["apr-p:axes=hw", "apr-p: axes=hw"])

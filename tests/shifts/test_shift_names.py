"""What is typed for a shift, read without torch: one spelling, and one clear line for what can't be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sppkit.config.shifts import parse_shift, shift_options
from sppkit.errors import UsageError


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


def test_several_shifts_are_told_apart() -> None:
    assert shift_options("shift", ["apr-p", "apr-p:axes=hw"]) == ("apr-p", "apr-p:axes=hw")
    with pytest.raises(UsageError, match="--shift apr-p:axes=hw is given twice"):
        shift_options("shift", ["apr-p:axes=hw", "apr-p: axes=hw"])

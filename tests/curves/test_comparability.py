"""Runs that were asked the same are compared, whatever order and form their options were written in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sppkit.config.resolve import resolve_config
from sppkit.curves.comparability import iter_incomparable


def record(**values: Any) -> dict[str, Any]:
    return {"options": {name: {"value": value, "source": "flag"} for name, value in values.items()}}


def differ(new: Any, base: Any) -> list[str]:
    return list(iter_incomparable(record(kw=new), record(kw=base)))


SAME = [
    ({"b": 1, "a": 2}, {"a": 2, "b": 1}),
    ({"x": {"b": 1, "a": [1, {"d": 2, "c": 3}]}}, {"x": {"a": [1, {"c": 3, "d": 2}], "b": 1}}),
    ({"a": (1, 2)}, {"a": [1, 2]}),
    ({"a": 1}, {"a": 1.0}),
    ({"a": 0.1 + 0.2}, {"a": 0.30000000000000004}),
    ({"a": "\x1b"}, {"a": "\\x1b"}),  # what is read from a file has been made printable
    (None, None),
]


@pytest.mark.parametrize(("new", "base"), SAME)
def test_the_same_values_are_the_same_question(new: Any, base: Any) -> None:
    assert differ(new, base) == []


LONG = "x" * 100
UNLIKE = {
    "number": ({"a": 1}, {"a": 2}, "--kw a: 1 here, 2 in the baseline"),
    "last digit": ({"a": 0.1}, {"a": 0.1 + 2**-55}, "--kw a: 0.1 here, 0.10000000000000003 in the baseline"),
    "nested": ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "--kw a b: [1, 2] here, [1, 3] in the baseline"),
    "order of a list": ({"a": [1, 2]}, {"a": [2, 1]}, "--kw a: [1, 2] here, [2, 1] in the baseline"),
    "truth is no number": ({"a": True}, {"a": 1}, "--kw a: True here, 1 in the baseline"),
    "truth is no number, in a list": ({"a": [True]}, {"a": [1]}, "--kw a: [True] here, [1] in the baseline"),
    "one more": ({"a": 1, "b": 2}, {"a": 1}, "--kw b: 2 here, None in the baseline"),
    "none": ({"a": 1}, None, "--kw: {'a': 1} here, None in the baseline"),
    "beyond what is shown": (
        {"a": LONG + "y"}, {"a": LONG + "z" + LONG},
        f"--kw a: ...{'x' * 10}y here, ...{'x' * 10}z{'x' * 49}... in the baseline",
    ),
    "command": ({"a\x1b": "\x1b[2J\n"}, {"a\x1b": ""}, "--kw a\\x1b: \\x1b[2J\\n here,  in the baseline"),
}  # fmt: skip


@pytest.mark.parametrize(("new", "base", "told"), UNLIKE.values(), ids=UNLIKE)
def test_other_values_are_another_question_and_are_told(new: Any, base: Any, told: str) -> None:
    assert differ(new, base) == [told]


def test_keywords_in_any_order_match_what_a_baseline_kept() -> None:
    typed = ["kw", ["width=0.5", "depth=3", "act=gelu", "sizes=(4, 4)", "deep={'b': 1, 'a': None}"]]
    new, turned = (
        resolve_config({"model": "net.py:build", typed[0]: list(order)}).described()
        for order in (typed[1], reversed(typed[1]))
    )
    kept = json.loads(json.dumps({"options": turned}, sort_keys=True))
    assert list(iter_incomparable({"options": new}, kept)) == []

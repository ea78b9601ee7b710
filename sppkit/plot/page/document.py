"""The page as one file of HTML: what it says stands in it as text, what it draws is drawn by its own program.

Nothing is fetched and nothing but that program runs: the content security policy names it by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from sppkit.machine.printable import printable
from sppkit.plot.page.payload import describe_runs, encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sppkit.plot.page.shown_run import ShownRun
    from sppkit.plot.page.statements import Statement, Verdict

# In this order they are one program: each uses what stands above it.
_PROGRAM = (
    "dom",
    "numbers",
    "run",
    "series",
    "axis",
    "panel",
    "heat_map",
    "inspector",
    "table",
    "record",
    "controls",
    "main",
)
_MARKS = {"error": "BAD", "warning": "WARN", "remark": "note", "good": "ok"}
# Of a notebook's cell.
_FRAME_HEIGHT = 760


def render(runs: Sequence[ShownRun], verdict: Verdict, *, title: str, subtitle: str = "") -> str:
    """Return the page."""
    style, program = _read("page.css"), _program()
    return Template(_read("page.html")).substitute(
        policy=_policy(style, program),
        title=_safe(title),
        subtitle=f'<p class="subtitle">{_safe(subtitle)}</p>' if subtitle else "",
        level=verdict.level,
        mark=_MARKS[verdict.level],
        headline=_safe(verdict.headline),
        statements="\n".join(_iter_items(runs, verdict.statements)),
        style=style,
        program=program,
        data=encode(describe_runs(runs)),
    )


def frame(page: str, title: str) -> str:
    """Return an element that shows the page in a notebook, apart from the notebook's own document."""
    return (
        f'<iframe srcdoc="{escape(page)}" title="{_safe(title)}" width="100%" height="{_FRAME_HEIGHT}" frameborder="0" '
        'sandbox="allow-scripts allow-downloads"></iframe>'
    )


def _iter_items(runs: Sequence[ShownRun], statements: Sequence[Statement]) -> Iterator[str]:
    for one in statements:
        whose = f'<span class="whose">{_safe(runs[one.run].label)}</span> ' if len(runs) > 1 else ""
        text = _safe(one.text)
        if one.block is not None:
            text = f'<a href="#run-{one.run}-block-{one.block}">{text}</a>'
        about = f' <span class="about">docs/diagnoses.md, {_safe(one.name)}</span>' if one.name else ""
        more = f"<details><summary>Why, and what to do</summary><p>{_safe(one.more)}{about}</p></details>"
        mark = f'<span class="mark">{_MARKS[one.level]}</span>'
        yield f'<li class="{one.level}">{mark}<div>{whose}{text}{more if one.more else ""}</div></li>'


def _safe(text: str) -> str:
    # No letter of a stranger's may become markup, or turn the direction of what stands beside it.
    return escape(printable(text))


def _policy(style: str, program: str) -> str:
    allowed = f"script-src {_hash(program)}; style-src {_hash(style)}"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


@cache
def _program() -> str:
    parts = "\n".join(_read(f"{name}.js") for name in _PROGRAM)
    return f'(() => {{\n"use strict";\n{parts}\n}})();'


@cache
def _read(name: str) -> str:
    return files("sppkit.plot.page").joinpath("assets", name).read_text(encoding="utf-8")

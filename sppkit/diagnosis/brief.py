"""A verdict in four lines: what the terminal has room for. All of it is in the record and on the page."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.text import Text

from sppkit.diagnosis.list_item import ListItem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_LINES = 4
# Of a terminal's 100 letters, four are the mark, and one is the space behind it.
WIDTH = 95
_CUT = " ..."


def shorten(items: Sequence[ListItem]) -> list[ListItem]:
    """Return statements, the worst first, in at most four lines; the first has those that the others leave.

    >>> for item in shorten([ListItem("ok  ", "", Text("word " * 30)), ListItem("note", "", Text("b"))]):
    ...     print(item.one_line.plain[:9])
    ok   word
         word
    note b
    """
    if not items:
        return []
    kept = list(items) if len(items) <= MOST_LINES else list(items[: MOST_LINES - 1])
    left = len(items) - len(kept)
    rest = [line for item in kept[1:] for line in _iter_lines(item, 1)]
    more = [ListItem("    ", "", Text(f"and {left} more"))] if left else []
    return [*_iter_lines(kept[0], MOST_LINES - len(rest) - len(more)), *rest, *more]


def _iter_lines(item: ListItem, most: int) -> Iterator[ListItem]:
    wrapped = textwrap.wrap(item.text.plain, WIDTH, max_lines=most, placeholder=_CUT, break_on_hyphens=False)
    bold = item.text.spans[0].end if item.text.spans else 0
    for index, line in enumerate(wrapped):
        mark = (item.mark, item.style) if index == 0 else ("    ", "")
        yield ListItem(*mark, Text(line, style="bold" if bold and index == 0 else ""))

"""Two runs side by side, block by block."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from sppkit.curves.comparability import iter_incomparable, iter_notices
from sppkit.gate.backward import iter_backward, iter_backward_tests, iter_gradient_changes
from sppkit.gate.compared import compare
from sppkit.gate.notices import site_notices, small_changes
from sppkit.gate.output import iter_output
from sppkit.gate.tested import iter_tests
from sppkit.registry import GRADIENT_STATISTICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from sppkit.curves.curves import Curves
    from sppkit.gate.compared import Change
    from sppkit.gate.policy import Policy

# More rows than this are shown only where something differs.
_MOST_ROWS = 40
_HEADINGS = {"channel_squared_mean": "squared mean", "channel_variance": "variance"}


class Difference:
    """What differs between a run and the one it is compared with."""

    def __init__(self, new: Curves, base: Curves, policy: Policy) -> None:
        """Compare two runs."""
        self._new, self._base = new, base
        self._compared, self._policy = compare(new, base), policy
        self._matching = self._compared.matching
        forward, backward = self._compared.changes, tuple(iter_gradient_changes(self._compared))
        self._far = {id(change) for change in forward if change.matters(policy, new.names[change.place])}
        # Where the signal differs, its gradient does: it is shown, and no difference of its own.
        self._cut = [] if self._far else list(iter_backward(self._compared, policy))
        self._after = [] if self._far else list(iter_output(self._compared, policy))
        blocks = {finding.block for finding in self._cut}
        self._far |= {id(change) for change in backward if int(new.blocks[change.place]) in blocks}
        self._changes = (*forward, *backward)

    @property
    def differs(self) -> bool:
        """Whether a block came or went, or anything changed that matters."""
        return bool(self._far or self._cut or self._after or self._matching.new or self._matching.vanished)

    @property
    def _follows(self) -> bool:
        return bool(self._far) and not self._cut

    @property
    def differs_at_all(self) -> bool:
        """Whether any digit of any statistic differs."""
        unlike = any(f"{change.found:.9g}" != f"{change.expected:.9g}" for change in self._changes)
        return self.differs or unlike or self._new.seeds != self._base.seeds

    def render(self, *, every: bool = False) -> list[RenderableType]:
        """Return the comparison for people."""
        told: list[RenderableType] = [_line("another question", text) for text in self._incomparable()]
        told += [_line("note", text) for text in iter_notices(self._new.record, self._base.record)]
        told += [_line("test", text) for text in iter_tests(self._compared)]
        told += [
            _line("test", text) for text in iter_backward_tests(self._compared, self._policy, follows=self._follows)
        ]
        told += [_line("gradient", f"{finding.name}: {finding.cause}") for finding in self._cut]
        told += [_line("output", finding.cause) for finding in self._after]
        told += [_line("note", text) for text in site_notices(self._compared)]
        told += [_line("note", text) for text in small_changes(self._compared, self._policy)]
        if self._matching.vanished:
            names = ", ".join(self._base.names[place] for place in self._matching.vanished)
            told.append(_line("gone", names))
        places = self._rows(every=every)
        if places:
            told += self._tabulate(places)
        told.append(Text(self._conclusion(len(places))))
        return told

    def _incomparable(self) -> list[str]:
        return list(iter_incomparable(self._new.record, self._base.record))

    def _rows(self, *, every: bool) -> list[int]:
        places = [place for place, _ in self._matching.pairs]
        if every or len(places) <= _MOST_ROWS:
            return places
        far = {change.place for change in self._changes if id(change) in self._far}
        return [place for place in places if place in far]

    def _tabulate(self, places: Sequence[int]) -> list[Table]:
        # Forward and backward apart: one table would be wider than a terminal.
        statistics = list(dict.fromkeys(change.statistic for change in self._changes))
        backward = [name for name in statistics if name in GRADIENT_STATISTICS]
        forward = [name for name in statistics if name not in backward]
        return [self._tabulate_these(group, places) for group in (forward, backward) if group]

    def _tabulate_these(self, statistics: Sequence[str], places: Sequence[int]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("block", justify="right")
        table.add_column("name", overflow="fold")
        for statistic in statistics:
            table.add_column(_HEADINGS.get(statistic, statistic.replace("_", " ")), justify="right")
            table.add_column("ratio", justify="right")
        found = {(change.place, change.statistic): change for change in self._changes}
        for place in places:
            cells = [self._cells(found.get((place, statistic))) for statistic in statistics]
            row = [cell for pair in cells for cell in pair]
            table.add_row(str(self._new.blocks[place]), self._new.names[place], *row)
        return table

    def _cells(self, change: Change | None) -> tuple[str, Text]:
        if change is None:
            return "", Text()
        far = id(change) in self._far
        size = f"×{math.exp(min(700.0, change.size)):.3g}" if change.scale == "log" else f"{change.size:+.2f}"
        mark = Text(size + (" *" if far else "  "), style="bold red" if far else "")
        return f"{change.expected:.3g} → {change.found:.3g}", mark

    def _conclusion(self, shown: int) -> str:
        left = len(self._matching.pairs) - shown
        rest = f" {left} blocks that do not differ are not shown (--all shows them)." if left else ""
        if not self._far:
            return f"nothing differs that matters.{rest}"
        blocks = len({change.place for change in self._changes if id(change) in self._far})
        return f"* {blocks} of {len(self._matching.pairs)} blocks differ by more than they may.{rest}"


def _line(mark: str, text: str) -> Text:
    return Text.assemble((f"{mark}: ", "bold yellow"), text)

"""A sentence with a mark before it, as a list's item: what follows the first line stands under the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions


@dataclass(frozen=True)
class ListItem:
    """A renderable of one sentence.

    Attributes:
        mark: What stands before it, for instance ``"ok  "``.
        style: Colour of the mark.
        text: The sentence.
    """

    mark: str
    style: str
    text: Text

    @property
    def one_line(self) -> Text:
        """All of it in one line, for a file or a pipe."""
        return Text.assemble((self.mark, self.style), " ", self.text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield the lines, those after the first one indented."""
        before = Text.assemble((self.mark, self.style), " ")
        for line in self.text.wrap(console, max(1, options.max_width - len(before))):
            line.rstrip()
            yield Text.assemble(before, line)
            before = Text(" " * len(before))

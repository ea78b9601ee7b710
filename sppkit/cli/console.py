"""The edge of the program: this module alone prints and exits."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from sppkit.diagnosis.list_item import ListItem
from sppkit.errors import SppkitError, UsageError
from sppkit.machine.interrupts import EndRequestedError
from sppkit.machine.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from rich.console import ConsoleOptions, RenderableType
    from rich.segment import Segment

# What a shell reports of a program that a signal has ended is 128 + the signal's number.
_BY_SIGNAL = 128
# Without a terminal there is no width to adapt to; wide enough that no table folds.
_PIPED_WIDTH = 120
# Beyond this a count says less than a percentage.
_LARGEST_COUNT = 100_000
# What we print, for a terminal or a file that takes nothing but ASCII; anything else becomes a question mark.
_ASCII = str.maketrans({"→": "->", "×": "x", "–": "-", "·": "-", "…": "...", "²": "^2", "±": "+-", "≈": "~"})


def show(*renderables: RenderableType) -> None:
    """Print results to standard output: plain, without trailing blanks, and each text on one line when piped."""
    _print(sys.stdout, *renderables)


def warn(message: str) -> None:
    """Print a warning to standard error."""
    _print(sys.stderr, Text.assemble(("warning: ", "yellow"), _lines(message)), unbroken=True)


def ask(question: str) -> str | None:
    """Ask the user a question in the terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    _print(sys.stderr, Text(question, style="bold"))
    return sys.stdin.readline()


@contextmanager
def reporting_errors(*, debug: bool) -> Iterator[None]:
    """Show a failure as one clear line and exit with its code."""
    try:
        yield
    except SppkitError as error:
        _explain(str(error), debug=debug)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        _explain("interrupted; files that were not finished were not written.", debug=debug)
        raise typer.Exit(_BY_SIGNAL + signal.SIGINT) from None
    except (typer.Exit, typer.Abort, EndRequestedError):
        raise
    except SystemExit as error:  # of the user's network: its code must not become the verdict
        _explain(f"the network's own code tried to end the program (SystemExit: {error.code}).", debug=debug)
        raise typer.Exit(2) from None
    except MemoryError as error:
        _explain(
            f"there is not enough memory: {error}\nTry a smaller --shape, --image-size or --batch-size.", debug=debug
        )
        raise typer.Exit(2) from None
    except BaseException as error:  # noqa: BLE001 - the last line of defence: a defect of ours, said plainly
        _explain(f"unexpected {type(error).__name__}: {error}\nRun again with --debug for the traceback.", debug=debug)
        raise typer.Exit(2) from None


def end(code: int) -> NoReturn:
    """End the program."""
    raise typer.Exit(code)


def explain_usage(error: Any) -> None:
    """Show a mistake that typer has found in the command line as one clear line and where to read more."""
    message = error.format_message()
    if hasattr(error, "possibilities"):
        close = get_close_matches(error.option_name, error.possibilities or (), n=1, cutoff=0)
        message = f"unknown option {error.option_name!r}" + (f"; did you mean {close[0]!r}?" if close else ".")
    context = getattr(error, "ctx", None)
    more = f"\nTo see what there is: {context.command_path} --help" if context else ""
    _explain(message + more, debug=False)


def end_cleanly_on_signals() -> None:
    """Let a request to end (SIGTERM, SIGHUP) pass through the program as an exception, so that temporaries vanish."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows knows no SIGHUP
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, _end)


@contextmanager
def progress(*, quiet: bool, unit: str = "blocks") -> Iterator[Callable[[str, int, int], None] | None]:
    """Show how far the work is and how long it will take; only in a terminal."""
    console = _console(sys.stderr)
    if quiet or sys.stderr is None or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), _Done(unit), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def update(name: str, done: int, total: int) -> None:
            if name not in tasks:
                for finished in tasks.values():
                    bar.update(finished, visible=False)
                tasks[name] = bar.add_task(printable(name), total=total or None)
            bar.update(tasks[name], completed=done, total=total or None)

        yield update


class _Done(ProgressColumn):
    """How much is done: blocks or another unit, or per cent of what is too much to count."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        if task.total is None:  # nobody knows yet
            return Text(f"{task.completed:.0f} {self._unit}")
        if task.total > _LARGEST_COUNT:
            return Text(f"{task.percentage:3.0f}%")
        return Text(f"{task.completed:.0f}/{task.total:.0f} {self._unit}")


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
    raise EndRequestedError(_BY_SIGNAL + number)


def _explain(message: str, *, debug: bool) -> None:
    if debug and sys.stderr is not None:
        _write(sys.stderr, _lines(traceback.format_exc()))
    _print(sys.stderr, Text.assemble(("error: ", "bold red"), _lines(message)), unbroken=True)


class _Safe:
    """A renderable in which nothing commands the terminal: names, cells and messages may come from a stranger."""

    def __init__(self, renderable: RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """Yield the renderable's segments, each of its texts made printable."""
        for segment in console.render(self._renderable, options):
            yield segment if segment.control else segment._replace(text=_lines(segment.text))


def _lines(text: str) -> str:
    # A message of ours may have several. rich by itself would drop some control characters without a word.
    return printable(text, keep="\n")


def _print(stream: TextIO | None, *renderables: RenderableType, unbroken: bool = False) -> None:
    if stream is None:  # closed by the shell (>&-)
        return
    # Rendered first and written in one go: rich's own writing knows neither closed streams nor their encodings.
    rendered = io.StringIO()
    console = _console(stream, rendered)
    for renderable in renderables:
        plain = Text(_lines(renderable)) if isinstance(renderable, str) else renderable
        if isinstance(plain, ListItem) and not stream.isatty():
            plain = plain.one_line
        is_line = isinstance(renderable, str) or (isinstance(plain, Text) and not stream.isatty())
        console.print(_Safe(plain), soft_wrap=unbroken or is_line, highlight=False, markup=False)
    lines = rendered.getvalue().split("\n")
    _write(stream, "\n".join(lines if console.is_terminal else [line.rstrip() for line in lines]))


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:  # the reader has seen enough (| head -1)
        _discard(stream)
    except OSError as error:
        _discard(stream)
        if stream is sys.stderr:
            return
        raise UsageError(f"can't print the results: {error.strerror}.") from error


def _discard(stream: TextIO) -> None:
    # Python would try to write the rest once more when it ends.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _console(stream: TextIO | None, file: TextIO | None = None) -> Console:
    is_terminal = stream is not None and stream.isatty()
    given = os.environ.get("COLUMNS", "")
    width = int(given) if given.isdecimal() and int(given) else _PIPED_WIDTH
    return Console(
        file=file or stream, force_terminal=True if is_terminal else None, width=None if is_terminal else width
    )

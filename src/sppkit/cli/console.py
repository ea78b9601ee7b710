"""The edge of the program: this module alone prints and exits."""

from __future__ import annotations

import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from sppkit.errors import SppkitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

# 128 + SIGINT, what a shell reports of an interrupted program.
_INTERRUPTED = 130
# Without a terminal there is no width to adapt to; wide enough that no table folds.
_PIPED_WIDTH = 120


def out() -> Console:
    """Return the console of results.

    Made anew each time, so that NO_COLOR and redirection are those of this moment.

    Returns:
        A console on standard output; plain and of fixed width when piped.
    """
    return _console(stderr=False)


def show(*renderables: RenderableType) -> None:
    """Print results to standard output.

    Args:
        *renderables: Texts or rich renderables, one after the other.
    """
    console = out()
    for renderable in renderables:
        console.print(renderable, soft_wrap=isinstance(renderable, str), highlight=False, markup=False)


def warn(message: str) -> None:
    """Print a warning to standard error.

    Args:
        message: What the user should know.
    """
    _console(stderr=True).print(Text.assemble(("warning: ", "yellow"), message), soft_wrap=True)


@contextmanager
def reporting_errors(*, debug: bool) -> Iterator[None]:
    """Show a failure as one clear line and exit with its code.

    Args:
        debug: Show the traceback as well.

    Yields:
        Nothing.

    Raises:
        Exit: On any failure.
        Abort: Passed on.
    """
    try:
        yield
    except SppkitError as error:
        _explain(str(error), debug=debug)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        _explain("interrupted; files that were not finished were not written.", debug=debug)
        raise typer.Exit(_INTERRUPTED) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:  # noqa: BLE001 - the last line of defence: a defect of ours, said plainly
        _explain(f"unexpected {type(error).__name__}: {error}\nRun again with --debug for the traceback.", debug=debug)
        raise typer.Exit(2) from None


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Show how far the work is and how long it will take; only in a terminal.

    Args:
        quiet: Show nothing.

    Yields:
        A function of (task, done, total), or None where nothing is shown.
    """
    console = _console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def update(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield update


def _explain(message: str, *, debug: bool) -> None:
    if debug:
        traceback.print_exc(file=sys.stderr)
    _console(stderr=True).print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _PIPED_WIDTH)

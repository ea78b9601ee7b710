"""``sppkit sweep``: a grid of runs from one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sppkit.cli import console
from sppkit.cli.options import Debug, Quiet

if TYPE_CHECKING:
    from sppkit.comparison.sweep.grid import Grid
    from sppkit.comparison.sweep.store import Store

_FOLDER = "sweep"
_FAILED = 1
_RUN, _OUTPUT = "Run", "Output"

File = Annotated[Path, typer.Argument(metavar="FILE.toml", help="Shared options, axes and exclusions.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Folder of the files: the file's own, or sweep.", rich_help_panel=_OUTPUT
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", min=1, help="Cells at a time; one for each core and thread.", rich_help_panel=_RUN
    ),
]
Threads = Annotated[
    int, typer.Option("--threads", metavar="N", min=1, help="Threads of each cell.", rich_help_panel=_RUN)
]
Engine = Annotated[
    str, typer.Option("--on", metavar="NAME", help="Where: processes, ray or slurm.", rich_help_panel=_RUN)
]
Statistic = Annotated[
    str, typer.Option("--statistic", metavar="NAME", help="What the picture shows.", rich_help_panel=_OUTPUT)
]
HeatMap = Annotated[
    str | None,
    typer.Option("--heat-map", metavar="AXIS,AXIS", help="A heat map over two axes.", rich_help_panel=_OUTPUT),
]


def sweep(
    file: File,
    out: Out = None,
    workers: Workers = None,
    threads: Threads = 1,
    on: Engine = "processes",
    statistic: Statistic = "channel_variance",
    heat_map: HeatMap = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure every cell of a grid of options, each once.

    Run it again to go on after an interrupt or a kill.
    Exit code: 0 if every cell was measured, 1 if some failed.

    Try:

      sppkit sweep configs/sweep.toml

      sppkit sweep configs/sweep.toml --heat-map depth,activation
    """
    with console.reporting_errors(debug=debug):
        from sppkit.comparison.sweep.grid import read_grid
        from sppkit.comparison.sweep.store import Store

        grid = read_grid(file)
        axes = _heat_axes(heat_map, grid)
        _check_statistic(statistic, grid)
        folder = out or Path(grid.output.get("out", _FOLDER))
        store = Store(folder)
        with store.opened(grid):
            count = workers or max(1, (os.cpu_count() or 1) // threads)
            failed = _measure(grid, store, on, min(count, len(grid.cells)), threads, quiet=quiet)
            written = [*store.combine(grid), *_draw(grid, store, statistic, axes)]
        for cell, why in failed.items():
            console.warn(f"{cell}: {why}")
        if not quiet:
            measured = len(grid.cells) - len(failed)
            console.show(f"{measured} of {len(grid.cells)} cells are measured, {len(failed)} failed.", "")
            console.show(*(f"wrote {path}" for path in written))
        if failed:
            console.end(_FAILED)


def _measure(grid: Grid, store: Store, on: str, workers: int, threads: int, *, quiet: bool) -> dict[str, str]:
    from functools import partial

    from sppkit.comparison.sweep.executors import open_executor
    from sppkit.comparison.sweep.free_memory import free_bytes
    from sppkit.comparison.sweep.run_sweep import Sweep

    opened = partial(open_executor, on, workers=workers, threads=threads, folder=store.folder)
    # The memory of other machines is their scheduler's affair.
    memory = free_bytes() if on == "processes" else None
    with console.progress(quiet=quiet, unit="cells") as progress:
        run = Sweep(grid, store, opened, workers=workers, threads=threads, memory=memory, progress=progress)
        run.run()
    return run.failed


def _draw(grid: Grid, store: Store, statistic: str, heat_axes: tuple[str, ...]) -> list[Path]:
    from sppkit.machine.files import all_or_nothing
    from sppkit.plot.save import save_figure
    from sppkit.plot.sweep import plot_grid, plot_heat_map

    tables = [(cell.place, store.table_of(cell)) for cell in grid.cells if store.has(cell)]
    if not tables:
        return []
    figure = plot_heat_map(tables, heat_axes, statistic) if heat_axes else plot_grid(tables, statistic)
    stem = f"heat-map-{'-'.join(heat_axes)}-{statistic}" if heat_axes else "sweep"
    names = [f"{stem}.{kind}" for kind in grid.output.get("format", ("png",))]
    with all_or_nothing(store.folder) as staging:
        for name in names:
            save_figure(figure, staging / name)
    return [store.folder / name for name in names]


def _heat_axes(typed: str | None, grid: Grid) -> tuple[str, ...]:
    from sppkit.errors import UsageError

    if typed is None:
        return ()
    axes = tuple(name.strip().replace("-", "_") for name in typed.split(","))
    if len(axes) != 2 or axes[0] == axes[1] or not set(axes) <= set(grid.axes):
        raise UsageError(f"--heat-map must be two of the axes {', '.join(grid.axes)}, not {typed!r:.60}.")
    return axes


def _check_statistic(name: str, grid: Grid) -> None:
    from sppkit.errors import UsageError
    from sppkit.registry import STATISTICS, check_name

    check_name("statistic", name, STATISTICS)
    if not any(name in cell.resolved.config.stats for cell in grid.cells):
        raise UsageError(f"--statistic {name} is not measured; add it to stats in the file.")

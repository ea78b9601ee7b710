"""``sppkit shift``: the signal of shifted pictures against that of the pictures as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sppkit.cli import console
from sppkit.cli.options import ConfigFile, Debug, Quiet, run_options, with_options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.table import Table

    from sppkit.comparison.runs import Measured


def _complete() -> list[str]:
    from sppkit.registry import SHIFTS

    return list(SHIFTS)


Specs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SPEC",
        help="Several networks instead of --arch or --model: ARCH[:key=value,...], timm:NAME, path/file.py:factory.",
        show_default=False,
    ),
]
Shifts = Annotated[
    list[str] | None,
    typer.Option(
        "--shift",
        metavar="NAME[:KEY=VALUE]",
        help="What is done to the pictures: see sppkit list shifts, or path/file.py:function, which runs that code; as "
        "often as there are shifts.",
        rich_help_panel="Input",
        autocompletion=_complete,
    ),
]
DEFAULT_NAME = "shift"
_LEGEND = (
    "style shift where it enters, at most, and behind the last block; there, variance as a multiple of the unshifted "
    "one, and how much of the signal is kept"
)
# What this command decides itself, or does not measure.
_OWN = {"shift", "mode", "stats", "theory"}
_OPTIONS = tuple(name for name in run_options() if name not in _OWN)


@with_options(_OPTIONS)
def shift(
    flags: dict[str, Any],
    specs: Specs = None,
    shifts: Shifts = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what a shift of the input does to the signal, block by block.

    The same pictures pass as they are and shifted, in eval mode with running statistics of the pictures as they are.
    Where is style absorbed, where does it grow, and how much of the signal is kept?
    Writes CSV and JSON of each network, and shift.png, to spp/.

    Try:

      sppkit shift --arch bn-relu-conv --depth 50 --input photos/ --shift contrast --shift apr-p:axes=hw

      sppkit shift bn-relu-conv bn-relu-conv:norm=in nf-resnet --depth 50 --input photos/ --shift corruption:snow:3

      sppkit shift --model timm:resnet50 --checkpoint r50.safetensors --input photos/ --shift augmix
    """
    with console.reporting_errors(debug=debug):
        from sppkit.cli.pages import refuse_page
        from sppkit.cli.pictures import choose_pictures, list_written, warn_once
        from sppkit.comparison.shifts import iter_shifted, plan_shifts
        from sppkit.machine.files import prepared

        plan = plan_shifts(specs or [], {**flags, "mode": "eval"}, shifts or [], config)
        for note in plan.lineup.notes:
            console.warn(note)
        folder, pictures = choose_pictures(flags, config, DEFAULT_NAME)
        refuse_page(pictures, "shift")
        names = [f"{member.stem}-shift.{suffix}" for member in plan.lineup.members for suffix in ("csv", "json")]
        with prepared(folder, [*names, *pictures]):  # before minutes of work, not after them
            with console.progress(quiet=quiet) as progress:
                runs = list(iter_shifted(plan, progress))
            _write(runs, folder, pictures)
        warn_once(runs)
        if not quiet:
            _summarize(runs, list_written(runs, folder, pictures))


def _write(runs: Sequence[Measured], folder: Path, pictures: Sequence[str]) -> None:
    from sppkit.comparison.summary import common_subtitle, common_title
    from sppkit.machine.files import all_or_nothing
    from sppkit.measuring.titles import title
    from sppkit.plot.save import save_figure
    from sppkit.plot.shift import plot_shift
    from sppkit.record.shift_table import write_shift_csv
    from sppkit.record.write import write_record

    records = [run.record for run in runs]
    heading = title(records[0]) if len(runs) == 1 else common_title(records)
    figure = plot_shift({run.label: run.table for run in runs}, title=heading, subtitle=common_subtitle(records))
    with all_or_nothing(folder) as staging:
        for run in runs:
            write_shift_csv(run.table, staging / f"{run.stem}.csv")
            write_record(run.record, staging / f"{run.stem}.json")
        for name in pictures:
            save_figure(figure, staging / name)


def _summarize(runs: Sequence[Measured], written: Sequence[str]) -> None:
    from rich.text import Text

    from sppkit.comparison.summary import common_subtitle, common_title
    from sppkit.diagnosis.shift_in_words import iter_sentences
    from sppkit.measuring.titles import title

    records = [run.record for run in runs]
    heading = [title(records[0]) if len(runs) == 1 else common_title(records), common_subtitle(records)]
    tables = {run.label: run.table for run in runs}
    legend = Text(_LEGEND, style="dim")
    console.show(*filter(None, heading), "", _render(runs), legend, "", *iter_sentences(tables), "")
    console.show(*written)


def _render(runs: Sequence[Measured]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from sppkit.curves.shift import read_shifts

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ["network"] * (len(runs) > 1) + ["shift"]:
        table.add_column(heading, overflow="fold")
    for heading in ("enters", "largest", "end", "variance", "kept"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in runs:
        for curves in read_shifts(run.table):
            name = [Text(run.label)] * (len(runs) > 1)
            table.add_row(*name, Text(curves.shift), *curves.summary())
    return table

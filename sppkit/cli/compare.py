"""``sppkit compare``: several networks over each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sppkit.cli import console
from sppkit.cli.options import ConfigFile, Debug, Quiet, run_options, with_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sppkit.comparison.runs import Measured


def _complete() -> list[str]:
    from sppkit.registry import ARCHITECTURES

    return list(ARCHITECTURES)


Specs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SPEC",
        help="ARCH[:key=value,...], timm:NAME, package.module:factory, path/file.py:factory, or RUN.csv.",
        show_default=False,
        autocompletion=_complete,
    ),
]
DEFAULT_NAME = "compare"


@with_options(run_options())
def compare(
    flags: dict[str, Any],
    specs: Specs = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure several networks and lay their curves over each other.

    Options are shared by all networks; a SPEC's own win.
    "all" in place of a name is one network for each name that there is.
    Writes CSV and JSON of each network, and compare.png, to spp/.

    Try:

      sppkit compare bn-relu-conv relu-bn-conv nf-resnet --depth 600

      sppkit compare nf-resnet nf-resnet:weights=none --depth 50 --alpha 1 --seeds 4

      sppkit compare --arch bn-relu-conv --norm all --depth 200

      sppkit compare spp/nf-resnet-50.csv spp/bn-relu-conv-50.csv

      sppkit compare --config configs/figure-1.toml
    """
    with console.reporting_errors(debug=debug):
        from sppkit.cli.pictures import choose_pictures, list_written, warn_once, write_comparison
        from sppkit.comparison.lineup import line_up
        from sppkit.comparison.runs import iter_measured, target_names
        from sppkit.machine.files import prepared

        lineup = line_up(specs or [], flags, config)
        for note in lineup.notes:
            console.warn(note)
        folder, pictures = choose_pictures(flags, config, DEFAULT_NAME)
        names = [*target_names(lineup.members, folder), *pictures]
        with prepared(folder, names):  # before minutes of work, not after them
            with console.progress(quiet=quiet) as progress:
                runs = list(iter_measured(lineup.members, progress))
            write_comparison(runs, folder, pictures)
        warn_once(runs)
        if not quiet:
            _summarize(runs, list_written(runs, folder, pictures))


def _summarize(runs: Sequence[Measured], written: Sequence[str]) -> None:
    from sppkit.comparison.summary import common_subtitle, common_title, render_comparison

    records = [run.record for run in runs]
    heading = [common_title(records), common_subtitle(records)]
    console.show(*filter(None, heading), *[""] * any(heading), *render_comparison(runs), "")
    console.show(*written)

"""``sppkit plot``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sppkit.cli import console
from sppkit.cli.options import ConfigFile, Debug, Quiet, run_options, with_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from sppkit.config import RunConfig

Saved = Annotated[
    Path | None,
    typer.Argument(metavar="RUN.csv", help="A saved run to redraw instead of measuring one.", show_default=False),
]


@with_options(run_options())
def plot(
    flags: dict[str, Any], run: Saved = None, config: ConfigFile = None, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Measure a network and draw its Signal Propagation Plot.

    Builds the network, pushes a batch through it and writes CSV, JSON and picture to spp/.

    Try:

      sppkit plot --arch nf-resnet --depth 600

      sppkit plot --arch bn-relu-conv --depth 50 --seeds 4 --format png,svg

      sppkit plot --arch nf-resnet --depth 50 --input photos/ --batch-size 4

      sppkit plot spp/nf-resnet-600.csv --format pdf
    """
    with console.reporting_errors(debug=debug):
        if run is not None:
            _redraw(run, flags, quiet=quiet)
        else:
            _measure_and_draw(flags, config, quiet=quiet)


def _measure_and_draw(flags: Mapping[str, Any], file: Path | None, *, quiet: bool) -> None:
    from sppkit.config import resolve_config
    from sppkit.files import make_folder
    from sppkit.models.spec import build_spec
    from sppkit.report.describe import file_stem

    resolved = resolve_config(flags, file)
    build_spec(resolved.config.arch, resolved.given())
    folder = Path(resolved.config.out)
    stem = file_stem(resolved)
    # Before minutes of work, not behind them.
    make_folder(folder)
    from sppkit.record import write_record
    from sppkit.run import run
    from sppkit.table import write_csv

    with console.progress(quiet=quiet) as progress:
        result = run(resolved, progress)
    for warning in result.warnings:
        console.warn(warning)
    write_csv(result.table, folder / f"{stem}.csv")
    write_record(result.record, folder / f"{stem}.json")
    pictures = _draw(result.table, result.record, folder, stem, resolved.config)
    if not quiet:
        _summarize(result.table, result.record, [folder / f"{stem}.csv", folder / f"{stem}.json", *pictures])


def _redraw(saved: Path, flags: dict[str, Any], *, quiet: bool) -> None:
    from sppkit.config import RunConfig, parse_values
    from sppkit.errors import UsageError
    from sppkit.record import read_record
    from sppkit.table import read_csv

    config = RunConfig(**parse_values(RunConfig, flags))
    unused = sorted(flags.keys() - {"out", "name", "format"})
    if unused:
        raise UsageError(
            f"--{unused[0].replace('_', '-')} means nothing for a saved run; only --out, --name and --format do.\n"
            "To measure anew leave out the file name."
        )
    table = read_csv(saved)
    beside = saved.with_suffix(".json")
    record = read_record(beside) if beside.exists() else {}
    folder = Path(config.out) if "out" in flags else saved.parent
    pictures = _draw(table, record, folder, config.name or saved.stem, config)
    if not quiet:
        _summarize(table, record, pictures)


def _draw(table: pd.DataFrame, record: Mapping[str, Any], folder: Path, stem: str, config: RunConfig) -> list[Path]:
    from sppkit.plot.save import save_figure
    from sppkit.plot.spp import plot_spp
    from sppkit.report.describe import subtitle, title

    figure = plot_spp(table, title=title(record) if record else stem, subtitle=subtitle(record) if record else None)
    paths = [folder / f"{stem}.{suffix}" for suffix in config.format]
    for path in paths:
        save_figure(figure, path)
    return paths


def _summarize(table: pd.DataFrame, record: Mapping[str, Any], paths: list[Path]) -> None:
    from sppkit.report.describe import subtitle, title
    from sppkit.report.summary import render_summary

    if record:
        console.show(title(record), subtitle(record), "")
    console.show(*render_summary(table, record), "")
    console.show("wrote " + "  ".join(map(str, paths)))

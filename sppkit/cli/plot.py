"""``sppkit plot``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sppkit.cli import console
from sppkit.cli.options import ConfigFile, Debug, Quiet, run_options, with_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.figure import Figure

_NO_PICTURES = {".csv", ".json", ".html"}
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

      sppkit plot --model timm:resnet50 --seeds 4

      sppkit plot --model path/nets.py:build --kw depth=50

      sppkit plot spp/nf-resnet-600.csv --format pdf,html
    """
    with console.reporting_errors(debug=debug):
        if run is not None:
            _redraw(run, flags, config, quiet=quiet)
        else:
            _measure_and_draw(flags, config, quiet=quiet)


def _measure_and_draw(flags: Mapping[str, Any], file: Path | None, *, quiet: bool) -> None:
    from sppkit.cli.judged_run import run_judged
    from sppkit.config.resolve import resolve_config
    from sppkit.machine.files import prepared
    from sppkit.measuring.titles import file_stem
    from sppkit.models.check_options import check_options

    resolved = resolve_config(flags, file)
    check_options(resolved)
    folder, stem = Path(resolved.config.out), file_stem(resolved)
    names = [f"{stem}.{suffix}" for suffix in ("csv", "json", *resolved.config.format)]
    with prepared(folder, names):  # before minutes of work, not after them
        with console.progress(quiet=quiet) as progress:
            result = run_judged(resolved, progress)
        _write(result.table, result.record, folder, names)
    for warning in result.warnings:
        console.warn(warning)
    if not quiet:
        _summarize(result.table, result.record, [folder / name for name in names])


def _redraw(saved: Path, flags: Mapping[str, Any], file: Path | None, *, quiet: bool) -> None:
    from sppkit.config.options import RunConfig, parse_values
    from sppkit.machine.files import prepared
    from sppkit.record.table import read_csv
    from sppkit.record.write import read_record

    _refuse_meaningless(flags, file)
    config = RunConfig(**parse_values(RunConfig, flags))
    table = read_csv(saved)
    beside = saved.with_suffix(".json")
    record = read_record(beside) if beside.exists() else {}
    folder = Path(config.out) if "out" in flags else saved.parent
    names = [f"{config.name or saved.stem}.{suffix}" for suffix in config.format]
    with prepared(folder, names):
        _write(table, record, folder, names)
    if not quiet:
        _summarize(table, record, [folder / name for name in names])


def _refuse_meaningless(flags: Mapping[str, Any], file: Path | None) -> None:
    from sppkit.config.parsers import flag_of
    from sppkit.errors import UsageError

    unused = [flag_of(name) for name in sorted(flags.keys() - {"out", "name", "format"})]
    if file is not None:
        unused.append("--config")
    if unused:
        raise UsageError(
            f"{unused[0]} means nothing for a saved run; only --out, --name and --format do.\n"
            "To measure anew leave out the file name."
        )


def _write(table: pd.DataFrame, record: Mapping[str, Any], folder: Path, names: Sequence[str]) -> None:
    from sppkit.cli.pages import write_page
    from sppkit.machine.files import all_or_nothing
    from sppkit.plot.save import save_figure
    from sppkit.record.table import write_csv
    from sppkit.record.write import write_record

    stem = Path(names[0]).stem
    figure = _draw(table, record, stem) if any(Path(name).suffix not in _NO_PICTURES for name in names) else None
    with all_or_nothing(folder) as staging:
        for name in names:
            path = staging / name
            if path.suffix == ".csv":
                write_csv(table, path)
            elif path.suffix == ".json":
                write_record(record, path)
            elif path.suffix == ".html":
                write_page([(stem, table, record)], path)
            elif figure is not None:
                save_figure(figure, path)


def _draw(table: pd.DataFrame, record: Mapping[str, Any], stem: str) -> Figure:
    from sppkit.cli.judged_run import drawn
    from sppkit.measuring.titles import subtitle, title
    from sppkit.plot.spp import plot_spp
    from sppkit.plot.training import plot_training
    from sppkit.record.table import STEP

    heading = {"title": title(record), "subtitle": subtitle(record)} if record else {"title": stem}
    plotted = plot_training if STEP in table else plot_spp
    return plotted(drawn(table, record), **heading)


def _summarize(table: pd.DataFrame, record: Mapping[str, Any], paths: Sequence[Path]) -> None:
    from sppkit.curves.steps import at_step, iter_trend
    from sppkit.diagnosis.summary import render_summary
    from sppkit.measuring.titles import layout_line, subtitle, title

    if record:
        console.show(*filter(None, (title(record), layout_line(record), subtitle(record))), "")
    console.show(*iter_trend(table), *render_summary(at_step(table), record), "")
    # One line each, so that none is broken and each can be copied.
    console.show(*(f"wrote {path}" for path in paths))
    table_file = next((path for path in paths if path.suffix == ".csv"), None)
    found = record.get("diagnoses", [])
    if table_file is not None and any(one["severity"] != "remark" for one in found):
        console.show(f"why, and what to do: sppkit report {table_file} --out page.html, or docs/diagnoses.md")

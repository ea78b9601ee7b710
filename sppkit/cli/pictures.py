"""What ``compare`` and ``suggest`` write: the runs that are new, and all of them in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sppkit.cli import console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from sppkit.comparison.runs import Measured


def choose_pictures(flags: Mapping[str, Any], file: Path | None, default: str) -> tuple[Path, list[str]]:
    """Return where the files of a comparison go."""
    from sppkit.config.resolve import load_toml, resolve_config

    output = {"out", "name", "format"}
    ignored = load_toml(file).keys() - output if file else ()
    config = resolve_config({name: flags[name] for name in flags.keys() & output}, file, ignored=ignored).config
    return Path(config.out), [f"{config.name or default}.{suffix}" for suffix in config.format]


def warn_once(runs: Sequence[Measured]) -> None:
    """Print the warnings of the runs, each once, with the networks that it is about."""
    about: dict[str, list[str]] = {}
    for run in runs:
        for warning in run.warnings:
            about.setdefault(warning, []).append(run.label)
    for warning, labels in about.items():
        console.warn(warning if len(labels) == len(runs) else f"{', '.join(labels)}: {warning}")


def list_written(runs: Sequence[Measured], folder: Path, pictures: Sequence[str]) -> list[str]:
    """Return what to say of the files."""
    tables = [f"wrote {folder / run.stem}.csv and .json" for run in runs if run.is_new]
    return [*tables, *(f"wrote {folder / name}" for name in pictures)]


def write_comparison(
    runs: Sequence[Measured], folder: Path, pictures: Sequence[str], *, title: str | None = None
) -> None:
    """Write tables and records of the new runs and a picture of all; all files or none."""
    from sppkit.cli.pages import write_page
    from sppkit.machine.files import all_or_nothing
    from sppkit.plot.save import save_figure
    from sppkit.record.table import write_csv
    from sppkit.record.write import write_record

    drawn = [name for name in pictures if not name.endswith(".html")]
    figure = _draw(runs, title) if drawn else None
    with all_or_nothing(folder) as staging:
        for run in runs:
            if run.is_new:
                write_csv(run.table, staging / f"{run.stem}.csv")
                write_record(run.record, staging / f"{run.stem}.json")
        for name in pictures:
            if figure is not None and name in drawn:
                save_figure(figure, staging / name)
            else:
                write_page([(run.label, run.table, run.record) for run in runs], staging / name, title=title)


def _draw(runs: Sequence[Measured], title: str | None) -> Figure:
    from sppkit.comparison.summary import common_subtitle, common_title
    from sppkit.plot.comparison import plot_comparison

    records = [run.record for run in runs]
    tables = {run.label: run.table for run in runs}
    return plot_comparison(tables, title=title or common_title(records), subtitle=common_subtitle(records))

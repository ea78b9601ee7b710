"""``sppkit predict``: the expected curves, without running a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sppkit.cli import console
from sppkit.cli.options import ConfigFile, Debug, Quiet, model_options, with_options
from sppkit.cli.predict_own import OWN, predict_own, refuse_meaningless

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from rich.table import Table

    from sppkit.config.resolve import Resolved
    from sppkit.models.spec import ModelSpec
    from sppkit.prediction.predict import Setting

_OPTIONS = ("vocab", "shape", "image_size", "batch_size", "batches", "mode", "stats", "out", "name", "format")
Explain = Annotated[
    bool,
    typer.Option("--explain", metavar="", help="Say what each module makes of the signal.", rich_help_panel="Output"),
]


@with_options((*model_options(), "model", "kw", "reinit", *OWN, *_OPTIONS))
def predict(
    flags: dict[str, Any],
    explain: Explain = False,
    config: ConfigFile = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict a network's Signal Propagation Plot from theory alone.

    Writes <name>-predicted.csv, .json and a picture to spp/. Of a named architecture no network is built or run, and
    the input is Gaussian; one of your own is run once, to see its operations and its input.

    Try:

      sppkit predict --arch nf-resnet --depth 600

      sppkit predict --arch bn-relu-conv --depth 50 --image-size 64 --padding circular

      sppkit predict --arch bn-relu-conv --depth 50 --stats spp,gradient

      sppkit predict --model path/nets.py:build --explain
    """
    with console.reporting_errors(debug=debug):
        from sppkit.config.resolve import resolve_config
        from sppkit.machine.files import prepared
        from sppkit.measuring.titles import file_stem
        from sppkit.models.spec import build_spec
        from sppkit.prediction.predict import Setting, map_size, predict_spec

        resolved = resolve_config(flags, config)
        chosen = resolved.config
        if chosen.model is not None:
            predict_own(resolved, explains=explain, quiet=quiet)
            return
        refuse_meaningless(resolved, explains=explain)
        spec = build_spec(chosen.arch, resolved.given())
        height, width = map_size(chosen.shape, chosen.image_size, chosen.arch)
        setting = Setting(height, width, chosen.batch_size, chosen.batches, chosen.mode)
        folder, stem = Path(chosen.out), f"{file_stem(resolved)}-predicted"
        names = [f"{stem}.{suffix}" for suffix in ("csv", "json", *chosen.format)]
        with prepared(folder, names):
            table = predict_spec(spec, setting, seed=chosen.seed, stats=chosen.stats)
            record = _describe(resolved, spec, setting)
            write(table, record, folder, names)
        if not quiet:
            _summarize(table, record, [folder / name for name in names])


def _describe(resolved: Resolved, spec: ModelSpec, setting: Setting) -> dict[str, Any]:
    from sppkit.models.places import INPUT_CHANNELS
    from sppkit.models.spec import describe
    from sppkit.record.write import versions

    shape = [setting.samples, INPUT_CHANNELS, setting.height, setting.width]
    return {
        "arch": spec.arch,
        "network": describe(spec) | {"blocks": sum(spec.stages)},
        "input": {"kind": "gaussian", "batch_shape": shape, "batches": setting.batches},
        "mode": setting.mode,
        "theory": {"predicted": True, "measured": False},
        "versions": versions(),
        "options": resolved.described(),
    }


def write(table: pd.DataFrame, record: Mapping[str, Any], folder: Path, names: list[str]) -> None:
    """Write table, record and pictures, all or none."""
    from sppkit.cli.pages import write_page
    from sppkit.machine.files import all_or_nothing
    from sppkit.measuring.titles import subtitle, title
    from sppkit.plot.save import save_figure
    from sppkit.plot.spp import plot_spp
    from sppkit.record.table import write_csv
    from sppkit.record.write import write_record

    heading = f"{title(record)}, predicted"
    figure = plot_spp(table, title=heading, subtitle=subtitle(record))
    with all_or_nothing(folder) as staging:
        write_csv(table, staging / names[0])
        write_record(record, staging / names[1])
        for name in names[2:]:
            if name.endswith(".html"):
                write_page([(Path(name).stem, table, record)], staging / name, title=heading)
            else:
                save_figure(figure, staging / name)


def _summarize(table: pd.DataFrame, record: Mapping[str, Any], paths: list[Path]) -> None:
    from sppkit.measuring.titles import layout_line, subtitle, title

    console.show(f"{title(record)}, predicted", layout_line(record), subtitle(record), "", _render(table), "")
    console.show(*(f"wrote {path}" for path in paths))


def _render(table: pd.DataFrame) -> Table:
    from rich.table import Table

    from sppkit.prediction.predict import GRADIENT

    rendered = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("stage", "blocks", "output"):
        rendered.add_column(heading, justify="left" if heading == "output" else "right")
    gradient = ["gradient"] if GRADIENT in table else []
    for heading in ("squared mean", "variance start", "variance end", "residual variance", *gradient):
        rendered.add_column(heading, justify="right")
    for stage, rows in table.groupby("stage", sort=False):
        first, last = rows.iloc[0], rows.iloc[-1]
        rendered.add_row(
            str(stage) if stage else "stem",
            str(len(rows)),
            f"{last['channels']}×{last['height']}×{last['width']}",
            _cell(last, "channel_squared_mean"),
            _cell(first, "channel_variance"),
            _cell(last, "channel_variance"),
            _cell(last, "residual_variance"),
            *(_cell(last, GRADIENT) for _ in gradient),
        )
    return rendered


def _cell(row: pd.Series[Any], statistic: str) -> str:
    """Show a prediction and its spread from seed to seed."""
    value, spread = row[f"predicted_{statistic}"], row[f"predicted_{statistic}_spread"]
    if value != value:
        return ""
    return f"{value:.4g} ± {spread:.1g}"

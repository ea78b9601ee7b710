"""``sppkit invariance``: whether a classifier's answers stay where they should."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sppkit.cli import console
from sppkit.cli.options import ConfigFile, Debug, Quiet, with_options
from sppkit.config.invariance import INVARIANCE_OPTIONS, InvarianceConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from rich.table import Table

    from sppkit.measuring.invariance.run import InvarianceRun

# More classes than this are in the CSV file alone.
_MOST_SHOWN = 60


@with_options(INVARIANCE_OPTIONS, of=InvarianceConfig)
def invariance(flags: dict[str, Any], config: ConfigFile = None, quiet: Quiet = False, debug: Debug = False) -> None:
    """Measure how far a classifier's answers move under what should not matter, class by class and block by block.

    eKLD is the mean divergence of the answers to a picture and to the same picture transformed: 0 is invariant.
    Writes CSV of classes and blocks, JSON and a picture to spp/.

    Try:

      sppkit invariance --model nets.py:trained --input x.npz --nuisance rotate

      sppkit invariance --model timm:resnet18 --checkpoint w.pt --config run.toml

      sppkit list nuisances
    """
    with console.reporting_errors(debug=debug):
        from sppkit.cli.pages import refuse_page
        from sppkit.config.invariance import check_asked
        from sppkit.config.resolve import resolve_config
        from sppkit.machine.files import prepared

        resolved = resolve_config(flags, config, of=InvarianceConfig)
        chosen = cast("InvarianceConfig", resolved.config)
        check_asked(resolved)
        refuse_page(chosen.format, "invariance")
        folder, names = Path(chosen.out), _names(chosen)
        with prepared(folder, names):  # before minutes of work, not after them
            from sppkit.measuring.invariance.run import run_invariance

            with console.progress(quiet=quiet, unit="passes") as progress:
                run = run_invariance(resolved, progress)
            _write(run, folder, names)
        for warning in run.warnings:
            console.warn(warning)
        if not quiet:
            _summarize(run, [folder / name for name in names])


def _names(config: InvarianceConfig) -> list[str]:
    from sppkit.measuring.titles import invariance_stem

    stem = invariance_stem(config)
    return [f"{stem}.csv", f"{stem}-blocks.csv", f"{stem}.json", *(f"{stem}.{suffix}" for suffix in config.format)]


def _write(run: InvarianceRun, folder: Path, names: Sequence[str]) -> None:
    from sppkit.machine.files import all_or_nothing
    from sppkit.plot.invariance import plot_invariance
    from sppkit.plot.save import save_figure
    from sppkit.record.class_table import write_table
    from sppkit.record.write import write_record

    figure = plot_invariance(run.classes, run.blocks, title=_title(run.record), subtitle=_subtitle(run.record))
    with all_or_nothing(folder) as staging:
        write_table(run.classes, staging / names[0])
        write_table(run.blocks, staging / names[1])
        write_record(run.record, staging / names[2])
        for name in names[3:]:
            save_figure(figure, staging / name)


def _title(record: Mapping[str, Any]) -> str:
    return f"{record['model']['spec']} under {record['nuisance']['name']}"


def _subtitle(record: Mapping[str, Any]) -> str:
    checkpoint = record["checkpoint"]
    weights = "as the factory makes them" if checkpoint is None else checkpoint["file"]
    shape = "×".join(map(str, record["input"]["batch_shape"][1:]))
    draws = record["nuisance"]["draws"]
    return (
        f"{record['input']['samples_used']} pictures {shape} · {draws} draw{'s' * (draws != 1)} each · eval mode · "
        f"weights {weights} · seed {record['seeds'][0]}"
    )


def _summarize(run: InvarianceRun, paths: Sequence[Path]) -> None:
    console.show(_title(run.record), _subtitle(run.record), "")
    if len(run.classes) <= _MOST_SHOWN:
        console.show(_render_classes(run.classes), "")
    console.show(*_iter_sentences(run), "")
    if not run.blocks.empty:
        console.show(_render_blocks(run.blocks), "")
    console.show(*(f"wrote {path}" for path in paths))


def _iter_sentences(run: InvarianceRun) -> Iterator[str]:
    from sppkit.diagnosis.invariance_in_words import iter_sentences

    yield from iter_sentences(run.classes, run.blocks, run.record["result"])


def _render_classes(classes: pd.DataFrame) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    has_names, has_sizes = "class_name" in classes, "train_size" in classes
    headings = ["training", "pictures", "eKLD", "", "median", "consistency", "confidence", "accuracy"]
    table.add_column("class", justify="left" if has_names else "right")
    for heading in headings if has_sizes else headings[1:]:
        table.add_column(heading, justify="left" if not heading else "right")
    for row in classes.to_dict("records"):
        table.add_row(
            str(row["class_name"] if has_names else row["class"]),
            *([str(row["train_size"])] if has_sizes else []),
            str(row["samples"]),
            *_with_error(row["ekld"], row["ekld_se"]),
            f"{row['ekld_median']:.3g}",
            *(f"{row[name]:.3f}" for name in ("consistency", "confidence", "accuracy")),
        )
    return table


def _render_blocks(blocks: pd.DataFrame) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, justify in (("block", "right"), ("name", "left"), ("channels", "right"), ("signal-to-shift", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    table.add_column("")
    for row in blocks[blocks["class"].isna()].to_dict("records"):
        value, error = _with_error(row["signal_to_shift"], row["signal_to_shift_se"])
        table.add_row(str(row["block"]), row["name"], str(row["channels"]), value or "nothing to compare", error)
    return table


def _with_error(value: float, error: float) -> tuple[str, str]:
    if value != value:
        return "", ""
    return f"{value:.3g}", "" if error != error else f"± {error:.1g}"

"""``sppkit predict --model``: theory's curves of a network of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sppkit.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from rich.table import Table

    from sppkit.config.resolve import Resolved

# Options of a run that say something only of a network of the user's.
OWN = ("input", "seed", "device", "dtype", "sites")


def predict_own(resolved: Resolved, *, explains: bool, quiet: bool) -> None:
    """Run the network once to see its operations, write what theory expects, and show it."""
    from sppkit.cli.predict import write
    from sppkit.machine.files import prepared
    from sppkit.measuring.predict_run import predict_run
    from sppkit.measuring.titles import file_stem
    from sppkit.models.check_options import check_options

    check_options(resolved)
    chosen = resolved.config
    folder, stem = Path(chosen.out), f"{file_stem(resolved)}-predicted"
    names = [f"{stem}.{suffix}" for suffix in ("csv", "json", *chosen.format)]
    with prepared(folder, names):
        table, record = predict_run(resolved, explains=explains)
        write(table, record, folder, names)
    if "reason" in record["theory"]:
        console.warn(f"the curve ends where theory does: {record['theory']['reason']}.")
    if not quiet:
        _summarize(table, record, [folder / name for name in names])


def refuse_meaningless(resolved: Resolved, *, explains: bool) -> None:
    """Refuse what says nothing of a named architecture, of which no network is run."""
    from sppkit.config.parsers import flag_of
    from sppkit.errors import UsageError

    for name in OWN:
        if resolved.sources[name] != "default":
            raise UsageError(
                f"{flag_of(name)} means nothing for predict --arch, which runs no network; it belongs to --model."
            )
    if explains:
        raise UsageError("--explain means nothing for predict --arch; it belongs to --model.")


def _summarize(table: pd.DataFrame, record: dict[str, Any], paths: Sequence[Path]) -> None:
    from sppkit.measuring.titles import layout_line, subtitle, title

    console.show(f"{title(record)}, predicted", *filter(None, (layout_line(record), subtitle(record))), "")
    console.show(_render(table), "")
    if "parts" in table.attrs:
        console.show(_render_parts(table.attrs["parts"]), "")
    console.show(*(f"wrote {path}" for path in paths))


def _render(table: pd.DataFrame) -> Table:
    rendered = _new_table(("row", "name", "output"), ("squared mean", "variance", "residual variance"))
    for row in table.to_dict("records"):
        sizes = [row[name] for name in ("channels", "height", "width")]
        rendered.add_row(
            str(row["block"]),
            str(row["name"]),
            "×".join(str(size) for size in sizes if size == size and size is not None and str(size) != "<NA>"),
            *(_cell(row, name) for name in ("channel_squared_mean", "channel_variance", "residual_variance")),
        )
    return rendered


def _render_parts(parts: Iterable[Any]) -> Table:
    rendered = _new_table(("row", "module"), ("E x² before", "after", "times", "plus", "mean share"))
    for part in parts:
        before = part.before
        rendered.add_row(
            str(part.block),
            part.module,
            "" if before is None else f"{before:.4g}",
            f"{part.after:.4g}",
            "" if not before else f"{part.after / before:.3g}",
            "" if before is None else f"{part.after - before:+.3g}",
            f"{100 * part.mean_share:.1f} %",
        )
    return rendered


def _new_table(words: Sequence[str], numbers: Sequence[str]) -> Table:
    from rich.table import Table

    rendered = Table(box=None, pad_edge=False, header_style="bold")
    for heading in words:
        rendered.add_column(heading, overflow="fold")
    for heading in numbers:
        rendered.add_column(heading, justify="right", no_wrap=True)
    return rendered


def _cell(row: Mapping[Any, Any], statistic: str) -> str:
    value, spread = row[f"predicted_{statistic}"], row[f"predicted_{statistic}_spread"]
    if value != value:
        return ""
    return f"{value:.4g}" if spread != spread else f"{value:.4g} ± {spread:.1g}"

"""``sppkit inspect``: what a network is made of and where it is listened to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sppkit.cli import console
from sppkit.cli.options import ConfigFile, Debug, found_options, model_options, with_options
from sppkit.machine.interrupts import uninterrupted

if TYPE_CHECKING:
    from rich.table import Table

    from sppkit.config.resolve import Resolved
    from sppkit.models.outline import BlockOutline

All = Annotated[bool, typer.Option("--all", metavar="", help="One row per block, also where neighbours are alike.")]


@with_options((*model_options(), *found_options()))
def inspect(flags: dict[str, Any], config: ConfigFile = None, every: All = False, debug: Debug = False) -> None:
    """Show a network's blocks and where its signal is read.

    Of a named architecture nothing is drawn or run: depth 10000 answers at once. In a network of your own the residual
    joins are found by running it on one batch; each is shown with the reason.

    Try:

      sppkit inspect --arch nf-resnet --depth 50

      sppkit inspect --arch bn-relu-conv --depth 600 --all

      sppkit inspect --model timm:resnet50

      sppkit inspect --model path/nets.py:build --sites corrections.toml
    """
    with console.reporting_errors(debug=debug):
        from sppkit.config.resolve import resolve_config
        from sppkit.models.check_options import check_options

        resolved = resolve_config(flags, config)
        check_options(resolved)
        if resolved.config.model is not None or resolved.config.sites is not None:
            _show_found(resolved)
        else:
            _show_declared(resolved, every=every)


def _show_found(resolved: Resolved) -> None:
    from sppkit.joins.render import render_joins

    with uninterrupted():
        from sppkit.measuring.run import find

    console.show(*render_joins(find(resolved)))


def _show_declared(resolved: Resolved, *, every: bool) -> None:
    from sppkit.models.memory import count_parameters
    from sppkit.models.outline import outline
    from sppkit.models.spec import build_spec

    spec = build_spec(resolved.config.arch, resolved.given())
    parameters = count_parameters(spec)
    layout = ", ".join(map(str, spec.stages))
    console.show(
        f"{spec.arch}: {sum(spec.stages)} {spec.block} blocks in stages of {layout}; "
        f"{parameters / 1e6:.1f} M parameters ({parameters * 4 / 2**30:.2f} GiB in float32)",
        f"normalizer {spec.norm}{_settings(spec.norm_kw)}, weights {spec.weights}, init {spec.init}, "
        f"padding {spec.padding}, stem {spec.stem}, alpha {spec.alpha:g}",
        *([f"add-ons {spec.add_on}{_settings(spec.add_on_kw)}"] if spec.add_on else []),
        "Each block N is read at its output, blocks.N-1, and at the end of its branch.",
        "",
        _render(outline(spec, every=every)),
        "* its shortcut is a convolution, with stride 2 from stage 2 on",
    )


def _settings(text: str | None) -> str:
    return f" ({text.replace(',', ', ')})" if text else ""


def _render(rows: list[BlockOutline]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")  # 600 layers fit 60 columns
    for heading in ("block", "stage", "channels", "beta"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("branch read at", overflow="fold")
    for row in rows:
        table.add_row(*row.cells())
    return table

"""``sppkit inspect``: what a network is made of and where it is listened to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sppkit.cli import console
from sppkit.cli.options import ConfigFile, Debug, model_options, with_options

if TYPE_CHECKING:
    from rich.table import Table

    from sppkit.models.outline import BlockOutline

All = Annotated[bool, typer.Option("--all", metavar="", help="One row per block, also where neighbours are alike.")]


@with_options(model_options())
def inspect(flags: dict[str, Any], config: ConfigFile = None, every: All = False, debug: Debug = False) -> None:
    """Show a network's blocks and the modules where its signal is read.

    Nothing is drawn or run: depth 10000 answers at once.

    Try:

      sppkit inspect --arch nf-resnet --depth 50

      sppkit inspect --arch bn-relu-conv --depth 600 --all
    """
    with console.reporting_errors(debug=debug):
        from sppkit.config import resolve_config
        from sppkit.models.memory import count_parameters
        from sppkit.models.outline import outline
        from sppkit.models.spec import build_spec

        resolved = resolve_config(flags, config)
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

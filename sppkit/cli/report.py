"""``sppkit report``: one interactive page of saved runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sppkit.cli import console
from sppkit.cli.options import Debug, Quiet

Runs = Annotated[list[Path], typer.Argument(metavar="RUN.csv", help="Saved runs, or the table of a training.")]
Out = Annotated[Path, typer.Option("--out", metavar="PAGE.html", help="The page to write.")]
Title = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="What stands at its top.")]
DEFAULT_PAGE = Path("spp/report.html")


def report(
    runs: Runs, out: Out = DEFAULT_PAGE, title: Title = None, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Make one interactive page of saved runs: the verdict, linked panels, the table, the record.

    The page is one file that fetches nothing: open it in any browser, send it, keep it as a build's artifact.

    Try:

      sppkit report spp/nf-resnet-50.csv --out page.html

      sppkit report spp/before.csv spp/after.csv --out page.html

      sppkit report runs/spp.csv --out training.html
    """
    with console.reporting_errors(debug=debug):
        from sppkit.cli.pages import heading_of
        from sppkit.errors import UsageError
        from sppkit.plot.page.report import MOST_RUNS, build_page, label_runs, load_shown

        if out.suffix.lower() not in {".html", ".htm"}:
            raise UsageError(f"--out: the page is a .html file, not {str(out)!r:.60}.\nTry --out {out.stem}.html")
        if len(runs) > MOST_RUNS:
            raise UsageError(f"a page shows at most {MOST_RUNS} runs, not {len(runs)}.")
        shown = [load_shown(path, label) for label, path in zip(label_runs(runs), runs, strict=True)]
        heading, subtitle = heading_of([run.record for run in shown], title)
        build_page(shown, title=heading, subtitle=subtitle).save(out)
        if not quiet:
            console.show(f"wrote {out}")

"""``sppkit git``: a nuisance learned from pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sppkit.cli import console
from sppkit.cli.options import Debug, Quiet, with_options
from sppkit.config import options as config
from sppkit.config.git import GeneratorOptions, GitOptions

if TYPE_CHECKING:
    from torch import Tensor

    from sppkit.inputs.labelled import Labelled
    from sppkit.inputs.shifts.generative.generator import Generator
    from sppkit.inputs.shifts.generative.quality import Quality

# Rows and styles of the picture.
_ROWS, _STYLES = 8, 8
# Of the losses, the mean over this share of the steps is told.
_LAST = 10
# So many grey levels of 255 is nothing that a reader of the picture would see.
_UNSEEN = 4

git = typer.Typer(no_args_is_help=True, help="Learn a nuisance from pictures, to apply it to others (GIT).")
Resume = Annotated[
    bool, typer.Option("--resume", metavar="", help="Go on with the file, if it is there.", rich_help_panel="Training")
]


@git.callback()
def program() -> None:
    """Learn a nuisance from pictures, to apply it to others (GIT, Zhou et al. 2022)."""


@git.command()
@with_options(tuple(config.options(GitOptions)), of=GitOptions)
def train(flags: dict[str, Any], resume: Resume = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Train a generator on labelled pictures; its file is used as --shift git:FILE.

    Writes <name>.safetensors, a picture and the losses to spp/. The file is written anew every 100 steps: a training
    that was interrupted goes on with --resume, and ends as if nothing had been.

    Try:

      sppkit git train --input digits.npz

      sppkit git train --input k49-train-imgs.npz --labels k49-train-labels.npz --preset k49

      sppkit git train --input digits.npz --steps 6000 --resume
    """
    with console.reporting_errors(debug=debug):
        from sppkit.machine.files import prepared

        chosen = GitOptions(**config.parse_values(GitOptions, flags))
        folder, file = Path(chosen.out), Path(chosen.out, f"{chosen.name}.safetensors")
        given, pictures = _read(chosen)
        with prepared(folder, [file.name, f"{chosen.name}.png", f"{chosen.name}-losses.csv"]):
            generator = _train(flags, given, pictures, file, resume=resume, quiet=quiet)
            written = _write(generator, given, pictures, folder, chosen.name)
        if not quiet:
            _summarize(generator, pictures, file, written)


def _read(chosen: GitOptions) -> tuple[Labelled, Tensor]:
    from sppkit.errors import UsageError
    from sppkit.inputs.labelled_files import load_labelled

    if not chosen.input:
        raise UsageError("--input is needed: the pictures to learn from, for instance --input digits.npz.")
    given = load_labelled(chosen.input, chosen.labels, shape=chosen.shape)
    return given, given.read(range(len(given)))


def _train(
    flags: dict[str, Any], given: Labelled, pictures: Tensor, file: Path, *, resume: bool, quiet: bool
) -> Generator:
    from sppkit.inputs.shifts.generative.train import train_git

    own = config.options(GeneratorOptions)
    options = {name: value for name, value in flags.items() if name in own}
    try:
        with console.progress(quiet=quiet, unit="steps") as progress:
            return train_git(pictures, given.labels, file=file, resume=resume, progress=progress, **options)
    except KeyboardInterrupt:
        if file.exists():
            console.warn(f"{file} holds the last checkpoint; go on with it: --resume.")
        raise


def _write(generator: Generator, given: Labelled, pictures: Tensor, folder: Path, name: str) -> list[Path]:
    import pandas as pd

    from sppkit.inputs.shifts.generative.file import read_losses
    from sppkit.inputs.shifts.generative.quality import draw_grid
    from sppkit.inputs.shifts.generative.training import COLUMNS
    from sppkit.machine.files import all_or_nothing
    from sppkit.plot.save import save_figure
    from sppkit.plot.transformed import plot_transformed

    names = [f"{name}.png", f"{name}-losses.csv"]
    grid = draw_grid(generator, pictures, given.labels, rows=_ROWS, styles=_STYLES)
    title = f"contents × styles after {generator.header.steps} steps"
    figure = plot_transformed(grid, ["picture", "rebuilt", "styles", *[""] * (_STYLES - 1)], title)
    losses = pd.DataFrame(read_losses(folder / f"{name}.safetensors"), columns=[*COLUMNS])
    with all_or_nothing(folder) as staging:
        save_figure(figure, staging / names[0])
        losses.rename_axis("step").to_csv(staging / names[1], float_format="%.9g", lineterminator="\n")
    return [folder / each for each in names]


def _summarize(generator: Generator, pictures: Tensor, file: Path, written: list[Path]) -> None:
    from sppkit.inputs.shifts.generative.file import read_losses
    from sppkit.inputs.shifts.generative.quality import measure_quality
    from sppkit.inputs.shifts.generative.training import COLUMNS

    header = generator.header
    last = max(1, header.steps // _LAST)
    means = read_losses(file)[-last:].mean(0)
    shape = "×".join(map(str, header.sizes.picture))
    console.show(
        f"{header.steps} steps on {len(pictures)} pictures of {shape} in {len(header.classes)} classes",
        f"losses, mean of the last {last} steps: "
        + ", ".join(f"{name} {value:.3f}" for name, value in zip(COLUMNS, means, strict=True)),
        *describe(measure_quality(generator, pictures)),
        *[f"wrote {path}" for path in (file, *written)],
    )


def describe(quality: Quality) -> list[str]:
    """Return what the numbers say, in grey levels of 255."""
    rebuilt, changed, others = (
        255 * value for value in (quality.reconstruction, quality.style_effect, quality.content_effect)
    )
    back = f"{quality.style_recovered:.0%}" if quality.style_recovered > 0 else "nothing"
    lines = [
        f"a picture is rebuilt to within {rebuilt:.0f} grey levels of 255; another style changes it by {changed:.0f}, "
        f"another content by {others:.0f}; {back} of the styles' variance is read back"
    ]
    if changed < _UNSEEN:
        lines.append("Styles make no difference that could be seen: this generator leaves pictures as they are.")
    return lines

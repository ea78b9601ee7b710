"""Training a generative transformation on pictures, with a file that is whole at every moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sppkit.config.git import GeneratorOptions
from sppkit.config.options import parse_values
from sppkit.errors import UsageError
from sppkit.inputs.shifts.generative import file as files
from sppkit.inputs.shifts.generative.file import Header
from sppkit.inputs.shifts.generative.generator import Generator
from sppkit.inputs.shifts.generative.pictures import check_labels, check_pictures, digest
from sppkit.inputs.shifts.generative.sizes import PRESETS, SETTINGS, SIZES, Settings, Sizes
from sppkit.inputs.shifts.generative.training import Training
from sppkit.machine.files import prepared

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike
    from torch import Tensor


def train_git(
    pictures: Tensor | ArrayLike,
    labels: Tensor | ArrayLike | None = None,
    *,
    file: str | Path,
    resume: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> Generator:
    """Learn a nuisance from pictures (GIT, Zhou et al. 2022, arXiv:2203.09739).

    Two encoders split a picture into a content and a style, and a decoder puts a content and any style together. Every
    class is drawn as often, so that the few pictures of a rare class are seen as often as those of a common one.

    The file is replaced every ``checkpoint_every`` steps and at the end. What a step draws depends on the seed and its
    number alone: on one CPU, with one number of threads, a training that was interrupted and resumed ends bit for bit
    as one that was not.

    Args:
        pictures: Values in [0, 1], shape (N, C, H, W), C 1 or 3; uint8 is divided by 255.
        labels: Class of each picture, whole numbers, shape (N,); without them every picture is drawn as often.
        file: Where the training is kept, ``.safetensors``.
        resume: Whether to go on with the file, if it is there; otherwise a file that is there is refused.
        progress: Called with a name, the steps done and the steps to do.
        **options: Those of ``sppkit git train``, with underscores: ``preset``, ``steps``, ``batch_size``, ...

    Returns:
        The trained transformation.

    Raises:
        UsageError: For pictures or labels of other shapes or values, options that don't fit, a file of something else,
            one of other pictures or options, or losses that are no numbers any more.
    """
    config = GeneratorOptions(**parse_values(GeneratorOptions, options))
    checked = check_pictures(pictures)
    classes = check_labels(labels, len(checked))
    header = _header(config, checked, classes)
    path, device = Path(file), _device(config.device)
    with prepared(path.parent, [path.name]):
        is_there = path.exists()
        if is_there:
            _check_there(path, header, resume=resume)
        training = Training(header.sizes, header.settings, checked, classes, device)
        if is_there:
            _go_on(path, training)
        _run(training, header, path, config, progress)
    return Generator.read(path)


def _header(config: GeneratorOptions, pictures: Tensor, classes: np.ndarray[Any, Any]) -> Header:
    channels, height, width = pictures.shape[1:]
    shape = {"channels": channels, "height": height, "width": width}
    sizes = Sizes(**shape, **{name: _chosen(config, name) for name in SIZES if name not in shape})
    settings = Settings(**{name: _chosen(config, name) for name in SETTINGS})
    counts = np.unique(classes, return_counts=True)[1]
    return Header(
        sizes=sizes, settings=settings, steps=0, pictures=digest(pictures, classes), classes=tuple(counts.tolist())
    )


def _chosen(config: GeneratorOptions, name: str) -> Any:
    given = getattr(config, name)
    return PRESETS[config.preset][name] if given is None else given


def _device(name: str) -> torch.device:
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    usable = [device for device, available in found.items() if available]
    if name != "auto" and name not in usable:
        raise UsageError(f"--device {name}: there is no such device here; usable: {', '.join(usable)}.")
    return torch.device(usable[0] if name == "auto" else name)


def _check_there(path: Path, header: Header, *, resume: bool) -> None:
    there = files.read_header(path)
    if not resume:
        raise UsageError(
            f"{path} holds a training of {there.steps} steps.\n"
            "Go on with it: --resume. Or keep it, and choose another --name."
        )
    if there.pictures != header.pictures:
        raise UsageError(f"{path} was trained on other pictures or labels.\nGive those, or choose another --name.")
    before, now = ({**item.sizes.described(), **item.settings.described()} for item in (there, header))
    differing = [name for name in now if now[name] != before[name]]
    if differing:
        name = differing[0]
        raise UsageError(
            f"{path} was trained with --{name.replace('_', '-')} {before[name]}, not {now[name]}.\n"
            "Give the same options, or choose another --name."
        )


def _go_on(path: Path, training: Training) -> None:
    state = files.read_state(path)
    files.check_shapes(path, training.shapes(files.read_header(path).steps), state)
    training.load(state)


def _run(
    training: Training,
    header: Header,
    path: Path,
    config: GeneratorOptions,
    progress: Callable[[str, int, int], None] | None,
) -> None:
    steps, every = _chosen(config, "steps"), config.checkpoint_every
    while training.steps < steps:
        training.step()
        if progress is not None:
            progress("training", training.steps, steps)
        if training.steps % every == 0 or training.steps == steps:
            _keep(training, header, path)


def _keep(training: Training, header: Header, path: Path) -> None:
    lost = (~torch.isfinite(training.losses()).all(1)).nonzero()
    if len(lost):
        raise UsageError(
            f"the losses are no numbers from step {int(lost[0]) + 1} on. Try a smaller --learning-rate."
            + (f"\n{path} holds the last checkpoint before." if path.exists() else "")
        )
    files.write(path, replace(header, steps=training.steps), training.state())

"""The options of ``sppkit invariance`` beside those of every run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from sppkit import registry
from sppkit.config import parsers
from sppkit.config.options import _INPUT, _MOST_SAMPLES, _RUN, RunConfig, _option
from sppkit.config.shifts import parse_nuisance
from sppkit.errors import UsageError

if TYPE_CHECKING:
    from sppkit.config.resolve import Resolved

    Numbers = tuple[float, ...]

# Of all options, those that mean something here.
INVARIANCE_OPTIONS = (
    *("model", "kw", "checkpoint", "sites"),
    *("input", "labels", "train_labels", "per_class", "normalize", "shape", "image_size", "batch_size"),
    *("nuisance", "draws", "seed", "device", "dtype", "out", "name", "format"),
)
_MOST_DRAWS = 1_000_000
_LARGEST = 1e6


def nuisance_option(name: str, value: object) -> str:
    """Take one nuisance, in one spelling; any shift can be one."""
    return parse_nuisance(parsers.text(name, value)).text


def normalization(name: str, value: object) -> str:
    """Take ``none``, ``imagenet``, or ``MEAN/STD``, each a number or one per channel, in one spelling.

    >>> normalization("normalize", "0.50/0.25"), normalization("normalize", "none")
    ('0.5/0.25', 'none')
    """
    text = parsers.text(name, value)
    return text if text in {"none", "imagenet"} else "/".join(",".join(f"{x:g}" for x in part) for part in _split(text))


def split_normalization(text: str) -> tuple[Numbers, Numbers]:
    """Return the means and the standard deviations of ``MEAN/STD``."""
    return _split(text)


def _split(text: str) -> tuple[Numbers, Numbers]:
    parts = text.split("/")
    if len(parts) != len(("mean", "deviation")):
        raise UsageError(
            f"--normalize must be none, imagenet or MEAN/STD, as in 0.5/0.25 or 0.5,0.4,0.3/0.2,0.2,0.2, "
            f"not {text!r:.60}."
        )
    mean, deviation = (tuple(_number(item) for item in part.split(",")) for part in parts)
    return mean, deviation


def _number(text: str) -> float:
    return parsers.real_number(-_LARGEST, _LARGEST)("normalize", text)


@dataclass(frozen=True, kw_only=True)
class InvarianceConfig(RunConfig):
    """What decides a measurement of invariance."""

    input: str = _option(
        "",
        parsers.text,
        "SOURCE",
        _INPUT,
        "Pictures: a folder that holds a folder per class, a .npz, .pt or .safetensors file with inputs and labels, or "
        "path/file.py:function, which runs that code.",
    )
    labels: str | None = _option(
        None, parsers.text, "FILE", _INPUT, "Classes of the pictures in --input, where they are not in the same file."
    )
    train_labels: str | None = _option(
        None,
        parsers.text,
        "FILE",
        _INPUT,
        "Classes of the training examples, or a folder per class of them: how many each class has.",
    )
    per_class: int = _option(
        40, parsers.whole_number(1, _MOST_SAMPLES), "N", _INPUT, "Pictures of each class, at most; drawn by --seed."
    )
    normalize: str | None = _option(
        None,
        normalization,
        "MEAN/STD",
        _INPUT,
        "What the network's input is normalized by, behind the nuisance: none (arrays, unless told), imagenet "
        "(folders, unless told), or numbers, as in 0.5/0.25.",
        ("none", "imagenet"),
    )
    batch_size: int = _option(64, parsers.whole_number(1, _MOST_SAMPLES), "N", _INPUT, "Pictures at a time.")
    nuisance: str | None = _option(
        None,
        nuisance_option,
        "NAME[:KEY=VALUE]",
        _RUN,
        "What is done to the pictures and should not matter (sppkit list nuisances; any shift will do), or "
        "path/file.py:function, which runs that code.",
        registry.KINDS["nuisance"],
    )
    draws: int = _option(8, parsers.whole_number(1, _MOST_DRAWS), "N", _RUN, "Transformations of each picture.")


def check_asked(resolved: Resolved) -> None:
    """Refuse a measurement that says not of what it is to be, or says what means nothing for it."""
    config = cast("InvarianceConfig", resolved.config)
    for name, source in resolved.sources.items():
        if source != "default" and name not in INVARIANCE_OPTIONS:
            raise UsageError(
                f"{source}: {name} means nothing for sppkit invariance.\nIt takes {', '.join(INVARIANCE_OPTIONS)}."
            )
    for given, flag, what in (
        (config.model, "--model SPEC", "the classifier, as in --model timm:resnet50 or path/nets.py:build"),
        (config.nuisance, "--nuisance NAME", "what should not matter: sppkit list nuisances"),
    ):
        if given is None:
            raise UsageError(f"sppkit invariance needs {flag}, {what}.")
    if config.input in {"", "gaussian", "tokens"}:
        raise UsageError(
            "sppkit invariance needs labelled pictures: --input FOLDER, with a folder per class in it, or --input "
            "FILE.npz of the arrays inputs and labels."
        )

"""Every option of ``sppkit git train``, once: its name, default, meaning and parser."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sppkit.config import parsers
from sppkit.config.options import Option

# Headings of the help screen.
_INPUT, _NETWORKS, _TRAINING, _OUTPUT = "Input", "Networks", "Training", "Output"
# Limits far beyond any training; what passes them is a slip of the hand.
_LARGEST_SIDE = 4096
_MOST_CHANNELS = 4096
_MOST_HALVINGS = 12
_MOST_BLOCKS = 100
_MOST_STEPS = 10**8
_LARGEST_BATCH = 100_000
_LARGEST_RATE = 1e3

PRESETS = ("small", "k49")


def _option(default: Any, parse: Any, metavar: str, panel: str, summary: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"option": Option(parse, metavar, summary, panel, choices)})


def _choice(default: str, choices: tuple[str, ...], panel: str, summary: str) -> Any:
    return _option(default, parsers.one_of(*choices), "NAME", panel, summary, choices)


@dataclass(frozen=True, kw_only=True)
class GeneratorOptions:
    """How large the networks are and how they are trained; ``None`` takes the preset's value."""

    preset: str = _choice(
        "small",
        PRESETS,
        _NETWORKS,
        "small: for digits, in a minute on a CPU; k49: as published for Kuzushiji-49.",
    )
    features: int | None = _option(
        None, parsers.whole_number(1, _MOST_CHANNELS), "N", _NETWORKS, "Channels of the encoders' first convolution."
    )
    downsamplings: int | None = _option(
        None, parsers.whole_number(0, _MOST_HALVINGS), "N", _NETWORKS, "Halvings of the map before the content."
    )
    style_downsamplings: int | None = _option(
        None, parsers.whole_number(0, _MOST_HALVINGS), "N", _NETWORKS, "Halvings of the map before the style."
    )
    residual_blocks: int | None = _option(
        None,
        parsers.whole_number(1, _MOST_BLOCKS),
        "N",
        _NETWORKS,
        "Blocks of the content encoder, and of the decoder.",
    )
    style: int | None = _option(None, parsers.whole_number(1, _MOST_CHANNELS), "N", _NETWORKS, "Numbers in a style.")
    hidden: int | None = _option(
        None, parsers.whole_number(1, _MOST_CHANNELS), "N", _NETWORKS, "Width of the layers from style to decoder."
    )
    discriminator_features: int | None = _option(
        None, parsers.whole_number(1, _MOST_CHANNELS), "N", _NETWORKS, "Channels of the discriminator's first layer."
    )
    discriminator_layers: int | None = _option(
        None, parsers.whole_number(1, _MOST_HALVINGS), "N", _NETWORKS, "Halvings of the map by the discriminator."
    )
    domains: int | None = _option(
        None,
        parsers.whole_number(1, 2),
        "N",
        _NETWORKS,
        "2 trains two generators on each other's contents; one is kept.",
    )
    steps: int | None = _option(
        None, parsers.whole_number(1, _MOST_STEPS), "N", _TRAINING, "Steps in all, those of a resumed file included."
    )
    batch_size: int | None = _option(
        None, parsers.whole_number(1, _LARGEST_BATCH), "N", _TRAINING, "Pictures per step and domain."
    )
    learning_rate: float | None = _option(
        None, parsers.positive_number(_LARGEST_RATE), "X", _TRAINING, "Of Adam, whose betas are 0.5 and 0.999."
    )
    weight_decay: float | None = _option(
        None, parsers.real_number(0, _LARGEST_RATE), "X", _TRAINING, "Of Adam, added to the gradient."
    )
    flip: bool | None = _option(
        None, parsers.true_or_false, "", _TRAINING, "Mirror half of the pictures, left to right."
    )
    seed: int = _option(0, parsers.parse_seed, "N", _TRAINING, "Seed of the weights and of what each step draws.")
    device: str = _choice("auto", ("auto", "cpu", "cuda", "mps"), _TRAINING, "auto takes a GPU where there is one.")
    checkpoint_every: int = _option(
        100, parsers.whole_number(1, _MOST_STEPS), "N", _TRAINING, "Steps after which the file is written again."
    )


@dataclass(frozen=True, kw_only=True)
class GitOptions(GeneratorOptions):
    """All of the command: what is learned from, how, and where it goes."""

    input: str = _option(
        "",
        parsers.text,
        "SOURCE",
        _INPUT,
        "A .npz file with images and labels, a .npy file, or a folder with a subfolder of pictures for each class.",
    )
    labels: str | None = _option(
        None, parsers.text, "FILE", _INPUT, "Labels of a .npz or .npy input that does not hold them: .npz or .npy."
    )
    shape: tuple[int, ...] | None = _option(
        None,
        parsers.whole_numbers("1,28,28", maximum=_LARGEST_SIDE, most=3),
        "C,H,W",
        _INPUT,
        "Shape that the pictures of a folder are brought to; arrays keep theirs.",
    )
    out: str = _option("spp", parsers.folder, "DIR", _OUTPUT, "Folder of the files.")
    name: str = _option("git", parsers.file_stem, "STEM", _OUTPUT, "File name without its ending.")

"""Every option of a run, once: its name, default, meaning and parser.

The dataclasses below are the single list from which the command line, the TOML files, ``build_model`` and the record
are made. A value is parsed the same way wherever it comes from.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from sppkit import registry
from sppkit.config import parsers
from sppkit.config.shifts import one_shift
from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


@dataclass(frozen=True)
class Option:
    """What a user sees of one option, and how a typed value becomes a checked one."""

    parse: Callable[[str, object], Any]
    metavar: str
    help: str
    panel: str
    choices: tuple[str, ...] = ()
    repeatable: bool = False


def _option(
    default: Any,
    parse: Any,
    metavar: str,
    panel: str,
    summary: str,
    choices: Iterable[str] = (),
    *,
    repeatable: bool = False,
) -> Any:
    return field(
        default=default, metadata={"option": Option(parse, metavar, summary, panel, tuple(choices), repeatable)}
    )


def _choice(default: str | None, choices: tuple[str, ...], panel: str, summary: str) -> Any:
    return _option(default, parsers.one_of(*choices), "NAME", panel, summary, choices)


def _registered(default: str | None, kind: str, summary: str) -> Any:
    return _option(default, parsers.registered(kind), "NAME", _MODEL, summary, registry.KINDS[kind])


# Headings of the help screen.
_MODEL, _INPUT, _RUN, _OUTPUT = "Model", "Input", "Run", "Output"
_ORDERS = ("relu-ic-conv", "ic-conv-relu", "conv-relu-ic")
# Before the branch, at its end, on the skip connection, after the addition, and on the images (Tang et al. 2021).
_POSITIONS = ("pre", "residual", "identity", "post", "input")
_NOISES = ("multiplicative", "additive-max", "additive-std")
_VARIANTS = tuple(f"b{size}" for size in range(9))
_INITS = ("he", "lecun")
_DEVICES = ("auto", "cpu", "cuda", "mps")
_DTYPES = ("float32", "bfloat16", "float16", "float64")
_FORMATS = ("png", "svg", "pdf", "html")
# Limits far beyond any network: what passes them is a slip of the hand, and is said before hours of work.
# Channels double per stage: the tenth has 2^9 times those of the first.
_MOST_STAGES = 10
MOST_BLOCKS = 1_000_000
_MOST_LAYERS = 3 * MOST_BLOCKS
_LARGEST_WIDTH = 1000
# Within float32 (3.4e38) with room for a signal.
_LARGEST_FACTOR = 1e30
_LARGEST_SIDE = 100_000
_MOST_SAMPLES = 1_000_000
_MOST_BATCHES = 1_000_000
_MOST_SEEDS = 10_000
_SIDES = 10
_LARGEST_VOCABULARY = 10_000_000
# The options of a network that is not one of ours, and of its weights.
OWN_MODEL = ("model", "kw", "checkpoint", "reinit", "sites")
_PUBLISHED = "50, 101, 152, 200, 288 and 600 have the published layout"


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What network to build; ``None`` takes the architecture's own default."""

    depth: int | None = _option(
        None, parsers.whole_number(1, _MOST_LAYERS), "N", _MODEL, f"Number of layers; {_PUBLISHED}."
    )
    stages: tuple[int, ...] | None = _option(
        None,
        parsers.whole_numbers("3,4,6,3", maximum=MOST_BLOCKS, most=_MOST_STAGES),
        "N,N,...",
        _MODEL,
        "Blocks per stage, for instance 3,4,6,3, instead of --depth.",
    )
    variant: str | None = _choice(None, _VARIANTS, _MODEL, f"Size of nf-regnet: {', '.join(_VARIANTS)}.")
    block: str = _choice(
        "bottleneck", ("bottleneck", "basic"), _MODEL, "bottleneck (1x1, 3x3, 1x1) or basic (3x3, 3x3; ResNet-18, 34)."
    )
    width: float = _option(
        1.0, parsers.positive_number(_LARGEST_WIDTH), "X", _MODEL, "Width multiplier; 1.0 is the standard ResNet."
    )
    activation: str | Callable[[Any], Any] = _option(
        "relu", parsers.name_or_callable, "NAME", _MODEL, "See sppkit list activations.", registry.ACTIVATIONS
    )
    norm: str | None = _registered(
        None, "normalizer", "Normalizer of bn-relu-conv and relu-bn-conv: see sppkit list normalizers."
    )
    norm_kw: str | None = _option(
        None, parsers.settings, "KEY=VALUE,...", _MODEL, "Settings of the normalizer, for instance groups=16."
    )
    order: str | None = _choice(
        None, _ORDERS, _MODEL, f"Order of a branch with --norm ic, if not the architecture's own: {', '.join(_ORDERS)}."
    )
    add_on: str | None = _option(
        None,
        parsers.placed("add-on", _POSITIONS, "post"),
        "NAME@PLACE+...",
        _MODEL,
        f"selfnorm, crossnorm or both, at {', '.join(_POSITIONS)} (crossnorm only): for instance selfnorm@residual.",
        registry.ADD_ONS,
    )
    add_on_kw: str | None = _option(
        None, parsers.settings, "KEY=VALUE,...", _MODEL, "Settings of add-ons: gates, instances, crop, channels."
    )
    weights: str | None = _registered(
        None, "weight parametrization", "Weight parametrization: none, ws, centered-ws, scaled-ws."
    )
    init: str | None = _choice(None, _INITS, _MODEL, "Weight variance c/fan_in: he (c = 2) or lecun (c = 1).")
    noise: float | None = _option(
        None,
        parsers.real_number(0, _LARGEST_FACTOR),
        "ETA",
        _MODEL,
        "Strength of the noise on every convolution's weights.",
    )
    noise_kind: str | None = _choice(
        None, _NOISES, _MODEL, f"Kind of the noise: {', '.join(_NOISES)}; the first unless said."
    )
    enorm: bool = _option(
        False, parsers.true_or_false, "", _MODEL, "Equi-normalization: balance the weights, computing the same."
    )
    enorm_kw: str | None = _option(
        None, parsers.settings, "KEY=VALUE,...", _MODEL, "Settings of --enorm: c, p, cycles; for instance c=1.2."
    )
    padding: str = _choice("zeros", ("zeros", "circular"), _MODEL, "Padding of the convolutions: zeros or circular.")
    stem: str = _choice(
        "imagenet", ("imagenet", "no-pool", "cifar"), _MODEL, "imagenet (7x7/2, max-pool), no-pool, or cifar (3x3)."
    )
    gain: float | str | None = _option(
        None,
        parsers.exact_or_number(_LARGEST_FACTOR),
        "X",
        _MODEL,
        "Factor after every activation: exact or a number.",
        ("exact",),
    )
    alpha: float | None = _option(
        None, parsers.real_number(0, _LARGEST_FACTOR), "X", _MODEL, "Scale of the residual branch of nf-resnet (0.2)."
    )
    se: bool = _option(False, parsers.true_or_false, "", _MODEL, "Squeeze-and-excite at the end of every branch.")
    skip_gain: float | None = _option(
        None,
        parsers.real_number(-_LARGEST_FACTOR, _LARGEST_FACTOR),
        "X",
        _MODEL,
        "Initial value of the scalar gain on every branch: 1, but 0 for skipinit.",
    )
    stochastic_depth: float | None = _option(
        None, parsers.real_number(0, 1), "RATE", _MODEL, "Highest drop rate of nf-resnet's branches (0: off)."
    )


@dataclass(frozen=True, kw_only=True)
class RunConfig(ModelOptions):
    """Everything that decides a run and where its files go."""

    arch: str = _registered("", "architecture", "Named architecture: see sppkit list architectures.")
    model: str | None = _option(
        None,
        parsers.text,
        "SPEC",
        _MODEL,
        "Your own network instead of --arch: timm:NAME, torchvision:NAME, hf:NAME, package.module:factory or "
        "path/file.py:factory; the last two run that code.",
    )
    kw: dict[str, Any] | None = _option(
        None,
        parsers.keywords,
        "KEY=VALUE",
        _MODEL,
        "Keyword argument for what --model names; as often as there are arguments.",
        repeatable=True,
    )
    checkpoint: str | None = _option(
        None,
        parsers.text,
        "FILE",
        _MODEL,
        "Weights from a .safetensors, .pt, .pth or .bin file; no pickle is run.",
    )
    reinit: str | None = _option(
        None,
        parsers.keyed,
        "keyed",
        _MODEL,
        "keyed: draw the weights of --model per parameter name, as --arch does, whatever the order of its code.",
        ("keyed",),
    )
    sites: str | None = _option(
        None,
        parsers.text,
        "FILE.toml",
        _MODEL,
        "Corrections of the residual joins that are found; found: find them in --arch too, which declares its own.",
        ("found",),
    )
    input: str = _option(
        "gaussian",
        parsers.text,
        "SOURCE",
        _INPUT,
        "gaussian, a folder of pictures, a picture, a .npy, .npz, .pt, .pth or .safetensors file, tokens, or, "
        "with --model, a function that makes a batch: path/file.py:function.",
        ("gaussian", "tokens"),
    )
    vocab: int | None = _option(
        None, parsers.whole_number(1, _LARGEST_VOCABULARY), "N", _INPUT, "Number of different tokens of --input tokens."
    )
    shape: tuple[int, ...] | dict[str, str] | None = _option(
        None,
        parsers.sample_shape("3,224,224", maximum=_LARGEST_SIDE, most=_SIDES, vocabulary=_LARGEST_VOCABULARY),
        "C,H,W",
        _INPUT,
        "Shape of one sample (3,224,224; or 128, the tokens of a sequence). Of several arguments by their names: "
        "--shape image=3,32,32 --shape text=16:1000, which is 16 of 1000 tokens.",
        repeatable=True,
    )
    batch_size: int = _option(8, parsers.whole_number(1, _MOST_SAMPLES), "N", _INPUT, "Samples in a batch.")
    image_size: int = _option(
        224, parsers.whole_number(1, _LARGEST_SIDE), "PX", _INPUT, "Height and width of the input."
    )
    batches: int = _option(
        1, parsers.whole_number(1, _MOST_BATCHES), "N", _INPUT, "Batches; the statistics are those of their union."
    )
    shift: str | None = _option(
        None,
        one_shift,
        "NAME[:KEY=VALUE]",
        _INPUT,
        "Shift every picture of --input first (sppkit list shifts), or path/file.py:function, which runs that code.",
        registry.SHIFTS,
    )
    seed: int = _option(0, parsers.parse_seed, "N", _RUN, "Seed of weights and input.")
    seeds: int = _option(1, parsers.whole_number(1, _MOST_SEEDS), "K", _RUN, "Measure K seeds: seed, seed+1, ...")
    mode: str = _choice("train", ("train", "eval"), _RUN, "train: batch statistics; eval: stored ones.")
    warmup: int = _option(
        0, parsers.whole_number(0, _MOST_BATCHES), "N", _RUN, "Batches that only move the running statistics, first."
    )
    device: str = _choice("auto", _DEVICES, _RUN, "auto takes a GPU where there is one.")
    streaming: str = _choice(
        "auto", ("auto", "on", "off"), _RUN, "Hold one block's weights at a time; auto: where all of them do not fit."
    )
    dtype: str = _choice("float32", _DTYPES, _RUN, "Type that model and input are cast to.")
    stats: tuple[str, ...] = _option(
        registry.DEFAULT_STATISTICS,
        parsers.statistics,
        "NAME,...",
        _RUN,
        "Statistics to measure (sppkit list statistics); spp: the first three; gradient: those of it; all.",
        (*registry.STATISTIC_GROUPS, *registry.STATISTICS),
    )
    theory: bool = _option(
        True, parsers.true_or_false, "", _RUN, "Put the curves that theory predicts beside the measured ones."
    )
    out: str = _option("spp", parsers.folder, "DIR", _OUTPUT, "Folder of the files.")
    name: str | None = _option(
        None, parsers.file_stem, "STEM", _OUTPUT, "File name without its ending, instead of <arch>-<depth>."
    )
    format: tuple[str, ...] = _option(
        ("png",),
        parsers.names_of("picture format", _FORMATS),
        "png,svg,pdf,html",
        _OUTPUT,
        "Picture formats; html is the interactive page.",
        _FORMATS,
    )


def options(of: type) -> dict[str, Option]:
    """Return the options of a dataclass of this module."""
    return {item.name: item.metadata["option"] for item in fields(of)}


def parse_values(of: type, given: Mapping[str, object]) -> dict[str, Any]:
    """Check and convert given values."""
    known = options(of)
    for name in given:
        if name not in known:
            # Python's arguments are spelled with underscores, flags and files with dashes.
            spell = str if of is ModelOptions else _dashed
            raise UsageError(_unknown(spell(name), [spell(option) for option in known]))
    return {name: known[name].parse(name, value) for name, value in given.items()}


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _unknown(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    match = f"; did you mean {close[0]!r}?" if close else "."
    return f"unknown option {name!r:.60}{match}\nKnown: {', '.join(sorted(known))}."

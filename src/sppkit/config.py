"""Every option of a run, once: its name, default, meaning and parser.

The dataclasses below are the single list from which the command line, the TOML files, ``build_model`` and the record
are made. A value is parsed the same way wherever it comes from, and remembers where that was.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from sppkit import registry
from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Option:
    """What a user sees of one option, and how a typed value becomes a checked one."""

    parse: Callable[[str, object], Any]
    metavar: str
    help: str
    panel: str
    choices: tuple[str, ...] = ()


def whole_number(minimum: int) -> Callable[[str, object], int]:
    """Return a parser of whole numbers of at least ``minimum``."""  # noqa: DOC201 - said in one line

    def parse(name: str, value: object) -> int:
        try:
            number = int(str(value))
        except ValueError:
            number = None
        if number is None or isinstance(value, bool) or number < minimum:
            raise UsageError(f"{_flag(name)} must be a whole number of at least {minimum}, not {value!r}.")
        return number

    return parse


def real_number(minimum: float = -math.inf, *, above: bool = False, maximum: float = math.inf) -> Callable[[str, object], float]:
    """Return a parser of finite numbers between ``minimum`` (excluded if ``above``) and ``maximum``."""  # noqa: DOC201
    limits = [f"{'more than' if above else 'at least'} {minimum:g}"] * (minimum > -math.inf)
    limits += [f"at most {maximum:g}"] * (maximum < math.inf)
    legal = " ".join(["a finite number", *[" and ".join(limits)]]).replace("number ", "number of ") if limits else "a finite number"

    def parse(name: str, value: object) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(str(value))
        except ValueError:
            number = math.nan
        too_small = number <= minimum if above else number < minimum
        if not math.isfinite(number) or too_small or number > maximum:
            raise UsageError(f"{_flag(name)} must be {legal}, not {value!r}.")
        return number

    return parse


def one_of(*choices: str) -> Callable[[str, object], str]:
    """Return a parser of a fixed set of words."""  # noqa: DOC201

    def parse(name: str, value: object) -> str:
        return registry.check_name(_flag(name), str(value), choices)

    return parse


def registered(kind: str) -> Callable[[str, object], str]:
    """Return a parser of the registered names of a kind."""  # noqa: DOC201

    def parse(name: str, value: object) -> str:  # noqa: ARG001 - parsers share one signature
        return registry.check_name(kind, str(value), registry.KINDS[kind])

    return parse


def text(name: str, value: object) -> str:
    """Take any text that is not empty."""  # noqa: DOC201, DOC501
    if not isinstance(value, str) or not value:
        raise UsageError(f"{_flag(name)} must be a text that is not empty, not {value!r}.")
    return value


def flag(name: str, value: object) -> bool:
    """Take true or false."""  # noqa: DOC201, DOC501
    if not isinstance(value, bool):
        raise UsageError(f"{_flag(name)} must be true or false, not {value!r}.")
    return value


def whole_numbers(name: str, value: object) -> tuple[int, ...]:
    """Take whole numbers of at least 1, as ``"3,4,6,3"`` or a list."""  # noqa: DOC201, DOC501
    items = value.split(",") if isinstance(value, str) else value
    try:
        return tuple(whole_number(1)(name, item) for item in items)  # type: ignore[union-attr, attr-defined]
    except (UsageError, TypeError):
        raise UsageError(
            f"{_flag(name)} must be whole numbers of at least 1 with commas between, as in 3,4,6,3, not {value!r}."
        ) from None


def names_of(kind: str, choices: tuple[str, ...] = ()) -> Callable[[str, object], tuple[str, ...]]:
    """Return a parser of a comma-separated list of registered names, or of ``choices``."""  # noqa: DOC201

    def parse(name: str, value: object) -> tuple[str, ...]:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not items:
            raise UsageError(f"{_flag(name)} must be names with commas between, not {value!r}.")
        known = choices or tuple(registry.KINDS[kind])
        return tuple(dict.fromkeys(registry.check_name(kind, str(item).strip(), known) for item in items))

    return parse


def gain(name: str, value: object) -> float | str:
    """Take ``exact`` or a positive number."""  # noqa: DOC201
    if value == "exact":
        return "exact"
    try:
        return real_number(0, above=True)(name, value)
    except UsageError:
        raise UsageError(f"{_flag(name)} must be 'exact' or a number of more than 0, not {value!r}.") from None


def activation(name: str, value: object) -> Any:  # noqa: ANN401 - a name, or a callable from Python
    """Take a registered activation's name, or any callable from Python."""  # noqa: DOC201
    return value if callable(value) else registered("activation")(name, value)


def _option(default: Any, parse: Any, metavar: str, panel: str, help: str, choices: tuple[str, ...] = ()) -> Any:  # noqa: A002, ANN401
    return field(default=default, metadata={"option": Option(parse, metavar, help, panel, choices)})


_MODEL, _INPUT, _RUN, _OUTPUT = "Model", "Input", "Run", "Output"


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What network to build; ``None`` takes the architecture's own default."""

    depth: int | None = _option(
        None, whole_number(1), "N", _MODEL, "Number of layers; 50, 101, 152, 200, 288 and 600 have the published layout."
    )
    stages: tuple[int, ...] | None = _option(
        None, whole_numbers, "N,N,...", _MODEL, "Blocks per stage, for instance 3,4,6,3, instead of --depth."
    )
    block: str = _option(
        "bottleneck", one_of("bottleneck", "basic"), "KIND", _MODEL,
        "bottleneck (1x1, 3x3, 1x1) or basic (3x3, 3x3; ResNet-18 and 34).", ("bottleneck", "basic"),
    )
    width: float = _option(
        1.0, real_number(0, above=True), "X", _MODEL, "Width multiplier; 1.0 is the standard ResNet."
    )
    activation: Any = _option(
        "relu", activation, "NAME", _MODEL, "Activation: sppkit list activations.", tuple(registry.ACTIVATIONS)
    )
    norm: str | None = _option(
        None, registered("normalizer"), "NAME", _MODEL, "Normalizer of bn-relu-conv and relu-bn-conv: sppkit list normalizers.",
        tuple(registry.NORMALIZERS),
    )
    weights: str | None = _option(
        None, registered("weight parametrization"), "NAME", _MODEL, "Weight parametrization: none, ws, centered-ws, scaled-ws.",
        tuple(registry.WEIGHTS),
    )
    init: str | None = _option(
        None, one_of("he", "lecun"), "LAW", _MODEL, "Weight variance c/fan_in: he (c = 2) or lecun (c = 1).", ("he", "lecun")
    )
    padding: str = _option(
        "zeros", one_of("zeros", "circular"), "KIND", _MODEL, "Padding of the convolutions: zeros or circular.",
        ("zeros", "circular"),
    )
    stem: str = _option(
        "imagenet", one_of("imagenet", "no-pool", "cifar"), "KIND", _MODEL,
        "imagenet (7x7 stride 2, max-pool), no-pool, or cifar (3x3 stride 1).", ("imagenet", "no-pool", "cifar"),
    )
    gain: float | str | None = _option(
        None, gain, "X", _MODEL, "Factor behind every activation: exact (variance-preserving) or a number.", ("exact",)
    )
    alpha: float | None = _option(None, real_number(0), "X", _MODEL, "Scale of the residual branch of nf-resnet (0.2).")
    se: bool = _option(False, flag, "", _MODEL, "Squeeze-and-excite at the end of every branch.")
    skip_gain: float = _option(1.0, real_number(), "X", _MODEL, "Initial value of the scalar gain on every branch.")
    stochastic_depth: float | None = _option(
        None, real_number(0, maximum=1), "RATE", _MODEL, "Highest drop rate of stochastic depth in nf-resnet (0: off)."
    )


@dataclass(frozen=True, kw_only=True)
class RunConfig(ModelOptions):
    """Everything that decides a run and where its files go."""

    arch: str = _option(
        "", registered("architecture"), "NAME", _MODEL, "Named architecture: sppkit list architectures.",
        tuple(registry.ARCHITECTURES),
    )
    input: str = _option(
        "gaussian", text, "SOURCE", _INPUT,
        "gaussian, a folder of pictures, a picture, or a .npy, .npz, .pt or .safetensors file.", ("gaussian",),
    )
    shape: tuple[int, ...] | None = _option(None, whole_numbers, "C,H,W", _INPUT, "Shape of one sample (3,224,224).")
    batch_size: int = _option(8, whole_number(1), "N", _INPUT, "Samples in a batch.")
    image_size: int = _option(224, whole_number(1), "PX", _INPUT, "Height and width of the input.")
    batches: int = _option(1, whole_number(1), "N", _INPUT, "Batches; the statistics are those of their union.")
    seed: int = _option(0, whole_number(0), "N", _RUN, "Seed of weights and input.")
    seeds: int = _option(1, whole_number(1), "K", _RUN, "Measure K seeds: seed, seed+1, ...")
    mode: str = _option(
        "train", one_of("train", "eval"), "MODE", _RUN, "train: batch statistics; eval: stored ones.", ("train", "eval")
    )
    warmup: int = _option(0, whole_number(0), "N", _RUN, "Batches that only move the running statistics, first.")
    device: str = _option(
        "auto", one_of("auto", "cpu", "cuda", "mps"), "NAME", _RUN, "auto takes a GPU where there is one.",
        ("auto", "cpu", "cuda", "mps"),
    )
    dtype: str = _option(
        "float32", one_of("float32", "bfloat16", "float16", "float64"), "NAME", _RUN,
        "Type that model and input are cast to.", ("float32", "bfloat16", "float16", "float64"),
    )
    stats: tuple[str, ...] = _option(
        tuple(registry.STATISTICS), names_of("statistic"), "NAME,...", _RUN, "Statistics to measure: sppkit list statistics.",
        tuple(registry.STATISTICS),
    )
    out: str = _option("spp", text, "DIR", _OUTPUT, "Folder of the files.")
    name: str | None = _option(None, text, "STEM", _OUTPUT, "File name without its ending, instead of <arch>-<depth>.")
    format: tuple[str, ...] = _option(
        ("png",), names_of("picture format", ("png", "svg", "pdf")), "png,svg,pdf", _OUTPUT, "Picture formats.",
        ("png", "svg", "pdf"),
    )


def options(of: type) -> dict[str, Option]:
    """Return the options of a dataclass of this module.

    Args:
        of: ``ModelOptions`` or ``RunConfig``.

    Returns:
        Option by name, in the order of their definition.
    """
    return {item.name: item.metadata["option"] for item in fields(of)}


def parse_values(of: type, given: Mapping[str, object]) -> dict[str, Any]:
    """Check and convert given values.

    Args:
        of: The dataclass that lists the legal options.
        given: Option name to a value as typed, from a flag, a TOML file or Python.

    Returns:
        The converted values of the given options.

    Raises:
        UsageError: For an unknown option or an illegal value.
    """
    known = options(of)
    for name in given:
        if name not in known:
            raise UsageError(_unknown(name, known))
    return {name: known[name].parse(name, value) for name, value in given.items()}


@dataclass(frozen=True)
class Resolved:
    """A checked configuration and where each of its values came from: ``default``, a file, or ``flag``."""

    config: RunConfig
    sources: dict[str, str]

    def given(self) -> dict[str, Any]:
        """Return the model options that were set by a file or a flag.

        Returns:
            Option name to value.
        """
        values = asdict(self.config)
        return {name: values[name] for name in options(ModelOptions) if self.sources[name] != "default"}

    def described(self) -> dict[str, dict[str, object]]:
        """Return every option's value and source, JSON-ready.

        Returns:
            Option name to ``{"value": ..., "source": ...}``.
        """
        values = {name: getattr(self.config, name) for name in self.sources}
        return {name: {"value": _plain(value), "source": self.sources[name]} for name, value in values.items()}


def resolve_config(flags: Mapping[str, object], file: Path | None = None) -> Resolved:
    """Merge defaults, a TOML file and flags, the later ones winning.

    Args:
        flags: Options given on the command line, as typed.
        file: A TOML file of options, or None.

    Returns:
        The configuration, every value with its source.

    Raises:
        UsageError: If the file can't be read or holds an unknown key, or a value is illegal.
    """
    from_file = _load_toml(file) if file else {}
    # A flag for the size of a network replaces the file's, which may have said it the other way.
    if {"depth", "stages"} & flags.keys():
        from_file = {key: value for key, value in from_file.items() if key not in {"depth", "stages"}}
    if {"shape", "image_size"} & flags.keys():
        from_file = {key: value for key, value in from_file.items() if key not in {"shape", "image_size"}}
    try:
        values = parse_values(RunConfig, from_file)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    values |= parse_values(RunConfig, flags)
    sources = dict.fromkeys(options(RunConfig), "default")
    sources |= dict.fromkeys(from_file, str(file)) | dict.fromkeys(flags, "flag")
    return Resolved(RunConfig(**values), sources)


def _load_toml(file: Path) -> dict[str, object]:
    try:
        with file.open("rb") as stream:
            loaded = tomllib.load(stream)
    except OSError as error:
        raise UsageError(f"can't read the configuration {file}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from None
    # Keys may be written as the flags are; both spellings of one option are a contradiction.
    renamed = {key.replace("-", "_"): value for key, value in loaded.items()}
    if len(renamed) < len(loaded):
        raise UsageError(f"{file} gives an option twice, with a dash and with an underscore. Keep one of the two.")
    return renamed


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _unknown(name: str, known: Mapping[str, Option]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    match = f"; did you mean {close[0]!r}?" if close else "."
    return f"unknown option {name!r}{match}\nKnown: {', '.join(sorted(known))}."


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")

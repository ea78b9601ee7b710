"""Defaults, a TOML file and flags become one checked configuration, which remembers where each value came from."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sppkit.config import parsers
from sppkit.config.options import ModelOptions, RunConfig, options, parse_values
from sppkit.config.shifts import check_input
from sppkit.errors import UsageError
from sppkit.machine.files import read_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Resolved:
    """A checked configuration and where each of its values came from: ``default``, a file, or ``flag``."""

    config: RunConfig
    sources: dict[str, str]

    def given(self) -> dict[str, Any]:
        """Return the model options that were set by a file or a flag."""
        values = asdict(self.config)
        return {name: values[name] for name in options(ModelOptions) if self.sources[name] != "default"}

    def described(self) -> dict[str, dict[str, object]]:
        """Return every option's value and source, JSON-ready."""
        values = {name: getattr(self.config, name) for name in self.sources}
        return {name: {"value": _plain(value), "source": self.sources[name]} for name, value in values.items()}


def resolve_config(
    flags: Mapping[str, object],
    file: Path | None = None,
    *,
    ignored: Collection[str] = (),
    of: type[RunConfig] = RunConfig,
) -> Resolved:
    """Merge defaults, a TOML file and flags, the later ones winning."""
    from_file = load_toml(file) if file else {}
    from_file = {key: value for key, value in from_file.items() if key not in ignored}
    if "specs" in from_file:
        raise UsageError(f"{file} lists several networks.\nTo compare them: sppkit compare --config {file}")
    # A flag replaces what the file says of the same thing, which it may have said the other way.
    for same in ({"depth", "stages"}, {"shape", "image_size"}, {"arch", "model"}):
        if same & flags.keys():
            from_file = {key: value for key, value in from_file.items() if key not in same}
    try:
        values = parse_values(of, from_file)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    values |= parse_values(of, flags)
    sources = dict.fromkeys(options(of), "default")
    sources |= dict.fromkeys(from_file, str(file)) | dict.fromkeys(flags, "flag")
    _refuse_contradictions(values)
    return Resolved(of(**values), sources)


def _refuse_contradictions(values: Mapping[str, Any]) -> None:
    for one, other, what in (
        ("shape", "image_size", "how large the input is"),
        ("arch", "model", "which network"),
        ("checkpoint", "reinit", "where the weights come from"),
    ):
        if {one, other} <= values.keys():
            raise UsageError(f"--{one} and {parsers.flag_of(other)} both say {what}; give one of them.")
    _refuse_meaningless(values)
    if values.get("shift") is not None:
        check_input(values["shift"], values.get("input", "gaussian"))
    seed, seeds = values.get("seed", 0), values.get("seeds", 1)
    if seed + seeds - 1 > parsers.LARGEST_SEED:
        raise UsageError(f"--seed {seed} with --seeds {seeds} goes beyond the largest seed, {parsers.LARGEST_SEED}.")


def _refuse_meaningless(values: Mapping[str, Any]) -> None:
    own = values.get("model") is not None
    for name in options(ModelOptions) if own else ("kw", "reinit", "vocab"):
        if name in values:
            owner, other = ("--arch", "--model") if own else ("--model", "--arch")
            hint = "\nArguments of your own network are given as --kw key=value." if own else ""
            raise UsageError(f"{parsers.flag_of(name)} means nothing with {other}; it belongs to {owner}.{hint}")
    if values.get("streaming") == "on":
        _refuse_streaming(values)


def _refuse_streaming(values: Mapping[str, Any]) -> None:
    # The weights of a file, and of a network that is not ours, are not keyed to be drawn block by block.
    for name in ("model", "checkpoint"):
        if name in values:
            raise UsageError(
                f"--streaming on means nothing with --{name}: only --arch can draw its weights block by block."
            )
    if "sites" in values:
        raise UsageError("--streaming on means nothing with --sites: joins are found in a whole network.")


def load_toml(file: Path) -> dict[str, object]:
    """Read a TOML file of options, unchecked."""
    try:
        loaded = tomllib.loads(read_text(file, "configuration", "Give --config a TOML file of options."))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from None
    except UsageError:
        raise
    except (ValueError, RecursionError):  # integers of thousands of digits, a thousand brackets
        raise UsageError(f"{file} is not valid TOML: a number or a nesting in it has no end.") from None
    # Keys may be written as the flags are; both spellings of one option are a contradiction.
    renamed = {key.replace("-", "_"): value for key, value in loaded.items()}
    if len(renamed) < len(loaded):
        raise UsageError(f"{file} gives an option twice, with a dash and with an underscore. Keep one of the two.")
    return renamed


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value

"""The shared options of the commands, made from ``sppkit.config.options`` so that each is written down once."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sppkit import registry
from sppkit.config import options as config
from sppkit.config.parsers import flag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What people use; --help shows these, and all of them, by group, with --help all.
_NETWORK = ("arch", "model", "kw", "depth", "width", "norm", "weights", "activation")
COMMON = frozenset({*_NETWORK, "input", "image_size", "batch_size", "seeds", "stats", "out", "format"})
ALL_OPTIONS = "All options, by group: --help all"

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", metavar="", help="Print nothing but errors.", rich_help_panel="Output")
]
Debug = Annotated[
    bool, typer.Option("--debug", metavar="", help="Show the traceback of an error.", rich_help_panel="Output")
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE.toml", help="Options from a TOML file; flags win.", rich_help_panel="Output"
    ),
]


def with_options(
    names: tuple[str, ...], defaults: Mapping[str, object] | None = None, of: type = config.RunConfig
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command the named options of a dataclass.

    The command's first parameter receives the options that were typed, as ``{name: value}``; its others stay as they
    are.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

        def typed_command(**values: Any) -> None:
            flags = {name: values.pop(name) for name in names}
            command({name: value for name, value in flags.items() if value is not None and value != []}, **values)

        # Typer reads the signature, so the options can come from data instead of forty parameters per command.
        parameters = [_keyword(item) for item in [*own, *[_parameter(name, defaults or {}, of) for name in names]]]
        typed_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        typed_command.__annotations__ = {item.name: item.annotation for item in parameters}
        typed_command.__doc__ = command.__doc__
        typed_command.__name__ = command.__name__
        return typed_command

    return decorate


def run_options() -> tuple[str, ...]:
    """Return the names of all options of a run, the network first."""
    names = tuple(config.options(config.RunConfig))
    network = ("arch", *config.OWN_MODEL)
    return (*network, *[name for name in names if name not in network])


def model_options() -> tuple[str, ...]:
    """Return the names of the options that decide the network."""
    return ("arch", *config.options(config.ModelOptions))


def found_options() -> tuple[str, ...]:
    """Return the names of the options that decide a network of the user's own and what is seen in it."""
    inputs = ("input", "vocab", "shape", "batch_size", "image_size")
    return (*config.OWN_MODEL, *inputs, "seed", "mode", "device", "dtype")


def _parameter(name: str, defaults: Mapping[str, object], of: type) -> inspect.Parameter:
    option = config.options(of)[name]
    flag = flag_of(name)
    default = defaults.get(name, getattr(of, name))  # a dataclass keeps the defaults of its fields
    is_flag = not option.metavar
    kind: Any = bool | None if is_flag else list[str] | None if option.repeatable else str | None
    annotation = Annotated[
        kind,
        typer.Option(
            f"{flag}/--no-{flag[2:]}" if is_flag else flag,
            metavar=option.metavar,
            # Typer would put a default of ours in brackets of its own; \\[ is a bracket that is no markup.
            help=option.help + (f" [dim]\\[default: {_shown(default)}][/dim]" if _shown(default) else ""),
            show_default=False,
            # What only one command has is what it is used for.
            hidden=name not in COMMON and name in config.options(config.RunConfig),
            rich_help_panel=option.panel,
            autocompletion=None if not option.choices else lambda: list(option.choices),
        ),
    ]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _keyword(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _shown(default: object) -> str:
    if default is None or default == "" or isinstance(default, bool):
        return ""
    if default == registry.DEFAULT_STATISTICS:
        return "spp"
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)

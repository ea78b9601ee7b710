"""Calling what makes a network, and saying in one line why it made none."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from torch import nn

from sppkit import registry
from sppkit.errors import UsageError
from sppkit.machine.user_code import failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def call_factory(factory: Callable[..., object], kw: Mapping[str, Any], name: str) -> nn.Module:
    """Make a network."""
    check_arguments(factory, kw, name)
    made = _call(factory, kw, name)
    if isinstance(made, nn.Module):
        if "_modules" not in vars(made):
            raise UsageError(f"{type(made).__name__} never calls super().__init__(): do so before its layers are made.")
        return made
    shown = f"the class {made.__name__} itself" if isinstance(made, type) else f"a {type(made).__name__}"
    raise UsageError(f"{name} returned {shown}; it must return the network, a torch.nn.Module.")


def check_arguments(factory: Callable[..., object], kw: Mapping[str, Any], name: str) -> None:
    """Refuse arguments that a factory does not take, and ask for those that it needs."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # compiled code may have none
        return
    known = [item.name for item in parameters if item.kind in _KINDS]
    if not any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters):
        for key in kw:
            registry.check_name(f"argument of {name}", key, known or ["(it takes none)"])
    missing = [item.name for item in parameters if _is_needed(item) and item.name not in kw]
    if missing:
        example = " ".join(f"--kw {key}=VALUE" for key in missing)
        raise UsageError(f"{name} needs {_listed(missing)}: {example}")


def _call(factory: Callable[..., object], kw: Mapping[str, Any], name: str) -> object:
    try:
        return factory(**kw)
    except (Exception, SystemExit) as error:  # whatever a stranger's code raises
        raise failed(name, "failed", error) from error


def _is_needed(item: inspect.Parameter) -> bool:
    positional = item.kind in {*_KINDS, inspect.Parameter.POSITIONAL_ONLY}
    return positional and item.default is inspect.Parameter.empty


def _listed(names: list[str]) -> str:
    return "an argument, " + names[0] if len(names) == 1 else "arguments, " + ", ".join(names)

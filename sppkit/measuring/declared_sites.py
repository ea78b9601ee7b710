"""Sites as a model declares them, checked before anything is hooked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import nn

from sppkit.errors import UsageError
from sppkit.measuring.find_modules import find_modules
from sppkit.sites import DeclaresSites, Role, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def declared_sites(model: object) -> list[Site]:
    """Return the sites that a model declares, checked."""
    network = as_network(model)
    sites = network.signal_sites() if isinstance(network, DeclaresSites) else []
    return check_sites(network, sites)


def as_network(model: object) -> nn.Module:
    """Return a model that is a network."""
    if not isinstance(model, nn.Module):
        made = f"the class {model.__name__}, not a network made of it" if isinstance(model, type) else type(model)
        raise UsageError(f"the model must be a torch.nn.Module; this is {made}.")
    return model


def check_sites(model: nn.Module, sites: object) -> list[Site]:
    """Check that sites can be listened to, and that rows of a table can be made of them.

    Blocks ascend from 0 without gaps; every block has one output and at most one residual branch.
    """
    declared: list[Any] = list(sites) if isinstance(sites, Iterable) and not isinstance(sites, str) else [sites]
    if not declared:
        raise UsageError(f"signal_sites() of {type(model).__name__} is empty: there is nowhere to listen.")
    for site in declared:
        if not isinstance(site, Site):
            raise UsageError(f"signal_sites() of {type(model).__name__} must return sppkit.Site objects, not {site!r}.")
        _check_fields(site)
    _check_paths(model, declared)
    _check_blocks(declared)
    _check_roles(declared)
    return declared


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_whole(value) and value >= 0


def _is_stage(value: object) -> bool:
    return value is None or _is_count(value)


def _is_axis(value: Any) -> bool:
    return value is None or (_is_whole(value) and value != 0)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_role(value: object) -> bool:
    return value in get_args(Role)


_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "block": (_is_count, "a whole number of at least 0"),
    "stage": (_is_stage, "a whole number of at least 0, or None"),
    "name": (_is_text, "a text"),
    "role": (_is_role, " or ".join(map(repr, get_args(Role)))),
    "path": (_is_text, "the qualified name of a module"),
    "channel_axis": (_is_axis, "None or a whole number other than 0, which is the axis of the samples"),
}


def _check_fields(site: Site) -> None:
    for field, (is_legal, legal) in _FIELDS.items():
        value = getattr(site, field)
        if not is_legal(value):
            raise UsageError(f"{site}: {field} must be {legal}, not {value!r}.")


def _check_paths(model: nn.Module, sites: Sequence[Site]) -> None:
    try:
        modules = find_modules(model, [site.path for site in sites])
    except AttributeError:
        for site in sites:
            _check_path(model, site)
        raise
    for site, module in zip(sites, modules, strict=True):
        if isinstance(module, torch.jit.ScriptModule):
            raise UsageError(
                f"{site}: {site.path!r} of {type(model).__name__} is compiled by TorchScript, which can't be listened "
                "to.\nMeasure the network that it was made from."
            )


def _check_path(model: nn.Module, site: Site) -> None:
    try:
        find_modules(model, [site.path])
    except AttributeError:
        names = [name for name, _ in model.named_modules(remove_duplicate=False)]
        close = difflib.get_close_matches(site.path, names, n=1, cutoff=0.5)
        match = f"; did you mean {close[0]!r}?" if close else "."
        raise UsageError(
            f"{site}: {type(model).__name__} has no module {site.path!r}{match}\n"
            "print(model) and model.named_modules() show their names."
        ) from None


def _check_blocks(sites: Sequence[Site]) -> None:
    last = -1
    for site in sites:
        if site.block not in {last, last + 1}:
            legal = "0" if last < 0 else f"{last} or {last + 1}"
            raise UsageError(f"{site}: blocks must ascend from 0 without gaps, so block must be {legal} here.")
        last = site.block


def _check_roles(sites: Sequence[Site]) -> None:
    found: dict[tuple[int, Role], Site] = {}
    for site in sites:
        other = found.get((site.block, site.role))
        if other is not None:
            raise UsageError(f"{site}: block {site.block} has a {site.role} already, at {other.path!r}; it has one.")
        found[site.block, site.role] = site
    for site in sites:
        if (site.block, "block_output") not in found:
            raise UsageError(
                f"{site}: block {site.block} has no site with the role 'block_output', which its row needs."
            )

"""Replacing the normalizers of a user's own model."""

from __future__ import annotations

import copy as copying
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

from torch import nn

from sppkit import registry
from sppkit.config import parsers
from sppkit.errors import UsageError
from sppkit.models.normalizers.affine import carry_affine, channels_of, groups_of, is_known
from sppkit.models.normalizers.settings import read_settings
from sppkit.models.published_places import published_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# With all that is derived from them: batch normalization in any number of dimensions, and so on.
_TORCHS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LocalResponseNorm),
)


class Replaced(NamedTuple):
    """One module that was replaced: its qualified name, and what it was and is, with its channels and groups."""

    name: str
    before: str
    after: str


class Kept(NamedTuple):
    """One normalizer that was not replaced: its qualified name, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Replacement:
    """What ``replace_normalizers`` did.

    Attributes:
        model: The model with its new normalizers: the given one, or its copy.
        replaced: Every module that was replaced.
        kept: Every normalizer that was left as it is, with the reason.
    """

    model: nn.Module
    replaced: tuple[Replaced, ...]
    kept: tuple[Kept, ...]


def replace_normalizers(
    model: nn.Module,
    norm: str,
    *,
    where: Callable[[str, nn.Module], bool] | Literal["published"] | None = None,
    copy: bool = False,
    **settings: object,
) -> Replacement:
    """Replace the normalizers of (N, C, H, W) maps in a model by others.

    ``BatchNorm2d``, ``SyncBatchNorm``, ``GroupNorm``, ``InstanceNorm2d`` and this library's own are replaced. Scale and
    offset of each channel are carried over, and so are running statistics, epsilon and momentum from one batch
    normalization to another, device, dtype, training flag and ``requires_grad``. A normalizer that also holds an
    activation, as timm's ``BatchNormAct2d``, keeps it. Others, as ``LayerNorm`` and one-dimensional ones, are listed as
    kept. Either all are replaced or, if an exception is raised, none.

    Args:
        model: Any model.
        norm: A registered normalizer; ``none`` replaces by ``nn.Identity``.
        where: Called with the qualified name and the module of each normalizer; only those for which it returns true
            are replaced. All of them where it is None. ``"published"``, for ``ibn-a``: those that the published ResNet
            has it in place of, the first of each block of stages 1 to 3.
        copy: Whether a copy of the model is changed instead of the model itself.
        **settings: Settings of the normalizer, for instance ``groups=16``.

    Returns:
        The model, what was replaced and what was kept.

    Warns:
        UserWarning: Where a normalizer that is published for some places of a network is put in place of all.

    Raises:
        UsageError: For an unknown normalizer or setting, one that needs more of a network than a place for a
            normalizer, a model in which there is nothing to replace, or ``"published"`` where no stages of blocks are
            found or the normalizer has no such places.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    >>> replace_normalizers(model, "gn", groups=4).replaced
    (Replaced(name='1', before='BatchNorm2d(8)', after='GroupNorm(8, 4 groups)'),)
    """
    arguments = _check(norm, settings)
    target = copying.deepcopy(model) if copy else model
    chosen = _chooser(target, norm, where)
    new: dict[nn.Module, nn.Module] = {}
    places: list[tuple[nn.Module, str, nn.Module]] = []
    replaced, kept = [], []
    for parent, name, path, module in _iter_normalizers(target):
        reason = _reason_to_keep(module) or (None if chosen(path, module) else "not chosen")
        if reason is not None:
            kept.append(Kept(path, reason))
            continue
        if module not in new:
            new[module] = _build(module, norm, arguments)
        places.append((parent, name, new[module]))
        replaced.append(Replaced(path, _describe(module), _describe(new[module])))
    if not places:
        raise UsageError(f"there is no normalizer of (N, C, H, W) maps to replace{_found(kept)}.")
    for parent, name, module in places:
        setattr(parent, name, module)
    if where is None and registry.NORMALIZERS[norm].placement is not None:
        warnings.warn(
            f"{norm} was put in place of all {len(replaced)} normalizers; the published network has it in some places "
            "only: where='published' chooses these.",
            stacklevel=2,
        )
    return Replacement(target, tuple(replaced), tuple(kept))


def _check(norm: str, settings: dict[str, object]) -> dict[str, object]:
    registry.check_name("normalizer", norm, registry.NORMALIZERS)
    if not registry.NORMALIZERS[norm].everywhere:
        raise UsageError(
            f"{norm} is more than a normalizer in the place of another: it belongs to the named architectures.\n"
            f"Try sppkit.build_model('bn-relu-conv', depth=50, norm={norm!r})."
        )
    return read_settings(norm, parsers.settings("norm_kw", settings) if settings else None)


def _chooser(
    model: nn.Module, norm: str, where: Callable[[str, nn.Module], bool] | str | None
) -> Callable[[str, nn.Module], bool]:
    if callable(where):
        return where
    if where is None:
        return lambda path, module: True  # noqa: ARG005 - both are handed in
    if where != "published":
        raise UsageError(f"where must be a function, 'published' or None, not {where!r:.60}.")
    places = published_places(model, norm, _is_normalizer)
    return lambda path, module: path in places  # noqa: ARG005


def _iter_normalizers(module: nn.Module, prefix: str = "") -> Iterator[tuple[nn.Module, str, str, nn.Module]]:
    """Yield parent, name in it, qualified name and module of every normalizer, without looking into one."""
    # Of a module that is registered under two names, named_children() yields one.
    children = module._modules  # noqa: SLF001
    for name, child in children.items():
        if child is None:
            continue
        if _is_normalizer(child):
            yield module, name, prefix + name, child
        else:
            yield from _iter_normalizers(child, f"{prefix}{name}.")


def _is_normalizer(module: nn.Module) -> bool:
    if is_known(module) or isinstance(module, _TORCHS):
        return True
    # A name like PreNorm may also be that of a whole block.
    return "norm" in type(module).__name__.lower() and next(module.children(), None) is None


def _reason_to_keep(module: nn.Module) -> str | None:
    kind = type(module).__name__
    if not is_known(module) and not _holds_activation(module):
        return f"{kind} does not normalize (N, C, H, W) maps, or does so in a way of its own"
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:  # noqa: SLF001 - no public name
        return f"{kind} has hooks, which would be lost"
    return None


def _holds_activation(module: nn.Module) -> bool:
    # timm's BatchNormAct2d and GroupNormAct: the normalizer, then drop, then act.
    base = isinstance(module, (nn.BatchNorm2d, nn.GroupNorm))
    return base and isinstance(getattr(module, "act", None), nn.Module)


def _build(old: nn.Module, norm: str, arguments: dict[str, object]) -> nn.Module:
    built = registry.resolve("normalizer", norm)(channels_of(old), **arguments)
    new: nn.Module = nn.Identity() if built is None else built
    carry_affine(old, new)
    for tensor in chain(old.parameters(), old.buffers()):
        new.to(tensor.device, tensor.dtype if tensor.is_floating_point() else None)
        break
    new.train(old.training)
    return new if is_known(old) else _with_activation(old, new)


def _with_activation(old: nn.Module, new: nn.Module) -> nn.Module:
    parts = {"norm": new, "drop": getattr(old, "drop", None), "act": getattr(old, "act", None)}
    whole = nn.Sequential(OrderedDict((name, part) for name, part in parts.items() if isinstance(part, nn.Module)))
    whole.training = old.training  # the activation keeps a flag of its own
    return whole


def _describe(module: nn.Module) -> str:
    if isinstance(module, nn.Sequential):
        return f"{_describe(module[0])} with its activation"
    if isinstance(module, nn.Identity):
        return "Identity"
    channels, groups = channels_of(module), groups_of(module)
    sizes = f"({channels}{f', {groups} groups' if groups else ''})" if channels is not None else ""
    return f"{type(module).__name__}{sizes}"


def _found(kept: list[Kept]) -> str:
    if not kept:
        return ": none was found"
    shown = "; ".join(f"{item.name} ({item.reason})" for item in kept[:3])
    return f"; kept: {shown}" + (f" and {len(kept) - 3} more" if len(kept) > 3 else "")

"""Putting SelfNorm and CrossNorm at the residual joins of a user's model."""

from __future__ import annotations

import copy as copying
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import nn

from sppkit import registry
from sppkit.config import parsers
from sppkit.config.parsers import parse_seed
from sppkit.errors import UsageError
from sppkit.measuring.find_modules import find_modules
from sppkit.measuring.forward.run_model import iter_batches
from sppkit.measuring.module_calls import ModuleCall, ObservedCalls, observe_calls
from sppkit.models.addons.at_join import AtJoin, Side, attach
from sppkit.models.addons.settings import read_add_on_settings
from sppkit.models.initialize import allocate_buffers, draw_weights, reset_constants
from sppkit.streams import keyed_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sppkit.joins.joins import Join, Value

Place = Literal["residual", "post"]
_PLACES = ("residual", "post")
# Of the published networks, for images.
_IMAGES = (2, 3, 224, 224)


class Inserted(NamedTuple):
    """One add-on: its qualified name in the model, its join's name, and the module whose signal it changes."""

    name: str
    join: str
    module: str


@dataclass(frozen=True)
class Insertion:
    """What ``insert_add_ons`` did.

    Attributes:
        model: The model with its add-ons: the given one, or its copy.
        inserted: Every add-on.
        kept: Names of joins that ``where`` left alone.
    """

    model: nn.Module
    inserted: tuple[Inserted, ...]
    kept: tuple[str, ...]


class _Spot(NamedTuple):
    """Where an add-on acts: the module that adds, the one that it is attached to, its call and side, the channels."""

    adding: str
    module: str
    call: int
    side: Side
    channels: int
    axis: int


def insert_add_ons(
    model: nn.Module,
    add_on: str,
    inputs: object = None,
    *,
    place: Place = "post",
    where: Callable[[str], bool] | None = None,
    seed: int = 0,
    copy: bool = False,
    **settings: object,
) -> Insertion:
    """Put an add-on at the residual joins of a model, as they are found in a forward pass.

    Each is a submodule of the module that adds, and acts through hooks: the model's code stays as it is, and copies,
    state dicts and ``.to`` work as ever. Signals are (N, C, H, W), or (N, T, C) and (N, C, T), of which mean and
    deviation are taken over T. Either all joins get one or, if an exception is raised, none.

    Args:
        model: Any model with residual additions.
        add_on: ``selfnorm`` or ``crossnorm``.
        inputs: One batch, as for ``measure``, from which the joins are found; two Gaussian images of 3×224×224 where it
            is None.
        place: ``residual``, the end of the branch before its scale; ``post``, after the addition and before what
            follows it, as a closing ReLU.
        where: Called with each join's name; only those for which it returns true get one.
        seed: Of the weights, each from the stream of (seed, qualified name).
        copy: Whether a copy of the model is changed instead of the model itself.
        **settings: Settings of the add-on, for instance ``gates=2``.

    Returns:
        The model and where the add-ons are.

    Raises:
        UsageError: For an unknown name, place or setting, a model without residual additions, and where a join's signal
            passes between no two modules, so that it can't be reached from outside of the model's code.
        MeasurementError: If the forward pass fails.
    """
    registry.check_name("add-on", add_on, registry.ADD_ONS)
    if place not in _PLACES:
        raise UsageError(f"place must be residual or post, not {place!r:.60}; pre and identity are those of --add-on.")
    text = parsers.settings("add_on_kw", settings) if settings else None
    arguments = read_add_on_settings(f"{add_on}@{place}", text)[add_on]
    parse_seed("seed", seed)
    spots, kept = _find_spots(model, _batch(inputs), place, where, seed)
    crops = arguments.get("crop", "neither") != "neither"
    for join, value in spots.values():
        _check_shape(join, value, crops=crops)
    target = copying.deepcopy(model) if copy else model
    inserted = [_insert(target, add_on, arguments, spot, join, seed) for spot, (join, _) in spots.items()]
    return Insertion(target, tuple(inserted), tuple(kept))


def _batch(inputs: object) -> object:
    if inputs is None:
        drawn = keyed_generator(0, "input/0").standard_normal(_IMAGES, dtype="float32")
        return torch.from_numpy(drawn)
    batch = next(iter_batches(inputs), None)
    if batch is None:
        raise UsageError("there is no batch to find joins in: the inputs are empty.")
    return batch


def _find_spots(
    model: nn.Module, batch: object, place: Place, where: Callable[[str], bool] | None, seed: int
) -> tuple[dict[_Spot, tuple[Join, Value]], list[str]]:
    """Return where add-ons act, each place once, for a join that is there, and the joins that were not chosen."""
    seen = observe_calls(model, batch, seed)
    joins = seen.findings.joins if seen.findings.kind == "addition" else ()
    if not joins:
        raise UsageError(f"there is no join to put an add-on at: {seen.findings.summary}")
    chosen = [join for join in joins if where is None or where(join.name)]
    spots: dict[_Spot, tuple[Join, Value]] = {}
    lost = []
    for join in chosen:
        value = join.branch if place == "residual" else join.output
        found = None if value is None else _spot(join, value, seen, place)
        if value is None or found is None:
            lost.append(join.name)
        else:
            spots.setdefault(found, (join, value))
    if lost:
        raise UsageError(
            f"{len(lost)} of {len(chosen)} joins can't be reached at {place}, the first of them {lost[0]!r}: the "
            "signal there is neither returned by a module nor handed to one alone.\n"
            f"Put an nn.Identity() there in the code, try place={_other(place)!r}, or leave these out with where=."
        )
    return spots, [join.name for join in joins if join not in chosen]


def _other(place: str) -> str:
    return next(other for other in _PLACES if other != place)


def _spot(join: Join, value: Value, seen: ObservedCalls, place: Place) -> _Spot | None:
    """Return where a value passes from one module to another: the innermost that returns it, else its only reader."""
    adding, number = join.output.key.path, join.output.key.call
    sizes = value.shape[value.axis], value.axis
    own = next(call for call in seen.calls if (call.path, call.number) == (adding, number))
    if place == "post" and own.returned == value.key:
        return _Spot(adding, adding, 0, "output", *sizes)
    inside = [call for call in seen.calls if call.is_inside(adding, number)]
    returns = [call for call in inside if call.returned == value.key]
    if place == "residual" and returns:
        return _Spot(adding, returns[-1].path, _position(returns[-1], inside), "output", *sizes)
    reads = [call for call in inside if call.received == value.key]
    if reads and seen.readers.get(value.key) == 1:
        return _Spot(adding, reads[0].path, _position(reads[0], inside), "input", *sizes)
    return None


def _position(call: ModuleCall, inside: list[ModuleCall]) -> int:
    return 1 + [other for other in inside if other.path == call.path].index(call)


def _check_shape(join: Join, value: Value, *, crops: bool) -> None:
    if len(value.shape) not in {3, 4}:
        raise UsageError(
            f"{join.name!r} is a signal of shape {value.shape}: an add-on needs (N, C, H, W) or (N, T, C)."
        )
    if crops and len(value.shape) == 3:
        raise UsageError(f"{join.name!r} is a signal of shape {value.shape}: crop needs maps, (N, C, H, W).")


def _insert(model: nn.Module, name: str, arguments: dict[str, object], spot: _Spot, join: Join, seed: int) -> Inserted:
    adding, module = find_modules(model, (spot.adding, spot.module))
    free = next(free for free in _names(name) if not hasattr(adding, free))
    qualified = f"{spot.adding}.{free}" if spot.adding else free
    add_on = _build(name, arguments, spot.channels, qualified, seed)
    near = next(adding.parameters(), next(model.parameters(), None))
    if near is not None:
        add_on.to(near.device, near.dtype if near.is_floating_point() else None)
    add_on.train(adding.training)
    adding.add_module(free, add_on)
    attach(AtJoin(add_on, spot.axis, spot.call, spot.side), module, adding)
    return Inserted(qualified, join.name, spot.module)


def _names(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}{number}"
        number += 1


def _build(name: str, arguments: dict[str, object], channels: int, qualified: str, seed: int) -> nn.Module:
    # On the meta device nothing is drawn from torch's own generator, which is the user's.
    with torch.device("meta"):
        add_on: nn.Module = registry.resolve("add-on", name)(channels, **arguments)
    for part in add_on.modules():
        for parameter, value in list(part.named_parameters(recurse=False)):
            setattr(part, parameter, nn.Parameter(torch.empty(value.shape)))
        allocate_buffers(part)
        reset_constants(part)
    draw_weights(add_on, seed, prefix=qualified)
    return add_on

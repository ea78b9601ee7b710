"""From what was kept of a network's signals to the rows of its table."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, cast

from sppkit import registry
from sppkit.machine.printable import printable
from sppkit.measuring.reduce import NONFINITE, fetch, is_reduced, load_statistic, on_host
from sppkit.record.table import PASSES
from sppkit.stats.enorm_gap import JunctionNorms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from torch import Tensor

    from sppkit.measuring.collect import Collector
    from sppkit.measuring.layers import CalledLayer
    from sppkit.measuring.reduce import Kept, Reducer
    from sppkit.models.junctions import JunctionPaths
    from sppkit.sites import Role, Site

# A statistic of a block.
_Place = tuple[int, str]


def iter_rows(
    sites: Collector[Kept],
    layers: Mapping[CalledLayer, Kept],
    junctions: Sequence[JunctionPaths],
    reducer: Reducer,
    seed: int,
) -> Iterator[Mapping[str, Any]]:
    """Yield one row per block."""
    numbers = _collect(sites, layers, junctions, reducer)
    blocks: dict[int, dict[Role, Site]] = {}
    for site in sites.sites:
        blocks.setdefault(site.block, {})[site.role] = site
    counts = sites.training or len({heard.passes for heard in sites.heard.values()}) > 1
    for block, roles in blocks.items():
        output = roles["block_output"]
        if output not in sites.heard:
            continue  # training skipped it
        _samples, channels, *space = sites.heard[output].shape
        found = {name: numbers.get((block, name)) for name in _column_order(reducer)}
        passes = {PASSES: sites.heard[output].passes} if counts else {}
        yield {
            "seed": seed,
            "block": block,
            "stage": output.stage,
            "name": printable(output.name),  # a module may be called anything
            "channels": channels,
            # (N, C, T) has a height only; of (N, C, D, H, W) the last two are H and W.
            "height": space[-2] if len(space) > 1 else next(iter(space), None),
            "width": space[-1] if len(space) > 1 else None,
            **passes,
            **found,
            NONFINITE: _count_nonfinite(
                [numbers.get((block, _nonfinite_at(role)), 0) for role in (*roles, "block_gradient")], found.values()
            ),
        }


def _column_order(reducer: Reducer) -> list[str]:
    # Whatever the order that they were asked for in: the same statistics give the same table.
    return [name for name in registry.STATISTICS if name in reducer.stats]


def _nonfinite_at(role: str) -> str:
    return f"{NONFINITE} {role}"


def _collect(
    sites: Collector[Kept], layers: Mapping[CalledLayer, Kept], junctions: Sequence[JunctionPaths], reducer: Reducer
) -> dict[_Place, float]:
    scalars: dict[_Place, Tensor | float] = {}
    backward = {} if sites.gradients is None else sites.gradients.kept
    for (role, block), kept in zip(backward, on_host(backward.values()), strict=True):
        for name, value in reducer.summarize(role, kept).items():
            scalars[block, _nonfinite_at(role) if name == NONFINITE else name] = value
    for site, kept in zip(sites.heard, on_host([heard.value for heard in sites.heard.values()]), strict=True):
        summary = reducer.summarize(site.role, kept) if is_reduced(kept) else cast("Mapping[str, Tensor | float]", kept)
        for name, value in summary.items():
            scalars[site.block, _nonfinite_at(site.role) if name == NONFINITE else name] = value
    found: dict[_Place, list[Any]] = defaultdict(list)
    for layer, kept in layers.items():
        if layer.role != "weights":
            for name, value in reducer.summarize(layer.role, kept).items():
                found[layer.block, name].append(value)
    for place, value in _iter_gaps(layers, junctions, reducer):
        found[place].append(value)
    scalars |= {place: load_statistic(place[1]).combine(values) for place, values in found.items()}
    return _without_empty_shares(dict(zip(scalars, fetch(scalars.values()), strict=True)), reducer)


def _without_empty_shares(numbers: dict[_Place, float], reducer: Reducer) -> dict[_Place, float]:
    # Where no gradient reaches a block, nothing can be a share of it: an absent value, and no lost one.
    for name in reducer.names("branch_gradient"):
        for block in [block for block, other in numbers if other == name]:
            if math.isnan(numbers[block, name]) and not numbers[block, _nonfinite_at("block_gradient")]:
                del numbers[block, name]
    return numbers


def _iter_gaps(
    layers: Mapping[CalledLayer, Kept], junctions: Sequence[JunctionPaths], reducer: Reducer
) -> Iterator[tuple[_Place, Tensor | float]]:
    """Yield the statistics of the weights, each in the block in which the last of its readers is called."""
    weights = {layer.path: (layer.block, kept) for layer, kept in layers.items() if layer.role == "weights"}
    for name in reducer.names("weights"):
        statistic = load_statistic(name)
        for junction in junctions:
            if not {*junction.writers, *junction.readers} <= weights.keys():
                continue
            writers, readers = (
                tuple(cast("Any", weights[path][1])[statistic.reduction] for path in paths)
                for paths in (junction.writers, junction.readers)
            )
            block = max(weights[path][0] for path in junction.readers)
            yield (block, name), statistic.value(JunctionNorms(writers, readers))


def _count_nonfinite(counts: Iterable[float], statistics: Iterable[float | None]) -> int:
    # A statistic of finite values may itself overflow: that counts as well, so that its nan is not taken for absent.
    overflowed = sum(value is not None and not math.isfinite(value) for value in statistics)
    return max(int(sum(counts)), overflowed)

"""What is kept of a signal for the statistics that were asked for, and the numbers that come of it."""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import TYPE_CHECKING, Any, cast

import torch

from sppkit import registry
from sppkit.errors import UsageError
from sppkit.stats.moments import MOMENTS, bring_to_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

    from sppkit.sites import GradientRole, LayerRole, Role
    from sppkit.stats.channel_moments import ChannelMoments
    from sppkit.stats.statistic import Reduction, Statistic

    # By reduction; or, where there is nothing to merge, the statistics themselves, each of shape (), by name.
    Kept = Mapping[Reduction[Any], Any] | Mapping[str, Tensor | float]

# What a block has one of each; other roles are those of layers inside it.
_OWN_ROLES = {"block_output", "residual_branch", "block_gradient", "branch_gradient"}
_SEARCHED = {"block_output", "residual_branch", "block_gradient"}
# Every signal at a block's own sites is searched for values that are not finite.
NONFINITE = "nonfinite"


class Reducer:
    """The statistics of every role, and what they need; no reduction is made twice of one signal.

    Attributes:
        stats: Names of the statistics.
        layer_roles: The roles inside blocks at which there is something to measure.
    """

    def __init__(self, stats: Sequence[str]) -> None:
        self.stats = tuple(stats)
        self._names: dict[str, list[str]] = defaultdict(list)
        for name in stats:
            self._names[registry.STATISTICS[name].role].append(name)
        inside = self._names.keys() - _OWN_ROLES
        self.layer_roles = frozenset(cast("LayerRole", role) for role in inside)
        # By role, once it is known that one is there: loading a statistic imports its module.
        self._reductions: dict[str, tuple[Reduction[Any], ...]] = {}

    def names(self, role: Role | LayerRole | GradientRole) -> Sequence[str]:
        """Return the statistics of a role."""
        return self._names.get(role, ())

    def reduce(self, role: Role | LayerRole | GradientRole, signal: Any) -> Kept:
        """Reduce a signal to what its role's statistics need."""
        reductions = self._reductions.get(role)
        if reductions is None:
            needed = [load_statistic(name).reduction for name in self.names(role)]
            always = [MOMENTS] if role in _SEARCHED else []
            reductions = self._reductions[role] = tuple(dict.fromkeys([*always, *needed]))
        # A comprehension would be a call of its own.
        kept = {}
        for reduction in reductions:
            kept[reduction] = reduction.reduce(signal)
        return kept

    def summarize(self, role: Role | LayerRole | GradientRole, kept: Kept) -> dict[str, Tensor | float]:
        """Return the statistics of a role, shape ()."""
        by_reduction = cast("Mapping[Reduction[Any], Any]", kept)
        values: dict[str, Tensor | float] = {}
        for name in self.names(role):
            statistic = load_statistic(name)
            values[name] = statistic.value(by_reduction[statistic.reduction])
        if MOMENTS in by_reduction and role in _SEARCHED:
            moments: ChannelMoments = by_reduction[MOMENTS]
            lost = moments.nonfinite
            values[NONFINITE] = lost if isinstance(lost, int) else lost.sum()
        return values


def merge_kept(a: Kept, b: Kept) -> Kept:
    """Return what would have been kept of two signals together."""
    first, second = (cast("Mapping[Reduction[Any], Any]", kept) for kept in (a, b))
    if not is_reduced(first):
        raise UsageError("a probe for a single forward pass saw a second one; make it without single=True.")
    return {reduction: reduction.merge(first[reduction], second[reduction]) for reduction in first}


def is_reduced(kept: Kept) -> bool:
    """Return whether statistics are still to be computed from what was kept."""
    return not any(isinstance(key, str) for key in kept)


@functools.cache
def load_statistic(name: str) -> Statistic[Any]:
    """Return a registered statistic."""
    statistic: Statistic[Any] = registry.resolve("statistic", name)
    return statistic


def on_host(kept: Iterable[Kept]) -> list[Kept]:
    """Bring channel moments to the host, all at once; there they take a tenth of the calls to make statistics of."""
    everything = list(kept)
    on_device = [index for index, item in enumerate(everything) if _is_elsewhere(item)]
    found = [cast("Mapping[Reduction[Any], Any]", everything[index]) for index in on_device]
    for index, item, moved in zip(on_device, found, bring_to_host([i[MOMENTS] for i in found]), strict=True):
        everything[index] = {**item, MOMENTS: moved}
    return everything


def _is_elsewhere(kept: Kept) -> bool:
    moments = cast("Mapping[Reduction[Any], ChannelMoments]", kept).get(MOMENTS)
    return moments is not None and not moments.is_cpu


def fetch(scalars: Iterable[Tensor | float]) -> list[float]:
    """Bring numbers to the host, all of a device at once."""
    values = list(scalars)
    by_device: dict[torch.device, list[Tensor]] = defaultdict(list)
    for value in values:
        if not isinstance(value, (int, float)):
            by_device[value.device].append(value.double())
    # Channel moments are on the host already, other statistics may still be where the network is.
    fetched = {device: iter(torch.stack(tensors).cpu().tolist()) for device, tensors in by_device.items()}
    return [float(value) if isinstance(value, (int, float)) else next(fetched[value.device]) for value in values]

"""What is kept of a signal for the statistics that were asked for, and the numbers that come of it."""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import TYPE_CHECKING, Any, cast

import torch

from sppkit import registry
from sppkit.errors import UsageError
from sppkit.stats.moments import MOMENTS, ChannelMoments

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

    from sppkit.sites import LayerRole, Role
    from sppkit.stats.statistic import Reduction, Statistic

    # By reduction; or, where there is nothing to merge, the statistics themselves, each of shape (), by name.
    Kept = Mapping[Reduction[Any], Any] | Mapping[str, Tensor | float]

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
        inside = self._names.keys() - {"block_output", "residual_branch"}
        self.layer_roles = frozenset(cast("LayerRole", role) for role in inside)
        # By role, once it is known that one is there: loading a statistic imports its module.
        self._reductions: dict[str, tuple[Reduction[Any], ...]] = {}

    def names(self, role: Role | LayerRole) -> Sequence[str]:
        """Return the statistics of a role."""
        return self._names.get(role, ())

    def reduce(self, role: Role | LayerRole, signal: Tensor) -> Kept:
        """Reduce a signal to what its role's statistics need.

        Args:
            role: What the signal is.
            signal: Shape (N, C, *space), or a weight.

        Returns:
            What is kept.
        """
        reductions = self._reductions.get(role)
        if reductions is None:
            needed = [load_statistic(name).reduction for name in self.names(role)]
            always = [] if role in self.layer_roles else [MOMENTS]
            reductions = self._reductions[role] = tuple(dict.fromkeys([*always, *needed]))
        return {reduction: reduction.reduce(signal) for reduction in reductions}

    def summarize(self, role: Role | LayerRole, kept: Kept) -> dict[str, Tensor | float]:
        """Return the statistics of a role.

        Args:
            role: What the signal is.
            kept: What ``reduce`` has kept of it, merged or not.

        Returns:
            By name, a number or of shape (); of a block's own sites also the number of values that are not finite.
        """
        by_reduction = cast("Mapping[Reduction[Any], Any]", kept)
        values: dict[str, Tensor | float] = {}
        for name in self.names(role):
            statistic = load_statistic(name)
            values[name] = statistic.value(by_reduction[statistic.reduction])
        if MOMENTS in by_reduction and role not in self.layer_roles:
            moments: ChannelMoments = by_reduction[MOMENTS]
            values[NONFINITE] = moments.nonfinite
        return values


def merge_kept(a: Kept, b: Kept) -> Kept:
    """Return what would have been kept of two signals together.

    Args:
        a: What was kept of the first.
        b: What was kept of the second, for the same role.

    Returns:
        What is kept of both.

    Raises:
        UsageError: If only statistics were kept.
    """
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


def on_host(value: Tensor | float) -> Tensor | float:
    """Return a number that is on the host as one: small tensors that outlive large ones leave holes in the heap.

    Args:
        value: A number, or a tensor of shape ().

    Returns:
        A tensor only where the device would have to be waited for.
    """
    return value.item() if isinstance(value, torch.Tensor) and value.device.type == "cpu" else value


def fetch(scalars: Iterable[Tensor | float]) -> list[float]:
    """Bring numbers to the host, all at once: the only time that it waits for the device.

    Args:
        scalars: Numbers and tensors of shape ().

    Returns:
        The numbers.
    """
    values = list(scalars)
    tensors = [value.double() for value in values if not isinstance(value, (int, float))]
    fetched = iter(torch.stack(tensors).tolist() if tensors else ())
    return [float(value) if isinstance(value, (int, float)) else next(fetched) for value in values]
